"""What a population model knows of items: a table that is sorted by id, searched, and kept as tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ItemTable:
    """Items that the model knows, sorted by id.

    Attributes:
        item_ids: [I] ids.
        known: float32 [I, A, 2]: p by a head that did not see the item, and delta.
        variance: float32 [I, A], variance of delta's error, in squared units of delta.
    """

    item_ids: NDArray[np.str_]
    known: NDArray[np.float32]
    variance: NDArray[np.float32]

    def places(self, item_ids: Sequence[str]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Which of the ids the table knows, and where.

        Args:
            item_ids: Any ids, in any order.

        Returns:
            int [K], positions among `item_ids` of those that it knows, and int [K], their rows.
        """
        wanted = np.asarray(item_ids, dtype=str)
        if not len(self.item_ids) or not len(wanted):
            return np.zeros(0, np.intp), np.zeros(0, np.intp)
        place = np.searchsorted(self.item_ids, wanted)
        place = np.minimum(place, len(self.item_ids) - 1)
        found = np.flatnonzero(self.item_ids[place] == wanted)
        return found, place[found]

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The table as tensors of a model's file.

        Returns:
            `item_bytes` uint8, all ids in UTF-8; `item_offsets` int64 [I + 1], where each begins and the
            last ends; `item_known` and `item_variance`.
        """
        ids = [item_id.encode() for item_id in self.item_ids.tolist()]
        return {
            "item_bytes": np.frombuffer(b"".join(ids), np.uint8),
            "item_offsets": np.cumsum([0, *map(len, ids)]).astype(np.int64),
            "item_known": self.known,
            "item_variance": self.variance,
        }

    @staticmethod
    def from_tensors(tensors: Mapping[str, NDArray[Any]]) -> ItemTable:
        """The table of a model's file, from what `tensors` gave.

        Raises:
            KeyError, ValueError: They are no table.
        """
        text = tensors["item_bytes"].tobytes()
        offsets = tensors["item_offsets"].tolist()
        ids = [text[first:last].decode() for first, last in pairwise(offsets)]
        return ItemTable(np.array(ids, dtype=str), tensors["item_known"], tensors["item_variance"])
