"""Versions of the population model, and which one is current."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from paaplus.store.sql import upsert
from paaplus.store.tables import population, setting

_CURRENT = "current_population"


@dataclass(frozen=True, slots=True)
class PopulationRow:
    """One fitted population model; its tensors lie under `version` in the artifacts folder."""

    version: str
    trunk: str
    fitted_at: datetime
    users: int
    items: int
    ratings: int


class Populations:
    """Registers population versions. Every method runs in the caller's transaction."""

    def set_current(self, connection: Connection, row: PopulationRow) -> None:
        """Register a version (again, if it is known) and make it the current one."""
        values = {
            "version": row.version,
            "trunk": row.trunk,
            "fitted_at": row.fitted_at,
            "users": row.users,
            "items": row.items,
            "ratings": row.ratings,
        }
        upsert(connection, population, [values], update=["fitted_at"])
        upsert(connection, setting, [{"key": _CURRENT, "value": row.version}], update=["value"])

    def current(self, connection: Connection) -> PopulationRow | None:
        """The version that heads are trained on now; None before the first fit."""
        query = select(population).join(setting, setting.c.value == population.c.version)
        row = connection.execute(query.where(setting.c.key == _CURRENT)).mappings().first()
        return None if row is None else PopulationRow(**row)
