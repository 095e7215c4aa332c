"""Prototypes: a class is where the features of its pixels are.

Snell, Swersky, Zemel 2017, *Prototypical networks for few-shot learning* (arXiv:1703.05175): the
mean of the features of a class (equation 1), and as logits the negative squared Euclidean distances
to it (equation 2), which are linear in the features (equation 8). Here a class may have several
prototypes, the means of the clusters of its pixels; it then is a mixture of round clouds of one
size, and its logit is the logarithm of its density,

    log Σⱼ πⱼ exp(−s‖x − cⱼ‖²),    πⱼ the share of the cluster.

Where the support shows nothing of a class, its prototypes are learned ones, p. They count like κ
more pixels in each of its clusters: c = (κp + Σx) / (κ + n).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from landmeta.meta.pixels import Pixels

LLOYD_STEPS = 10
"""Of k-means within a class."""


@dataclass(frozen=True)
class Clusters:
    """Clusters of the pixels of each class.

    Attributes:
        total: (class, cluster, feature) sum of their features.
        count: (class, cluster) their pixels; 0 where there are fewer clusters.
    """

    total: Tensor
    count: Tensor


def cluster(pixels: Pixels, classes: int, each: int) -> Clusters:
    """Sums and counts over `each` clusters a class, differentiable in the features.

    Which pixel is in which cluster is found without gradients.
    """
    with torch.no_grad():
        member = torch.zeros_like(pixels.label)
        for index in pixels.present().tolist() if each > 1 else ():
            own = pixels.label == index
            member[own] = kmeans(pixels.feature[own], pixels.weight[own], each)
    return _sums(pixels.feature, pixels.weight, pixels.label * each + member, classes, each)


def _sums(x: Tensor, weight: Tensor, place: Tensor, classes: int, each: int) -> Clusters:
    total = x.new_zeros(classes * each, x.shape[1]).index_add(0, place, x * weight[:, None])
    count = weight.new_zeros(classes * each).index_add(0, place, weight)
    return Clusters(total.view(classes, each, -1), count.view(classes, each))


def kmeans(x: Tensor, weight: Tensor, clusters: int) -> Tensor:
    """Cluster number of each row, by Lloyd's steps from a start that is no matter of chance.

    The start cuts the rows into equal parts along the feature that varies most, in the manner of
    Var-Part (Su, Dy 2007, doi:10.3233/IDA-2007-11402).
    """
    widest = x.var(0, correction=0).argmax()
    rank = x[:, widest].argsort(stable=True).argsort()
    member = rank * clusters // len(x)
    for _ in range(LLOYD_STEPS):
        found = _sums(x, weight, member, 1, clusters)
        centre = found.total[0] / found.count[0, :, None].clamp(min=1e-12)
        distance = torch.cdist(x, centre).masked_fill(found.count[0] == 0, torch.inf)
        closest = distance.argmin(1)
        if torch.equal(closest, member):
            break
        member = closest
    return member


def prototypes(found: Clusters, prior: Tensor | None, kappa: Tensor | float) -> Tensor:
    """(κp + Σx) / (κ + n), shape (class, cluster, feature); 0 where nothing is known.

    Args:
        found: clusters of the support.
        prior: p (class, feature), or None without.
        kappa: κ.
    """
    count = found.count[..., None]
    if prior is None:
        return found.total / count.clamp(min=1e-12)
    return (kappa * prior[:, None] + found.total) / (kappa + count)


def shares(found: Clusters, *, absent: float) -> Tensor:
    """Log of π (class, cluster): even in classes without a pixel, `absent` in empty clusters.

    A class without a pixel is known by its prior alone.
    """
    total = found.count.sum(1, keepdim=True)
    even = 1 / found.count.shape[1]
    share = torch.where(total > 0, found.count / total.clamp(min=1e-12), even)
    return torch.where(share > 0, share.clamp(min=1e-30).log(), absent)


def linear(centre: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Weight 2sc and bias −s‖c‖²: −s‖x − c‖² less s‖x‖², which says nothing after a softmax.

    Snell et al. 2017, equation 8; Triantafillou et al. 2020, section 3.2 (arXiv:1903.03096).
    """
    return 2 * scale * centre, -scale * centre.square().sum(-1)


def mixture_logits(features: Tensor, centre: Tensor, share: Tensor, scale: Tensor) -> Tensor:
    """Log Σⱼ πⱼ exp(−s‖x − cⱼ‖²) + s‖x‖², shape (tile, class, row, col).

    Args:
        features: (tile, feature, row, col).
        centre: (class, cluster, feature).
        share: log π (class, cluster).
        scale: s.
    """
    weight, bias = linear(centre, scale)
    each = torch.einsum("kjf,tfrc->tkjrc", weight, features)
    return (each + (bias + share)[:, :, None, None]).logsumexp(2)
