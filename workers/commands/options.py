"""Options that every command has, and how a result is printed."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def common(command: F) -> F:
    """Add --config, --home, --log, --store and --json; the command gets `config` and `as_json`."""

    @click.option("--config", "page", type=click.Path(path_type=Path), help="YAML page.")
    @click.option("--home", type=click.Path(path_type=Path), help="Folder that holds everything.")
    @click.option("--log", "log_url", help="URL of the event log.")
    @click.option("--store", "store_url", help="URL of the store.")
    @click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
    @functools.wraps(command)
    def wrapped(
        *args: Any,
        page: Path | None,
        home: Path | None,
        log_url: str | None,
        store_url: str | None,
        as_json: bool,
        **kwargs: Any,
    ) -> Any:
        from workers.config import load_config

        config = load_config(
            page,
            home=home,
            log={"url": log_url} if log_url else None,
            store={"url": store_url} if store_url else None,
        )
        return command(*args, config=config, as_json=as_json, **kwargs)

    return wrapped  # type: ignore[return-value]


def show(result: Mapping[str, Any], as_json: bool, text: Callable[[], None] | None = None) -> None:
    """Print a result: as JSON, or by `text`, or as plain `key: value` lines."""
    if as_json:
        click.echo(json.dumps(result, allow_nan=False, default=str))
    elif text is not None:
        text()
    else:
        for key, value in result.items():
            _line(key, value, "")


def _line(key: str, value: Any, indent: str) -> None:
    """`key: value`; nothing for what is not there, and what is in a mapping below its name."""
    name = f"{indent}{str(key).replace('_', ' ')}:"
    if isinstance(value, Mapping) and value:
        click.echo(name)
        for inner, part in value.items():
            _line(inner, part, indent + "  ")
    elif isinstance(value, float):
        click.echo(f"{name} {value:.4g}")
    elif value is not None and value not in ({}, []):
        click.echo(f"{name} {value}")
