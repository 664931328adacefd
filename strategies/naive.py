"""Plain fine-tuning by Adam (Kingma & Ba 2015): the lower bound that forgets."""

from __future__ import annotations

from paaplus.population.prior import Prior
from strategies.adam import AdamStrategy
from strategies.base import Strategy
from strategies.config import StrategyConfig


def build(prior: Prior, calibration: Prior, config: StrategyConfig) -> Strategy:
    """Adam alone."""
    return AdamStrategy("naive", prior, calibration, config, replay=False, penalty=None)
