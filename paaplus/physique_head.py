"""The three score heads of PhysiqueFrame (Zhong et al., CVPR 2025), read from an official checkpoint.

Each head is Linear - BatchNorm1d - ReLU - Dropout - Linear - BatchNorm1d - ReLU - Dropout - Linear - Sigmoid,
times 10, on the fused feature: image 768 | posture 256 | mesh 256 | preference 5 (absent in the review code).
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from paaplus.errors import NotFoundError, PackError
from paaplus.events import ATTRIBUTES

INPUTS = (1280, 1285)
"""Widths of the fused feature: without and with the preference."""
HIDDEN = (512, 256)
SCALE = 10.0
"""Scores are 0..10."""
BATCH_NORM_EPS = 1e-5
DROPOUT = 0.7
LAYOUTS = (
    tuple(f"{attribute}_classifier" for attribute in ATTRIBUTES),
    ("pam_classifier", "pam_shape_classifier", "pam_pose_classifier"),
)
"""Names of the heads of `ATTRIBUTES` in a checkpoint: the released ones, and those of the review code."""

_PARTS = {
    "0.weight": "weight1", "0.bias": "bias1", "1.weight": "scale1", "1.bias": "shift1",
    "1.running_mean": "mean1", "1.running_var": "variance1",
    "4.weight": "weight2", "4.bias": "bias2", "5.weight": "scale2", "5.bias": "shift2",
    "5.running_mean": "mean2", "5.running_var": "variance2",
    "8.weight": "weight3", "8.bias": "bias3",
}  # fmt: skip
FROZEN = ("mean1", "variance1", "mean2", "variance2")
TRAINED = tuple(name for name in _PARTS.values() if name not in FROZEN)
"""Names of what a user's feedback changes, in the order of the network."""


@dataclass(frozen=True, slots=True)
class PhysiqueHeads:
    """Weights of the heads of all `ATTRIBUTES`, stacked.

    Attributes:
        trained: `TRAINED` -> floating point [A, …]: weightI [A, out, in], biasI [A, out], and the affine
            weights of BatchNorm, scaleI and shiftI [A, out].
        frozen: `FROZEN` -> [A, out], the running statistics of BatchNorm; variances >= 0.
    """

    trained: dict[str, Tensor]
    frozen: dict[str, Tensor]

    @property
    def widths(self) -> tuple[int, ...]:
        """Inputs, hidden units and outputs of a head: (1285, 512, 256, 1) for the released ones."""
        shapes = [self.trained[f"weight{n}"].shape for n in (1, 2, 3)]
        return (shapes[0][2], *(shape[1] for shape in shapes))

    def official(self) -> dict[str, Tensor]:
        """The heads under the names of a released checkpoint, to be put into a PhysiqueFrame."""
        values = self.trained | self.frozen
        return {
            f"{head}.{key}": values[name][a].clone()
            for a, head in enumerate(LAYOUTS[0])
            for key, name in _PARTS.items()
        }


def network(widths: Sequence[int]) -> nn.Sequential:
    """One head as the official code builds it; its scores are `SCALE` times the output [n, 1]."""
    inputs, first, second, outputs = widths
    return nn.Sequential(
        nn.Linear(inputs, first), nn.BatchNorm1d(first), nn.ReLU(), nn.Dropout(DROPOUT),
        nn.Linear(first, second), nn.BatchNorm1d(second), nn.ReLU(), nn.Dropout(DROPOUT),
        nn.Linear(second, outputs), nn.Sigmoid(),
    )  # fmt: skip


def stack_heads(heads: Sequence[Mapping[str, Tensor]]) -> PhysiqueHeads:
    """Heads of one structure, from the state dict of a `network` per attribute."""
    values = {name: torch.stack([head[key] for head in heads]) for key, name in _PARTS.items()}
    return PhysiqueHeads(
        {name: values[name] for name in TRAINED}, {name: values[name] for name in FROZEN}
    )


