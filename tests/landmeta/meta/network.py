"""The U-Net's real layers in float64 with one small task, for tests of derivatives."""

import torch

from landmeta.losses import segmentation_loss
from landmeta.meta.inner import Batch, on
from landmeta.model import UNetConfig, build_net, trainable

SMOOTH = UNetConfig(encoder="resnet18", depth=3, decoder_channels=(16, 8, 8))
CLASSES, BANDS, SIZE = 4, 5, 16


def small_task():
    """The network, its support and its query."""
    torch.manual_seed(0)
    net = build_net(SMOOTH, BANDS, CLASSES, seed=3).double()
    images = torch.randn(4, BANDS, SIZE, SIZE, dtype=torch.float64)
    images[0, 1, :4] = torch.nan
    labels = torch.randint(0, CLASSES, (4, SIZE, SIZE))
    labels[:, :3] = 255
    return net, Batch(images[:2], labels[:2]), Batch(images[2:], labels[2:])


def small_losses():
    """Support loss, query loss and θ of that network."""
    net, support, query = small_task()
    loss = segmentation_loss(net)
    return on(loss, support), on(loss, query), trainable(net)


def relative_error(found, expected):
    """‖found − expected‖ / ‖expected‖ over all entries of parameter dicts."""
    flat = [torch.cat([d[k].flatten() for k in expected]) for d in (found, expected)]
    return float((flat[0] - flat[1]).norm() / flat[1].norm())
