"""Hessian-vector products against torch's own Hessian and against each other."""

import pytest
import torch
from torch.func import hessian

from landmeta.losses import segmentation_loss
from landmeta.meta.hessian import (
    FiniteDifference,
    balanced_reach,
    forward_over_reverse,
    hessian_vector_product,
    norm,
    plain_gradient,
    reverse_over_reverse,
)
from landmeta.meta.inner import Batch, on
from tests.landmeta.meta.network import relative_error, small_losses, small_task

EXACT = [reverse_over_reverse, forward_over_reverse]


def _toy(params):
    """A smooth function that couples its parameters; c does not matter to it."""
    return (params["a"].sin().sum() * params["b"].exp().sum() + (params["b"] ** 3).sum()) / 2


@pytest.fixture
def toy():
    generator = torch.Generator().manual_seed(0)
    shapes = {"a": (3,), "b": (2, 2), "c": (2,)}
    params, vector = (
        {k: torch.randn(s, generator=generator, dtype=torch.float64) for k, s in shapes.items()}
        for _ in range(2)
    )
    return params, vector


def _expected(params, vector):
    """The whole Hessian times v, written out."""
    blocks = hessian(_toy)(params)
    return {
        row: sum(torch.tensordot(blocks[row][col], v, dims=v.dim()) for col, v in vector.items())
        for row in params
    }


@pytest.mark.parametrize("hvp", [*EXACT, FiniteDifference(central=True, reach=1e-4)])
@pytest.mark.parametrize("names", ["abc", "b", "ac"])
def test_product_is_the_hessian_times_the_vector(toy, hvp, names):
    params, vector = toy
    vector = {k: vector[k] for k in names}
    _, gradient = plain_gradient(_toy, params)
    product = hvp(_toy, params, vector, gradient)
    expected = _expected(params, vector)
    tolerance = {} if hvp in EXACT else {"rtol": 1e-6, "atol": 1e-7}
    assert product.keys() == params.keys()
    for name in params:
        torch.testing.assert_close(product[name], expected[name], **tolerance)


@pytest.mark.parametrize("name", ["exact", "forward_over_reverse", "central", "forward"])
def test_nothing_times_the_hessian_is_nothing(toy, name):
    params, vector = toy
    nothing = {k: torch.zeros_like(v) for k, v in vector.items()}
    _, gradient = plain_gradient(_toy, params)
    product = hessian_vector_product(name, torch.float64)(_toy, params, nothing, gradient)
    assert all(torch.equal(p, nothing[k]) for k, p in product.items())


def test_differences_come_closer_with_their_order():
    loss, query, theta = small_losses()
    _, vector = plain_gradient(query, theta)
    _, gradient = plain_gradient(loss, theta)
    exact = reverse_over_reverse(loss, theta, vector, gradient)
    errors = {
        central: [
            relative_error(
                FiniteDifference(central=central, reach=r)(loss, theta, vector, gradient), exact
            )
            for r in (3e-2, 3e-3)
        ]
        for central in (True, False)
    }
    assert errors[True][0] / errors[True][1] == pytest.approx(100, rel=0.2)
    assert errors[False][0] / errors[False][1] == pytest.approx(10, rel=0.2)
    assert errors[True][1] < errors[False][1] < 0.02


def test_exact_products_agree_on_the_network():
    loss, query, theta = small_losses()
    _, vector = plain_gradient(query, theta)
    first, second = (hvp(loss, theta, vector, {}) for hvp in EXACT)
    assert relative_error(first, second) < 1e-12


def test_plain_gradient_leaves_no_graph_and_no_trace():
    params = {"a": torch.tensor([0.5], requires_grad=True), "b": torch.ones(1), "c": torch.ones(1)}
    value, grads = plain_gradient(_toy, params)
    assert not value.requires_grad
    assert not any(g.requires_grad for g in grads.values())
    assert torch.equal(grads["c"], torch.zeros(1))
    assert params["a"].grad is None
    assert norm({"x": torch.tensor([3.0]), "y": torch.tensor([[4.0]])}) == 5


@pytest.mark.parametrize("central", [True, False])
def test_reach_is_near_the_best_in_single_precision(central):
    """Neither ten times shorter nor ten times longer steps are better."""
    loss, query, theta = small_losses()
    _, vector = plain_gradient(query, theta)
    exact = reverse_over_reverse(loss, theta, vector, {})
    single = {k: p.detach().float() for k, p in theta.items()}
    narrow = {k: v.float() for k, v in vector.items()}
    net, support, _ = small_task()
    rough = on(segmentation_loss(net.float()), Batch(support.image.float(), support.label))
    _, gradient = plain_gradient(rough, single)
    best = balanced_reach(torch.float32, central=central)
    short, chosen, long = (
        relative_error(
            FiniteDifference(central=central, reach=r)(rough, single, narrow, gradient), exact
        )
        for r in (best / 10, best, best * 10)
    )
    assert chosen < short
    assert chosen < long
