"""What the machine allows full heads: only the products and passes over memory that learning them needs.

All in memory that is there already, by the fastest operations of torch that were found; the engine's own
product for gradients of weights, in strips, is one of them. Per step:

- the products of new and replayed rows: forward, backward by weights, and by the inputs of all layers but the
  first. The heads of a user read the same rows, so the first layer is one product;
- the gradient of EWC's penalty, importance * (weight - anchor), added to the gradient: importance and anchor
  are read, nothing else can stand for them. An operation of four operands does not exist in torch; so the
  difference is taken in blocks that stay in the cache. Doing Adam in the same blocks was slower;
- fused Adam over all parameters.

Per experience:

- the weights are copied once, for a state that goes in stays as it is;
- with stock's Fisher: the same products for each batch of new rows alone, since it is taken at the weights
  after the experience; for the first, a pass from the old importances to new memory, then one in place;
- with the Gaussian Fisher: products of squares of all new rows, and one pass from the old importances to new
  memory. Before the first step, for each batch, the same products of its replayed rows, which are not to be
  penalised twice, and one pass that subtracts their information from the importances.

Not in it, since a kernel could do it while the numbers are in registers: activations, normalisation, loss,
gradients of vectors' sums, decay; making Adam's moments 0; and all bookkeeping. Nor is what it costs to bring
the next user's state from memory into the cache: one user's work is done over and over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from strategies.penalties import blocks
from strategies.products import joined, outer


class Floor:
    """One user's products and passes.

    Args:
        shapes: Of the parameters, [A, …].
        width: Of a row.
        batch: New rows per step; as many are replayed.
        steps: Per epoch.
        epochs: Per experience.
    """

    def __init__(
        self, shapes: Sequence[torch.Size], width: int, batch: int, steps: int, epochs: int
    ) -> None:
        self._steps, self._epochs, self._batch = steps, epochs, batch
        self._weight, self._gradient, self._importance, self._anchor, self._after = (
            [torch.rand(shape) for shape in shapes] for _ in range(5)
        )
        parameters = [nn.Parameter(weight) for weight in self._weight]
        for parameter, value in zip(parameters, self._gradient, strict=True):
            parameter.grad = value
        self._adam = torch.optim.Adam(parameters, lr=1e-6, fused=True)
        self._adam.step()  # makes its moments
        self._at = [n for n, shape in enumerate(shapes) if len(shape) == 3]
        sizes = {batch, 2 * batch, steps * batch}
        self._x = {n: torch.rand(1, n, width) for n in sizes}
        self._z = {n: [torch.rand(*shapes[at][:2], n) for at in self._at] for n in sizes}
        memory = (self._gradient, self._importance, self._weight, self._anchor)
        self._blocks = list(zip(*map(blocks, memory), strict=True))

    def of(self, fisher: str) -> Callable[[], None]:
        """The work with a Fisher information: empirical or gaussian."""
        return self._empirical if fisher == "empirical" else self._gaussian

    def _empirical(self) -> None:
        self._learn()
        for step in range(self._steps):
            self._products(self._batch)
            before = self._after if step else self._importance
            for old, g, new in zip(before, self._gradient, self._after, strict=True):
                torch.addcmul(old, g, g, value=1e-6, out=new)

    def _gaussian(self) -> None:
        for _ in range(self._steps):
            self._products(self._batch)
            for old, g, new in zip(self._importance, self._gradient, self._after, strict=True):
                torch.sub(old, g, out=new)
        self._learn()
        self._products(self._steps * self._batch)
        for old, g, new in zip(self._importance, self._gradient, self._after, strict=True):
            torch.add(old, g, out=new)

    def _learn(self) -> None:
        for weight, copy in zip(self._weight, self._after, strict=True):
            copy.copy_(weight)
        for _ in range(self._epochs * self._steps):
            self._products(2 * self._batch)
            for g, importance, weight, anchor in self._blocks:
                g.addcmul_(importance, weight - anchor, value=1e-6)
            self._adam.step()

    def _products(self, n: int) -> None:
        """Of n rows, forward and backward."""
        weight, gradient = ([of[at] for at in self._at] for of in (self._weight, self._gradient))
        x, z = self._x[n], self._z[n]
        first = joined(z[0], x)
        torch.bmm(joined(weight[0], x), x.mT, out=first)
        for layer in range(1, len(z)):
            torch.bmm(weight[layer], z[layer - 1], out=z[layer])
        for layer in reversed(range(1, len(z))):
            outer(gradient[layer], z[layer], z[layer - 1])
            torch.bmm(weight[layer].mT, z[layer], out=z[layer - 1])
        outer(gradient[0], z[0], x.mT)
