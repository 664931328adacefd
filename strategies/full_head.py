"""The full PhysiqueFrame head as a user's own: three MLPs, learned by Adam with replay and online EWC.

State per user at full width: 2,374,659 weights, as many importances with EWC, and the numbers of the replay
memory. The running statistics of BatchNorm are the checkpoint's for everybody and no part of the state.
"""

from __future__ import annotations

import torch
from torch import Tensor

from paaplus.devices import open_device
from paaplus.errors import ConfigError
from paaplus.physique_head import PhysiqueHeads
from strategies.config import StrategyConfig
from strategies.cumulative import EVERYTHING
from strategies.ewc import kind_of
from strategies.full_template import IMPORTANCE, FullHeadTemplate
from strategies.penalties import GaussianEWC, PriorPenalty
from strategies.reservoir import CohortReplay
from strategies.stacked_mlp import StackedMLP
from strategies.state import CohortState, Layout, empty_memory, gather, scatter
from streams.experiences import CohortExperience, RowBlock, span_of

REPLAYED = ("replay", "replay_ewc", "cumulative")
CONSOLIDATED = ("ewc", "replay_ewc")
NAMES = ("naive", "replay", "ewc", "replay_ewc", "cumulative")
CHUNK_BYTES = {"cpu": 32 << 20, "cuda": 4 << 30}
"""Memory for the users who are trained together, by kind of device. On a CPU, what a cache may hold: at full
width that is one user, whose products are large enough on their own."""
COPIES = 6
"""Of a head while it learns: weights, gradient, two moments, importance, anchor."""

FULL_HEAD_CONFIG = StrategyConfig(learning_rate=1e-4, epochs=5, memory_batch_size=32)
"""Adam's rate is that of the official fine-tuning."""


