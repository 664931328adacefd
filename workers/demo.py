"""The demo: simulated users, everything else real. Read `Demo.run`.

The world knows each user's true taste. Some pictures are never shown to anybody for rating: on those the
served scores are examined at the end, against fresh ratings drawn from the true taste.
"""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from paaplus.errors import ConfigError
from paaplus.events import ATTRIBUTES, encode, partition_key
from paaplus.metrics import mae, srcc
from paaplus.scoring import Scorer
from paaplus.store import Store, open_store
from streams.log import EventLog, open_log
from streams.topics import FEEDBACK, ITEMS
from workers.build import open_registry
from workers.config import Config, load_config
from workers.plots import plot_rounds
from workers.progress import progress_bar
from workers.run import embed_once, fit_population_once, retrain_once
from workers.simulate import SimulatedWorld
from workers.sources import StoreSource
from workers.tasks import ingest_once

MARKER = ".paaplus-demo"
"""A file in a folder that a demo made: only such a folder is ever emptied."""

FIT_AFTER = 2
"""Rounds after which the population model is fitted: before that there is too little to see."""

START = datetime(2026, 1, 5, 8, tzinfo=UTC)
"""When the simulated feedback begins."""


class Demo:
    """One run of the demo.

    Args:
        home: Folder of everything; emptied first, if a demo made it.
        log_url: A broker of the reader's; None for the SQLite log in `home`.
        users: Simulated users.
        rounds: Rounds of 10 ratings per user.
        strategy: Name of the learning strategy.
        seed: Of the world.
        quiet: No progress, no words.
    """

    def __init__(
        self,
        *,
        home: Path,
        log_url: str | None,
        users: int,
        rounds: int,
        strategy: str,
        seed: int,
        quiet: bool,
    ) -> None:
        self._quiet = quiet
        self._rounds = rounds
        self._home = _fresh(home)
        self._config = load_config(
            home=home,
            log={"url": _own_namespace(log_url, seed)},
            strategy={"name": strategy},
        )
        self._world = SimulatedWorld(users=users, seed=seed)

    def run(self) -> dict[str, Any]:
        """The whole loop.

        Returns:
            `events, dead_letters, duplicates, users, promoted, population, personal, seconds`, and
            where things are: `plot, home, log, mlflow, example`.
        """
        started = time.monotonic()
        config, world = self._config, self._world
        log = open_log(config.log_url, partitions=config.log.partitions)
        history: list[dict[str, float]] = []
        try:
            with progress_bar(quiet=self._quiet) as display:
                task = display.add_task("drawing bodies", total=self._rounds)
                self._announce_items(log)
                for number in range(self._rounds):
                    display.update(task, description=f"round {number + 1}: feedback")
                    log.append(FEEDBACK, world.round_events(number, start=START))
                    ingest_once(config, quiet=True)
                    display.update(task, description=f"round {number + 1}: pictures")
                    embed_once(config, quiet=True)
                    promoted = 0
                    if number + 1 == FIT_AFTER:
                        display.update(task, description="population model")
                        fit_population_once(config, quiet=True)
                    if number + 1 >= FIT_AFTER:
                        display.update(task, description=f"round {number + 1}: heads")
                        promoted = retrain_once(config, quiet=True)["promoted"]
                        history.append(self._examine(10 * (number + 1)) | {"promoted": promoted})
                    display.update(task, completed=number + 1)
        finally:
            log.close()
        plot = self._home / "rounds.png"
        plot_rounds(history, plot)
        return self._result(history[-1], plot, time.monotonic() - started)
