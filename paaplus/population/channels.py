"""What feedback other than ratings is worth: learned from users who gave both, never set by hand.

Whatever a user does with an item is taken as evidence of the latent score d = psi . w without the user's own
intercept (a like says "above what I usually find", not "8"); a comparison speaks of the difference of two
such scores. With d ~ N(mu, D) over what users rate, and mean mu + s among the events of one channel and
level, the Gaussian pseudo-observation that carries N(mu, D) to the mean of those events is

    noise v = (D - s^2) D / s^2,        target t = mu + s (D + v) / D

(moment matching, as in assumed-density filtering: Minka 2001; the events' variance is taken as D - s^2,
which is exact for a symmetric threshold on d plus noise of any strength). d itself is not seen: its estimate
from the user's ratings is shrunk, so s is divided by the share of D that the estimates have. A channel whose
s is not clearly off zero has infinite noise: it teaches nothing, and the report says so.

What users are shown is chosen, mostly by their own scores, so interactions are taken against what was viewed:
mu and D are those of the views' items, of what is rated only where there are too few views.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paaplus.observations import CHANNELS, RATING, SURVEY
from paaplus.population.prior import Array

FEWEST_EVENTS, FEWEST_USERS = 30, 10
"""Below these a channel's level teaches nothing."""

MOST_RATINGS_WORTH = 2.0
"""No event counts for more ratings than this, whatever the data say."""

MOST_SHARE = 0.9
"""Of D that one event can explain."""

STRONGEST_ATTENUATION = 4.0
"""Ratio of D to the variance of its estimates, at most: with few ratings it is not known better."""

VIEW = "interaction.view"
"""What says that an item was shown, and no more."""

LEVELS = {"comparison": (-1.0, 0.0, 1.0), "comment": (-0.75, -0.25, 0.25, 0.75)}
"""Levels of a signal that are told apart; each value counts as the nearest."""


@dataclass(frozen=True, slots=True)
class Channels:
    """What each level of each channel says, K in all.

    Attributes:
        names: [K] of str, channels.
        level: [K], signals.
        target: [K, A], what it says the latent score is.
        noise: [K, A], variance of that around the truth; inf = it says nothing.
        count: int64 [K, A], events that this was learned from.
    """

    names: NDArray[np.str_]
    level: Array
    target: Array
    noise: Array
    count: NDArray[np.int64]

    def read(self, channels: NDArray[np.object_], signals: Array) -> tuple[Array, Array]:
        """Targets and noise, [N, A] both, of N signals [N, A]; noise is inf where nothing is said."""
        target, noise = np.zeros(signals.shape), np.full(signals.shape, np.inf)
        for name in np.unique(channels.astype(str)):
            mine = np.flatnonzero(channels == name)
            levels = np.flatnonzero(self.names == name)
            if not len(levels):
                continue
            said = signals[mine]
            distance = np.abs(np.nan_to_num(said)[:, :, None] - self.level[levels])
            nearest = levels[distance.argmin(axis=2)]
            columns = np.arange(signals.shape[1])
            target[mine] = self.target[nearest, columns]
            noise[mine] = np.where(np.isnan(said), np.inf, self.noise[nearest, columns])
        return target, noise


def no_channels(attributes: int) -> Channels:
    """Nothing is known yet: only ratings teach."""
    empty = np.zeros((0, attributes))
    return Channels(np.zeros(0, "U1"), np.zeros(0), empty, empty, empty.astype(np.int64))


def latent_rows(channels: NDArray[np.object_], rows: Array, others: Array) -> Array:
    """Design rows of observations that are no ratings, [N, A, m].

    Args:
        channels: [N].
        rows: [N, A, m], of the items.
        others: [N, A, m], of the items that they are compared with; read for comparisons only.
    """
    result = rows.copy()
    compared = np.char.startswith(channels.astype(str), "comparison")
    result[compared] -= others[compared]
    result[:, :, 0] = 0.0  # relative to what the user usually finds
    return result


@dataclass(frozen=True, slots=True)
class Latents:
    """Estimates, from ratings alone, of N latent scores of one attribute.

    Attributes:
        owner: int [N], whose.
        mean: [N], and `variance` [N] of its error.
        variance: See `mean`.
    """

    owner: NDArray[np.intp]
    mean: Array
    variance: Array

    def part(self, which: NDArray[np.intp]) -> Latents:
        """Some of them."""
        return Latents(self.owner[which], self.mean[which], self.variance[which])


