"""The scaling benchmark runs real rounds over a real store."""

from __future__ import annotations

import json

import pytest

from benchmarks import scaling


@pytest.mark.slow
def test_it_measures_every_user_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert scaling.main(["--users", "200", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["users"] == 200
    assert row["ratio"] > 1
    assert row["bytes_per_user"] <= 3200
