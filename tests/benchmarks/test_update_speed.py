"""The speed benchmark measures what it says: its methods do the same work."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks.update_speed import METHODS, main


def test_it_prints_every_method_and_their_weights_agree(
    capsys: pytest.CaptureFixture[str],
) -> None:
    threads = torch.get_num_threads()
    try:
        assert main(["--json", "--d", "16", "--repeat", "1"]) == 0
    finally:
        torch.set_num_threads(threads)
    result = json.loads(capsys.readouterr().out)
    assert [row["method"] for row in result["rows"]] == list(METHODS)
    assert all(row["d"] == 16 and row["users_per_s"] > 0 for row in result["rows"])
    assert result["rows"][0]["ratio_to_stock"] == 1.0
    assert result["weights_differ"]["16"] < 1e-6
