"""The meta-gradient by autograd through the unrolled inner loop: the definition, taken literally.

It keeps the graphs of all K steps. `landmeta.meta.sweep` gives the same numbers in the memory of
one step; this one is what the sweep is measured and tested against.
"""

from __future__ import annotations

from torch import Tensor

from landmeta.meta.inner import Batch, Loss, gradient
from landmeta.model import Params


def meta_gradient(
    loss: Loss, params: Params, support: Batch, query: Batch, *, steps: int, rate: float
) -> tuple[Tensor, Params]:
    """Query loss after adaptation and its gradient. Arguments as in `maml.meta_gradient`."""
    theta = {name: p.detach().requires_grad_() for name, p in params.items()}
    adapted = theta
    for _ in range(steps):
        grads = gradient(loss(adapted, support), adapted, create_graph=True)
        adapted = {name: adapted[name] - rate * grads[name] for name in adapted}
    query_loss = loss(adapted, query)
    return query_loss.detach(), gradient(query_loss, theta)
