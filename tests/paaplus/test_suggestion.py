"""Suggestions remove the variance that they say, and the best first one is the best of all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paaplus.heads import information_posterior
from paaplus.suggestion import suggest_items


def draw(seed: int, items: int, width: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(3, width, width))
    covariance = root @ root.transpose(0, 2, 1) + 0.1 * np.eye(width)
    return covariance, rng.normal(size=(items, 3, width)), rng.uniform(0.2, 2, size=3)


def variance(covariance: np.ndarray, rows: np.ndarray) -> float:
    """Mean over items of the variance of a score, summed over attributes."""
    return float(np.einsum("nam,amk,nak->n", rows, covariance, rows).mean())


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 6))
def test_the_gains_are_what_bayes_takes_away(seed: int, items: int, count: int) -> None:
    covariance, rows, noise = draw(seed, items)
    kept = covariance.copy()
    found = suggest_items(covariance, rows, noise, count)
    assert (covariance == kept).all()
    assert len(found) == min(count, items)
    assert len({one.index for one in found}) == len(found)
    gram = np.zeros_like(covariance)
    before = variance(covariance, rows)
    for one in found:
        gram += np.einsum("am,ak->amk", rows[one.index], rows[one.index])
        _, after = information_posterior(
            np.zeros(gram.shape[:2]), covariance, noise, gram, np.zeros(gram.shape[:2])
        )
        left = variance(after, rows)
        assert before - left == pytest.approx(one.gain, rel=1e-6, abs=1e-9)
        before = left


def test_the_first_is_the_best_of_all_and_its_twin_is_not_the_second() -> None:
    covariance, rows, noise = draw(3, 30)
    first = suggest_items(covariance, rows, noise * 0.01, 1)[0]
    gains = []
    for n in range(30):
        gram = np.einsum("am,ak->amk", rows[n], rows[n])
        _, after = information_posterior(
            np.zeros(gram.shape[:2]), covariance, noise * 0.01, gram, np.zeros(gram.shape[:2])
        )
        gains.append(variance(covariance, rows) - variance(after, rows))
    assert int(np.argmax(gains)) == first.index
    twins = np.concatenate([rows, rows[[first.index]]])
    second = suggest_items(covariance, twins, noise * 0.01, 2)[1].index
    assert second not in (30, first.index)


def test_an_item_that_nobody_knows_tells_less() -> None:
    covariance, rows, noise = draw(1, 2)
    rows[1] = rows[0]
    unseen = np.array([[5.0] * 3, [0.0] * 3])
    assert suggest_items(covariance, rows, noise, 1, unseen=unseen)[0].index == 1
