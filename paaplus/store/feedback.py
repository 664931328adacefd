"""Observations out of the store: whole tables for the population, ragged blocks for cohorts.

What was taken back is never read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Select, func, select

from paaplus.events import ATTRIBUTES
from paaplus.store.rows import Rows
from paaplus.store.sql import chunks, one_of
from paaplus.store.tables import MICROSECONDS_PER_DAY, app_user, feedback, item

_SCORES = tuple(feedback.c[attribute] for attribute in ATTRIBUTES)
_STANDS = feedback.c.retracted_by.is_(None)


@dataclass(frozen=True, slots=True)
class RatingTable:
    """All ratings to learn from, for the population fit.

    Attributes:
        user_ids: object [N] of str.
        item_ids: object [N] of str.
        scores: float64 [N, 3] on 0..10; NaN = not rated.
        days: int64 [N], days since 1970 in UTC, on which they occurred.
    """

    user_ids: NDArray[np.object_]
    item_ids: NDArray[np.object_]
    scores: NDArray[np.float64]
    days: NDArray[np.int64]


class Feedback:
    """Reads feedback. Every method runs in the caller's transaction."""

    def all_ratings(self, connection: Connection) -> RatingTable:
        """Every rating that is not held out, by user and number."""
        query = (
            select(feedback.c.user_id, feedback.c.item_id, feedback.c.occurred_at, *_SCORES)
            .where(feedback.c.number.is_not(None), feedback.c.kind == "rating", _STANDS)
            .order_by(feedback.c.user_id, feedback.c.number)
        )
        rows = _fetch(connection, query)
        return RatingTable(
            np.array([row[0] for row in rows], dtype=object),
            np.array([row[1] for row in rows], dtype=object),
            _score_matrix([row[3:] for row in rows]),
            np.array([row[2] for row in rows], dtype=np.int64) // MICROSECONDS_PER_DAY,
        )

    def all_others(self, connection: Connection) -> Rows:
        """Every observation that is no rating, of all users."""
        query = _query().where(feedback.c.number.is_not(None), feedback.c.kind != "rating", _STANDS)
        found = _fetch(connection, query)
        return _ragged(sorted({row[0] for row in found}), found)

    def next_observations(
        self, connection: Connection, user_ids: Sequence[str], learned: Sequence[int], count: int
    ) -> Rows:
        """Each user's observations number `learned + 1` to `learned + count`.

        Returns:
            Rows in the order of `user_ids`; `seq` is the observation's number.
        """
        found: list[Any] = []
        for done, users in _by_number(user_ids, learned):
            query = _query().where(
                one_of(connection, feedback.c.user_id, users),
                feedback.c.number > done,
                feedback.c.number <= done + count,
                _STANDS,
            )
            found += _fetch(connection, query)
        return _ragged(user_ids, found)

    def by_number(
        self, connection: Connection, user_ids: Sequence[str], numbers: Iterable[Iterable[int]]
    ) -> Rows:
        """The named observations of each user, in the order of their numbers."""
        found: list[Any] = []
        for user_id, wanted in zip(user_ids, numbers, strict=True):
            for some in chunks(int(n) for n in wanted):
                query = _query().where(
                    feedback.c.user_id == user_id, feedback.c.number.in_(some), _STANDS
                )
                found += _fetch(connection, query)
        return _ragged(user_ids, found)

    def held_out(
        self, connection: Connection, user_ids: Sequence[str], learned: Sequence[int]
    ) -> Rows:
        """Held-out ratings that came before each user's observation number `learned`.

        Returns:
            Rows in the order of `user_ids`; `seq` is the number in all of the user's feedback.
        """
        limit = feedback.alias("learned_last")
        found: list[Any] = []
        for number, users in _by_number(user_ids, learned):
            query = (
                select(feedback.c.user_id, feedback.c.seq, feedback.c.item_id, *_SCORES)
                .join(limit, limit.c.user_id == feedback.c.user_id)
                .where(
                    one_of(connection, limit.c.user_id, users),
                    limit.c.number == number,
                    feedback.c.held_out,
                    feedback.c.kind == "rating",
                    feedback.c.seq < limit.c.seq,
                    _STANDS,
                )
            )
            found += _fetch(connection, query)
        return _ragged(user_ids, found)

    def waiting_since(
        self, connection: Connection, served: Mapping[str, int]
    ) -> dict[str, datetime]:
        """When each user's observation number `served + 1` occurred, if it is there."""
        found: dict[str, datetime] = {}
        for number, users in _by_number(list(served), list(served.values())):
            query = select(feedback.c.user_id, feedback.c.occurred_at).where(
                one_of(connection, feedback.c.user_id, users), feedback.c.number == number + 1
            )
            found.update((str(user_id), at) for user_id, at in connection.execute(query))
        return found

    def counts_by_kind(self, connection: Connection) -> dict[str, int]:
        """Stored feedback by kind."""
        query = select(feedback.c.kind, func.count()).group_by(feedback.c.kind)
        return {str(kind): int(count) for kind, count in connection.execute(query)}

    def user_counts(self, connection: Connection, user_id: str) -> dict[str, int] | None:
        """The user's numbers of events, ratings, observations, …; None for a stranger."""
        query = select(app_user).where(app_user.c.user_id == user_id)
        row = connection.execute(query).mappings().first()
        names = ("events", "ratings", "held_out", "observations", "retracted")
        return None if row is None else {name: row[name] for name in names}

    def ratings(self, connection: Connection) -> int:
        """Number of ratings to learn from."""
        total = select(func.coalesce(func.sum(app_user.c.ratings), 0))
        return int(connection.execute(total).scalar_one())

    def users(self, connection: Connection) -> int:
        """Number of users who ever gave feedback."""
        return int(connection.execute(select(func.count()).select_from(app_user)).scalar_one())

    def unrated_items(self, connection: Connection, user_id: str) -> list[str]:
        """Items with features that the user has not spoken of, in the order of their ids."""
        rated = select(feedback.c.item_id).where(
            feedback.c.user_id == user_id, feedback.c.item_id.is_not(None)
        )
        query = select(item.c.item_id).where(item.c.state == "ready", item.c.item_id.not_in(rated))
        return list(connection.scalars(query.order_by(item.c.item_id)))


