"""EWC in one exact step: the minimum that it says it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import block_diag
from scipy.optimize import minimize
from torch import Tensor

from strategies import woodbury
from strategies.woodbury import CompactTemplate, exact_step
from streams.experiences import CohortExperience, RowBlock

M, N, OUTPUTS = 12, 7, 3


def draw(blocks: int, rank: int, seed: int = 0) -> dict[str, Tensor]:
    """Arguments of `exact_step`; weights of the rows differ, one is 0."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    half = normal(blocks, rank, rank)
    w = normal(blocks, N, 1).exp()
    w[:, 2] = 0.0
    return {
        "weight": normal(blocks, OUTPUTS, M),
        "block": half @ half.mT + torch.eye(rank, dtype=torch.float64),
        "diagonal": normal(blocks, M - rank).exp(),
        "x": normal(blocks, N, M),
        "y": normal(blocks, N, OUTPUTS),
        "w": w,
        "noise": normal(blocks).exp(),
    }


@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("rank", [0, 4, M])
def test_it_is_the_minimum_of_the_ewc_objective(rank: int, alike: bool) -> None:
    given = draw(2, rank)
    if alike:
        given["w"] = torch.ones_like(given["w"])
    found, block, diagonal = exact_step(**given)
    weight, x, y, w = (given[name][1].numpy() for name in ("weight", "x", "y", "w"))
    noise = float(given["noise"][1])
    precision = block_diag(given["block"][1].numpy(), np.diag(given["diagonal"][1].numpy()))
    for output in range(OUTPUTS):

        def objective(v: np.ndarray, output: int = output) -> float:
            error, away = y[:, output] - x @ v, v - weight[output]
            return float(w[:, 0] @ error**2 / noise + away @ precision @ away)

        best = minimize(objective, np.zeros(M), method="BFGS", options={"gtol": 1e-9}).x
        np.testing.assert_allclose(found[1, output].numpy(), best, atol=1e-5)
    after = precision + x.T @ (w * x) / noise
    np.testing.assert_allclose(block[1].numpy(), after[:rank, :rank])
    np.testing.assert_allclose(diagonal[1].numpy(), np.diag(after)[rank:])


def test_rows_of_weight_zero_teach_nothing_and_two_of_one_are_one_of_two() -> None:
    given = draw(1, 4)
    given["w"] = torch.ones_like(given["w"])
    twice = dict(given)
    twice["w"] = given["w"].clone()
    twice["w"][0, 0], twice["w"][0, 1] = 0.0, 2.0
    kept = [1, 1, *range(2, N)]
    plain = given | {name: given[name][:, kept] for name in ("x", "y", "w")}
    for a, b in zip(exact_step(**twice), exact_step(**plain), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("users", [1, 4, 7])
def test_a_cohort_through_avalanche_is_its_users_one_by_one(
    users: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        woodbury.CHUNK_BYTES, "cpu", 4 * N * M * 8
    )  # 4 blocks at once, then the rest
    given = draw(users, 5, seed=users)
    numbers = torch.arange(1, N + 1).expand(users, N)
    x, y, w = given["x"], given["y"], given["w"].expand(-1, -1, OUTPUTS)
    experience = CohortExperience(
        [f"u{u}" for u in range(users)],
        RowBlock(x, y, w, numbers),
        RowBlock(x[:, :0], y[:, :0], w[:, :0], numbers[:, :0]),
        torch.zeros(users, 0),
        torch.zeros(users, dtype=torch.int64),
    )
    parts = ("weight", "block", "diagonal", "noise")
    template = CompactTemplate(**{name: given[name] for name in parts})
    together = template.learn(experience), template.block, template.diagonal
    for u in range(users):
        alone = exact_step(**{name: tensor[u : u + 1] for name, tensor in given.items()})
        for all_users, own in zip(together, alone, strict=True):
            torch.testing.assert_close(all_users[u : u + 1], own)
