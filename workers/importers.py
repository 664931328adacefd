"""Ratings that somebody has -> events. The same folder gives the same event ids, so twice is once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid5

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paaplus.errors import ConfigError, EventError
from paaplus.events import ATTRIBUTES, Item, Rating, Scores, decode, encode
from workers.rating_files import checked_scale, read_features, read_ratings

NAMESPACE = UUID("3b6f4f0e-6a0c-5f0e-9a52-1d1f6d5f6a10")
"""Of the event ids made here."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""Time of imported events, which bring none: this, plus a microsecond per place in the order. The day stands
for none (`paaplus.population.weights`): else daily caps would take an import for a raid."""


@dataclass(frozen=True)
class ImportedRatings:
    """Events of a folder of ratings; iterate to get them, items first.

    Attributes:
        pack: Name of the folder.
        trunk: Version name that the feature vectors are announced under.
        attribute: What the scores are taken to rate.
        scale: Lowest and highest score of the source; mapped linearly to 0..10.
        item_ids: [I], and `vectors` float32 [I, F], their features.
        vectors: See `item_ids`.
        ratings: user_id, item_id, score, in order.
        task: The task that was chosen, if any.
    """

    pack: str
    trunk: str
    attribute: str
    scale: tuple[float, float]
    item_ids: list[str]
    vectors: NDArray[np.float32]
    ratings: pd.DataFrame
    task: str | None

    @property
    def total(self) -> int:
        """Number of events."""
        return len(self.item_ids) + len(self.ratings)

    def __iter__(self) -> Iterator[Item | Rating]:
        for item_id, vector in zip(self.item_ids, self.vectors, strict=True):
            yield Item(
                event_id=uuid5(NAMESPACE, f"item\0{self.pack}\0{item_id}"),
                occurred_at=EPOCH,
                schema_version=1,
                item_id=item_id,
                features=[round(float(value), 4) for value in vector],
                trunk=self.trunk,
            )
        low, high = self.scale
        seen: dict[tuple[str, str], int] = {}
        columns = (self.ratings[name] for name in ("user_id", "item_id", "score"))
        for place, (user_id, item_id, score) in enumerate(zip(*columns, strict=True)):
            # The same user may have rated the same item more than once.
            again = seen[user_id, item_id] = seen.get((user_id, item_id), -1) + 1
            name = f"rating\0{self.pack}\0{self.task}\0{user_id}\0{item_id}\0{again}"
            value = min(max((float(score) - low) / (high - low) * 10, 0.0), 10.0)
            yield Rating(
                event_id=uuid5(NAMESPACE, name),
                occurred_at=EPOCH + timedelta(microseconds=place),
                schema_version=1,
                user_id=user_id,
                item_id=item_id,
                scores=Scores(**{self.attribute: round(value, 4)}),
            )


def import_ratings(
    folder: Path,
    *,
    task: str | None = None,
    attribute: str = "appearance",
    scale: tuple[float, float] | None = None,
) -> ImportedRatings:
    """Read a folder with `ratings.parquet` and `item_features.npz`.

    Args:
        folder: ratings.parquet has user_id, item_id, score and may have task and seq (the order);
            item_features.npz has item_id and any number of matrices, all of which are used: each is
            centred per column and divided by its own root mean square.
        task: Only the rows of this task.
        attribute: One of the three.
        scale: Lowest and highest possible score; None: those that occur, if they are whole numbers.

    Raises:
        NotFoundError: A file or the task is not there.
        ConfigError: A column is missing, an id is not one that events may carry, or the scale is unknown.
    """
    if attribute not in ATTRIBUTES:
        raise ConfigError(f"attribute {attribute!r} is unknown", f"choose one of {ATTRIBUTES}")
    ratings = read_ratings(folder / "ratings.parquet", task)
    item_ids, vectors = read_features(folder / "item_features.npz")
    missing = sorted(set(ratings["item_id"]) - set(item_ids))
    if missing:
        raise ConfigError(
            f"{folder}: {len(missing)} rated items have no features, the first is {missing[0]!r}",
            "add their rows to item_features.npz",
        )
    pack = "".join(
        c if c.isascii() and (c.isalnum() or c in "_-") else "-" for c in folder.resolve().name
    )
    result = ImportedRatings(
        pack=pack,
        trunk=f"given-{pack}"[:64],
        attribute=attribute,
        scale=checked_scale(scale, ratings["score"]),
        item_ids=item_ids,
        vectors=vectors,
        ratings=ratings,
        task=task,
    )
    _check_ids(result)
    return result


def _check_ids(imported: ImportedRatings) -> None:
    """Send one event of every user and item through the decoder: the contract says what an id may be."""
    users = imported.ratings.drop_duplicates("user_id")
    short = ImportedRatings(
        imported.pack, imported.trunk, imported.attribute, imported.scale,
        imported.item_ids, imported.vectors[:, :1], users, imported.task,
    )  # fmt: skip
    for event in short:
        try:
            decode(encode(event))
        except EventError as error:
            raise ConfigError(
                f"the source has an id that events cannot carry: {error.message}",
                "map such ids to others before the import, for instance to their sha256",
            ) from error
