"""How many users one core updates per second: the cohort engine against stock Avalanche, on the same work.

The work of one user: a linear head d -> 3 learns an experience of 64 ratings in 5 epochs of batches of 32,
each with 32 rows of a full replay memory of 64, under online EWC, by Adam. It is every user's second
experience, so that memory and importances are in use. `closed_form` learns the same 64 ratings by one exact
step of the diagonal form (with its leading block), without a memory.

Each method learns a sample of the users per repetition; repetitions of the methods take turns, so that a
slow spell of the machine meets all alike. The weights of the three Adam methods are compared at the end.

Full PhysiqueFrame heads follow, against stock and the machine's floor: see `benchmarks.full_head`.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks import full_head
from benchmarks.frame import parser_of, show, working
from benchmarks.rivals import StockUser, TorchUser
from strategies.compact import LEADING
from strategies.penalties import EmpiricalEWC
from strategies.reservoir import CohortReplay
from strategies.template import CohortTemplate
from strategies.woodbury import CompactTemplate
from streams.experiences import CohortExperience, RowBlock

ROWS, OUTPUTS, EPOCHS, BATCH, MEMORY = 64, 3, 5, 32, 64
LEARNING_RATE, PENALTY, DECAY, NOISE = 0.01, 1.0, 0.9, 1.0
COHORT = {"cohort_adam": {128: 256, 1024: 64}, "closed_form": {128: 1024, 1024: 512}}
"""Users in a cohort, by method and width: Adam comes back to the rows in every epoch and is fastest where
they stay in the cache; the closed form passes over them once."""


@dataclass(frozen=True, slots=True)
class Work:
    """Inputs of all users: rows, memory rows and what the first experience left behind.

    Attributes:
        x: [U, ROWS, d], and `y` [U, ROWS, OUTPUTS], the new ratings.
        y: See `x`.
        memory_x: [U, MEMORY, d], and `memory_y` [U, MEMORY, OUTPUTS].
        memory_y: See `memory_x`.
        weight: [U, OUTPUTS, d], and `importance` of the same shape, >= 0.
        importance: See `weight`.
    """

    x: Tensor
    y: Tensor
    memory_x: Tensor
    memory_y: Tensor
    weight: Tensor
    importance: Tensor


def make_work(users: int, width: int, seed: int) -> Work:
    """Random work; float32."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    truth = normal(users, OUTPUTS, width) / width**0.5
    x, memory_x = normal(users, ROWS, width), normal(users, MEMORY, width)
    return Work(
        x,
        5 + x @ truth.transpose(1, 2) + 0.5 * normal(users, ROWS, OUTPUTS),
        memory_x,
        5 + memory_x @ truth.transpose(1, 2) + 0.5 * normal(users, MEMORY, OUTPUTS),
        truth + 0.1 * normal(users, OUTPUTS, width) / width**0.5,
        normal(users, OUTPUTS, width).square(),
    )


def experience_of(work: Work, first: int, count: int) -> CohortExperience:
    """Users first..first + count as one cohort."""
    part = slice(first, first + count)
    ones = torch.ones(count, ROWS, OUTPUTS)
    numbers = torch.arange(MEMORY + 1, MEMORY + ROWS + 1).expand(count, ROWS)
    held = torch.arange(1, MEMORY + 1).expand(count, MEMORY)
    return CohortExperience(
        [f"u{n}" for n in range(first, first + count)],
        RowBlock(work.x[part], work.y[part], ones, numbers),
        RowBlock(work.memory_x[part], work.memory_y[part], ones, held),
        torch.linspace(0.9, 0.8, MEMORY, dtype=torch.float64).expand(count, MEMORY),
        torch.ones(count, dtype=torch.int64),
    )


def cohort_adam(work: Work, first: int, count: int) -> Tensor:
    """The product's engine."""
    part = slice(first, first + count)
    ewc = EmpiricalEWC([work.importance[part].clone()], PENALTY, DECAY)
    template = CohortTemplate(
        weight=work.weight[part],
        learning_rate=LEARNING_RATE,
        epochs=EPOCHS,
        batch_size=BATCH,
        plugins=[CohortReplay(MEMORY, BATCH, seed=0), ewc],
    )
    return template.learn(experience_of(work, first, count))


def closed_form(work: Work, first: int, count: int) -> Tensor:
    """The product's exact EWC in its diagonal form."""
    part = slice(first, first + count)
    precision = 1.0 + work.importance[part].mean(dim=1)
    template = CompactTemplate(
        weight=work.weight[part],
        block=torch.diag_embed(precision[:, :LEADING]),
        diagonal=precision[:, LEADING:],
        noise=torch.full((count,), NOISE),
    )
    return template.learn(experience_of(work, first, count))


