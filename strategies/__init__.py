"""Continual-learning strategies over cohorts of users. Torch and Avalanche load when one is built."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from paaplus.errors import ConfigError
from strategies.config import StrategyConfig
from strategies.plugins import check_plugins

if TYPE_CHECKING:
    from paaplus.population.prior import Prior
    from strategies.base import Strategy

STRATEGIES = {
    "naive": "strategies.naive",
    "replay": "strategies.replay",
    "ewc": "strategies.ewc",
    "replay_ewc": "strategies.replay_ewc",
    "exact_ewc": "strategies.exact_ewc",
    "cumulative": "strategies.cumulative",
    "joint": "strategies.joint",
}
"""Name -> module with its `build`. A fixed table: a name from a file is never imported as such."""


def build_strategy(
    name: str, prior: Prior, calibration: Prior, config: StrategyConfig | None = None
) -> Strategy:
    """A strategy by name.

    Args:
        name: One of `STRATEGIES`.
        prior: Of the heads, m regressors.
        calibration: Of [1, p, delta].
        config: Settings; None for the defaults.

    Raises:
        ConfigError: Unknown name, or no such device.
    """
    if name not in STRATEGIES:
        raise ConfigError(f"strategy {name!r} is unknown", f"choose one of {sorted(STRATEGIES)}")
    module = import_module(STRATEGIES[name])
    strategy: Strategy = module.build(prior, calibration, config or StrategyConfig())
    return strategy


__all__ = ["STRATEGIES", "StrategyConfig", "build_strategy", "check_plugins"]
