"""MAML with the exact, second-order meta-gradient.

Finn, Abbeel, Levine 2017, *Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks*,
algorithm 2 (doi:10.48550/arXiv.1703.03400).
"""

from __future__ import annotations

import torch
from torch import Tensor

from landmeta.meta.hessian import HvpName, hessian_vector_product
from landmeta.meta.inner import Batch, Loss, on
from landmeta.meta.sweep import sweep
from landmeta.model import Params


def meta_gradient(
    loss: Loss,
    params: Params,
    support: Batch,
    query: Batch,
    *,
    steps: int,
    rate: float,
    hvp: HvpName = "exact",
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Params]:
    """Query loss after adaptation, and its gradient with respect to the meta-parameters θ.

    ∇_θ L_query(φ_K(θ)), differentiated through all K inner steps.

    Args:
        loss: scalar loss of parameters on a batch, twice differentiable.
        params: θ.
        support: what the inner loop adapts on.
        query: what the adapted parameters are judged on.
        steps: K.
        rate: α.
        hvp: how the second derivatives are had; see `landmeta.meta.hessian`.
        dtype: what the loss is computed in, if not in the parameters' own.
    """
    found = sweep(
        [on(loss, support)] * steps,
        on(loss, query),
        params,
        [dict.fromkeys(params, rate)] * steps,
        hessian_vector_product(hvp, dtype or next(iter(params.values())).dtype),
    )
    return found.loss, found.params
