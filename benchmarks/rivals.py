"""The rivals: one user at a time, by stock Avalanche and by a plain loop in torch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from avalanche.benchmarks.scenarios.dataset_scenario import DatasetExperience
from avalanche.benchmarks.utils import make_avalanche_dataset
from avalanche.training.plugins import EvaluationPlugin, EWCPlugin, ReplayPlugin
from avalanche.training.plugins.ewc import ParamData
from avalanche.training.storage_policy import ReservoirSamplingBuffer
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn
from torch.utils.data import TensorDataset


@contextmanager
def silence() -> Iterator[None]:
    """Stock plugins deprecate themselves at every call, and change the filters while they do."""
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("ignore")
        yield


class StockUser:
    """Stock Avalanche with its own replay and EWC plugins, in the middle of its life.

    Args:
        weight: [o, d], and `importance` [o, d], what the first experience left.
        importance: See `weight`.
        memory_x: [M, d], and `memory_y` [M, o], the full replay memory.
        memory_y: See `memory_x`.
        learning_rate: Of Adam.
        epochs: Over the new rows.
        batch: New rows per step, and memory rows added.
        penalty: Strength of EWC.
        decay: Of importances per experience.
    """

    def __init__(
        self, weight: Tensor, importance: Tensor, memory_x: Tensor, memory_y: Tensor, *,
        learning_rate: float, epochs: int, batch: int, penalty: float, decay: float,
    ) -> None:  # fmt: skip
        self._model = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        self._model.weight.data.copy_(weight)
        buffer = ReservoirSamplingBuffer(len(memory_x))
        ewc = EWCPlugin(penalty, mode="online", decay_factor=decay)
        with silence():
            buffer.buffer = make_avalanche_dataset(TensorDataset(memory_x, memory_y))
            buffer._buffer_weights = torch.linspace(0.9, 0.8, len(memory_x))
            replay = ReplayPlugin(
                len(memory_x), batch_size=batch, batch_size_mem=batch, storage_policy=buffer
            )
            self._strategy = SupervisedTemplate(
                model=self._model,
                optimizer=torch.optim.Adam(self._model.parameters(), lr=learning_rate),
                criterion=nn.MSELoss(),
                train_mb_size=batch,
                train_epochs=epochs,
                plugins=[replay, ewc],
                evaluator=EvaluationPlugin(collect_all=False),
            )
        self._strategy.clock.train_exp_counter = 1
        ewc.saved_params[0] = {"weight": ParamData("weight", init_tensor=weight.clone())}
        ewc.importances[0] = {"weight": ParamData("weight", init_tensor=importance.clone())}

    def learn(self, x: Tensor, y: Tensor) -> Tensor:
        """The weights [o, d] after one experience of rows x [n, d] and targets y [n, o]."""
        data = make_avalanche_dataset(TensorDataset(x, y))
        experience = DatasetExperience(dataset=data)
        with silence():
            self._strategy.train(
                experience, eval_streams=[], shuffle=False, reset_optimizer_state=True
            )
        return self._model.weight.detach()


class TorchUser:
    """A loop as one would write it by hand: fused Adam, batches by slicing. Arguments as `StockUser`."""

    def __init__(
        self,
        weight: Tensor,
        importance: Tensor,
        memory_x: Tensor,
        memory_y: Tensor,
        **settings: Any,
    ) -> None:
        self._weight, self._importance = weight, importance
        self._memory = memory_x, memory_y
        self._settings = settings

    def learn(self, x: Tensor, y: Tensor) -> Tensor:
        """The weights [o, d] after one experience; importances are computed too."""
        given, size = self._settings, self._settings["batch"]
        weight = self._weight.clone().requires_grad_()
        optimizer = torch.optim.Adam([weight], lr=given["learning_rate"], fused=True)
        memory_x, memory_y = self._memory
        spans = [slice(first, first + size) for first in range(0, len(x), size)]
        for _ in range(given["epochs"]):
            for span in spans:
                rows = torch.cat([x[span], memory_x[span]])
                loss = nn.functional.mse_loss(rows @ weight.T, torch.cat([y[span], memory_y[span]]))
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                assert weight.grad is not None
                away = weight.detach() - self._weight
                weight.grad.addcmul_(self._importance, away, value=2 * given["penalty"])
                optimizer.step()
        total = torch.zeros_like(self._importance)
        for span in spans:
            loss = nn.functional.mse_loss(x[span] @ weight.T, y[span])
            (gradient,) = torch.autograd.grad(loss, weight)
            total += gradient**2
        self._importance = given["decay"] * self._importance + total / len(spans)
        return weight.detach()
