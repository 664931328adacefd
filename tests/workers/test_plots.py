"""Plots are files, made without a display and without leaving anything open."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from workers.plots import COLOURS, plot_rounds


def test_it_draws_every_model_in_its_colour(tmp_path: Path) -> None:
    history = [
        {"ratings": 10.0 * n, "promoted": 5.0 * n}
        | {f"{m}_{name}": 0.1 * n for name in COLOURS for m in ("srcc", "mae")}
        for n in range(1, 4)
    ]
    for row in history:  # apart, so that no line covers another
        for shift, name in enumerate(COLOURS):
            row[f"srcc_{name}"] += 0.2 * shift
            row[f"mae_{name}"] -= 0.2 * shift
    path = tmp_path / "rounds.png"
    plot_rounds(history, path)
    picture = np.asarray(Image.open(path).convert("RGB"), dtype=int)
    assert picture.shape[0] > 300
    assert picture.shape[1] > 900
    for colour in COLOURS.values():
        wanted = np.array([int(colour[n : n + 2], 16) for n in (1, 3, 5)])
        assert (np.abs(picture - wanted).sum(axis=2) < 12).sum() > 50
    assert (
        "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    )
