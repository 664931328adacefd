"""Who is due, and why: the store's candidates, judged by the configured trigger."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from paaplus.store import Store
from paaplus.store.basis import Basis
from paaplus.store.heads import HeadRow
from paaplus.triggers import Count, Facts, Trigger, Verdict


def due_page(
    store: Store,
    connection: Connection,
    cohort: str,
    basis: Basis,
    trigger: Trigger,
    *,
    after: str,
    limit: int,
    now: datetime,
) -> tuple[list[HeadRow], str | None]:
    """The due ones of the next candidates.

    Returns:
        Heads, and the last candidate's user id; None if there is no candidate.
    """
    found = store.heads.due_heads(connection, cohort, basis, after=after, limit=limit)
    if not found:
        return [], None
    if isinstance(trigger, Count):  # the store has judged already
        return found, found[-1].user_id
    due: list[HeadRow] = []
    trained = store.ledger.trained_since_an_hour(connection, now)
    since = store.feedback.waiting_since(connection, {h.user_id: h.served for h in found})
    for head in found:
        facts = facts_of(head, since.get(head.user_id), trained + len(due))
        if trigger.judge(facts, now).fires:
            due.append(head)
    return due, found[-1].user_id


def judge_user(
    store: Store, connection: Connection, head: HeadRow, trigger: Trigger, now: datetime
) -> Verdict:
    """Why a user is due or not."""
    since = store.feedback.waiting_since(connection, {head.user_id: head.served})
    trained = store.ledger.trained_since_an_hour(connection, now)
    return trigger.judge(facts_of(head, since.get(head.user_id), trained), now)


def facts_of(head: HeadRow, since: datetime | None, trained: int) -> Facts:
    """What triggers look at."""
    waiting = head.learned + head.ahead - head.served
    return Facts(
        waiting=waiting,
        learned=head.served,
        since=since if waiting else None,
        error=head.error,
        usual=head.usual,
        spread=head.spread,
        trained=trained,
    )
