"""Prototypes against plain loops, and k-means within a class."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from landmeta.meta.pixels import Pixels
from landmeta.meta.prototypes import (
    cluster,
    kmeans,
    linear,
    mixture_logits,
    prototypes,
    shares,
)


def _pixels(n=60, features=4, classes=3):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, features, generator=generator, dtype=torch.float64)
    weight = torch.rand(n, generator=generator, dtype=torch.float64) + 0.5
    return Pixels(x, torch.arange(n) % classes, weight), generator


def _logits_by_loop(features, pixels, classes, scale):
    found = np.zeros((len(features), classes, *features.shape[2:]))
    for k in range(classes):
        own = [(x, w) for x, y, w in zip(*_arrays(pixels), strict=True) if y == k]
        mean = sum(x * w for x, w in own) / sum(w for _, w in own)
        for t, r, c in np.ndindex(len(features), *features.shape[2:]):
            found[t, k, r, c] = -scale * ((features[t, :, r, c].numpy() - mean) ** 2).sum()
    return torch.from_numpy(found)


def _arrays(pixels):
    return pixels.feature.numpy(), pixels.label.numpy(), pixels.weight.numpy()


def test_one_prototype_is_the_mean_and_the_logit_the_distance():
    pixels, generator = _pixels()
    features = torch.randn(2, 4, 3, 5, generator=generator, dtype=torch.float64)
    found = cluster(pixels, 3, 1)
    centre, scale = prototypes(found, None, 0.0), torch.tensor(0.7).double()
    logits = mixture_logits(features, centre, shares(found, absent=-1e4), scale)
    expected = _logits_by_loop(features, pixels, 3, 0.7)
    torch.testing.assert_close(logits.log_softmax(1), expected.log_softmax(1))
    weight, bias = linear(centre[:, 0], scale)
    same = torch.einsum("kf,tfrc->tkrc", weight, features) + bias[:, None, None]
    torch.testing.assert_close(same.log_softmax(1), expected.log_softmax(1))


def test_prior_counts_like_more_pixels():
    pixels, generator = _pixels()
    prior = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    found = cluster(pixels, 4, 1)  # the last class has no pixel
    with_prior = prototypes(found, prior, 5.0)[:, 0]
    more = Pixels(
        torch.cat([pixels.feature, prior]),
        torch.cat([pixels.label, torch.arange(4)]),
        torch.cat([pixels.weight, torch.full((4,), 5.0).double()]),
    )
    torch.testing.assert_close(with_prior, prototypes(cluster(more, 4, 1), None, 0.0)[:, 0])
    assert torch.equal(with_prior[3], prior[3])


def test_several_prototypes_find_the_clouds_of_a_class():
    """As scikit-learn's k-means with many starts does."""
    generator = torch.Generator().manual_seed(1)
    centres = torch.tensor([[0, 0], [6, 1], [3, 8.0]], dtype=torch.float64)
    x = centres.repeat_interleave(20, 0)
    x = x + torch.randn(x.shape, generator=generator, dtype=torch.float64)
    x = x[torch.randperm(len(x), generator=generator)]
    member = kmeans(x, torch.ones(len(x)).double(), 3)
    model = KMeans(3, n_init=20, random_state=0).fit(x.numpy())
    pairs = set(zip(member.tolist(), model.labels_.tolist(), strict=True))
    assert len(pairs) == 3


def test_mixture_of_prototypes_by_a_loop():
    pixels, generator = _pixels()
    features = torch.randn(1, 4, 2, 2, generator=generator, dtype=torch.float64)
    found, scale = cluster(pixels, 3, 2), torch.tensor(0.4).double()
    centre, share = prototypes(found, None, 0.0), shares(found, absent=-1e4)
    logits = mixture_logits(features, centre, share, scale)
    for r, c in np.ndindex(2, 2):
        x = features[0, :, r, c]
        density = [
            sum(
                share[k, j].exp() * torch.exp(-scale * (x - centre[k, j]).square().sum())
                for j in range(2)
            )
            for k in range(3)
        ]
        expected = torch.stack(density).log() + scale * x.square().sum()
        torch.testing.assert_close(logits[0, :, r, c], expected)
    torch.testing.assert_close(share.exp().sum(1), torch.ones(3).double())


def test_fewer_pixels_than_prototypes():
    pixels = Pixels(
        torch.tensor([[1.0, 2.0], [5.0, 5.0], [1.0, 1.0]]),
        torch.tensor([0, 1, 1]),
        torch.ones(3),
    )
    found = cluster(pixels, 3, 3)
    share = shares(found, absent=-1e4)
    assert sorted(share[0].tolist()) == [-1e4, -1e4, 0]
    assert sorted(share[1].tolist()) == pytest.approx([-1e4, np.log(0.5), np.log(0.5)])
    assert share[2].tolist() == pytest.approx([np.log(1 / 3)] * 3)
    centre = prototypes(found, None, 0.0)
    assert centre.isfinite().all()
    used = centre[1][share[1] > -1e4]
    assert sorted(used.tolist()) == [[1, 1], [5, 5]]


@pytest.mark.parametrize("each", [1, 2])
def test_gradient_agrees_with_finite_differences(each):
    pixels, generator = _pixels(n=12)
    features = torch.randn(1, 4, 2, 1, generator=generator, dtype=torch.float64)
    prior = torch.randn(4, 4, generator=generator, dtype=torch.float64)

    def logits(x, prior, kappa, scale):
        found = cluster(Pixels(x, pixels.label, pixels.weight), 4, each)
        centre = prototypes(found, prior, kappa)
        return mixture_logits(features, centre, shares(found, absent=-1e4), scale)

    numbers = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (3.0, 0.5)]
    inputs = [pixels.feature.requires_grad_(), prior.requires_grad_(), *numbers]
    assert torch.autograd.gradcheck(logits, inputs)
