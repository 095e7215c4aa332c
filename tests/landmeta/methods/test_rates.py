"""Learned rates: their gradients, their steps, and the whole way through the program."""

import pytest
import torch

from landmeta.adaptation import adapt_params
from landmeta.checkpoint import load_checkpoint
from landmeta.meta.hessian import plain_gradient
from landmeta.meta.inner import inner_loop
from tests.landmeta.methods.episodes import (
    along,
    numeric_slope,
    random_direction,
    small_episode,
    small_method,
)
from tests.whole import check_whole_way

NAMES = ["meta_sgd", "lslr"]


@pytest.mark.parametrize("name", NAMES)
def test_meta_gradient_agrees_with_differences_also_of_the_rates(name):
    method, theta = small_method(name)
    episode = small_episode()
    for k in theta:  # no two rates alike
        if k.startswith("rates."):
            generator = torch.Generator().manual_seed(len(k))
            noise = torch.randn(theta[k].shape, generator=generator, dtype=torch.float64)
            theta[k] = (theta[k] + 0.5 * noise).detach()
    _, grads = method.meta_gradient(theta, episode, 0.0)
    rates = [k for k in theta if k.startswith("rates.")]
    network = [k for k in theta if not k.startswith("rates.")]
    for names in (rates, network, ["rates.head.weight"]):
        move = random_direction(theta, names)
        slope = numeric_slope(lambda p: method.meta_gradient(p, episode, 0.0)[0], theta, move)
        assert along(grads, move) == pytest.approx(slope, rel=1e-5, abs=1e-9)
        assert abs(slope) > 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_untrained_rates_are_those_of_maml(name):
    method, theta = small_method(name)
    maml, plain = small_method("maml")
    _, found = method.meta_gradient(theta, small_episode(), 0.0)
    _, expected = maml.meta_gradient(plain, small_episode(), 0.0)
    for k, g in expected.items():
        torch.testing.assert_close(found[k], g, rtol=1e-8, atol=1e-12)
    support = small_episode().support
    how = method.trained()
    assert (how.optimizer, how.rate, how.steps) == ("trained", 1.0, 3)
    adapted = adapt_params(method, theta, support, how, 4)
    expected = inner_loop(maml.loss, plain, support, steps=3, rate=0.05)
    for k, p in expected.items():
        torch.testing.assert_close(adapted[k], p)


def test_each_step_has_its_rates_and_further_steps_those_of_the_last():
    method, theta = small_method("lslr", inner={"steps": 2})
    values = torch.tensor([0.1, 0.02], dtype=torch.float64)
    theta |= {k: values.log() for k in theta if k.startswith("rates.")}
    support = small_episode().support
    steps = method.trained_steps(theta, method.start(theta, support, 4), support, 2.0)
    phi = method.start(theta, support, 4)
    for rate in (0.2, 0.04, 0.04, 0.04):
        _, grads = plain_gradient(lambda p: method.inner_loss(p, support), phi)
        phi = {k: p.detach() - rate * grads[k] for k, p in phi.items()}
        found = next(steps)
        for k, p in phi.items():
            torch.testing.assert_close(found[k], p)


@pytest.mark.parametrize("name", NAMES)
def test_only_what_adapts_has_rates(name):
    method, theta = small_method(name, inner={"layers": ["head."]})
    assert {k for k in theta if k.startswith("rates.")} == {"rates.head.weight", "rates.head.bias"}
    assert method.monitor(theta) == {"inner_rate": pytest.approx(0.05)}


@pytest.mark.parametrize("name", NAMES)
def test_whole_way(tiny, tmp_path, name):
    path = check_whole_way(tiny, tmp_path, name)
    params = load_checkpoint(path).params
    moved = [
        float((p.detach().exp() - 0.05).abs().max()) for k, p in params.items() if "rates." in k
    ]
    assert 0 < max(moved) < 0.01
    region = load_checkpoint(tmp_path / "region.safetensors")
    assert not any("rates." in k for k in region.params)
    assert "inner_rate" in (tmp_path / "whole" / "log.jsonl").read_text()
