"""Forgetting when a user's taste drifts: what was learned is discounted before new rows are.

The power prior (Ibrahim & Chen 2000) raises the likelihood of the old rows to a power gamma, 0..1. For a
linear Gaussian head that multiplies the old statistics by gamma, so the closed form stays; the prior itself
is not discounted, and at gamma = 0 a user is the population again.

`fixed` discounts by the clock: gamma = 2^(-rows / half_life). `drift` discounts when the live head's errors
rise: a Page-Hinkley test (Page 1954, of River) watches the squared errors of each user's new rows in units of
their predictive variance, so its threshold has no units and a noisy rater is no alarm. When it fires, every
attribute's gamma is the one of `GRID` that is likeliest after the new rows, and 1 is the likeliest before: an
alarm without evidence forgets nothing, and stands until the errors have fallen again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paaplus.population.prior import Prior
from strategies.base import accumulate, unpacked
from strategies.config import StrategyConfig
from strategies.state import CohortState, Layout, gather, to_numpy
from streams.experiences import RowBlock

if TYPE_CHECKING:
    from river.base import DriftDetector

STATISTICS = ("gram", "moment", "calibration_gram", "calibration_moment", "calibration_tally")
"""What a state knows of old rows, all [U, A, …]."""

GRID = (1.0, 0.5, 0.25, 0.1, 0.03, 0.0)
"""Factors to choose from when the test has fired."""

STAYS = 5.0
"""Prior log odds of the first factor against each other one."""

WINDOW = 64
"""Errors in the state: what the test remembers."""

FEWEST, SLACK, THRESHOLD, LARGEST = 15, 0.3, 16.0, 10.0
"""Of the Page-Hinkley test: rows before its first alarm, rise of the mean that is tolerated, and summed rise
above that which is an alarm. An error counts as `LARGEST` at most, so that no single row is an alarm."""

EXPECTED = 100
"""Errors of 1, what they are while nothing drifts, that the test has seen beforehand: against the mean of a
user's own last errors alone, a slow rise would never be one."""


class Forgetting(Protocol):
    """Discounts the statistics of a state before an experience is learned."""

    layout: Layout

    def forget(self, rows: RowBlock, state: CohortState) -> CohortState:
        """The state with its old statistics discounted; the one that went in is unchanged."""


class Never:
    """All rows count alike, for ever."""

    def __init__(self) -> None:
        self.layout: Layout = {}

    def forget(self, rows: RowBlock, state: CohortState) -> CohortState:
        """The state itself."""
        return state


class HalfLife:
    """Old rows lose half their weight with every `half_life` new ones of the same user.

    Args:
        half_life: In rows, > 0.
    """

    def __init__(self, half_life: float) -> None:
        self.layout: Layout = {}
        self._half_life = half_life

    def forget(self, rows: RowBlock, state: CohortState) -> CohortState:
        """Discounted by the user's number of new rows."""
        gamma = torch.exp2(-rows.counts().to(torch.float64) / self._half_life)
        return state | discounted(state, gamma[:, None])