def fit_channels(
    channels: NDArray[np.object_],
    signals: Array,
    events: list[Latents],
    rated: list[Latents],
    noise: Array,
) -> Channels:
    """Learn what every level of every channel says.

    Args:
        channels: [N] of str; ratings and surveys are left alone.
        signals: [N, A].
        events: Per attribute, of the events' latent scores.
        rated: Per attribute, of what the same users rated: the scale of d.
        noise: [A], variance of one rating.
    """
    names, levels = [], []
    for name in CHANNELS:
        if name not in (RATING, SURVEY):
            for level in LEVELS.get(name.split(".")[0], (1.0,)):
                names.append(name)
                levels.append(level)
    shape = len(names), signals.shape[1]
    made = Channels(
        np.array(names), np.array(levels), np.zeros(shape), np.full(shape, np.inf),
        np.zeros(shape, np.int64),
    )  # fmt: skip
    for a in range(shape[1]):
        viewed = events[a].part(np.flatnonzero(channels == VIEW))
        for name in dict.fromkeys(names):
            places = np.flatnonzero(made.names == name)
            mine = np.flatnonzero((channels == name) & ~np.isnan(signals[:, a]))
            said, latents = signals[mine, a], events[a].part(mine)
            nearest = np.abs(said[:, None] - made.level[places]).argmin(axis=1)
            made.count[places, a] = np.bincount(nearest, minlength=len(places))
            if name.startswith("comparison"):
                _fit_comparison(made, places, a, said, latents, float(noise[a]))
                continue
            seen = name.startswith("interaction") and _enough(viewed)
            base = _Base.of(viewed if seen else rated[a], centred=False)
            for k, place in enumerate(places):
                of_level = latents.part(np.flatnonzero(nearest == k))
                made.target[place, a], made.noise[place, a] = _match(base, of_level, noise[a])
    return made


@dataclass(frozen=True, slots=True)
class _Base:
    """Mean and variance D of latent scores, and D over the variance of their estimates."""

    mean: float
    variance: float
    attenuation: float

    @staticmethod
    def of(latents: Latents, *, centred: bool) -> _Base:
        if not len(latents.mean):
            return _Base(0.0, 1.0, 1.0)
        centre = 0.0 if centred else float(latents.mean.mean())
        seen = float(((latents.mean - centre) ** 2).mean())
        variance = seen + float(latents.variance.mean())
        return _Base(centre, variance, min(variance / max(seen, 1e-9), STRONGEST_ATTENUATION))


def _fit_comparison(
    made: Channels, places: NDArray[np.intp], a: int, said: Array, latents: Latents, noise: float
) -> None:
    """Preferring the one or the other is the same thing said from two sides; a tie says "near"."""
    base = _Base.of(latents, centred=True)
    lower, middle, upper = places
    decided = np.flatnonzero(said != 0)
    turned = Latents(
        latents.owner[decided], latents.mean[decided] * np.sign(said[decided]),
        latents.variance[decided],
    )  # fmt: skip
    target, variance = _match(base, turned, noise)
    made.target[lower, a], made.target[upper, a] = -target, target
    made.noise[[lower, upper], a] = variance
    ties = latents.part(np.flatnonzero(said == 0))
    if _enough(ties):
        squares = ties.mean**2
        fall = float((latents.mean**2).mean() - squares.mean()) - 2 * _error(ties.owner, squares)
        explained = min(base.attenuation**2 * fall, MOST_SHARE * base.variance)
        made.noise[middle, a] = _noise(base, explained, noise)


def _match(base: _Base, latents: Latents, noise: float) -> tuple[float, float]:
    """Target and noise of the pseudo-observation that these events are."""
    if not _enough(latents):
        return 0.0, np.inf
    shift = float(latents.mean.mean()) - base.mean
    error = _error(latents.owner, latents.mean)
    # Positive-part shrinkage: what is not two standard errors off is nothing.
    shift *= base.attenuation * max(0.0, 1 - (2 * error) ** 2 / max(shift**2, 1e-12))
    variance = _noise(base, min(shift**2, MOST_SHARE * base.variance), noise)
    if not np.isfinite(variance):
        return 0.0, np.inf
    return base.mean + shift * (base.variance + variance) / base.variance, variance


def _noise(base: _Base, explained: float, noise: float) -> float:
    """Noise of an observation that explains that much of D; inf for none."""
    if explained <= 1e-6 * base.variance:
        return np.inf
    left = base.variance - explained
    return max(left * base.variance / explained, noise / MOST_RATINGS_WORTH)


def _enough(latents: Latents) -> bool:
    return len(latents.mean) >= FEWEST_EVENTS and len(np.unique(latents.owner)) >= FEWEST_USERS


def _error(owner: NDArray[np.intp], values: Array) -> float:
    """Standard error of the mean of values that are alike within an owner."""
    sums = np.bincount(owner, values - values.mean())
    return float(np.sqrt((sums**2).sum()) / len(values))
