"""Online elastic weight consolidation (Kirkpatrick et al. 2017; Schwarz et al. 2018)."""

from __future__ import annotations

from paaplus.population.prior import Prior
from strategies.adam import AdamStrategy
from strategies.base import Strategy
from strategies.config import StrategyConfig
from strategies.penalties import EmpiricalEWC, GaussianEWC


def kind_of(config: StrategyConfig) -> type[GaussianEWC]:
    """The plugin for the chosen Fisher information."""
    return EmpiricalEWC if config.fisher == "empirical" else GaussianEWC


def build(prior: Prior, calibration: Prior, config: StrategyConfig) -> Strategy:
    """Adam with online EWC."""
    return AdamStrategy("ewc", prior, calibration, config, replay=False, penalty=kind_of(config))
