"""Implicit MAML: the meta-gradient from where the inner loop ends, not from its way there.

Rajeswaran, Finn, Kakade, Levine 2019, *Meta-Learning with Implicit Gradients*
(doi:10.48550/arXiv.1909.04630). The adapted parameters are the minimum of

    L_support(φ) + λ/2 · ‖φ − φ₀‖²

in φ (eq. 3), and at a minimum dφ/dφ₀ = (I + ∇²L_support(φ)/λ)⁻¹ (lemma 1). So the meta-gradient is
the solution x of (I + ∇²L_support/λ)·x = ∇L_query, found by Hessian-vector products alone
(algorithm 2). Short of a minimum the Hessian may be indefinite; a damping d added to λ in that
system works against that, at the price of a meta-gradient nearer to the first-order one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import repeat
from typing import Literal

import torch
from torch import Tensor

from landmeta.meta.hessian import Hvp, ParamLoss, plain_gradient
from landmeta.model import Params

SolverName = Literal["conjugate_gradient", "gradient_descent"]


def proximal_steps(
    losses: Iterator[ParamLoss], start: Params, rates: Mapping[str, float], strength: float
) -> Iterator[Params]:
    """Yield φ after each step φ ← φ − α·(∇L(φ) + λ·(φ − φ₀)), as long as there are losses.

    Args:
        losses: L of each step.
        start: φ₀.
        rates: α of each parameter that adapts.
        strength: λ.
    """
    start = {name: p.detach() for name, p in start.items()}
    phi = start
    for loss in losses:
        _, grads = plain_gradient(loss, phi)
        phi = phi | {
            name: phi[name] - alpha * (grads[name] + strength * (phi[name] - start[name]))
            for name, alpha in rates.items()
        }
        yield phi


def meta_gradient(
    support: ParamLoss,
    query: ParamLoss,
    phi: Params,
    adapting: list[str],
    hvp: Hvp,
    strength: float,
    solver: SolverName,
    iterations: int,
) -> tuple[Tensor, Params]:
    """Query loss at φ, and its gradient with respect to φ₀ as if φ were the minimum.

    Parameters b that do not adapt act on where the minimum a lies: theirs is
    ∂L_query/∂b − ∇²_ba L_support·x / λ.

    Args:
        support: what the inner loop goes down.
        query: loss of the adapted parameters.
        phi: where the inner loop ended.
        adapting: names of the parameters that adapt.
        hvp: Hessian-vector product.
        strength: λ + d.
        solver: of the linear system.
        iterations: of it; each takes one product.
    """
    phi = {name: p.detach() for name, p in phi.items()}
    _, at_phi = plain_gradient(support, phi)
    value, gradient = plain_gradient(query, phi)
    sizes = [phi[name].numel() for name in adapting]

    def named(flat: Tensor) -> Params:
        parts = zip(adapting, torch.split(flat, sizes), strict=True)
        return {name: part.view_as(phi[name]) for name, part in parts}

    def flat(params: Params) -> Tensor:
        return torch.cat([params[name].flatten() for name in adapting])

    def system(x: Tensor) -> Tensor:
        return x + flat(hvp(support, phi, named(x), at_phi)) / strength

    solve = conjugate_gradient if solver == "conjugate_gradient" else gradient_descent
    x = solve(system, flat(gradient), iterations)
    found = gradient
    if len(adapting) < len(phi):
        product = hvp(support, phi, named(x), at_phi)
        found = {name: gradient[name] - product[name] / strength for name in gradient}
    return value, found | named(x)


def conjugate_gradient(
    system: Callable[[Tensor], Tensor], right: Tensor, iterations: int
) -> Tensor:
    """Solve A·x = b approximately for a symmetric A (Hestenes and Stiefel 1952), from x = b.

    It stops where A is not positive along its way: there is no minimum to go to.
    """
    x = right
    residual = right - system(x)
    along = residual
    size = residual @ residual
    for _ in repeat(None, iterations - 1):
        product = system(along)
        curvature = along @ product
        if not (curvature > 0 and size > 0):
            break
        step = size / curvature
        x = x + step * along
        residual = residual - step * product
        before, size = size, residual @ residual
        along = residual + size / before * along
    return x


def gradient_descent(system: Callable[[Tensor], Tensor], right: Tensor, iterations: int) -> Tensor:
    """The same by steepest descent on ½·xᵀAx − bᵀx, each step as long as is best."""
    x = right
    residual = right - system(x)
    for _ in repeat(None, iterations - 1):
        product = system(residual)
        curvature = residual @ product
        if not curvature > 0:
            break
        step = (residual @ residual) / curvature
        x = x + step * residual
        residual = residual - step * product
    return x
