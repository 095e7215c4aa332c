"""The sweep against autograd through the unrolled loop, in float64."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from landmeta.losses import segmentation_loss
from landmeta.meta import fomaml, maml, unrolled
from landmeta.meta.hessian import hessian_vector_product, reverse_over_reverse
from landmeta.meta.sweep import sweep
from landmeta.model import trainable
from tests.landmeta.meta.network import relative_error, small_losses, small_task


@pytest.mark.parametrize("hvp", ["exact", "forward_over_reverse"])
def test_exact_sweep_equals_the_unrolled_loop(hvp):
    net, support, query = small_task()
    loss, theta = segmentation_loss(net), trainable(net)
    expected_loss, expected = unrolled.meta_gradient(loss, theta, support, query, steps=5, rate=0.1)
    value, found = maml.meta_gradient(loss, theta, support, query, steps=5, rate=0.1, hvp=hvp)
    torch.testing.assert_close(value, expected_loss, rtol=1e-12, atol=0)
    assert relative_error(found, expected) < 1e-10


def test_differences_are_far_closer_than_first_order():
    net, support, query = small_task()
    loss, theta = segmentation_loss(net), trainable(net)
    kinds = {"steps": 5, "rate": 0.1}
    _, exact = unrolled.meta_gradient(loss, theta, support, query, **kinds)
    _, first = fomaml.meta_gradient(loss, theta, support, query, **kinds)
    errors = {
        hvp: relative_error(
            maml.meta_gradient(loss, theta, support, query, **kinds, hvp=hvp)[1], exact
        )
        for hvp in ("central", "forward")
    }
    assert errors["central"] < 1e-8
    assert errors["forward"] < 1e-5
    assert relative_error(first, exact) > 0.05


def _unrolled_by_hand(inner, query, theta, rates):
    phi = theta
    for loss, rate in zip(inner, rates, strict=True):
        names = list(rate)
        grads = torch.autograd.grad(loss(phi), [phi[n] for n in names], create_graph=True)
        phi = phi | {n: phi[n] - rate[n] * g for n, g in zip(names, grads, strict=True)}
    return query(phi)


def test_rates_of_steps_and_parameters_get_their_gradients():
    loss, query, theta = small_losses()
    generator = torch.Generator().manual_seed(0)

    def random_rates(shape):
        return {
            k: (
                0.02 + 0.1 * torch.rand(shape(p), generator=generator, dtype=torch.float64)
            ).requires_grad_()
            for k, p in theta.items()
        }

    rates = [
        random_rates(lambda p: p.shape),  # Meta-SGD: one for each weight
        random_rates(lambda p: ()),  # per layer and step
        dict.fromkeys(theta, 0.05),  # a number that is not learned
        {k: a for k, a in random_rates(lambda p: ()).items() if k.startswith("head")},
    ]
    value = _unrolled_by_hand([loss] * 4, query, theta, rates)
    learned = [a for rate in rates for a in rate.values() if isinstance(a, torch.Tensor)]
    expected = torch.autograd.grad(value, [*theta.values(), *learned])

    found = sweep([loss] * 4, query, theta, rates, reverse_over_reverse)
    got = [*found.params.values(), *(a for rate in found.rates for a in rate.values())]
    assert len(got) == len(expected)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-13)


def test_parameters_that_do_not_adapt_are_reached():
    """As in ANIL: only the head adapts, the rest is met through the mixed derivatives."""
    loss, query, theta = small_losses()
    rates = [{k: 0.3 for k in theta if k.startswith("head")}] * 3
    value = _unrolled_by_hand([loss] * 3, query, theta, rates)
    expected = dict(zip(theta, torch.autograd.grad(value, list(theta.values())), strict=True))
    for name in ("exact", "forward_over_reverse", "central"):
        found = sweep([loss] * 3, query, theta, rates, hessian_vector_product(name, torch.float64))
        assert relative_error(found.params, expected) < (1e-7 if name == "central" else 1e-10)


@given(seed=st.integers(0, 2**16), steps=st.integers(0, 6), adapting=st.sampled_from(["ab", "a"]))
@settings(max_examples=25, deadline=None)
def test_any_smooth_losses_a_different_one_each_step(seed, steps, adapting):
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def loss(weights, params):
        return (weights @ (params["a"] * params["b"]).sin()).square() + params["a"].cos().sum()

    theta = {k: random(4).requires_grad_() for k in "ab"}
    inner = [partial(loss, random(4)) for _ in range(steps)]
    query, rates = partial(loss, random(4)), [dict.fromkeys(adapting, 0.05)] * steps
    value = _unrolled_by_hand(inner, query, theta, rates)
    expected = torch.autograd.grad(value, list(theta.values()))
    found = sweep(inner, query, theta, rates, reverse_over_reverse)
    torch.testing.assert_close(found.loss, value.detach())
    for ours, theirs in zip(found.params.values(), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_graphs_of_earlier_steps_are_gone():
    """Tensors held at the peak do not grow with the number of steps, but for one gradient each."""
    loss, query, theta = small_losses()
    held = [_most_saved(loss, query, theta, steps) for steps in (1, 4)]
    assert held[0] == held[1]


def _most_saved(loss, query, theta, steps):
    """Most bytes that autograd keeps for backward at any time."""
    alive = {"now": 0, "most": 0}

    class Held:
        def __init__(self, tensor):
            self.tensor, self.size = tensor, tensor.numel() * tensor.element_size()
            alive["now"] += self.size
            alive["most"] = max(alive["most"], alive["now"])

        def __del__(self):
            alive["now"] -= self.size

    with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
        rates = [dict.fromkeys(theta, 0.1)] * steps
        sweep([loss] * steps, query, theta, rates, reverse_over_reverse)
    return alive["most"]


@pytest.mark.parametrize("hvp", ["exact", "forward_over_reverse", None])
def test_losses_of_earlier_steps_count_too(hvp):
    """The multi-step loss of MAML++, with rates that are learned; also at first order."""
    loss, query, theta = small_losses()
    weights = [0.1, 0.0, 0.3, 0.6]
    rates = [{k: torch.tensor(0.1 * (n + 1)).double() for k in theta} for n in range(3)]
    learned = [{k: a.clone().requires_grad_() for k, a in rate.items()} for rate in rates]
    phi, value = theta, weights[0] * query(theta)
    for rate, weight in zip(learned, weights[1:], strict=True):
        grads = torch.autograd.grad(loss(phi), list(phi.values()), create_graph=hvp is not None)
        phi = {n: phi[n] - rate[n] * g for n, g in zip(phi, grads, strict=True)}
        value = value + weight * query(phi)
    flat = [a for rate in learned for a in rate.values()]
    expected = torch.autograd.grad(value, [*theta.values(), *flat])
    early = {k: partial(_times, w, query) for k, w in enumerate(weights[:-1]) if w}
    product = hvp and hessian_vector_product(hvp, torch.float64)
    found = sweep([loss] * 3, partial(_times, 0.6, query), theta, rates, product, early)
    torch.testing.assert_close(found.loss, value.detach(), rtol=1e-12, atol=0)
    parts = list(theta)
    assert relative_error(found.params, dict(zip(parts, expected, strict=False))) < 1e-10
    got = [a for rate in found.rates for a in rate.values()]
    for ours, theirs in zip(got, expected[len(parts) :], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-13)


def _times(weight, loss, params):
    return weight * loss(params)
