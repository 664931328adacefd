"""The store's tables (SQLAlchemy Core), the same on SQLite and PostgreSQL.

Change a table here and add a migration in `migrations/versions`; a test compares the two.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import TypeDecorator

REVISION = "0002"
"""The Alembic revision that these tables correspond to."""

metadata = MetaData()

# SQLite numbers rows only in a column of type INTEGER; PostgreSQL needs 64 bits.
_RowId = BigInteger().with_variant(Integer, "sqlite")


MICROSECONDS_PER_DAY = 86_400_000_000


class UtcTime(TypeDecorator[datetime]):
    """A moment as microseconds since 1970 UTC: exact, sortable, the same on every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Aware datetime to microseconds."""
        if value is None:
            return None
        delta = value - datetime(1970, 1, 1, tzinfo=UTC)
        return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """Microseconds to an aware datetime in UTC."""
        if value is None:
            return None
        seconds, micros = divmod(int(value), 1_000_000)
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)


setting = Table(
    "setting",  # facts fixed once for the whole store, and the current population
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

ingest_offset = Table(
    "ingest_offset",  # where ingest stands: written in the transaction that writes the rows
    metadata,
    Column("source", Text, primary_key=True),
    Column("topic", Text, primary_key=True),
    Column("part", Integer, primary_key=True),
    Column("next_offset", BigInteger, nullable=False),
    Column("accepted", BigInteger, nullable=False),
    Column("duplicates", BigInteger, nullable=False),
    Column("dead", BigInteger, nullable=False),
)

dead_letter = Table(
    "dead_letter",  # bytes that are no event, kept whole until somebody mends the cause
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("source", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("part", Integer, nullable=False),
    Column("off", BigInteger, nullable=False),
    Column("key", LargeBinary),
    Column("value", LargeBinary, nullable=False),
    Column("reason", Text, nullable=False),
    Column("field", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("remedy", Text, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("redriven_at", UtcTime),
    UniqueConstraint("source", "topic", "part", "off"),
)

item = Table(
    "item",
    metadata,
    Column("item_id", Text, primary_key=True),
    Column("image_uri", Text),
    Column("state", Text, nullable=False),  # pending (to be embedded) | ready | failed
    Column("error", Text),
    Column("digest", LargeBinary, nullable=False),  # sha256 of all that the event says of the item
    Column("body", LargeBinary, nullable=False),  # the event's JSON without features
    Index("ix_item_state", "state"),
)

feature = Table(
    "feature",
    metadata,
    Column("item_id", Text, primary_key=True),
    Column("trunk", Text, primary_key=True),
    Column("vector", LargeBinary, nullable=False),  # float16, little endian
    ForeignKeyConstraint(["item_id"], ["item.item_id"]),
)

app_user = Table(
    "app_user",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("cohort", Text, nullable=False),
    Column("events", Integer, nullable=False),  # feedback of any kind
    Column("ratings", Integer, nullable=False),  # ratings to learn from
    Column("held_out", Integer, nullable=False),  # ratings kept for evaluation
    Column("observations", Integer, nullable=False),  # feedback to learn from, of any kind
    Column("retracted", Integer, nullable=False),  # observations taken back
    Index("ix_app_user_cohort", "cohort", "user_id"),
)

feedback = Table(
    "feedback",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("event_id", LargeBinary(16), nullable=False, unique=True),
    Column("user_id", Text, nullable=False),
    Column("seq", Integer, nullable=False),  # 1, 2, 3, … over all of the user's feedback
    Column("number", Integer),  # 1, 2, 3, … over the user's observations, NULL: nothing to learn
    Column("held_out", Boolean, nullable=False),
    Column("kind", Text, nullable=False),
    Column("channel", Text),  # what it is evidence of, see `paaplus.observations`
    Column("item_id", Text),
    Column("detail", Text),  # the other item of a comparison, the answers of a survey
    Column("appearance", Float),  # 0..10 of a rating, the signal of another channel
    Column("health", Float),
    Column("posture", Float),
    Column("retracted_by", Integer),  # `seq` of the event that took this one back
    Column("occurred_at", UtcTime, nullable=False),
    Column("body", LargeBinary, nullable=False),  # the event as it came
    UniqueConstraint("user_id", "seq"),
    UniqueConstraint("user_id", "number"),
)

population = Table(
    "population",
    metadata,
    Column("version", Text, primary_key=True),
    Column("trunk", Text, nullable=False),
    Column("fitted_at", UtcTime, nullable=False),
    Column("users", Integer, nullable=False),
    Column("items", Integer, nullable=False),
    Column("ratings", Integer, nullable=False),
)

cohort_lease = Table(
    "cohort_lease",
    metadata,
    Column("cohort", Text, primary_key=True),
    Column("owner", Text),
    Column("until", UtcTime),
    Column("fence", BigInteger, nullable=False),
)

head_state = Table(
    "head_state",  # one row per live head; cohort first, so that a cohort is read in one sweep
    metadata,
    Column("cohort", Text, primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("population", Text, nullable=False),
    Column("strategy", Text, nullable=False),  # name and hash of its settings
    Column(
        "learned", Integer, nullable=False
    ),  # watermark: observations 1..learned are in the state
    Column("served", Integer, nullable=False),  # observations 1..served are in the head served last
    Column("retracted", Integer, nullable=False),  # the user's, when it was trained
    Column("error", Float),  # MAE of the newest experience, before it was learned
    Column("usual", Float),  # mean of that over earlier ones
    Column("spread", Float),  # and its standard deviation
    Column("fence", BigInteger, nullable=False),  # of the lease under which it was written
    Column("state", LargeBinary, nullable=False),  # float32 vector, little endian
    Column("memory", LargeBinary),  # replay memory: int64 numbers, then float64 keys
)

release = Table(
    "release",
    metadata,
    Column("number", _RowId, primary_key=True, autoincrement=True),
    Column("cohort", Text, nullable=False),
    Column("pack", Text, nullable=False),
    Column("population", Text, nullable=False),
    Column("strategy", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("users", Integer, nullable=False),
    Column("promoted", Integer, nullable=False),
    Column("figures", JSON, nullable=False),
    Column("mirrored", Boolean, nullable=False),
    Index("ix_release_mirrored", "mirrored"),
)

champion = Table(
    "champion",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("pack", Text, nullable=False),
    Column("pack_row", Integer, nullable=False),
    Column("population", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("retracted", Integer, nullable=False),  # the user's, when the head was trained
)

ledger = Table(
    "ledger",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("release", BigInteger, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("pack", Text, nullable=False),
    Column("pack_row", Integer, nullable=False),
    Column("population", Text, nullable=False),
    Column("parent", Integer),
    Column("action", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("figures", JSON, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("retracted", Integer, nullable=False),
    Column("mirrored", Boolean, nullable=False),
    Index("ix_ledger_user", "user_id", "version"),
    Index("ix_ledger_mirrored", "mirrored"),
)
