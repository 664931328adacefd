"""The promotion ledger: who was promoted to what, when, by whom and why. It is the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from paaplus.errors import NotFoundError
from paaplus.store.releases import Champion, LedgerEntry, Promotion, Release
from paaplus.store.sql import chunks, one_of, upsert
from paaplus.store.tables import app_user, champion, ledger, release


class Ledger:
    """Reads and writes releases, champions and ledger. Runs in the caller's transaction."""

    def publish(
        self,
        connection: Connection,
        promotions: Sequence[Promotion],
        *,
        cohort: str,
        pack: str,
        population: str,
        strategy: str,
        users: int,
        figures: dict[str, float],
        now: datetime,
    ) -> tuple[Release, list[str]]:
        """Write a release and promote its users.

        Returns:
            The release, and the users who were not promoted because somebody else moved their
            champion since the gate looked (compare-and-swap on `seq`).
        """
        champions = self.champions(connection, [p.user_id for p in promotions], lock=True)
        seqs = {user_id: found.seq for user_id, found in champions.items()}
        valid = [p for p in promotions if seqs.get(p.user_id, 0) == p.seen]
        conflicts = [p.user_id for p in promotions if seqs.get(p.user_id, 0) != p.seen]
        values: dict[str, Any] = {
            "cohort": cohort,
            "pack": pack,
            "population": population,
            "strategy": strategy,
            "created_at": now,
            "users": users,
            "promoted": len(valid),
            "figures": figures,
            "mirrored": False,
        }
        result = connection.execute(insert(release).values(**values).returning(release.c.number))
        number = int(result.scalar_one())
        latest = self._latest_versions(connection, [p.user_id for p in valid])
        entries = [
            {
                "release": number,
                "user_id": p.user_id,
                "version": latest.get(p.user_id, 0) + 1,
                "pack": pack,
                "pack_row": p.row,
                "population": population,
                "parent": champions[p.user_id].version if p.user_id in champions else None,
                "action": "promote",
                "actor": "gate",
                "reason": p.reason,
                "figures": p.figures,
                "at": now,
                "retracted": p.retracted,
                "mirrored": False,
            }
            for p in valid
        ]
        self._append(connection, entries, seqs)
        return Release(number, **values), conflicts

    def roll_back(
        self,
        connection: Connection,
        user_id: str,
        *,
        to: int | None,
        actor: str,
        reason: str,
        now: datetime,
    ) -> LedgerEntry:
        """Point a user's champion at an earlier version.

        Args:
            connection: From `Store.write`.
            user_id: Whose.
            to: Version; None for the one before the current champion.
            actor: Who does it.
            reason: Why.
            now: When.

        Raises:
            NotFoundError: No champion, no earlier version, no such version, or one that has learned what
                the user took back since.
        """
        current = self.champions(connection, [user_id], lock=True).get(user_id)
        if current is None:
            raise NotFoundError(
                f"user {user_id!r} has no champion, the population model serves them",
                "there is nothing to roll back; see `paaplus status --user`",
            )
        history = {e.version: e for e in self.history(connection, user_id) if e.action == "promote"}
        wanted = history[current.version].parent if to is None else to
        if wanted is None or wanted not in history or wanted == current.version:
            raise NotFoundError(
                f"user {user_id!r} has no version {wanted or 'before the first'} to go back to",
                f"known versions: {sorted(history)}, champion: {current.version}",
            )
        target = history[wanted]
        count = select(app_user.c.retracted).where(app_user.c.user_id == user_id)
        if target.retracted < (connection.scalar(count) or 0):
            raise NotFoundError(
                f"user {user_id!r} took back feedback that version {wanted} has learned",
                "go back to a later version, or wait for the next round",
            )
        row = {
            "release": target.release,
            "user_id": user_id,
            "version": target.version,
            "pack": target.pack,
            "pack_row": target.row,
            "population": target.population,
            "parent": current.version,
            "action": "rollback",
            "actor": actor,
            "reason": reason,
            "figures": {},
            "at": now,
            "retracted": target.retracted,
            "mirrored": False,
        }
        self._append(connection, [row], {user_id: current.seq})
        return self.history(connection, user_id)[-1]

    def champions(
        self, connection: Connection, user_ids: Sequence[str] | None = None, *, lock: bool = False
    ) -> dict[str, Champion]:
        """Champion pointers by user; None for all users."""
        query = select(champion).with_for_update() if lock else select(champion)
        parts = (
            [query]
            if user_ids is None
            else [
                query.where(one_of(connection, champion.c.user_id, some))
                for some in chunks(user_ids)
            ]
        )
        rows = [row for part in parts for row in connection.execute(part).mappings()]
        return {row["user_id"]: Champion(**_renamed(row)) for row in rows}

    def history(self, connection: Connection, user_id: str) -> list[LedgerEntry]:
        """All moves of a user's champion, oldest first."""
        query = select(ledger).where(ledger.c.user_id == user_id).order_by(ledger.c.id)
        return [_entry(row) for row in connection.execute(query).mappings()]

    def users_of_release(self, connection: Connection, number: int) -> list[str]:
        """Users whose champion is a version that came with this release."""
        query = (
            select(champion.c.user_id)
            .join(
                ledger,
                (ledger.c.user_id == champion.c.user_id)
                & (ledger.c.version == champion.c.version)
                & (ledger.c.action == "promote"),
            )
            .where(ledger.c.release == number)
            .order_by(champion.c.user_id)
        )
        return list(connection.scalars(query))

    def releases(self, connection: Connection, limit: int = 20) -> list[Release]:
        """Newest releases, newest first."""
        query = select(release).order_by(release.c.number.desc()).limit(limit)
        return [Release(**row) for row in connection.execute(query).mappings()]

    def trained_since_an_hour(self, connection: Connection, now: datetime) -> int:
        """Users that were trained in the hour before `now`; one who was trained twice counts twice."""
        total = select(func.coalesce(func.sum(release.c.users), 0))
        since = now - timedelta(hours=1)
        return int(connection.execute(total.where(release.c.created_at > since)).scalar_one())

    def unmirrored(
        self, connection: Connection, limit: int = 1000
    ) -> tuple[list[Release], list[LedgerEntry]]:
        """Releases and entries that MLflow does not have yet, oldest first: the outbox."""
        new = release.c.mirrored.is_(False)
        releases = connection.execute(select(release).where(new).order_by(release.c.number))
        query = select(ledger).where(ledger.c.mirrored.is_(False)).order_by(ledger.c.id)
        entries = connection.execute(query.limit(limit)).mappings()
        return [Release(**row) for row in releases.mappings()], [_entry(row) for row in entries]

    def mark_mirrored(
        self, connection: Connection, *, releases: Sequence[int] = (), entries: Sequence[int] = ()
    ) -> None:
        """Note that MLflow has these."""
        for some in chunks(releases):
            connection.execute(
                update(release).where(release.c.number.in_(some)).values(mirrored=True)
            )
        for some in chunks(entries):
            connection.execute(update(ledger).where(ledger.c.id.in_(some)).values(mirrored=True))

    def _latest_versions(self, connection: Connection, user_ids: Sequence[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for some in chunks(user_ids):
            query = (
                select(ledger.c.user_id, func.max(ledger.c.version))
                .where(one_of(connection, ledger.c.user_id, some))
                .group_by(ledger.c.user_id)
            )
            found.update((str(u), int(v)) for u, v in connection.execute(query))
        return found

    def _append(
        self, connection: Connection, entries: Sequence[dict[str, Any]], seqs: dict[str, int]
    ) -> None:
        """Write ledger rows and move the pointers to them, in one go."""
        if not entries:
            return
        connection.execute(insert(ledger), list(entries))
        names = ["user_id", "version", "pack", "pack_row", "population", "retracted"]
        pointers = [
            {name: entry[name] for name in names} | {"seq": seqs.get(entry["user_id"], 0) + 1}
            for entry in entries
        ]
        upsert(connection, champion, pointers, update=[*names[1:], "seq"])


def _renamed(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {("row" if key == "pack_row" else key): value for key, value in row.items()}


def _entry(row: Mapping[Any, Any]) -> LedgerEntry:
    fields = _renamed(row)
    del fields["mirrored"]
    return LedgerEntry(**fields)
