"""Diagonal EWC in closed form: the minimum that it says it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from strategies.diagonal import CHUNK, DiagonalTemplate, diagonal_update
from streams.experiences import CohortExperience, RowBlock

D, N, OUTPUTS, NOISE = 12, 7, 3, 0.8


def draw(blocks: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(blocks, OUTPUTS, D), (blocks, D), (blocks, N, D), (blocks, N, OUTPUTS)]
    weight, precision, x, y = (
        torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes
    )
    return [weight, precision.exp(), x, y]


def test_it_is_the_minimum_of_the_ewc_objective() -> None:
    weight, precision, x, y = draw(2)
    w = torch.ones(2, N, 1, dtype=torch.float64)
    found, information = diagonal_update(weight, precision, x, y, w, NOISE)
    for output in range(OUTPUTS):

        def objective(v: np.ndarray, output: int = output) -> float:
            error = y[1, :, output].numpy() - x[1].numpy() @ v
            away = v - weight[1, output].numpy()
            return float(error @ error / NOISE + away @ (precision[1].numpy() * away))

        best = minimize(objective, np.zeros(D), method="BFGS", options={"gtol": 1e-9}).x
        np.testing.assert_allclose(found[1, output].numpy(), best, atol=1e-5)
    expected = precision + (x**2).sum(dim=1) / NOISE
    torch.testing.assert_close(information, expected)


def test_rows_of_weight_zero_teach_nothing_and_two_of_one_are_one_of_two() -> None:
    weight, precision, x, y = draw(1)
    once = torch.ones(1, N, 1, dtype=torch.float64)
    once[0, 0], once[0, 1] = 0.0, 2.0
    kept = [1, 1, *range(2, N)]
    got = diagonal_update(weight, precision, x, y, once, NOISE)
    plain = diagonal_update(weight, precision, x[:, kept], y[:, kept], torch.ones_like(once), NOISE)
    for a, b in zip(got, plain, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("users", [1, CHUNK, CHUNK + 3])
def test_a_cohort_through_avalanche_is_its_users_one_by_one(users: int) -> None:
    weight, precision, x, y = draw(users, seed=users)
    numbers = torch.arange(1, N + 1).expand(users, N)
    ones = torch.ones(users, N, OUTPUTS, dtype=torch.float64)
    nothing = RowBlock(x[:, :0], y[:, :0], ones[:, :0], numbers[:, :0])
    experience = CohortExperience(
        [f"u{u}" for u in range(users)],
        RowBlock(x, y, ones, numbers),
        nothing,
        torch.zeros(users, 0),
        torch.zeros(users, dtype=torch.int64),
    )
    template = DiagonalTemplate(weight=weight, precision=precision, noise=NOISE)
    together = template.learn(experience)
    for u in range(users):
        one = slice(u, u + 1)
        alone = diagonal_update(
            weight[one], precision[one], x[one], y[one], ones[one][:, :, :1], NOISE
        )
        torch.testing.assert_close(together[one], alone[0])
        torch.testing.assert_close(template.precision[one], alone[1])
