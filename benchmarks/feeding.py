"""Feeds users' ratings to a strategy in rounds, as the product does, and keeps the heads at each count."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from paaplus.heads import Heads
from paaplus.population.prior import Prior
from paaplus.store.rows import Rows
from strategies import StrategyConfig, build_strategy
from strategies.robust import Weigh, train_robust
from strategies.state import CohortState
from streams.experiences import CohortExperience, build_experience

ROUND = 10
"""Ratings in an experience."""


def feed(
    method: str,
    prior: Prior,
    calibration: Prior,
    users: list[str],
    psi: NDArray[np.float64],
    scores: NDArray[np.float64],
    counts: tuple[int, ...],
    config: StrategyConfig | None = None,
    freedom: float | None = None,
) -> dict[int, Heads]:
    """Heads of U users after each count of ratings.

    Args:
        method: Name of the strategy.
        prior: Of one attribute.
        calibration: Of one attribute.
        users: U ids.
        psi: [U, top, m], rows in order.
        scores: [U, top].
        counts: Rising; a count that is no multiple of ROUND is a branch of its own.
        config: Of the strategy.
        freedom: Of the robust loss; None: every rating counts in full.
    """
    strategy = build_strategy(method, prior, calibration, config)
    state = strategy.initial_state(len(users))

    def learn(first: int, last: int, step: int) -> CohortState:
        def made(weigh: Weigh) -> CohortExperience:
            return experience(users, psi, scores, first, last, step, state, strategy.dtype, weigh)

        return train_robust(strategy, state, made, prior.noise, freedom)

    found: dict[int, Heads] = {}
    done = step = 0
    for count in counts:
        while done + ROUND <= count:
            state = learn(done, done + ROUND, step)
            done, step = done + ROUND, step + 1
        found[count] = strategy.heads(learn(done, count, step) if count > done else state)
    return found


def experience(
    users: list[str],
    psi: NDArray[np.float64],
    scores: NDArray[np.float64],
    first: int,
    last: int,
    step: int,
    state: CohortState,
    dtype: torch.dtype,
    weigh: Weigh = lambda rows, psi: rows,
) -> CohortExperience:
    """The users' rows `first` to `last` as their experience number `step`; arrays as in `feed`."""
    new, psi_new = _rows(users, psi, scores, [np.arange(first, last)] * len(users))
    new = weigh(new, psi_new)
    steps = np.full(len(users), step, dtype=np.int64)
    if "memory_seq" not in state:
        return build_experience(new, psi_new, step=steps, dtype=dtype)
    numbers = state["memory_seq"].numpy()
    old, psi_old = _rows(users, psi, scores, [np.sort(row[row >= 0]) - 1 for row in numbers])
    return build_experience(
        new, psi_new, memory=weigh(old, psi_old), psi_memory=psi_old, memory_numbers=numbers,
        memory_keys=state["memory_key"].numpy(), step=steps, dtype=dtype,
    )  # fmt: skip


def _rows(
    users: list[str],
    psi: NDArray[np.float64],
    scores: NDArray[np.float64],
    places: list[NDArray[np.int64]],
) -> tuple[Rows, NDArray[np.float64]]:
    lengths = [len(place) for place in places]
    rows = Rows(
        tuple(users),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate([place + 1 for place in places]).astype(np.int64),
        np.array([""] * sum(lengths), dtype=object),
        np.concatenate([scores[u, place] for u, place in enumerate(places)])[:, None],
    )
    return rows, np.concatenate([psi[u, place] for u, place in enumerate(places)])[:, None]
