"""Where everything stands, from the store and the log alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from paaplus.errors import NotFoundError, PaaplusError
from paaplus.store import Store
from paaplus.store.basis import Basis
from paaplus.store.heads import HeadRow
from streams.ingest import lag
from streams.log import open_log
from workers.build import basis_of, trigger_of
from workers.clock import now
from workers.config import Config
from workers.due import due_page, judge_user
from workers.tasks import opened


def overall_status(config: Config) -> dict[str, Any]:
    """Events, lag, items, users, releases and dead letters."""
    with opened(config) as store:
        with store.read() as connection:
            totals = store.offsets.totals(connection)
            population = store.populations.current(connection)
            basis = basis_of(config, population)
            releases = store.ledger.releases(connection, 5)
            result: dict[str, Any] = {
                "events": totals.accepted,
                "duplicates": totals.duplicates,
                "dead_letters": store.letters.counts(connection),
                "feedback": store.feedback.counts_by_kind(connection),
                "items": store.items.states(connection),
                "users": store.feedback.users(connection),
                "population": None if population is None else population.version[:12],
                "users_due": 0 if basis is None else _due(config, store, connection, basis),
                "observations_waiting": store.heads.not_yet_learned(connection, basis),
                "champions": len(store.ledger.champions(connection)),
                "releases": [
                    {
                        "number": r.number,
                        "cohort": r.cohort,
                        "users": r.users,
                        "promoted": r.promoted,
                        "created_at": r.created_at.isoformat(timespec="seconds"),
                    }
                    for r in releases
                ],
            }
        result["lag"] = _lag(config, store)
    return result


def _due(config: Config, store: Store, connection: Connection, basis: Basis) -> int:
    trigger, count = trigger_of(config), 0
    for cohort in store.heads.due_cohorts(connection, basis):
        last: str | None = ""
        while last is not None:
            due, last = due_page(
                store, connection, cohort, basis, trigger, after=last, limit=10_000, now=now()
            )
            count += len(due)
    return count


def _lag(config: Config, store: Store) -> dict[str, int] | str:
    """Records not yet ingested; in words where the log cannot be reached, which is no reason to fail."""
    try:
        log = open_log(config.log_url, partitions=config.log.partitions)
    except PaaplusError as error:
        return error.message
    try:
        return lag(log, store)
    except PaaplusError as error:
        return error.message
    finally:
        log.close()


def user_status(config: Config, user_id: str) -> dict[str, Any]:
    """What is known of one user, and why they are or are not due.

    Raises:
        NotFoundError: The user never gave feedback.
    """
    with opened(config) as store, store.read() as connection:
        counts = store.feedback.user_counts(connection, user_id)
        if counts is None:
            raise NotFoundError(
                f"user {user_id!r} has given no feedback",
                "check the id; `paaplus status` counts users",
            )
        population = store.populations.current(connection)
        basis = basis_of(config, population)
        found = store.heads.head(connection, user_id)
        champion = store.ledger.champions(connection, [user_id]).get(user_id)
        history = store.ledger.history(connection, user_id)
        head, current = HeadRow(user_id, 0), False
        if found is not None and basis is not None:
            current = found[1:] == (basis.population, basis.strategy)
            current = current and found[0].retracted == counts["retracted"]
            head = found[0] if current else head
        head = replace(head, ahead=counts["observations"] - head.learned)
        verdict = judge_user(store, connection, head, trigger_of(config), now())
    if basis is None:
        why = "not due: there is no population model yet (`paaplus retrain --population`)"
    else:
        anew = "" if found is None or current else ", all is to be learned anew"
        why = f"{'due' if verdict.fires else 'not due'}: {verdict.why}{anew}"
    return {
        "user": user_id,
        **counts,
        "learned": head.learned,
        "served": max(head.served, head.learned),
        "due": why,
        "champion": None if champion is None else champion.version,
        "history": [
            {
                "version": e.version,
                "action": e.action,
                "actor": e.actor,
                "reason": e.reason,
                "at": _iso(e.at),
            }
            for e in history[-10:]
        ],
    }


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