def _by_number(user_ids: Sequence[str], numbers: Sequence[int]) -> Iterator[tuple[int, list[str]]]:
    """Users by number: experiences are blocks, so that many users stand at the same one."""
    users: dict[int, list[str]] = defaultdict(list)
    for user_id, number in zip(user_ids, numbers, strict=True):
        users[number].append(user_id)
    for number, mine in users.items():
        for some in chunks(mine):
            yield number, some


def _fetch(connection: Connection, query: Select[Any]) -> list[Any]:
    """All rows as the driver gives them: of text and numbers alone, which need no translation."""
    cursor: Any = connection.execute(query).cursor
    return list(cursor.fetchall())


def _query() -> Select[Any]:
    return select(
        feedback.c.user_id, feedback.c.number, feedback.c.item_id, *_SCORES,
        feedback.c.channel, feedback.c.detail,
    )  # fmt: skip


def _score_matrix(scores: Sequence[Sequence[float | None]]) -> NDArray[np.float64]:
    matrix = np.array(scores, dtype=np.float64)  # None becomes NaN
    return matrix.reshape(len(scores), len(ATTRIBUTES))


def _ragged(user_ids: Sequence[str], found: Sequence[Any]) -> Rows:
    """Group (user, seq, item, scores…[, channel, detail]) by user, in the order of `user_ids`."""
    place = {user_id: n for n, user_id in enumerate(user_ids)}
    # Columns at once: rows of SQLAlchemy are slow to sort and to look into.
    columns = list(zip(*found, strict=True)) or [()] * (5 + len(ATTRIBUTES))
    owner = np.array([place[user_id] for user_id in columns[0]], dtype=np.int64)
    seq = np.array(columns[1], dtype=np.int64)
    order = np.lexsort((seq, owner))
    scores = np.array(columns[3:6], dtype=np.float64).T  # None becomes NaN
    counts = np.bincount(owner, minlength=len(user_ids))
    further = [np.array(column, dtype=object)[order] for column in columns[6:]]
    return Rows(
        user_ids=tuple(user_ids),
        start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        seq=seq[order],
        item_ids=np.array(columns[2], dtype=object)[order],
        scores=scores[order],
        channels=further[0] if further else None,
        details=further[1] if len(further) > 1 else None,
    )
