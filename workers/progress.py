"""Progress of long work, on standard error, and only where somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)


def progress_bar(*, quiet: bool) -> Progress:
    """A rich progress display that leaves standard output to the result."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=quiet,
    )


@contextmanager
def counter(
    what: str, *, total: int | None = None, quiet: bool = False
) -> Iterator[Callable[[int], None]]:
    """One line that counts; the function that it gives takes the number done so far."""
    with progress_bar(quiet=quiet) as display:
        task = display.add_task(what, total=total)
        yield lambda done: display.update(task, completed=done)