class WhenDrifting:
    """Old rows lose weight when the live head's errors have risen.

    The state holds each user's last `WINDOW` errors, the newest last and 0 where there is none yet; a fresh
    River detector reads them and the new ones. When something was forgotten they are dropped: they were
    another head's.

    Args:
        prior: Of the heads.
        device: Where the states lie.
    """

    def __init__(self, prior: Prior, device: torch.device) -> None:
        self.layout: Layout = {"errors": (WINDOW,)}
        mean, covariance, self._noise = (
            torch.tensor(part, dtype=torch.float64, device=device)
            for part in (prior.mean, prior.covariance, prior.noise)
        )
        self._precision = torch.linalg.inv(covariance)
        self._pull = (self._precision @ mean[..., None])[..., 0]

    def forget(self, rows: RowBlock, state: CohortState) -> CohortState:
        """Discounted where the test fires and the new rows bear it out; the window has their errors."""
        series = _newest_last(torch.cat([state["errors"], self.errors(rows, state)], dim=1))
        fired = torch.from_numpy(alarms(to_numpy(series))).to(series.device)
        users = torch.nonzero(fired & (rows.counts() > 0))[:, 0]
        if not len(users):
            return state | {"errors": series[:, -WINDOW:]}
        gamma = torch.ones_like(state["gram"][:, :, 0], dtype=torch.float64)
        gamma[users] = self.likeliest(rows.take(users, rows.seq.shape[1]), gather(state, users))
        series[(gamma < 1).any(dim=1)] = 0.0
        return state | discounted(state, gamma) | {"errors": series[:, -WINDOW:]}

    def errors(self, rows: RowBlock, state: CohortState) -> Tensor:
        """Squared errors of the live head on the new rows over their predictive variance, [U, n].

        Mean over the row's rated attributes, 1 on average while nothing drifts; 0 where there is no row.
        """
        precision, pull = self._posterior(state["gram"], state["moment"])
        users, attributes, width = pull.shape
        x = rows.x.to(torch.float64).reshape(users, attributes, rows.x.shape[1], width)
        y, w = (t.to(torch.float64).reshape(x.shape[:3]) for t in (rows.y, rows.w))
        # One triangular solve gives all: x'w = (R x)'(R pull) and x'Cx = |R x|^2, R the inverse root of P.
        both = torch.cat([x, pull[:, :, None]], dim=2).mT
        lower = torch.linalg.cholesky(precision)
        root = torch.linalg.solve_triangular(lower, both, upper=False)  # [U, A, m, n + 1]
        spread, mean = root[..., :-1].square().sum(dim=2), (root * root[..., -1:]).sum(dim=2)
        error = (y - mean[..., :-1]).square() / (spread + self._noise[:, None])
        seen = w > 0
        total = torch.where(seen, error.clamp(1e-6, LARGEST), 0.0).sum(dim=1)
        # float32 like the state at rest: whether it was written down between changes no alarm.
        return (total / seen.sum(dim=1).clamp(min=1)).to(torch.float32).to(state["errors"].dtype)

    def likeliest(self, rows: RowBlock, state: CohortState) -> Tensor:
        """The factor of `GRID` that is likeliest after the new rows, per user and attribute: [U, A]."""
        old = state["gram"].to(torch.float64), state["moment"].to(torch.float64)
        x, y, w = (t.to(torch.float64) for t in (rows.x, rows.y, rows.w))
        new = accumulate(x, y, w, torch.zeros_like(old[0]), torch.zeros_like(old[1]))
        scores = torch.stack(
            [
                self._evidence(gamma * old[0] + new[0], gamma * old[1] + new[1])
                - self._evidence(gamma * old[0], gamma * old[1])
                for gamma in GRID
            ]
        )
        scores[0] += STAYS
        best = scores.argmax(dim=0)
        return scores.new_tensor(GRID)[best]

    def _evidence(self, gram: Tensor, moment: Tensor) -> Tensor:
        """Log evidence of statistics but for terms in y alone: (pull' P^-1 pull - log |P|) / 2, [U, A]."""
        precision, pull = self._posterior(gram, moment)
        root = torch.linalg.cholesky(precision)
        half = torch.linalg.solve_triangular(root, pull[..., None], upper=False)[..., 0]
        logs = root.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
        evidence: Tensor = 0.5 * half.square().sum(dim=-1) - logs
        return evidence

    def _posterior(self, gram: Tensor, moment: Tensor) -> tuple[Tensor, Tensor]:
        """Precision P [U, A, m, m] and P times the mean, [U, A, m], in float64."""
        whole = unpacked(gram.to(torch.float64))
        return (
            self._precision + whole / self._noise[:, None, None],
            self._pull + moment.to(torch.float64) / self._noise[:, None],
        )


def discounted(state: CohortState, gamma: Tensor) -> CohortState:
    """The statistics of a state times gamma, [U, A] or [U, 1]."""
    return {name: state[name] * gamma[..., None].to(state[name].dtype) for name in STATISTICS}


def alarms(series: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whose Page-Hinkley test fires on its errors, bool [U]; series as `_newest_last` gives them.

    River decides. It is asked about those users only for whom the same sums, over all users at once, come
    near the threshold.
    """
    result = np.zeros(len(series), dtype=bool)
    for u in np.flatnonzero(suspicious(series)):
        detector = page_hinkley()
        for error in series[u][series[u] > 0].tolist():
            detector.update(error)
            if detector.drift_detected:
                result[u] = True
                break
    return result


def suspicious(series: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Who may fire: all who will, for rounding is allowed for. [U]."""
    seen = series > 0
    count = seen.cumsum(axis=1)
    mean = (EXPECTED + series.cumsum(axis=1)) / (EXPECTED + count)
    rise = np.where(seen, series - mean - SLACK, 0.0).cumsum(axis=1)
    lowest = np.minimum(np.minimum.accumulate(rise, axis=1), 0.0)
    above = np.where(count >= FEWEST, rise - lowest, 0.0)
    found: NDArray[np.bool_] = above.max(axis=1, initial=0.0) > THRESHOLD * (1 - 1e-6)
    return found


def page_hinkley() -> DriftDetector:
    """A detector of River's for one user; its import takes seconds, so it comes with the first suspicion."""
    from river.drift import PageHinkley

    detector: Any = PageHinkley(EXPECTED + FEWEST, SLACK, THRESHOLD, alpha=1.0, mode="up")
    for _ in range(EXPECTED):
        detector.update(1.0)
    result: DriftDetector = detector
    return result


def _newest_last(errors: Tensor) -> Tensor:
    """Errors [U, n] with each user's empty places, the zeros, moved to the front."""
    order = (errors > 0).to(torch.int8).sort(dim=1, stable=True).indices
    return errors.gather(1, order)


def build_forgetting(prior: Prior, config: StrategyConfig, device: torch.device) -> Forgetting:
    """What `config.forgetting` names."""
    if config.forgetting == "fixed":
        return HalfLife(config.half_life)
    return WhenDrifting(prior, device) if config.forgetting == "drift" else Never()
