"""Fits the population model on everybody's feedback."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paaplus.errors import NotEnoughDataError
from paaplus.events import ATTRIBUTES
from paaplus.population.choose import Choice, Progress, UserRatings, choose_prior
from paaplus.population.items import (
    Components,
    ItemHead,
    ItemMeans,
    fit_item_head,
    item_means,
    principal_components,
)
from paaplus.population.model import ItemTable, Population
from paaplus.population.prior import (
    HEAD,
    Array,
    Gaussian,
    Moments,
    Prior,
    fit_calibration,
    fit_power_law,
)
from paaplus.population.teach import Taught, fit_teaching, teaching_report
from paaplus.population.trust import LEAST, fit_trust

DIRECTIONS = 64
"""Directions that tastes are looked for in, before the rotation."""

CUT = 16
"""Rotated directions that are kept, those along which tastes differ most: a state is 2.6 KB with them."""

MOST_USERS = 1500
"""Users that the prior is fitted on, evenly picked: more would not make it any surer, and each costs 100 KB.
All count in the item means."""

CONSTANT = 0.05
"""Variance of a user's ratings, next to the usual one, below which they are all the same."""

FEWEST_USERS, FEWEST_ITEMS, FEWEST_RATINGS = 5, 20, 100
"""Below these an attribute has no population model."""


@dataclass(frozen=True, slots=True)
class Ratings:
    """Ratings to fit on; row i is one event.

    Attributes:
        user_ids: [N] of str.
        item_ids: [N] of str, each with features.
        scores: float64 [N, A] on 0..10; NaN = not rated.
    """

    user_ids: NDArray[np.object_]
    item_ids: NDArray[np.object_]
    scores: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ItemFeatures:
    """Feature vectors of items: ids [I] of str, vectors float32 [I, F]."""

    item_ids: NDArray[np.object_]
    vectors: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Attribute:
    """The fit of one attribute on the way."""

    mean: float
    means: ItemMeans
    head: ItemHead
    choice: Choice
    spread: Array
    trust: Array


