"""Multinomial logistic regression by Newton's method, differentiated at the optimum.

Bertinetto et al. 2019 (arXiv:1805.08136, section 3.3) put logistic regression beside ridge
regression as a head, with a fixed number of Newton steps unrolled. Here the optimum

    W = argmin Σᵢ wᵢ CE(xᵢW, yᵢ) + λ/2 ‖W − W₀‖²

is found first, without a graph, and then differentiated by the implicit function theorem: one more
Newton step W − H⁻¹g, in which H and W are constants but the gradient g is a function of everything
else, is W again, and its derivative is −H⁻¹ ∂g, that of the optimum.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

STEPS = 30
"""Most Newton steps; five to ten are usual."""
TOLERANCE = 1e-6
"""What a step must promise to lower the objective by, relative to it, to be made."""


def logistic(x: Tensor, label: Tensor, weight: Tensor, penalty: Tensor, prior: Tensor) -> Tensor:
    """W, shape (feature, class), computed in float64.

    Args:
        x: (pixel, feature); with a column of ones for a bias, which is then drawn to its prior like
            the rest.
        label: (pixel,) int64.
        weight: (pixel,) of each pixel.
        penalty: λ, above 0.
        prior: W₀ (feature, class).
    """
    rows, counts, start = x.double(), weight.double(), prior.double()
    strength = penalty.double()
    with torch.no_grad():
        W = minimise(rows, label, counts, strength, start)
        factor = torch.linalg.cholesky(hessian(W, rows, counts, strength))
    g = gradient(W, rows, label, counts, strength, start)
    return (W - _divided(g, factor)).to(x.dtype)


def minimise(x: Tensor, label: Tensor, weight: Tensor, penalty: Tensor, prior: Tensor) -> Tensor:
    """Newton's method from W₀, each step halved until it lowers the objective enough."""
    W, value = prior, objective(prior, x, label, weight, penalty, prior)
    for _ in range(STEPS):
        g = gradient(W, x, label, weight, penalty, prior)
        step = _divided(g, torch.linalg.cholesky(hessian(W, x, weight, penalty)))
        promise, length = (g * step).sum(), 1.0
        if promise <= TOLERANCE * (1 + value):
            return W - step
        while True:
            tried = W - length * step
            lower = objective(tried, x, label, weight, penalty, prior)
            if lower <= value - 1e-4 * length * promise or length < 1e-6:
                break
            length /= 2
        W, value = tried, lower
    return W


def objective(
    W: Tensor, x: Tensor, label: Tensor, weight: Tensor, penalty: Tensor, prior: Tensor
) -> Tensor:
    """Σᵢ wᵢ CE(xᵢW, yᵢ) + λ/2 ‖W − W₀‖²."""
    wrong = F.cross_entropy(x @ W, label, reduction="none")
    return weight @ wrong + penalty / 2 * (W - prior).square().sum()


def gradient(
    W: Tensor, x: Tensor, label: Tensor, weight: Tensor, penalty: Tensor, prior: Tensor
) -> Tensor:
    """Xᵀ diag(w) (softmax(XW) − Y) + λ(W − W₀)."""
    apart = (x @ W).softmax(1) - F.one_hot(label, W.shape[1])
    return x.T @ (weight[:, None] * apart) + penalty * (W - prior)


def hessian(W: Tensor, x: Tensor, weight: Tensor, penalty: Tensor) -> Tensor:
    """Σᵢ wᵢ (diag(pᵢ) − pᵢpᵢᵀ) ⊗ xᵢxᵢᵀ + λI, shape (class × feature, class × feature)."""
    p = (x @ W).softmax(1)
    features, classes = W.shape
    spread = ((weight.sqrt()[:, None] * p)[:, :, None] * x[:, None]).flatten(1)
    H = -(spread.T @ spread)
    blocks = H.view(classes, features, classes, features)
    own = torch.einsum("nk,nf,ng->kfg", weight[:, None] * p, x, x)
    index = torch.arange(classes, device=x.device)
    blocks[index, :, index] += own
    H.diagonal().add_(penalty)
    return H


def _divided(g: Tensor, factor: Tensor) -> Tensor:
    """H⁻¹g by the Cholesky factor of H, in the shape of W."""
    flat = torch.cholesky_solve(g.T.reshape(-1, 1), factor)
    return flat.view(g.shape[1], g.shape[0]).T
