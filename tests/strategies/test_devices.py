"""Every strategy computes where its configuration says, by the same code on every device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from paaplus.devices import open_device
from paaplus.errors import ConfigError
from paaplus.physique_head import PhysiqueHeads, network, stack_heads
from paaplus.store.heads import HeadRow
from strategies import StrategyConfig
from strategies.base import Strategy
from strategies.full_head import NAMES, FullHeadStrategy, full_rows
from strategies.state import MEMORY, CohortState, flatten, gather, scatter
from streams.experiences import CohortExperience
from workers.memory import decode_memories
from workers.states import gather as gather_rows
from workers.states import scatter as scatter_rows
from workers.strategy_config import StrategySection

USERS = ["ann", "bob", "cy"]
# Cohorts change, and memories come to differ in length; the long last one is learned when drift is found.
PLAN = [
    {"ann": 10, "bob": 4, "cy": 10}, {"ann": 10, "cy": 3}, {"bob": 12, "ann": 1, "cy": 10},
    {"ann": 30, "bob": 4, "cy": 30},
]  # fmt: skip
WIDTHS = (12, 8, 4, 1)
Arrays = dict[str, NDArray[Any]]
needs_cuda = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a GPU, and PyTorch with CUDA"
)


def learned(strategy: Strategy, feed: Any) -> Arrays:
    """All that a strategy says after the plan, half of it at rest in between; tastes turn on the way."""
    device = strategy.device
    for user in USERS:
        feed.scores[user][20:] = 10 - feed.scores[user][20:]
    state = strategy.initial_state(len(USERS))
    for counts in PLAN:
        users = torch.tensor([USERS.index(user) for user in counts], device=device)
        part = gather(state, users)
        experience = feed.step(counts, memory=part, device=device)
        assert experience.memory_key.device == experience.step.device == device
        scatter(state, users, strategy.train(experience, part))
    assert {tensor.device for tensor in state.values()} == {device}
    heads, calibration = strategy.heads(state), strategy.calibration(state)
    return {
        **{name: tensor.cpu().numpy() for name, tensor in state.items()},
        **{f"rest {name}": array for name, array in at_rest(strategy, state).items()},
        "at rest": flatten(state, strategy.layout),
        "head": heads.mean,
        "head covariance": heads.covariance,
        "noise": heads.noise,
        "baseline": calibration.mean,
        "baseline covariance": calibration.covariance,
        "the mean": strategy.mean(state),
    }


def at_rest(strategy: Strategy, state: CohortState) -> Arrays:
    """The state as the store gives it back, with a new user in the middle."""
    new = [HeadRow(user, 0, None, None, 0) for user in USERS]
    rows = scatter_rows(strategy, new, state, 10)
    rows[1] = new[1]
    found = gather_rows(strategy, rows, *decode_memories([row.memory for row in rows]))
    assert {tensor.device for tensor in found.values()} == {strategy.device}
    return {name: tensor.cpu().numpy() for name, tensor in found.items()}


def scored(name: str, device: str) -> Arrays:
    """Scores and memories of full heads after two experiences of three users."""
    config = StrategyConfig(
        learning_rate=0.02, epochs=2, batch_size=4, memory_size=6, memory_batch_size=3,
        dtype="float64", device=device,
    )  # fmt: skip
    strategy = FullHeadStrategy(name, initial_heads(), config, prior=0.1, chunk=2)
    state = strategy.initial_state(len(USERS))
    for step in range(2):
        seq = torch.tensor([[0, 1, 2, 3, 4], [0, 1, -1, -1, -1], [0, 1, 2, 3, 4]], device="cpu")
        held = state.get("memory_seq", seq[:, :0])
        experience = CohortExperience(
            USERS, rows_of(seq + 5 * step * (seq >= 0)), rows_of(held),
            state.get("memory_key", held.double()), torch.full((3,), step, device="cpu"),
        )  # fmt: skip
        state = strategy.train(experience, state)
    assert {tensor.device.type for tensor in state.values()} == {"cpu"}
    held = {part: state[part].numpy() for part in MEMORY if part in state}
    return held | {"scores": strategy.scores(state, rows_of(seq).x).numpy()}


def rows_of(seq: torch.Tensor) -> Any:
    """Rows of full heads that are functions of their numbers."""
    number = (seq + 1.0).double()[:, :, None]
    x = torch.sin(number * torch.arange(1.0, WIDTHS[0] + 1, dtype=torch.float64, device="cpu"))
    return full_rows(x, 5 + 4 * torch.cos(number * x[:, :, :3]), seq)


def initial_heads() -> PhysiqueHeads:
    with torch.random.fork_rng(), torch.device("cpu"):
        torch.manual_seed(3)
        return stack_heads([network(WIDTHS).double().eval().state_dict() for _ in range(3)])


def test_no_tensor_is_made_without_its_device(
    name: str, build: Callable[..., Strategy], make_feed: Callable[..., Any]
) -> None:
    expected = learned(build(name), make_feed(USERS, masked=True))
    if name == "exact_ewc:drift":  # its errors are dropped where something was forgotten
        assert (expected["errors"] == 0).all(axis=1).any()
    with torch.device("meta"):  # has no numbers: whatever is made there by default can give none
        found = learned(build(name), make_feed(USERS, masked=True))
    assert found.keys() == expected.keys()
    for part, array in expected.items():
        assert found[part].tobytes() == array.tobytes(), part


@pytest.mark.parametrize("full", NAMES)
def test_no_tensor_of_full_heads_is_made_without_its_device(full: str) -> None:
    expected = scored(full, "cpu")
    with torch.device("meta"):
        found = scored(full, "cpu")
    for part, array in expected.items():
        assert found[part].tobytes() == array.tobytes(), part


@needs_cuda
def test_a_gpu_learns_the_same(
    name: str, build: Callable[..., Strategy], make_feed: Callable[..., Any]
) -> None:
    expected = learned(build(name), make_feed(USERS, masked=True))
    found = learned(build(name, device="cuda"), make_feed(USERS, masked=True))
    for part, array in expected.items():
        # What is at rest, and drift's errors, were rounded to float32, perhaps to the other side.
        near = 1e-6 if "rest" in part or part == "errors" else 1e-9
        np.testing.assert_allclose(found[part], array, rtol=near, atol=near, err_msg=part)


@needs_cuda
@pytest.mark.parametrize("full", NAMES)
def test_a_gpu_learns_the_same_full_heads(full: str) -> None:
    found = scored(full, "cuda")
    for part, array in scored(full, "cpu").items():
        np.testing.assert_allclose(found[part], array, rtol=1e-9, atol=1e-9, err_msg=part)


@pytest.mark.parametrize("device", ["abacus", "cuda:4096", "meta"])
def test_a_device_that_cannot_be_used_is_refused(
    name: str, build: Callable[..., Strategy], device: str
) -> None:
    with pytest.raises(ConfigError, match=f"strategy: device '{device}' .*\n.*use cpu"):
        build(name, device=device)


def test_full_heads_and_callers_of_their_own_refuse_it_alike() -> None:
    with pytest.raises(ConfigError, match="strategy: device 'abacus'"):
        scored("naive", "abacus")
    with pytest.raises(ConfigError, match="somebody: device 'abacus'"):
        open_device("abacus", "somebody")
    assert open_device("cpu", "somebody") == torch.device("cpu")


def test_a_device_is_handed_on_and_makes_no_other_strategy() -> None:
    section = StrategySection(device="cuda:1")
    assert section.build().device == "cuda:1"
    assert section.key() == StrategySection().key()
