"""Names of registered models, and the addresses of packs and their rows.

`paaplus://packs/<sha>` is a whole pack; `paaplus://packs/<sha>?row=7&user=u.42` is one user's row.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qs, quote, urlsplit

from paaplus.errors import PackError, RegistryError

SCHEME = "paaplus"

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_USER = re.compile(r"[A-Za-z0-9._-]{1,128}")


@dataclass(frozen=True, slots=True)
class PackAddress:
    """Where a head, or a whole pack, lies.

    Attributes:
        sha: The pack's name.
        row: Row of one user; None for the whole pack.
        user_id: Whose row; None for the whole pack.
    """

    sha: str
    row: int | None = None
    user_id: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address that somebody else may have written.

        Exactly one spelling of each address is accepted, the one that `str` gives: what MLflow
        compares, prints and stores then names one thing only.

        Raises:
            PackError: Not an address of a pack.
        """
        try:
            parts = urlsplit(text)
            fields = parse_qs(parts.query, strict_parsing=bool(parts.query), errors="strict")
            row = int(fields["row"][0]) if fields else None
            address = cls(parts.path[1:], row, fields["user"][0] if fields else None)
            if re.fullmatch(r"[0-9a-f]{64}", address.sha) is None or str(address) != text:
                raise ValueError("it is spelled in another way")
        except (ValueError, KeyError) as error:
            raise PackError(
                f"{text[:200]!r} is not the address of a pack",
                "the form is paaplus://packs/<sha256>?row=<row>&user=<user>; "
                "load models by models:/<name>@champion",
            ) from error
        return address

    def __str__(self) -> str:
        base = f"{SCHEME}://packs/{self.sha}"
        if self.user_id is None:
            return base
        return f"{base}?row={self.row}&user={quote(self.user_id, safe='')}"


def experiment_name(fleet: str) -> str:
    """Experiment of a fleet's rounds."""
    return f"paaplus.{_checked(fleet, 'fleet')}"


def release_model(fleet: str, cohort: str) -> str:
    """Registered model of a cohort's releases.

    Raises:
        RegistryError: A name that could be taken for another one.
    """
    return f"{experiment_name(fleet)}.{_checked(cohort, 'cohort')}"


def user_model(fleet: str, user_id: str) -> str:
    """Registered model of one user.

    Raises:
        RegistryError: An id outside the contract of the events.
    """
    if _USER.fullmatch(user_id) is None:
        raise RegistryError(
            f"user id {user_id[:128]!r} cannot be part of a model's name",
            "ids are 1 to 128 of A-Z a-z 0-9 . _ -",
        )
    return f"{experiment_name(fleet)}.u.{user_id}"


def _checked(name: str, what: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise RegistryError(
            f"{what} {name[:64]!r} cannot be part of a model's name",
            "use 1 to 64 of A-Z a-z 0-9 _ -",
        )
    return name
