"""Full heads of a cohort equal stock Avalanche, one strategy object per user, to 1e-6 in float64.

And the comparison can fail: engines with one thing broken are told apart.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

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

import strategies.penalties
import strategies.reservoir
import strategies.stacked_mlp
import strategies.template
from paaplus.physique_head import SCALE, network, stack_heads
from strategies import StrategyConfig
from strategies.full_head import FullHeadStrategy, full_rows
from strategies.reservoir import reservoir_seed
from strategies.state import gather, scatter
from streams.experiences import CohortExperience, RowBlock

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
A, WIDTHS, ROWS = 3, (12, 8, 4, 1), 60
USERS = ["ann", "bob", "one", "new"]
PLAN: list[dict[str, int]] = [
    {"ann": 20, "bob": 7, "one": 1},
    {"bob": 19, "ann": 9},
    {"new": 16, "one": 9, "ann": 8, "bob": 3},
    {"new": 5, "bob": 24},
]
CONFIG = StrategyConfig(
    learning_rate=0.02, epochs=3, batch_size=8, memory_size=12, memory_batch_size=5,
    ewc_lambda=3.0, ewc_decay=0.7, seed=42, fisher="empirical", dtype="float64",
)  # fmt: skip


class ThreeHeads(nn.Module):
    """One user's heads as official modules, [n, d] -> [n, A]; never in training mode."""

    def __init__(self, heads: list[nn.Sequential]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)

    def forward(self, x: Tensor) -> Tensor:
        return SCALE * torch.cat([head(x) for head in self.heads], dim=1)

    def train(self, mode: bool = True) -> ThreeHeads:
        """Frozen statistics, no dropout."""
        super().train(False)
        return self


def errors(output: Tensor, target: Tensor) -> list[Tensor]:
    """Per attribute, the errors of the scores that were given; NaN = not given."""
    given = ~torch.isnan(target)
    return [(output - target)[given[:, a], a] for a in range(A)]


def masked_mse(output: Tensor, target: Tensor) -> Tensor:
    parts = [e.square().mean() for e in errors(output, target) if len(e)]
    return sum(parts, output.sum() * 0.0)


class SeededReservoir(ReservoirSamplingBuffer):
    """The stock buffer, its random numbers those of the user and the step."""

    def __init__(self, user: str) -> None:
        super().__init__(CONFIG.memory_size)
        self.user, self.steps = user, 0

    def update_from_dataset(self, new_data: Any) -> None:
        torch.manual_seed(reservoir_seed(CONFIG.seed, self.user, self.steps))
        self.steps += 1
        super().update_from_dataset(new_data)


