"""Plots that a person looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLOURS = {"population": "#8d99ae", "calibration": "#e69f00", "personal": "#0072b2"}
"""Told apart also by those who do not see all colours (Okabe & Ito)."""

METHODS = {
    "residual_ridge": ("#e69f00", "s"),
    "naive": ("#d55e00", "v"),
    "replay_ewc": ("#009e73", "^"),
    "exact_ewc": ("#0072b2", "o"),
}
"""Colour and marker of the methods that `plot_quality` shows."""


def plot_rounds(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Rank correlation and error against ratings per user, and promotions per round.

    Args:
        history: Per round `ratings` (per user), `promoted`, and `srcc_<model>`, `mae_<model>` for the
            models of `COLOURS`.
        path: A .png file to write.
    """
    figure = Figure(figsize=(9.6, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3)
    x = [row["ratings"] for row in history]
    titles = {
        "srcc": "Rank correlation (SRCC), higher is better",
        "mae": "Mean error (MAE), lower is better",
    }
    for axis, (measure, title) in zip(axes, titles.items(), strict=False):
        for model, colour in COLOURS.items():
            values = [row[f"{measure}_{model}"] for row in history]
            axis.plot(x, values, color=colour, marker="o", markersize=3.5, label=model)
        axis.set_title(title, fontsize=9)
    axes[0].legend(frameon=False, fontsize=8)
    axes[2].bar(x, [row["promoted"] for row in history], width=6, color=COLOURS["personal"])
    axes[2].set_title("Promotions", fontsize=9)
    for axis in axes:
        axis.set_xlabel("ratings per user", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", alpha=0.25)
    figure.suptitle("Pictures that nobody was asked about", fontsize=10)
    figure.savefig(path, dpi=130)


def plot_quality(result: Mapping[str, Any], path: Path) -> None:
    """Rank correlation gained over calibration against the ratings that a user has given.

    Args:
        result: What `benchmarks.quality` prints as JSON.
        path: A .png file to write.
    """
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    lines = {name: [row for row in result["rows"] if row["method"] == name] for name in METHODS}
    lines["another user's taste"] = result["swapped"]
    counts = [row["n"] for row in lines["exact_ewc"]]
    for (name, rows), (colour, marker) in zip(
        lines.items(), [*METHODS.values(), ("#999999", "x")], strict=True
    ):
        axis.errorbar(
            range(len(rows)),
            [row["gain"] for row in rows],
            [row["gain_se"] for row in rows],
            color=colour,
            marker=marker,
            markersize=4,
            capsize=2,
            label=name,
        )
    axis.axhline(0, color="#333333", linewidth=0.8)
    axis.set_xticks(range(len(counts)), [str(n) for n in counts])
    axis.set_xlabel("ratings of the user's own", fontsize=8)
    axis.set_title("SRCC gained over the user's mean and slope, on items nobody rated", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", alpha=0.25)
    axis.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)


def plot_population(report: Mapping[str, Any], path: Path) -> None:
    """Which form of the prior predicts held-out users best, and what each kind of feedback is worth.

    Args:
        report: Of a population model.
        path: A .png file to write.
    """
    attributes = [
        name for name in report if isinstance(report[name], dict) and "form" in report[name]
    ]
    worth = {
        kind: max(one.get("worth", 0.0) for one in found.values())
        for kind, found in report.get("teaching", {}).items()
        if "explains" not in found
    }
    figure = Figure(figsize=(9.6, 1.6 + 0.22 * max(len(worth), 8)), layout="constrained")
    FigureCanvasAgg(figure)
    forms, kinds = figure.subplots(1, 2)
    for name in attributes:
        densities = report[name]["densities"]
        if densities:
            base = densities["calibration"]
            forms.plot(
                [value - base for value in densities.values()],
                range(len(densities)),
                "o-",
                label=name,
            )
            forms.set_yticks(range(len(densities)), list(densities))
    forms.axvline(0, color="#333333", linewidth=0.8)
    forms.set_title("Log density of held-out users' ratings over calibration", fontsize=9)
    if attributes:
        forms.legend(frameon=False, fontsize=8)
    shown = {kind: value for kind, value in worth.items() if value > 0}
    kinds.barh(list(shown), list(shown.values()), color=COLOURS["personal"])
    kinds.set_title("Ratings that one event counts for, best attribute", fontsize=9)
    for axis in (forms, kinds):
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="x", alpha=0.25)
    figure.savefig(path, dpi=130)
