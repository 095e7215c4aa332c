"""A Gaussian prior on adapted parameters: λ/2·‖φ − φ₀‖² beside the loss.

L2-SP of Li, Grandvalet, Davoine 2018, eq. 2 (arXiv:1802.01483): what fine-tuning starts from is
what is believed beforehand. The prior is taken implicitly, by its proximal map after each step of
the optimiser, so that no strength makes the steps unstable:

    φ ← argmin_x  ‖x − φ'‖² / 2α + λ/2·‖x − φ₀‖²  =  (φ' + αλ·φ₀) / (1 + αλ)

where φ' = φ − α ∇L(φ) (forward-backward splitting; Combettes, Wajs 2005, doi:10.1137/050626090).
Its fixed points are the stationary points of the whole, ∇L(φ) + λ(φ − φ₀) = 0, whatever α is. With
Adam α is what it multiplies the mean gradient of an entry with, so that this is true of it too.
"""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def draw_back(phi: Tensor, centre: Tensor, strength: float, step: Tensor | float) -> None:
    """Apply the proximal map of the prior to φ' in place.

    Args:
        phi: φ', just stepped.
        centre: φ₀.
        strength: λ.
        step: α, a number or one of each entry.
    """
    weight = torch.as_tensor(step * strength, dtype=phi.dtype, device=phi.device)
    phi.add_(weight * centre).div_(1 + weight)


def step_size(optimizer: torch.optim.Optimizer, p: Tensor) -> Tensor | float:
    """α of each entry of `p` in the step that SGD or Adam has just taken."""
    group = optimizer.param_groups[0]
    rate = float(group["lr"])
    if not isinstance(optimizer, torch.optim.Adam):
        return rate
    state = optimizer.state[p]
    unbiased = state["exp_avg_sq"] / (1 - group["betas"][1] ** float(state["step"]))
    sizes: Tensor = rate / (unbiased.sqrt() + group["eps"])
    return sizes
