"""Writes packs: equal heads give equal bytes, and a crash leaves no half of a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from paaplus.atomic import write_whole
from paaplus.errors import PackError
from paaplus.events import ATTRIBUTES
from paaplus.heads import Heads, pack_lower
from paaplus.packs.layout import FORMAT, METADATA, checked_manifest, pack_path


def write_pack(
    root: Path, heads: Heads, user_ids: Sequence[str], manifest: Mapping[str, Any]
) -> tuple[str, dict[str, int]]:
    """Write heads to a pack; it is on the disk, whole, when this returns.

    Equal input gives equal bytes, in whatever order the users come.

    Args:
        root: The artifacts folder.
        heads: mean [U, A, m], covariance [U, A, m, m], noise [U, A] or None; stored as float32.
        user_ids: U different ids.
        manifest: What they were made with, in JSON types: `population`, `trunk`, `strategy`,
            `cohort`, `code` and more. It is part of the content, so of the name: a time of day in it
            gives each retry of a round a pack of its own.

    Returns:
        sha256 of the file, and the row of each user.

    Raises:
        PackError: Shapes that do not fit, an id twice, or numbers that are not finite, or a manifest
            that lacks something or is not JSON.
    """
    ids = _encoded(user_ids)
    mean = np.asarray(heads.mean, dtype=np.float64)
    regressors = mean.shape[-1]
    shape = (len(ids), len(ATTRIBUTES), regressors)
    if mean.shape != shape or heads.covariance.shape != (*shape, regressors):
        raise PackError(
            f"{len(ids)} users, mean {mean.shape}, covariance {heads.covariance.shape}",
            f"give [U, {len(ATTRIBUTES)}, m] and [U, {len(ATTRIBUTES)}, m, m]",
        )
    if heads.noise is not None and (
        heads.noise.shape != shape[:2] or not np.all((heads.noise > 0) & np.isfinite(heads.noise))
    ):
        raise PackError(
            f"{len(ids)} users, noise {heads.noise.shape}",
            f"give [U, {len(ATTRIBUTES)}], all above 0",
        )
    lower = pack_lower(np.asarray(heads.covariance, dtype=np.float64))
    flat = np.concatenate([mean.reshape(len(ids), -1), lower.reshape(len(ids), -1)], axis=1)
    order = sorted(range(len(ids)), key=ids.__getitem__)
    with np.errstate(over="ignore"):
        matrix = np.ascontiguousarray(flat[order], dtype=np.float32)
    if not np.isfinite(matrix).all():
        bad = order[int(np.flatnonzero(~np.isfinite(matrix).all(axis=1))[0])]
        raise PackError(
            f"the head of user {user_ids[bad][:128]!r} holds numbers that are not finite",
            "training has diverged: lower the learning rate; nothing was written",
        )
    header = {
        "format": FORMAT,
        "attributes": list(ATTRIBUTES),
        "regressors": regressors,
        "manifest": checked_manifest(manifest),
    }
    tensors: dict[str, NDArray[Any]] = {
        "heads": matrix,
        "user_bytes": np.frombuffer(b"".join(sorted(ids)), dtype=np.uint8),
        "user_offsets": np.cumsum([0, *(len(ids[u]) for u in order)], dtype=np.int64),
    }
    if heads.noise is not None:
        tensors["noise"] = np.ascontiguousarray(heads.noise[order], dtype=np.float32)
    try:
        about = json.dumps(header, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise PackError(f"the manifest is not JSON: {error}", "use JSON types") from error
    content = save(tensors, {METADATA: about})
    sha = hashlib.sha256(content).hexdigest()
    write_whole(pack_path(root, sha), content, root=root)
    return sha, {user_ids[u]: row for row, u in enumerate(order)}


def _encoded(user_ids: Sequence[str]) -> list[bytes]:
    try:
        ids = [user_id.encode("utf-8") for user_id in user_ids]
    except UnicodeEncodeError as error:
        raise PackError(f"a user id is not Unicode text: {error}", "mend the producer") from error
    if not ids or len(set(ids)) != len(ids):
        raise PackError(
            f"{len(ids)} user ids, {len(set(ids))} different ones",
            "a pack holds at least one user and each user once",
        )
    return ids
