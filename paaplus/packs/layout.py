"""What a pack is called, where it lies, and what its manifest says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from paaplus.errors import PackError

FORMAT = 1
"""Version of the layout above; a reader refuses every other."""

_SHA = re.compile(r"[0-9a-f]{64}")
METADATA = "paaplus"
"""The only metadata key: several are written in no fixed order, and equal packs are equal bytes."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the heads of a pack were made with.

    Attributes:
        population: Version of the population model under the heads.
        trunk: Version name of the features that they read.
        strategy: Name of the strategy that trained them.
        cohort: Name of the cohort.
        code: Version of the code.
        created_at: When, with zone. It is part of the content, so of the pack's name.
        window: Which data was learned, in JSON types, e.g. log offsets by partition.
    """

    population: str
    trunk: str
    strategy: str
    cohort: str
    code: str
    created_at: datetime
    window: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As JSON types.

        Raises:
            PackError: `created_at` has no zone.
        """
        if self.created_at.tzinfo is None:
            raise PackError("the manifest's created_at has no zone", "use datetime.now(UTC)")
        fields = {name: getattr(self, name) for name in Manifest.__slots__}
        created_at = self.created_at.astimezone(UTC).isoformat()
        return fields | {"created_at": created_at, "window": dict(self.window)}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """From what `to_json` gave."""
        return cls(**fields | {"created_at": datetime.fromisoformat(fields["created_at"])})


def pack_path(root: Path, sha: str) -> Path:
    """Where a pack lies under the artifacts folder.

    Raises:
        PackError: `sha` is not 64 hexadecimal digits.
    """
    return root / "packs" / checked_sha(sha)[:2] / f"{sha}.safetensors"


def population_path(root: Path, version: str) -> Path:
    """Where a population model lies under the artifacts folder.

    Raises:
        PackError: `version` is not 64 hexadecimal digits.
    """
    return root / "populations" / f"{checked_sha(version)}.safetensors"


def checked_sha(sha: str) -> str:
    """The name itself, if it can be one: it becomes part of a path."""
    if _SHA.fullmatch(sha) is None:
        raise PackError(
            f"{sha[:80]!r} is not the name of a model file",
            "packs and population models are named by 64 hexadecimal digits, a sha256",
        )
    return sha
