"""`demo`: the whole loop on simulated users."""

from __future__ import annotations

from pathlib import Path

import click

from workers.commands.options import show


@click.command("demo")
@click.option(
    "--home", type=click.Path(path_type=Path), default=Path(".paaplus/demo"), show_default=True
)
@click.option("--log", "log_url", help="kafka://host:port, to run over a broker of your own.")
@click.option("--users", default=200, show_default=True, type=click.IntRange(30, 5000))
@click.option("--rounds", default=10, show_default=True, type=click.IntRange(2, 50))
@click.option("--strategy", default="exact_ewc", show_default=True)
@click.option("--seed", default=7, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def demo_command(
    home: Path,
    log_url: str | None,
    users: int,
    rounds: int,
    strategy: str,
    seed: int,
    as_json: bool,
) -> None:
    """Simulate users with hidden tastes and run everything: events, heads, gate, registry, scores.

    Pictures of bodies are drawn, a pretrained network reads them, users rate them in rounds; some events
    are broken or come twice. The folder --home is made anew each time.
    """
    from workers.demo import Demo, print_result

    result = Demo(
        home=home,
        log_url=log_url,
        users=users,
        rounds=rounds,
        strategy=strategy,
        seed=seed,
        quiet=as_json,
    ).run()
    show(result, as_json, lambda: print_result(result))