def fit_population(
    ratings: Ratings,
    items: ItemFeatures,
    *,
    trunk: str,
    seed: int,
    taught: Taught | None = None,
    progress: Progress | None = None,
) -> Population:
    """Fit head, item deviations, prior and rotation, and what feedback other than ratings is worth.

    The result depends on the ratings and the seed, not on the order of the rows. An attribute that hardly
    anybody rated gets the middle of the scale with a wide prior, and no personal directions.

    Raises:
        NotEnoughDataError: No attribute has enough ratings, users and items.
    """
    tell = progress or (lambda step, share: None)
    rng = np.random.default_rng(seed)
    item_ids, item_order = np.unique(items.item_ids.astype(str), return_index=True)
    vectors = items.vectors[item_order]
    user_ids, users = np.unique(ratings.user_ids.astype(str), return_inverse=True)
    rated = np.searchsorted(item_ids, ratings.item_ids.astype(str))
    order = np.lexsort((*np.nan_to_num(ratings.scores, nan=-1.0).T, rated, users))
    users, rated, scores = users[order], rated[order], ratings.scores[order]

    tell("features", 0.0)
    components = principal_components(vectors)
    directions = min(DIRECTIONS, len(components.variance), max(1, len(item_ids) // 4))
    unit = components.whiten(vectors, directions)
    spectrum = components.variance[:directions] / components.variance[0]
    fits: dict[int, _Attribute] = {}
    for a, name in enumerate(ATTRIBUTES):
        tell(name, 0.2 + 0.25 * a)
        given = ~np.isnan(scores[:, a])
        if _enough(users[given], rated[given]):
            fits[a] = _fit_attribute(
                users[given],
                rated[given],
                scores[given, a],
                components,
                vectors,
                unit,
                spectrum,
                rng,
            )
    if not fits:
        raise NotEnoughDataError(
            f"population: {len(scores)} ratings by {len(user_ids)} users of "
            f"{len(np.unique(rated))} items are too few",
            f"wait for {FEWEST_RATINGS} ratings by {FEWEST_USERS} users of {FEWEST_ITEMS} items",
        )
    tell("rotation", 0.95)
    rotation, kept = _rotation([fit.choice for fit in fits.values()])
    model = _assemble(trunk, item_ids, vectors, components, fits, rotation)
    model.report.update(
        users=len(user_ids),
        items=len(np.unique(rated)),
        ratings=len(scores),
        directions=rotation.shape[1],
        kept=round(kept, 4),
    )
    if taught is not None and len(taught.user_ids):
        tell("other feedback", 0.97)
        table = model.rows(item_ids.tolist(), vectors)
        rows = dict(zip(item_ids.tolist(), table, strict=True))
        model = fit_teaching(
            model, taught, user_ids[users].astype(object), rated, scores, rows, table
        )
        model.report["teaching"] = teaching_report(model)
    tell("done", 1.0)
    return model


def _enough(users: NDArray[np.intp], items: NDArray[np.intp]) -> bool:
    return (
        len(users) >= FEWEST_RATINGS
        and len(np.unique(users)) >= FEWEST_USERS
        and len(np.unique(items)) >= FEWEST_ITEMS
    )


def _fit_attribute(
    users: NDArray[np.intp],
    items: NDArray[np.intp],
    scores: Array,
    components: Components,
    vectors: NDArray[np.float32],
    unit: Array,
    spectrum: Array,
    rng: np.random.Generator,
) -> _Attribute:
    mean = float(scores.mean())
    folds, halves = rng.integers(2**63, size=2)
    says = np.flatnonzero(_says_something(users, scores))
    every = np.unique(users[says])
    some = says[np.isin(users[says], every[:: -(-len(every) // MOST_USERS)])]
    trust: Array | None = None

    def ratings_of(which: NDArray[np.intp]) -> UserRatings:
        return _by_user(users[which], _rows(items, which, means, head, unit), scores[which] - mean)

    for _ in range(2):  # all alike at first; then by how consistent they are
        means = item_means(users, items, scores, trust)
        head = fit_item_head(components, vectors[means.items], means, np.random.default_rng(folds))
        ratings = ratings_of(some)
        if trust is None:
            first = fit_power_law(ratings.moments, fit_calibration(ratings.moments), spectrum)
            trust = np.full(int(users.max()) + 1, LEAST)
            for begin in range(0, len(every), MOST_USERS):
                chunk = every[begin : begin + MOST_USERS]
                mine = says[np.isin(users[says], chunk)]
                trust[chunk] = fit_trust(first, ratings_of(mine).moments)
    choice = choose_prior(
        ratings, spectrum, head.between / head.scale**2, np.random.default_rng(halves)
    )
    spread = ratings.rows.T @ ratings.rows / len(ratings.rows)
    assert trust is not None
    return _Attribute(mean, means, head, choice, spread, trust[np.unique(users)])


def _rows(
    items: NDArray[np.intp], which: NDArray[np.intp], means: ItemMeans, head: ItemHead, unit: Array
) -> Array:
    """Design rows [N', 3 + k] of some ratings."""
    place = np.searchsorted(means.items, items[which])
    # The rater's own rating is left out of delta: at training time it would predict itself.
    left_out, others = means.others(place, which)
    shrunk = head.between * others / (head.between * others + means.within)
    delta = shrunk * (left_out - head.fitted[place])
    fixed = np.stack([np.ones(len(which)), head.fitted[place], delta], axis=1)
    fixed[:, 1:] /= head.scale
    return np.concatenate([fixed, unit[items[which]]], axis=1)


def _says_something(users: NDArray[np.intp], scores: Array) -> NDArray[np.bool_]:
    """Ratings [N] of users who tell items apart: who gives all the same score has no taste to learn of."""
    count = np.maximum(np.bincount(users), 1)
    mean = np.bincount(users, scores) / count
    variance = np.bincount(users, (scores - mean[users]) ** 2) / count
    usual = float(np.median(variance[np.unique(users)]))
    silent = (variance < CONSTANT * usual) & (count >= 5)
    return ~silent[users] if not silent[users].all() else np.ones(len(users), bool)


def _by_user(users: NDArray[np.intp], rows: Array, scores: Array) -> UserRatings:
    """Group rows that are sorted by user."""
    first = np.flatnonzero(np.concatenate([[True], users[1:] != users[:-1]]))
    start = np.append(first, len(users)).astype(np.int64)
    width = rows.shape[1]
    gram = np.empty((len(first), width, width))
    for u in range(len(first)):
        mine = rows[start[u] : start[u + 1]]
        gram[u] = mine.T @ mine
    moments = Moments(
        gram=gram,
        cross=np.add.reduceat(rows * scores[:, None], first, axis=0),
        square=np.add.reduceat(scores**2, first),
        count=np.diff(start).astype(np.float64),
    )
    return UserRatings(start, rows, scores, moments)


def _rotation(choices: list[Choice]) -> tuple[Array, float]:
    """Axes [k, r] of the mean covariance of tastes, and the share of variance that they keep."""
    blocks = [choice.prior.covariance[HEAD:, HEAD:] for choice in choices]
    block = np.mean(blocks, axis=0)
    values, axes = np.linalg.eigh(block)
    values, axes = values[::-1], axes[:, ::-1]
    share = float(values[:CUT].sum() / values.sum())
    count = min(CUT, len(values))
    largest = np.abs(axes).argmax(axis=0)
    axes = axes * np.where(axes[largest, np.arange(len(values))] < 0, -1.0, 1.0)
    return axes[:, :count], share


def _turn(rotation: Array) -> Array:
    """[HEAD + k, HEAD + r]: leaves the first regressors alone and rotates the directions."""
    directions, count = rotation.shape
    turn = np.zeros((HEAD + directions, HEAD + count))
    turn[:HEAD, :HEAD] = np.eye(HEAD)
    turn[HEAD:, HEAD:] = rotation
    return turn


def _rotated(prior: Gaussian, rotation: Array, mean: float) -> tuple[Array, Array, float]:
    """A prior in the rotated basis, with the mean of all ratings back on its intercept."""
    count, turn = rotation.shape[1], _turn(rotation)
    covariance = turn.T @ prior.covariance @ turn
    block = prior.covariance[HEAD:, HEAD:]
    dropped = float(np.trace(block) - np.trace(covariance[HEAD:, HEAD:]))
    weights = np.pad(prior.mean[:HEAD], (0, count))
    weights[0] += mean
    return weights, 0.5 * (covariance + covariance.T), prior.noise + max(dropped, 0.0)


def _assemble(
    trunk: str,
    item_ids: NDArray[np.str_],
    vectors: NDArray[np.float32],
    components: Components,
    fits: dict[int, _Attribute],
    rotation: Array,
) -> Population:
    attributes, width = len(ATTRIBUTES), HEAD + rotation.shape[1]
    rated = np.unique(np.concatenate([fit.means.items for fit in fits.values()]))
    known = np.zeros((len(rated), attributes, 2))
    variance = np.zeros((len(rated), attributes))
    unseen = np.zeros(attributes)
    head = np.zeros((len(components.centre), attributes))
    # An attribute without ratings: the middle of the scale, and everything possible around it.
    prior = Prior(
        np.tile(np.eye(width)[0] * 5.0, (attributes, 1)),
        np.tile(np.diag([4.0] + [1e-4] * (width - 1)), (attributes, 1, 1)),
        np.full(attributes, 4.0),
        np.tile(np.eye(width), (attributes, 1, 1)),
    )
    calibration = Prior(
        prior.mean[:, :HEAD].copy(), prior.covariance[:, :HEAD, :HEAD].copy(), prior.noise.copy()
    )
    report: dict[str, Any] = {}
    standard_weights = components.axes / np.sqrt(components.variance)
    basis = standard_weights[:, : rotation.shape[0]] @ rotation
    for a, fit in fits.items():
        own, rest = fit.means, fit.head
        unseen[a] = rest.between / rest.scale**2
        head[:, a] = rest.weights / rest.scale
        standard = (vectors[rated] - components.centre) * components.scale
        known[:, a, 0] = standard @ head[:, a]  # for items that were rated in other attributes only
        place = np.searchsorted(rated, own.items)
        shrunk = rest.between * own.count / (rest.between * own.count + own.within)
        known[place, a, 0] = rest.fitted / rest.scale
        known[place, a, 1] = shrunk * (own.mean - rest.fitted) / rest.scale
        variance[:, a] = unseen[a]
        variance[place, a] = unseen[a] * (1 - shrunk)
        prior.mean[a], prior.covariance[a], prior.noise[a] = _rotated(
            fit.choice.prior, rotation, fit.mean
        )
        assert prior.spread is not None
        prior.spread[a] = _turn(rotation).T @ fit.spread @ _turn(rotation)
        calibration.mean[a] = fit.choice.head.mean
        calibration.mean[a, 0] += fit.mean
        calibration.covariance[a] = fit.choice.head.covariance
        calibration.noise[a] = fit.choice.head.noise
        report[ATTRIBUTES[a]] = {
            "form": fit.choice.form,
            "densities": {k: round(v, 5) for k, v in fit.choice.densities.items()},
            "noise": round(float(prior.noise[a]), 4),
            "distrusted": int((fit.trust < 0.5).sum()),
        }
    return Population(
        trunk=trunk,
        prior=prior,
        calibration=calibration,
        items=ItemTable(
            item_ids[rated].astype(str), known.astype(np.float32), variance.astype(np.float32)
        ),
        centre=components.centre.astype(np.float32),
        scale=components.scale.astype(np.float32),
        basis=basis.astype(np.float32),
        head=head.astype(np.float32),
        unseen=unseen,
        report=report,
    )
