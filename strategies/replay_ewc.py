"""Replay and online EWC together (Vitter 1985; Schwarz et al. 2018)."""

from __future__ import annotations

from paaplus.population.prior import Prior
from strategies.adam import AdamStrategy
from strategies.base import Strategy
from strategies.config import StrategyConfig
from strategies.ewc import kind_of


def build(prior: Prior, calibration: Prior, config: StrategyConfig) -> Strategy:
    """Adam with replay and online EWC."""
    return AdamStrategy(
        "replay_ewc", prior, calibration, config, replay=True, penalty=kind_of(config)
    )
