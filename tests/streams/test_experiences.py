"""Cohort experiences: padding, memories in their order, streams that hold on to nothing."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paaplus.store.rows import Rows
from streams.experiences import CohortExperience, ExperienceStream, build_experience


def rows(counts: list[int], first: int = 1) -> tuple[Rows, np.ndarray]:
    total = sum(counts)
    scores = np.arange(total * 3, dtype=np.float64).reshape(total, 3)
    scores[:, 2] = np.nan
    seq = np.concatenate([np.arange(first, first + n) for n in counts]).astype(np.int64)
    users = tuple(f"u{n}" for n in range(len(counts)))
    start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    items = np.array([f"i{n}" for n in range(total)], dtype=object)
    psi = np.random.default_rng(total).normal(size=(total, 3, 4))
    return Rows(users, start, seq, items, scores), psi


def test_rows_are_stacked_by_user_and_attribute() -> None:
    new, psi = rows([2, 0, 3])
    experience = build_experience(new, psi, step=np.array([0, 1, 2]))
    assert experience.rows.x.shape == (9, 3, 4)
    assert experience.rows.seq.tolist() == [[1, 2, -1], [-1, -1, -1], [1, 2, 3]]
    assert experience.rows.counts().tolist() == [2, 0, 3]
    for row in range(3):
        for a in range(3):
            np.testing.assert_array_equal(experience.rows.x[6 + a, row], psi[2 + row, a])
    assert experience.rows.y[7, :, 0].tolist() == [7.0, 10.0, 13.0]
    # Padding and the attribute that nobody rated have no weight, and no NaN hides in the targets.
    assert experience.rows.w[:, :, 0].sum(dim=1).tolist() == [2, 2, 0, 0, 0, 0, 3, 3, 0]
    assert not torch.isnan(experience.rows.y).any()
    assert len(experience.dataset) == 3  # a real Avalanche dataset, a sample per user


def test_memories_keep_their_order() -> None:
    new, psi = rows([1, 1], first=9)
    memory, psi_memory = rows([3, 2])
    numbers = np.array([[3, 1, 2], [2, 1, -1]])
    keys = np.array([[0.9, 0.8, 0.7], [0.6, 0.5, 0.0]])
    experience = build_experience(
        new,
        psi,
        memory=memory,
        psi_memory=psi_memory,
        memory_numbers=numbers,
        memory_keys=keys,
        step=np.array([1, 1]),
    )
    assert experience.memory.seq.tolist() == numbers.tolist()
    np.testing.assert_array_equal(experience.memory.x[0], psi_memory[[2, 0, 1], 0])
    np.testing.assert_array_equal(experience.memory.x[3, :2], psi_memory[[4, 3], 0])
    part = experience.take(torch.tensor([1]))
    assert part.user_ids == ("u1",)
    assert part.memory.seq.tolist() == [[2, 1]]
    assert part.memory_key.tolist() == [[0.6, 0.5]]


@given(st.lists(st.integers(0, 3), max_size=6))
def test_any_users_are_taken_as_one_by_one(users: list[int]) -> None:
    """Neighbours are views and others copies: the rows are the same."""
    new, psi = rows([2, 0, 3, 1])
    whole = build_experience(new, psi, step=np.arange(4))
    part = whole.take(torch.tensor(users, dtype=torch.int64))
    assert part.user_ids == tuple(f"u{u}" for u in users)
    assert part.step.tolist() == users
    for place, u in enumerate(users):
        n = int(whole.rows.counts()[u])
        assert part.rows.seq[place, :n].tolist() == whole.rows.seq[u, :n].tolist()
        for a in range(3):
            for name in "xyw":
                taken, there = getattr(part.rows, name), getattr(whole.rows, name)
                assert torch.equal(taken[3 * place + a, :n], there[3 * u + a, :n])


class Endless:
    """Experiences for ever; remembers which are still alive."""

    def __init__(self) -> None:
        self.made: list[weakref.ref[CohortExperience]] = []

    def __iter__(self) -> Iterator[CohortExperience]:
        while True:
            experience = build_experience(*rows([1]), step=np.array([0]))
            self.made.append(weakref.ref(experience))
            yield experience


def test_a_stream_is_endless_and_keeps_nothing() -> None:
    source = Endless()
    for number, experience in enumerate(ExperienceStream(source)):
        assert isinstance(experience, CohortExperience)
        if number == 20:
            break
    del experience
    gc.collect()
    assert len(source.made) == 21
    assert sum(made() is not None for made in source.made) <= 1


def test_a_generator_is_refused() -> None:
    with pytest.raises(TypeError, match="__iter__"):
        ExperienceStream(iter(Endless()))
