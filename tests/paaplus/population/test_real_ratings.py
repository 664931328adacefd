"""Real ratings, if they are at hand: PAAPLUS_DATA, or shared/data beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wilcoxon

from paaplus.heads import information_posterior
from paaplus.metrics import mae, srcc
from paaplus.population import ItemFeatures, Population, Ratings, fit_population

DATA = Path(os.environ.get("PAAPLUS_DATA", Path(__file__).parents[4] / "shared" / "data"))


def head(population: Population, rows: np.ndarray, y: np.ndarray, personal: bool) -> np.ndarray:
    prior = population.prior if personal else population.calibration
    rows = rows[:, : prior.mean.shape[1]]
    mean, _ = information_posterior(
        prior.mean[0], prior.covariance[0], prior.noise[0], rows.T @ rows, rows.T @ y
    )
    return mean


@pytest.mark.slow
def test_personal_heads_beat_calibration_and_are_personal() -> None:
    """30 % of the items held out from everybody, two folds of users, 100 ratings each."""
    folder = DATA / "mebeauty"
    if not (folder / "ratings.parquet").exists():
        pytest.skip(f"no ratings in {folder}: set PAAPLUS_DATA to the folder of the rating packs")
    frame = pd.read_parquet(folder / "ratings.parquet")
    frame = frame[frame.task == "date"].sort_values("seq")
    frame["item"], frame["y"] = frame.item_id.astype(str), (frame.score - 1) / 0.9
    blocks = []
    with np.load(folder / "item_features.npz") as file:
        ids = file["item_id"].astype(str).astype(object)
        for name in file.files:
            if file[name].ndim == 2:
                block = file[name].astype(np.float32)
                block -= block.mean(axis=0)
                blocks.append(block / np.sqrt((block**2).mean()))
    vectors = np.concatenate(blocks, axis=1)
    place = {item: n for n, item in enumerate(ids)}
    rng = np.random.default_rng(0)
    held = set(rng.choice(ids, int(0.3 * len(ids)), replace=False))
    inside = np.array([item not in held for item in ids])
    users = rng.permutation(np.array(sorted(frame.user_id.unique())))
    gains: dict[str, list[tuple[float, float]]] = {"own": [], "swapped": []}
    for fold in range(2):
        tested = set(users[fold::5])
        train = frame[~frame.user_id.isin(tested) & ~frame.item.isin(held)]
        scores = np.full((len(train), 3), np.nan)
        scores[:, 0] = train.y
        population = fit_population(
            Ratings(train.user_id.to_numpy(object), train.item.to_numpy(object), scores),
            ItemFeatures(ids[inside], vectors[inside]),
            trunk="t",
            seed=0,
        )
        found = []
        for user in sorted(tested):
            mine = frame[frame.user_id == user]
            known, unseen = mine[~mine.item.isin(held)][:100], mine[mine.item.isin(held)]
            if len(known) == 100 and len(unseen) >= 30:
                rows = [
                    population.rows(list(part.item), vectors[[place[i] for i in part.item]])[:, 0]
                    for part in (known, unseen)
                ]
                y = known.y.to_numpy()
                own, base = (head(population, rows[0], y, p) for p in (True, False))
                found.append((own, base, rows[1], unseen.y.to_numpy()))
        for n, (own, base, rows_new, truth) in enumerate(found):
            calibrated = rows_new[:, :3] @ base
            other = np.concatenate([own[:3], found[n - 1][0][3:]])  # somebody else's taste
            for name, weights in (("own", own), ("swapped", other)):
                guess = rows_new @ weights
                gains[name].append(
                    (
                        srcc(guess, truth) - srcc(calibrated, truth),
                        mae(calibrated, truth) - mae(guess, truth),
                    )
                )
    own, swapped = (np.array(gains[name]) for name in ("own", "swapped"))
    assert len(own) > 40
    # By ranks: where calibration has hardly any slope, its sign, and a user's SRCC, is a coin's throw.
    for n, what in enumerate(("SRCC", "MAE")):
        assert wilcoxon(own[:, n], alternative="greater").pvalue < 0.01, what
        assert wilcoxon(swapped[:, n], alternative="less").pvalue < 0.05, what
