"""Bayesian linear regression with a learned prior.

Harrison, Sharma, Pavone 2018, *Meta-learning priors for efficient online Bayesian regression*
(ALPaCA, arXiv:1807.08912), section 3: targets y = Kᵀx + ε with ε ~ N(0, σ²I), prior
K ~ MN(K₀, Λ₀⁻¹, σ²I). Given pixels, with weights w that say how often each was seen,

    Λ = XᵀwX + Λ₀,    K̄ = Λ⁻¹(XᵀwY + Λ₀K₀)                                    (equation 6)
    y | x ~ N(K̄ᵀx, σ²(1 + xᵀΛ⁻¹x) I)                                          (equations 7, 8)

K₀, Λ₀ = LLᵀ and σ² are learned.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Posterior:
    """What is known of the regression.

    Attributes:
        mean: K̄ (feature, class).
        root: (feature, feature) R with Λ⁻¹ = RRᵀ.
    """

    mean: Tensor
    root: Tensor


def lower_root(entries: Tensor) -> Tensor:
    """L: the lower triangle of `entries`, with the exponentials of its diagonal on the diagonal."""
    return entries.tril(-1) + entries.diagonal().exp().diag()


def posterior(x: Tensor, y: Tensor, weight: Tensor, prior: Tensor, L: Tensor) -> Posterior:
    """The posterior, computed in float64.

    Args:
        x: (pixel, feature); with a column of ones for a bias.
        y: (pixel, class) targets.
        weight: (pixel,).
        prior: K₀ (feature, class).
        L: (feature, feature) lower triangular with Λ₀ = LLᵀ.
    """
    rows, start, root = x.double(), prior.double(), L.double()
    weighted = weight.double()[:, None] * rows
    precision = rows.T @ weighted + root @ root.T
    factor = torch.linalg.cholesky(precision)
    # K̄ − K₀ is what the rest Y − XK₀ says.
    mean = start + torch.cholesky_solve(weighted.T @ (y.double() - rows @ start), factor)
    eye = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
    inverse = torch.linalg.solve_triangular(factor, eye, upper=False)
    return Posterior(mean.to(x.dtype), inverse.T.to(x.dtype))


def spread(features: Tensor, root: Tensor) -> Tensor:
    """xᵀΛ⁻¹x of features (tile, feature, row, col) and one, shape (tile, row, col).

    Args:
        features: without the column of ones.
        root: R of the posterior, its last row for the bias.
    """
    seen = torch.einsum("fg,tfrc->tgrc", root[:-1], features) + root[-1][:, None, None]
    return seen.square().sum(1)
