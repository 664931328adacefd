"""What forgetting gains when tastes drift, and what it costs when they do not.

Simulated users (`benchmarks.drifting`) rate 400 items in rounds of 10. Every rating is predicted by the head
that was live before its round (prequential: Dawid 1984), which then learns it. Compared are exact EWC without
forgetting, with fixed half-lives, and with the drift test of `strategies.forgetting`. Differences are paired:
the same users, items and noise for every method. The constants of the drift test were chosen on the worlds
of seeds 101 to 105; those are no seeds to report.

Figures: mean absolute error and log predictive density per rating, over the whole stream and over the 100
ratings after its (last) change; `delay`, ratings from a change to the end of the round in which something was
forgotten, up to the next change or the end where nothing was; `false_alarms`, rounds before any change in
which something was forgotten, per 1000 ratings. Both are of the test alone: a half-life has neither.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.drifting import CHANGES, ROWS, STREAMS, Array, DriftWorld, drift_world
from benchmarks.feeding import ROUND, experience
from benchmarks.frame import parser_of, show
from paaplus.heads import predict
from strategies import StrategyConfig, build_strategy

HALF_LIVES = (12, 25, 50, 100, 200, 400)
METHODS = {
    "none": StrategyConfig(),
    **{f"fixed_{n}": StrategyConfig(forgetting="fixed", half_life=n) for n in HALF_LIVES},
    "drift": StrategyConfig(forgetting="drift"),
}
"""Name in the table -> settings of exact_ewc."""

AFTER = 100
"""Ratings after a change that count as such."""


@dataclass(frozen=True)
class Trace:
    """What a method did along a stream.

    Attributes:
        error: [U, ROWS], absolute errors of the live head.
        density: [U, ROWS], log predictive densities.
        forgot: bool [U, ROWS / ROUND], rounds in which the drift test led to forgetting.
    """

    error: Array
    density: Array
    forgot: NDArray[np.bool_]


def follow(world: DriftWorld, ratings: Array, config: StrategyConfig) -> Trace:
    """Predict, then learn, round by round."""
    strategy = build_strategy("exact_ewc", world.prior, world.calibration, config)
    users = len(world.user_ids)
    state = strategy.initial_state(users)
    error, density = np.zeros((users, ROWS)), np.zeros((users, ROWS))
    forgot = np.zeros((users, ROWS // ROUND), dtype=bool)
    for number, first in enumerate(range(0, ROWS, ROUND)):
        now = slice(first, first + ROUND)
        heads = strategy.heads(state)
        for u in range(users):
            mean, std = predict(
                heads.mean[u], heads.covariance[u], world.psi[u, now, None],
                world.prior.noise, world.unseen[u, now, None],
            )  # fmt: skip
            away = ratings[u, now] - mean[:, 0]
            error[u, now] = np.abs(away)
            density[u, now] = -0.5 * (away / std[:, 0]) ** 2 - np.log(
                std[:, 0] * np.sqrt(2 * np.pi)
            )
        rows = experience(
            world.user_ids, world.psi, ratings, first, first + ROUND, number, state, strategy.dtype
        )
        before, state = state, strategy.train(rows, state)
        if config.forgetting == "drift":
            # The first regressor is 1: its entry of the statistics is the number of rows that count.
            kept = state["gram"][:, 0, 0] - ROUND - before["gram"][:, 0, 0]
            forgot[:, number] = kept.numpy() < -1e-6
    return Trace(error, density, forgot)


def delays(forgot: NDArray[np.bool_], changes: Sequence[int]) -> Array:
    """Ratings from each change until something was forgotten, or until the next change: [U, changes]."""
    result = np.zeros((len(forgot), len(changes)))
    for n, change in enumerate(changes):
        end = changes[n + 1] if n + 1 < len(changes) else ROWS
        inside = forgot[:, change // ROUND : end // ROUND]
        first = (inside.argmax(axis=1) + 1) * ROUND
        result[:, n] = np.where(inside.any(axis=1), first, end - change)
    return result


def row_of(stream: str, method: str, trace: Trace, base: Trace) -> dict[str, Any]:
    """One row of the result; `base` is the method none on the same stream."""
    changes, drifts = CHANGES[stream], method == "drift"
    # Where taste turns slowly what counts as after is the time when it has turned.
    first = 3 * ROWS // 4 if stream == "gradual" else max(changes, default=ROWS)
    after = slice(first, first + AFTER)
    quiet = trace.forgot[:, : min(changes, default=ROWS) // ROUND]
    gain = (trace.error - base.error).mean(axis=1)
    found = delays(trace.forgot, changes) if drifts and changes else None
    return {
        "stream": stream,
        "method": method,
        "mae": _round(trace.error.mean()),
        "mae_se": _error(trace.error.mean(axis=1)),
        "mae_gain": _round(gain.mean()),
        "mae_gain_se": _error(gain),
        "log_density": _round(trace.density.mean()),
        "log_density_gain": _round((trace.density - base.density).mean()),
        "log_density_gain_se": _error((trace.density - base.density).mean(axis=1)),
        "after_change_mae": _round(trace.error[:, after].mean()) if changes else None,
        "delay": None if found is None else _round(found.mean()),
        "false_alarms": _round(1000 * quiet.sum() / (quiet.size * ROUND)) if drifts else None,
    }


def run(users: int, seed: int) -> tuple[list[dict[str, Any]], dict[tuple[str, str], Array]]:
    """Rows of the result, and per stream and method the mean error of every round."""
    world = drift_world(users, seed)
    rows, curves = [], {}
    for stream in STREAMS:
        ratings = world.ratings(stream)
        traces = {name: follow(world, ratings, config) for name, config in METHODS.items()}
        for name, trace in traces.items():
            rows.append(row_of(stream, name, trace, traces["none"]))
            curves[stream, name] = trace.error.reshape(users, -1, ROUND).mean(axis=(0, 2))
    return rows, curves


def best_fixed(rows: Sequence[dict[str, Any]], stream: str) -> str:
    """The half-life with the smallest error on a stream: chosen in hindsight, as nobody could."""
    fixed = [r for r in rows if r["stream"] == stream and r["method"].startswith("fixed")]
    return str(min(fixed, key=lambda r: r["mae"])["method"])


def plot(rows: Sequence[dict[str, Any]], curves: dict[tuple[str, str], Array], path: Path) -> None:
    """Prequential error against ratings, a panel per stream, into a .png file."""
    figure = Figure(figsize=(9.6, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2, sharex=True)
    x = np.arange(ROUND, ROWS + ROUND, ROUND)
    for axis, stream in zip(axes.flat, STREAMS, strict=True):
        fixed = best_fixed(rows, stream)
        for method, label, colour, style in (
            ("none", "none", "#d55e00", "-"),
            (fixed, f"best half-life, {fixed[6:]}", "#e69f00", "--"),
            ("drift", "drift", "#0072b2", "-"),
        ):
            axis.plot(x, curves[stream, method], style, color=colour, label=label, linewidth=1.4)
        for change in CHANGES[stream]:
            axis.axvline(change, color="#999999", linewidth=0.8, linestyle=":")
        axis.set_title(stream, fontsize=9)
        axis.set_ylim(bottom=0.5)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", alpha=0.25)
        axis.legend(frameon=False, fontsize=8)
    for axis in axes[1]:
        axis.set_xlabel("ratings", fontsize=8)
    figure.suptitle(
        "Error (MAE) of the live head on each round's ratings; dotted: taste changes", fontsize=10
    )
    figure.savefig(path, dpi=120)


def _round(value: float) -> float:
    return round(float(value), 5)


def _error(values: Array) -> float:
    return _round(values.std(ddof=1) / np.sqrt(len(values)))


def main(words: list[str] | None = None) -> int:
    """Command line."""
    parser = parser_of("drift", __doc__, seed=7)
    parser.add_argument("--plot", type=Path, help="also draw the errors, as .png")
    parser.add_argument("--users", type=int, default=200, help="judged users, 2 or more")
    given = parser.parse_args(words)
    rows, curves = run(given.users, given.seed)
    if given.plot is not None:
        plot(rows, curves, given.plot)
    columns = (
        "stream", "method", "MAE", "less than none's", "±", "log density", "after", "delay", "false",
    )  # fmt: skip
    cells = []
    for row in rows:
        values = [row["mae"], -row["mae_gain"], row["mae_gain_se"], row["log_density"]]
        late = [row["after_change_mae"], row["delay"], row["false_alarms"]]
        shown = ["" if value is None else f"{value:.4g}" for value in [*values, *late]]
        cells.append((row["stream"], row["method"], *shown))
    result = {"users": given.users, "seed": given.seed, "rows": rows}
    title = f"{given.users} users, {ROWS} ratings each"
    return show(given.json, result, columns, cells, title=title)


if __name__ == "__main__":
    sys.exit(main())
