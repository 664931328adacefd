"""What scoring asks of the store, one short transaction each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from paaplus.store import Champion, Store


class StoreSource:
    """Answers the questions of `paaplus.scoring.ScoreSource` from a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def champion(self, user_id: str) -> Champion | None:
        """The user's champion pointer."""
        with self._store.read() as connection:
            return self._store.ledger.champions(connection, [user_id]).get(user_id)

    def version(self, user_id: str, version: int) -> Champion | None:
        """A pointer to an earlier version of the user's head."""
        with self._store.read() as connection:
            history = self._store.ledger.history(connection, user_id)
        for entry in history:
            if entry.version == version:
                return Champion(user_id, version, entry.pack, entry.row, entry.population, 0)
        return None

    def current_population(self) -> str | None:
        """The version that strangers are scored with."""
        with self._store.read() as connection:
            row = self._store.populations.current(connection)
        return None if row is None else row.version

    def feature_matrix(
        self, item_ids: Sequence[str], trunk: str
    ) -> tuple[list[str], NDArray[np.float32]]:
        """Ids that have features, and their vectors [N, F]."""
        with self._store.read() as connection:
            return self._store.items.features(connection, trunk, item_ids)

    def known_items(self, item_ids: Sequence[str]) -> set[str]:
        """Those of the ids that have been announced."""
        with self._store.read() as connection:
            return self._store.items.known(connection, item_ids)
