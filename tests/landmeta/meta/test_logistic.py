"""Logistic regression against scikit-learn, and its derivative at the optimum."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from landmeta.meta.logistic import gradient, hessian, logistic, objective


def _problem(pixels=40, features=4, classes=3, reach=1.0):
    generator = torch.Generator().manual_seed(pixels)

    def random(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    x, weight = reach * random(pixels, features), random(pixels).exp()
    label = torch.arange(pixels) % classes
    x[:, 0] += 2 * label
    return x, label, weight, torch.tensor(0.7).double(), random(features, classes)


def test_agrees_with_scikit_learn():
    x, label, weight, penalty, prior = _problem()
    found = logistic(x, label, weight, penalty, torch.zeros_like(prior))
    model = LogisticRegression(
        C=1 / penalty.item(), fit_intercept=False, tol=1e-12, max_iter=10_000
    )
    model.fit(x.numpy(), label.numpy(), sample_weight=weight.numpy())
    np.testing.assert_allclose(found.numpy().T, model.coef_, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("reach", "penalty"), [(1.0, 0.7), (30.0, 1e-3), (1e-3, 10.0)])
def test_nothing_is_left_to_gain_at_the_optimum(reach, penalty):
    """Also where classes are separable and plain Newton steps from W₀ would overshoot."""
    x, label, weight, _, prior = _problem(reach=reach)
    problem = (x, label, weight, torch.tensor(penalty).double(), prior)
    start = gradient(prior, *problem).norm()
    assert gradient(logistic(*problem), *problem).norm() < 1e-5 * start


def test_hessian_and_gradient_are_those_of_the_objective():
    x, label, weight, penalty, prior = _problem(12)
    W = prior + 0.3

    def value(W):
        return objective(W, x, label, weight, penalty, prior)

    slope = torch.autograd.functional.jacobian(value, W)
    torch.testing.assert_close(gradient(W, x, label, weight, penalty, prior), slope)
    blocks = (
        torch.autograd.functional.hessian(value, W)
        .permute(1, 0, 3, 2)
        .reshape(W.numel(), W.numel())
    )
    torch.testing.assert_close(hessian(W, x, weight, penalty), blocks)


def test_without_pixels_it_is_the_prior():
    x, label, weight, penalty, prior = _problem()
    assert torch.equal(logistic(x[:0], label[:0], weight[:0], penalty, prior), prior)


def test_implicit_gradient_agrees_with_finite_differences():
    x, label, weight, penalty, prior = _problem(15)
    inputs = [t.requires_grad_() for t in (x, weight, penalty, prior)]

    def fitted(x, weight, penalty, prior):
        return logistic(x, label, weight, penalty, prior)

    assert torch.autograd.gradcheck(fitted, inputs)
