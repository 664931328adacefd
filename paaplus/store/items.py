"""Items and their feature vectors, keyed by item and trunk version."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, func, insert, select, update

from paaplus.errors import EventError, StoreError
from paaplus.events import Item, encode
from paaplus.store.sql import chunks, one_of, upsert
from paaplus.store.tables import feature, item

Verdict = Literal["accepted", "duplicate"] | EventError
"""What became of an arrival."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Items:
    """Reads and writes items. Every method runs in the caller's transaction."""

    def add(self, connection: Connection, items: Sequence[Item]) -> list[Verdict]:
        """Write item events; one verdict each.

        An item's picture and features never change, or a head would not be a function of its
        user's events: the same again is a duplicate, something else is refused.
        """
        digests = self._digests(connection, {event.item_id for event in items})
        verdicts: list[Verdict] = []
        rows: list[dict[str, object]] = []
        vectors: list[dict[str, object]] = []
        for event in items:
            content = _without_envelope(event)
            digest = hashlib.sha256(encode(content)).digest()
            if event.item_id in digests:
                same = digests[event.item_id] == digest
                verdicts.append("duplicate" if same else _changed(event))
            else:
                digests[event.item_id] = digest
                verdicts.append("accepted")
                rows.append(
                    {
                        "item_id": event.item_id,
                        "image_uri": event.image_uri,
                        "state": "pending" if event.image_uri is not None else "ready",
                        "error": None,
                        "digest": digest,
                        "body": encode(msgspec.structs.replace(content, features=None)),
                    }
                )
                if event.features is not None:
                    vector = np.asarray(event.features, dtype=np.float64)
                    vectors.append(_vector_row(event.item_id, event.trunk, vector))
        if rows:
            connection.execute(insert(item), rows)
        if vectors:
            connection.execute(insert(feature), vectors)
        return verdicts

    def known(self, connection: Connection, item_ids: Collection[str]) -> set[str]:
        """Those of the ids that have been announced."""
        found: set[str] = set()
        for some in chunks(sorted(item_ids)):
            found.update(
                connection.scalars(
                    select(item.c.item_id).where(one_of(connection, item.c.item_id, some))
                )
            )
        return found

    def pending(self, connection: Connection, limit: int) -> list[tuple[str, str]]:
        """(item_id, image_uri) of items that wait for a trunk, in the order of their ids."""
        query = (
            select(item.c.item_id, item.c.image_uri)
            .where(item.c.state == "pending")
            .order_by(item.c.item_id)
            .limit(limit)
        )
        return [(str(item_id), str(uri)) for item_id, uri in connection.execute(query)]

    def set_features(
        self,
        connection: Connection,
        trunk: str,
        item_ids: Sequence[str],
        vectors: NDArray[np.float32],
    ) -> None:
        """Write embeddings, [N, F] in the order of the ids, and mark the items ready."""
        rows = [_vector_row(i, trunk, v) for i, v in zip(item_ids, vectors, strict=True)]
        upsert(connection, feature, rows, update=["vector"])
        for some in chunks(item_ids):
            connection.execute(
                update(item).where(one_of(connection, item.c.item_id, some)).values(state="ready")
            )

    def set_failed(self, connection: Connection, item_id: str, error: str) -> None:
        """Note that the item's picture cannot be read; its ratings teach nothing."""
        connection.execute(
            update(item).where(item.c.item_id == item_id).values(state="failed", error=error)
        )

    def retry_failed(self, connection: Connection) -> int:
        """Make failed items pending again; how many."""
        done = connection.execute(
            update(item).where(item.c.state == "failed").values(state="pending", error=None)
        )
        return int(done.rowcount)

    def states(self, connection: Connection) -> dict[str, int]:
        """Number of items by state."""
        query = select(item.c.state, func.count()).group_by(item.c.state)
        return {str(state): int(count) for state, count in connection.execute(query)}

    def waiting(self, connection: Connection, item_ids: Iterable[str]) -> set[str]:
        """Those of the ids whose features are still to be computed."""
        found: set[str] = set()
        for some in chunks(sorted(set(item_ids))):
            query = select(item.c.item_id).where(
                one_of(connection, item.c.item_id, some), item.c.state == "pending"
            )
            found.update(connection.scalars(query))
        return found

    def features(
        self, connection: Connection, trunk: str, item_ids: Collection[str] | None = None
    ) -> tuple[list[str], NDArray[np.float32]]:
        """Feature vectors of one trunk version.

        Args:
            connection: A transaction of the store.
            trunk: Version name of the trunk.
            item_ids: Which; None for all.

        Returns:
            The ids that have one, sorted, and a float32 matrix [N, F] in their order.

        Raises:
            StoreError: Vectors of unequal width lie under the same trunk name.
        """
        query = select(feature.c.item_id, feature.c.vector).where(feature.c.trunk == trunk)
        parts = (
            [query]
            if item_ids is None
            else [
                query.where(one_of(connection, feature.c.item_id, some))
                for some in chunks(sorted(item_ids))
            ]
        )
        found = sorted((str(i), bytes(v)) for part in parts for i, v in connection.execute(part))
        widths = {len(vector) for _, vector in found}
        if len(widths) > 1:
            raise StoreError(
                f"features of trunk {trunk!r} have widths {sorted(w // 2 for w in widths)}",
                "name every kind of feature vector by a `trunk` of its own in its item events",
            )
        flat = np.frombuffer(b"".join(vector for _, vector in found), dtype="<f2")
        width = widths.pop() // 2 if widths else 0
        return [i for i, _ in found], flat.astype(np.float32).reshape(len(found), width)

    def _digests(self, connection: Connection, item_ids: Collection[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for some in chunks(sorted(item_ids)):
            query = select(item.c.item_id, item.c.digest).where(
                one_of(connection, item.c.item_id, some)
            )
            found.update((str(i), bytes(digest)) for i, digest in connection.execute(query))
        return found


def _without_envelope(event: Item) -> Item:
    """The item itself, whichever event carried it and when."""
    return msgspec.structs.replace(event, event_id=UUID(int=0), occurred_at=_EPOCH)


def _vector_row(item_id: str, trunk: str, vector: NDArray[np.floating]) -> dict[str, object]:
    with np.errstate(over="ignore"):
        half = vector.astype("<f2")
    limit = np.finfo(np.float16).max
    return {"item_id": item_id, "trunk": trunk, "vector": np.clip(half, -limit, limit).tobytes()}


def _changed(event: Item) -> EventError:
    return EventError(
        "item_changed",
        "$.item_id",
        f"item {event.item_id[:80]!r} was announced before with another content",
        "an item never changes: announce the new picture under a new item_id",
    )
