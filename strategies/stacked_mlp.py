"""The three-layer heads of a cohort, one per user and attribute, trained together.

Tensors are feature-major, [L, units, n] for L = U users x A attributes and n rows: products are then of
matrices as they lie in memory, and the A heads of a user, who read the same rows, share one product in the
first layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from paaplus.physique_head import BATCH_NORM_EPS, SCALE

STRIP = 128
"""Rows of a weight's gradient that are computed at a time, see `outer`."""
FEW = 40
"""Rows of a batch up to which the whole gradient is computed at once."""


class Trace(NamedTuple):
    """What the way back needs of a hidden layer.

    Attributes:
        below: [G, in, n], the layer's input for G groups of heads that share it.
        product: [L, out, n], weight times input.
        slope: [L, out], what normalisation multiplies with.
        above: [L, out, n], the layer's output.
    """

    below: Tensor
    product: Tensor
    slope: Tensor
    above: Tensor


class Share(NamedTuple):
    """What a layer's gradients are made of.

    Attributes:
        vectors: Name of the part -> [L, out], gradients.
        error: [L, out, n], derivatives by the product.
        below: [G, in, n], the layer's input.
    """

    vectors: dict[str, Tensor]
    error: Tensor
    below: Tensor


class StackedMLP(nn.Module):
    """Heads of U users with A attributes: `paaplus.physique_head.network` in eval mode, times 10.

    BatchNorm normalises by its frozen running statistics, since a single rating has none of its own; its
    affine weights are trained like all others. Dropout is off: in the official code it is a means against
    overfitting when fitting from many thousands of rows, and here EWC and replay are that.

    There is one loss per user and attribute: L = U * A, in that order.

    Args:
        users: U. There are no weights before `bind`.
        like: Name -> [A, …] as in `PhysiqueHeads.trained`: shapes, dtype.
        frozen: Name -> [A, out], running statistics, on the device to compute on.
    """

    def __init__(
        self, users: int, like: Mapping[str, Tensor], frozen: Mapping[str, Tensor]
    ) -> None:
        super().__init__()
        self._users, self._attributes = users, len(like["weight1"])
        self.names = tuple(like)
        self._hidden = len(frozen) // 2
        for name in self.names:
            empty = torch.empty(0, dtype=like[name].dtype, device=frozen["mean1"].device)
            self.register_parameter(name, nn.Parameter(empty))
        self._weights: list[Tensor] = []
        self._layers: list[list[Tensor]] = []
        self._last: list[Tensor] = []
        self._mean = [self._of_heads(frozen[f"mean{n + 1}"]) for n in range(self._hidden)]
        self._factor = [
            self._of_heads((frozen[f"variance{n + 1}"] + BATCH_NORM_EPS).rsqrt())
            for n in range(self._hidden)
        ]
        self._trace: list[Trace] = []
        self._scores = self._mean[0].new_zeros(0)
        self._found: list[Tensor] = []

    def weights(self) -> list[Tensor]:
        """The parameters in the order of the network: [L, …] each, the memory that is trained."""
        return self._weights

    def bind(self, state: Mapping[str, Tensor]) -> None:
        """Compute with the weights [U, A, …] of other users where they lie; training changes them there."""
        named = {name: state[name].flatten(0, 1) for name in self.names}
        self._weights = list(named.values())
        for parameter, weight in zip(self.parameters(), self._weights, strict=True):
            parameter.data = weight
        # By name once: looking a parameter up in a module takes as long as a small product.
        self._layers = [
            [named[f"{part}{n + 1}"] for part in ("weight", "bias", "scale", "shift")]
            for n in range(self._hidden)
        ]
        self._last = [named[f"{part}{self._hidden + 1}"] for part in ("weight", "bias")]

    def per_loss(self, values: Tensor) -> Tensor:
        """Values [U, n, A] as [L, n, 1]."""
        return self._rows(values).transpose(1, 2)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Scores [U, n, A] in 0..10 of rows x [U, n, d]."""
        self._trace, below = [], x.transpose(1, 2)
        for n in range(self._hidden):
            weight, bias, scale, shift = self._layers[n]
            product = torch.bmm(joined(weight, below), below)
            product = product.reshape(len(weight), weight.shape[1], -1)
            slope = scale * self._factor[n]
            offset = torch.addcmul(shift, bias - self._mean[n], slope)
            above = torch.addcmul(offset[:, :, None], slope[:, :, None], product).relu_()
            self._trace.append(Trace(below, product, slope, above))
            below = above
        weight, bias = self._last
        logits = torch.baddbmm(bias[:, :, None], weight, below)
        self._scores = logits.sigmoid_().mul_(SCALE)
        return self._scores.reshape(self._users, self._attributes, -1).transpose(1, 2)

    @torch.no_grad()
    def gradients(self, upstream: Tensor, less: list[Share] | None = None) -> list[Tensor]:
        """Of every parameter, [L, …]; the same memory at every call, and that of `information`.

        Args:
            upstream: [U, n, A], derivatives by the scores of the last call.
            less: Shares of the last rows to subtract.
        """
        found = self._memory()
        for n, share in enumerate(self.shares(upstream)):
            out = found[f"weight{n + 1}"]
            if less is not None and n == 0:  # the rows are the same: one product does for both
                share.error[:, :, -less[0].error.shape[2] :].sub_(less[0].error)
            outer(out, share.error, share.below)
            if less is not None and n > 0:
                out.baddbmm_(less[n].error, less[n].below.transpose(1, 2), alpha=-1)
            for part, vector in share.vectors.items():
                target = found[f"{part}{n + 1}"]
                if less is None:
                    target.copy_(vector)
                else:
                    torch.sub(vector, less[n].vectors[part], out=target)
        return self._found

    @torch.no_grad()
    def shares(self, upstream: Tensor) -> list[Share]:
        """What `gradients` are made of, by layer; a hundredth of their size."""
        error = self._rows(upstream) * self._logistic()
        shares = [Share({"bias": error.sum(dim=2)}, error, self._trace[-1].above)]
        weight = self._last[0]
        for n in reversed(range(self._hidden)):
            below, product, slope, above = self._trace[n]
            # From the one output down, a single row is on one side: no matrix product is needed.
            down = weight.transpose(1, 2)
            error = down * error if down.shape[2] == 1 else torch.bmm(down, error)
            error = torch.ops.aten.threshold_backward(error, above, 0)
            weight, bias, _, _ = self._layers[n]
            centred, total = bias - self._mean[n], error.sum(dim=2)
            along = torch.linalg.vecdot(error, product, dim=2).addcmul_(total, centred)
            error *= slope[:, :, None]
            vectors = {"shift": total, "bias": total * slope, "scale": along * self._factor[n]}
            shares.insert(0, Share(vectors, error, below))
        return shares

    @torch.no_grad()
    def information(self, w: Tensor) -> list[Tensor]:
        """Squares of every row's own gradient: the diagonal of Gauss-Newton, label-free.

        Per parameter [L, …]; the same memory at every call, and that of `gradients`.

        Args:
            w: [U, n, A], weights of the scores of the last call, >= 0.
        """
        found = self._memory()
        rows, error = self._rows(w), self._logistic()
        self._top(found, rows * error**2, self._trace[-1].above ** 2)
        weight = self._last[0]
        for n in reversed(range(self._hidden)):
            below, product, slope, above = self._trace[n]
            error = torch.ops.aten.threshold_backward(weight.transpose(1, 2) @ error, above, 0)
            weight, bias, _, _ = self._layers[n]
            squared, centred = rows * error**2, (bias - self._mean[n])[:, :, None]
            torch.sum(squared, dim=2, out=found[f"shift{n + 1}"])
            torch.mul(found[f"shift{n + 1}"], slope**2, out=found[f"bias{n + 1}"])
            along = (squared * (product + centred) ** 2).sum(dim=2)
            torch.mul(along, self._factor[n] ** 2, out=found[f"scale{n + 1}"])
            outer(found[f"weight{n + 1}"], squared * (slope**2)[:, :, None], below**2)
            error = error * slope[:, :, None]
        return self._found

    def _top(self, found: dict[str, Tensor], error: Tensor, below: Tensor) -> None:
        outer(found[f"weight{self._hidden + 1}"], error, below)
        torch.sum(error, dim=2, out=found[f"bias{self._hidden + 1}"])

    def _memory(self) -> dict[str, Tensor]:
        """Name -> [L, …], to be overwritten. One for all: the less memory, the more of it is in a cache."""
        if not self._found:
            self._found = [torch.empty_like(weight) for weight in self._weights]
        return dict(zip(self.names, self._found, strict=True))

    def _logistic(self) -> Tensor:
        """d score / d logit, [L, 1, n]."""
        return self._scores * (1 - self._scores / SCALE)

    def per_score(self, factors: Tensor) -> Tensor:
        """Factors [L] as [U, 1, A]."""
        return factors.view(self._users, 1, self._attributes)

    def _rows(self, values: Tensor) -> Tensor:
        """Values [U, n, A] as [L, 1, n]."""
        return values.transpose(1, 2).reshape(self._users * self._attributes, 1, -1)

    def _of_heads(self, statistic: Tensor) -> Tensor:
        """[A, out] for every user: [L, out]."""
        return statistic.repeat(self._users, 1)


def outer(out: Tensor, error: Tensor, below: Tensor) -> None:
    """Sum over rows of error [L, out, n] times input [G, in, n], into `out` [L, out, in].

    In strips: into memory that is in no cache, MKL then takes half as long for the 64 rows of a batch; for
    few rows it is faster without.
    """
    left, right, into = joined(error, below), below.transpose(1, 2), joined(out, below)
    if out.is_cpu and len(below) == 1 and error.shape[2] > FEW and into.shape[1] % STRIP == 0:
        left, into = (t.view(-1, STRIP, t.shape[2]) for t in (left, into))
        right = right.expand(len(into), -1, -1)
    torch.bmm(left, right, out=into)


def joined(matrices: Tensor, below: Tensor) -> Tensor:
    """Matrices [L, out, *] of heads that share their input as one [G, out * L / G, *]; a view."""
    return matrices.view(len(below), -1, matrices.shape[2])
