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
from strategies.products import joined, outer

SHARED = ("error", "above")
"""Parts of a hidden layer's memory of which shares are made."""


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
        self._spaces: dict[tuple[int, str, tuple[int, ...]], Tensor] = {}

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
            shape = (*weight.shape[:2], below.shape[2])
            product, above = (self._space(n, part, shape) for part in ("product", "above"))
            torch.bmm(joined(weight, below), below, out=joined(product, below))
            slope = scale * self._factor[n]
            offset = torch.addcmul(shift, bias - self._mean[n], slope)
            # Two passes: `addcmul` of a vector along the rows is not vectorised.
            torch.mul(product, slope[:, :, None], out=above).add_(offset[:, :, None]).relu_()
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
        for n, share in enumerate(self._shares(upstream)):
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
        """What `gradients` are made of, by layer, for good; a hundredth of their size."""
        shares = self._shares(upstream)
        self._spaces = {key: kept for key, kept in self._spaces.items() if key[1] not in SHARED}
        return shares

    def _shares(self, upstream: Tensor) -> list[Share]:
        error = self._rows(upstream) * self._logistic()
        shares = [Share({"bias": error.sum(dim=2)}, error, self._trace[-1].above)]
        weight = self._last[0]
        for n in reversed(range(self._hidden)):
            below, product, slope, _ = self._trace[n]
            error = self._down(n, weight, error)
            weight, bias, _, _ = self._layers[n]
            centred, total = bias - self._mean[n], error.sum(dim=2)
            along = torch.mul(error, product, out=self._space(n, "along", error.shape))
            along = along.sum(dim=2).addcmul_(total, centred)
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
        top, squared = self._hidden + 1, rows * error**2
        torch.sum(squared, dim=2, out=found[f"bias{top}"])
        outer(found[f"weight{top}"], squared, self._square(self._hidden, self._trace[-1].above))
        weight = self._last[0]
        for n in reversed(range(self._hidden)):
            below, product, slope, above = self._trace[n]
            error = self._down(n, weight, error)
            weight, bias, _, _ = self._layers[n]
            squared, along = (self._space(n, part, above.shape) for part in ("squared", "along"))
            torch.mul(error, error, out=squared).mul_(rows)
            torch.sum(squared, dim=2, out=found[f"shift{n + 1}"])
            torch.mul(found[f"shift{n + 1}"], slope**2, out=found[f"bias{n + 1}"])
            torch.add(product, (bias - self._mean[n])[:, :, None], out=along).square_()
            torch.sum(along.mul_(squared), dim=2, out=found[f"scale{n + 1}"])
            found[f"scale{n + 1}"].mul_(self._factor[n] ** 2)
            squared.mul_((slope**2)[:, :, None])
            outer(found[f"weight{n + 1}"], squared, self._square(n, below))
            error.mul_(slope[:, :, None])
        return self._found

    def _down(self, n: int, weight: Tensor, error: Tensor) -> Tensor:
        """Derivatives by what hidden layer n puts out before its relu, of those by what reads it."""
        above, down = self._trace[n].above, weight.transpose(1, 2)
        here = self._space(n, "error", above.shape)
        # From the one output down, a single row is on one side: no matrix product is needed.
        (torch.mul if down.shape[2] == 1 else torch.bmm)(down, error, out=here)
        torch.ops.aten.threshold_backward.grad_input(here, above, 0, grad_input=here)
        return here

    def _square(self, n: int, below: Tensor) -> Tensor:
        """Squares of what layer n reads, in the order in which that lies in memory."""
        if n == 0:
            rows = below.transpose(1, 2)
            return torch.mul(rows, rows, out=self._space(n, "below", rows.shape)).transpose(1, 2)
        return torch.mul(below, below, out=self._space(n, "below", below.shape))

    def _space(self, layer: int, part: str, shape: tuple[int, ...]) -> Tensor:
        """Memory of a hidden layer, made once: its first touch may take longer than what goes in."""
        key = (layer, part, shape)
        if key not in self._spaces:
            self._spaces[key] = self._mean[0].new_empty(shape)
        return self._spaces[key]

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
