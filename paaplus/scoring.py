"""Scores of items for one user, from the user's champion head or from the population model.

This is the path that a backend waits for: numpy, safetensors and the store, nothing that trains.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from paaplus.errors import NotFoundError
from paaplus.events import ATTRIBUTES
from paaplus.heads import predict
from paaplus.packs import PackStore, population_path
from paaplus.population import Population, load_population

_NAMED = 5
"""How many ids an error names."""


class HeadPointer(Protocol):
    """Where a head of a user lies; `Champion` and `LedgerEntry` of the store both say it."""

    @property
    def user_id(self) -> str: ...  # noqa: D102
    @property
    def version(self) -> int: ...  # noqa: D102
    @property
    def pack(self) -> str: ...  # noqa: D102
    @property
    def row(self) -> int: ...  # noqa: D102
    @property
    def population(self) -> str: ...  # noqa: D102


class ScoreSource(Protocol):
    """What scoring asks the store."""

    def champion(self, user_id: str) -> HeadPointer | None:
        """The user's champion; None for a user without one."""

    def version(self, user_id: str, version: int) -> HeadPointer | None:
        """An earlier, or any, version of the user's head; None if there is no such version."""

    def current_population(self) -> str | None:
        """Version of the population model in use; None before the first fit."""

    def known_items(self, item_ids: Sequence[str]) -> Collection[str]:
        """Those of the ids that have been announced."""

    def feature_matrix(
        self, item_ids: Sequence[str], trunk: str
    ) -> tuple[Sequence[str], NDArray[np.float32]]:
        """The ids that have features of this trunk, in any order, and their vectors [N, F]."""


@dataclass(frozen=True, slots=True)
class ItemScore:
    """What one user will think of one item.

    Attributes:
        item_id: Which item.
        mean: Expected rating by attribute, 0..10.
        std: Standard deviation of one new rating by attribute, on the same scale.
        model: `personal`, or `population` for a user who has no champion yet.
        version: The user's head version; None for the population model.
        population: Version of the population model, also under a personal head.
    """

    item_id: str
    mean: dict[str, float]
    std: dict[str, float]
    model: Literal["personal", "population"]
    version: int | None
    population: str


@dataclass(frozen=True, slots=True)
class ServedHead:
    """A head and the population model that it stands on.

    Attributes:
        mean: [A, m], and `covariance` [A, m, m].
        covariance: See `mean`.
        noise: [A], variance of one of the user's ratings.
        population: The model, and `base` its version.
        base: See `population`.
        version: The user's head version; None where it is the population's.
    """

    mean: NDArray[np.floating]
    covariance: NDArray[np.floating]
    noise: NDArray[np.floating]
    population: Population
    base: str
    version: int | None


class Scorer:
    """Scores items. Safe to share between threads; keeps packs and population models open.

    Args:
        source: Answers from the store.
        artifacts_root: The artifacts folder, with `packs/` and `populations/`.
    """

    def __init__(self, source: ScoreSource, artifacts_root: Path) -> None:
        self._source = source
        self._root = artifacts_root
        self._packs = PackStore(artifacts_root)
        self._populations: dict[str, Population] = {}
        self._lock = Lock()

    def score(
        self, user_id: str, item_ids: Sequence[str], *, version: int | None = None
    ) -> list[ItemScore]:
        """Score items for a user, in the order asked for.

        Args:
            user_id: Whose taste.
            item_ids: Which items.
            version: Version of the user's head, as the ledger counts; None for the champion.

        Raises:
            NotFoundError: No population model yet, no such version, an item that nobody announced,
                or one whose features have not been computed.
            PackError: A damaged file, or a pointer to another user's head.
        """
        if not item_ids:
            return []
        head = self.head(user_id, version=version)
        population = head.population
        rows = population.rows(item_ids, self._features(item_ids, population.trunk))
        unseen = population.unseen_variance(item_ids)
        means, stds = predict(head.mean, head.covariance, rows, head.noise, unseen)
        return [
            ItemScore(
                item_id,
                mean=dict(zip(ATTRIBUTES, map(float, means[i]), strict=True)),
                std=dict(zip(ATTRIBUTES, map(float, stds[i]), strict=True)),
                model="population" if head.version is None else "personal",
                version=head.version,
                population=head.base,
            )
            for i, item_id in enumerate(item_ids)
        ]

    def head(self, user_id: str, *, version: int | None = None) -> ServedHead:
        """What a user is scored with.

        Raises:
            NotFoundError: No population model yet, or no such version.
            PackError: A damaged file, or a pointer to another user's head.
        """
        pointer = self._pointer(user_id, version)
        base = pointer.population if pointer else self._source.current_population()
        if base is None:
            raise NotFoundError(
                "there is no population model yet, so nothing can be scored",
                "run `paaplus retrain --population` once ratings and features are in the store",
            )
        population = self._population(base)
        if pointer is None:
            prior = population.prior
            return ServedHead(prior.mean, prior.covariance, prior.noise, population, base, None)
        # `user_id`, not the pointer's: the pack refuses a pointer to somebody else's row.
        own = self._packs.open(pointer.pack).head(pointer.row, user_id)
        noise = population.prior.noise if own.noise is None else own.noise
        return ServedHead(own.mean, own.covariance, noise, population, base, pointer.version)

    def clear(self) -> None:
        """Forget open packs and population models, e.g. after an erasure."""
        self._packs.clear()
        with self._lock:
            self._populations.clear()

    def _pointer(self, user_id: str, version: int | None) -> HeadPointer | None:
        if version is None:
            return self._source.champion(user_id)
        pointer = self._source.version(user_id, version)
        if pointer is None:
            raise NotFoundError(
                f"user {user_id[:128]!r} has no version {version}",
                "`paaplus status --user` lists the versions of a user",
            )
        return pointer

    def _population(self, version: str) -> Population:
        with self._lock:
            if version not in self._populations:
                path = population_path(self._root, version)
                self._populations[version] = load_population(path, version)
            return self._populations[version]

    def _features(self, item_ids: Sequence[str], trunk: str) -> NDArray[np.float32]:
        wanted = list(dict.fromkeys(item_ids))
        found, matrix = self._source.feature_matrix(wanted, trunk)
        position = {item_id: i for i, item_id in enumerate(found)}
        missing = [item_id for item_id in wanted if item_id not in position]
        if missing:
            known = set(self._source.known_items(missing))
            unknown = [item_id for item_id in missing if item_id not in known]
            if unknown:
                raise NotFoundError(
                    f"{_names(unknown)} unknown to the store",
                    "announce them with item events and run `paaplus ingest`",
                )
            raise NotFoundError(
                f"{_names(missing)} without features of trunk {trunk!r}",
                "run `paaplus embed`; `paaplus status` counts pictures that cannot be read",
            )
        return matrix[[position[item_id] for item_id in item_ids]]


def _names(item_ids: Sequence[str]) -> str:
    more = ", …" if len(item_ids) > _NAMED else ""
    listed = ", ".join(repr(item_id[:80]) for item_id in item_ids[:_NAMED])
    return f"{len(item_ids)} item{'s' * (len(item_ids) > 1)} ({listed}{more})"
