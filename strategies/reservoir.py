"""Experience replay from a per-user reservoir (Vitter 1985; Chaudhry et al. 2019).

A memory holds numbers of ratings and their random keys; the rows come with the experience.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from avalanche.training.plugins import SupervisedPlugin
from torch import Tensor

from strategies.template import Batch, CohortTemplate, batches
from streams.experiences import EMPTY, CohortExperience, blocks_of


class CohortReplay(SupervisedPlugin):
    """Stock `ReplayPlugin` with `ReservoirSamplingBuffer`, for every user of the cohort at once.

    Args:
        size: Rows that a memory holds.
        batch_size: Memory rows added to each batch of new rows.
        seed: Of the reservoir keys.
    """

    def __init__(self, size: int, batch_size: int, seed: int) -> None:
        super().__init__()
        self._size = size
        self._batch_size = batch_size
        self._seed = seed
        self.memory: tuple[Tensor, Tensor] | None = None
        self._room: dict[tuple[int, int], Tensor] = {}

    def before_training_exp(self, strategy: CohortTemplate, **kwargs: Any) -> None:
        """Join each batch of new rows with the next batch of the memory, which starts over at its end."""
        strategy.dataloader = self.joined(strategy.dataloader, strategy.experience)

    def after_training_exp(self, strategy: CohortTemplate, **kwargs: Any) -> None:
        """Offer the new rows to the reservoirs."""
        self.memory = update_reservoirs(strategy.experience, self._size, self._seed)

    def joined(self, new: Sequence[Batch], experience: CohortExperience) -> list[Batch]:
        """Batches of new rows with memory rows behind them."""
        held = experience.memory.counts()
        if not int(held.sum()):
            return list(new)
        old = batches(experience.memory, self._batch_size)
        # A memory of k rows has ceil(k / batch) batches of its own before it starts over.
        own = ((held + self._batch_size - 1) // self._batch_size).clamp(min=1)
        result = []
        for step, batch in enumerate(new):
            chosen = step % own
            if bool((chosen == chosen[0]).all()):  # memories of one length: no user is picked apart
                result.append(self._behind(step, batch, old[int(chosen[0])][:3]))
                continue
            replayed = [torch.zeros_like(part) for part in old[0][:3]]
            for number, parts in enumerate(old):
                users = torch.nonzero(chosen == number).reshape(-1)
                per_user = len(batch[0]) // len(held)
                blocks = blocks_of(users, per_user)
                for target, part in zip(replayed, parts[:3], strict=True):
                    target[blocks, : part.shape[1]] = part[blocks]
            result.append(self._behind(step, batch, replayed))
        return result

    def _behind(self, step: int, new: Batch, old: Sequence[Tensor]) -> Batch:
        """Rows x, y, w of `old` behind those of `new`; in memory that is made once for all experiences."""
        x, y, w = (
            torch.cat(pair, dim=1, out=self._space(step, part, pair))
            for part, pair in enumerate(zip(new[:3], old, strict=True))
        )
        return x, y, w, new[3]

    def _space(self, step: int, part: int, pair: tuple[Tensor, Tensor]) -> Tensor:
        first, second = (tensor.shape for tensor in pair)
        shape = (first[0], first[1] + second[1], *first[2:])
        found = self._room.get((step, part))
        if found is None or found.shape != shape:
            found = self._room[step, part] = pair[0].new_empty(shape)
        return found


def update_reservoirs(experience: CohortExperience, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Memories after the experience: the `size` rows with the largest keys, in falling order.

    Returns:
        Numbers int64 [U, M] (-1 = empty) and keys float64 [U, M], M <= size.
    """
    numbers = experience.rows.seq
    drawn = torch.full(numbers.shape, -1.0, dtype=torch.float64, device="cpu")
    steps, counts = experience.step.tolist(), experience.rows.counts().tolist()
    users = zip(experience.user_ids, steps, counts, strict=True)
    for u, (user_id, step, count) in enumerate(users):
        drawn[u, :count] = reservoir_keys(seed, user_id, step, count)
    old = torch.where(experience.memory.seq == EMPTY, -1.0, experience.memory_key)
    every_key = torch.cat([drawn.to(numbers.device), old], dim=1)
    every_seq = torch.cat([numbers, experience.memory.seq], dim=1)
    sorted_keys, order = every_key.sort(dim=1, descending=True, stable=True)
    kept = sorted_keys[:, :size]
    held = every_seq.gather(1, order)[:, :size]
    return torch.where(kept < 0, EMPTY, held), kept.clamp(min=0)


def reservoir_keys(seed: int, user_id: str, step: int, count: int) -> Tensor:
    """Keys in 0..1 of a user's new rows: a function of the user and the step alone, float64 [count].

    Drawn on the CPU, so that a memory holds the same rows wherever it lies.
    """
    generator = torch.Generator("cpu").manual_seed(reservoir_seed(seed, user_id, step))
    drawn = torch.rand(count, generator=generator, dtype=torch.float32, device=generator.device)
    return drawn.to(torch.float64)


def reservoir_seed(seed: int, user_id: str, step: int) -> int:
    """Seed of one user's keys at one step."""
    digest = hashlib.sha256(f"{seed}\0{step}\0{user_id}".encode()).digest()
    return int.from_bytes(digest[:7], "big")
