"""Methods in float64 on a small episode, for tests of their gradients."""

import torch

from landmeta.meta.inner import Batch
from landmeta.methods import EpisodeBatch, MethodSettings, make_method
from landmeta.model import UNetConfig

BANDS, CLASSES, SIZE = 3, 4, 16
UNET = UNetConfig(encoder="resnet18", depth=3, decoder_channels=(8, 8, 8), skip_channels=4)


def small_method(name, **settings):
    """The method and its θ, in float64."""
    inner = {"steps": 3, "rate": 0.05} | settings.pop("inner", {})
    made = MethodSettings.model_validate({"method": name, "inner": inner, **settings})
    method = make_method(made, UNET, BANDS, CLASSES, seed=3)
    method.net.double()
    return method, method.initial()


def small_episode(seed=0):
    """Two support and two query tiles, labelled in part."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(4, BANDS, SIZE, SIZE, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, CLASSES, (4, SIZE, SIZE), generator=generator)
    labels[:, :3] = 255
    return EpisodeBatch(Batch(images[:2], labels[:2]), Batch(images[2:], labels[2:]), CLASSES, seed)


def numeric_slope(function, theta, direction, h=1e-4):
    """Central difference of `function` of θ along a direction given for some of its entries."""
    plus, minus = (
        function(theta | {k: (theta[k] + s * h * d).detach() for k, d in direction.items()})
        for s in (1, -1)
    )
    return (plus - minus).item() / (2 * h)


def random_direction(theta, names, seed=0):
    """Of length 1 over all `names` together."""
    generator = torch.Generator().manual_seed(seed)
    made = {n: torch.randn(theta[n].shape, generator=generator, dtype=torch.float64) for n in names}
    length = torch.sqrt(sum(d.square().sum() for d in made.values()))
    return {n: d / length for n, d in made.items()}


def along(gradient, direction):
    """Slope that a gradient claims."""
    return float(sum((gradient[n] * d).sum() for n, d in direction.items()))
