"""The long jobs behind the commands: embed pictures, fit the population, train heads, mirror to MLflow."""

from __future__ import annotations

import json
from typing import Any

from paaplus.packs import population_path
from paaplus.store import Store
from workers.build import (
    build_retrainer,
    build_trunk,
    current_population,
    is_given,
    open_registry,
    trunk_name,
)
from workers.clock import now
from workers.config import Config
from workers.embed import embed_pending
from workers.mirror import Mirrored, mirror_pending
from workers.plots import plot_population
from workers.population import refit
from workers.progress import counter, progress_bar
from workers.retrain import Round
from workers.tasks import opened


def embed_once(config: Config, *, retry_failed: bool = False, quiet: bool) -> dict[str, Any]:
    """Embed every waiting item."""
    if is_given(config):
        return {"embedded": 0, "failed": 0}
    with opened(config) as store:
        if retry_failed:
            with store.write() as connection:
                store.items.retry_failed(connection)
        with store.read() as connection:
            total = store.items.states(connection).get("pending", 0)
        if not total:
            return {"embedded": 0, "failed": 0}
        trunk = build_trunk(config)
        with counter("pictures", total=total, quiet=quiet) as advance:
            done = embed_pending(
                store,
                trunk,
                config.images,
                batch_size=config.trunk.batch_size,
                progress=lambda so_far: advance(so_far.embedded + so_far.failed),
            )
    return {"embedded": done.embedded, "failed": done.failed}


def fit_population_once(config: Config, *, quiet: bool) -> dict[str, Any]:
    """Fit a new version of the population model on all feedback."""
    with opened(config) as store:
        version = fit_population(config, store, quiet=quiet)
        with store.read() as connection:
            row = store.populations.current(connection)
    assert row is not None
    return {
        "population": version,
        "trunk": row.trunk,
        "users": row.users,
        "items": row.items,
        "ratings": row.ratings,
        "report": str(population_path(config.artifacts, version).with_suffix(".png")),
    }


def retrain_once(config: Config, *, quiet: bool) -> dict[str, Any]:
    """Train until nobody is due, then mirror to MLflow.

    Returns:
        `rounds`, `heads` trained, `observations` learned, `promoted`, and the last round's `figures`.
    """
    with opened(config) as store:
        retrainer = build_retrainer(config, store)
        with progress_bar(quiet=quiet) as display:
            task = display.add_task("users due", total=None)
            heads = 0

            def after_round(result: Round) -> None:
                nonlocal heads
                heads += result.users
                display.update(task, completed=heads)

            rounds = retrainer.run(after_round)
        mirrored = mirror(config, store, quiet=quiet)
    return _summary(rounds, mirrored)


def fit_population(config: Config, store: Store, *, quiet: bool) -> str:
    """Fit on all feedback and make it current; its version."""
    found = current_population(config, store) if config.population.warm_start else None
    with progress_bar(quiet=quiet) as display:
        task = display.add_task("population model", total=100)
        fitted, _row = refit(
            store,
            config.artifacts,
            trunk_name(config),
            seed=config.population.seed,
            now=now(),
            caps=config.population.caps(),
            last=None if found is None else found[0],
            progress=lambda step, share: display.update(
                task, description=f"population model: {step}", completed=100 * share
            ),
        )
    report = population_path(config.artifacts, fitted.version).with_suffix(".json")
    report.write_text(json.dumps(fitted.report, indent=1, sort_keys=True))
    plot_population(fitted.report, report.with_suffix(".png"))
    return fitted.version


def mirror(config: Config, store: Store, *, quiet: bool) -> Mirrored:
    """Write to MLflow what it does not have yet."""
    with store.read() as connection:
        releases, entries = store.ledger.unmirrored(connection, 1)
    if not releases and not entries:
        return Mirrored()  # spares the import of MLflow
    with counter("to MLflow", quiet=quiet) as advance:
        return mirror_pending(store, open_registry(config), config.artifacts, progress=advance)


def _summary(rounds: list[Round], mirrored: Mirrored) -> dict[str, Any]:
    figures = rounds[-1].release.figures if rounds and rounds[-1].release else {}
    return {
        "rounds": len(rounds),
        "heads": sum(r.users for r in rounds),
        "observations": sum(r.observations for r in rounds),
        "promoted": sum(r.promoted for r in rounds),
        "mirrored": mirrored.entries,
        "mirror_error": mirrored.error,
        "figures": figures,
    }
