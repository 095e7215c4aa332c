"""Implicit MAML on the network, and the whole way through the program."""

import pytest
import torch

from landmeta.adaptation import adapt_params
from landmeta.meta.hessian import plain_gradient
from tests.landmeta.methods.episodes import (
    along,
    numeric_slope,
    random_direction,
    small_episode,
    small_method,
)
from tests.whole import check_whole_way


@pytest.mark.parametrize("layers", [None, ["head."]])
def test_meta_gradient_agrees_with_differences_of_where_a_long_loop_ends(layers):
    method, theta = small_method(
        "imaml",
        inner={"steps": 80, "rate": 0.01, "layers": layers},
        implicit={"strength": 30.0, "damping": 0, "iterations": 20},
    )
    episode = small_episode()
    _, grads = method.meta_gradient(theta, episode, 0.0)
    names = [k for k in theta if k.startswith(("head", "unet.decoder"))]
    move = random_direction(theta, names)
    slope = numeric_slope(lambda p: method.meta_gradient(p, episode, 0.0)[0], theta, move)
    assert along(grads, move) == pytest.approx(slope, rel=1e-3)


def test_adapting_is_held_to_the_start():
    support = small_episode().support
    away = []
    for strength in (0.1, 5.0):
        method, theta = small_method("imaml", implicit={"strength": strength})
        how = method.trained().model_copy(update={"steps": 30})
        phi = adapt_params(method, theta, support, how, 4)
        away.append(sum(float((phi[k] - theta[k]).detach().norm()) for k in theta))
    assert away[0] > 1.5 * away[1] > 0


def test_one_step_is_that_of_gradient_descent():
    method, theta = small_method("imaml")
    support = small_episode().support
    how = method.trained().model_copy(update={"steps": 1, "rate": 2.0})
    found = adapt_params(method, theta, support, how, 4)
    _, grads = plain_gradient(lambda p: method.inner_loss(p, support), theta)
    for k, p in theta.items():
        torch.testing.assert_close(found[k], p.detach() - 2 * 0.05 * grads[k])


@pytest.mark.parametrize("solver", ["conjugate_gradient", "gradient_descent"])
def test_whole_way(tiny, tmp_path, solver):
    check_whole_way(tiny, tmp_path, "imaml", implicit={"solver": solver, "iterations": 2})
