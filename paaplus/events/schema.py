"""Documents of the contract, generated from its types.

`python -m paaplus.events.schema [docs]` writes events.md and events.schema.json; with `--check` it only
compares. docs/events.v1.baseline.json is the schema as first published: a change that breaks a producer or
a stored event against it is refused.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from paaplus.events.codec import MAX_EVENT_BYTES, REASONS, encode
from paaplus.events.compatibility import Schema, breaking_changes
from paaplus.events.types import (
    KINDS,
    Comment,
    Comparison,
    Event,
    Interaction,
    Item,
    Rating,
    Retraction,
    Scores,
    Survey,
)

_ENVELOPE: dict[str, Any] = {
    "event_id": UUID("0192f0c1-7e3b-7c4d-9a5e-0d1f2a3b4c5d"),
    "occurred_at": datetime(2026, 11, 1, 9, 30, tzinfo=UTC),
    "schema_version": 1,
}
_USER = _ENVELOPE | {"user_id": "u-42"}

EXAMPLES: tuple[Event, ...] = (
    Rating(**_USER, item_id="photo-981", scores=Scores(appearance=7.5, posture=6.0)),
    Comparison(**_USER, item_a="photo-981", item_b="photo-77", attribute="overall", preferred="a"),
    Comment(**_USER, item_id="photo-981", text="Stands very upright.", language="en"),
    Interaction(**_USER, item_id="photo-981", action="dwell", value=4.2),
    Survey(
        **_USER, answers={"exercises": "weekly", "age": 31}, preference=(0.2, 0.8, 0.5, 0.5, 0.1)
    ),
    Retraction(**_USER, retracts=UUID("0192f0c1-7e3b-7c4d-9a5e-0d1f2a3b4c5e")),
    Item(**_ENVELOPE, item_id="photo-981", image_uri="2026/11/981.jpg"),
)
"""One event of each kind, in the order of `KINDS`."""


def json_schema() -> Schema:
    """JSON Schema (2020-12) of every kind, one definition each."""
    (_, *_), components = msgspec.json.schema_components(KINDS, ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "paaplus events, schema version 1",
        "oneOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in KINDS],
        "$defs": {name: _portable(components[name]) for name in sorted(components)},
    }


def _portable(node: Any) -> Any:
    r"""Python's `\Z` is `$` to every other regular-expression dialect of JSON Schema."""
    if isinstance(node, dict):
        return {
            key: value.replace(r"\Z", "$") if key == "pattern" else _portable(value)
            for key, value in node.items()
        }
    return [_portable(value) for value in node] if isinstance(node, list) else node


def documentation(schema: Schema) -> str:
    """docs/events.md."""
    lines = [
        "# Events, schema version 1",
        "",
        "Generated from `paaplus/events/types.py`; the same as a machine reads it:",
        "[events.schema.json](events.schema.json).",
        "",
        "An event is one JSON object in UTF-8, at most "
        f"{MAX_EVENT_BYTES >> 20} MiB. What a user does goes to the topic `paaplus.feedback` with the",
        "`user_id` as key, so that a user's events stay in order; items go to `paaplus.items` with the",
        "`item_id` as key, before anybody rates them. Numbers are finite, unknown fields are refused.",
        "",
        "**Send it again if in doubt.** An `event_id` counts once, whoever repeats it and however often.",
        "Make it when the user acts, not when you send.",
        "",
    ]
    for kind, example in zip(KINDS, EXAMPLES, strict=True):
        definition = schema["$defs"][kind.__name__]
        lines += [f"## `{definition['properties']['kind']['enum'][0]}`", ""]
        topic, key = ("items", "item_id") if kind is Item else ("feedback", "user_id")
        lines += [inspect.cleandoc(kind.__doc__ or ""), ""]
        lines += [
            f"Topic `paaplus.{topic}`, key `{key}`.",
            "",
            "| field | type | required |",
            "|---|---|---|",
        ]
        required = definition["required"]
        lines += [
            f"| `{name}` | {_words(part, schema)} | {'yes' if name in required else ''} |"
            for name, part in definition["properties"].items()
            if name != "kind"
        ]
        body = msgspec.json.format(encode(example), indent=2).decode()
        lines += ["", "```json", body, "```", ""]
    lines += [
        "## When an event is refused",
        "",
        "It becomes a dead letter with its bytes, the place of the fault and the remedy, and the next one",
        "is read: `paaplus dead-letters list`. After the cause is mended,",
        "`paaplus dead-letters redrive` reads it again.",
        "",
        "| reason | remedy |",
        "|---|---|",
    ]
    lines += [f"| `{reason}` | {remedy} |" for reason, remedy in REASONS.items()]
    return "\n".join(lines) + "\n"


def _words(part: Schema, schema: Schema) -> str:
    """A type as a person says it, for a table cell."""
    if "$ref" in part:
        part = schema["$defs"][part["$ref"].rsplit("/", 1)[1]]
        inner = ", ".join(f"`{n}`: {_words(p, schema)}" for n, p in part["properties"].items())
        return f"object of {inner}"
    if "description" in part:
        return str(part["description"]).replace("|", "\\|")
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    if "anyOf" in part:
        choices = [_words(p, schema) for p in part["anyOf"] if p.get("type") != "null"]
        return " or ".join(dict.fromkeys(choices))
    if part.get("type") == "array":
        if "prefixItems" in part:
            return f"{len(part['prefixItems'])} x {_words(part['prefixItems'][0], schema)}"
        return f"1..{part['maxItems']:,} x {_words(part['items'], schema)}"
    if part.get("type") == "object":
        return f"object of at most {part.get('maxProperties', 'any')} answers: text, number or truth value"
    words = str(part.get("format", part.get("type", "any")))
    if "maxLength" in part:
        words += f", {part.get('minLength', 0)}..{part['maxLength']:,} characters"
    elif "exclusiveMaximum" in part:
        words += f", between {part['exclusiveMinimum']:g} and {part['exclusiveMaximum']:g}"
    elif "pattern" in part:
        words += f" like `{part['pattern']}`".replace("|", "\\|")
    return words


def main(arguments: Sequence[str]) -> int:
    """Write the documents, or with `--check` say what is out of date or breaks; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m paaplus.events.schema")
    parser.add_argument("docs", nargs="?", type=Path, default=Path("docs"), help="folder")
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if out of date")
    options = parser.parse_args(arguments)
    docs: Path = options.docs
    schema = json_schema()
    wanted = {
        docs / "events.schema.json": json.dumps(schema, indent=1) + "\n",
        docs / "events.md": documentation(schema),
    }
    if not options.check:
        docs.mkdir(parents=True, exist_ok=True)
        for path, text in wanted.items():
            path.write_text(text, encoding="utf-8")
        return 0
    faults = [
        f"{path} is out of date: run `python -m paaplus.events.schema {docs}`"
        for path, text in wanted.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    baseline = docs / "events.v1.baseline.json"
    if baseline.exists():
        published = json.loads(baseline.read_text(encoding="utf-8"))
        faults += [
            f"breaking change: {change}: it needs a new schema version"
            for change in breaking_changes(published, schema)
        ]
    else:
        faults.append(f"{baseline} is missing: restore it, it is what producers were promised")
    print(*faults, sep="\n", end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
