"""The cohort engine equals stock Avalanche, one strategy object per user, to 1e-6 in float64.

And the comparison can fail: engines with one thing broken are told apart.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from avalanche.benchmarks.scenarios.dataset_scenario import DatasetExperience
from avalanche.benchmarks.utils import make_avalanche_dataset
from avalanche.training.plugins import EvaluationPlugin, EWCPlugin, ReplayPlugin
from avalanche.training.plugins.ewc import ParamData
from avalanche.training.storage_policy import ReservoirSamplingBuffer
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import strategies.adam
import strategies.penalties
import strategies.reservoir
import strategies.template
from paaplus.population.prior import Prior
from strategies import StrategyConfig, build_strategy
from strategies.coordinates import Coordinates
from strategies.reservoir import reservoir_seed
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
    fisher="empirical",
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
    """`nn.MSELoss` of each attribute over the scores that were given; NaN = not given."""
    total = output.sum() * 0.0
    for a in range(A):
        given = ~torch.isnan(target[:, a])
        if given.any():
            total = total + nn.functional.mse_loss(output[given, a], target[given, a])
    return total


class SeededReservoir(ReservoirSamplingBuffer):
    """The stock buffer, its random numbers those of the user and the step."""

    def __init__(self, size: int, seed: int, user: str) -> None:
        super().__init__(size)
        self.seed, self.user, self.steps = seed, user, 0

    def update_from_dataset(self, new_data: Any) -> None:
        torch.manual_seed(reservoir_seed(self.seed, self.user, self.steps))
        self.steps += 1
        super().update_from_dataset(new_data)


class StockGaussianEWC(EWCPlugin):
    """Stock EWC with another Fisher information, through its own extension points; all sums written out.

    Args:
        start: [A, M], importances before the first experience.
    """

    def __init__(self, decay: float, penalty: float, start: Tensor) -> None:
        super().__init__(penalty, mode="online", decay_factor=decay)
        self.saved_params[0] = {"weight": ParamData("weight", init_tensor=torch.zeros_like(start))}
        self.importances[0] = {"weight": ParamData("weight", init_tensor=start)}

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        last = strategy.clock.train_exp_counter - 1
        anchor = self.saved_params[last]["weight"].data
        importance = self.importances[last]["weight"].data
        x, y = strategy.mbatch[0], strategy.mbatch[1]
        step = strategy.clock.train_epoch_iterations
        left = len(strategy.experience.dataset) - step * CONFIG.batch_size
        new = min(CONFIG.batch_size, left)
        weight = strategy.model.weight
        for a in range(A):
            given = ~torch.isnan(y[:, a])
            rest = importance[a].clone()
            pull = torch.zeros(M, dtype=torch.float64)
            for row in range(new, len(x)):
                if given[row]:
                    rest -= x[row, a] ** 2
                    pull += 2 * (x[row, a] @ anchor[a] - y[row, a]) * x[row, a]
            away = weight[a] - anchor[a]
            penalty = (rest.clamp(min=0) * away**2).sum() - (pull * weight[a]).sum()
            strategy.loss = strategy.loss + self.ewc_lambda * penalty / max(int(given.sum()), 1)

    def compute_importances(self, model: Any, criterion: Any, optimizer: Any, dataset: Any,
                            device: Any, batch_size: int, num_workers: int = 0) -> Any:  # fmt: skip
        total = torch.zeros(A, M, dtype=torch.float64)
        for x, y, *_ in dataset:
            total += torch.where(torch.isnan(y)[:, None], 0.0, x**2)
        return {"weight": ParamData("weight", init_tensor=total)}


class StockUser:
    """One user's stock strategy."""

    def __init__(
        self, user: str, prior: Prior, *, replay: bool, ewc: bool, config: StrategyConfig
    ) -> None:
        # As the strategies do: in coordinates in which the prior is round.
        self.mean, self.root = (
            prior.mean,
            Coordinates(prior, torch.float64, torch.device("cpu")).root,
        )
        self.head = UserHead(torch.zeros(prior.mean.shape, dtype=torch.float64))
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
        noise = torch.from_numpy(prior.noise)[:, None].expand(A, M)
        if ewc and config.fisher == "gaussian":
            plugins.append(StockGaussianEWC(config.ewc_decay, config.ewc_lambda, noise.clone()))
        elif ewc:
            stock = EWCPlugin(CONFIG.ewc_lambda, mode="online", decay_factor=CONFIG.ewc_decay)
            # The prior is what an experience before the first would have left.
            nothing = torch.zeros(A, M, dtype=torch.float64)
            stock.saved_params[0] = {"weight": ParamData("weight", init_tensor=nothing)}
            stock.importances[0] = {
                "weight": ParamData("weight", init_tensor=noise / CONFIG.prior_rows)
            }
            plugins.append(stock)
        self.strategy = SupervisedTemplate(
            model=self.head,
            optimizer=torch.optim.Adam(self.head.parameters(), lr=CONFIG.learning_rate),
            criterion=masked_mse,
            train_mb_size=CONFIG.batch_size,
            train_epochs=CONFIG.epochs,
            plugins=plugins,
            evaluator=EvaluationPlugin(collect_all=False),
        )

        self.strategy.clock.train_exp_counter = 1

    @property
    def weight(self) -> np.ndarray[Any, Any]:
        """In the rows' own coordinates, [A, M]."""
        v = self.head.weight.detach().numpy()
        return np.stack([self.mean[a] + self.root[a] @ v[a] for a in range(A)])

    def learn(self, x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> None:
        y = y - np.stack([x[:, a] @ self.mean[a] for a in range(A)], axis=1)
        x = np.stack([x[:, a] @ self.root[a] for a in range(A)], axis=1)
        data = TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
        experience = DatasetExperience(dataset=make_avalanche_dataset(data))
        self.strategy.train(experience, eval_streams=[], shuffle=False, reset_optimizer_state=True)

    def row(self, psi: np.ndarray[Any, Any]) -> tuple[float, ...]:
        """A row as the memory holds it."""
        turned = np.stack([psi[a] @ self.root[a] for a in range(A)])
        return tuple(np.round(turned, 9).reshape(-1).tolist())

    def memory(self) -> set[tuple[float, ...]]:
        return {
            tuple(np.round(row[0].numpy(), 9).reshape(-1).tolist()) for row in self.buffer.buffer
        }


@pytest.fixture(autouse=True)
def stock_avalanche_warns() -> Iterator[None]:
    """Stock plugins deprecate themselves at every call, and change the filters while they do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def run_both(
    name: str, prior: Prior, calibration: Prior, feed: Any, config: StrategyConfig = CONFIG
) -> tuple[float, dict[str, StockUser], CohortState, list[str], Any]:
    """Largest difference of any weight of any user after any experience."""
    users = ["ann", "bob", "one", "new"]
    strategy = build_strategy(name, prior, calibration, config)
    replay, ewc = "replay" in name, "ewc" in name
    stock = {u: StockUser(u, prior, replay=replay, ewc=ewc, config=config) for u in users}
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
            difference = strategy.heads(state).mean[n] - stock[u].weight
            worst = max(worst, float(np.abs(difference).max()))
    return worst, stock, state, users, feed


@pytest.mark.parametrize("masked", [False, True], ids=["all rated", "some attributes unrated"])
@pytest.mark.parametrize("fisher", ["empirical", "gaussian"])
@pytest.mark.parametrize("name", ["naive", "replay", "ewc", "replay_ewc"])
def test_every_user_equals_stock_avalanche(
    name: str,
    fisher: Any,
    masked: bool,
    prior: Prior,
    calibration: Prior,
    make_feed: Callable[..., Any],
) -> None:
    feed = make_feed(["ann", "bob", "one", "new"], masked=masked)
    config = replace(CONFIG, fisher=fisher)
    worst, stock, state, users, feed = run_both(name, prior, calibration, feed, config)
    assert worst < 1e-6
    if "replay" in name:
        for n, user in enumerate(users):
            numbers = [int(s) for s in state["memory_seq"][n] if s >= 0]
            mine = {stock[user].row(feed.psi[user][s - 1]) for s in numbers}
            assert len(mine) == min(CONFIG.memory_size, sum(feed.done[user]))
            assert mine == stock[user].memory()


def no_penalty(self: Any, strategy: Any, **kwargs: Any) -> None:
    """EWC whose gradient is forgotten."""


def no_replay(self: Any, new: Any, experience: Any) -> Any:
    """Replay whose memory is never used."""
    return list(new)


def mean_over_users(model: Any, output: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """The mean over users, where the sum is right: EWC weighs more and importances shrink."""
    loss, upstream = strategies_cohort_loss(model, output, y, w)
    return loss / len(output), upstream / len(output)


def padding_counts(model: Any, output: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Padded rows taken for rows."""
    pull = w * (output - y) / w[0].numel()
    return (pull * (output - y)).sum(), 2 * pull


def no_decay(self: Any, strategy: Any, **kwargs: Any) -> None:
    """Importances that never fade."""
    self._decay = 1.0
    self.add_importances(strategy)


def smallest_keys(experience: Any, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """A reservoir that keeps the wrong end."""
    numbers, keys = update_reservoirs(experience, 10**6, seed)
    counts = (numbers >= 0).sum(dim=1)
    place = (counts[:, None] - 1 - torch.arange(size)[None]).clamp(min=0)
    kept = torch.arange(size)[None] < counts[:, None]
    picked = numbers.gather(1, place)
    return torch.where(kept, picked, -1), torch.where(kept, keys.gather(1, place), 0)


strategies_cohort_loss = strategies.template.cohort_loss
update_reservoirs = strategies.reservoir.update_reservoirs

MUTANTS: dict[str, list[tuple[Any, str, Any]]] = {
    "no penalty": [(strategies.penalties.GaussianEWC, "after_backward", no_penalty)],
    "no replay": [(strategies.reservoir.CohortReplay, "joined", no_replay)],
    "mean over users": [
        (strategies.template, "cohort_loss", mean_over_users),
        (strategies.penalties, "cohort_loss", mean_over_users),
    ],
    "padding counts": [
        (strategies.template, "cohort_loss", padding_counts),
        (strategies.penalties, "cohort_loss", padding_counts),
    ],
    "no decay": [(strategies.penalties.GaussianEWC, "after_training_exp", no_decay)],
    "smallest keys": [(strategies.reservoir, "update_reservoirs", smallest_keys)],
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
