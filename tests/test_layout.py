"""The four packages are ours, wherever the interpreter was started."""

from __future__ import annotations

from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["paaplus", "streams", "strategies", "workers"])
def test_nobody_else_installs_our_names(name: str) -> None:
    assert set(packages_distributions().get(name, ["paaplus"])) == {"paaplus"}
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).is_relative_to(ROOT / name)


def test_changelog_names_this_version() -> None:
    from paaplus import __version__

    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
