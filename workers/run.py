"""The loop: ingest, embed, retrain, mirror; one pass after another until stopped.

`run` may be killed at any moment. Each stage's effect is one transaction, so a pass that was cut short is
simply done again.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from threading import Event
from typing import Any

from rich.console import Console

from paaplus.errors import LeaseLostError, LogUnavailableError, StoreError
from paaplus.store import Store
from paaplus.store.offsets import Outcome
from paaplus.store.populations import PopulationRow
from streams.ingest import Ingestor
from streams.log import open_log
from workers.build import build_ingestor, build_retrainer, build_trunk, is_given
from workers.clock import now
from workers.config import Config
from workers.embed import EmbedOutcome, embed_pending
from workers.retrain import Retrainer, Round
from workers.tasks import opened
from workers.training import fit_population, mirror

BACK_OFF_S = (1.0, 30.0)
"""First and longest wait after the log or the store could not be reached; doubled each time."""


def run(
    config: Config, *, stages: Collection[str], quiet: bool, until_idle: bool = False
) -> dict[str, Any]:
    """Pass after pass over the stages, until SIGINT or SIGTERM, or until nothing is left to do.

    Args:
        config: The configuration.
        stages: Of `ingest`, `embed`, `retrain`.
        quiet: Print nothing on the way.
        until_idle: Stop after a pass that found nothing to do.

    Returns:
        Events accepted, duplicates, dead letters, embedded items, rounds and promotions of this run.
    """
    console = Console(stderr=True, quiet=quiet)
    totals = {name: 0 for name in _COUNTS}
    with _stop_signal() as stop, opened(config) as store:
        loop = _Loop(config, store, stages, console)
        wait = BACK_OFF_S[0]
        with ExitStack() as cleanup:
            cleanup.callback(loop.close)
            while not stop.is_set():
                try:
                    counts = loop.step()
                    wait = BACK_OFF_S[0]
                except (LogUnavailableError, StoreError) as error:
                    # Both come and go; the log and the store know where we stand.
                    console.print(f"[yellow]waiting {wait:.0f} s:[/] {error}")
                    loop.close()
                    stop.wait(wait * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                    wait = min(2 * wait, BACK_OFF_S[1])
                    continue
                for name, count in counts.items():
                    totals[name] += count
                if any(counts.values()):
                    told = ", ".join(f"{name} {n}" for name, n in counts.items() if n)
                    console.print(f"{now():%H:%M:%S} {told}")
                elif until_idle:
                    break
                else:
                    stop.wait(config.run.poll_seconds)
    return totals


_COUNTS = (
    "accepted",
    "duplicates",
    "dead_letters",
    "embedded",
    "failed_items",
    "rounds",
    "promoted",
    "mirrored",
)


class _Loop:
    """The stages of one process; what is dear to make (consumers, trunk) is kept between passes."""

    def __init__(
        self, config: Config, store: Store, stages: Collection[str], console: Console
    ) -> None:
        self._config = config
        self._console = console
        self._mirror_error: str | None = None
        self._store = store
        self._stages = stages
        self._ingestor: Ingestor | None = None
        self._closing = ExitStack()
        self._embed: Callable[[], EmbedOutcome] | None = None
        self._retrainer: tuple[str, Retrainer] | None = None

    def step(self) -> dict[str, int]:
        """One pass."""
        counts = dict.fromkeys(_COUNTS, 0)
        if "ingest" in self._stages:
            outcome = self._ingest()
            counts["accepted"] = outcome.accepted
            counts["duplicates"] = outcome.duplicates
            counts["dead_letters"] = outcome.dead
        if "embed" in self._stages and not is_given(self._config):
            embedded = self._embed_pending()
            counts["embedded"] = embedded.embedded
            counts["failed_items"] = embedded.failed
        if "retrain" in self._stages:
            rounds = self._retrain()
            counts["rounds"] = len(rounds)
            counts["promoted"] = sum(r.promoted for r in rounds)
            counts["mirrored"] = self._mirror()
        return counts

    def close(self) -> None:
        """Leave the log; the next pass opens it again."""
        self._closing.close()
        self._ingestor = None

    def _mirror(self) -> int:
        done = mirror(self._config, self._store, quiet=True)
        if done.error != self._mirror_error and done.error is not None:
            self._console.print(f"[yellow]goes on without MLflow:[/] {done.error}")
        self._mirror_error = done.error
        return done.entries

    def _ingest(self) -> Outcome:
        if self._ingestor is None:
            log = open_log(self._config.log_url, partitions=self._config.log.partitions)
            self._closing.callback(log.close)
            self._ingestor = build_ingestor(self._config, log, self._store)
            self._closing.callback(self._ingestor.close)
        return self._ingestor.step()

    def _embed_pending(self) -> EmbedOutcome:
        with self._store.read() as connection:
            if not self._store.items.pending(connection, 1):
                return EmbedOutcome()
        if self._embed is None:
            trunk = build_trunk(self._config)  # seconds, and only when a picture waits
            self._embed = lambda: embed_pending(
                self._store,
                trunk,
                self._config.images,
                batch_size=self._config.trunk.batch_size,
            )
        return self._embed()

    def _retrain(self) -> list[Round]:
        with self._store.read() as connection:
            row = self._store.populations.current(connection)
            ratings = self._store.feedback.ratings(connection)
        if self._fit_is_due(row, ratings):
            fit_population(self._config, self._store, quiet=True)
            with self._store.read() as connection:
                row = self._store.populations.current(connection)
        if row is None:
            return []
        if self._retrainer is None or self._retrainer[0] != row.version:
            self._retrainer = row.version, build_retrainer(self._config, self._store)
        try:
            return self._retrainer[1].run()
        except LeaseLostError:
            return []  # another process has the cohort; ours wrote nothing

    def _fit_is_due(self, row: PopulationRow | None, ratings: int) -> bool:
        settings = self._config.population
        if settings.fit == "manual":
            return False
        if row is None:
            return ratings >= settings.min_ratings
        return settings.refit_growth is not None and ratings >= row.ratings * (
            1 + settings.refit_growth
        )


@contextmanager
def _stop_signal() -> Iterator[Event]:
    """An event that SIGINT and SIGTERM set; the old handlers come back at the end."""
    stop = Event()
    old = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
