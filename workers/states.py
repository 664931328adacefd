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
    """Stack states at rest; a user without one starts from the population's."""
    dtype, layout = strategy.dtype, strategy.layout
    state = strategy.initial_state(len(heads))
    vectors = flatten(state, layout)
    for u, head in enumerate(heads):
        if head.state:
            vectors[u] = np.frombuffer(head.state, dtype="<f4")
    stacked = unflatten(vectors, layout, dtype=dtype)
    if "memory_seq" in state:
        stacked["memory_seq"] = torch.from_numpy(numbers)
        stacked["memory_key"] = torch.from_numpy(keys)
    # A new user's exact start, not its rounding at rest.
    for u, head in enumerate(heads):
        if not head.state:
            for name in layout:
                stacked[name][u] = state[name][u]
    return stacked


def scatter(
    strategy: Strategy, before: Sequence[HeadRow], state: CohortState, size: int
) -> list[HeadRow]:
    """States at rest after the round."""
    vectors = flatten(state, strategy.layout).astype("<f4")
    memories: list[bytes | None] = [None] * len(before)
    if "memory_seq" in state:
        pairs = zip(state["memory_seq"].numpy(), state["memory_key"].numpy(), strict=True)
        memories = [encode_memory(numbers, keys) for numbers, keys in pairs]
    return [
        HeadRow(head.user_id, head.learned + size, vector.tobytes(), memory, head.retracted)
        for head, vector, memory in zip(before, vectors, memories, strict=True)
    ]
