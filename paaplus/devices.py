"""Devices to compute on, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paaplus.errors import ConfigError

if TYPE_CHECKING:
    import torch


def open_device(name: str, owner: str) -> torch.device:
    """The device of that name, once it has shown that it gives numbers back.

    Args:
        name: `cpu`, `cuda`, `cuda:1`, …
        owner: Who computes there, for the error.

    Raises:
        ConfigError: There is no such device, or it cannot be used here.
    """
    import torch

    try:
        tensor = torch.empty(0, device=torch.device(name))
        tensor.cpu()
    except (RuntimeError, AssertionError) as error:  # the latter from a torch built without CUDA
        first = str(error).partition("\n")[0]
        raise ConfigError(
            f"{owner}: device {name!r} cannot be used: {first}",
            "use cpu, or cuda where PyTorch finds a GPU",
        ) from error
    return tensor.device
