"""Thin rows of users in MLflow: a registered model per user, a version per head, no artifacts.

The ledger decides and MLflow follows, because MLflow has neither a history of aliases nor a way to
move one only if nobody else has.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from paaplus.registry.names import PackAddress, user_model
from paaplus.registry.versions import (
    create_version,
    ensure_model,
    find_version,
    version_by_alias,
    versions_of,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from paaplus.packs import Pack
    from paaplus.store import Champion, LedgerEntry, Release

_LONGEST = 5000
"""Characters of a tag; all stores that MLflow has take that many."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A user for whom MLflow does not show what the ledger says.

    Attributes:
        user_id: Who.
        model: Name of the user's registered model.
        version: The ledger's champion.
        expected: Address of its row.
        found: Address under MLflow's `champion` alias; None if there is none.
    """

    user_id: str
    model: str
    version: int
    expected: str
    found: str | None


def mirror_entry(client: MlflowClient, fleet: str, entry: LedgerEntry, run_id: str | None) -> None:
    """Make sure that the entry's head has a version, then point `previous` and `champion`."""
    name = user_model(fleet, entry.user_id)
    source = str(PackAddress(entry.pack, entry.row, entry.user_id))
    tags = _tags(entry)
    fresh = ensure_model(client, name, {"paaplus.user": entry.user_id})
    known = [] if fresh else versions_of(client, name)
    target = find_version(known, source, "paaplus.version")
    if target is None:
        target = create_version(client, name, source, run_id, tags)
    else:
        # A promotion completes a row that was offered; a rollback leaves the promotion's tags.
        lasting = tags if entry.action == "promote" else {}
        noted = {"paaplus.rollback": _note(entry)} if entry.action == "rollback" else lasting
        for key, value in noted.items():
            if target.tags.get(key) != value:
                client.set_model_version_tag(name, str(target.version), key, value)
    if entry.parent is not None:
        # From the ledger and not from the alias: a retry would find the new champion there.
        parent = find_version(known, None, "paaplus.version", entry.parent)
        if parent is not None:
            client.set_registered_model_alias(name, "previous", parent.version)
    client.set_registered_model_alias(name, "champion", target.version)


def offer_rows(
    client: MlflowClient, fleet: str, pack: Pack, release: Release, run_id: str | None
) -> None:
    """Give every user of a release a version with the alias `challenger`."""
    for row, user_id in enumerate(pack.user_ids()):
        name = user_model(fleet, user_id)
        source = str(PackAddress(pack.sha, row, user_id))
        fresh = ensure_model(client, name, {"paaplus.user": user_id})
        known = [] if fresh else versions_of(client, name)
        found = find_version(known, source, "paaplus.release", release.number)
        if found is None:
            tags = {
                "paaplus.pack": pack.sha,
                "paaplus.row": str(row),
                "paaplus.population": release.population,
                "paaplus.release": str(release.number),
            }
            found = create_version(client, name, source, run_id, tags)
        client.set_registered_model_alias(name, "challenger", found.version)


def difference(client: MlflowClient, fleet: str, champion: Champion) -> Difference | None:
    """Where MLflow's champion of a user is not the ledger's; None if it is."""
    name = user_model(fleet, champion.user_id)
    expected = str(PackAddress(champion.pack, champion.row, champion.user_id))
    version = version_by_alias(client, name, "champion")
    found = None if version is None else str(version.source)
    if found == expected:
        return None
    return Difference(champion.user_id, name, champion.version, expected, found)


def _tags(entry: LedgerEntry) -> dict[str, str]:
    return {
        "paaplus.ledger_id": str(entry.id),
        "paaplus.release": str(entry.release),
        "paaplus.pack": entry.pack,
        "paaplus.row": str(entry.row),
        "paaplus.version": str(entry.version),
        "paaplus.population": entry.population,
        "paaplus.parent": "" if entry.parent is None else str(entry.parent),
        "paaplus.action": entry.action,
        "paaplus.actor": entry.actor[:_LONGEST],
        "paaplus.reason": entry.reason[:_LONGEST],
        "paaplus.figures": json.dumps(entry.figures, sort_keys=True)[:_LONGEST],
        "paaplus.at": entry.at.isoformat(),
    }


def _note(entry: LedgerEntry) -> str:
    note = {
        "ledger_id": entry.id,
        "actor": entry.actor,
        "reason": entry.reason[: _LONGEST // 2],
        "at": entry.at.isoformat(),
    }
    return json.dumps(note, sort_keys=True)
