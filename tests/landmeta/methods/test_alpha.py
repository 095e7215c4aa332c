"""Alpha MAML: the hyper-gradient of the inner rate, both rates' moves, and the whole way."""

import json

import pytest
import torch

from landmeta.checkpoint import load_checkpoint
from landmeta.methods.alpha import INNER, OUTER
from tests.landmeta.methods.episodes import numeric_slope, small_episode, small_method
from tests.whole import check_whole_way


def test_inner_rate_moves_against_the_slope_of_the_loss():
    method, theta = small_method("alpha_maml", inner={"rate": 0.2})
    episode = small_episode()
    _, found = method.meta_gradient(theta, episode, 0.0)
    one = {INNER: torch.tensor(1.0, dtype=torch.float64)}
    slope = numeric_slope(lambda p: method.meta_gradient(p, episode, 0.0)[0].log(), theta, one)
    assert found[INNER].item() == pytest.approx(-slope, rel=1e-5)
    assert abs(slope) > 1e-3


def test_meta_gradient_is_mamls():
    method, theta = small_method("alpha_maml")
    maml, plain = small_method("maml")
    _, found = method.meta_gradient(theta, small_episode(), 0.0)
    _, expected = maml.meta_gradient(plain, small_episode(), 0.0)
    for k, g in expected.items():
        torch.testing.assert_close(found[k], g, rtol=1e-8, atol=1e-12)


def test_rates_can_be_held():
    method, theta = small_method("alpha_maml", alpha={"inner": 0.0, "outer": 0.5})
    found = {k: torch.ones_like(p) for k, p in theta.items()}
    with torch.no_grad():
        factor = method.own_step(theta, found, lambda: found)
    assert theta[INNER].exp().item() == pytest.approx(0.05)
    assert theta[OUTER].item() == 0.5
    assert factor == pytest.approx(torch.tensor(0.5).exp().item())


def test_whole_way(tiny, tmp_path):
    """Also the factor on the outer rate, which depends on Adam's moments, survives a resume."""
    path = check_whole_way(tiny, tmp_path, "alpha_maml")
    params = load_checkpoint(path).params
    assert params[INNER].exp().item() != pytest.approx(0.05, rel=1e-4)
    logged = [
        [json.loads(line) for line in (tmp_path / n / "log.jsonl").read_text().splitlines()]
        for n in ("whole", "broken")
    ]
    rates = [[r["outer_rate_factor"] for r in lines if "inner_rate" in r] for lines in logged]
    assert rates[0] == rates[1]
    assert rates[0][-1] != 1
