"""Writes a rating pack of simulated users, for those who have no ratings of their own to measure on.

Tastes and bodies are the demo's (`workers.simulate`); features are a noisy, bent view of the bodies.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from paaplus.errors import EventError
from paaplus.events import Rating, decode_feedback
from workers.simulate import SimulatedWorld

USERS, ITEMS, ROUNDS, SEED = 300, 500, 25, 7


def write_pack(folder: Path, *, users: int, items: int, rounds: int, seed: int) -> int:
    """ratings.parquet and item_features.npz in `folder`; the number of ratings."""
    world = SimulatedWorld(users=users, items=items, seed=seed)
    features = [json.loads(value)["features"] for _, value in world.given_items()]
    rows: dict[str, tuple[str, str, float]] = {}
    for number in range(rounds):
        for _, value in world.round_events(number):
            try:
                event = decode_feedback(value)
            except EventError:
                continue
            known = isinstance(event, Rating) and event.item_id in world.item_ids
            if known and isinstance(event, Rating) and event.scores.appearance is not None:
                score = event.scores.appearance
                rows[str(event.event_id)] = event.user_id, event.item_id, score
    folder.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(list(rows.values()), columns=["user_id", "item_id", "score"])
    frame.assign(seq=np.arange(len(frame))).to_parquet(folder / "ratings.parquet")
    np.savez(
        folder / "item_features.npz",
        item_id=np.array(world.item_ids),
        features=np.array(features, dtype=np.float32),
    )
    return len(frame)


@contextmanager
def given_or_simulated(folder: Path | None, users: int = USERS) -> Iterator[Path]:
    """The folder of a pack; where none is given, a temporary one with the pack of `main`, of some users."""
    if folder is not None:
        yield folder
        return
    with TemporaryDirectory() as made:
        simulated = Path(made) / "simulated"
        write_pack(simulated, users=users, items=ITEMS, rounds=ROUNDS, seed=SEED)
        yield simulated


def main(words: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulated_pack", description=__doc__
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of ten ratings per user")
    parser.add_argument("--seed", type=int, default=SEED)
    given = parser.parse_args(words)
    count = write_pack(
        given.folder, users=given.users, items=given.items, rounds=given.rounds, seed=given.seed
    )
    print(f"{count} ratings in {given.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
