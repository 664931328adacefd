"""The cohort template over full heads: bound to users' states where they lie, one chunk after the other."""

from __future__ import annotations

import torch
from torch import Tensor

from strategies.config import StrategyConfig
from strategies.penalties import GaussianEWC
from strategies.reservoir import CohortReplay
from strategies.stacked_mlp import StackedMLP
from strategies.state import MEMORY, CohortState
from strategies.template import CohortTemplate
from streams.experiences import CohortExperience

IMPORTANCE = "importance."
"""In front of a parameter's name: its importance in the state."""


class FullHeadTemplate(CohortTemplate):
    """The cohort template over full heads of always as many users; its memory is made once.

    Args:
        model: Of the users.
        config: Settings.
        replay: The replay plugin, if any.
        penalty: The kind of EWC, if any; its importances come with the users.
    """

    def __init__(
        self,
        *,
        model: StackedMLP,
        config: StrategyConfig,
        replay: CohortReplay | None,
        penalty: GaussianEWC | None,
    ) -> None:
        super().__init__(
            weight=model,
            learning_rate=config.learning_rate,
            epochs=config.epochs,
            batch_size=config.batch_size,
            plugins=[plugin for plugin in (replay, penalty) if plugin is not None],
        )
        self._replay, self._penalty = replay, penalty

    def update(
        self, experience: CohortExperience, before: CohortState, after: CohortState
    ) -> dict[str, Tensor]:
        """Train users from their state before, left as it is, into the memory of `after`.

        Returns:
            The replay memory after the experience, if there is one.
        """
        for name in (names := self.model.names):
            after[name].copy_(before[name])
        self.model.bind(after)
        if IMPORTANCE + names[0] in before and self._penalty is not None:
            keys = [IMPORTANCE + name for name in names]
            old, anchor, new = (
                [state[key].flatten(0, 1) for key in some]
                for state, some in ((before, keys), (before, names), (after, keys))
            )
            self._penalty.bind(old, anchor, new)
        self.learn(experience)
        if self._replay is None or self._replay.memory is None:
            return {}
        return dict(zip(MEMORY, self._replay.memory, strict=True))

    def release(self) -> None:
        """Hold no users' states: only memory of its own, for those who come next."""
        nothing = torch.empty(0, 0, dtype=self.parameters[0].dtype, device=self.device)
        self.model.bind(dict.fromkeys(self.model.names, nothing))
        if self._penalty is not None:
            self._penalty.bind([], [], [])
        self.experience = None
