"""Opens packs and reads heads out of them, a row at a time."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from paaplus.errors import NotFoundError, PackError
from paaplus.events import ATTRIBUTES
from paaplus.heads import Head, unpack_lower
from paaplus.packs.layout import FORMAT, METADATA, checked_manifest, checked_sha, pack_path


class Pack:
    """An open pack whose content has been checked. Safe to share between threads.

    Args:
        path: The file.
        sha: sha256 that its bytes must have, 64 hexadecimal digits.

    Raises:
        PackError: No such file, other bytes than the name says, or not the layout of a pack.
    """

    def __init__(self, path: Path, sha: str) -> None:
        self.sha = checked_sha(sha)
        self.path = path
        with self._reading():
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != sha:
                raise PackError(
                    f"{path}: the content has sha256 {found[:12]}…, not {sha[:12]}…",
                    "the file is damaged or was exchanged: restore it from a backup",
                )
            self._file = _opened(path)
            header = json.loads((self._file.metadata() or {})[METADATA])
            if header["format"] != FORMAT or header["attributes"] != list(ATTRIBUTES):
                raise ValueError(f"format {header['format']} of {header['attributes']}")
            self.regressors = int(header["regressors"])
            self.manifest = checked_manifest(header["manifest"])
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

    def head(self, row: int, user_id: str) -> Head:
        """Head of a user; reads one row of the file, not the matrix.

        Args:
            row: The user's row, as the ledger has it.
            user_id: Whose head is wanted.

        Returns:
            float32 values in float64 arrays; no noise in packs of before it was kept.

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
        lower = values[split:].reshape(len(ATTRIBUTES), -1)
        noise = None
        if self._noisy:
            noise = self._file.get_slice("noise")[row : row + 1][0].astype(np.float64)
        return Head(mean, np.asarray(unpack_lower(lower), dtype=np.float64), noise)

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
        self._noisy = "noise" in self._file.keys()  # noqa: SIM118 - not a mapping
        if self._noisy:
            noise = self._file.get_slice("noise")
            if noise.get_dtype() != "F32" or list(noise.get_shape()) != [
                self.users,
                len(ATTRIBUTES),
            ]:
                raise ValueError(f"noise is {noise.get_dtype()} {noise.get_shape()}")
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


def open_pack(root: Path, sha: str) -> Pack:
    """Open a pack of the artifacts folder `root`.

    Raises:
        PackError: See `Pack`.
    """
    return Pack(pack_path(root, sha), sha)


def _opened(path: Path) -> Any:
    """A safetensors handle; the package has no types for it."""
    return safe_open(path, "numpy")
