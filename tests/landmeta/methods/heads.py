"""Methods with heads from the support, on a tiny network in float64."""

from dataclasses import replace

import pytest
import torch

from landmeta.losses import cross_entropy
from landmeta.meta.inner import Batch
from landmeta.methods import EpisodeBatch, MethodSettings, make_method
from landmeta.model import UNetConfig

HEADS = ("ridge", "logistic", "svm", "alpaca", "protonet", "matching", "proto_maml")
LEGENDS = ("fixed", "open")
BANDS, CLASSES, SIDE = 3, 4, 16
UNET = UNetConfig(depth=3, decoder_channels=(8, 8, 4), skip_channels=4)


def double(method, legend="fixed", **head):
    """The method and θ, both in float64."""
    settings = {"method": method, "legend": legend, "head": head, "inner": {"steps": 2}}
    made = make_method(MethodSettings.model_validate(settings), UNET, BANDS, CLASSES, seed=1)
    made.net.double()
    generator = torch.Generator().manual_seed(2)
    theta = {}
    for name, p in made.initial().items():
        noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
        # The prior starts at nothing; any other shows more.
        moved = p.double() + (0.3 * noise if name.startswith(("prior", "fit.precision")) else 0)
        theta[name] = moved.detach().requires_grad_()
    return made, theta


def episode(missing=None, seed=0):
    """Two tiles of support, two of query; the support lacks the class `missing`."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(4, BANDS, SIDE, SIDE, generator=generator, dtype=torch.float64)
    label = torch.randint(0, CLASSES, (4, SIDE // 4, SIDE // 4), generator=generator)
    label = label.repeat_interleave(4, 1).repeat_interleave(4, 2)
    image[:, 0] += 2 * label
    image[:, 1] -= (label == 1) * 2
    label[:, :2] = 255
    if missing is not None:
        label[:2][label[:2] == missing] = 255
    return EpisodeBatch(Batch(image[:2], label[:2]), Batch(image[2:], label[2:]), CLASSES)


def check_meta_gradient(method, legend):
    """Of the query loss and, with a fixed legend, half that without support besides."""
    made, theta = double(method, legend, pixels=150)
    task = episode(missing=3)
    judged = task.query
    if legend == "open":
        label = judged.label.masked_fill(judged.label == 3, 255)
        judged = replace(judged, label=label)

    def query_loss(params):
        phi = made.start(params, task.support, CLASSES)
        total = cross_entropy(made.logits(phi, judged.image), judged.label)
        if legend == "fixed":
            prior = made.start(params, None, CLASSES)
            total = total + 0.5 * cross_entropy(made.logits(prior, judged.image), judged.label)
        return total.item()

    _, grads = made.meta_gradient(theta, task, 0.0)
    check_direction(query_loss, theta, grads)


def check_direction(function, theta, grads):
    """Derivatives along random directions, in the body alone and in all the rest."""
    generator = torch.Generator().manual_seed(1)
    for body in (True, False):
        move = {
            k: torch.randn(p.shape, generator=generator, dtype=torch.float64)
            * (k.startswith(("unet.", "skip.")) == body)
            for k, p in theta.items()
        }
        length = torch.sqrt(sum((d**2).sum() for d in move.values()))
        h = 1e-5  # short: slack and k-means have corners
        ahead, behind = (
            function({k: (p + s * h / length * move[k]).detach() for k, p in theta.items()})
            for s in (1, -1)
        )
        exact = float(sum((grads[k] * move[k]).sum() for k in theta) / length)
        assert abs(exact) > 1e-5
        assert exact == pytest.approx((ahead - behind) / (2 * h), rel=1e-5, abs=1e-9)
