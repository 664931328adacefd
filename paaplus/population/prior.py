"""The Gaussian prior over users that heads start from, and their posterior under it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paaplus.heads import information_mean, information_posterior

Array = NDArray[np.float64]

HEAD = 3
"""Regressors that every user has: 1, p, delta."""


@dataclass(frozen=True, slots=True)
class Prior:
    """Gaussian prior over users, one per attribute.

    Attributes:
        mean: float64 [A, m].
        covariance: float64 [A, m, m], positive definite.
        noise: float64 [A], variance of one rating around the user's own expectation.
        spread: float64 [A, m, m], mean of psi psi' over ratings: how the regressors vary together where
            people rate. None: as if they did not, each with mean square 1.
        factors: float64 [A, F], of a calibration prior: share of users at each of `noise.FACTORS`. None:
            everybody's ratings scatter alike.
        cross: float64 [A m, A m], covariance of all attributes' weights together, with `covariance` as its
            diagonal blocks. None: attributes say nothing of each other.
    """

    mean: Array
    covariance: Array
    noise: Array
    spread: Array | None = None
    factors: Array | None = None
    cross: Array | None = None

    def posterior(self, gram: Array, moment: Array) -> tuple[Array, Array]:
        """Posterior of users' weights: mean [.., A, m] and each attribute's covariance [.., A, m, m].

        Args:
            gram: [.., A, m, m], sum of w psi psi'.
            moment: [.., A, m], sum of w psi y.
        """
        if self.cross is None:
            return information_posterior(self.mean, self.covariance, self.noise, gram, moment)
        mean, covariance = self.joint_posterior(gram, moment)
        blocks = covariance.reshape(*gram.shape[:-3], *self.mean.shape, *self.mean.shape)
        own = np.moveaxis(np.diagonal(blocks, axis1=-4, axis2=-2), -1, -3)
        return mean.reshape(moment.shape), np.ascontiguousarray(own)

    def posterior_mean(self, gram: Array, moment: Array) -> Array:
        """The mean of `posterior` alone."""
        if self.cross is None:
            return information_mean(self.mean, self.covariance, self.noise, gram, moment)
        mean = information_mean(*self._joint(), *self._joined(gram, moment))
        return mean.reshape(moment.shape)

    def joint_posterior(self, gram: Array, moment: Array) -> tuple[Array, Array]:
        """Posterior over all attributes together: mean [.., A m] and covariance [.., A m, A m]."""
        return information_posterior(*self._joint(), *self._joined(gram, moment))

    def _joint(self) -> tuple[Array, Array, Array]:
        cross = self.cross
        if cross is None:
            cross = block_diagonal(self.covariance)
        return self.mean.reshape(-1), cross, np.ones(())

    def _joined(self, gram: Array, moment: Array) -> tuple[Array, Array]:
        """Statistics of all attributes in units of their noise: [.., A m, A m] and [.., A m]."""
        whole = block_diagonal(gram / self.noise[:, None, None])
        pull = moment / self.noise[:, None]
        return whole, pull.reshape(*moment.shape[:-2], -1)


def block_diagonal(blocks: Array) -> Array:
    """[.., A, m, m] -> [.., A m, A m]."""
    attributes, width = blocks.shape[-3:-1]
    whole = np.zeros((*blocks.shape[:-3], attributes, width, attributes, width))
    for a in range(attributes):
        whole[..., a, :, a, :] = blocks[..., a, :, :]
    return whole.reshape(*blocks.shape[:-3], attributes * width, attributes * width)
