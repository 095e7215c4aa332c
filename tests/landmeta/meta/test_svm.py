"""The support vector machine against scikit-learn's and its own dual."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.svm import LinearSVC

from landmeta.meta.svm import STEPS, onto_simplex, primal_objective, svm


def _problem(pixels=60, features=5, classes=4):
    generator = torch.Generator().manual_seed(pixels)

    def random(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    x, label = random(pixels, features), torch.arange(pixels) % classes
    x[:, 0] += label
    x[:, 1] += (label == 2) * 2.0
    share = random(pixels).exp()
    return x, label, share / share.sum(), torch.tensor(10.0).double(), random(features, classes)


def test_agrees_with_scikit_learn():
    x, label, _, cost, prior = _problem()
    even, nothing = torch.full((60,), 1 / 60).double(), torch.zeros_like(prior)
    model = LinearSVC(
        multi_class="crammer_singer",
        C=cost.item() / 60,
        fit_intercept=False,
        tol=1e-10,
        max_iter=100_000,
        random_state=0,
    ).fit(x.numpy(), label.numpy())
    theirs = torch.from_numpy(model.coef_.T)
    long, usual = (svm(x, label, even, cost, nothing, steps=n) for n in (5000, STEPS))
    torch.testing.assert_close(long, theirs, rtol=1e-4, atol=1e-4)
    best, found = (
        primal_objective(W, x, label, even, cost, nothing).item() for W in (theirs, usual)
    )
    assert best * (1 - 1e-6) <= found < best * 1.005
    assert ((x @ usual).argmax(1).numpy() == model.predict(x.numpy())).mean() > 0.98


def test_weights_and_prior_by_general_minimisation():
    x, label, share, cost, prior = _problem(20, 3, 3)
    found = svm(x, label, share, cost, prior, steps=5000)

    def value(flat):
        W = torch.from_numpy(flat).view(3, 3)
        return primal_objective(W, x, label, share, cost, prior).item()

    start = found.numpy().ravel()
    better = minimize(value, start, method="Powell", options={"xtol": 1e-8, "ftol": 1e-10})
    assert better.fun >= value(start) - 1e-5
    assert value(start) < value(prior.numpy().ravel())


def test_solution_is_the_same_from_pixels_split_in_two():
    x, label, share, cost, prior = _problem(20)
    whole = svm(x, label, share, cost, prior, steps=2000)
    split = svm(x.repeat(2, 1), label.repeat(2), share.repeat(2) / 2, cost, prior, steps=2000)
    torch.testing.assert_close(whole, split, rtol=1e-4, atol=1e-4)


def test_without_pixels_it_is_the_prior():
    x, label, share, cost, prior = _problem()
    assert torch.equal(svm(x[:0], label[:0], share[:0], cost, prior), prior)


@pytest.mark.parametrize("steps", [3, 20])
def test_gradient_agrees_with_finite_differences(steps):
    x, label, share, cost, prior = _problem(6, 3, 3)
    inputs = [t.requires_grad_() for t in (x, share, cost, prior)]

    def fitted(x, share, cost, prior):
        return svm(x, label, share, cost, prior, steps=steps)

    assert torch.autograd.gradcheck(fitted, inputs)


def test_projection_is_the_nearest_point():
    """Against every choice of which entries are above zero."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    found = onto_simplex(rows)
    torch.testing.assert_close(found.sum(1), torch.ones(50).double())
    assert (found >= 0).all()
    grid = np.array([(a, b, 100 - a - b) for a in range(101) for b in range(101 - a)]) / 100
    nearest = ((rows[:, None] - torch.from_numpy(grid)) ** 2).sum(2).min(1).values
    assert (((rows - found) ** 2).sum(1) <= nearest + 1e-12).all()
