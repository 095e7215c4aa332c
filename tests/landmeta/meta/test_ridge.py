"""Ridge regression against scikit-learn, numpy and itself."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from landmeta.meta.ridge import primal, ridge, woodbury


def _problem(pixels, features=6, classes=3):
    generator = torch.Generator().manual_seed(pixels)

    def random(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    y = torch.eye(classes, dtype=torch.float64)[torch.arange(pixels) % classes]
    weight = random(pixels).exp()
    return random(pixels, features), y, weight, torch.tensor(0.7).double(), random(6, classes)


@pytest.mark.parametrize("pixels", [3, 40])
def test_agrees_with_scikit_learn(pixels):
    x, y, weight, penalty, prior = _problem(pixels)
    found = ridge(x, y, weight, penalty, torch.zeros_like(prior))
    model = Ridge(alpha=penalty.item(), fit_intercept=False)
    model.fit(x.numpy(), y.numpy(), sample_weight=weight.numpy())
    np.testing.assert_allclose(found.numpy().T, model.coef_, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("pixels", [3, 40])
def test_prior_is_as_good_as_more_pixels(pixels):
    """λ‖W − W₀‖² is the error on pixels √λ·1ₖ with the targets √λ·W₀."""
    x, y, weight, penalty, prior = _problem(pixels)
    root = weight.sqrt()[:, None]
    rows = torch.cat([root * x, penalty.sqrt() * torch.eye(6).double()])
    targets = torch.cat([root * y, penalty.sqrt() * prior])
    expected = np.linalg.lstsq(rows.numpy(), targets.numpy(), rcond=None)[0]
    found = ridge(x, y, weight, penalty, prior)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("pixels", [1, 6, 40])
def test_both_forms_are_the_same(pixels):
    x, y, _, penalty, _ = _problem(pixels)
    torch.testing.assert_close(primal(x, y, penalty), woodbury(x, y, penalty))


def test_the_smaller_matrix_is_inverted(monkeypatch):
    sizes, cholesky = [], torch.linalg.cholesky
    monkeypatch.setattr(torch.linalg, "cholesky", lambda m: (sizes.append(len(m)), cholesky(m))[1])
    for pixels in (2, 40):
        ridge(*_problem(pixels))
    assert sizes == [2, 6]


def test_without_pixels_it_is_the_prior():
    x, y, weight, penalty, prior = _problem(0)
    assert torch.equal(ridge(x, y, weight, penalty, prior), prior)


@pytest.mark.parametrize("pixels", [3, 20])
def test_gradient_agrees_with_finite_differences(pixels):
    x, y, weight, penalty, prior = _problem(pixels)
    inputs = [t.requires_grad_() for t in (x, y, weight, penalty, prior)]
    assert torch.autograd.gradcheck(ridge, inputs)


def test_single_precision_is_computed_in_double():
    """Features that are nearly one another's multiples, as a U-Net's are."""
    x, y, weight, _, prior = _problem(40)
    x = x[:, :1] + 1e-4 * x
    penalty = torch.tensor(1e-4, dtype=torch.float64)
    exact = ridge(x.float().double(), y, weight.float().double(), penalty, prior.float().double())
    found = ridge(*(t.float() for t in (x, y, weight, penalty, prior)))
    assert found.dtype == torch.float32
    assert torch.linalg.norm(found - exact) < 1e-4 * torch.linalg.norm(exact)
