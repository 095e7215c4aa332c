"""Matching: a pixel is what the support pixels are that it resembles.

Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra 2016, *Matching networks for one shot learning*
(arXiv:1606.04080), equation 1: the prediction is Σ a(x, xᵢ) yᵢ, with attention a the softmax of
cosine similarities (section 2.1.1), here times a learned s. Support pixels that stand for several
count as several. Features are not embedded in context of the support (section 2.1.2).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK = 2**21
"""Similarities computed at a time: 8 MiB of float32."""


def attention_logits(query: Tensor, key: Tensor, value: Tensor, scale: Tensor) -> Tensor:
    """Log of Σᵢ valueᵢ exp(s cos(x, keyᵢ)), of which the softmax is the attention's prediction.

    No more than `CHUNK` similarities are held at a time, nor kept for the backward pass, which
    computes them again.

    Args:
        query: (pixel, feature).
        key: (support pixel, feature).
        value: (support pixel, class) how many pixels of each class it stands for.
        scale: s.

    Returns:
        (pixel, class), 0 without support pixels.
    """
    if not len(key):
        return query.new_zeros(len(query), value.shape[1])
    key = F.normalize(key, dim=1)
    parts = []
    for part in torch.split(query, max(1, CHUNK // len(key))):
        if torch.is_grad_enabled():
            found = checkpoint(_attend, part, key, value, scale, use_reentrant=False)
        else:
            found = _attend(part, key, value, scale)
        parts.append(found)
    return torch.cat(parts)


def _attend(query: Tensor, key: Tensor, value: Tensor, scale: Tensor) -> Tensor:
    similarity = scale * F.normalize(query, dim=1) @ key.T
    most = similarity.detach().amax(1, keepdim=True)
    mass = (similarity - most).exp() @ value
    return mass.clamp(min=torch.finfo(mass.dtype).tiny).log() + most