class FullHeadStrategy:
    """Full heads of a cohort, experience by experience. Stateless: states go in and come out.

    An experience has one block per user: x [U, n, d], y and w [U, n, A] (see `RowBlock`). The loss is, per
    attribute, the mean squared error over the observed scores, on 0..10: that of the official code (Zhong et
    al. 2025), whose learned weights of attributes are never trained. Attributes share nothing: an attribute
    without scores keeps its head to the bit.

    Memory to work in is kept from call to call, so one thread at a time may train with a strategy.
    Experiences and states lie on the CPU; users come to `config.device` a chunk at a time, so what is needed
    there does not grow with the number of users.

    Args:
        name: One of `NAMES`.
        initial: Where every user starts, e.g. by `paaplus.physique_head.load_heads`.
        config: Settings; those from `learning_rate` on matter. `prior_rows` does not.
        prior: Importance, in rows times (d score / d weight)^2, of the initial weights: a user begins as if
            they had been learned from so much (L2-SP, Li et al. 2018). 0: none, as in stock Avalanche.
        chunk: Users who are trained together; None: as many as fit `CHUNK_BYTES`.

    Raises:
        ConfigError: Unknown name, a setting out of range, or no such device.
    """

    def __init__(
        self,
        name: str,
        initial: PhysiqueHeads,
        config: StrategyConfig = FULL_HEAD_CONFIG,
        *,
        prior: float = 0.0,
        chunk: int | None = None,
    ) -> None:
        if name not in NAMES:
            raise ConfigError(f"full heads have no strategy {name!r}", f"choose one of {NAMES}")
        if prior < 0 or (chunk is not None and chunk < 1):
            raise ConfigError(f"prior {prior}, chunk {chunk}", "prior >= 0 and chunk >= 1")
        self.name = name
        self.dtype = torch.float64 if config.dtype == "float64" else torch.float32
        self.device = open_device(config.device, "strategy")
        self._initial = {k: v.to(self.dtype) for k, v in initial.trained.items()}
        self._frozen = {k: v.to(self.device, self.dtype) for k, v in initial.frozen.items()}
        self._config, self._prior = config, prior
        self.layout: Layout = {k: tuple(v.shape) for k, v in self._initial.items()}
        if name in CONSOLIDATED:
            self.layout |= {IMPORTANCE + k: tuple(v.shape) for k, v in self._initial.items()}
        numbers = sum(tensor.numel() for tensor in self._initial.values())
        room = CHUNK_BYTES.get(self.device.type, CHUNK_BYTES["cpu"])
        self.chunk = chunk or max(1, room // (numbers * COPIES * self.dtype.itemsize))
        self._learners: dict[int, FullHeadTemplate] = {}

    def initial_state(self, users: int) -> CohortState:
        """The initial weights, the prior's importance, an empty memory; on the CPU."""
        state = {k: v.expand(users, *v.shape).clone() for k, v in self._initial.items()}
        for key in self.layout.keys() - self._initial.keys():
            state[key] = torch.full_like(state[key.removeprefix(IMPORTANCE)], self._prior)
        if self.name in REPLAYED:
            state |= empty_memory(users, device="cpu")
        return state

    def train(
        self, experience: CohortExperience, state: CohortState, out: CohortState | None = None
    ) -> CohortState:
        """The state after the experience; the one that went in is unchanged.

        Args:
            experience: Of U users.
            state: Of the same.
            out: Where the new state goes: of as many users, no longer needed, and not `state`. None: into
                new memory, whose first touch takes time.

        Raises:
            ConfigError: `out` is the memory of `state`.
        """
        if out is not None and out["weight1"].data_ptr() == state["weight1"].data_ptr():
            raise ConfigError(
                "a new state may not be written over its own old one", "use two in turn"
            )
        size = self._config.batch_size
        steps = (experience.rows.counts() + size - 1) // size
        result = out or {name: torch.empty_like(tensor) for name, tensor in state.items()}
        still = torch.nonzero(steps == 0).reshape(-1)
        scatter(result, still, gather(state, still))
        # The one for full chunks is kept for the next call, for its memory; not if this one fails half-way.
        learners, self._learners = self._learners, {}
        # Only users who need as many steps learn together: padding is never a step.
        for number in sorted(set(steps.tolist()) - {0}):
            for users in torch.split(torch.nonzero(steps == number).reshape(-1), self.chunk):
                if len(users) not in learners:  # its memory serves all chunks of this size
                    learners[len(users)] = self._learner(len(users))
                self._update(learners[len(users)], experience.take(users), users, state, result)
        for learner in learners.values():
            learner.release()
        self._learners = {size: learners[size] for size in learners if size == self.chunk}
        return result

    def scores(self, state: CohortState, x: Tensor) -> Tensor:
        """Scores [U, n, A] in 0..10 of rows x [U, n, d], or [1, n, d] for all users alike."""
        parts = []
        for users in torch.split(torch.arange(len(state["weight1"]), device="cpu"), self.chunk):
            model = StackedMLP(len(users), self._initial, self._frozen)
            model.bind(self._here(state, span_of(users)))
            rows = x.expand(len(users), -1, -1) if len(x) == 1 else x[users]
            parts.append(model(rows.to(self.device, self.dtype)).to(x.device))
        return torch.cat(parts)

    def _learner(self, users: int) -> FullHeadTemplate:
        config, everything = self._config, self.name == "cumulative"
        size = EVERYTHING if everything else config.memory_size
        batch = EVERYTHING if everything else config.memory_batch_size
        replay = CohortReplay(size, batch, config.seed) if self.name in REPLAYED else None
        penalty: GaussianEWC | None = None
        if self.name in CONSOLIDATED:
            penalty = kind_of(config)([], config.ewc_lambda, config.ewc_decay)
        elif everything and self._prior:
            initial = [tensor.to(self.device) for tensor in self._initial.values()]
            anchor = [t.expand(users, *t.shape).reshape(-1, *t.shape[1:]) for t in initial]
            weighed = [torch.full_like(tensor, self._prior) for tensor in anchor]
            penalty = PriorPenalty(weighed, 1.0, 1.0, anchor)
        model = StackedMLP(users, self._initial, self._frozen)
        return FullHeadTemplate(model=model, config=config, replay=replay, penalty=penalty)

    def _update(
        self,
        learner: FullHeadTemplate,
        experience: CohortExperience,
        users: Tensor,
        state: CohortState,
        result: CohortState,
    ) -> None:
        """Train some users: their part of `state` into that of `result`."""
        span, home = span_of(users), result["weight1"]
        before = self._here(state, span)
        # Neighbours are trained where their new state lies: nothing is copied back.
        inside = isinstance(span, slice) and (home.device, home.dtype) == (self.device, self.dtype)
        after = {
            name: result[name][span] if inside else torch.empty_like(tensor)
            for name, tensor in before.items()
        }
        memory = learner.update(self._moved(experience), before, after)
        if not inside:
            for name, tensor in after.items():
                result[name][span] = tensor.to(result[name])
        scatter(result, users, memory)

    def _here(self, state: CohortState, span: slice | Tensor) -> CohortState:
        """Some users' numbers on the device; views where nothing has to be copied."""
        return {name: state[name][span].to(self.device, self.dtype) for name in self.layout}

    def _moved(self, experience: CohortExperience) -> CohortExperience:
        """The experience with its rows on the device; numbers and keys stay where they are."""

        def moved(block: RowBlock) -> RowBlock:
            x, y, w = (t.to(self.device, self.dtype) for t in (block.x, block.y, block.w))
            return RowBlock(x, y, w, block.seq)

        rows, memory = moved(experience.rows), moved(experience.memory)
        return CohortExperience(
            experience.user_ids, rows, memory, experience.memory_key, experience.step
        )


def full_rows(x: Tensor, scores: Tensor, seq: Tensor, *, weights: Tensor | None = None) -> RowBlock:
    """Rows of full heads.

    Args:
        x: [U, n, d], fused features; anything where there is no row.
        scores: [U, n, A], 0..10; NaN = not rated.
        seq: int64 [U, n], numbers of the rows, -1 where there is none.
        weights: [U, n, A], >= 0; None: 1 for every score.
    """
    given = ~scores.isnan() & (seq != -1)[:, :, None]
    w = given.to(x.dtype) if weights is None else torch.where(given, weights, 0.0).to(x.dtype)
    return RowBlock(
        torch.where((seq != -1)[:, :, None], x, 0.0), scores.nan_to_num().to(x.dtype), w, seq
    )
