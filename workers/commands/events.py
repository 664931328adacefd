"""`import`, `emit`, `ingest`, `dead-letters`: events on their way into the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from workers.commands.options import common, show

if TYPE_CHECKING:
    from workers.config import Config


@click.command("import")
@click.argument("kind", type=click.Choice(["ratings"]))
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--to", "to", help="URL of the log; default: the configured one.")
@click.option("--task", help="Only the rows of this task.")
@click.option("--attribute", default="appearance", show_default=True, help="What they rate.")
@click.option("--scale", type=(float, float), help="Lowest and highest score of the source.")
@common
def import_command(
    kind: str,
    path: Path,
    to: str | None,
    task: str | None,
    attribute: str,
    scale: tuple[float, float] | None,
    config: Config,
    as_json: bool,
) -> None:
    """Turn the ratings in folder PATH into events. Importing twice adds nothing twice.

    The folder holds ratings.parquet (user_id, item_id, score[, task][, seq]) and item_features.npz
    (item_id and any number of float matrices).
    """
    from workers.importers import import_ratings
    from workers.tasks import append_events

    events = import_ratings(path, task=task, attribute=attribute, scale=scale)
    url = to or config.log_url
    result = append_events(events, url, config.log.partitions, total=events.total, quiet=as_json)
    if as_json:
        show(result, True)
    else:
        click.echo(f"{result['events']} events ({result['items']} of them items) in {url}")
        click.echo(f"trunk of the features: {events.trunk}")
        click.echo(f"next: PAAPLUS_TRUNK__NAME={events.trunk} paaplus ingest --once --log {url}")


@click.command("emit")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--to", "to", help="URL of the log; default: the configured one.")
@common
def emit_command(path: Path, to: str | None, config: Config, as_json: bool) -> None:
    """Append the events of the JSON-lines file PATH. A line that is no event stops it, by number."""
    from workers.tasks import append_events, read_events

    url = to or config.log_url
    result = append_events(read_events(path), url, config.log.partitions, quiet=as_json)
    show(result, as_json)


@click.command("ingest")
@click.option("--once", is_flag=True, help="Stop when the log has been read to its end.")
@common
def ingest_command(once: bool, config: Config, as_json: bool) -> None:
    """Read events from the log into the store: each has exactly one effect."""
    from workers.run import run
    from workers.tasks import ingest_once

    if once:
        show(ingest_once(config, quiet=as_json), as_json)
    else:
        run(config, stages=("ingest",), quiet=as_json)


@click.group("dead-letters")
def dead_letters_command() -> None:
    """Bytes that could not be accepted: kept whole, with the reason and the remedy."""


@dead_letters_command.command("list")
@click.option("--reason", help="Only this reason.")
@click.option("--limit", default=20, show_default=True)
@common
def list_letters(reason: str | None, limit: int, config: Config, as_json: bool) -> None:
    """Show letters that wait, oldest first."""
    from workers.tasks import opened

    with opened(config) as store, store.read() as connection:
        letters = store.letters.waiting(connection, reason=reason, limit=limit)
        counts = store.letters.counts(connection)
    rows: list[dict[str, Any]] = [
        {
            "id": letter.id,
            "position": f"{letter.topic}/{letter.part}@{letter.off}",
            "reason": letter.error.reason,
            "message": letter.error.message,
            "remedy": letter.error.remedy,
            "value": letter.value[:200].decode("utf-8", "backslashreplace"),
        }
        for letter in letters
    ]

    def text() -> None:
        for row in rows:
            click.echo(
                f"{row['id']:>6}  {row['position']:<18} {row['reason']:<16} {row['message']}"
            )
            click.echo(f"        remedy: {row['remedy']}")
            click.echo(f"        {row['value'][:100]!r}")
        click.echo(f"waiting: {sum(counts.values())} {counts or ''}")

    show({"letters": rows, "counts": counts}, as_json, text)


@dead_letters_command.command("redrive")
@click.option("--reason", help="Only this reason.")
@common
def redrive_letters(reason: str | None, config: Config, as_json: bool) -> None:
    """Put waiting letters back into the log, byte for byte; the next ingest judges them again."""
    from workers.tasks import redrive

    show(redrive(config, reason), as_json)
