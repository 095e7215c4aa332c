"""A multi-class support vector machine whose training is differentiated step by step.

Lee, Maji, Ravichandran, Soatto 2019, *Meta-learning with differentiable convex optimization*
(MetaOptNet, arXiv:1904.03758), equation 7, after Crammer and Singer 2001. Here each pixel has a
weight, their sum being 1, and W is drawn to a prior W₀ that is learned, 0 in the paper:

    W = argmin ½‖W − W₀‖² + C Σᵢ wᵢ max_c (1 − [c = yᵢ] + xᵢ·(W_c − W_yᵢ))

The maximum is one over β in the simplex, so W = W₀ + Σᵢ C wᵢ xᵢ(e_yᵢ − βᵢ)ᵀ with the β that
maximise a concave function (the dual, equation 9 of the paper). They are found by a fixed number of
steps of projected gradient with Nesterov's acceleration (Beck, Teboulle 2009,
doi:10.1137/080716542), which autograd traces back. The paper's OptNet layer solves the same problem
by an interior-point method in dense matrices of pixels × classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

STEPS = 100


def svm(
    x: Tensor, label: Tensor, weight: Tensor, cost: Tensor, prior: Tensor, steps: int = STEPS
) -> Tensor:
    """W, shape (feature, class).

    Args:
        x: (pixel, feature); with a column of ones for a bias, which is then drawn to its prior like
            the rest.
        label: (pixel,) int64.
        weight: (pixel,) of each pixel, above 0; in sum 1.
        cost: C, above 0.
        prior: W₀ (feature, class).
        steps: of the dual solver.
    """
    if not len(x):
        return prior
    box = (cost * weight)[:, None]
    truth = F.one_hot(label, prior.shape[1]).to(x.dtype)
    # In √(Cw)β the gradient of the dual is √(Cw)(xW − y), and its Lipschitz constant that of the
    # Gram matrix of √(Cw)x; each pixel's set is still a simplex, so that all can be said in β.
    rows = box.sqrt() * x
    rate = 1 / torch.linalg.eigvalsh(rows.T @ rows)[-1]

    def weights(beta: Tensor) -> Tensor:
        return prior + x.T @ (box * (truth - beta))

    beta = ahead = truth
    momentum = 1.0
    for _ in range(steps):
        slope = x @ weights(ahead) - truth
        moved = onto_simplex(ahead + rate * slope)
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = moved + (momentum - 1) / following * (moved - beta)
        beta, momentum = moved, following
    return weights(beta)


def onto_simplex(rows: Tensor) -> Tensor:
    """The nearest rows that are not negative and sum to 1 (Duchi et al. 2008, figure 1).

    doi:10.1145/1390156.1390191
    """
    with torch.no_grad():
        falling = rows.sort(1, descending=True).values
        number = torch.arange(1, rows.shape[1] + 1, dtype=rows.dtype, device=rows.device)
        excess = (falling.cumsum(1) - 1) / number
        count = (falling > excess).sum(1, keepdim=True)
        kept = (rows > excess.gather(1, count - 1)).to(rows.dtype)
    return kept * (rows - ((rows * kept).sum(1, keepdim=True) - 1) / count)


def primal_objective(
    W: Tensor, x: Tensor, label: Tensor, weight: Tensor, cost: Tensor, prior: Tensor
) -> Tensor:
    """½‖W − W₀‖² + C Σᵢ wᵢ slackᵢ."""
    scores = x @ W
    wrong = 1 - F.one_hot(label, W.shape[1])
    slack = (scores + wrong).amax(1) - scores.gather(1, label[:, None])[:, 0]
    return (W - prior).square().sum() / 2 + cost * (weight @ slack)
