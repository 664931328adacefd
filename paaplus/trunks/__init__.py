"""What turns a picture into a feature vector. timm loads when a trunk is opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from paaplus.trunks.catalogue import TRUNKS, trunk_entry, trunk_version
from paaplus.trunks.images import read_image

if TYPE_CHECKING:
    from PIL import Image


class Trunk(Protocol):
    """A frozen network."""

    version: str
    width: int

    def embed(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Feature vectors float32 [N, width]."""


def open_trunk(name: str, *, device: str = "cpu", batch_size: int = 32) -> Trunk:
    """Load a trunk.

    Args:
        name: One of `TRUNKS`.
        device: `cpu` or `cuda`.
        batch_size: Pictures at once.

    Raises:
        ConfigError: Unknown name.
        MissingDependencyError: Its weights are not installed.
    """
    entry = trunk_entry(name)
    from paaplus.trunks.timm_trunk import TimmTrunk

    return TimmTrunk(entry, device=device, batch_size=batch_size)


__all__ = ["TRUNKS", "Trunk", "open_trunk", "read_image", "trunk_version"]
