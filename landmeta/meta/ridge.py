"""Ridge regression on one-hot targets, in closed form and differentiable.

Bertinetto, Henriques, Torr, Vedaldi 2019, *Meta-learning with differentiable closed-form solvers*
(R2-D2, arXiv:1805.08136), equations 4 to 6: W = argmin ‖XW − Y‖² + λ‖W‖². Here each pixel has a
weight, and W is drawn to a prior W₀ that is learned, 0 in the paper:

    W = argmin Σᵢ wᵢ‖xᵢW − yᵢ‖² + λ‖W − W₀‖²

Each can be had by inverting a matrix of features × features (`primal`) or, by the Woodbury
identity, of pixels × pixels (`woodbury`); they are the same numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor


def ridge(x: Tensor, y: Tensor, weight: Tensor, penalty: Tensor, prior: Tensor) -> Tensor:
    """W, shape (feature, class), by whichever form has the smaller matrix.

    Computed in float64, whatever x is in: the matrix is small, and its eigenvalues are orders of
    magnitude apart.

    Args:
        x: (pixel, feature); with a column of ones for a bias, which is then drawn to its prior like
            the rest.
        y: (pixel, class) targets.
        weight: (pixel,) of each pixel, above 0.
        penalty: λ, above 0.
        prior: W₀ (feature, class).
    """
    root = weight.double().sqrt()[:, None]
    rows, start = root * x.double(), prior.double()
    rest = root * y.double() - rows @ start
    solve = woodbury if len(x) < x.shape[1] else primal
    found: Tensor = (start + solve(rows, rest, penalty.double())).to(x.dtype)
    return found


def primal(x: Tensor, y: Tensor, penalty: Tensor) -> Tensor:
    """(XᵀX + λI)⁻¹ XᵀY (equation 5)."""
    return _solve(x.T @ x, penalty, x.T @ y)


def woodbury(x: Tensor, y: Tensor, penalty: Tensor) -> Tensor:
    """Xᵀ(XXᵀ + λI)⁻¹ Y (equation 6)."""
    return x.T @ _solve(x @ x.T, penalty, y)


def _solve(matrix: Tensor, penalty: Tensor, right: Tensor) -> Tensor:
    eye = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    factor = torch.linalg.cholesky(matrix + penalty * eye)
    return torch.cholesky_solve(right, factor)
