"""The simulated world: the same for the same seed, its counts true, its tastes learnable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paaplus.errors import ConfigError, EventError
from paaplus.events import decode_feedback, decode_item
from workers.bodies import PARAMETERS, draw_body
from workers.simulate import SimulatedWorld
from workers.tastes import traits


def world(seed: int = 3) -> SimulatedWorld:
    return SimulatedWorld(users=12, items=40, seed=seed)


def everything(found: SimulatedWorld) -> list[tuple[bytes, bytes]]:
    return [*found.given_items(), *found.round_events(0), *found.round_events(1, 4)]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    assert everything(world()) == everything(world())
    assert not set(everything(world())) & set(everything(world(4)))


def test_the_expected_counts_are_what_the_codec_finds() -> None:
    found = world()
    messages = everything(found)
    seen, kinds, dead, duplicates = set(), {}, {}, 0
    for key, value in messages:
        try:
            decode = decode_item if b'"kind":"item"' in value else decode_feedback
            event = decode(value) if decode is decode_item else decode_feedback(value, key=key)
        except EventError as error:
            dead[error.reason] = dead.get(error.reason, 0) + 1
            continue
        if getattr(event, "item_id", "item-") == "item-never-announced":
            dead["unknown_item"] = dead.get("unknown_item", 0) + 1
        elif event.event_id in seen:
            duplicates += 1
        else:
            seen.add(event.event_id)
            kind = type(event).__name__.lower()
            kinds[kind] = kinds.get(kind, 0) + 1
    expected = found.expected
    assert (duplicates, dead) == (expected.duplicates, expected.reasons)
    assert kinds == expected.kinds
    assert len(seen) == expected.accepted
    assert sum(dead.values()) == expected.dead
    assert duplicates > 0
    assert len(kinds) == 7


def test_scores_follow_from_bodies_and_a_users_own_taste() -> None:
    found = SimulatedWorld(users=20, items=400, seed=1)
    table = np.c_[np.ones(400), traits(found.bodies)]
    common, own = [], []
    for user in range(20):
        for a in range(3):
            y = found.true[user, :, a]
            weights, *_ = np.linalg.lstsq(table, y, rcond=None)
            own.append(1 - np.var(y - table @ weights) / np.var(y))
            mean = found.true.mean(axis=0)[:, a]
            common.append(np.corrcoef(mean, y)[0, 1] ** 2)
    assert np.mean(own) > 0.9  # what remains is what all see in an item
    assert 0.2 < np.mean(common) < 0.8  # there is both a shared and a personal part


def test_ratings_are_the_truth_with_noise_in_halves() -> None:
    found = world()
    differences = []
    for _, value in found.round_events(0):
        try:
            event = decode_feedback(value)
        except EventError:
            continue
        for a, name in enumerate(("appearance", "health", "posture")):
            score = getattr(getattr(event, "scores", None), name, None)
            if score is not None and event.item_id in found.item_ids:
                assert score * 2 == round(score * 2)
                user, item = (
                    found.user_ids.index(event.user_id),
                    found.item_ids.index(event.item_id),
                )
                truth = found.true[user, item, a]
                differences.append(score - np.clip(truth, 0, 10))
    assert abs(np.mean(differences)) < 0.3
    assert 0.5 < np.std(differences) < 2


def test_nobody_is_asked_about_the_exam(tmp_path: Path) -> None:
    found = world()
    exam, given = found.exam()
    assert given.shape == (12, len(exam), 3)
    assert given.min() >= 0
    assert given.max() <= 10
    rated = set()
    for _, value in found.round_events(0, 32):
        try:
            rated.add(getattr(decode_feedback(value), "item_id", None))
        except EventError:
            continue
    assert len(rated) > 20
    assert not rated & set(exam)


def test_every_parameter_shows_and_a_picture_is_a_function_of_its_seed() -> None:
    middle = np.full(len(PARAMETERS), 0.5)
    base = np.asarray(draw_body(middle, np.random.default_rng(1)), dtype=int)
    assert base.shape == (192, 192, 3)
    again = np.asarray(draw_body(middle, np.random.default_rng(1)), dtype=int)
    assert (again == base).all()
    for n, name in enumerate(PARAMETERS):
        moved = middle.copy()
        moved[n] = 1.0
        changed = np.asarray(draw_body(moved, np.random.default_rng(1)), dtype=int)
        assert (np.abs(changed - base).max(axis=2) > 30).sum() > 50, name


def test_a_world_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigError):
        SimulatedWorld(users=0, items=40, seed=1)
    with pytest.raises(ConfigError):
        SimulatedWorld(users=1, items=2, seed=1)
