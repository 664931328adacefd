"""The population model: what everybody's feedback says, under every user's head.

psi(x) = [1, p(x), delta(x), z(x)] per attribute, m = 3 + r:

- p: the population head's score of the item around the mean of all, in its own standard deviations;
- delta: the item's known deviation from that head, in the same units; 0 for an item nobody has rated;
- z: r directions of the standardised feature in a rotated basis shared by users and attributes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from paaplus.atomic import write_whole
from paaplus.errors import PackError
from paaplus.events import ATTRIBUTES
from paaplus.observations import SURVEY
from paaplus.population.channels import Channels, latent_rows, no_channels
from paaplus.population.files import METADATA, read_checked, read_metadata
from paaplus.population.item_table import ItemTable
from paaplus.population.prior import HEAD, Array, Prior
from paaplus.population.survey import SurveyModel

FORMAT = 2
"""Version of the file. A reader takes version 1 too, in which only ratings teach; heads may stand on one."""

_CHANNELS = ("level", "target", "noise", "count")
_SURVEY = ("centre", "scale", "slopes", "power")


@dataclass(frozen=True, slots=True)
class Population:
    """A fitted population model. Make one by `fit_population` or `load_population`.

    Attributes:
        trunk: Version name of the features that it reads.
        prior: Of all m regressors.
        calibration: Of [1, p, delta] alone: the strong baseline of a user's mean and slope.
        items: What is known of items.
        centre: float32 [F], and `scale`, `basis`, `head`: z = ((x - centre) * scale) @ basis, and
            p = ((x - centre) * scale) @ head.
        scale: float32 [F].
        basis: float32 [F, r].
        head: float32 [F, A].
        unseen: float64 [A], variance of an unseen item's deviation, in squared units of delta.
        report: What the fit found, in JSON types.
        channels: What feedback other than ratings says.
        survey: What answers say; None where they say nothing.
    """

    trunk: str
    prior: Prior
    calibration: Prior
    items: ItemTable
    centre: NDArray[np.float32]
    scale: NDArray[np.float32]
    basis: NDArray[np.float32]
    head: NDArray[np.float32]
    unseen: Array
    report: dict[str, Any] = field(default_factory=dict)
    channels: Channels = field(default_factory=lambda: no_channels(len(ATTRIBUTES)))
    survey: SurveyModel | None = None

    @property
    def version(self) -> str:
        """sha256 of the model's file: its name and its check."""
        return hashlib.sha256(self._bytes()).hexdigest()

    def rows(self, item_ids: Sequence[str], features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Design rows psi of N items.

        Args:
            item_ids: N ids.
            features: [N, F], their feature vectors by the trunk.

        Returns:
            float64 [N, A, 3 + r].
        """
        standard = (np.asarray(features, np.float64) - self.centre) * self.scale
        # One item at a time: a matrix product may round a row differently in other company.
        count, attributes = len(item_ids), len(ATTRIBUTES)
        rows = np.zeros((count, attributes, HEAD + self.basis.shape[1]))
        basis, head = self.basis.astype(np.float64).T.copy(), self.head.astype(np.float64).T.copy()
        rows[:, :, 0] = 1.0
        for n in range(count):
            rows[n, :, 1] = head @ standard[n]
            rows[n, :, HEAD:] = basis @ standard[n]
        found, place = self.items.places(item_ids)
        rows[found, :, 1:HEAD] = self.items.known[place]
        return rows

    def observe(
        self,
        channels: NDArray[np.object_],
        signals: Array,
        rows: Array,
        others: Array,
        details: NDArray[np.object_],
    ) -> tuple[Array, Array, Array]:
        """Observations that are no ratings as rows of the regression.

        Args:
            channels: [N] of str, signals [N, A] and details [N], see `paaplus.observations`.
            signals: See `channels`.
            rows: [N, A, m], design rows of the items.
            others: [N, A, m], of the items that they are compared with.
            details: See `channels`.

        Returns:
            Rows [N, A, m], targets [N, A], and weights [N, A] relative to a rating; 0: nothing is said.
        """
        psi = latent_rows(channels, rows, others)
        target, noise = self.channels.read(channels, signals)
        asked = np.flatnonzero(channels == SURVEY)
        if len(asked) and self.survey is not None:
            said = [str(detail) for detail in details[asked]]
            answers = self.survey.rows(said, self.prior.mean, self.prior.covariance)
            psi[asked], target[asked], noise[asked] = answers
        return psi, target, self.prior.noise / noise

    def unseen_variance(self, item_ids: Sequence[str]) -> NDArray[np.float64]:
        """Variance [N, A] of the error of delta: of items that nobody, or hardly anybody, has rated."""
        variance = np.tile(self.unseen, (len(item_ids), 1))
        found, place = self.items.places(item_ids)
        variance[found] = self.items.variance[place]
        return variance

    def save(self, path: Path) -> None:
        """Write the model; a crash leaves either the whole file or none."""
        write_whole(path, self._bytes(), root=path.parent.parent)

    def _bytes(self) -> bytes:
        tensors = {
            **self.items.tensors(),
            "centre": self.centre,
            "scale": self.scale,
            "basis": self.basis,
            "head": self.head,
            "unseen": self.unseen,
        }
        for name, prior in (("prior", self.prior), ("calibration", self.calibration)):
            tensors[f"{name}_mean"] = prior.mean
            tensors[f"{name}_covariance"] = prior.covariance
            tensors[f"{name}_noise"] = prior.noise
        if self.prior.spread is not None:
            tensors["prior_spread"] = self.prior.spread
        if self.prior.cross is not None:
            tensors["prior_cross"] = self.prior.cross
        if self.calibration.factors is not None:
            tensors["calibration_factors"] = self.calibration.factors
        about = {"format": FORMAT, "trunk": self.trunk, "report": self.report}
        about["channels"] = self.channels.names.tolist()
        for part in _CHANNELS:
            tensors[f"channels_{part}"] = getattr(self.channels, part)
        if self.survey is not None:
            about["survey"] = [list(column) for column in self.survey.columns]
            for part in _SURVEY:
                tensors[f"survey_{part}"] = getattr(self.survey, part)
        contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
        return save(contiguous, {METADATA: json.dumps(about, sort_keys=True)})


def load_population(path: Path, version: str) -> Population:
    """Read a model.

    Args:
        path: The file.
        version: sha256 that its bytes must have.

    Raises:
        PackError: No such file, other bytes than the version says, or not a population model.
    """
    content = read_checked(path, version)
    try:
        about = read_metadata(content)
        tensors = load(content)
        if about["format"] not in (1, FORMAT):
            raise ValueError(f"format {about['format']}")
        return _from_tensors(about, tensors)
    except (SafetensorError, KeyError, ValueError, TypeError, IndexError) as error:
        raise PackError(
            f"population model {path}: not of format {FORMAT} ({error})",
            "it was written by another version of paaplus, or by something else",
        ) from error


def _from_tensors(about: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Population:
    priors = [
        Prior(*(tensors[f"{name}_{part}"] for part in ("mean", "covariance", "noise")))
        for name in ("prior", "calibration")
    ]
    channels, survey = no_channels(len(ATTRIBUTES)), None
    if "channels" in about:
        names = np.array(about["channels"], dtype=str).reshape(-1)
        channels = Channels(names, *(tensors[f"channels_{part}"] for part in _CHANNELS))
    if "survey" in about:
        columns = tuple((question, answer) for question, answer in about["survey"])
        survey = SurveyModel(columns, *(tensors[f"survey_{part}"] for part in _SURVEY))
    return Population(
        trunk=str(about["trunk"]),
        prior=replace(
            priors[0], spread=tensors.get("prior_spread"), cross=tensors.get("prior_cross")
        ),
        calibration=replace(priors[1], factors=tensors.get("calibration_factors")),
        items=ItemTable.from_tensors(tensors),
        centre=tensors["centre"],
        scale=tensors["scale"],
        basis=tensors["basis"],
        head=tensors["head"],
        unseen=tensors["unseen"],
        report=dict(about["report"]),
        channels=channels,
        survey=survey,
    )
