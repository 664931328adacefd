"""Cumulative training: Adam on all of a user's ratings at every experience, under the prior.

What Avalanche calls `Cumulative`, with a penalty: the bound for strategies that train by gradients.
"""

from __future__ import annotations

from dataclasses import replace

from paaplus.population.prior import Prior
from strategies.adam import AdamStrategy
from strategies.base import Strategy
from strategies.config import StrategyConfig
from strategies.penalties import PriorPenalty

EVERYTHING = 2**31
"""Rows that a memory holds which forgets nothing."""


def build(prior: Prior, calibration: Prior, config: StrategyConfig) -> Strategy:
    """Adam on everything so far."""
    settings = replace(config, memory_size=EVERYTHING, memory_batch_size=EVERYTHING, ewc_lambda=1.0)
    return AdamStrategy(
        "cumulative", prior, calibration, settings, replay=True, penalty=PriorPenalty
    )
