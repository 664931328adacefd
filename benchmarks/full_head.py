"""Full PhysiqueFrame heads: how many users one core updates per second, and what the machine allows.

The work of one user: three MLPs 1285-512-256-1 learn an experience of 64 ratings in 5 epochs of batches of
32, each with 32 rows of a full replay memory of 64, under online EWC, by Adam. It is the user's second
experience.

- `floor`, `floor_gaussian`: only the products and passes over memory that any correct implementation
  needs, with either Fisher; `benchmarks.full_floor` says which, and why.
- `cohort`: our engine with the empirical Fisher of stock, state in and state out; `cohort_gaussian`: with
  its own, which also keeps a penalty for each batch.
- `stock_avalanche`: one stock strategy per user, made beforehand.

Times are of the CPU, on one thread, methods taking turns; so other processes cost caches but not their share.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from avalanche.benchmarks.scenarios.dataset_scenario import DatasetExperience
from avalanche.benchmarks.utils import make_avalanche_dataset
from avalanche.training.plugins import EvaluationPlugin, EWCPlugin, ReplayPlugin
from avalanche.training.plugins.ewc import ParamData
from avalanche.training.storage_policy import ReservoirSamplingBuffer
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor
from torch.utils.data import TensorDataset

from benchmarks.frame import parser_of, show, working
from benchmarks.full_floor import Floor
from benchmarks.full_modules import HEADS as A
from benchmarks.full_modules import Heads, sum_of_means
from benchmarks.rivals import silence
from paaplus.physique_head import stack_heads
from strategies.config import StrategyConfig
from strategies.full_head import FullHeadStrategy, full_rows
from strategies.full_template import IMPORTANCE
from strategies.state import CohortState
from streams.experiences import CohortExperience

METHODS = ("floor", "floor_gaussian", "cohort", "cohort_gaussian", "stock_avalanche")
ROWS, MEMORY, BATCH, EPOCHS = 64, 64, 32, 5
WIDTHS = (1285, 512, 256, 1)
CONFIG = StrategyConfig(
    learning_rate=1e-4, epochs=EPOCHS, batch_size=BATCH, memory_size=MEMORY, memory_batch_size=BATCH,
    ewc_lambda=1.0, ewc_decay=0.9, fisher="empirical",
)  # fmt: skip


class Work:
    """Inputs of all users, and what each method makes of them.

    Args:
        users: U.
        widths: Of the heads.
        seed: Of everything random.
    """

    def __init__(self, users: int, widths: tuple[int, ...], seed: int) -> None:
        torch.manual_seed(seed)
        self.users, self.model = users, Heads(widths)
        initial = stack_heads([head.state_dict() for head in self.model.heads])
        self.strategies = {
            kind: FullHeadStrategy("replay_ewc", initial, replace(CONFIG, fisher=kind))
            for kind in ("empirical", "gaussian")
        }
        self.x, self.old_x = (torch.randn(users, n, widths[0]) for n in (ROWS, MEMORY))
        self.y, self.old_y = (10 * torch.rand(users, n, A) for n in (ROWS, MEMORY))
        self.state = self.strategies["empirical"].initial_state(users)
        for key in self.state:
            if key.startswith(IMPORTANCE):
                self.state[key].uniform_()
        self.state["memory_seq"] = torch.arange(1, MEMORY + 1).repeat(users, 1)
        self.state["memory_key"] = torch.linspace(0.9, 0.8, MEMORY).double().repeat(users, 1)
        new = torch.arange(MEMORY + 1, MEMORY + ROWS + 1).repeat(users, 1)
        self.experience = CohortExperience(
            [f"u{n}" for n in range(users)],
            full_rows(self.x, self.y, new),
            full_rows(self.old_x, self.old_y, self.state["memory_seq"]),
            self.state["memory_key"],
            torch.ones(users, dtype=torch.int64),
        )
        self._out = {
            kind: {name: torch.zeros_like(tensor) for name, tensor in self.state.items()}
            for kind in self.strategies
        }
        self.shapes = [tensor.shape for tensor in initial.trained.values()]
        self._floor = Floor(self.shapes, widths[0], BATCH, ROWS // BATCH, EPOCHS)

    def stock(self, user: int) -> Callable[[], Heads]:
        """Stock Avalanche in the middle of the user's life."""
        model = Heads(tuple([*self.x.shape[2:], *(s[1] for s in self.shapes if len(s) == 3)]))
        model.load_state_dict(self.model.state_dict())
        buffer = ReservoirSamplingBuffer(MEMORY)
        ewc = EWCPlugin(CONFIG.ewc_lambda, mode="online", decay_factor=CONFIG.ewc_decay)
        with silence():
            memory = TensorDataset(self.old_x[user], self.old_y[user])
            buffer.buffer = make_avalanche_dataset(memory)
            buffer._buffer_weights = torch.linspace(0.9, 0.8, MEMORY)
            replay = ReplayPlugin(
                MEMORY, batch_size=BATCH, batch_size_mem=BATCH, storage_policy=buffer
            )
            strategy = SupervisedTemplate(
                model=model,
                optimizer=torch.optim.Adam(model.parameters(), lr=CONFIG.learning_rate),
                criterion=sum_of_means,
                train_mb_size=BATCH,
                train_epochs=EPOCHS,
                plugins=[replay, ewc],
                evaluator=EvaluationPlugin(collect_all=False),
            )
        strategy.clock.train_exp_counter = 1
        importance = stack_importance(self.state, user, model)
        for name, parameter in model.named_parameters():
            start = parameter.detach().clone()
            ewc.saved_params[0][name] = ParamData(name, init_tensor=start)
            ewc.importances[0][name] = ParamData(name, init_tensor=importance[name])

        def learn() -> Heads:
            data = make_avalanche_dataset(TensorDataset(self.x[user], self.y[user]))
            with silence():
                strategy.train(
                    DatasetExperience(dataset=data), eval_streams=[], shuffle=False,
                    reset_optimizer_state=True,
                )  # fmt: skip
            return model

        return learn

    def of(self, method: str) -> Callable[[], Any]:
        """One of `METHODS`; the cohort's are of all users, the others of the first."""
        fisher = "gaussian" if method.endswith("gaussian") else "empirical"
        if method.startswith("floor"):
            return self._floor.of(fisher)
        if method.startswith("cohort"):
            strategy, out = self.strategies[fisher], self._out[fisher]
            return lambda: strategy.train(self.experience, self.state, out)
        return self.stock(0)


