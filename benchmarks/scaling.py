"""A whole round of learning from store to store: seconds and memory against the number of users.

Every user has 20 new ratings of items with given features. One round reads due heads and rows, trains
(`exact_ewc`), predicts before and after, gates, writes pack, states, ledger. `maths_seconds` is what of it
is arithmetic, measured in the same process on the same users: strategy and posterior on tensors that are
already stacked. MLflow is off: its rows are written after the round. Each size runs in a process of its
own, which reports its peak memory; the store is filled by another one.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import torch
from sqlalchemy import insert

from benchmarks.frame import parser_of, show, working
from paaplus.packs import population_path
from paaplus.population import ItemFeatures, Ratings, fit_population
from paaplus.store import open_store
from paaplus.store.populations import PopulationRow
from paaplus.store.settings import StoreSettings
from paaplus.store.tables import app_user, feedback, item
from strategies import StrategyConfig, build_strategy
from streams.experiences import build_experience
from workers.build import build_retrainer, current_population
from workers.config import Config, load_config

ITEMS, FEATURES, RATINGS, HELD_OUT = 2000, 64, 20, 5
COHORT = 1024
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def config_of(home: Path) -> Config:
    """Everything in one folder; rounds of 1,024 users; MLflow off."""
    return load_config(
        home=home,
        trunk={"name": "given"},
        strategy={"experience_size": RATINGS},
        registry={"enabled": False},
        run={"users_per_round": COHORT, "lease_seconds": 3600},
    )


def fill(home: Path, users: int, seed: int) -> None:
    """A store with a population model and 20 ratings, and 5 held-out ones, of every user.

    Rows are inserted directly, not ingested: the round is what is measured.
    """
    rng = np.random.default_rng(seed)
    config = config_of(home)
    vectors = rng.normal(size=(ITEMS, FEATURES)).astype(np.float32)
    item_ids = np.array([f"i{n:05d}" for n in range(ITEMS)], dtype=object)
    taste = rng.normal(size=(3, FEATURES)) / np.sqrt(FEATURES)

    def scores(chosen: Any) -> Any:
        """Ratings of items by users of random taste, [., A]."""
        own = taste + 0.8 * rng.normal(size=taste.shape) / np.sqrt(FEATURES)
        felt = 5 + 1.5 * vectors[chosen] @ own.T + 0.7 * rng.normal(size=(len(chosen), 3))
        return np.clip(np.round(2 * felt) / 2, 0, 10)

    chosen = [rng.choice(ITEMS, 60, replace=False) for _ in range(300)]
    model = fit_population(
        Ratings(
            np.repeat(np.array([f"p{n}" for n in range(300)], dtype=object), 60),
            item_ids[np.concatenate(chosen)],
            np.concatenate([scores(c) for c in chosen]),
        ),
        ItemFeatures(item_ids, vectors),
        trunk="given",
        seed=seed,
    )
    model.save(population_path(config.artifacts, model.version))
    with open_store(config.store_url, StoreSettings()) as store:
        with store.write() as connection:
            rows = [{"item_id": i, "state": "ready", "digest": b"", "body": b""} for i in item_ids]
            connection.execute(insert(item), rows)
            store.items.set_features(connection, "given", list(item_ids), vectors)
            store.populations.set_current(
                connection, PopulationRow(model.version, "given", NOW, 300, ITEMS, 18000)
            )
        for first in range(0, users, 5000):
            count = min(5000, users - first)
            ids = [f"u{n:07d}" for n in range(first, first + count)]
            rows = []
            for n, user_id in enumerate(ids, start=first):
                chosen_items = rng.choice(ITEMS, RATINGS + HELD_OUT, replace=False)
                for k, (i, given) in enumerate(
                    zip(chosen_items, scores(chosen_items).tolist(), strict=True)
                ):
                    held = k < HELD_OUT
                    rows.append(
                        {
                            "event_id": UUID(int=(n + 1) * 100 + k).bytes,
                            "user_id": user_id,
                            "seq": k + 1,
                            "number": None if held else k + 1 - HELD_OUT,
                            "held_out": held,
                            "kind": "rating",
                            "channel": "rating",
                            "item_id": item_ids[i],
                            "appearance": given[0],
                            "health": given[1],
                            "posture": given[2],
                            "occurred_at": NOW,
                            "body": b"{}",
                        }
                    )
            people = [
                {
                    "user_id": u,
                    "cohort": store.settings.cohort_of(u),
                    "events": RATINGS + HELD_OUT,
                    "ratings": RATINGS,
                    "held_out": HELD_OUT,
                    "observations": RATINGS,
                    "retracted": 0,
                }
                for u in ids
            ]
            with store.write() as connection:
                connection.execute(insert(app_user), people)
                connection.execute(insert(feedback), rows)


def maths(config: Config, users: int) -> float:
    """Seconds of arithmetic alone for that many users, from a cohort's tensors."""
    with open_store(config.store_url) as store:
        found = current_population(config, store)
        assert found is not None
        population = found[0]
        ids = [f"u{n:07d}" for n in range(min(users, COHORT))]
        with store.read() as connection:
            rows = store.feedback.next_observations(connection, ids, [0] * len(ids), RATINGS)
            known, vectors = store.items.features(connection, "given")
    psi = population.rows(known, vectors)
    place = np.searchsorted(np.array(known, dtype=str), rows.item_ids.astype(str))
    strategy = build_strategy(
        "exact_ewc", population.prior, population.calibration, StrategyConfig()
    )
    experience = build_experience(
        rows, psi[place], step=np.zeros(len(ids), dtype=np.int64), dtype=strategy.dtype
    )
    state = strategy.initial_state(len(ids))
    times = []
    for _ in range(4):
        started = time.perf_counter()
        after = strategy.train(experience, state)
        strategy.heads(after)
        strategy.calibration(after)
        times.append(time.perf_counter() - started)
    return float(np.median(times[1:])) * users / len(ids)