def squared_rows(model: ThreeHeads, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Sum of the squared gradients of every single score that was given."""
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for row, target in zip(x, y, strict=True):
        scores = model(row[None])[0][~torch.isnan(target)]
        gradients = [torch.autograd.grad(s, list(model.parameters()), retain_graph=True,
                                         allow_unused=True) for s in scores]  # fmt: skip
        for of_score in gradients:
            for name, gradient in zip(total, of_score, strict=True):
                total[name] += 0.0 if gradient is None else gradient**2
    return total


class StockGaussianEWC(EWCPlugin):
    """Stock EWC with another Fisher information, through its own extension points; all sums written out."""

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.anchor = copy.deepcopy(strategy.model)

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        last = strategy.clock.train_exp_counter - 1
        if last < 0:
            return
        x, y = strategy.mbatch[0], strategy.mbatch[1]
        step = strategy.clock.train_epoch_iterations
        new = min(CONFIG.batch_size, len(strategy.experience.dataset) - step * CONFIG.batch_size)
        known = squared_rows(self.anchor, x[new:], y[new:])
        self.anchor.zero_grad()
        squared = [e.square().sum() for e in errors(self.anchor(x[new:]), y[new:])]
        sum(squared).backward()  # type: ignore[union-attr]
        for (name, p), old in zip(
            strategy.model.named_parameters(), self.anchor.parameters(), strict=True
        ):
            attribute = int(name.split(".")[1])
            rows = max(int((~torch.isnan(y[:, attribute])).sum()), 1)
            rest = (self.importances[last][name].data - known[name]).clamp(min=0)
            penalty = (rest * (p - old.detach()) ** 2).sum() - (old.grad * p).sum()
            strategy.loss = strategy.loss + self.ewc_lambda * penalty / rows

    def compute_importances(self, model: Any, criterion: Any, optimizer: Any, dataset: Any,
                            device: Any, batch_size: int, num_workers: int = 0) -> Any:  # fmt: skip
        rows = list(dataset)
        total = squared_rows(
            model, torch.stack([r[0] for r in rows]), torch.stack([r[1] for r in rows])
        )
        return {name: ParamData(name, init_tensor=value) for name, value in total.items()}


class StockUser:
    """One user's stock strategy."""

    def __init__(self, user: str, heads: list[nn.Sequential], name: str, fisher: str) -> None:
        self.model = ThreeHeads(copy.deepcopy(heads))
        plugins: list[Any] = []
        if "replay" in name:
            self.buffer = SeededReservoir(user)
            plugins.append(
                ReplayPlugin(
                    CONFIG.memory_size,
                    batch_size=CONFIG.batch_size,
                    batch_size_mem=CONFIG.memory_batch_size,
                    storage_policy=self.buffer,
                )
            )
        if "ewc" in name:
            kind = EWCPlugin if fisher == "empirical" else StockGaussianEWC
            plugins.append(kind(CONFIG.ewc_lambda, mode="online", decay_factor=CONFIG.ewc_decay))
        self.strategy = SupervisedTemplate(
            model=self.model,
            optimizer=torch.optim.Adam(self.model.parameters(), lr=CONFIG.learning_rate),
            criterion=masked_mse,
            train_mb_size=CONFIG.batch_size,
            train_epochs=CONFIG.epochs,
            plugins=plugins,
            evaluator=EvaluationPlugin(collect_all=False),
        )

    def learn(self, x: Tensor, y: Tensor) -> None:
        experience = DatasetExperience(dataset=make_avalanche_dataset(TensorDataset(x, y)))
        self.strategy.train(experience, eval_streams=[], shuffle=False, reset_optimizer_state=True)


@pytest.fixture(autouse=True)
def quiet_and_on_one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    torch.set_num_threads(threads)


def block(x: Tensor, y: Tensor, places: list[Tensor], of: list[int]) -> RowBlock:
    """Rows at `places` of the users `of`, padded by NaN."""
    most = max((len(p) for p in places), default=0)
    rows = torch.full((len(of), most, x.shape[2]), torch.nan, dtype=torch.float64)
    scores = torch.full((len(of), most, A), torch.nan, dtype=torch.float64)
    seq = torch.full((len(of), most), -1)
    for u, (user, place) in enumerate(zip(of, places, strict=True)):
        n = len(place)
        rows[u, :n], scores[u, :n], seq[u, :n] = x[user, place], y[user, place], place
    return full_rows(rows, scores, seq)


def run_both(name: str, fisher: Any, masked: bool) -> tuple[float, float]:
    """Largest difference of any parameter of any user after any experience; and how far they moved."""
    torch.manual_seed(7)
    heads = [network(WIDTHS).double().eval() for _ in range(A)]
    for head in heads:
        for layer in (head[1], head[5]):
            layer.running_mean.normal_(0, 0.3)
            layer.running_var.uniform_(0.5, 2.0)
            layer.weight.data.uniform_(0.5, 1.5)
    x = torch.randn(len(USERS), ROWS, WIDTHS[0], dtype=torch.float64)
    y = 10 * torch.sigmoid(x @ torch.randn(len(USERS), WIDTHS[0], A, dtype=torch.float64))
    if masked:
        y[torch.rand(y.shape) < 0.3] = torch.nan
    initial = stack_heads([head.state_dict() for head in heads])
    strategy = FullHeadStrategy(name, initial, replace(CONFIG, fisher=fisher), chunk=2)
    stock = [StockUser(user, heads, name, fisher) for user in USERS]
    state, done, steps = strategy.initial_state(len(USERS)), [0] * 4, [0] * 4
    worst = moved = 0.0
    for counts in PLAN:
        of = [USERS.index(user) for user in counts]
        part = gather(state, torch.tensor(of))
        new = [torch.arange(done[u], done[u] + n) for u, n in zip(of, counts.values(), strict=True)]
        seq = part.get("memory_seq", torch.zeros(len(of), 0, dtype=torch.int64))
        held = [numbers[numbers >= 0] for numbers in seq]
        most = max(len(h) for h in held)
        experience = CohortExperience(
            list(counts), block(x, y, new, of), block(x, y, held, of),
            part.get("memory_key", torch.zeros(len(of), 0, dtype=torch.float64))[:, :most],
            torch.tensor([steps[u] for u in of]),
        )  # fmt: skip
        scatter(state, torch.tensor(of), strategy.train(experience, part))
        for u, rows in zip(of, new, strict=True):
            stock[u].learn(x[u, rows], y[u, rows])
            done[u], steps[u] = done[u] + len(rows), steps[u] + 1
        for u, user in enumerate(stock):
            trained = stack_heads([head.state_dict() for head in user.model.heads]).trained
            for key, expected in trained.items():
                worst = max(worst, float((state[key][u] - expected).abs().max()))
                moved = max(moved, float((expected - initial.trained[key]).abs().max()))
            if "replay" in name:
                rows = [row[0] for row in user.buffer.buffer]
                mine = {tuple(x[u, int(s)].tolist()) for s in state["memory_seq"][u] if s >= 0}
                assert mine == {tuple(row.tolist()) for row in rows}
    return worst, moved


@pytest.mark.parametrize("masked", [False, True], ids=["all rated", "some attributes unrated"])
@pytest.mark.parametrize(
    ("name", "fisher"),
    [("naive", "empirical"), ("replay", "empirical"), ("ewc", "empirical"), ("ewc", "gaussian"),
     ("replay_ewc", "empirical"), ("replay_ewc", "gaussian")],
)  # fmt: skip
def test_every_user_equals_stock_avalanche(name: str, fisher: str, masked: bool) -> None:
    worst, moved = run_both(name, fisher, masked)
    assert moved > 0.1
    assert worst < 1e-6


def no_penalty(self: Any, strategy: Any, **kwargs: Any) -> None:
    """EWC whose gradient is forgotten."""


def no_replay(self: Any, new: Any, experience: Any) -> Any:
    """Replay whose memory is never used."""
    return list(new)


def mean_over_attributes(model: Any, output: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """The mean over losses, where the sum is right."""
    loss, upstream = cohort_loss(model, output, y, w)
    return loss / output.shape[2], upstream / output.shape[2]


def no_logistic(self: Any) -> Tensor:
    """The sigmoid forgotten on the way back."""
    return torch.ones_like(self._scores)


def old_moments(self: Any, experience: Any) -> Tensor:
    """Adam that goes on where other users left it."""
    self.train(experience, eval_streams=[])
    return self.model.weights()[0]


cohort_loss = strategies.template.cohort_loss

MUTANTS: dict[str, list[tuple[Any, str, Any]]] = {
    "no penalty": [(strategies.penalties.GaussianEWC, "after_backward", no_penalty)],
    "no replay": [(strategies.reservoir.CohortReplay, "joined", no_replay)],
    "mean over attributes": [
        (strategies.template, "cohort_loss", mean_over_attributes),
        (strategies.penalties, "cohort_loss", mean_over_attributes),
    ],
    "no logistic": [(strategies.stacked_mlp.StackedMLP, "_logistic", no_logistic)],
    "old moments": [(strategies.template.CohortTemplate, "learn", old_moments)],
    "other epsilon": [(strategies.stacked_mlp, "BATCH_NORM_EPS", 1e-3)],
}


@pytest.mark.parametrize("fisher", ["empirical", "gaussian"])
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_engine_is_told_apart(
    mutant: str, fisher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for owner, attribute, broken in MUTANTS[mutant]:
        monkeypatch.setattr(owner, attribute, broken)
    worst, _ = run_both("replay_ewc", fisher, masked=True)
    assert worst > 1e-5
