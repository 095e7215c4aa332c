"""Methods in float64 on one small task, and a whole run of the program on the tiny task set."""

import pytest
import torch

from landmeta.meta.inner import Batch
from landmeta.methods import EpisodeBatch, MethodSettings, make_method
from landmeta.model import UNetConfig

NET = UNetConfig(encoder="resnet18", depth=3, decoder_channels=(8, 8, 8), skip_channels=4)
BANDS, CLASSES, SIZE = 3, 4, 16


def small_method(name, **settings):
    """The method on a small smooth network, in float64."""
    settings = MethodSettings.model_validate({"method": name} | settings)
    method = make_method(settings, NET, BANDS, CLASSES, seed=3)
    method.net.double()
    return method


def small_episode(seed=0, classes=CLASSES):
    """Two support tiles, partly labelled, and two query tiles."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(4, BANDS, SIZE, SIZE, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, classes, (4, SIZE, SIZE), generator=generator)
    labels[:, :3] = 255
    return EpisodeBatch(
        Batch(images[:2], labels[:2]), Batch(images[2:], labels[2:]), classes=classes
    )


def check_meta_gradient(method, theta, query_loss, episode, rel=1e-5):
    """`meta_gradient` against central differences of `query_loss(θ)`, along random directions."""
    value, grads = method.meta_gradient(theta, episode, 0.0)
    assert float(value) == pytest.approx(query_loss(theta), rel=1e-10)
    assert grads.keys() == theta.keys()
    generator = torch.Generator().manual_seed(1)
    parts = sorted({name.split(".")[0] for name in theta})
    for part in ["", *parts]:  # all of θ, and each part alone, however small its share
        move = {
            k: torch.randn(p.shape, generator=generator, dtype=torch.float64)
            for k, p in theta.items()
            if k.startswith(part)
        }
        length = torch.sqrt(sum((d**2).sum() for d in move.values()))
        ahead, behind = (
            query_loss(theta | {k: theta[k].detach() + s * d / length for k, d in move.items()})
            for s in (1e-4, -1e-4)
        )
        along = float(sum((grads[k] * d).sum() for k, d in move.items()) / length)
        assert along == pytest.approx((ahead - behind) / 2e-4, rel=rel, abs=1e-8), part
