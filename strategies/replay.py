"""Experience replay from a reservoir per user (Vitter 1985; Chaudhry et al. 2019)."""

from __future__ import annotations

from paaplus.population.prior import Prior
from strategies.adam import AdamStrategy
from strategies.base import Strategy
from strategies.config import StrategyConfig


def build(prior: Prior, calibration: Prior, config: StrategyConfig) -> Strategy:
    """Adam with replay."""
    return AdamStrategy("replay", prior, calibration, config, replay=True, penalty=None)
