"""Bayesian linear regression against the rule of Bayes worked out on joint normal distributions."""

import numpy as np
import torch

from landmeta.meta.bayes import lower_root, posterior, spread
from landmeta.meta.ridge import ridge


def _problem(pixels=7, features=4, classes=3):
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    x, y = random(pixels, features), random(pixels, classes)
    return x, y, random(pixels).exp(), random(features, classes), random(features, features)


def _by_conditioning(x, y, weight, prior, precision, new, noise):
    """Mean and variance of new targets, from their joint distribution with the seen ones."""
    covariance = noise * np.linalg.inv(precision)
    seen = x @ covariance @ x.T + noise * np.diag(1 / weight)
    across = new @ covariance @ x.T
    mean = new @ prior + across @ np.linalg.solve(seen, y - x @ prior)
    inner = new @ covariance @ new.T - across @ np.linalg.solve(seen, across.T)
    return mean, np.diag(inner) + noise


def test_prediction_is_the_conditional_distribution():
    x, y, weight, prior, entries = _problem()
    L = lower_root(entries)
    found = posterior(x, y, weight, prior, L)
    image = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(1)).double()
    rows = torch.nn.functional.pad(image.permute(0, 2, 3, 1).flatten(0, 2), (0, 1), value=1.0)
    mean, variance = _by_conditioning(
        *(t.numpy() for t in (x, y, weight, prior, L @ L.T, rows)), noise=0.3
    )
    np.testing.assert_allclose((rows @ found.mean).numpy(), mean)
    ours = 0.3 * (1 + spread(image, found.root))
    np.testing.assert_allclose(ours.flatten().numpy(), variance)


def test_root_of_the_precision_is_lower_triangular_and_regular():
    entries = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    L = lower_root(entries)
    assert torch.equal(L, L.tril())
    assert (L.diagonal() > 0).all()
    assert torch.equal(L.tril(-1), entries.tril(-1))


def test_one_precision_for_all_is_ridge_regression():
    x, y, weight, prior, _ = _problem()
    found = posterior(x, y, weight, prior, 1.7**0.5 * torch.eye(4).double())
    torch.testing.assert_close(found.mean, ridge(x, y, weight, torch.tensor(1.7).double(), prior))


def test_without_pixels_it_is_the_prior():
    x, y, weight, prior, entries = _problem()
    L = lower_root(entries)
    found = posterior(x[:0], y[:0], weight[:0], prior, L)
    torch.testing.assert_close(found.mean, prior)
    torch.testing.assert_close(found.root @ found.root.T, torch.linalg.inv(L @ L.T))


def test_gradient_agrees_with_finite_differences():
    inputs = [t.requires_grad_() for t in _problem()]

    def fitted(x, y, weight, prior, entries):
        found = posterior(x, y, weight, prior, lower_root(entries))
        return found.mean, found.root

    assert torch.autograd.gradcheck(fitted, inputs)
