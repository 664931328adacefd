"""Whether a schema still takes, and means the same by, all events that an older one took."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

Schema = dict[str, Any]
"""A JSON Schema as parsed JSON."""


def breaking_changes(old: Schema, new: Schema) -> list[str]:
    """Why events that were valid under `old` may be invalid, or mean something else, under `new`.

    It errs on the safe side: a keyword that it cannot compare, such as a pattern, must not change.

    Args:
        old: A schema made by `json_schema`.
        new: Another.

    Returns:
        One line per change; [] if every old event stays what it was.
    """
    found: list[str] = []
    for name, definition in old["$defs"].items():
        if name in new["$defs"]:
            found += _narrowed(name, definition, new["$defs"][name])
        else:
            found.append(f"{name}: removed")
    kinds = {entry["$ref"] for entry in old["oneOf"]} - {entry["$ref"] for entry in new["oneOf"]}
    return found + [f"{kind}: no longer an event" for kind in sorted(kinds)]


_LOWER = (("minimum", "exclusiveMinimum"), ("minLength",), ("minItems",), ("minProperties",))
_UPPER = (("maximum", "exclusiveMaximum"), ("maxLength",), ("maxItems",), ("maxProperties",))
_COMPARED = {"type", "enum", "required", "properties", "prefixItems", "items", "default"}
_COMPARED |= {"additionalProperties", *(name for names in _LOWER + _UPPER for name in names)}
_COMMENTS = {"title", "description", "examples"}


def _narrowed(path: str, old: Schema | bool, new: Schema | bool) -> list[str]:
    """What `old` allows and `new` does not. True allows everything, False nothing."""
    if old is False or new is True:
        return []
    if new is False:
        return [f"{path}: no longer allowed"]
    assert isinstance(new, dict)
    rest = {} if old is True else dict(old)
    found: list[str] = []
    if "default" in rest and new.get("default", ...) != rest.pop("default"):
        found.append(f"{path}: the default changed, and stored events leave it out")
    choices = new.get("anyOf", [{}])
    outer = {key: value for key, value in new.items() if key != "anyOf"}
    for part in rest.pop("anyOf", [{}]):
        # The nearest choice: it allows all of the part, or shows best what is missing.
        differences = [_differences(path, rest | part, outer | choice) for choice in choices]
        nearest: list[str] = min(differences, key=len)
        found += nearest
    return found


def _differences(path: str, old: Schema, new: Schema) -> list[str]:
    """`_narrowed` between two alternatives."""
    required = sorted(set(new.get("required", [])) - set(old.get("required", [])))
    found = [f"{path}.{name}: became required" for name in required]
    was, now = old.get("type"), new.get("type")
    if now not in (None, was) and (was, now) != ("integer", "number"):
        found.append(f"{path}: the type is {now}, was {was or 'any'}")
    if "enum" in new and not ("enum" in old and all(v in new["enum"] for v in old["enum"])):
        found.append(f"{path}: the values are {new['enum']}, were {old.get('enum', 'any')}")
    for sign, bounds in ((1, _LOWER), (-1, _UPPER)):
        tighter = [names for names in bounds if _bound(new, sign, names) > _bound(old, sign, names)]
        found += [f"{path}: the {names[0]} is tighter than before" for names in tighter]
    others = sorted(new.keys() - _COMPARED - _COMMENTS)
    found += [f"{path}: {key} changed" for key in others if new[key] != old.get(key)]
    more, more_old = new.get("additionalProperties", True), old.get("additionalProperties", True)
    fields, fields_old = new.get("properties", {}), old.get("properties", {})
    for name in sorted(fields.keys() | fields_old.keys()):
        if name not in fields and more is False:
            found.append(f"{path}.{name}: removed")
        else:
            part_old, part = fields_old.get(name, more_old), fields.get(name, more)
            found += _narrowed(f"{path}.{name}", part_old, part)
    found += _narrowed(f"{path}[...]", more_old, more)
    first, first_old = new.get("prefixItems", []), old.get("prefixItems", [])
    for place in range(max(len(first), len(first_old)) + 1):
        part_old = first_old[place] if place < len(first_old) else old.get("items", True)
        part = first[place] if place < len(first) else new.get("items", True)
        found += _narrowed(f"{path}[{place}]", part_old, part)
    return found


def _bound(schema: Schema, sign: int, names: Sequence[str]) -> tuple[float, int]:
    """How tight a bound is; the second name, if any, is the exclusive form of the first."""
    given = [(sign * schema[name], place) for place, name in enumerate(names) if name in schema]
    return max(given, default=(-math.inf, 0))
