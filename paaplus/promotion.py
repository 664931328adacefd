"""The gate: a pure function (reports, thresholds) -> decisions, with the numbers that decided.

A single user's held-out figures are noisy, so decisions are made on paired differences, shrunk to the
cohort's mean: the estimate of user u is (d_u / s_u^2 + D / t^2) / (1 / s_u^2 + 1 / t^2) with D the cohort's
mean difference and t^2 the variance between users (DerSimonian & Laird 1986). A user without held-out
ratings is judged by the cohort. And a cohort that got worse as a whole is refused as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from paaplus.errors import ConfigError
from paaplus.evaluation import UserReports

Array = NDArray[np.float64]

GUARD_Z = 1.645
"""One-sided 5 % point: the cohort is refused if it is worse than its champions beyond chance."""

Reason = Literal[
    "better", "no_gain", "worse_than_calibration", "cohort_worse", "no_evidence", "retraction"
]

PROMOTES: tuple[Reason, ...] = ("better", "retraction")


@dataclass(frozen=True, slots=True)
class MetricThreshold:
    """What a metric must reach; the fields are those of MLflow's `MetricThreshold`.

    Attributes:
        threshold: Value that must be reached, whatever the champion has; None: any.
        min_absolute_change: By how much the champion must be beaten, in the metric's units.
        min_relative_change: By which share of the champion's value it must be beaten.
        greater_is_better: False for an error.
    """

    threshold: float | None = None
    min_absolute_change: float | None = None
    min_relative_change: float | None = None
    greater_is_better: bool = False

    def misses(self, challenger: float, champion: float, gain: float) -> str | None:
        """Which of the conditions is not met, in words; None if all are.

        Args:
            challenger: Its value.
            champion: The champion's value.
            gain: Estimate of how much better the challenger is, positive = better.
        """
        sign = 1.0 if self.greater_is_better else -1.0
        if self.threshold is not None and sign * challenger < sign * self.threshold:
            return f"{challenger:.3f} does not reach {self.threshold:g}"
        if self.min_absolute_change is not None and not gain > self.min_absolute_change:
            return f"gain {gain:+.3f} is not above {self.min_absolute_change:g}"
        if self.min_relative_change is not None:
            needed = self.min_relative_change * abs(champion)
            if not gain > needed:
                return f"gain {gain:+.3f} is not above {self.min_relative_change:.1%} of {champion:.3f}"
        return None


@dataclass(frozen=True, slots=True)
class GateThresholds:
    """What the gate asks for.

    Attributes:
        min_gain: Held-out MAE on 0..10 by which the champion must be beaten, >= 0.
        max_worse_probability: 0..1, of the challenger being worse than the user's calibration.
    """

    min_gain: float = 0.0
    max_worse_probability: float = 0.5

    def __post_init__(self) -> None:
        if not self.min_gain >= 0:
            raise ConfigError(f"gate: min_gain {self.min_gain} is negative", "use 0 or more")
        if not 0 <= self.max_worse_probability <= 1:
            raise ConfigError(
                f"gate: max_worse_probability {self.max_worse_probability} is no probability",
                "use 0..1; 0.5 asks that better is likelier than worse",
            )

    def mae(self) -> MetricThreshold:
        """The threshold on the held-out MAE."""
        return MetricThreshold(min_absolute_change=self.min_gain, greater_is_better=False)


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one challenger, and the numbers that decided."""

    user_id: str
    promote: bool
    code: Reason
    reason: str
    figures: dict[str, float]


@dataclass(frozen=True, slots=True)
class GateResult:
    """Decisions in the order of the reports' users, and the cohort's figures."""

    decisions: tuple[Decision, ...]
    figures: dict[str, float]


@dataclass(frozen=True, slots=True)
class Shrunk:
    """Differences of U users, shrunk to their mean.

    Attributes:
        value: [U], estimates; `error` [U] their standard errors.
        error: See `value`.
        mean: The cohort's mean, and `mean_error` its standard error.
        mean_error: See `mean`.
    """

    value: Array
    error: Array
    mean: float
    mean_error: float


