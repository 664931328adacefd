"""The command line: quick to answer, clear when it fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from strategies import StrategyConfig
from workers.cli import COMMANDS, cli, main
from workers.strategy_config import StrategySection

HEAVY = ("torch", "avalanche", "mlflow", "pandas", "matplotlib", "sqlalchemy", "numpy", "kafka")


def modules_after(code: str) -> set[str]:
    script = f"{code}\nimport sys; print(' '.join(sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stderr.split())


def test_help_imports_nothing_heavy() -> None:
    loaded = modules_after(
        "from workers.cli import cli\ntry: cli(['--help'])\nexcept SystemExit: pass"
    )
    assert "click" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_scoring_imports_no_training_code(tmp_path: Path) -> None:
    loaded = modules_after(
        "from workers.cli import main\n"
        f"try: main(['score', '--user', 'u', '--item', 'i', '--home', {str(tmp_path)!r}])\n"
        "except SystemExit: pass"
    )
    assert "paaplus.scoring" in loaded
    assert loaded.isdisjoint({"torch", "avalanche", "mlflow", "pandas", "timm"})


def test_every_command_exists_and_takes_json() -> None:
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        leaves = command.commands.values() if isinstance(command, click.Group) else [command]
        for leaf in leaves:
            assert "as_json" in {parameter.name for parameter in leaf.params}, name


def test_help_lists_every_command() -> None:
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 0
    for name in COMMANDS:
        assert f"\n  {name}" in result.output


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any, str]:
    with pytest.raises(SystemExit) as stopped:
        main([*words, "--json"])
    out, err = capsys.readouterr()
    return int(stopped.value.code or 0), json.loads(out) if out else None, err


def test_an_error_has_a_remedy_and_a_status(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, body, err = run(capsys, "score", "--user", "u", "--item", "i", "--home", str(tmp_path))
    assert code == 1
    assert body["error"]["type"] == "NotFoundError"
    assert "paaplus retrain --population" in body["error"]["remedy"]
    assert "remedy:" in err


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ("nonsense: 1", "nonsense"),
        ("strategy: {name: bayes}", "bayes"),
        ("strategy: {epochs: many}", "strategy.epochs"),
        ("strategy: {plugins: [SynapticIntelligencePlugin]}", "SynapticIntelligencePlugin"),
        ("store: {holdout_fraction: 2}", "store.holdout_fraction"),
        ("fleet: a/b", "fleet"),
        ("- a list", "not a mapping"),
        ("a: [", "config"),
    ],
)
def test_a_wrong_page_names_the_key(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, page: str, fault: str
) -> None:
    path = tmp_path / "page.yaml"
    path.write_text(page)
    code, body, _ = run(capsys, "config", "check", "--config", str(path))
    assert code == 1
    assert body["error"]["type"] == "ConfigError"
    assert fault in body["error"]["message"]


def test_command_line_over_environment_over_page(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "page.yaml"
    path.write_text("home: from_page\nfleet: page\nstrategy: {epochs: 3, name: naive}\n")
    monkeypatch.setenv("PAAPLUS_FLEET", "environment")
    monkeypatch.setenv("PAAPLUS_STRATEGY__EPOCHS", "5")
    monkeypatch.setenv("PAAPLUS_HOME", "from_environment")
    words = ["config", "show", "--config", str(path), "--home", "from_line"]
    code, body, _ = run(capsys, *words)
    assert code == 0
    assert body["home"] == "from_line"
    assert body["fleet"] == "environment"
    assert (body["strategy"]["epochs"], body["strategy"]["name"]) == (5, "naive")


def test_strategies_have_one_set_of_defaults() -> None:
    assert StrategySection().build() == StrategyConfig()


@pytest.mark.parametrize("page", sorted(Path(__file__).parents[2].glob("configs/**/*.yaml")))
def test_pages_in_the_repository_are_valid(capsys: pytest.CaptureFixture[str], page: Path) -> None:
    code, body, _ = run(capsys, "config", "check", "--config", str(page))
    assert code == 0
    assert body["valid"] is True
    assert page.read_text().startswith("# ")
    assert "#   " in page.read_text()
