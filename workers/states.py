"""Head states: at rest a vector of float32 per user, in training stacked tensors of a cohort."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from paaplus.store.heads import HeadRow
from strategies.base import Strategy
from strategies.state import CohortState, flatten, unflatten
from workers.memory import encode_memory


def gather(
    strategy: Strategy,
    heads: Sequence[HeadRow],
    numbers: NDArray[np.int64],
    keys: NDArray[np.float64],
) -> CohortState:
    """Stack states at rest on the strategy's device; a user without one starts from the population's."""
    device = strategy.device
    state = strategy.initial_state(len(heads))
    if "memory_seq" in state:
        state["memory_seq"] = torch.from_numpy(numbers).to(device)
        state["memory_key"] = torch.from_numpy(keys).to(device)
    written = {u: head.state for u, head in enumerate(heads) if head.state}
    if written:
        vectors = np.stack([np.frombuffer(vector, dtype="<f4") for vector in written.values()])
        users = torch.tensor(list(written), device=device)
        part = unflatten(vectors, strategy.layout, dtype=strategy.dtype, device=device)
        for name, tensor in part.items():
            state[name][users] = tensor
    return state


def scatter(
    strategy: Strategy, before: Sequence[HeadRow], state: CohortState, size: int
) -> list[HeadRow]:
    """States at rest after the round."""
    vectors = flatten(state, strategy.layout).astype("<f4")
    memories: list[bytes | None] = [None] * len(before)
    if "memory_seq" in state:
        numbers, keys = (state[part].cpu().numpy() for part in ("memory_seq", "memory_key"))
        memories = [encode_memory(*pair) for pair in zip(numbers, keys, strict=True)]
    return [
        HeadRow(head.user_id, head.learned + size, vector.tobytes(), memory, head.retracted)
        for head, vector, memory in zip(before, vectors, memories, strict=True)
    ]
