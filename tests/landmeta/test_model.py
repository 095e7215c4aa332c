"""The network: layers, standardisation, missing values, depth."""

import pytest
import torch
from torch import nn

from landmeta.errors import ConfigError
from landmeta.model import UNetConfig, build_net, trainable

SMALL = UNetConfig(depth=3, decoder_channels=(16, 8, 8))


@pytest.mark.parametrize("bands", [1, 3, 15])
def test_any_number_of_bands_and_classes(bands):
    net = build_net(SMALL, bands, 7)
    assert net(torch.randn(2, bands, 32, 48)).shape == (2, 7, 32, 48)


def test_layers_are_as_configured():
    smooth = list(build_net(SMALL, 3, 4).modules())
    assert not any(isinstance(m, nn.BatchNorm2d | nn.ReLU | nn.MaxPool2d) for m in smooth)
    assert any(isinstance(m, nn.GroupNorm) for m in smooth)
    kinked = UNetConfig(depth=3, decoder_channels=(16, 8, 8), activation="relu", pooling="max")
    layers = list(build_net(kinked, 3, 4).modules())
    assert any(isinstance(m, nn.MaxPool2d) for m in layers)
    assert all(not m.inplace for m in layers if isinstance(m, nn.ReLU))


@pytest.mark.parametrize("encoder", ["resnet18", "mobilenet_v2", "efficientnet-b0"])
def test_every_parameter_is_used(encoder):
    net = build_net(SMALL.model_copy(update={"encoder": encoder}), 3, 4)
    net(torch.randn(1, 3, 32, 32)).square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_prediction_of_a_tile_does_not_depend_on_its_batch():
    net = build_net(SMALL, 3, 4).double()
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(net(images)[:1], net(images[:1]))


def test_missing_values_count_as_the_mean_and_do_not_spread():
    net = build_net(SMALL, 2, 4)
    net.set_standardisation(torch.tensor([100.0, -3.0]), torch.tensor([10.0, 0.5]))
    image = torch.randn(1, 2, 32, 32) * 10 + 100
    image[0, 1, 5:9] = -3.0
    missing = image.clone()
    missing[0, 1, 5:9] = torch.nan
    assert torch.equal(net(image), net(missing))


def test_same_seed_same_weights_and_global_generator_untouched():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, second, other = (trainable(build_net(SMALL, 3, 4, seed=s)) for s in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert any(not torch.equal(first[k], other[k]) for k in first)


def test_bad_encoder_and_bad_decoder_are_explained():
    with pytest.raises(ConfigError, match="no-such-net"):
        build_net(UNetConfig(encoder="no-such-net", depth=3, decoder_channels=(8, 8, 8)), 3, 4)
    with pytest.raises(ConfigError, match="2 entries"):
        build_net(UNetConfig(depth=3, decoder_channels=(8, 8)), 3, 4)


def test_weights_are_channels_last_and_stay_so():
    net = build_net(SMALL, 3, 4)
    for params in (trainable(net), dict(net.named_parameters())):
        weights = [p for p in params.values() if p.dim() == 4]
        assert weights
        assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)
