"""Per-user results of a round, kept beside its pack until they are in MLflow, and after."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from paaplus.evaluation import UserReports
from paaplus.promotion import GateResult


def results_path(artifacts: Path, pack: str) -> Path:
    """File of the results of the round that wrote this pack."""
    return artifacts / "results" / f"{pack}.parquet"


def save_results(
    artifacts: Path, pack: str, reports: UserReports, prequential: UserReports, gate: GateResult
) -> None:
    """Per-user results beside the pack, for MLflow."""
    frame = pd.DataFrame({"user_id": reports.user_ids, "heldout_scores": reports.count})
    for name, values in reports.absolute.items():
        frame[f"heldout_mae_{name}"] = values
    for name, values in prequential.absolute.items():
        frame[f"prequential_mae_{name}"] = values
    frame["promoted"] = [decision.promote for decision in gate.decisions]
    frame["reason"] = [decision.reason for decision in gate.decisions]
    path = results_path(artifacts, pack)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    frame.to_parquet(part, index=False)
    part.replace(path)
