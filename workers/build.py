"""Configuration -> objects with flat arguments. Configuration stops here."""

from __future__ import annotations

import os
import socket
from datetime import timedelta

from paaplus.comments import open_analyser
from paaplus.errors import NotFoundError
from paaplus.packs import population_path
from paaplus.population import Population, load_population
from paaplus.registry import Registry
from paaplus.store import Store
from paaplus.store.basis import Basis
from paaplus.store.populations import PopulationRow
from paaplus.triggers import Count, Trigger
from paaplus.trunks import Trunk, open_trunk, trunk_version
from strategies import build_strategy
from streams.ingest import Ingestor
from streams.log import EventLog
from workers.clock import now
from workers.config import Config
from workers.retrain import Retrainer


def trunk_name(config: Config) -> str:
    """Version name of the features that everything is learned on."""
    name = config.trunk.name
    return name if is_given(config) else trunk_version(name)


def is_given(config: Config) -> bool:
    """Whether item events carry the features, so that there is nothing to embed."""
    return config.trunk.name.startswith("given")


def build_trunk(config: Config) -> Trunk:
    """The network that embeds pictures.

    Raises:
        ConfigError: There is none by that name.
    """
    return open_trunk(
        config.trunk.name, device=config.trunk.device, batch_size=config.trunk.batch_size
    )


def build_ingestor(config: Config, log: EventLog, store: Store) -> Ingestor:
    """The reader of the log."""
    return Ingestor(
        log,
        store,
        group=config.log.group,
        max_records=config.run.max_records,
        analyser=open_analyser(config.comments.analyser),
        clock=now,
    )


def open_registry(config: Config) -> Registry | None:
    """MLflow, or None where it is switched off."""
    if not config.registry.enabled:
        return None
    return Registry(
        config.registry_url,
        fleet=config.fleet,
        artifacts=config.artifacts,
        user_rows=config.registry.user_rows,
    )


def basis_of(config: Config, population: PopulationRow | None) -> Basis | None:
    """What heads stand on now; None before the first population model."""
    if population is None:
        return None
    strategy = config.strategy
    return Basis(
        population.version, strategy.key(), strategy.experience_size, trigger_of(config).fewest
    )


def trigger_of(config: Config) -> Trigger:
    """What makes a user due; unless configured, a whole experience that waits."""
    return config.trigger.build() or Count(config.strategy.experience_size)


def current_population(config: Config, store: Store) -> tuple[Population, PopulationRow] | None:
    """The current population model from the artifacts folder; None before the first fit.

    Raises:
        PackError: Its file is missing or damaged.
    """
    with store.read() as connection:
        row = store.populations.current(connection)
    if row is None:
        return None
    path = population_path(config.artifacts, row.version)
    return load_population(path, row.version), row


def build_retrainer(config: Config, store: Store) -> Retrainer:
    """A retrainer on the current population model.

    Raises:
        NotFoundError: There is no population model yet.
    """
    found = current_population(config, store)
    if found is None:
        raise NotFoundError(
            "there is no population model yet, so heads have nothing to start from",
            "run `paaplus retrain --population` once some feedback is there",
        )
    population, row = found
    basis = basis_of(config, row)
    assert basis is not None
    strategy = build_strategy(
        config.strategy.name,
        population.prior,
        population.calibration,
        config.strategy.build(),
    )
    return Retrainer(
        store,
        config.artifacts,
        population,
        strategy,
        basis,
        config.gate.build(),
        trigger_of(config),
        owner=f"{socket.gethostname()}:{os.getpid()}",
        lease_ttl=timedelta(seconds=config.run.lease_seconds),
        users_per_round=config.run.users_per_round,
        clock=now,
        freedom=config.strategy.robust,
    )
