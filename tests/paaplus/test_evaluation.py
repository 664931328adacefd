"""Reports per user against plain loops; forgetting and transfer against worked examples."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from paaplus.errors import NotFoundError
from paaplus.evaluation import backward_transfer, evaluate, forgetting


def ragged(
    counts: list[int], seed: int = 0
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    total = sum(counts)
    scores = rng.uniform(0, 10, (total, 3))
    scores[rng.random((total, 3)) < 0.3] = np.nan
    predictions = {name: rng.uniform(0, 10, (total, 3)) for name in ("new", "old")}
    return np.concatenate([[0], np.cumsum(counts)]), scores, predictions


def test_reports_equal_plain_loops() -> None:
    counts = [12, 0, 1, 30]
    start, scores, predictions = ragged(counts)
    users = ("a", "b", "c", "d")
    reports = evaluate(users, start, scores, predictions)
    for u in range(4):
        mine = slice(start[u], start[u + 1])
        given = ~np.isnan(scores[mine])
        assert reports.count[u] == given.sum()
        if not given.any():
            assert np.isnan(reports.absolute["new"][u])
            continue
        error = {n: np.abs(p[mine] - scores[mine])[given] for n, p in predictions.items()}
        assert reports.absolute["new"][u] == pytest.approx(error["new"].mean())
        assert reports.squared["old"][u] == pytest.approx((error["old"] ** 2).mean())
        gain, variance = reports.difference("new", "old")
        paired = error["old"] - error["new"]
        assert gain[u] == pytest.approx(paired.mean())
        if len(paired) > 1:
            assert variance[u] == pytest.approx(paired.var(ddof=1) / len(paired))
        ranks = [
            scipy.stats.spearmanr(predictions["new"][mine][g, a], scores[mine][g, a]).statistic
            for a in range(3)
            if (g := given[:, a]).sum() >= 5
        ]
        if ranks:
            assert reports.ranks["new"][u] == pytest.approx(np.mean(ranks))
        else:
            assert np.isnan(reports.ranks["new"][u])
    summary = reports.summary()
    assert summary["users"] == 3
    assert summary["mae_new"] == pytest.approx(np.nanmean(reports.absolute["new"]))


def test_nothing_to_compare_is_no_figure() -> None:
    reports = evaluate(("a",), np.array([0, 0]), np.zeros((0, 3)), {"new": np.zeros((0, 3))})
    assert reports.summary() == {"users": 0.0, "scores": 0.0}
    with pytest.raises(NotFoundError, match="champion"):
        reports.difference("new", "champion")


def test_forgetting_and_transfer_by_hand() -> None:
    # Lopez-Paz & Ranzato: BWT = mean(R[T, i] - R[i, i]); Chaudhry: best ever minus last.
    matrix = np.array([[0.8, 0.0, 0.0], [0.9, 0.7, 0.0], [0.6, 0.65, 0.9]])
    assert forgetting(matrix) == pytest.approx(((0.9 - 0.6) + (0.7 - 0.65)) / 2)
    assert backward_transfer(matrix) == pytest.approx(((0.6 - 0.8) + (0.65 - 0.7)) / 2)
    assert np.isnan(forgetting(np.ones((1, 1))))
    assert np.isnan(backward_transfer(np.ones((1, 1))))