def floor_of(method: str) -> str:
    """The floor of the work that a method does."""
    return "floor_gaussian" if method.endswith("gaussian") else "floor"


def stack_importance(state: CohortState, user: int, model: Heads) -> dict[str, Tensor]:
    """A user's importances under the names of the module."""
    like = stack_heads([head.state_dict() for head in model.heads])
    mine = {name: state[IMPORTANCE + name][user] for name in like.trained}
    official = replace(like, trained=mine).official()
    names = [key for key, _ in model.heads[0].named_parameters()]
    heads = sorted({key.split(".")[0] for key in official})
    return {
        f"heads.{a}.{k}": official[f"{head}.{k}"] for a, head in enumerate(heads) for k in names
    }


def measure(
    users: int = 4,
    repeat: int = 7,
    seed: int = 0,
    widths: tuple[int, ...] = WIDTHS,
    tell: Callable[[str], None] = lambda message: None,
) -> dict[str, Any]:
    """Medians over the repetitions.

    Returns:
        `rows` of method, ms_per_user, users_per_s, floor_share and ratio_to_stock; `weights_differ`: how
        far the first user's weights by stock and cohort lie apart, as a share of how far they moved. Adam
        magnifies rounding where a gradient is all but 0; in float64 a test finds them equal.
    """
    work = Work(users, widths, seed)
    spent: dict[str, list[float]] = {method: [] for method in METHODS}
    differ = 0.0
    for turn in range(repeat + 1):
        tell(f"repetition {turn} of {repeat}")
        for method, seconds in spent.items():
            many = users if method.startswith("cohort") else 1
            call = work.of(method)
            gc.collect()
            started = time.process_time()
            result = call()
            seconds.append((time.process_time() - started) / many)
            if method == "cohort":
                mine = result
            if method == "stock_avalanche":
                theirs = stack_heads([head.state_dict() for head in result.heads]).trained
                apart = sum(float((mine[k][0] - v).square().sum()) for k, v in theirs.items())
                moved = sum(float((work.state[k][0] - v).square().sum()) for k, v in theirs.items())
                differ = (apart / moved) ** 0.5
    median = {method: statistics.median(seconds[1:]) for method, seconds in spent.items()}
    rows = [
        {
            "method": method,
            "ms_per_user": round(1e3 * value, 2),
            "users_per_s": round(1 / value, 2),
            "floor_share": round(median[floor_of(method)] / value, 3),
            "ratio_to_stock": round(median["stock_avalanche"] / value, 2),
        }
        for method, value in median.items()
    ]
    return {"rows": rows, "weights_differ": differ, "threads": torch.get_num_threads()}


def main(words: list[str] | None = None) -> int:
    """Command line."""
    parser = parser_of("full_head", __doc__)
    parser.add_argument("--users", type=int, default=4, help="in the cohort")
    parser.add_argument("--repeat", type=int, default=7, help="repetitions; the median counts")
    parser.add_argument(
        "--widths", default=",".join(map(str, WIDTHS)), help="of a head, with commas"
    )
    given = parser.parse_args(words)
    torch.set_num_threads(1)
    widths = tuple(int(width) for width in given.widths.split(","))
    with working("measuring") as status:
        result = measure(given.users, given.repeat, given.seed, widths, status.update)
    columns = ("method", "ms/user", "users/s", "of the floor", "x stock")
    rows = (
        (
            row["method"], f"{row['ms_per_user']:.1f}", f"{row['users_per_s']:.1f}",
            f"{row['floor_share']:.0%}", f"{row['ratio_to_stock']:.1f}",
        )
        for row in result["rows"]
    )  # fmt: skip
    note = f"apart from stock, of the way: {result['weights_differ']:.1e}"
    return show(given.json, result, columns, rows, note, title="Full heads")


if __name__ == "__main__":
    sys.exit(main())
