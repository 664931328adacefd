"""Replay memories at rest: rating numbers and reservoir keys, never copied rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

EMPTY = -1
"""Rating number of an empty place of a memory."""


def encode_memory(numbers: NDArray[np.int64], keys: NDArray[np.float64]) -> bytes:
    """One user's memory, int64 [M] and float64 [M], as bytes; empty places are left out."""
    held = numbers != EMPTY
    encoded: bytes = numbers[held].astype("<i8").tobytes() + keys[held].astype("<f8").tobytes()
    return encoded


def decode_memories(
    blobs: Sequence[bytes | None],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Memories of U users as int64 [U, M] (-1 = empty) and float64 [U, M]; M is the largest."""
    size = max((len(blob) // 16 for blob in blobs if blob), default=0)
    numbers = np.full((len(blobs), size), EMPTY, dtype=np.int64)
    keys = np.zeros((len(blobs), size))
    for user, blob in enumerate(blobs):
        held = len(blob) // 16 if blob else 0
        if blob and held:
            numbers[user, :held] = np.frombuffer(blob, "<i8", held)
            keys[user, :held] = np.frombuffer(blob, "<f8", held, 8 * held)
    return numbers, keys
