"""The clock of the processes; everything below them takes its time as an argument."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """The time, with zone."""
    return datetime.now(UTC)