def load_heads(path: Path) -> PhysiqueHeads:
    """The heads in a PhysiqueFrame checkpoint, float32; everything else in it is left unread or dropped.

    Args:
        path: `*.safetensors`, or a state dict by `torch.save`, which is read without running any code.
            Both layouts of names, with or without `module.` in front, and both widths of input.

    Raises:
        NotFoundError: No such file.
        PackError: Not a checkpoint, a key is missing, or a tensor has the wrong shape or is not finite.
    """
    if not path.is_file():
        raise NotFoundError(f"{path}: no such file", "give the path of a PhysiqueFrame checkpoint")
    try:
        tensors = _safetensors(path) if path.suffix == ".safetensors" else _torch(path)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise PackError(
            f"{path}: not a checkpoint that can be read safely: {_brief(error)}",
            "save the bare state dict with safetensors or torch.save, and copy the file again",
        ) from error
    heads = _checked(path, tensors)
    return stack_heads(heads)


def _checked(path: Path, tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """The official keys of each attribute's head."""
    names = next((names for names in LAYOUTS if any(_of_head(k, names) for k in tensors)), None)
    if names is None:
        raise PackError(
            f"{path}: no head: there is neither `{LAYOUTS[0][0]}.…` nor `{LAYOUTS[1][0]}.…`",
            "give a whole PhysiqueFrame checkpoint, not one of its trunks",
        )
    first = tensors.get(f"{names[0]}.0.weight")
    inputs = first.shape[-1] if first is not None and first.ndim == 2 else INPUTS[-1]
    if inputs not in INPUTS:
        raise PackError(
            f"{path}: {names[0]}.0.weight reads {inputs} inputs, PhysiqueFrame {INPUTS}",
            "give a checkpoint of PhysiqueFrame",
        )
    expected = network((inputs, *HIDDEN, 1)).state_dict()
    return [{key: _tensor(path, f"{n}.{key}", tensors, expected[key]) for key in _PARTS}
            for n in names]  # fmt: skip


def _tensor(path: Path, key: str, tensors: Mapping[str, Tensor], like: Tensor) -> Tensor:
    remedy = "the checkpoint is incomplete or damaged: download or export it again"
    if key not in tensors:
        raise PackError(f"{path}: key {key!r} is missing", remedy)
    tensor = tensors[key]
    if tensor.shape != like.shape or not tensor.is_floating_point():
        found = f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
        raise PackError(f"{path}: {key!r} is {found}, not float {tuple(like.shape)}", remedy)
    tensor = tensor.to(torch.float32, copy=True)
    if not bool(torch.isfinite(tensor).all()):
        raise PackError(f"{path}: {key!r} holds numbers that are not finite", remedy)
    if key.endswith("running_var") and bool((tensor < 0).any()):
        raise PackError(f"{path}: {key!r} holds negative variances", remedy)
    return tensor


def _of_head(key: str, names: Iterable[str] = LAYOUTS[0] + LAYOUTS[1]) -> bool:
    return key.split(".", 1)[0] in names


def _bare(key: str) -> str:
    """The key without what `DataParallel` puts in front."""
    return re.sub(r"^(module\.)+", "", key)


def _safetensors(path: Path) -> dict[str, Tensor]:
    # 1.5 GB are in a checkpoint, 10 MB of it are heads: only these are read.
    with safe_open(path, framework="pt") as file:
        return {_bare(k): file.get_tensor(k) for k in file.keys() if _of_head(_bare(k))}  # noqa: SIM118


def _torch(path: Path) -> dict[str, Tensor]:
    found = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    if not isinstance(found, Mapping):
        raise pickle.UnpicklingError(f"it holds a {type(found).__name__}, not a state dict")
    return {
        _bare(key): value
        for key, value in found.items()
        if isinstance(key, str) and isinstance(value, Tensor) and _of_head(_bare(key))
    }


def _is_zip(path: Path) -> bool:
    """Files by older torch are not zip archives and cannot be mapped into memory."""
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _brief(error: Exception) -> str:
    """The first line of what an error says; some say nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]
