"""The demo: simulated users, everything else real. Read `Demo.run`.

The world knows each user's true taste. Some pictures are never shown to anybody for rating: on those the
served scores are examined at the end, against fresh ratings drawn from the true taste.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from paaplus.errors import ConfigError
from paaplus.store import open_store
from streams.log import EventLog, open_log
from streams.topics import FEEDBACK, ITEMS
from workers.config import load_config
from workers.contributions import FIRST, contributions
from workers.exam import examine
from workers.plots import plot_rounds
from workers.progress import progress_bar
from workers.simulate import SimulatedWorld
from workers.tasks import ingest_once
from workers.training import embed_once, fit_population_once, retrain_once

MARKER = ".paaplus-demo"
"""A file in a folder that a demo made: only such a folder is ever emptied."""

FIT_AFTER = (3, 6)
"""Rounds after which the population model is fitted: with less there is too little to see, and with more
ratings per user tastes can be told from noise."""


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
            home=self._home,
            log={"url": _own_namespace(log_url or "", time.time_ns())},
            strategy={"name": strategy},
        )
        self._world = SimulatedWorld(users=users, seed=seed)

    def run(self) -> dict[str, Any]:
        """The whole loop.

        Returns:
            `events, dead_letters, duplicates, users, promoted, population, personal, kinds, seconds`, and
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
                    log.append(FEEDBACK, world.round_events(number))
                    ingest_once(config, quiet=True)
                    display.update(task, description=f"round {number + 1}: pictures")
                    embed_once(config, quiet=True)
                    promoted = 0
                    if number + 1 in FIT_AFTER:
                        display.update(task, description="population model")
                        fit_population_once(config, quiet=True)
                    if number + 1 >= FIT_AFTER[0]:
                        display.update(task, description=f"round {number + 1}: heads")
                        promoted = retrain_once(config, quiet=True)["promoted"]
                        figures = examine(config, world)
                        ratings = 10.0 * (number + 1)
                        history.append(figures | {"ratings": ratings, "promoted": promoted})
                    display.update(task, completed=number + 1)
        finally:
            log.close()
        plot = self._home / "rounds.png"
        plot_rounds(history, plot)
        return self._result(history[-1], plot, time.monotonic() - started)

    def _announce_items(self, log: EventLog) -> None:
        log.append(ITEMS, self._world.item_events(self._config.images))

    def _result(self, last: dict[str, float], plot: Path, seconds: float) -> dict[str, Any]:
        with open_store(self._config.store_url) as store, store.read() as connection:
            totals = store.offsets.totals(connection)
            champions = store.ledger.champions(connection)
            users = store.feedback.users(connection)
        with open_store(self._config.store_url) as store:
            kinds = contributions(self._config, store, self._world)
        example = next(iter(sorted(champions)), self._world.user_ids[0])
        item = self._world.item_ids[self._world.exam_items[0]]
        home, here = f"--home {self._home}", _here()
        log = "" if self._config.log_url.startswith("sqlite") else f" --log {self._config.log_url}"
        return {
            "events": totals.accepted,
            "dead_letters": totals.dead,
            "duplicates": totals.duplicates,
            "users": users,
            "promoted": len(champions),
            **{
                model: {m: round(last[f"{m}_{model}"], 4) for m in ("srcc", "mae")}
                for model in ("population", "calibration", "personal")
            },
            "kinds": kinds,
            "seconds": round(seconds, 1),
            "home": str(self._home),
            "log": self._config.log_url,
            "plot": str(plot),
            "look": [
                f"{here}paaplus score {home} --user {example} --item {item}",
                f"{here}paaplus status {home}{log} --user {example}",
                f"{here}paaplus dead-letters list {home}{log}",
                f"{here}mlflow ui --backend-store-uri {self._config.registry_url}",
            ],
        }


def _fresh(home: Path) -> Path:
    """An empty folder for the demo.

    Raises:
        ConfigError: The folder holds something that no demo made.
    """
    if home.exists() and any(home.iterdir()):
        if not (home / MARKER).exists():
            raise ConfigError(
                f"demo: {home} holds something that is not a demo's", "give another --home"
            )
        shutil.rmtree(home)
    home.mkdir(parents=True, exist_ok=True)
    (home / MARKER).touch()
    return home


def _here() -> str:
    """Folder of our commands as the reader called it, with a slash; empty if they are on the path."""
    folder = Path(sys.argv[0]).parent
    on_path = shutil.which("paaplus") is not None
    return "" if on_path or not (folder / "mlflow").exists() else f"{folder}/"


def _own_namespace(url: str, stamp: int) -> str:
    """The log's URL; on a broker without a namespace, topics of this run's own."""
    if not url.startswith("kafka://"):
        return url
    base, mark, options = url.partition("?")
    if "/" in base.removeprefix("kafka://").rstrip("/"):
        return url
    return f"{base.rstrip('/')}/paaplus-demo-{stamp}{mark}{options}"


def print_result(result: dict[str, Any]) -> None:
    """The table that ends the demo, and where to look next."""
    console = Console()
    counts = Table(box=None, show_header=False, pad_edge=False)
    for key in ("events", "dead_letters", "duplicates", "users", "promoted", "seconds"):
        counts.add_row(key.replace("_", " "), str(result[key]))
    scores = Table(title="On pictures that nobody was asked about", title_justify="left")
    for column in ("model", "SRCC", "MAE"):
        scores.add_column(column, justify="left" if column == "model" else "right")
    words = {
        "population": "population",
        "calibration": "+ own mean and slope",
        "personal": "personal",
    }
    for model, label in words.items():
        scores.add_row(label, f"{result[model]['srcc']:.3f}", f"{result[model]['mae']:.3f}")
    kinds = Table(
        title=f"What each kind of feedback adds to a user's first {FIRST} ratings",
        title_justify="left",
    )
    for column in ("kind", "events", "ratings' worth", "SRCC", "MAE"):
        kinds.add_column(column, justify="left" if column == "kind" else "right")
    for row in result["kinds"]:
        kinds.add_row(
            row["kind"], str(row["events"]), f"{row['worth']:.2f}",
            f"{row['srcc']:.3f}", f"{row['mae']:.3f}",
        )  # fmt: skip
    console.print(counts)
    console.print(scores)
    console.print(kinds)
    console.print(f"plot: {result['plot']}", soft_wrap=True)
    console.print("look further:")
    for command in result["look"]:
        console.print(f"  {command}", soft_wrap=True, highlight=False)
