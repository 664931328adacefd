"""Teaches heads the experiences that wait for them, one after the other."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from paaplus.evaluation import UserReports, join
from paaplus.heads import Heads
from paaplus.store import Rows, Store
from paaplus.store.heads import HeadRow
from strategies.base import Strategy
from strategies.robust import Weigh, train_robust
from streams.experiences import CohortExperience, build_experience
from workers.memory import decode_memories
from workers.regressors import Regressors
from workers.states import gather, scatter

MOST_EXPERIENCES = 100
"""Experiences of one user in one round: what a user has beyond waits for the next."""

NEWEST = 0.2
"""Weight of the newest error in what is usual."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What U heads learned.

    Attributes:
        before: The heads that learned something, as they were.
        after: As they are now.
        observations: How many were learned by all of them.
        prequential: Each new rating as the live head predicted it before it was learned.
        heads: To serve.
        calibration: The users' mean and slope alone.
    """

    before: list[HeadRow]
    after: list[HeadRow]
    observations: int
    prequential: UserReports
    heads: Heads
    calibration: Heads


class Learner:
    """Reads from the store, writes nothing.

    Args:
        store: Where feedback is.
        strategy: Learns.
        regressors: Makes rows of feedback.
        size: Observations in an experience.
        whole: Whether to learn whole experiences only. If not, what is left over is learned as well, in a
            head that is served but not kept: the next whole experience is learned from the kept one, so
            that a head does not depend on when triggers fired before it.
        freedom: Of the robust loss, see `strategies.robust`; None: every event counts in full.
    """

    def __init__(
        self, store: Store, strategy: Strategy, regressors: Regressors, size: int, *, whole: bool,
        freedom: float | None = None,
    ) -> None:  # fmt: skip
        self._freedom = freedom
        self._whole = whole
        self._store = store
        self._strategy = strategy
        self._regressors = regressors
        self._size = size

    def learn(self, due: list[HeadRow]) -> Learned | None:
        """Teach every due head all that waits for it.

        A state is rounded to what is kept at rest after each, so it is the same however many fell into
        one round.

        Args:
            due: Heads with something waiting, sorted by user.

        Returns:
            None if everybody's next experience has an item that still waits for its features.
        """
        kept = {head.user_id: head for head in due}
        reports: list[UserReports] = []
        observations = 0
        waiting = due
        for _ in range(MOST_EXPERIENCES):
            ready, rows = self._ready([head for head in waiting if head.ahead >= self._size])
            if not ready:
                break
            waiting, report = self._step(ready, rows)
            waiting = _with_errors(waiting, report)
            reports.append(report)
            observations += len(rows.seq)
            kept |= {head.user_id: head for head in waiting}
        shown = dict(kept)
        if not self._whole:
            ready, rows = self._ready([h for h in kept.values() if 0 < h.ahead < self._size])
            if ready:
                provisional, report = self._step(ready, rows)
                reports.append(report)
                observations += len(rows.seq)
                shown |= {head.user_id: head for head in provisional}
                kept |= {h.user_id: replace(h, served=h.learned + h.ahead) for h in ready}
        before = [head for head in due if kept[head.user_id] is not head]
        if not before:
            return None
        after = [kept[head.user_id] for head in before]
        users = tuple(head.user_id for head in before)
        serve = [shown[user_id] for user_id in users]
        state = gather(self._strategy, serve, *decode_memories([head.memory for head in serve]))
        return Learned(
            before=before,
            after=after,
            observations=observations,
            prequential=join(reports, users),
            heads=self._strategy.heads(state),
            calibration=self._strategy.calibration(state),
        )

    def _step(self, heads: list[HeadRow], new: Rows) -> tuple[list[HeadRow], UserReports]:
        """One experience of every head."""
        learned = np.array([head.learned for head in heads], dtype=np.int64)
        numbers, keys = decode_memories([head.memory for head in heads])
        with self._store.read() as connection:
            memory = self._store.feedback.by_number(connection, new.user_ids, numbers)
        new, psi_new = self._regressors.of(new)
        memory, psi_memory = self._regressors.of(memory)
        old_state = gather(self._strategy, heads, numbers, keys)
        live = {"live": self._strategy.mean(old_state)}
        prequential = self._regressors.compare(new, psi_new, live)

        def experience(weigh: Weigh) -> CohortExperience:
            return build_experience(
                weigh(new, psi_new),
                psi_new,
                memory=weigh(memory, psi_memory),
                psi_memory=psi_memory,
                memory_numbers=numbers,
                memory_keys=keys,
                step=learned // self._size,
                dtype=self._strategy.dtype,
                device=self._strategy.device,
            )

        noise, freedom = self._regressors.noise, self._freedom
        state = train_robust(self._strategy, old_state, experience, noise, freedom)
        after = scatter(self._strategy, heads, state, self._size)
        return [
            replace(
                old, learned=head.learned, served=head.learned, state=head.state,
                memory=head.memory, ahead=old.ahead - self._size,
            )
            for head, old in zip(after, heads, strict=True)
        ], prequential  # fmt: skip

    def _ready(self, due: list[HeadRow]) -> tuple[list[HeadRow], Rows]:
        """Those whose next experience has no item that still waits for its features, and its rows."""
        while True:
            users, learned = [head.user_id for head in due], [head.learned for head in due]
            with self._store.read() as connection:
                rows = self._store.feedback.next_observations(
                    connection, users, learned, self._size
                )
                item_ids, place = rows.items()
                waiting = self._store.items.waiting(connection, item_ids)
            if not waiting:
                return due, rows
            owner = np.repeat(np.arange(len(users)), np.diff(rows.start))
            blocked = set(owner[place[np.isin(item_ids, list(waiting))]].tolist())
            due = [head for u, head in enumerate(due) if u not in blocked]


def _with_errors(heads: list[HeadRow], report: UserReports) -> list[HeadRow]:
    """Heads with the error of their newest experience, and what was usual before it."""
    result = []
    for head, error in zip(heads, report.absolute["live"].tolist(), strict=True):
        if math.isnan(error):  # no ratings in it
            result.append(head)
            continue
        usual, spread, last = head.usual, head.spread, head.error
        if last is not None and usual is None:
            usual = last
        elif last is not None and usual is not None:
            off = last - usual
            variance = off**2 if spread is None else spread**2
            spread = math.sqrt((1 - NEWEST) * variance + NEWEST * off**2)
            usual += NEWEST * off
        result.append(replace(head, error=error, usual=usual, spread=spread))
    return result
