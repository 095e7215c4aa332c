"""The exact meta-gradient in the memory of one inner step.

Unrolled autograd keeps the graphs of all K inner steps until the outer backward. Here the inner
loop runs without graphs and keeps K gradients, each the size of the parameters; then

    v_K = ∇L_query(φ_K),    v_k = v_{k+1} − ∇²L_k(φ_k)·(α_k ⊙ v_{k+1}),    ∂L/∂α_k = −v_{k+1} ⊙ g_k

is swept back from K to 0, φ_k = φ_{k+1} + α_k ⊙ g_k being retraced on the way. v_0 is the
derivative of Finn et al. 2017 (doi:10.48550/arXiv.1703.03400) through all K steps: the same number
as unrolled autograd's, as accurate as the Hessian-vector product it is given. The derivative with
respect to rates is that of Meta-SGD (Li et al. 2017, doi:10.48550/arXiv.1707.09835).

Where losses of earlier φ_k count too, as in the multi-step loss of MAML++ (Antoniou et al. 2019,
arXiv:1810.09502), their gradients join v_k when the sweep comes past φ_k.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from landmeta.meta.hessian import Hvp, ParamLoss, plain_gradient
from landmeta.model import Params

Rates = Mapping[str, Tensor | float]
"""Rate α of each parameter that adapts: a number, or a tensor that broadcasts to the parameter.

Parameters it does not name do not adapt, but the meta-gradient reaches them all the same.
"""


@dataclass(frozen=True)
class MetaGradient:
    """What a sweep found.

    Attributes:
        loss: query loss after adaptation, and the early losses with it.
        params: its gradient with respect to θ.
        rates: per inner step, its gradient with respect to each rate that is a tensor.
    """

    loss: Tensor
    params: Params
    rates: list[Params]


def sweep(
    inner: Sequence[ParamLoss],
    query: ParamLoss,
    params: Params,
    rates: Sequence[Rates],
    hvp: Hvp | None,
    early: Mapping[int, ParamLoss] | None = None,
) -> MetaGradient:
    """Query loss after K steps of gradient descent, differentiated through all of them.

    Args:
        inner: support loss of each step; K of them, often one and the same.
        query: loss of the adapted parameters.
        params: θ.
        rates: α_k of each step.
        hvp: the Hessian-vector product, exact or by differences; None to leave curvature out, which
            is first-order MAML.
        early: losses of φ_k by k < K, the parameters after k steps, that are added to `query`.
    """
    phi = {name: p.detach() for name, p in params.items()}
    fixed = [{name: _detached(alpha) for name, alpha in rate.items()} for rate in rates]
    early = early or {}
    learned = any(isinstance(a, Tensor) for r in rates for a in r.values())
    traced = hvp is not None or learned or bool(early)
    kept: list[Params] = []
    for loss, rate in zip(inner, fixed, strict=True):
        _, grads = plain_gradient(loss, phi)
        if traced:
            kept.append(grads)
        phi = stepped(phi, grads, rate)
    value, v = plain_gradient(query, phi)
    if not traced:
        return MetaGradient(value, v, [{} for _ in fixed])
    rate_grads: list[Params] = []
    for k in reversed(range(len(kept))):
        grads, rate = kept.pop(), fixed[k]
        phi = stepped(phi, grads, rate, sign=1)
        rate_grads.append(_rate_gradient(v, grads, rate))
        if hvp is not None:
            along = {name: v[name] * alpha for name, alpha in rate.items()}
            v = _added(v, hvp(inner[k], phi, along, grads), -1)
        if k in early:
            more, gradient = plain_gradient(early[k], phi)
            value, v = value + more, _added(v, gradient, 1)
    return MetaGradient(value, v, rate_grads[::-1])


def _detached(alpha: Tensor | float) -> Tensor | float:
    return alpha.detach() if isinstance(alpha, Tensor) else alpha


def stepped(phi: Params, grads: Params, rate: Rates, *, sign: int = -1) -> Params:
    """φ − α ⊙ g: one step down, or back up again with sign 1."""
    return phi | {name: phi[name] + sign * alpha * grads[name] for name, alpha in rate.items()}


def _added(v: Params, other: Params, sign: int) -> Params:
    names = list(v)
    values = torch._foreach_add([v[n] for n in names], [other[n] for n in names], alpha=sign)
    return dict(zip(names, values, strict=True))


def _rate_gradient(v: Params, grads: Params, rate: Rates) -> Params:
    """−v ⊙ g, summed over what each rate was broadcast along."""
    return {
        name: -(v[name] * grads[name]).sum_to_size(alpha.shape)
        for name, alpha in rate.items()
        if isinstance(alpha, Tensor)
    }
