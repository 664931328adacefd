"""The cohort engine equals stock Avalanche, one strategy object per user, to 1e-6 in float64.

And the comparison can fail: engines with one thing broken are told apart.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from avalanche.benchmarks.scenarios.dataset_scenario import DatasetExperience
from avalanche.benchmarks.utils import make_avalanche_dataset
from avalanche.training.plugins import EvaluationPlugin, EWCPlugin, ReplayPlugin
from avalanche.training.storage_policy import ReservoirSamplingBuffer
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import strategies.adam
import strategies.ewc
import strategies.replay
import strategies.template
from paaplus.population.prior import Prior
from strategies import StrategyConfig, build_strategy
from strategies.replay import reservoir_seed
from strategies.state import CohortState, gather, scatter

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated function:DeprecationWarning")
A, M = 3, 7
CONFIG = StrategyConfig(
    learning_rate=0.02,
    epochs=3,
    batch_size=8,
    memory_size=12,
    memory_batch_size=5,
    ewc_lambda=3.0,
    ewc_decay=0.7,
    seed=42,
    dtype="float64",
)
# Who gives how many ratings, experience by experience: ragged, cohorts change, "new" comes late, and "one"
# has a single row; 8 rows are one batch.
PLAN: list[dict[str, int]] = [
    {"ann": 20, "bob": 7, "one": 1},
    {"bob": 19, "ann": 9},
    {"new": 16, "one": 9, "ann": 8, "bob": 3},
    {"new": 5, "bob": 24},
]


class UserHead(nn.Module):
    """One user's weights, as stock Avalanche trains them: rows [n, A, M] -> scores [n, A]."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone())

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight).sum(dim=2)


def masked_mse(output: Tensor, target: Tensor) -> Tensor:
    """`nn.MSELoss` over the scores that were given; NaN = not given."""
    given = ~torch.isnan(target)
    return nn.functional.mse_loss(output[given], target[given])


class SeededReservoir(ReservoirSamplingBuffer):
    """The stock buffer, its random numbers those of the user and the step."""

    def __init__(self, size: int, seed: int, user: str) -> None:
        super().__init__(size)
        self.seed, self.user, self.steps = seed, user, 0

    def update_from_dataset(self, new_data: Any) -> None:
        torch.manual_seed(reservoir_seed(self.seed, self.user, self.steps))
        self.steps += 1
        super().update_from_dataset(new_data)


