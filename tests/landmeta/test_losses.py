"""Losses against plain loops over pixels, and random subsets of pixels."""

import numpy as np
import pytest
import torch

from landmeta.losses import PIXEL_LOSSES, some_pixels
from landmeta.meta.inner import Batch

CLASSES = 4


@pytest.fixture
def pixels():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, CLASSES, 5, 5, generator=generator, dtype=torch.float64)
    label = torch.randint(0, 3, (2, 5, 5), generator=generator)  # class 3 is not there
    label[0, :2] = 255
    return logits, label


def by_hand(name, logits, label):
    """Pixel by pixel."""
    logits, label = logits.numpy(), label.numpy()
    counts = {c: int((label == c).sum()) for c in np.unique(label[label != 255])}
    total, labelled = 0.0, sum(counts.values())
    for tile, row, col in np.argwhere(label != 255):
        values, c = logits[tile, :, row, col], label[tile, row, col]
        p = np.exp(values[c]) / np.exp(values).sum()
        weight = {
            "cross_entropy": 1 / labelled,
            "balanced": 1 / (counts[c] * len(counts)),
            "focal": (1 - p) ** 2 / labelled,
        }[name]
        total -= weight * np.log(p)
    return total


@pytest.mark.parametrize("name", PIXEL_LOSSES)
def test_losses_agree_with_a_plain_loop(pixels, name):
    assert PIXEL_LOSSES[name](*pixels).item() == pytest.approx(by_hand(name, *pixels), rel=1e-12)


@pytest.mark.parametrize("name", PIXEL_LOSSES)
def test_losses_see_labelled_pixels_only(pixels, name):
    logits, label = pixels
    other = torch.where((label == 255)[:, None], torch.randn_like(logits) * 9, logits)
    torch.testing.assert_close(PIXEL_LOSSES[name](logits, label), PIXEL_LOSSES[name](other, label))
    nothing = PIXEL_LOSSES[name](logits.requires_grad_(), torch.full_like(label, 255))
    assert nothing.item() == 0
    assert not torch.autograd.grad(nothing, logits)[0].any()


@pytest.mark.parametrize("name", PIXEL_LOSSES)
def test_losses_have_second_derivatives(pixels, name):
    logits, label = pixels
    assert torch.autograd.gradgradcheck(
        lambda x: PIXEL_LOSSES[name](x, label[:1, 1:3, :2]),
        logits[:1, :, 1:3, :2].clone().requires_grad_(),
    )


def test_balanced_loss_does_not_change_when_pixels_of_a_class_are_repeated():
    logits = torch.randn(1, CLASSES, 1, 2)
    label = torch.tensor([[[0, 1]]])
    more = logits[..., [0, 0, 0, 0, 1]], label[..., [0, 0, 0, 0, 1]]
    torch.testing.assert_close(
        PIXEL_LOSSES["balanced"](*more), PIXEL_LOSSES["balanced"](logits, label)
    )


def test_some_pixels_are_labelled_ones_and_others_each_time():
    label = torch.randint(0, CLASSES, (2, 8, 8))
    label[:, :3] = 255
    batch = Batch(torch.zeros(2, 1, 8, 8), label)
    generator = torch.Generator().manual_seed(5)
    first, second = (some_pixels(batch, 10, generator).label for _ in range(2))
    again = some_pixels(batch, 10, torch.Generator().manual_seed(5)).label
    for drawn in (first, second):
        assert (drawn != 255).sum() == 10
        assert torch.equal(drawn[drawn != 255], label[drawn != 255])
    assert not torch.equal(first, second)
    assert torch.equal(first, again)
    assert torch.equal(some_pixels(batch, 999, generator).label, label)
