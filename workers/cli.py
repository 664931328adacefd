"""`paaplus`: the command line. Commands are imported when they are called, so `--help` is instant."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import click

from paaplus import __version__

COMMANDS = {
    "demo": ("workers.commands.demo", "The whole loop on embedded defaults, in two minutes."),
    "import": ("workers.commands.events", "Ratings from a folder -> events in a log."),
    "emit": ("workers.commands.events", "Append events from a file to a log."),
    "ingest": ("workers.commands.events", "Log -> store."),
    "dead-letters": ("workers.commands.events", "What could not be accepted: list, redrive."),
    "embed": ("workers.commands.learning", "Pictures -> feature vectors."),
    "retrain": ("workers.commands.learning", "Due users -> strategy -> gate -> registry."),
    "run": ("workers.commands.learning", "Ingest, embed and retrain, until stopped."),
    "score": ("workers.commands.serving", "Scores of items for a user, with uncertainty."),
    "suggest": ("workers.commands.serving", "Items to ask a user about next."),
    "status": ("workers.commands.serving", "Lag, due users, versions, dead letters."),
    "rollback": ("workers.commands.serving", "An earlier version becomes champion again."),
    "config": ("workers.commands.serving", "Check or show the configuration."),
}
"""Command -> the module that defines it (under its name, with underscores), and its help line."""


class LazyGroup(click.Group):
    """A group that knows its commands' names and help lines without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the loop."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command; None if there is no such."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(COMMANDS[cmd_name][0])
        command = getattr(module, f"{cmd_name.replace('-', '_')}_command")
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands, from the names alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="paaplus")
def cli() -> None:
    """Turn users' feedback into better personal models, continuously.

    Start with `paaplus demo`. Every command takes --home (the folder that holds everything, default
    .paaplus), --config (a YAML page, see configs/) and --json.
    """


def main(args: list[str] | None = None) -> Any:
    """Entry point: an error of ours ends with its remedy and status 1, not with a traceback."""
    from paaplus.errors import PaaplusError

    try:
        return cli.main(args=args, prog_name="paaplus", standalone_mode=True)
    except PaaplusError as error:
        wanted = sys.argv[1:] if args is None else args
        if "--json" in wanted:
            import json

            body = {"type": type(error).__name__, "message": error.message, "remedy": error.remedy}
            click.echo(json.dumps({"error": body}))
        click.echo(f"error: {error}", err=True)
        raise SystemExit(1) from error
