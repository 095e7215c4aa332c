"""Task vectors and constant channels in the network."""

import pytest
import torch
from torch.func import functional_call

from landmeta.film import Film
from landmeta.model import UNetConfig, build_net, trainable

SMALL = UNetConfig(depth=3, decoder_channels=(16, 8, 8))


def test_scale_and_shift_are_those_of_the_formula():
    film = Film(3, 2)
    map_, context = torch.randn(4, 2, 5, 5), torch.randn(3)
    gamma, beta = (film.linear.weight @ context).reshape(2, 2, 1, 1)
    torch.testing.assert_close(film(map_, context), (1 + gamma) * map_ + beta)


@pytest.mark.parametrize("more", [{"context": 4}, {"constants": 3}])
def test_a_task_not_told_changes_nothing(more):
    plain, told = build_net(SMALL, 3, 5, seed=1), build_net(SMALL, 3, 5, seed=2, **more)
    own = told.state_dict()
    with torch.no_grad():
        for name, p in plain.named_parameters():
            own[name][tuple(slice(n) for n in p.shape)].copy_(p)
    image = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(told(image), plain(image))
    if "context" in more:
        assert torch.equal(told(image), plain(image))
        assert "context" not in told.state_dict()


def test_a_task_vector_that_is_swapped_in_reaches_every_modulated_map():
    net = build_net(SMALL, 3, 5, context=4)
    theta, image = trainable(net), torch.randn(2, 3, 32, 32)
    context = torch.randn(4, requires_grad=True)
    logits = functional_call(net, theta | {"context": context}, (image,))
    assert not torch.allclose(logits, net(image))
    logits.square().sum().backward()
    films = {n: p for n, p in theta.items() if n.startswith("film.")}
    assert len(films) == SMALL.depth + 1
    assert all(p.grad.abs().max() > 0 for p in [context, *films.values()])


def test_other_networks_stay_as_they_were():
    net = build_net(SMALL, 3, 5)
    assert {n.split(".")[0] for n in net.state_dict()} == {"mean", "std", "unet", "skip", "head"}


def test_constant_channels_matter_once_they_are_not_zero():
    net = build_net(SMALL, 3, 5, constants=2)
    theta, image = trainable(net), torch.randn(2, 3, 32, 32)
    before = functional_call(net, theta, (image,))
    moved = theta | {"constant": torch.tensor([1.0, -1.0], requires_grad=True)}
    after = functional_call(net, moved, (image,))
    assert not torch.allclose(before, after)
    after.square().sum().backward()
    assert moved["constant"].grad.abs().min() > 0
