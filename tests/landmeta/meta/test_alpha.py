"""Hyper-gradients: signs and sizes by hand, and rates that come right by themselves."""

import pytest
import torch

from landmeta.meta.alpha import inner_move, outer_move


def test_outer_move_is_the_cosine():
    here = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor(0.0)}
    for last, cosine in (([2.0, 0.0], 1.0), ([-1.0, 0.0], -1.0), ([1.0, 1.0], 0.5**0.5)):
        before = {"a": torch.tensor(last), "b": torch.tensor(0.0)}
        assert outer_move(here, before).item() == pytest.approx(cosine)
    nothing = {"a": torch.zeros(2), "b": torch.tensor(0.0)}
    assert outer_move(here, nothing) == 0


def test_inner_move_is_the_elasticity_of_the_loss():
    assert inner_move(torch.tensor(2.0), torch.tensor(0.5)).item() == -0.25
    assert inner_move(torch.tensor(2.0), torch.tensor(-9.0)).item() == 1.0


@pytest.mark.parametrize("start", [0.001, 1.9])
def test_the_outer_rate_finds_its_way_on_a_quadratic(start):
    """Steps of gradient descent on ½w² want rates below 2; too small ones grow, too large fall."""
    w, last, log_rate = torch.tensor([1.0]), torch.zeros(1), torch.tensor(start).log()
    for _ in range(60):
        log_rate = log_rate + 0.1 * outer_move({"w": w}, {"w": last})
        last = w
        w = w - log_rate.exp() * w
    assert 0.05 < log_rate.exp() < 1.4
    assert abs(w.item()) < 0.3