def one_by_one(
    kind: type[StockUser] | type[TorchUser], work: Work, first: int, count: int
) -> Tensor:
    """A rival: one strategy object or loop per user. Making the object is not timed, see `_timed`."""
    users = [
        kind(
            work.weight[u], work.importance[u], work.memory_x[u], work.memory_y[u],
            learning_rate=LEARNING_RATE, epochs=EPOCHS, batch=BATCH, penalty=PENALTY, decay=DECAY,
        )
        for u in range(first, first + count)
    ]  # fmt: skip
    _resume()
    return torch.stack(
        [user.learn(work.x[u], work.y[u]) for u, user in enumerate(users, start=first)]
    )


METHODS: dict[str, Callable[[Work, int, int], Tensor]] = {
    "stock_avalanche": lambda work, first, count: one_by_one(StockUser, work, first, count),
    "torch_loop": lambda work, first, count: one_by_one(TorchUser, work, first, count),
    "cohort_adam": cohort_adam,
    "closed_form": closed_form,
}

_started = 0.0


def _resume() -> None:
    global _started
    _started = time.perf_counter()


def _timed(method: str, work: Work, first: int, count: int) -> tuple[float, Tensor]:
    """Seconds per user, and the weights."""
    gc.collect()
    _resume()
    weights = METHODS[method](work, first, count)
    return (time.perf_counter() - _started) / count, weights


def measure(
    widths: list[int], repeat: int, seed: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Medians over the repetitions.

    Returns:
        `rows` of method, d, users_per_s and ratio_to_stock; `weights_differ`: per d, the largest
        difference of any weight between the Adam methods.
    """
    rows: list[dict[str, Any]] = []
    differ: dict[str, float] = {}
    for width in widths:
        sample = {"stock_avalanche": 8, "torch_loop": 16}
        sample |= {method: sizes.get(width, 64) for method, sizes in COHORT.items()}
        work = make_work(max(sample.values()), width, seed)
        for method, count in sample.items():
            _timed(method, work, 0, count)  # the first call builds what later ones find
        seconds: dict[str, list[float]] = {method: [] for method in METHODS}
        weights: dict[str, Tensor] = {}
        for turn in range(repeat):
            tell(f"d = {width}: repetition {turn + 1} of {repeat}")
            for method, count in sample.items():
                spent, weights[method] = _timed(method, work, 0, count)
                seconds[method].append(spent)
        fewest = min(sample.values())
        stock = weights["stock_avalanche"][:fewest]
        differ[str(width)] = max(
            float((weights[method][:fewest] - stock).abs().max())
            for method in ("torch_loop", "cohort_adam")
        )
        base = statistics.median(seconds["stock_avalanche"])
        for method in METHODS:
            median = statistics.median(seconds[method])
            rows.append(
                {
                    "method": method,
                    "d": width,
                    "users_per_s": round(1 / median, 1),
                    "ratio_to_stock": round(base / median, 2),
                }
            )
    return {"rows": rows, "weights_differ": differ, "threads": torch.get_num_threads()}


def main(words: list[str] | None = None) -> int:
    """Command line."""
    parser = parser_of("update_speed", __doc__)
    parser.add_argument("--d", default="128,1024", help="widths of the head, with commas")
    parser.add_argument(
        "--repeat", type=int, default=9, help="repetitions, of which the median counts"
    )
    given = parser.parse_args(words)
    torch.set_num_threads(1)
    widths = [int(d) for d in given.d.split(",")]
    with working("measuring") as status:
        result = measure(widths, given.repeat, given.seed, status.update)
        result["full_head"] = full_head.measure(seed=given.seed, tell=status.update)
    columns = ("method", "d", "users/s", "x stock Avalanche")
    rows = (
        (
            row["method"], str(row["d"]), f"{row['users_per_s']:,.0f}",
            f"{row['ratio_to_stock']:.1f}",
        )
        for row in result["rows"]
    )  # fmt: skip
    notes = [f"largest difference of the Adam methods' weights: {result['weights_differ']}"]
    notes += [
        f"full heads, {row['method']}: {row['users_per_s']:.1f} users/s, "
        f"{row['ratio_to_stock']:.1f} x stock, {row['floor_share']:.0%} of the floor"
        for row in result["full_head"]["rows"]
    ]
    return show(given.json, result, columns, rows, *notes, title="Updates per core")


if __name__ == "__main__":
    sys.exit(main())
