"""Batch norm per step against torch's own batch norm."""

import torch
from torch import nn
from torch.func import functional_call

from landmeta.model import UNetConfig, build_net
from landmeta.stepnorm import StepNorm, observed, with_step_norm


def test_statistics_of_the_batch_or_those_put_in():
    x = torch.randn(3, 5, 4, 4, dtype=torch.float64) * 3 + 1
    ours, theirs = StepNorm(5, eps=1e-3).double(), nn.BatchNorm2d(5, eps=1e-3).double()
    with torch.no_grad():
        for p in (*ours.parameters(), *theirs.parameters()):
            p.copy_(torch.arange(1.0, 6))
    torch.testing.assert_close(ours(x), theirs.train()(x))
    with torch.no_grad():
        theirs.running_mean.copy_(torch.arange(5.0))
        theirs.running_var.copy_(torch.arange(2.0, 7))
    put_in = {"mean": theirs.running_mean, "var": theirs.running_var}
    torch.testing.assert_close(functional_call(ours, put_in, (x,)), theirs.eval()(x))


def test_one_value_of_a_channel_is_no_error():
    assert torch.equal(StepNorm(2, eps=1e-5)(torch.ones(1, 2, 1, 1)), torch.zeros(1, 2, 1, 1))


def test_second_derivatives():
    layer = StepNorm(2, eps=1e-3).double()
    x = torch.randn(2, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(layer, x)


def test_each_group_norm_is_replaced_and_observed():
    config = UNetConfig(encoder="resnet18", depth=3, decoder_channels=(8, 8, 8))
    net = build_net(config, 3, 2)
    norms = sum(isinstance(m, nn.GroupNorm) for m in net.modules())
    names = with_step_norm(net)
    assert len(names) == norms > 10
    assert not any(isinstance(m, nn.GroupNorm) for m in net.modules())
    seen, image = {}, torch.randn(2, 3, 16, 16)
    inputs = []
    net.get_submodule(names[0]).register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    with observed(net, names, seen):
        net(image)
    assert len(seen) == 2 * norms
    torch.testing.assert_close(seen[f"{names[0]}.mean"], inputs[0].mean(dim=(0, 2, 3)))
    torch.testing.assert_close(seen[f"{names[0]}.var"], inputs[0].var(dim=(0, 2, 3), correction=0))
    before = dict(seen)
    net(image + 1)
    assert all(seen[k] is before[k] for k in seen)  # no longer observed
