"""Loader of `paaplus://` models for MLflow's pyfunc: the same scores as `paaplus.scoring`.

Input is a DataFrame with the columns

* `item_id`: str; an item that the population model has not seen is scored from its features alone;
* `features`: list of float or 1-D array, the item's vector of the trunk in the model's metadata;
* `user_id`: str, only for a release, which holds many users. It is required: nobody is the default.

Output is a DataFrame with the input's index and the columns `appearance`, `health`, `posture`
(expected rating, 0..10) and `appearance_std`, `health_std`, `posture_std` (standard deviation of
one new rating), all float64.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from paaplus.errors import NotFoundError, PackError, TrunkError
from paaplus.heads import Head, predict
from paaplus.packs import Pack
from paaplus.population import Population, load_population
from paaplus.registry.layout import FORMAT, output_columns


class PopulationHeads:
    """Heads over one population model.

    Args:
        population: The model under the heads.
        head: Gives the head of a user; it is asked for "" if `user_column` is false.
        user_column: Whether rows say whom they are for.
    """

    def __init__(
        self, population: Population, head: Callable[[str], Head], *, user_column: bool
    ) -> None:
        self._population = population
        self._head = head
        self._user_column = user_column

    def predict(self, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """Score rows; see the module for the columns.

        Raises:
            NotFoundError: A column is missing, or a user has no head here.
            TrunkError: Feature vectors that are not all numbers and of one width.
        """
        users = self._column(model_input, "user_id") if self._user_column else None
        item_ids = self._column(model_input, "item_id")
        features = _matrix(self._column(model_input, "features"), self._population.trunk)
        scores = np.empty((len(item_ids), len(output_columns())))
        groups = _positions(users if users is not None else [""] * len(item_ids))
        for user_id, at in groups.items():
            scores[at] = self._score(user_id, [item_ids[i] for i in at], features[at])
        return pd.DataFrame(scores, index=model_input.index, columns=output_columns())

    def _score(
        self, user_id: str, item_ids: list[str], features: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        head = self._head(user_id)
        rows = self._population.rows(item_ids, features)
        unseen = self._population.unseen_variance(item_ids)
        noise = self._population.prior.noise if head.noise is None else head.noise
        return np.concatenate(predict(head.mean, head.covariance, rows, noise, unseen), axis=1)

    def _column(self, model_input: pd.DataFrame, name: str) -> list[Any]:
        if not isinstance(model_input, pd.DataFrame) or name not in model_input.columns:
            raise NotFoundError(
                f"the input has no column {name!r}",
                "give a DataFrame with item_id, features"
                + (" and user_id" if self._user_column else ""),
            )
        values = model_input[name].tolist()
        if name != "features" and not all(isinstance(value, str) for value in values):
            raise NotFoundError(f"column {name!r} holds more than text", "give ids as str")
        return values


def _load_pyfunc(path: str) -> PopulationHeads:
    """Called by MLflow with the `data` folder of a model.

    Raises:
        PackError: Damaged files, or of another format.
    """
    folder = Path(path)
    about = json.loads((folder / "model.json").read_bytes())
    if about.get("format") != FORMAT:
        raise PackError(
            f"{folder}: model files of format {about.get('format')}, this paaplus reads {FORMAT}",
            f"install the paaplus that wrote it: {about.get('code')}",
        )
    population = load_population(folder / "population.safetensors", about["population"])
    if about["kind"] == "release":
        pack = Pack(folder / "pack.safetensors", about["pack"])
        return PopulationHeads(
            population, lambda user: pack.head(pack.row_of(user), user), user_column=True
        )
    try:
        tensors = load_file(folder / "head.safetensors")
        head = Head(tensors["mean"], tensors["covariance"], tensors.get("noise"))
    except (SafetensorError, KeyError, OSError) as error:
        raise PackError(
            f"{folder}: not a head ({type(error).__name__}: {error})", "download the model again"
        ) from error
    return PopulationHeads(population, lambda _: head, user_column=False)


def _positions(users: list[str]) -> dict[str, list[int]]:
    """Rows of each user: a user's rows are scored together, as `Scorer` does."""
    groups: dict[str, list[int]] = {}
    for i, user_id in enumerate(users):
        groups.setdefault(user_id, []).append(i)
    return groups


def _matrix(vectors: list[Any], trunk: str) -> NDArray[np.float32]:
    try:
        matrix = np.array(vectors, dtype=np.float32)
        if not vectors:
            return matrix.reshape(0, 0)
        if matrix.ndim == 2 and np.isfinite(matrix).all():
            return matrix
        found = f"an array of shape {matrix.shape}, or numbers that are not finite"
    except (TypeError, ValueError) as error:
        found = str(error)
    raise TrunkError(
        f"column 'features' is not one vector per row: {found}",
        f"give each row the item's whole feature vector of trunk {trunk!r}",
    )
