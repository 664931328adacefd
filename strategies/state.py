"""States of a cohort's heads: stacked tensors in memory, one float32 vector per user at rest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from paaplus.errors import PackError

CohortState = dict[str, Tensor]
"""Name -> tensor with leading dimension U. `memory_seq` (int64 [U, M], -1 = empty) and `memory_key`
(float64 [U, M]) are the replay memory; all others are numbers of the head."""

MEMORY = ("memory_seq", "memory_key")

Layout = dict[str, tuple[int, ...]]
"""Name -> shape per user, in the order in which a vector at rest holds them."""


def zero_state(
    layout: Layout, users: int, *, dtype: torch.dtype, device: torch.device
) -> CohortState:
    """Zeros for U users."""
    return {
        name: torch.zeros(users, *shape, dtype=dtype, device=device)
        for name, shape in layout.items()
    }


def empty_memory(users: int, *, device: str | torch.device) -> CohortState:
    """A replay memory without a row: [U, 0]."""
    return {
        name: torch.zeros(users, 0, dtype=dtype, device=device)
        for name, dtype in zip(MEMORY, (torch.int64, torch.float64), strict=True)
    }


def to_numpy(tensor: Tensor) -> NDArray[np.float64]:
    """The same numbers on the CPU; the same memory, where they are float64 there already."""
    array: NDArray[np.float64] = tensor.detach().to("cpu", torch.float64).numpy()
    return array


def flatten(state: Mapping[str, Tensor], layout: Layout) -> NDArray[np.float32]:
    """Vectors [U, P] of a state without its memory; the inverse of `unflatten` but for rounding."""
    parts = [
        state[name].detach().to(torch.float32).reshape(len(state[name]), -1) for name in layout
    ]
    return torch.cat(parts, dim=1).cpu().numpy()


def unflatten(
    matrix: NDArray[np.float32],
    layout: Layout,
    *,
    dtype: torch.dtype,
    device: str | torch.device = "cpu",
) -> CohortState:
    """A state from vectors [U, P], in one copy to the device.

    Raises:
        ValueError: The vectors are not as long as the layout says.
    """
    sizes = [math.prod(shape) for shape in layout.values()]
    if matrix.shape[1] != sum(sizes):
        raise ValueError(f"state vectors have {matrix.shape[1]} numbers, the layout {sum(sizes)}")
    values = torch.from_numpy(np.ascontiguousarray(matrix)).to(device, dtype)
    columns = torch.split(values, sizes, dim=1)
    return {
        name: part.reshape(len(matrix), *shape)
        for (name, shape), part in zip(layout.items(), columns, strict=True)
    }


def gather(state: Mapping[str, Tensor], users: Tensor) -> CohortState:
    """States of some users, int64 [U']; copies."""
    return {name: tensor[users] for name, tensor in state.items()}


def scatter(state: CohortState, users: Tensor, part: Mapping[str, Tensor]) -> None:
    """Write the states of some users back, in place."""
    for name, tensor in part.items():
        target = state[name]
        if name in MEMORY and target.shape[1] < tensor.shape[1]:
            wider = target.new_full((len(target), tensor.shape[1]), -1 if name == MEMORY[0] else 0)
            wider[:, : target.shape[1]] = target
            state[name] = target = wider
        if name in MEMORY:
            target[users] = -1 if name == MEMORY[0] else 0
            target[users, : tensor.shape[1]] = tensor
        else:
            target[users] = tensor


def save_state(state: Mapping[str, Tensor], path: Path) -> None:
    """Write a state as safetensors, to the bit; an existing file is replaced, whole or not at all."""
    written = path.with_name(path.name + ".part")
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, written)
    written.replace(path)


def load_state(path: Path, layout: Layout, *, device: str | torch.device = "cpu") -> CohortState:
    """A state that `save_state` wrote.

    Args:
        path: The file.
        layout: Of the strategy; the memory is read whether or not it is named.
        device: Where to put the tensors.

    Raises:
        PackError: No such file, a damaged one, or the state of another strategy or width.
    """
    remedy = "give the file that this strategy saved, or train it again"
    try:
        state: CohortState = load_file(path, device=str(device))
    except (OSError, SafetensorError) as error:
        raise PackError(f"{path}: no state can be read: {error}", remedy) from error
    found = {name: tuple(t.shape[1:]) for name, t in state.items() if name not in MEMORY}
    if found != layout or len({len(tensor) for tensor in state.values()}) > 1:
        differ = sorted(k for k in found.keys() | layout.keys() if found.get(k) != layout.get(k))
        raise PackError(f"{path}: not this strategy's state: {differ or 'users differ'}", remedy)
    return state
