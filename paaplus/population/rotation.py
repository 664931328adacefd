"""The directions that are kept: those along which tastes differ most."""

from __future__ import annotations

import numpy as np

from paaplus.population.em import Gaussian
from paaplus.population.prior import HEAD, Array

CUT = 16
"""Rotated directions that are kept, those along which tastes differ most: a state is 2.6 KB with them."""


def turned(rotation: Array) -> Array:
    """[HEAD + k, HEAD + r] of a rotation [k, r] of the directions: the first regressors stay."""
    directions, count = rotation.shape
    turn = np.zeros((HEAD + directions, HEAD + count))
    turn[:HEAD, :HEAD] = np.eye(HEAD)
    turn[HEAD:, HEAD:] = rotation
    return turn


def leading_axes(block: Array) -> Array:
    """Axes [k, r] of a covariance of tastes [k, k], those along which they differ most, r = CUT at most."""
    _, axes = np.linalg.eigh(block)
    axes = axes[:, ::-1][:, :CUT]
    largest = np.abs(axes).argmax(axis=0)
    turned_up: Array = axes * np.where(axes[largest, np.arange(axes.shape[1])] < 0, -1.0, 1.0)
    return turned_up


def cut(prior: Gaussian, rotation: Array) -> Gaussian:
    """The prior on rotated directions [k, r]; tastes along those that are left out are noise."""
    turn = turned(rotation)
    covariance = turn.T @ prior.covariance @ turn
    block = slice(HEAD, None)
    left_out = np.trace(prior.covariance[block, block]) - np.trace(covariance[block, block])
    return Gaussian(
        prior.mean @ turn,
        0.5 * (covariance + covariance.T),
        prior.noise + max(float(left_out), 0.0),
    )
