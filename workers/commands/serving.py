"""`score`, `suggest`, `status`, `rollback`, `config`: what a reader or an operator asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from workers.commands.options import common, show

if TYPE_CHECKING:
    from workers.config import Config


@click.command("score")
@click.option("--user", "user_id", required=True, help="Whose taste.")
@click.option("--item", "item_ids", required=True, multiple=True, help="Item; may be repeated.")
@click.option(
    "--as-of", default="champion", show_default=True, help="champion, or a version number."
)
@common
def score_command(
    user_id: str, item_ids: tuple[str, ...], as_of: str, config: Config, as_json: bool
) -> None:
    """Score items for a user: mean and standard deviation per attribute, on 0..10."""
    from paaplus.scoring import Scorer
    from paaplus.store import open_store
    from workers.sources import StoreSource

    with open_store(config.store_url) as store:
        scorer = Scorer(StoreSource(store), config.artifacts)
        version = None if as_of == "champion" else _version(as_of)
        scores = scorer.score(user_id, list(item_ids), version=version)

    def text() -> None:
        first = scores[0]
        if first.model == "population":
            click.echo(
                f"user {user_id} has no personal model yet: these are the population's scores"
            )
        else:
            click.echo(f"user {user_id}, version {first.version}")
        for one in scores:
            cells = [f"{a} {one.mean[a]:5.2f} ± {one.std[a]:.2f}" for a in one.mean]
            click.echo(f"{one.item_id:<24} " + "   ".join(cells))

    rows = [
        {
            "item": one.item_id,
            "model": one.model,
            "version": one.version,
            "population": one.population,
            "mean": one.mean,
            "std": one.std,
        }
        for one in scores
    ]
    show({"user": user_id, "scores": rows}, as_json, text)


def _version(text: str) -> int:
    if not text.isdecimal():
        raise click.BadParameter("champion, or a version number", param_hint="--as-of")
    return int(text)


@click.command("suggest")
@click.option("--user", "user_id", required=True, help="Who is to be asked.")
@click.option("-n", "count", default=5, show_default=True, type=click.IntRange(1, 1000))
@common
def suggest_command(user_id: str, count: int, config: Config, as_json: bool) -> None:
    """Items whose ratings would tell most about the user's taste, best first, each unlike the others."""
    from workers.suggest import suggest

    found = suggest(config, user_id, count)

    def text() -> None:
        for one in found:
            click.echo(f"{one['item']:<24} removes {one['gain']:.3f} of the variance of a score")

    show({"user": user_id, "items": found}, as_json, text)


@click.command("status")
@click.option("--user", "user_id", help="One user instead of everything.")
@common
def status_command(user_id: str | None, config: Config, as_json: bool) -> None:
    """Where everything stands: events, dead letters, lag, users due, releases."""
    from workers.status import overall_status, user_status

    result = user_status(config, user_id) if user_id else overall_status(config)

    def text() -> None:
        for key, value in result.items():
            click.echo(f"{key.replace('_', ' '):<18} {_plain(value)}")

    show(result, as_json, text)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items()) or "none"
    if isinstance(value, list):
        return "".join(f"\n  {_plain(v)}" for v in value) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@click.command("rollback")
@click.option("--user", "user_id", help="One user.")
@click.option("--release", "release", type=int, help="Every user whose champion came with it.")
@click.option("--to", type=int, help="Version (with --user); default: the one before.")
@click.option("--reason", required=True, help="Why; it goes into the ledger.")
@click.option("--actor", envvar="USER", default="operator", show_default=True, help="Who.")
@common
def rollback_command(
    user_id: str | None,
    release: int | None,
    to: int | None,
    reason: str,
    actor: str,
    config: Config,
    as_json: bool,
) -> None:
    """Make an earlier version champion again, for a user or a whole release."""
    from workers.rollback import roll_back

    if (user_id is None) == (release is None):
        raise click.UsageError("give either --user or --release")
    show(
        roll_back(config, user_id=user_id, release=release, to=to, actor=actor, reason=reason),
        as_json,
    )


@click.group("config")
def config_command() -> None:
    """The configuration in force."""


@config_command.command("check")
@common
def check_config(config: Config, as_json: bool) -> None:
    """Read the configuration and say whether it holds together."""
    show({"valid": True, "home": str(config.home)}, as_json)


@config_command.command("show")
@common
def show_config(config: Config, as_json: bool) -> None:
    """Print every key with its value."""
    import yaml

    values = config.model_dump(mode="json")
    values["log"]["url"] = config.log_url
    values["store"]["url"] = _no_password(config.store_url)
    values["registry"]["url"] = _no_password(config.registry_url)
    show(values, as_json, lambda: click.echo(yaml.safe_dump(values, sort_keys=False).rstrip()))


def _no_password(url: str) -> str:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return url