def measure(home: Path, users: int) -> dict[str, Any]:
    """One size, in this process."""
    torch.set_num_threads(1)
    config = config_of(home)
    with open_store(config.store_url) as store:
        retrainer = build_retrainer(config, store)
        started = time.perf_counter()
        rounds = retrainer.run()
        seconds = time.perf_counter() - started
        with store.read() as connection:
            head = store.heads.head(connection, "u0000000")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert sum(r.users for r in rounds) == users
    assert head is not None
    assert head[0].state is not None
    arithmetic = maths(config, users)
    return {
        "users": users,
        "seconds": round(seconds, 3),
        "maths_seconds": round(arithmetic, 3),
        "ratio": round(seconds / arithmetic, 2),
        "peak_rss_mb": round(peak, 1),
        "bytes_per_user": len(head[0].state),
    }


def run(sizes: list[int], seed: int, tell: Any) -> dict[str, Any]:
    """All sizes, each filled and measured in processes of their own; with the fitted slope."""
    rows = []
    for users in sizes:
        with tempfile.TemporaryDirectory(prefix="paaplus-scaling-") as folder:
            for step in ("fill", "measure"):
                tell(f"{users:,} users: {step}")
                words = [sys.executable, "-m", "benchmarks.scaling", "--step", step]
                words += ["--home", folder, "--users", str(users), "--seed", str(seed)]
                done = subprocess.run(words, capture_output=True, text=True, check=False)
                if done.returncode:
                    raise SystemExit(done.stderr)
            rows.append(json.loads(done.stdout))
    result: dict[str, Any] = {"rows": rows}
    if len(rows) > 1:
        slope, offset = np.polyfit([r["users"] for r in rows], [r["seconds"] for r in rows], 1)
        result["slope_ms_per_user"] = round(1000 * float(slope), 4)
        result["extrapolated"] = {"users": 10**6, "seconds": round(float(slope * 1e6 + offset), 1)}
    return result


def main(words: list[str] | None = None) -> int:
    """Command line."""
    parser = parser_of("scaling", __doc__)
    parser.add_argument("--users", default="1000,10000", help="sizes, with commas")
    parser.add_argument("--step", choices=("fill", "measure"), help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(words)
    if given.step == "fill":
        fill(given.home, int(given.users), given.seed)
        return 0
    if given.step == "measure":
        print(json.dumps(measure(given.home, int(given.users))))
        return 0
    with working("scaling") as status:
        result = run([int(n) for n in given.users.split(",")], given.seed, status.update)
    rows = ((f"{value:,}" for value in row.values()) for row in result["rows"])
    note = {k: v for k, v in result.items() if k != "rows"}
    title = "One round of 20 new ratings per user"
    return show(given.json, result, result["rows"][0], rows, note, title=title)


if __name__ == "__main__":
    sys.exit(main())
