"""Reads ratings.parquet and item_features.npz; every fault is told before the first event is made."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paaplus.errors import ConfigError, NotFoundError

WIDEST = 16_384
"""Features of an item that an event may carry."""


def read_ratings(path: Path, task: str | None) -> pd.DataFrame:
    """Ratings in order: user_id, item_id (str) and score (float64).

    Raises:
        NotFoundError: The file or the task is not there.
        ConfigError: The file, an id or a score cannot be read.
    """
    try:
        frame = pd.read_parquet(path)
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} is not there", "name a folder that holds it") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}", "it must be a Parquet file") from error
    wanted = {"user_id", "item_id", "score"} | ({"task"} if task is not None else set())
    if not wanted <= set(frame.columns):
        raise ConfigError(f"{path}: no column {sorted(wanted - set(frame.columns))}", "add it")
    if task is not None:
        tasks = sorted(frame["task"].astype(str).unique())
        frame = frame[frame["task"].astype(str) == task]
        if frame.empty:
            raise NotFoundError(f"{path}: no task {task!r}", f"it has {tasks}")
    for name in ("user_id", "item_id", *({"seq"} & set(frame.columns))):
        if frame[name].isna().any():
            raise ConfigError(f"{path}: a row has no {name} (id or order)", "leave such rows out")
    scores = pd.to_numeric(frame["score"], errors="coerce").to_numpy(dtype=np.float64)
    if not np.isfinite(scores).all():
        raise ConfigError(f"{path}: a score is not a number", "leave such rows out")
    frame = frame.assign(score=scores)
    if "seq" in frame.columns:
        try:
            frame = frame.sort_values("seq", kind="stable")
        except TypeError as error:
            raise ConfigError(f"{path}: seq cannot be sorted ({error})", "use numbers") from error
    return pd.DataFrame(
        {
            "user_id": frame["user_id"].astype(str).to_numpy(),
            "item_id": frame["item_id"].astype(str).to_numpy(),
            "score": frame["score"].to_numpy(dtype=np.float64),
        }
    )


def read_features(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    """Item ids, and their features float32 [I, F]: all float matrices, each centred and scaled.

    Raises:
        NotFoundError: The file is not there.
        ConfigError: It holds no ids, no matrix, or one that does not fit them.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} is not there", "name a folder that holds it") from error
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError(f"{path}: {error}", "it must be an .npz file without objects") from error
    ids = arrays.pop("item_id", np.zeros(()))
    matrices = {
        name: array
        for name, array in arrays.items()
        if getattr(array, "ndim", 0) == 2 and array.size and np.issubdtype(array.dtype, np.floating)
    }
    if getattr(ids, "ndim", 0) != 1 or not matrices:
        raise ConfigError(
            f"{path}: no list `item_id`, or no float matrix", f"it has {sorted(arrays)}"
        )
    item_ids = [str(item_id) for item_id in ids]
    if len(set(item_ids)) < len(item_ids):
        raise ConfigError(f"{path}: an item_id is there twice", "give every item one row")
    blocks = []
    for name, matrix in matrices.items():
        if len(matrix) != len(item_ids):
            raise ConfigError(
                f"{path}: {name} has {len(matrix)} rows for {len(item_ids)} items",
                "give every item one row in every matrix",
            )
        if not np.isfinite(matrix).all():
            raise ConfigError(f"{path}: {name} has values that are no numbers", "mend or drop it")
        block = matrix.astype(np.float64)
        block -= block.mean(axis=0)
        blocks.append(block / max(float(np.sqrt((block**2).mean())), 1e-12))
    vectors = np.concatenate(blocks, axis=1).astype(np.float32)
    if vectors.shape[1] > WIDEST:
        raise ConfigError(
            f"{path}: {vectors.shape[1]} features per item, an event carries {WIDEST}",
            "reduce them, e.g. by principal components",
        )
    return item_ids, vectors


def checked_scale(scale: tuple[float, float] | None, scores: pd.Series[Any]) -> tuple[float, float]:
    """The scale that was given, or the ends of the scores if they are whole numbers.

    Raises:
        ConfigError: It does not rise between two numbers, a score lies outside, or it cannot be seen.
    """
    if scores.empty:
        raise ConfigError("there are no ratings to see a scale of", "give a table with rows")
    low, high = float(scores.min()), float(scores.max())
    if scale is not None:
        if not (np.isfinite(scale).all() and scale[0] < scale[1]):
            raise ConfigError(f"scale {scale[0]:g} to {scale[1]:g} does not rise", "give LOW HIGH")
        if low < scale[0] or high > scale[1]:
            raise ConfigError(
                f"scores from {low:g} to {high:g} lie outside of the scale {scale[0]:g} to {scale[1]:g}",
                "give the lowest and the highest score that people could choose",
            )
        return scale
    if low == high or low != round(low) or high != round(high):
        raise ConfigError(
            f"the scale of the scores cannot be seen from {low:g} to {high:g}",
            "give --scale LOW HIGH",
        )
    return low, high
