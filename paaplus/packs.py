"""Packs: content-addressed files of many users' heads, one row per user.

A pack is a safetensors file named by the sha256 of its bytes,
`<root>/packs/<sha[:2]>/<sha>.safetensors`:

| tensor | dtype, shape | holds |
|---|---|---|
| `heads` | float32 [U, P] | mean [A, m], then lower triangles of covariance [A, m(m+1)/2] |
| `user_bytes` | uint8 [B] | the users' ids in UTF-8, one after another, in sorted order |
| `user_offsets` | int64 [U + 1] | row u's id is `user_bytes[offsets[u]:offsets[u + 1]]` |

One matrix, because a tensor per user makes the header grow with the users and opening slow. Each
row has its owner's id, and `Pack.head` wants to hear it: a row number does not say whose it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from paaplus.errors import NotFoundError, PackError
from paaplus.events import ATTRIBUTES
from paaplus.heads import Heads, pack_lower, unpack_lower

FORMAT = 1
"""Version of the layout above; a reader refuses every other."""

_SHA = re.compile(r"[0-9a-f]{64}")
_METADATA = "paaplus"
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


class Pack:
    """An open pack whose content has been checked. Safe to share between threads.

    Args:
        path: The file.
        sha: sha256 that its bytes must have, 64 hexadecimal digits.

    Raises:
        PackError: No such file, other bytes than the name says, or not the layout of a pack.
    """

    def __init__(self, path: Path, sha: str) -> None:
        self.sha = _checked_sha(sha)
        self.path = path
        with self._reading():
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != sha:
                raise PackError(
                    f"{path}: the content has sha256 {found[:12]}…, not {sha[:12]}…",
                    "the file is damaged or was exchanged: restore it from a backup",
                )
            self._file: Any = safe_open(path, "numpy")
            header = json.loads((self._file.metadata() or {})[_METADATA])
            if header["format"] != FORMAT or header["attributes"] != list(ATTRIBUTES):
                raise ValueError(f"format {header['format']} of {header['attributes']}")
            self.regressors = int(header["regressors"])
            self.manifest = _manifest(header["manifest"])
            self._bytes: bytes = self._file.get_tensor("user_bytes").tobytes()
            self._offsets: NDArray[np.int64] = self._file.get_tensor("user_offsets")
            self.users = len(self._offsets) - 1
            self._check_layout()

    def user_of(self, row: int) -> str:
        """Id of the user whom a row belongs to.

        Raises:
            PackError: There is no such row.
        """
        if not 0 <= row < self.users:
            raise PackError(
                f"pack {self.sha[:12]}… has rows 0 to {self.users - 1}, not {row}",
                "take the row from the ledger entry that names this pack",
            )
        return self._id(row).decode("utf-8")

    def user_ids(self) -> tuple[str, ...]:
        """Ids of all users, in the order of the rows."""
        return tuple(self.user_of(row) for row in range(self.users))

    def row_of(self, user_id: str) -> int:
        """Row of a user.

        Raises:
            NotFoundError: The user has no head in this pack.
        """
        wanted = user_id.encode("utf-8", "surrogatepass")
        low, high = 0, self.users
        while low < high:
            middle = (low + high) // 2
            if self._id(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        if low < self.users and self._id(low) == wanted:
            return low
        raise NotFoundError(
            f"user {user_id[:128]!r} has no head in pack {self.sha[:12]}…",
            "a pack holds the users of one round only; the ledger names each user's pack",
        )

    def head(self, row: int, user_id: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Head of a user; reads one row of the file, not the matrix.

        Args:
            row: The user's row, as the ledger has it.
            user_id: Whose head is wanted.

        Returns:
            Mean [A, m] and covariance [A, m, m]; float32 values in float64 arrays.

        Raises:
            PackError: No such row, or it belongs to another user.
        """
        if self.user_of(row) != user_id:
            raise PackError(
                f"row {row} of pack {self.sha[:12]}… does not belong to user {user_id[:128]!r}",
                "nobody is served another user's head; compare the pointer with the ledger",
            )
        values = self._file.get_slice("heads")[row : row + 1][0].astype(np.float64)
        split = len(ATTRIBUTES) * self.regressors
        mean = values[:split].reshape(len(ATTRIBUTES), self.regressors)
        return mean, unpack_lower(values[split:].reshape(len(ATTRIBUTES), -1))

    def _id(self, row: int) -> bytes:
        return self._bytes[self._offsets[row] : self._offsets[row + 1]]

    def _check_layout(self) -> None:
        offsets, matrix = self._offsets, self._file.get_slice("heads")
        width = len(ATTRIBUTES) * (self.regressors + self.regressors * (self.regressors + 1) // 2)
        if matrix.get_dtype() != "F32" or list(matrix.get_shape()) != [self.users, width]:
            raise ValueError(f"heads are {matrix.get_dtype()} {matrix.get_shape()}")
        ends = offsets.dtype == np.int64 and offsets[0] == 0 and offsets[-1] == len(self._bytes)
        if not ends or (np.diff(offsets) < 0).any():
            raise ValueError("the offsets of the user ids do not fit")
        self._bytes.decode("utf-8")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise PackError(
                f"{self.path}: there is no such file",
                "restore the artifacts folder, or point the configuration at the right one",
            ) from None
        except PackError:
            raise
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, IndexError) as error:
            raise PackError(
                f"{self.path}: not a pack of format {FORMAT} ({type(error).__name__}: {error})",
                "it was written by another version of paaplus, or by something else",
            ) from error