class StockUser:
    """One user's stock strategy."""

    def __init__(self, user: str, prior: Prior, *, replay: bool, ewc: bool) -> None:
        self.head = UserHead(torch.from_numpy(prior.mean.copy()))
        self.buffer = SeededReservoir(CONFIG.memory_size, CONFIG.seed, user)
        plugins: list[Any] = []
        if replay:
            plugins.append(
                ReplayPlugin(
                    CONFIG.memory_size,
                    batch_size=CONFIG.batch_size,
                    batch_size_mem=CONFIG.memory_batch_size,
                    storage_policy=self.buffer,
                )
            )
        if ewc:
            plugins.append(
                EWCPlugin(CONFIG.ewc_lambda, mode="online", decay_factor=CONFIG.ewc_decay)
            )
        self.strategy = SupervisedTemplate(
            model=self.head,
            optimizer=torch.optim.Adam(self.head.parameters(), lr=CONFIG.learning_rate),
            criterion=masked_mse,
            train_mb_size=CONFIG.batch_size,
            train_epochs=CONFIG.epochs,
            plugins=plugins,
            evaluator=EvaluationPlugin(collect_all=False),
        )

    def learn(self, x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> None:
        data = TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
        experience = DatasetExperience(dataset=make_avalanche_dataset(data))
        self.strategy.train(experience, eval_streams=[], shuffle=False, reset_optimizer_state=True)

    def memory(self) -> set[tuple[float, ...]]:
        return {tuple(row[0].reshape(-1).tolist()) for row in self.buffer.buffer}


@pytest.fixture(autouse=True)
def stock_avalanche_warns() -> Iterator[None]:
    """Stock plugins deprecate themselves at every call, and change the filters while they do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def run_both(
    name: str, prior: Prior, calibration: Prior, feed: Any
) -> tuple[float, dict[str, StockUser], CohortState, list[str], Any]:
    """Largest difference of any weight of any user after any experience."""
    users = ["ann", "bob", "one", "new"]
    strategy = build_strategy(name, prior, calibration, CONFIG)
    replay, ewc = "replay" in name, "ewc" in name
    stock = {u: StockUser(u, prior, replay=replay, ewc=ewc) for u in users}
    state = strategy.initial_state(len(users))
    worst = 0.0
    for counts in PLAN:
        index = torch.tensor([users.index(u) for u in counts])
        part = gather(state, index)
        rows = {u: (sum(feed.done[u]), counts[u]) for u in counts}
        experience = feed.step(counts, memory=part)
        scatter(state, index, strategy.train(experience, part))
        for u, (first, count) in rows.items():
            stock[u].learn(
                feed.psi[u][first : first + count], feed.scores[u][first : first + count]
            )
        for n, u in enumerate(users):
            difference = state["weight"][n] - stock[u].head.weight.detach()
            worst = max(worst, float(difference.abs().max()))
    return worst, stock, state, users, feed


@pytest.mark.parametrize("masked", [False, True], ids=["all rated", "some attributes unrated"])
@pytest.mark.parametrize("name", ["naive", "replay", "ewc", "replay_ewc"])
def test_every_user_equals_stock_avalanche(
    name: str, masked: bool, prior: Prior, calibration: Prior, make_feed: Callable[..., Any]
) -> None:
    feed = make_feed(["ann", "bob", "one", "new"], masked=masked)
    worst, stock, state, users, feed = run_both(name, prior, calibration, feed)
    assert worst < 1e-6
    if "replay" in name:
        for n, user in enumerate(users):
            numbers = [int(s) for s in state["memory_seq"][n] if s >= 0]
            mine = {tuple(feed.psi[user][s - 1].reshape(-1).tolist()) for s in numbers}
            assert len(mine) == min(CONFIG.memory_size, sum(feed.done[user]))
            assert mine == stock[user].memory()


def no_penalty(self: Any, strategy: Any, **kwargs: Any) -> None:
    """EWC whose gradient is forgotten."""


def no_replay(self: Any, new: Any, experience: Any) -> Any:
    """Replay whose memory is never used."""
    return list(new)


def mean_over_users(output: Tensor, y: Tensor, w: Tensor, users: int) -> Tensor:
    """The mean over users, where the sum is right: EWC weighs more and importances shrink."""
    return strategies_cohort_loss(output, y, w, users) / users


def padding_counts(output: Tensor, y: Tensor, w: Tensor, users: int) -> Tensor:
    """Padded rows taken for rows."""
    squared = (w * (output - y) ** 2).reshape(users, -1).sum(dim=1)
    return (squared / w.reshape(users, -1).shape[1]).sum()


def no_decay(self: Any, strategy: Any, **kwargs: Any) -> None:
    """Importances that never fade."""
    self.importance = self.importance + self.importances(strategy)


def smallest_keys(experience: Any, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """A reservoir that keeps the wrong end."""
    numbers, keys = update_reservoirs(experience, 10**6, seed)
    counts = (numbers >= 0).sum(dim=1)
    place = (counts[:, None] - 1 - torch.arange(size)[None]).clamp(min=0)
    kept = torch.arange(size)[None] < counts[:, None]
    picked = numbers.gather(1, place)
    return torch.where(kept, picked, -1), torch.where(kept, keys.gather(1, place), 0)


strategies_cohort_loss = strategies.template.cohort_loss
update_reservoirs = strategies.replay.update_reservoirs

MUTANTS: dict[str, list[tuple[Any, str, Any]]] = {
    "no penalty": [(strategies.ewc.CohortEWC, "after_backward", no_penalty)],
    "no replay": [(strategies.replay.CohortReplay, "joined", no_replay)],
    "mean over users": [
        (strategies.template, "cohort_loss", mean_over_users),
        (strategies.ewc, "cohort_loss", mean_over_users),
    ],
    "padding counts": [
        (strategies.template, "cohort_loss", padding_counts),
        (strategies.ewc, "cohort_loss", padding_counts),
    ],
    "no decay": [(strategies.ewc.CohortEWC, "after_training_exp", no_decay)],
    "smallest keys": [(strategies.replay, "update_reservoirs", smallest_keys)],
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_engine_is_told_apart(
    mutant: str,
    prior: Prior,
    calibration: Prior,
    make_feed: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for owner, attribute, broken in MUTANTS[mutant]:
        monkeypatch.setattr(owner, attribute, broken)
    feed = make_feed(["ann", "bob", "one", "new"])
    worst, *_ = run_both("replay_ewc", prior, calibration, feed)
    assert worst > 1e-4


def test_the_oracle_itself_forgets_without_its_plugins(
    prior: Prior, calibration: Prior, make_feed: Callable[..., Any]
) -> None:
    """Stock with and without plugins differ, so equality to both at once is impossible."""
    feed = make_feed(["ann", "bob", "one", "new"])
    plain = run_both("naive", prior, calibration, copy.deepcopy(feed))[2]["weight"]
    full = run_both("replay_ewc", prior, calibration, feed)[2]["weight"]
    assert float((plain - full).abs().max()) > 1e-3
