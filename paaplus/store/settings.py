"""What is fixed once for the whole store, and the two hashes that follow from it."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from sqlalchemy import Connection, insert, select

from paaplus.errors import ConfigError
from paaplus.store.tables import setting

HoldOutBy = Literal["item", "event"]


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Facts that may not change once feedback has come in: they decide what is learned from.

    Attributes:
        holdout_fraction: 0..0.9, the share of ratings kept back for evaluation, never learned from.
        holdout_by: `item` keeps whole items back from everybody, so that figures speak of unseen
            items; `event` keeps single (user, item) pairs back, so that every item can be learned.
        cohorts: How many cohorts the users are spread over; each is one unit of work.
    """

    holdout_fraction: float = 0.2
    holdout_by: HoldOutBy = "item"
    cohorts: int = 1

    def __post_init__(self) -> None:
        if not 0.0 <= self.holdout_fraction <= 0.9:
            raise ConfigError(
                f"holdout_fraction: {self.holdout_fraction} is not in 0..0.9", "0.2 is usual"
            )
        if self.holdout_by not in get_args(HoldOutBy):
            raise ConfigError(f"holdout_by: {self.holdout_by!r} is unknown", "use item or event")
        if not 1 <= self.cohorts <= 9999:
            raise ConfigError(f"cohorts: {self.cohorts} is not in 1..9999", "1 suits one machine")

    def cohort_of(self, user_id: str) -> str:
        """The user's cohort, e.g. `c0000`: a pure function of the id."""
        return f"c{zlib.crc32(user_id.encode()) % self.cohorts:04d}"

    def is_held_out(self, user_id: str, item_id: str) -> bool:
        """Whether a rating of this item by this user is kept back for evaluation."""
        text = item_id if self.holdout_by == "item" else f"{user_id}\0{item_id}"
        digest = hashlib.sha256(b"paaplus holdout\0" + text.encode()).digest()
        return int.from_bytes(digest[:8], "big") < self.holdout_fraction * 2.0**64


def read_settings(connection: Connection) -> StoreSettings | None:
    """The store's settings, or None in a store that was made a moment ago."""
    rows = connection.execute(select(setting.c.key, setting.c.value)).all()
    found = {str(key): str(value) for key, value in rows}
    if "cohorts" not in found:
        return None
    by: HoldOutBy = "event" if found["holdout_by"] == "event" else "item"
    return StoreSettings(float(found["holdout_fraction"]), by, int(found["cohorts"]))


def fix_settings(connection: Connection, wanted: StoreSettings | None) -> StoreSettings:
    """Write the settings into a new store, or check that an old one has the same.

    Raises:
        ConfigError: The store was made with others.
    """
    found = read_settings(connection)
    if found is None:
        found = wanted or StoreSettings()
        connection.execute(
            insert(setting), [{"key": k, "value": str(v)} for k, v in asdict(found).items()]
        )
    elif wanted is not None and wanted != found:
        raise ConfigError(
            f"store: it was made with {found}, the configuration says {wanted}",
            "these decide what was learned from: keep the first, or start a new store and replay",
        )
    return found
