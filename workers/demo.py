"""The demo: simulated users, everything else real. Read `Demo.run`.

The world knows each user's true taste. Some pictures are never shown to anybody for rating: on those the
served scores are examined at the end, against fresh ratings drawn from the true taste.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from paaplus.errors import ConfigError
from paaplus.heads import HIGHEST, LOWEST, information_posterior
from paaplus.metrics import mae, srcc
from paaplus.scoring import Scorer
from paaplus.store import Store, open_store
from streams.log import EventLog, open_log
from streams.topics import FEEDBACK, ITEMS
from workers.build import current_population
from workers.config import load_config
from workers.plots import plot_rounds
from workers.progress import progress_bar
from workers.simulate import SimulatedWorld
from workers.sources import StoreSource
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
                        history.append(self._examine(10 * (number + 1)) | {"promoted": promoted})
                    display.update(task, completed=number + 1)
        finally:
            log.close()
        plot = self._home / "rounds.png"
        plot_rounds(history, plot)
        return self._result(history[-1], plot, time.monotonic() - started)

    def _announce_items(self, log: EventLog) -> None:
        log.append(ITEMS, self._world.item_events(self._config.images))

    def _examine(self, ratings: int) -> dict[str, float]:
        """Served scores against fresh ratings of pictures that nobody was asked about."""
        item_ids, given = self._world.exam()
        with open_store(self._config.store_url) as store:
            scorer = Scorer(StoreSource(store), self._config.artifacts)
            population = _table(scorer, "nobody", item_ids)  # a user without any feedback
            personal = np.stack([_table(scorer, u, item_ids) for u in self._world.user_ids])
            calibrated = self._calibrated(store, item_ids)
        result = {"ratings": float(ratings)}
        for name, scores in (
            ("population", np.broadcast_to(population, given.shape)),
            ("calibration", calibrated),
            ("personal", personal),
        ):
            result[f"srcc_{name}"] = _mean_over_users(srcc, scores, given)
            result[f"mae_{name}"] = _mean_over_users(mae, scores, given)
        return result

    def _calibrated(self, store: Store, item_ids: list[str]) -> NDArray[np.float64]:
        """The strong baseline: population scores with each user's own mean and slope, [U, I, A]."""
        found = current_population(self._config, store)
        assert found is not None
        population, users = found[0], self._world.user_ids
        prior = population.calibration
        with store.read() as connection:
            rated = store.feedback.next_ratings(connection, users, [0] * len(users), 10**6)
            ids, vectors = store.items.features(connection, population.trunk)
        table = dict(zip(ids, population.rows(ids, vectors)[:, :, :3], strict=True))
        wanted = np.stack([table[item_id] for item_id in item_ids])
        result = []
        for u in range(len(users)):
            mine = slice(int(rated.start[u]), int(rated.start[u + 1]))
            rows = np.stack([table[item_id] for item_id in rated.item_ids[mine]])
            scores, weight = rated.scores[mine], ~np.isnan(rated.scores[mine])
            gram = np.einsum("nam,nak,na->amk", rows, rows, weight)
            moment = np.einsum("nam,na->am", rows, np.nan_to_num(scores))
            mean, _ = information_posterior(prior.mean, prior.covariance, prior.noise, gram, moment)
            result.append(np.clip(np.einsum("nam,am->na", wanted, mean), LOWEST, HIGHEST))
        return np.stack(result)

    def _result(self, last: dict[str, float], plot: Path, seconds: float) -> dict[str, Any]:
        with open_store(self._config.store_url) as store, store.read() as connection:
            totals = store.offsets.totals(connection)
            champions = store.ledger.champions(connection)
            users = store.feedback.users(connection)
        example = next(iter(sorted(champions)), self._world.user_ids[0])
        item = self._world.item_ids[self._world.exam_items[0]]
        home = f"--home {self._home}"
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
            "seconds": round(seconds, 1),
            "home": str(self._home),
            "log": self._config.log_url,
            "plot": str(plot),
            "look": [
                f"paaplus score {home} --user {example} --item {item}",
                f"paaplus status {home} --user {example}",
                f"paaplus dead-letters list {home}",
                f"mlflow ui --backend-store-uri {self._config.registry_url}",
            ],
        }


def _table(scorer: Scorer, user_id: str, item_ids: list[str]) -> NDArray[np.float64]:
    """Served mean scores [I, A]."""
    return np.array([list(one.mean.values()) for one in scorer.score(user_id, item_ids)])


def _mean_over_users(
    measure: Callable[[NDArray[np.float64], NDArray[np.float64]], float],
    scores: NDArray[np.float64],
    given: NDArray[np.float64],
) -> float:
    """Mean of a measure over users and attributes; [U, I, A] both."""
    values = [
        measure(scores[u, :, a], given[u, :, a])
        for u in range(given.shape[0])
        for a in range(given.shape[2])
    ]
    return float(np.nanmean(values))


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
    console.print(counts)
    console.print(scores)
    console.print(f"plot: {result['plot']}", soft_wrap=True)
    console.print("look further:")
    for command in result["look"]:
        console.print(f"  {command}", soft_wrap=True, highlight=False)
