"""The population model on populations whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from paaplus.errors import NotEnoughDataError, PackError
from paaplus.heads import information_posterior
from paaplus.metrics import srcc
from paaplus.population import ItemFeatures, Ratings, fit_population, load_population
from paaplus.population.choose import STRENGTHS
from paaplus.population.em import (
    Gaussian,
    Moments,
    fit_calibration,
    fit_shrunk,
    posterior,
    power_law,
)


@dataclass
class Made:
    """A population, and what is true of it."""

    ratings: Ratings
    items: ItemFeatures
    tastes: np.ndarray  # [U, F]
    features: np.ndarray  # [I, F]
    users: list[str]


def make(
    users: int = 60,
    items: int = 150,
    per_user: int = 60,
    taste: float = 0.6,
    item_effect: float = 0.3,
    seed: int = 0,
) -> Made:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(items, 12)) * np.linspace(2, 0.5, 12)
    shared = rng.normal(size=12) * 0.4
    low = rng.normal(size=(2, 12))
    tastes = shared + taste * rng.normal(size=(users, 2)) @ low * 0.5
    effect = item_effect * rng.normal(size=items)
    mean = 5 + 0.7 * rng.normal(size=users)
    names = [f"u{n:03d}" for n in range(users)]
    rows = []
    for u in range(users):
        for i in rng.choice(items, per_user, replace=False):
            y = mean[u] + features[i] @ tastes[u] * 0.5 + effect[i] + 0.6 * rng.normal()
            rows.append((names[u], f"i{i:03d}", np.clip(y, 0, 10)))
    scores = np.full((len(rows), 3), np.nan)
    scores[:, 0] = [r[2] for r in rows]
    return Made(
        Ratings(
            np.array([r[0] for r in rows], dtype=object),
            np.array([r[1] for r in rows], dtype=object),
            scores,
        ),
        ItemFeatures(
            np.array([f"i{n:03d}" for n in range(items)], dtype=object), features.astype(np.float32)
        ),
        tastes,
        features,
        names,
    )


def test_personal_heads_find_tastes_on_unseen_items() -> None:
    made = make()
    population = fit_population(made.ratings, made.items, trunk="t", seed=0)
    assert population.report["appearance"]["form"] != "calibration"
    rng = np.random.default_rng(9)
    fresh = (rng.normal(size=(80, 12)) * np.linspace(2, 0.5, 12)).astype(np.float32)
    rows = population.rows([f"new{n}" for n in range(80)], fresh)[:, 0]
    assert (rows[:, 2] == 0).all()  # nobody has rated these
    own, base, swapped = [], [], []
    heads = []
    table = dict(zip(made.items.item_ids, range(len(made.items.item_ids)), strict=True))
    for user in made.users:
        mine = made.ratings.user_ids == user
        ids = list(made.ratings.item_ids[mine])
        psi = population.rows(ids, made.items.vectors[[table[i] for i in ids]])[:, 0]
        y = made.ratings.scores[mine, 0]
        heads.append(
            information_posterior(
                population.prior.mean[0],
                population.prior.covariance[0],
                population.prior.noise[0],
                psi.T @ psi,
                psi.T @ y,
            )[0]
        )
    for u in range(len(made.users)):
        truth = fresh @ made.tastes[u]
        own.append(srcc(rows @ heads[u], truth))
        base.append(srcc(rows @ population.prior.mean[0], truth))
        swapped.append(srcc(rows @ heads[u - 1], truth))
    assert np.mean(own) > np.mean(base) + 0.1
    assert np.mean(swapped) < np.mean(own) - 0.1


def test_without_personal_taste_only_calibration_is_left() -> None:
    made = make(taste=0.0, users=80)
    population = fit_population(made.ratings, made.items, trunk="t", seed=0)
    assert population.report["appearance"]["form"] == "calibration"
    directions = population.prior.covariance[0, 3:, 3:]
    assert np.linalg.eigvalsh(directions).max() < 1e-3


def test_few_users_fall_back_to_calibration() -> None:
    made = make(users=20)
    population = fit_population(made.ratings, made.items, trunk="t", seed=0)
    assert population.report["appearance"]["form"] == "calibration"


def test_an_unrated_attribute_is_wide_and_in_the_middle() -> None:
    population = fit_population(*_of(make()), trunk="t", seed=0)
    assert population.prior.mean[1, 0] == 5.0
    assert (population.prior.mean[1, 1:] == 0).all()
    assert population.prior.noise[1] + population.prior.covariance[1, 0, 0] > 4


def _of(made: Made) -> tuple[Ratings, ItemFeatures]:
    return made.ratings, made.items


def test_the_prior_mean_is_silent_on_directions_and_ranks_as_the_population() -> None:
    population = fit_population(*_of(make()), trunk="t", seed=0)
    assert (population.prior.mean[:, 3:] == 0).all()
    assert population.prior.mean[0, 1] > 0


def test_the_order_of_the_rows_does_not_matter_and_the_data_do() -> None:
    made = make(users=30, per_user=30)
    population = fit_population(made.ratings, made.items, trunk="t", seed=0)
    order = np.random.default_rng(1).permutation(len(made.ratings.scores))
    shuffled = Ratings(
        made.ratings.user_ids[order], made.ratings.item_ids[order], made.ratings.scores[order]
    )
    items = ItemFeatures(made.items.item_ids[::-1], made.items.vectors[::-1])
    assert fit_population(shuffled, items, trunk="t", seed=0).version == population.version
    changed = made.ratings.scores.copy()
    changed[0, 0] = 10 - changed[0, 0]
    other = Ratings(made.ratings.user_ids, made.ratings.item_ids, changed)
    assert fit_population(other, made.items, trunk="t", seed=0).version != population.version


def test_a_saved_model_is_the_same_to_the_bit(tmp_path: Path) -> None:
    made = make(users=30, per_user=30)
    population = fit_population(made.ratings, made.items, trunk="t", seed=0)
    path = tmp_path / "p.safetensors"
    population.save(path)
    loaded = load_population(path, population.version)
    assert loaded.version == population.version
    ids = ["i001", "stranger", "i149"]
    vectors = np.random.default_rng(0).normal(size=(3, 12)).astype(np.float32)
    np.testing.assert_array_equal(loaded.rows(ids, vectors), population.rows(ids, vectors))
    np.testing.assert_array_equal(loaded.unseen_variance(ids), population.unseen_variance(ids))
    np.testing.assert_array_equal(loaded.prior.covariance, population.prior.covariance)
    # A row is the same to the bit in any company.
    np.testing.assert_array_equal(
        population.rows(ids[1:2], vectors[1:2])[0], population.rows(ids, vectors)[1]
    )


def test_damage_is_noticed(tmp_path: Path) -> None:
    population = fit_population(*_of(make(users=30, per_user=30)), trunk="t", seed=0)
    path = tmp_path / "p.safetensors"
    population.save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(PackError, match="sha256"):
        load_population(path, population.version)
    with pytest.raises(PackError, match="No such file"):
        load_population(tmp_path / "absent", population.version)
    import hashlib

    path.write_bytes(b"not safetensors at all")
    with pytest.raises(PackError, match="not of format"):
        load_population(path, hashlib.sha256(path.read_bytes()).hexdigest())


def test_an_item_rated_by_others_has_its_deviation() -> None:
    made = make(item_effect=1.0, users=80)
    population = fit_population(made.ratings, made.items, trunk="t", seed=0)
    ids = [str(i) for i in made.items.item_ids]
    rows = population.rows(ids, made.items.vectors)[:, 0]
    assert rows[:, 2].std() > 0.1
    known, unknown = population.unseen_variance(["i000", "stranger"])[:, 0]
    assert 0 < known < unknown


def test_too_little_data_says_what_is_missing() -> None:
    made = make(users=4, per_user=20)
    with pytest.raises(NotEnoughDataError, match=r"80 ratings by 4 users") as error:
        fit_population(made.ratings, made.items, trunk="t", seed=0)
    assert "100 ratings by 5 users of 20 items" in error.value.remedy


def moments_of(covariance: np.ndarray, noise: float, users: int, rows: int) -> Moments:
    rng = np.random.default_rng(4)
    m = len(covariance)
    weights = rng.multivariate_normal(np.r_[0.0, 1.0, 0.5, np.zeros(m - 3)], covariance, users)
    x = rng.normal(size=(users, rows, m))
    x[:, :, 0] = 1
    y = np.einsum("unm,um->un", x, weights) + np.sqrt(noise) * rng.normal(size=(users, rows))
    return Moments(
        np.einsum("unm,unk->umk", x, x),
        np.einsum("unm,un->um", x, y),
        (y**2).sum(axis=1),
        np.full(users, float(rows)),
    )


def test_em_recovers_covariance_and_noise() -> None:
    truth = np.diag([0.8, 0.2, 0.1, 0.5, 0.3])
    truth[3, 4] = truth[4, 3] = 0.25
    moments = moments_of(truth, 1.4, users=3000, rows=40)
    head = fit_calibration(moments)
    start = Gaussian(np.pad(head.mean, (0, 2)), np.eye(5), 1.0)
    found = fit_shrunk(moments, start, np.ones(2), strength=1.0, iterations=40)
    np.testing.assert_allclose(found.covariance, truth, atol=0.06)
    assert found.noise == pytest.approx(1.4, rel=0.03)
    np.testing.assert_allclose(head.mean, [0, 1, 0.5], atol=0.08)


def test_em_raises_the_likelihood_at_every_step() -> None:
    moments = moments_of(np.diag([0.5, 0.3, 0.2, 0.4]), 0.9, users=50, rows=12)
    prior = Gaussian(np.array([0.0, 1.0, 0.5, 0.0]), np.eye(4) * 2, 3.0)
    values = []
    for _ in range(8):
        values.append(likelihood(prior, moments))
        prior = fit_shrunk(moments, prior, np.ones(1), strength=0.0, iterations=1)
    assert all(b >= a - 1e-9 for a, b in pairwise(values))


def likelihood(prior: Gaussian, moments: Moments) -> float:
    """Log marginal likelihood, up to a constant."""
    mean, covariance = posterior(prior, moments)
    precision = np.linalg.inv(prior.covariance)
    total = 0.0
    for u in range(len(moments.count)):
        pull = precision @ prior.mean + moments.cross[u] / prior.noise
        total += (
            0.5 * np.linalg.slogdet(covariance[u])[1] - 0.5 * np.linalg.slogdet(prior.covariance)[1]
        )
        total -= 0.5 * moments.count[u] * np.log(prior.noise)
        total -= 0.5 * (moments.square[u] / prior.noise + prior.mean @ precision @ prior.mean)
        total += 0.5 * pull @ mean[u]
    return float(total)


def test_power_law_finds_scale_and_exponent() -> None:
    spectrum = np.geomspace(1, 0.01, 10)
    second = np.diag(np.r_[1, 1, 1, 0.7 * spectrum**1.3])
    found = np.diag(power_law(second, spectrum))[3:]
    np.testing.assert_allclose(found, 0.7 * spectrum**1.3, rtol=1e-6)
    assert len(STRENGTHS) == 4
