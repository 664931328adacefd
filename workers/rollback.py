"""An earlier version becomes champion again."""

from __future__ import annotations

from typing import Any

from paaplus.errors import NotFoundError
from workers.build import open_registry
from workers.clock import now
from workers.config import Config
from workers.mirror import mirror_pending
from workers.tasks import opened


def roll_back(
    config: Config,
    *,
    user_id: str | None,
    release: int | None,
    to: int | None,
    actor: str,
    reason: str,
) -> dict[str, Any]:
    """Roll back one user, or every user whose champion came with `release`, in one transaction.

    A user of the release without an earlier version keeps the champion, and is counted in `kept`:
    rolling back is not the place to decide that somebody is served by the population model again.

    Raises:
        NotFoundError: No such user, version or release.
    """
    moved: list[str] = []
    kept: list[str] = []
    with opened(config) as store:
        with store.write() as connection:
            if release is None:
                assert user_id is not None
                users = [user_id]
            else:
                users = store.ledger.users_of_release(connection, release)
                if not users:
                    raise NotFoundError(
                        f"release {release} is nobody's champion",
                        "`paaplus status` lists the newest releases",
                    )
            for one in users:
                try:
                    store.ledger.roll_back(
                        connection, one, to=to, actor=actor, reason=reason, now=now()
                    )
                    moved.append(one)
                except NotFoundError:
                    if release is None:
                        raise
                    kept.append(one)
            champions = store.ledger.champions(connection, moved)
        mirrored = mirror_pending(store, open_registry(config), config.artifacts)
    return {
        "rolled_back": {one: champions[one].version for one in moved},
        "kept": kept,
        "mirrored": mirrored.entries,
    }
