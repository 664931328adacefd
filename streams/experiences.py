"""Avalanche experiences of a cohort: many users' next rows, stacked and padded.

A cohort is a stack of U * A independent scalar regressions ("blocks"), user by user and attribute by
attribute, so tensors are [U * A, n, m]. Padding and attributes that were not rated have weight 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from avalanche.benchmarks.scenarios.dataset_scenario import DatasetExperience
from avalanche.benchmarks.scenarios.generic_scenario import CLStream
from avalanche.benchmarks.utils import make_avalanche_dataset
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import TensorDataset

from paaplus.store.rows import Rows

EMPTY = -1
"""Row number of a place that holds no row."""


class RowBlock:
    """Padded rows of a cohort.

    Args:
        x: [B, n, d], design rows of B = U * k blocks (k = A scalar regressions, or 1 of o outputs).
        y: [B, n, o], targets on 0..10.
        w: [B, n, o], weights >= 0; 0 where there is no such rating.
        seq: int64 [U, n], numbers of the rows; -1 where there is none.
    """

    __slots__ = ("seq", "w", "x", "y")

    def __init__(self, x: Tensor, y: Tensor, w: Tensor, seq: Tensor) -> None:
        self.x, self.y, self.w, self.seq = x, y, w, seq

    def take(self, users: Tensor, most: int) -> RowBlock:
        """The blocks of some users [U'], and their first `most` rows; views if they are neighbours."""
        per_user = len(self.x) // max(len(self.seq), 1)
        span, cut = span_of(users), slice(most)
        if isinstance(span, slice):
            blocks: slice | Tensor = slice(span.start * per_user, span.stop * per_user)
        else:
            blocks = blocks_of(users, per_user)
        return RowBlock(
            self.x[blocks][:, cut], self.y[blocks][:, cut], self.w[blocks][:, cut],
            self.seq[span][:, cut],
        )  # fmt: skip

    def to(self, device: str | torch.device, dtype: torch.dtype) -> RowBlock:
        """The rows on another device, their numbers too; `dtype` is that of x, y and w."""
        x, y, w = (tensor.to(device, dtype) for tensor in (self.x, self.y, self.w))
        return RowBlock(x, y, w, self.seq.to(device))

    def counts(self) -> Tensor:
        """Rows of each user, int64 [U]."""
        return (self.seq != EMPTY).sum(dim=1)


def blocks_of(users: Tensor, each: int) -> Tensor:
    """Numbers of the blocks of some users [U'] with so many each: int64 [U' * each]."""
    return (users[:, None] * each + torch.arange(each, device=users.device)).reshape(-1)


def span_of(users: Tensor) -> slice | Tensor:
    """What picks users int64 [U'] out of a tensor: a slice, so a view, where they are rising neighbours."""
    if not len(users):
        return slice(0, 0)
    first, last = int(users[0]), int(users[-1]) + 1
    neighbours = last - first == len(users) and bool((users.diff() == 1).all())
    return slice(first, last) if neighbours else users


class CohortExperience(DatasetExperience):
    """One experience of U users; an Avalanche experience whose dataset has one sample per user.

    Args:
        user_ids: U ids.
        rows: The new rows.
        memory: Rows of the users' replay memories, in the order of the memories.
        memory_key: float64 [U, M], reservoir keys of the memory rows.
        step: int64 [U], which experience of the user this is: 0, 1, 2, …
    """

    def __init__(
        self,
        user_ids: Sequence[str],
        rows: RowBlock,
        memory: RowBlock,
        memory_key: Tensor,
        step: Tensor,
    ) -> None:
        self.user_ids = tuple(user_ids)
        self.rows = rows
        self.memory = memory
        self.memory_key = memory_key
        self.step = step
        shape = (len(self.user_ids), len(rows.x) // max(len(self.user_ids), 1))
        stacked = [t.reshape(*shape, *t.shape[1:]) for t in (rows.x, rows.y, rows.w)]
        super().__init__(dataset=make_avalanche_dataset(TensorDataset(*stacked)))

    def take(self, users: Tensor) -> CohortExperience:
        """The experience of some of the users only, int64 [U'], without padding that they do not need."""
        rows, memory = self.rows.counts()[users], self.memory.counts()[users]
        most, held = _most(rows), _most(memory)
        return CohortExperience(
            [self.user_ids[u] for u in users.tolist()],
            self.rows.take(users, most),
            self.memory.take(users, held),
            self.memory_key[users][:, :held],
            self.step[users],
        )


def _most(counts: Tensor) -> int:
    return int(counts.max()) if len(counts) else 0


def build_experience(
    new: Rows,
    psi_new: NDArray[np.floating],
    *,
    memory: Rows | None = None,
    psi_memory: NDArray[np.floating] | None = None,
    memory_numbers: NDArray[np.int64] | None = None,
    memory_keys: NDArray[np.float64] | None = None,
    step: NDArray[np.int64],
    dtype: torch.dtype = torch.float64,
    device: str | torch.device = "cpu",
) -> CohortExperience:
    """Stack the rows of a cohort.

    Args:
        new: New rows of U users, N in all.
        psi_new: [N, A, m], their design rows.
        memory: Rows of the users' memories, M' in all; None: no memories.
        psi_memory: [M', A, m].
        memory_numbers: int64 [U, M], what each memory holds and in which order; -1 = empty.
        memory_keys: float64 [U, M], reservoir keys.
        step: int64 [U], number of the experience per user.
        dtype: Of the tensors.
        device: Of the tensors, numbers and keys too: that of the states.
    """
    users, width = len(new.user_ids), psi_new.shape[1:]
    starts = new.start
    places = [np.arange(starts[u], starts[u + 1]) for u in range(users)]
    rows = _stack(new, psi_new, places, width).to(device, dtype)
    steps = torch.from_numpy(step).to(device)
    if memory is None or psi_memory is None or memory_numbers is None or memory_keys is None:
        nothing = _stack(new, psi_new, [np.zeros(0, np.int64)] * users, width).to(device, dtype)
        keys = torch.zeros(users, 0, dtype=torch.float64, device=device)
        return CohortExperience(new.user_ids, rows, nothing, keys, steps)
    held = []
    for u in range(users):
        mine = slice(int(memory.start[u]), int(memory.start[u + 1]))
        wanted = memory_numbers[u][memory_numbers[u] != EMPTY]
        held.append(int(memory.start[u]) + np.searchsorted(memory.seq[mine], wanted))
    block = _stack(memory, psi_memory, held, width).to(device, dtype)
    most = block.seq.shape[1]
    keys = torch.from_numpy(memory_keys[:, :most].astype(np.float64)).to(device)
    return CohortExperience(new.user_ids, rows, block, keys, steps)


def _stack(
    rows: Rows,
    psi: NDArray[np.floating],
    places: Sequence[NDArray[np.int64]],
    width: tuple[int, ...],
) -> RowBlock:
    """Pad the rows at `places` of each user to the longest, as blocks [U * A, n, …]."""
    users, most = len(places), max((len(p) for p in places), default=0)
    attributes, regressors = width
    counts = np.array([len(p) for p in places], dtype=np.int64)
    flat = np.concatenate([*places, np.zeros(0, np.int64)]).astype(np.int64)
    owner = np.repeat(np.arange(users), counts)
    at = owner, np.arange(len(flat)) - np.repeat(np.cumsum(counts) - counts, counts)
    x = np.zeros((users, most, attributes, regressors))
    y = np.zeros((users, most, attributes))
    w = np.zeros((users, most, attributes))
    seq = np.full((users, most), EMPTY, dtype=np.int64)
    scores = rows.scores[flat]
    x[at] = psi[flat]
    y[at] = np.nan_to_num(scores)
    w[at] = ~np.isnan(scores) if rows.weights is None else rows.weights[flat]
    seq[at] = rows.seq[flat]

    def blocks(array: NDArray[Any]) -> Tensor:
        last = array.shape[3] if array.ndim == 4 else 1
        moved = np.moveaxis(array, 2, 1).reshape(users * attributes, most, last)
        return torch.from_numpy(np.ascontiguousarray(moved))

    return RowBlock(blocks(x), blocks(y), blocks(w), torch.from_numpy(seq))


class ExperienceStream(CLStream):
    """An Avalanche stream over an iterable object, as long as events come.

    Args:
        experiences: An object with `__iter__`; not a generator, whose experiences Avalanche would all
            keep in memory.
        name: Name of the stream.
    """

    def __init__(self, experiences: Iterable[CohortExperience], name: str = "feedback") -> None:
        if isinstance(experiences, Iterator):
            raise TypeError(
                "pass an object with __iter__: Avalanche keeps all that a generator made"
            )
        super().__init__(name, experiences)
