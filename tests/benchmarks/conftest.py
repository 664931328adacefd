"""A fixture that runs benchmarks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., dict[str, Any]]]:
    """Runs a benchmark's `main` on some words, and reads the JSON that it prints."""

    def run(main: Callable[[list[str]], int], *words: str) -> dict[str, Any]:
        assert main([*words, "--json"]) == 0
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    threads = torch.get_num_threads()
    yield run
    torch.set_num_threads(threads)  # those that measure speed leave torch with one
