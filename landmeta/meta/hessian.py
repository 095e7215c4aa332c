"""Hessian-vector products of a loss: what the exact meta-gradient costs beyond plain gradients.

Each takes the gradient at φ too, since the sweep has kept it, and returns ∇²L(φ)·v for all of φ,
where v may cover some of φ's names only: then it is the product with v padded by zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.func import grad, jvp

from landmeta.model import Params

ParamLoss = Callable[[Params], Tensor]
"""A scalar loss as a function of parameters alone: its batch is fixed."""

HvpName = Literal["exact", "forward_over_reverse", "central", "forward"]


class Hvp(Protocol):
    """Something that multiplies a vector with the Hessian of a loss."""

    def __call__(self, loss: ParamLoss, params: Params, vector: Params, gradient: Params) -> Params:
        """Compute ∇²L(φ)·v; `gradient` is ∇L(φ)."""
        ...


def leaves(params: Params) -> Params:
    """The same values as new leaves that require gradients."""
    return {name: p.detach().requires_grad_() for name, p in params.items()}


def plain_gradient(loss: ParamLoss, params: Params) -> tuple[Tensor, Params]:
    """Value and gradient of a loss at `params`, both without a graph."""
    at = leaves(params)
    value = loss(at)
    grads = torch.autograd.grad(value, list(at.values()), materialize_grads=True)
    return value.detach(), dict(zip(at, grads, strict=True))


def norm(vector: Params) -> Tensor:
    """Euclidean norm over all entries."""
    norms = torch.stack(torch._foreach_norm(list(vector.values())))
    length: Tensor = torch.linalg.vector_norm(norms)
    return length


def reverse_over_reverse(
    loss: ParamLoss, params: Params, vector: Params, gradient: Params
) -> Params:
    """Differentiate ⟨∇L(φ), v⟩ once more (Pearlmutter 1994, doi:10.1162/neco.1994.6.1.147)."""
    at = leaves(params)
    first = torch.autograd.grad(
        loss(at), [at[name] for name in vector], create_graph=True, materialize_grads=True
    )
    product = torch.autograd.grad(
        first, list(at.values()), list(vector.values()), materialize_grads=True
    )
    return dict(zip(at, product, strict=True))


def forward_over_reverse(
    loss: ParamLoss, params: Params, vector: Params, gradient: Params
) -> Params:
    """Push v forward through the computation of ∇L (mixed mode; MixFlow-MG, arXiv:2505.00793)."""
    tangent = {name: vector.get(name, torch.zeros_like(p)) for name, p in params.items()}
    at = {name: p.detach() for name, p in params.items()}
    product: Params = jvp(grad(loss), (at,), (tangent,))[1]
    return product


class FiniteDifference:
    """Difference of gradients along v: (∇L(φ + εv) − ∇L(φ)) / ε, or the central one.

    One more plain gradient (two for the central difference), no double backward. Wrong where the
    gradient jumps: networks with ReLU or max-pooling.

    Args:
        central: use (∇L(φ + εv) − ∇L(φ − εv)) / 2ε, whose error falls as ε² and not as ε.
        reach: length ‖εv‖ of the step; see `balanced_reach`.
    """

    def __init__(self, *, central: bool, reach: float) -> None:
        self.central, self.reach = central, reach

    def __call__(self, loss: ParamLoss, params: Params, vector: Params, gradient: Params) -> Params:
        """Compute ∇²L(φ)·v; all 0 where v is 0."""
        length = norm(vector)
        if not length > 0:
            return {name: torch.zeros_like(p) for name, p in params.items()}
        step = self.reach / float(length)
        _, ahead = plain_gradient(loss, moved(params, vector, step))
        behind, width = gradient, step
        if self.central:
            _, behind = plain_gradient(loss, moved(params, vector, -step))
            width = 2 * step
        names = list(params)
        product = torch._foreach_sub([ahead[n] for n in names], [behind[n] for n in names])
        torch._foreach_div_(product, width)
        return dict(zip(names, product, strict=True))


def moved(params: Params, vector: Params, step: float) -> Params:
    """φ + step·v, where v may cover some names only."""
    values = torch._foreach_add(
        [params[name].detach() for name in vector], list(vector.values()), alpha=step
    )
    return params | dict(zip(vector, values, strict=True))


DIFFERENCES = ("central", "forward")
"""The products by differences of gradients."""


def balanced_reach(dtype: torch.dtype, *, central: bool) -> float:
    """Length of the step that balances the error of the difference against that of rounding.

    √u for forward and ½∛u for central differences, u being the precision the loss is computed in.
    On U-Nets of 0.8 to 24 million parameters, ‖φ‖ from 52 to 165, the best length in float32 and in
    bfloat16 was within a factor of 3 of it, whatever ‖φ‖ was.
    """
    precision = torch.finfo(dtype).eps
    return float(0.5 * precision ** (1 / 3) if central else precision**0.5)


def hessian_vector_product(name: HvpName, dtype: torch.dtype) -> Hvp:
    """The product by its name in the configuration, for a loss computed in `dtype`."""
    if name == "exact":
        return reverse_over_reverse
    if name == "forward_over_reverse":
        return forward_over_reverse
    central = name == "central"
    return FiniteDifference(central=central, reach=balanced_reach(dtype, central=central))
