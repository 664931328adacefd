"""Begins a fit where the last one stood: the last prior in the coordinates of this one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from paaplus.events import ATTRIBUTES
from paaplus.population.choose import Start
from paaplus.population.em import Gaussian
from paaplus.population.model import Population
from paaplus.population.prior import HEAD, Array
from paaplus.population.rotation import turned


def warm_start(
    last: Population | None, trunk: str, a: int, vectors: NDArray[np.float32], unit: Array
) -> Start | None:
    """What EM may go on from in attribute a; None where the last fit saw other features or found no tastes.

    The directions of the last model are linear in the features, as those of this fit are; so they are least
    squares in them over the items. Where the last model kept no direction, the least variance that it kept is
    assumed: EM lowers a variance in a few steps but takes many to raise one from nothing.

    Args:
        last: The last model, if any.
        trunk: Version name of the features.
        a: Number of the attribute.
        vectors: [I, F], features of all items.
        unit: [I, k], their coordinates in this fit.
    """
    if last is None or last.trunk != trunk:
        return None
    form = last.report.get(ATTRIBUTES[a], {}).get("form", "calibration")
    if form == "calibration":
        return None
    directions = ((vectors.astype(np.float64) - last.centre) * last.scale) @ last.basis
    turn = np.linalg.lstsq(unit, directions, rcond=None)[0].astype(np.float64)  # [k, r]
    whole = turned(turn)
    covariance = whole @ last.prior.covariance[a] @ whole.T
    least = float(np.linalg.eigvalsh(last.prior.covariance[a, HEAD:, HEAD:])[0])
    place = np.arange(HEAD, len(covariance))
    covariance[place, place] += max(least, 1e-6)
    return Start(form, Gaussian(np.zeros(len(covariance)), covariance, float(last.prior.noise[a])))