class PackStore:
    """The packs of one artifacts folder, with the most recently used ones kept open.

    Args:
        root: The artifacts folder.
        capacity: How many packs to keep open. An open pack was checked once and is not read again.
    """

    def __init__(self, root: Path, capacity: int = 64) -> None:
        self._root = root
        self._capacity = capacity
        self._open: OrderedDict[str, Pack] = OrderedDict()
        self._lock = Lock()

    def open(self, sha: str) -> Pack:
        """The pack of that name.

        Raises:
            PackError: See `Pack`.
        """
        with self._lock:
            pack = self._open.pop(sha, None) or open_pack(self._root, sha)
            self._open[sha] = pack
            if len(self._open) > self._capacity:
                self._open.popitem(last=False)
            return pack

    def clear(self) -> None:
        """Forget the open packs, e.g. after an erasure has rewritten them."""
        with self._lock:
            self._open.clear()


def pack_path(root: Path, sha: str) -> Path:
    """Where a pack lies under the artifacts folder.

    Raises:
        PackError: `sha` is not 64 hexadecimal digits.
    """
    return root / "packs" / _checked_sha(sha)[:2] / f"{sha}.safetensors"


def population_path(root: Path, version: str) -> Path:
    """Where a population model lies under the artifacts folder.

    Raises:
        PackError: `version` is not 64 hexadecimal digits.
    """
    return root / "populations" / f"{_checked_sha(version)}.safetensors"


def open_pack(root: Path, sha: str) -> Pack:
    """Open a pack of the artifacts folder `root`.

    Raises:
        PackError: See `Pack`.
    """
    return Pack(pack_path(root, sha), sha)


def write_pack(
    root: Path, heads: Heads, user_ids: Sequence[str], manifest: Manifest
) -> tuple[str, dict[str, int]]:
    """Write heads to a pack; it is on the disk, whole, when this returns.

    Equal input gives equal bytes, in whatever order the users come.

    Args:
        root: The artifacts folder.
        heads: mean [U, A, m], covariance [U, A, m, m]; stored as float32.
        user_ids: U different ids.
        manifest: What they were made with.

    Returns:
        sha256 of the file, and the row of each user.

    Raises:
        PackError: Shapes that do not fit, an id twice, or numbers that are not finite.
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
        "manifest": _json(manifest),
    }
    tensors: dict[str, NDArray[Any]] = {
        "heads": matrix,
        "user_bytes": np.frombuffer(b"".join(sorted(ids)), dtype=np.uint8),
        "user_offsets": np.cumsum([0, *(len(ids[u]) for u in order)], dtype=np.int64),
    }
    content = save(tensors, {_METADATA: json.dumps(header, sort_keys=True)})
    sha = hashlib.sha256(content).hexdigest()
    _write_atomically(pack_path(root, sha), content)
    return sha, {user_ids[u]: row for row, u in enumerate(order)}


def _checked_sha(sha: str) -> str:
    if _SHA.fullmatch(sha) is None:
        raise PackError(
            f"{sha[:80]!r} is not the name of a model file",
            "packs and population models are named by 64 hexadecimal digits, a sha256",
        )
    return sha


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


def _json(manifest: Manifest) -> dict[str, Any]:
    if manifest.created_at.tzinfo is None:
        raise PackError("the manifest's created_at has no zone", "use datetime.now(UTC)")
    fields = {name: getattr(manifest, name) for name in Manifest.__slots__}
    created_at = manifest.created_at.astimezone(UTC).isoformat()
    return fields | {"created_at": created_at, "window": dict(manifest.window)}


def _manifest(fields: dict[str, Any]) -> Manifest:
    return Manifest(**fields | {"created_at": datetime.fromisoformat(fields["created_at"])})


def _write_atomically(path: Path, content: bytes) -> None:
    """A crash leaves either no file of this name or the whole of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    # The names are on the disk only when their folders are.
    for folder in (path.parent, path.parent.parent, path.parent.parent.parent):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
