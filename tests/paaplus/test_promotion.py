"""The gate: shrinkage against a numerical reference, and what no input may make it do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paaplus.errors import ConfigError
from paaplus.evaluation import UserReports, evaluate
from paaplus.promotion import GateThresholds, MetricThreshold, decide, shrink


def report(
    counts: list[int],
    challenger: list[float],
    champion: float = 1.5,
    calibration: float = 1.5,
    spread: float = 0.3,
    seed: int = 0,
) -> UserReports:
    """Users whose mean errors are near the given ones."""
    rng = np.random.default_rng(seed)
    total = sum(counts)
    errors = {
        "challenger": np.repeat(challenger, counts),
        "champion": np.full(total, champion),
        "calibration": np.full(total, calibration),
    }
    scores = np.full((total, 3), np.nan)
    scores[:, 0] = 5.0
    predictions = {}
    for name, error in errors.items():
        predicted = np.full((total, 3), 5.0)
        predicted[:, 0] += error + spread * rng.normal(size=total)
        predictions[name] = predicted
    start = np.concatenate([[0], np.cumsum(counts)])
    return evaluate(tuple(f"u{n}" for n in range(len(counts))), start, scores, predictions)


def promoted(reports: UserReports, **thresholds: float) -> list[bool]:
    return [d.promote for d in decide(reports, GateThresholds(**thresholds)).decisions]


def test_better_heads_are_promoted_and_equal_ones_are_not() -> None:
    assert promoted(report([30] * 6, [1.0] * 6)) == [True] * 6
    same = report([30] * 6, [1.5] * 6, spread=0.0)
    assert promoted(same) == [False] * 6
    assert {d.code for d in decide(same, GateThresholds()).decisions} == {"no_gain"}


def test_a_worse_cohort_is_refused_as_a_whole() -> None:
    result = decide(report([40] * 20, [2.0] * 19 + [0.5]), GateThresholds())
    assert not any(d.promote for d in result.decisions)
    assert {d.code for d in result.decisions} == {"cohort_worse"}
    assert result.figures["gain"] < 0


def test_one_awful_user_does_not_drag_the_others_down() -> None:
    decisions = promoted(report([40] * 20, [1.1] * 19 + [6.0]))
    assert decisions == [True] * 19 + [False]


def test_never_worse_than_calibration() -> None:
    result = decide(report([40] * 6, [1.0] * 6, calibration=0.5), GateThresholds())
    assert {d.code for d in result.decisions} == {"cohort_worse"}
    mixed = report([60] * 8, [1.0] * 7 + [1.4], champion=2.0, calibration=1.3)
    last = decide(mixed, GateThresholds(max_worse_probability=0.05)).decisions[-1]
    assert last.code == "worse_than_calibration"


def test_users_without_ratings_follow_the_cohort() -> None:
    assert promoted(report([30, 0, 30, 1], [1.0, 0.0, 1.0, 1.0])) == [True] * 4
    nobody = decide(report([0, 0], [0.0, 0.0]), GateThresholds())
    assert [d.code for d in nobody.decisions] == ["no_evidence"] * 2
    assert nobody.figures == {}


def test_min_gain_and_its_bounds() -> None:
    reports = report([50] * 5, [1.4] * 5)
    assert promoted(reports) == [True] * 5
    assert promoted(reports, min_gain=0.3) == [False] * 5
    with pytest.raises(ConfigError, match="min_gain"):
        GateThresholds(min_gain=-1)
    with pytest.raises(ConfigError, match="probability"):
        GateThresholds(max_worse_probability=2)


@pytest.mark.parametrize(
    ("threshold", "challenger", "gain", "misses"),
    [
        (MetricThreshold(threshold=1.0), 1.1, 9.0, True),
        (MetricThreshold(threshold=1.2), 1.1, -9.0, False),
        (MetricThreshold(threshold=0.5, greater_is_better=True), 0.4, 9.0, True),
        (MetricThreshold(min_absolute_change=0.1), 1.0, 0.1, True),
        (MetricThreshold(min_relative_change=0.1), 1.0, 0.21, False),
        (MetricThreshold(min_relative_change=0.1), 1.0, 0.19, True),
    ],
)
def test_thresholds_in_mlflows_words(
    threshold: MetricThreshold, challenger: float, gain: float, misses: bool
) -> None:
    assert (threshold.misses(challenger, 2.0, gain) is not None) == misses


def test_shrinkage_is_the_posterior_mean() -> None:
    """Against the integral over the cohort's mean, by brute force on a grid."""
    rng = np.random.default_rng(2)
    own = rng.uniform(0.01, 0.2, 12)
    d = 0.3 + np.sqrt(0.05 + own) * rng.normal(size=12)
    found = shrink(d, own)
    weights = 1 / own
    fixed = np.sum(weights * d) / weights.sum()
    excess = np.sum(weights * (d - fixed) ** 2) - 11
    between = max(excess / (weights.sum() - np.sum(weights**2) / weights.sum()), 0)
    grid = np.linspace(-2, 3, 20_001)
    log = -0.5 * np.sum((d[:, None] - grid) ** 2 / (own + between)[:, None], axis=0)
    density = np.exp(log - log.max())
    density /= density.sum()
    conditional = (d[:, None] * between + grid * own[:, None]) / (own + between)[:, None]
    np.testing.assert_allclose(found.value, (conditional * density).sum(axis=1), atol=1e-6)
    assert found.mean == pytest.approx((grid * density).sum(), abs=1e-6)


cohorts = st.lists(st.tuples(st.integers(0, 30), st.floats(0, 4)), min_size=1, max_size=12)


@settings(max_examples=150, deadline=None)
@given(cohorts, st.randoms(use_true_random=False), st.floats(0, 0.5))
def test_any_cohort(cohort: list[tuple[int, float]], random: object, spread: float) -> None:
    counts, errors = [c for c, _ in cohort], [e for _, e in cohort]
    reports = report(counts, errors, spread=spread)
    result = decide(reports, GateThresholds())
    assert [d.user_id for d in result.decisions] == list(reports.user_ids)
    for decision in result.decisions:
        assert decision.promote == (decision.code == "better")
        assert all(np.isfinite(v) for v in decision.figures.values())
    # The same users in reverse get the same decisions.
    back = evaluate_reversed(reports)
    again = {d.user_id: d for d in decide(back, GateThresholds()).decisions}
    for decision in result.decisions:
        if abs(decision.figures.get("gain", 1.0)) > 1e-6:
            assert again[decision.user_id].promote == decision.promote


def evaluate_reversed(reports: UserReports) -> UserReports:
    last = len(reports.user_ids) - 1
    return UserReports(
        reports.user_ids[::-1],
        reports.count[::-1],
        {k: v[::-1] for k, v in reports.absolute.items()},
        {k: v[::-1] for k, v in reports.squared.items()},
        {k: v[::-1] for k, v in reports.ranks.items()},
        reports.errors,
        last - reports.owner,
    )