def shrink(difference: Array, variance: Array) -> Shrunk:
    """Empirical-Bayes estimates of U users' differences.

    Args:
        difference: [U], NaN for a user without ratings.
        variance: [U], sampling variance; NaN where it is not known (fewer than two ratings), which is
            taken as the median of the others'.

    Returns:
        Estimates; all NaN if nobody has ratings.
    """
    seen = ~np.isnan(difference)
    if not seen.any():
        nothing = np.full(len(difference), np.nan)
        return Shrunk(nothing, nothing, math.nan, math.nan)
    d = difference[seen]
    known = variance[seen & ~np.isnan(variance)]
    usual = float(np.median(known)) if len(known) else float(max(d.var(), 1e-6))
    own = np.where(np.isnan(variance[seen]), usual, variance[seen])
    # A handful of equal errors would claim certainty: no user is surer than a tenth of the usual.
    own = np.maximum(own, max(usual / 10, 1e-9))
    between = _between(d, own)
    weights = 1 / (own + between)
    mean = float(np.sum(weights * d) / weights.sum())
    mean_error = float(1 / np.sqrt(weights.sum()))
    value = np.full(len(difference), mean)
    error = np.full(len(difference), math.sqrt(between + mean_error**2))
    pull = own / (own + between)
    value[seen] = (1 - pull) * d + pull * mean
    error[seen] = np.sqrt((1 - pull) * own + (pull * mean_error) ** 2)
    return Shrunk(value, np.maximum(error, 1e-9), mean, mean_error)


def _between(d: Array, own: Array) -> float:
    """Variance between users by the moments of DerSimonian & Laird; 0 where noise explains all."""
    weights = 1 / own
    mean = np.sum(weights * d) / weights.sum()
    excess = np.sum(weights * (d - mean) ** 2) - (len(d) - 1)
    scale = weights.sum() - np.sum(weights**2) / weights.sum()
    return float(max(excess / scale, 0.0)) if scale > 0 else 0.0


def decide(
    reports: UserReports, thresholds: GateThresholds, undone: Collection[str] = ()
) -> GateResult:
    """Promote or keep, for every user.

    Args:
        reports: With the models `challenger`, `champion` and `calibration`. The champion of a user who
            has none is the calibrated population.
        thresholds: What is asked for.
        undone: Users whose champion has learned what they took back since: it goes, whatever its figures.
    """
    champion = shrink(*reports.difference("challenger", "champion"))
    calibration = shrink(*reports.difference("challenger", "calibration"))
    worse = champion.mean < -GUARD_Z * champion.mean_error
    below = calibration.mean < -GUARD_Z * calibration.mean_error
    figures = {
        "gain": champion.mean,
        "gain_se": champion.mean_error,
        "gain_over_calibration": calibration.mean,
        "gain_over_calibration_se": calibration.mean_error,
    }
    decisions = []
    threshold = thresholds.mae()
    worse_than_calibration = norm.cdf(-calibration.value / calibration.error)
    for u, user_id in enumerate(reports.user_ids):
        probability = float(worse_than_calibration[u])
        own = {
            "heldout_scores": float(reports.count[u]),
            "mae_challenger": float(reports.absolute["challenger"][u]),
            "mae_champion": float(reports.absolute["champion"][u]),
            "gain": float(champion.value[u]),
            "gain_se": float(champion.error[u]),
            "worse_than_calibration": probability,
        }
        missed = threshold.misses(own["mae_challenger"], own["mae_champion"], own["gain"])
        code: Reason
        if user_id in undone:
            code, why = "retraction", "the champion has learned what the user took back"
        elif math.isnan(champion.mean):
            code, why = "no_evidence", "nobody in the cohort has held-out ratings yet"
        elif worse or below:
            code = "cohort_worse"
            why = (
                f"the cohort as a whole got worse: {champion.mean:+.3f} ± {champion.mean_error:.3f}"
            )
        elif missed is not None:
            code, why = "no_gain", missed
        elif probability > thresholds.max_worse_probability:
            code = "worse_than_calibration"
            why = f"worse than calibration with probability {probability:.2f}"
        else:
            code, why = "better", f"held-out MAE better by {own['gain']:.3f} ± {own['gain_se']:.3f}"
        kept = {name: value for name, value in own.items() if not math.isnan(value)}
        decisions.append(Decision(user_id, code in PROMOTES, code, f"{code}: {why}", kept))
    return GateResult(
        tuple(decisions), {name: value for name, value in figures.items() if not math.isnan(value)}
    )
