"""Writes a rating pack of simulated users, for those who have no ratings of their own to measure on.

Tastes and bodies are the demo's (`workers.simulate`); features are a noisy, bent view of the bodies.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from paaplus.errors import EventError
from paaplus.events import Rating, decode_feedback
from workers.simulate import SimulatedWorld


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


def main(words: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulated_pack", description=__doc__
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--users", type=int, default=300)
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=25, help="of ten ratings per user")
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args(words)
    count = write_pack(
        given.folder, users=given.users, items=given.items, rounds=given.rounds, seed=given.seed
    )
    print(f"{count} ratings in {given.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
