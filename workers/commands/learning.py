"""`embed`, `retrain`, `run`: the loop's own work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from workers.commands.options import common, show

if TYPE_CHECKING:
    from workers.config import Config


@click.command("embed")
@click.option("--once", is_flag=True, help="Stop when no item waits.")
@click.option("--retry-failed", is_flag=True, help="Try failed pictures again.")
@common
def embed_command(once: bool, retry_failed: bool, config: Config, as_json: bool) -> None:
    """Compute feature vectors of items that came as pictures."""
    from workers.run import run
    from workers.training import embed_once

    if once:
        show(embed_once(config, retry_failed=retry_failed, quiet=as_json), as_json)
    else:
        run(config, stages=("embed",), quiet=as_json)


@click.command("retrain")
@click.option("--once", is_flag=True, help="Stop when no user is due.")
@click.option("--population", is_flag=True, help="Fit the population model on all feedback.")
@common
def retrain_command(once: bool, population: bool, config: Config, as_json: bool) -> None:
    """Train the heads of due users, evaluate, gate and publish them, round by round.

    With --population, fit a new version of the population model instead; heads are then trained anew
    on it by the next rounds.
    """
    from workers.run import run
    from workers.training import fit_population_once, retrain_once

    if population:
        show(fit_population_once(config, quiet=as_json), as_json)
    elif once:
        show(retrain_once(config, quiet=as_json), as_json)
    else:
        run(config, stages=("retrain",), quiet=as_json)


@click.command("run")
@click.option("--until-idle", is_flag=True, help="Stop when there is nothing left to do.")
@common
def run_command(until_idle: bool, config: Config, as_json: bool) -> None:
    """Ingest, embed and retrain in one process until stopped (SIGINT or SIGTERM).

    It may be killed at any moment: started again, it ends with the same heads.
    """
    from workers.run import run

    result = run(
        config, stages=("ingest", "embed", "retrain"), quiet=as_json, until_idle=until_idle
    )
    show(result, as_json)
