"""One user's full heads as official modules, for stock Avalanche to train."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paaplus.physique_head import SCALE, network

HEADS = 3


class Heads(nn.Module):
    """One user's heads as the official modules, with frozen statistics and no dropout."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(network(widths) for _ in range(HEADS))

    def forward(self, x: Tensor) -> Tensor:
        """Scores [n, A] of rows [n, d]."""
        return SCALE * torch.cat([head(x) for head in self.heads], dim=1)

    def train(self, mode: bool = True) -> Heads:
        """Never in training mode."""
        super().train(False)
        return self


def sum_of_means(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error per attribute, summed."""
    return (output - target).square().mean(dim=0).sum()
