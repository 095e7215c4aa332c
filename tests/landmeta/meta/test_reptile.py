"""Reptile's direction against its definition, by hand on two steps."""

import torch

from landmeta.meta.reptile import direction


def test_two_steps_by_hand():
    """L₁ = ½(w − 1)², L₂ = (w − 4)², φ₀ = 3, α = ¼: 3 → 3 − ¼·2 = 2½ → 2½ + ¼·3 = 3¼."""
    losses = [
        lambda p: 0.5 * (p["w"] - 1).square().sum(),
        lambda p: (p["w"] - 4).square().sum(),
    ]
    start = {"w": torch.tensor([3.0], requires_grad=True), "fixed": torch.ones(2)}
    loss, found = direction(losses, start, {"w": 0.25})
    torch.testing.assert_close(found["w"], torch.tensor([(3 - 3.25) / (2 * 0.25)]))
    torch.testing.assert_close(found["w"], torch.tensor([(2.0 - 3.0) / 2]))  # mean of the gradients
    torch.testing.assert_close(found["fixed"], torch.zeros(2))
    torch.testing.assert_close(loss, torch.tensor((2.0 + 2.25) / 2))
    assert start["w"].item() == 3
