"""The ledger's outbox -> MLflow. MLflow may be down for a week: nothing waits for it, nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from paaplus.errors import RegistryError
from paaplus.registry import Registry
from paaplus.store import Store
from workers.results import results_path


@dataclass(frozen=True, slots=True)
class Mirrored:
    """Releases and ledger entries written to MLflow; `error` says what stopped it, if anything."""

    releases: int = 0
    entries: int = 0
    error: str | None = None


def mirror_pending(
    store: Store,
    registry: Registry | None,
    artifacts: Path,
    *,
    progress: Callable[[int], None] | None = None,
) -> Mirrored:
    """Write what MLflow does not have yet, in the order of the ledger.

    Every call of the registry is idempotent, so a crash between it and the mark repeats it harmlessly.
    """
    releases = entries = 0
    if registry is None:
        return Mirrored()
    try:
        while True:
            with store.read() as connection:
                new_releases, new_entries = store.ledger.unmirrored(connection, 200)
            if not new_releases and not new_entries:
                return Mirrored(releases, entries)
            for release in new_releases:
                path = results_path(artifacts, release.pack)
                results = pd.read_parquet(path) if path.exists() else pd.DataFrame()
                run_id = registry.log_round(release, results, release.figures)
                registry.register_release(release, run_id)
                releases += 1
                with store.write() as connection:
                    store.ledger.mark_mirrored(connection, releases=[release.number])
            for entry in new_entries:
                registry.mirror(entry)
                entries += 1
                if progress is not None:
                    progress(entries)
            with store.write() as connection:
                store.ledger.mark_mirrored(connection, entries=[entry.id for entry in new_entries])
    except RegistryError as error:
        return Mirrored(releases, entries, str(error))
