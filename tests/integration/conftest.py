"""A store on given features, with a simulated world in its log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streams.log import open_log
from streams.topics import FEEDBACK, ITEMS
from workers.config import Config, load_config
from workers.simulate import SimulatedWorld
from workers.tasks import ingest_once


@pytest.fixture
def make_config(tmp_path: Path) -> Callable[..., Config]:
    """A configuration with everything in one temporary folder."""

    def make(name: str = "home", **sections: Any) -> Config:
        return load_config(home=tmp_path / name, trunk={"name": "given"}, **sections)

    return make


def _append(config: Config, topic: str, messages: Any) -> None:
    log = open_log(config.log_url, partitions=config.log.partitions)
    try:
        log.append(topic, messages)
    finally:
        log.close()


def _fill(config: Config, world: SimulatedWorld, rounds: range) -> dict[str, Any]:
    if 0 in rounds:
        _append(config, ITEMS, world.given_items())
    for number in rounds:
        _append(config, FEEDBACK, world.round_events(number))
    return ingest_once(config, quiet=True)


@pytest.fixture
def append() -> Callable[..., None]:
    """(config, topic, messages): append them to the configured log."""
    return _append


@pytest.fixture
def fill() -> Callable[..., dict[str, Any]]:
    """(config, world, rounds): append the items, with round 0, and the feedback of the rounds; ingest."""
    return _fill
