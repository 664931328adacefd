"""What everybody's ratings say of items: the population head, and each item's deviation from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paaplus.population.prior import Array
from paaplus.population.weights import RatingWeights

MOST_COMPONENTS = 400
"""Principal components that the population head may use."""

PENALTIES = np.geomspace(1e-2, 1e5, 22)
"""Ridge penalties tried, in units of ratings-weighted items."""

POWERS = (0.0, 0.5, 1.0)
"""Exponents of the components' variance that scale them before the ridge: 1 keeps PCA scores as they
are, 0 whitens. Which is right differs between features, so it is tried."""

FOLDS = 5


@dataclass(frozen=True, slots=True)
class Components:
    """Principal components of standardised features.

    Attributes:
        centre: [F], subtracted first.
        scale: [F], multiplied then; 0 for a constant feature.
        axes: [F, K], unit vectors.
        variance: [K], variance of the items along each, descending.
    """

    centre: Array
    scale: Array
    axes: Array
    variance: Array

    def whiten(self, vectors: NDArray[np.floating], count: int) -> Array:
        """First `count` components of [N, F] vectors at unit variance over the items: [N, count]."""
        standard = (np.asarray(vectors, dtype=np.float64) - self.centre) * self.scale
        return standard @ self.axes[:, :count] / np.sqrt(self.variance[:count])


def principal_components(vectors: NDArray[np.floating]) -> Components:
    """PCA of [I, F] item features by the smaller of the two Gram matrices."""
    wide = np.asarray(vectors, dtype=np.float64)
    centre, spread = wide.mean(axis=0), wide.std(axis=0)
    varies = spread > 1e-6 * max(float(spread.max(initial=0.0)), 1e-12)
    scale = np.where(varies, 1.0 / np.where(varies, spread, 1.0), 0.0)
    standard = (wide - centre) * scale
    items, features = standard.shape
    most = min(MOST_COMPONENTS, items - 1, features)
    if features <= items:
        values, axes = _leading(standard.T @ standard / items, most)
    else:
        values, left = _leading(standard @ standard.T / items, most)
        axes = standard.T @ left / np.sqrt(np.maximum(values, 1e-12) * items)
    kept = values > 1e-8 * max(float(values[0]), 1e-12) if len(values) else values > 0
    axes = axes[:, kept] * _signs(axes[:, kept])
    return Components(centre, scale, axes, values[kept])


@dataclass(frozen=True, slots=True)
class ItemMeans:
    """User-centred ratings per item, of one attribute, each rating by its weight.

    Attributes:
        items: [I'], indices of the items that were rated.
        mean: [I'], weighted mean over raters of (rating - rater's mean).
        count: [I'], sum of the weights: raters, where all are trusted.
        within: Variance of that difference within an item.
        centred: [N], the differences themselves.
        weight: [N], of the ratings, 0..1.
    """

    items: NDArray[np.intp]
    mean: Array
    count: Array
    within: float
    centred: Array
    weight: Array

    def others(self, place: NDArray[np.intp], which: NDArray[np.intp]) -> tuple[Array, Array]:
        """Mean and count of rated items without the rating itself, [N'] both.

        Args:
            place: [N'], the items' places in `items`.
            which: [N'], the ratings' places.
        """
        weight, centred = self.weight[which], self.centred[which]
        count = np.maximum(self.count[place] - weight, 0.0)
        rest = self.mean[place] * self.count[place] - weight * centred
        return np.divide(rest, count, out=np.zeros_like(rest), where=count > 1e-9), count


def item_means(
    users: NDArray[np.intp], items: NDArray[np.intp], scores: Array, weights: RatingWeights
) -> ItemMeans:
    """Means per item of [N] ratings, each minus its user's mean.

    Args:
        users: int [N], and `items` int [N], from 0.
        items: See `users`.
        scores: [N].
        weights: Of the ratings, > 0.
    """
    weight, share = weights.weight, weights.share
    user_count = np.bincount(users, share)
    user_mean = np.bincount(users, share * scores) / np.where(user_count > 0, user_count, 1.0)
    centred = scores - user_mean[users]
    count = np.bincount(items, weight)
    rated = np.flatnonzero(count)
    mean = np.bincount(items, weight * centred)[rated] / count[rated]
    inner = np.zeros(len(count))
    inner[rated] = mean
    freedom = float(weight.sum()) * (1 - len(rated) / len(scores))
    squares = float((weight * (centred - inner[items]) ** 2).sum())
    within = squares / freedom if freedom > 0 else float(centred.var())
    return ItemMeans(
        rated, mean, count[rated].astype(np.float64), max(within, 1e-3), centred, weight
    )


@dataclass(frozen=True, slots=True)
class ItemHead:
    """The population head of one attribute.

    Attributes:
        weights: [F], on standardised features.
        fitted: [I'], its value for the rated items, each by a head that did not see the item.
        between: tau^2, variance of items around the head.
        scale: s_p, standard deviation of the head over items.
    """

    weights: Array
    fitted: Array
    between: float
    scale: float


def fit_item_head(
    components: Components,
    vectors: NDArray[np.floating],
    means: ItemMeans,
    rng: np.random.Generator,
) -> ItemHead:
    """Ridge of the item means on the components; its penalty by a random 80/20 split of the items.

    Args:
        components: Of all items.
        vectors: [I', F], features of the rated items.
        means: Of the rated items.
        rng: Splits the items.
    """
    unit = components.whiten(vectors, len(components.variance))
    items = len(means.items)
    weights = means.count / (means.count + means.within / max(float(means.mean.var()), 1e-3))
    order = rng.permutation(items)
    power, penalty = _best_ridge(
        unit, components.variance, means.mean, weights, order[: items // 5], order[items // 5 :]
    )
    scaled = unit * components.variance ** (power / 2)
    folds = np.empty(items, dtype=np.intp)
    folds[order] = np.arange(items) % FOLDS
    fitted = np.empty(items)
    for fold in range(FOLDS):
        inside = folds != fold
        beta = _ridge(scaled[inside], means.mean[inside], weights[inside], penalty)
        fitted[~inside] = scaled[~inside] @ beta
    beta = _ridge(scaled, means.mean, weights, penalty)
    noise = means.within / means.count
    between = float(np.average((means.mean - fitted) ** 2 - noise, weights=weights))
    back = components.axes @ (beta * components.variance ** (power / 2 - 0.5))
    return ItemHead(back, fitted, max(between, 1e-3), max(float(fitted.std()), 1e-3))


def _best_ridge(
    unit: Array,
    variance: Array,
    target: Array,
    weights: Array,
    outside: NDArray[np.intp],
    inside: NDArray[np.intp],
) -> tuple[float, float]:
    best, found = np.inf, (POWERS[0], float(PENALTIES[-1]))
    for power in POWERS:
        scaled = unit * variance ** (power / 2)
        gram = (scaled[inside] * weights[inside, None]).T @ scaled[inside]
        values, vectors = np.linalg.eigh(gram)
        cross = vectors.T @ (scaled[inside].T @ (weights[inside] * target[inside]))
        ahead = scaled[outside] @ vectors
        unitless = float(np.mean(values))
        for penalty in PENALTIES:
            guess = ahead @ (cross / (np.maximum(values, 0) + penalty * unitless))
            error = float(np.average((target[outside] - guess) ** 2, weights=weights[outside]))
            if error < best:
                best, found = error, (power, float(penalty) * unitless)
    return found


def _ridge(rows: Array, target: Array, weights: Array, penalty: float) -> Array:
    gram = (rows * weights[:, None]).T @ rows + penalty * np.eye(rows.shape[1])
    return np.asarray(np.linalg.solve(gram, rows.T @ (weights * target)), np.float64)


def _leading(symmetric: Array, count: int) -> tuple[Array, Array]:
    """Largest eigenvalues, descending, and their vectors in columns."""
    values, vectors = np.linalg.eigh(symmetric)  # ascending
    return values[::-1][:count].astype(np.float64), vectors[:, ::-1][:, :count].astype(np.float64)


def _signs(axes: Array) -> Array:
    """Signs that make each axis' largest entry positive: an eigenvector's own sign is arbitrary."""
    largest = np.abs(axes).argmax(axis=0)
    return np.where(axes[largest, np.arange(axes.shape[1])] < 0, -1.0, 1.0)
