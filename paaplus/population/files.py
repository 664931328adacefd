"""Reads the file of a population model: safetensors, named by its content."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from paaplus.errors import PackError

METADATA = "paaplus"
"""The only metadata key: several are written in no fixed order, and equal models are equal bytes."""


def read_checked(path: Path, version: str) -> bytes:
    """Content of a model's file.

    Args:
        path: The file.
        version: sha256 that its bytes must have.

    Raises:
        PackError: No such file, or other bytes than the version says.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PackError(
            f"population model {path}: {error.strerror}",
            "restore the artifacts folder, or run `paaplus retrain --population`",
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != version:
        raise PackError(
            f"population model {path}: the content has sha256 {found[:12]}…, not {version[:12]}…",
            "the file is damaged or was exchanged: restore it from a backup",
        )
    return content


def read_metadata(content: bytes) -> dict[str, Any]:
    """What a model's file says of itself.

    Raises:
        KeyError, ValueError: It is no such file.
    """
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    about: dict[str, Any] = json.loads(header["__metadata__"][METADATA])
    return about
