"""What a pack is called, where it lies, and what its manifest says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paaplus.errors import PackError

FORMAT = 1
"""Version of the layout above; a reader refuses every other."""

REQUIRED = ("population", "trunk", "strategy", "cohort", "code")
"""What a manifest must say: versions of population model, trunk and code, strategy and cohort."""

_SHA = re.compile(r"[0-9a-f]{64}")
METADATA = "paaplus"
"""The only metadata key: several are written in no fixed order, and equal packs are equal bytes."""


def checked_manifest(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest, if it names what a reader needs.

    Raises:
        PackError: One of `REQUIRED` is missing or no text.
    """
    missing = [name for name in REQUIRED if not isinstance(manifest.get(name), str)]
    if missing:
        raise PackError(
            f"the manifest of a pack does not say {', '.join(missing)}",
            f"give {', '.join(REQUIRED)} as text, and what else is worth knowing",
        )
    return dict(manifest)


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
