"""The meta-gradient against float64 finite differences and against autograd written out by hand."""

import numpy as np
import pytest
import torch
from torch.func import functional_call

from landmeta.losses import cross_entropy, segmentation_loss
from landmeta.meta import fomaml, maml
from landmeta.meta.hessian import leaves
from landmeta.meta.inner import Batch, gradient, inner_loop
from landmeta.model import trainable
from tests.landmeta.meta.network import CLASSES, small_task


@pytest.fixture(scope="module")
def task():
    """The U-Net's real layers in float64, with support and query of one small task."""
    return small_task()


def test_maml_gradient_agrees_with_central_differences(task):
    net, support, query = task
    loss, theta = segmentation_loss(net), trainable(net)
    steps, rate, h = 3, 0.05, 1e-4
    _, grads = maml.meta_gradient(loss, theta, support, query, steps=steps, rate=rate)

    def query_loss(params):
        adapted = inner_loop(loss, params, support, steps=steps, rate=rate)
        return loss(adapted, query).item()

    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        direction = {
            k: torch.randn(p.shape, generator=generator, dtype=torch.float64)
            for k, p in theta.items()
        }
        norm = torch.sqrt(sum((d**2).sum() for d in direction.values()))
        move = {k: d / norm for k, d in direction.items()}
        plus, minus = (
            query_loss(
                {k: (p + s * h * move[k]).detach().requires_grad_() for k, p in theta.items()}
            )
            for s in (1, -1)
        )
        numeric = (plus - minus) / (2 * h)
        exact = float(sum((grads[k] * move[k]).sum() for k in theta))
        assert exact == pytest.approx(numeric, rel=1e-5, abs=1e-9)


def test_maml_gradient_equals_autograd_through_the_unrolled_loop(task):
    net, support, query = task
    names = [k for k, _ in net.named_parameters()]
    leaves = [p.detach().clone().requires_grad_() for p in net.parameters()]

    def ce(values, batch):
        logits = functional_call(net, dict(zip(names, values, strict=True)), (batch.image,))
        return cross_entropy(logits, batch.label)

    current = leaves
    for _ in range(2):
        grads = torch.autograd.grad(ce(current, support), current, create_graph=True)
        current = [p - 0.1 * g for p, g in zip(current, grads, strict=True)]
    ce(current, query).backward()

    loss, theta = segmentation_loss(net), trainable(net)
    _, found = maml.meta_gradient(loss, theta, support, query, steps=2, rate=0.1)
    for name, leaf in zip(names, leaves, strict=True):
        torch.testing.assert_close(found[name], leaf.grad, rtol=1e-10, atol=1e-14)


def test_maml_on_a_quadratic_has_the_closed_form():
    """L_s = ½(θ−a)ᵀA(θ−a), L_q = ½|θ−b|²: the meta-gradient is (I−αA)^K (φ_K − b)."""
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    A = root @ root.T / 6
    a, b, theta = (torch.randn(6, generator=generator, dtype=torch.float64) for _ in range(3))
    steps, rate = 4, 0.2

    def loss(params, batch):
        difference = params["w"] - batch.image
        return 0.5 * difference @ (A if batch.label.item() else torch.eye(6).double()) @ difference

    support, query = Batch(a, torch.tensor(1)), Batch(b, torch.tensor(0))
    params = {"w": theta.clone().requires_grad_()}
    value, grads = maml.meta_gradient(loss, params, support, query, steps=steps, rate=rate)
    contraction = torch.linalg.matrix_power(torch.eye(6).double() - rate * A, steps)
    adapted = a + contraction @ (theta - a)
    torch.testing.assert_close(grads["w"], contraction @ (adapted - b))
    torch.testing.assert_close(value, 0.5 * (adapted - b) @ (adapted - b))

    _, first_order = fomaml.meta_gradient(loss, params, support, query, steps=steps, rate=rate)
    torch.testing.assert_close(first_order["w"], adapted - b)


def test_fomaml_is_the_query_gradient_at_the_adapted_parameters(task):
    net, support, query = task
    loss, theta = segmentation_loss(net), trainable(net)
    _, found = fomaml.meta_gradient(loss, theta, support, query, steps=2, rate=0.1)
    adapted = leaves(inner_loop(loss, theta, support, steps=2, rate=0.1))
    expected = gradient(loss(adapted, query), adapted)
    for name in theta:
        torch.testing.assert_close(found[name], expected[name])
    _, exact = maml.meta_gradient(loss, theta, support, query, steps=2, rate=0.1)
    apart = max(float((exact[k] - found[k]).abs().max()) for k in theta)
    assert apart > 1e-4, "second order terms must matter, or this test says nothing"


def test_ignored_pixels_change_nothing(task):
    net, support, _ = task
    loss, theta = segmentation_loss(net), trainable(net)
    logits = torch.randn(2, CLASSES, 4, 4, dtype=torch.float64)
    label = torch.randint(0, CLASSES, (2, 4, 4))
    label[0] = 255
    torch.testing.assert_close(cross_entropy(logits, label), cross_entropy(logits[1:], label[1:]))
    nothing = Batch(support.image, torch.full_like(support.label, 255))
    adapted = inner_loop(loss, theta, nothing, steps=2, rate=0.5)
    assert all(torch.equal(adapted[k], theta[k]) for k in theta)


def test_the_network_is_never_changed(task):
    net, support, query = task
    before = {k: v.clone() for k, v in net.state_dict().items()}
    theta = trainable(net)
    copies = {k: p.detach().clone() for k, p in theta.items()}
    maml.meta_gradient(segmentation_loss(net), theta, support, query, steps=2, rate=0.1)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(torch.equal(p, copies[k]) for k, p in theta.items())
    assert np.all([p.grad is None for p in theta.values()])
