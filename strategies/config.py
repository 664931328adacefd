"""Settings of the strategies, flat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

STATES = 4
"""Version of what strategies keep at rest: states of another are trained anew."""


@dataclass(frozen=True, slots=True)
class StrategyConfig:
    """Settings; those from `learning_rate` to `prior_rows` concern the strategies trained by Adam.

    Attributes:
        form: Of exact_ewc's Fisher information: `full` keeps all and is additive, `diagonal` keeps the least
            state: the diagonal, but for the 14 axes that ratings tell most about; `low_rank` keeps `rank`
            such axes in full.
        rank: See `form`.
        forgetting: Of exact_ewc in its full form: `none`, `fixed` by `half_life`, or `drift`, when the live
            head's errors rise.
        half_life: Rows of a user after which old ones weigh half, > 0.
        learning_rate: Of Adam.
        epochs: Passes over an experience; after 60, ten ratings are not yet learned to the end.
        batch_size: New rows per step.
        memory_size: Rows that a replay memory holds.
        memory_batch_size: Memory rows added to each step.
        ewc_lambda: Strength of the EWC penalty.
        ewc_decay: 0..1, of older importances per experience.
        fisher: `gaussian`, the exact information of the rows, or `empirical`, stock Avalanche's.
        prior_rows: With `empirical`, the rows of an experience at which the prior weighs as in Bayes' rule.
        seed: Of the reservoirs.
        device: `cpu`, `cuda` or `cuda:1`, of the arithmetic. States and experiences of linear heads lie
            there; those of full heads are on the CPU and come there a chunk at a time.
        dtype: `float32` or `float64`, of the arithmetic; None: what suits the strategy.
    """

    form: Literal["full", "low_rank", "diagonal"] = "full"
    rank: int = 16
    forgetting: Literal["none", "fixed", "drift"] = "none"
    half_life: float = 200.0
    learning_rate: float = 0.05
    epochs: int = 120
    batch_size: int = 32
    memory_size: int = 64
    memory_batch_size: int = 64
    ewc_lambda: float = 1.0
    ewc_decay: float = 1.0
    fisher: Literal["gaussian", "empirical"] = "gaussian"
    prior_rows: float = 10.0
    seed: int = 0
    device: str = "cpu"
    dtype: str | None = None
