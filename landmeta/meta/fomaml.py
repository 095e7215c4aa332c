"""First-order MAML: the meta-gradient with all second derivatives dropped.

Finn, Abbeel, Levine 2017, section 5.2 (doi:10.48550/arXiv.1703.03400): the gradient of the query
loss at the adapted parameters, taken as if φ_K did not depend on θ through curvature.
"""

from __future__ import annotations

from torch import Tensor

from landmeta.meta.hessian import plain_gradient
from landmeta.meta.inner import Batch, Loss, inner_loop, on
from landmeta.model import Params


def meta_gradient(
    loss: Loss, params: Params, support: Batch, query: Batch, *, steps: int, rate: float
) -> tuple[Tensor, Params]:
    """Query loss after adaptation, and ∇_φ L_query(φ_K). Arguments as in `maml.meta_gradient`."""
    adapted = inner_loop(loss, params, support, steps=steps, rate=rate)
    return plain_gradient(on(loss, query), adapted)
