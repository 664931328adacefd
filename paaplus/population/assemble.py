"""Puts the attributes' fits into one population model, in a basis that they share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from paaplus.events import ATTRIBUTES
from paaplus.population.attribute import AttributeFit
from paaplus.population.choose import Choice
from paaplus.population.item_table import ItemTable
from paaplus.population.items import Components
from paaplus.population.model import Population
from paaplus.population.noise import FACTORS
from paaplus.population.prior import HEAD, Array, Prior
from paaplus.population.rotation import cut, leading_axes, turned


def find_rotation(choices: list[Choice]) -> tuple[Array, float]:
    """Axes [k, r] of the mean covariance of tastes, and the share of variance that they keep."""
    blocks = [choice.prior.covariance[HEAD:, HEAD:] for choice in choices]
    block = np.mean(blocks, axis=0)
    axes = leading_axes(block)
    share = float(np.trace(axes.T @ block @ axes) / np.trace(block))
    return axes, share


def assemble(
    trunk: str,
    item_ids: NDArray[np.str_],
    vectors: NDArray[np.float32],
    components: Components,
    fits: dict[int, AttributeFit],
    rotation: Array,
) -> Population:
    """The population model.

    Args:
        trunk: Version name of the features.
        item_ids: [I], sorted, and `vectors` [I, F], all items.
        vectors: See `item_ids`.
        components: Of their features.
        fits: By number of the attribute; an attribute that is not there has no ratings to speak of.
        rotation: [k, r], from `find_rotation`.
    """
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
        prior.mean[:, :HEAD].copy(), prior.covariance[:, :HEAD, :HEAD].copy(), prior.noise.copy(),
        factors=np.tile((np.array(FACTORS) == 1.0).astype(np.float64), (attributes, 1)),
    )  # fmt: skip
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
        small = cut(fit.choice.prior, rotation)
        prior.mean[a], prior.covariance[a] = small.mean, small.covariance
        prior.mean[a, 0] += fit.mean
        prior.noise[a] = small.noise * fit.choice.scale
        assert prior.spread is not None
        prior.spread[a] = turned(rotation).T @ fit.spread @ turned(rotation)
        calibration.mean[a] = fit.choice.head.mean
        calibration.mean[a, 0] += fit.mean
        calibration.covariance[a] = fit.choice.head.covariance
        calibration.noise[a] = fit.choice.head.noise
        assert calibration.factors is not None
        calibration.factors[a] = fit.factors
        report[ATTRIBUTES[a]] = {
            "form": fit.choice.form,
            "densities": {k: round(v, 5) for k, v in fit.choice.densities.items()},
            "noise": round(float(prior.noise[a]), 4),
            "noise_scale": fit.choice.scale,
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
