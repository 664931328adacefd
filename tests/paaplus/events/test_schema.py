"""The generated documents are current, and a breaking change is noticed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paaplus.events.compatibility import breaking_changes
from paaplus.events.schema import json_schema, main

DOCS = Path(__file__).parents[3] / "docs"


def test_documents_are_current_and_compatible(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", str(DOCS)]) == 0, capsys.readouterr().out


def test_check_notices_a_stale_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    baseline = (DOCS / "events.v1.baseline.json").read_text()
    (tmp_path / "events.v1.baseline.json").write_text(baseline)
    main([str(tmp_path)])
    assert main(["--check", str(tmp_path)]) == 0
    (tmp_path / "events.md").write_text("old")
    assert main(["--check", str(tmp_path)]) == 1
    assert "events.md is out of date" in capsys.readouterr().out


def rating(schema: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = schema["$defs"]["Rating"]
    return found


BREAKS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "kind removed": lambda s: (s["$defs"].pop("Comment"), s["oneOf"].pop(2)),
    "field removed": lambda s: rating(s)["properties"].pop("scores"),
    "field became required": lambda s: s["$defs"]["Comment"]["required"].append("language"),
    "maximum lowered": lambda s: s["$defs"]["Scores"]["properties"]["health"]["anyOf"][0].update(
        maximum=5
    ),
    "minimum raised": lambda s: s["$defs"]["Scores"]["properties"]["health"]["anyOf"][0].update(
        minimum=1
    ),
    "value removed": lambda s: s["$defs"]["Interaction"]["properties"]["action"]["enum"].remove(
        "like"
    ),
    "pattern changed": lambda s: rating(s)["properties"]["user_id"].update(pattern="^[a-z]+$"),
    "type changed": lambda s: rating(s)["properties"]["item_id"].update(type="integer"),
    "shorter text": lambda s: s["$defs"]["Comment"]["properties"]["text"].update(maxLength=10),
    "null refused": lambda s: s["$defs"]["Item"]["properties"]["mesh"]["anyOf"].pop(),
}


@pytest.mark.parametrize("name", BREAKS)
def test_breaking_changes_are_found(name: str) -> None:
    new = copy.deepcopy(json_schema())
    BREAKS[name](new)
    assert breaking_changes(json_schema(), new) != []


def test_additions_are_welcome() -> None:
    new = copy.deepcopy(json_schema())
    rating(new)["properties"]["mood"] = {"type": "string"}
    new["$defs"]["Interaction"]["properties"]["action"]["enum"].append("zoom")
    new["$defs"]["Scores"]["properties"]["health"]["anyOf"][0]["maximum"] = 20
    assert breaking_changes(json_schema(), new) == []
    assert breaking_changes(json.loads(json.dumps(json_schema())), json_schema()) == []
