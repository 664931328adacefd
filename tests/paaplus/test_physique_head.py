"""The heads of PhysiqueFrame: golden numbers, and checkpoints of every kind."""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from paaplus.errors import NotFoundError, PackError
from paaplus.physique_head import LAYOUTS, SCALE, load_heads, network

# Official module code with weights of recipe B, eval mode, float32, rows of wave(2, 1285): 10 x sigmoid.
GOLDEN = {
    "appearance_classifier": (5.822649, 6.482663),
    "health_classifier": (6.622859, 5.199179),
    "posture_classifier": (6.442664, 5.911304),
}


def recipe_b(key: str, like: Tensor) -> Tensor:
    """Weights from a closed formula of their key."""
    n = like.numel()
    phase = (zlib.crc32(key.encode()) % 6283) / 1000
    a = 43758.5453 * torch.sin(0.7390851 * torch.arange(n, dtype=torch.float64) + phase)
    s = 2 * (a - a.floor()) - 1
    if key.endswith("running_var"):
        w = 1 + 0.3 * s
    elif like.ndim >= 2:
        w = 1.7 * s / math.sqrt(n / like.shape[0])
    elif key.endswith("weight"):
        w = 1 + 0.2 * s
    else:
        w = 0.1 * s
    return w.reshape(like.shape).to(torch.float32)


def checkpoint(layout: int = 0, inputs: int = 1285, prefix: str = "") -> dict[str, Tensor]:
    """An official state dict's heads, filled by recipe B under the released names."""
    result: dict[str, Tensor] = {"pam.neck.weight": torch.zeros(3), "vit.proj": torch.ones(2, 2)}
    like = network((inputs, 512, 256, 1)).state_dict()
    for released, name in zip(LAYOUTS[0], LAYOUTS[layout], strict=True):
        for key, tensor in like.items():
            filled = recipe_b(f"{released}.{key}", tensor) if tensor.ndim else tensor.clone()
            result[f"{prefix}{name}.{key}"] = filled
    return result


def wave(rows: int, width: int) -> Tensor:
    i = torch.arange(rows * width, dtype=torch.float64)
    return (torch.sin(0.0137 * i) + 0.5 * torch.sin(0.00071 * i + 1)).reshape(rows, width).float()


def saved(tensors: dict[str, Tensor], path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    return path


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("layout", [0, 1], ids=["released", "review"])
def test_golden_scores_through_every_kind_of_checkpoint(
    layout: int, prefix: str, suffix: str, tmp_path: Path
) -> None:
    path = saved(checkpoint(layout, prefix=prefix), tmp_path / f"heads.{suffix}")
    heads = load_heads(path)
    assert heads.widths == (1285, 512, 256, 1)
    official = heads.official()
    for name, golden in GOLDEN.items():
        head = network(heads.widths).eval()
        own = {k.removeprefix(f"{name}."): v for k, v in official.items() if k.startswith(name)}
        assert head.load_state_dict(own, strict=False).unexpected_keys == []
        with torch.no_grad():
            scores = SCALE * head(wave(2, 1285))[:, 0]
        assert scores.tolist() == pytest.approx(golden, abs=2e-5)


def test_old_files_of_torch_and_heads_without_preference_are_read(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    torch.save(checkpoint(1, inputs=1280), path, _use_new_zipfile_serialization=False)
    assert load_heads(path).widths == (1280, 512, 256, 1)


def _without(key: str) -> Any:
    return lambda tensors: tensors.pop(key)


def _with(key: str, value: Tensor) -> Any:
    return lambda tensors: tensors.update({key: value})


HEAD = LAYOUTS[0][1]


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_without(f"{HEAD}.4.bias"), r"health_classifier.4.bias' is missing"),
        (_with(f"{HEAD}.4.bias", torch.zeros(255)), r"float32 \(255,\), not float \(256,\)"),
        (_with(f"{HEAD}.4.bias", torch.zeros(256, dtype=torch.int64)), "int64"),
        (_with(f"{HEAD}.8.bias", torch.tensor([torch.nan])), "not finite"),
        (_with(f"{HEAD}.1.running_var", -torch.ones(512)), "negative"),
        (_with(f"{HEAD}.0.weight", torch.zeros(512, 1280)), r"not float \(512, 1285\)"),
        (_with(f"{LAYOUTS[0][0]}.0.weight", torch.zeros(512, 768)), "768 inputs"),
        (lambda tensors: [tensors.pop(k) for k in list(tensors) if "classifier" in k], "no head"),
    ],
)
def test_a_bad_checkpoint_says_what_is_wrong(harm: Any, message: str, tmp_path: Path) -> None:
    tensors = checkpoint()
    harm(tensors)
    path = saved(tensors, tmp_path / "bad.safetensors")
    with pytest.raises(PackError, match=message) as raised:
        load_heads(path)
    assert str(path) in str(raised.value)
    assert raised.value.remedy


class Surprise:
    """What a checkpoint must not be able to run."""

    def __reduce__(self) -> Any:
        return (print, ("run",))


def test_files_that_are_no_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NotFoundError, match="no such file"):
        load_heads(tmp_path / "none.pth")
    for name in ("noise.safetensors", "noise.pth", "empty.pth"):
        path = tmp_path / name
        path.write_bytes(b"" if "empty" in name else b"PK noise that is not a checkpoint")
        with pytest.raises(PackError, match="not a checkpoint"):
            load_heads(path)
    for value in ({"appearance_classifier.0.weight": Surprise()}, [1, 2]):
        torch.save(value, tmp_path / "code.pth")
        with pytest.raises(PackError, match="not a checkpoint"):
            load_heads(tmp_path / "code.pth")
    assert "run" not in capsys.readouterr().out
