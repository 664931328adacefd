"""What the benchmarks' command lines share: options, a status, our errors, one result as JSON or a table."""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ParamSpec

from rich.console import Console
from rich.status import Status
from rich.table import Table

from paaplus.errors import PaaplusError
from paaplus.events import ATTRIBUTES

P = ParamSpec("P")


def parser_of(name: str, text: str | None, *, seed: int = 0) -> argparse.ArgumentParser:
    """A benchmark's parser, with the options that all have: --json and --seed."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=text)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--seed", type=int, default=seed)
    return parser


def add_pack(parser: argparse.ArgumentParser, *, simulated: bool) -> None:
    """Which ratings to measure on; with `simulated`, a pack need not be given."""
    parser.add_argument(
        "pack",
        type=Path,
        nargs="?" if simulated else None,
        help="with ratings.parquet and item_features.npz" + "; none: simulated" * simulated,
    )
    parser.add_argument("--task", help="only ratings of this task")
    parser.add_argument("--attribute", choices=ATTRIBUTES, default="appearance")


def working(text: str) -> Status:
    """A status on stderr, for stdout may be read by a program."""
    return Console(stderr=True).status(text)


def refusing(main: Callable[P, int]) -> Callable[P, int]:
    """A `main` that prints our errors, with their remedies, and returns 1."""

    @functools.wraps(main)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return main(*args, **kwargs)
        except PaaplusError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1

    return wrapped


def show(
    as_json: bool,
    result: Mapping[str, Any],
    columns: Iterable[str],
    rows: Iterable[Iterable[str]],
    *notes: object,
    title: str | None = None,
) -> int:
    """Print the result as one JSON object, or as a table with notes below; exit status 0."""
    if as_json:
        print(json.dumps(result))
        return 0
    table, console = Table(*columns, title=title), Console()
    for row in rows:
        table.add_row(*row)
    for part in (table, *notes):
        console.print(part)
    return 0
