"""The chain rule between dicts of tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from landmeta.model import Params


def pull_back(theta: Params, pairs: Sequence[tuple[Params, Params]]) -> Params:
    """Gradient with respect to θ of what is known through functions of θ.

    Args:
        theta: leaves that require gradients.
        pairs: functions of θ with their graphs, each with the derivative of a scalar with respect
            to them, by the same names; what depends on no parameter is passed over.

    Returns:
        By name, Σ (∂function/∂θ)ᵀ · derivative; zeros where nothing depends on it.
    """
    outputs, derivatives = [], []
    for function, derivative in pairs:
        for name, value in derivative.items():
            if function[name].requires_grad:
                outputs.append(function[name])
                derivatives.append(value)
    grads = torch.autograd.grad(
        outputs, list(theta.values()), derivatives, allow_unused=True, materialize_grads=True
    )
    return dict(zip(theta, grads, strict=True))
