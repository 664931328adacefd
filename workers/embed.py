"""Pictures -> feature vectors, for the items that wait for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from paaplus.errors import TrunkError
from paaplus.store import Store
from paaplus.trunks import Trunk, read_image


@dataclass(frozen=True, slots=True)
class EmbedOutcome:
    """Items embedded, and items whose picture could not be read."""

    embedded: int = 0
    failed: int = 0


def embed_pending(
    store: Store,
    trunk: Trunk,
    images: Path,
    *,
    batch_size: int = 32,
    progress: Callable[[EmbedOutcome], None] | None = None,
) -> EmbedOutcome:
    """Embed every pending item. Each batch is one transaction, so a crash repeats one batch at most.

    Args:
        store: Where items wait and features go.
        trunk: What reads the pictures.
        images: The only folder that pictures are read from.
        batch_size: Pictures at once.
        progress: Told the running total after each batch.

    Returns:
        How many were embedded; a picture that cannot be read marks its item failed, with the reason.
    """
    done = EmbedOutcome()
    while True:
        with store.read() as connection:
            pending = store.items.pending(connection, batch_size)
        if not pending:
            return done
        pictures: dict[str, Image.Image] = {}
        failures: dict[str, str] = {}
        for item_id, uri in pending:
            try:
                pictures[item_id] = read_image(uri, images)
            except TrunkError as error:
                failures[item_id] = str(error)
        vectors = trunk.embed(list(pictures.values())) if pictures else None
        with store.write() as connection:
            if vectors is not None:
                store.items.set_features(connection, trunk.version, list(pictures), vectors)
            for item_id, reason in failures.items():
                store.items.set_failed(connection, item_id, reason)
        done = EmbedOutcome(done.embedded + len(pictures), done.failed + len(failures))
        if progress is not None:
            progress(done)
