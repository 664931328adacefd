"""The short jobs behind the commands: append events, ingest once, redrive dead letters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paaplus.errors import EventError, LogError, NotFoundError
from paaplus.events import Event, Item, decode, encode, partition_key
from paaplus.store import Store, open_store
from paaplus.store.letters import Letter
from streams.log import open_log
from streams.topics import FEEDBACK, ITEMS
from workers.build import build_ingestor
from workers.clock import now
from workers.config import Config
from workers.progress import counter

BATCH = 1000
"""Events in one append: one durable write of the log each."""


@contextmanager
def opened(config: Config) -> Iterator[Store]:
    """The configured store; made if there is none."""
    with open_store(config.store_url, config.store.settings()) as store:
        yield store


def read_events(path: Path) -> Iterator[Event]:
    """Events of a JSON-lines file.

    Raises:
        LogError: The file cannot be read.
        EventError: A line is no event; the message names the line.
    """
    try:
        lines = path.open("rb")
    except OSError as error:
        raise LogError(f"{path}: {error.strerror}", "name a readable JSON-lines file") from error
    with lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield decode(line)
            except EventError as error:
                place = f"{path} line {number}"
                raise EventError(error.reason, place, error.message, error.remedy) from error


def append_events(
    events: Iterable[Event], url: str, partitions: int, *, total: int | None = None, quiet: bool
) -> dict[str, Any]:
    """Append events to the log at `url`, items to their topic and feedback to its own.

    Items are appended before the feedback that follows them, so that they are known in time.

    Returns:
        `events`, `items` and the log's `url`.
    """
    log = open_log(url, partitions=partitions)
    counts = {ITEMS: 0, FEEDBACK: 0}
    try:
        with counter("events", total=total, quiet=quiet) as advance:
            topic, batch = ITEMS, list[tuple[bytes, bytes]]()
            for event in events:
                target = ITEMS if isinstance(event, Item) else FEEDBACK
                if target != topic or len(batch) == BATCH:
                    counts[topic] += log.append(topic, batch)
                    advance(sum(counts.values()))
                    topic, batch = target, []
                batch.append((partition_key(event), encode(event)))
            counts[topic] += log.append(topic, batch)
            advance(sum(counts.values()))
    finally:
        log.close()
    return {"events": sum(counts.values()), "items": counts[ITEMS], "log": log.url}


def ingest_once(config: Config, *, quiet: bool) -> dict[str, Any]:
    """Read the log to its end.

    Returns:
        `accepted`, `duplicates`, `dead_letters` of this run, and `total` of them since the start.
    """
    log = open_log(config.log_url, partitions=config.log.partitions)
    try:
        with opened(config) as store:
            with (
                build_ingestor(config, log, store) as ingestor,
                counter("events", quiet=quiet) as advance,
            ):
                done = ingestor.drain(
                    lambda total: advance(total.accepted + total.duplicates + total.dead)
                )
            with store.read() as connection:
                total = store.offsets.totals(connection)
    finally:
        log.close()
    return {
        "accepted": done.accepted,
        "duplicates": done.duplicates,
        "dead_letters": done.dead,
        "total": {
            "accepted": total.accepted,
            "duplicates": total.duplicates,
            "dead_letters": total.dead,
        },
    }


def redrive(config: Config, reason: str | None) -> dict[str, Any]:
    """Put waiting dead letters back into the configured log.

    A letter is marked only after the log has it: a crash in between appends it twice, and the
    second copy is a duplicate by its `event_id`.

    Raises:
        NotFoundError: No letter waits.
    """
    log = open_log(config.log_url, partitions=config.log.partitions)
    redriven = 0
    try:
        with opened(config) as store:
            while True:
                with store.read() as connection:
                    letters = store.letters.waiting(connection, reason=reason, limit=BATCH)
                if not letters:
                    break
                for topic in (ITEMS, FEEDBACK):
                    mine = [letter for letter in letters if letter.topic == topic]
                    log.append(topic, [(_key(letter), letter.value) for letter in mine])
                ids = [letter.id for letter in letters if letter.id is not None]
                with store.write() as connection:
                    store.letters.mark_redriven(connection, ids, now=now())
                redriven += len(letters)
    finally:
        log.close()
    if not redriven:
        raise NotFoundError("no dead letter waits", "`paaplus dead-letters list` shows them")
    return {"redriven": redriven, "next": "paaplus ingest --once"}


def _key(letter: Letter) -> bytes:
    """The record's key; for a record that had none (Kafka takes such), the one that its event asks for."""
    if letter.key is not None:
        return letter.key
    try:
        return partition_key(decode(letter.value))
    except EventError:
        return b""
