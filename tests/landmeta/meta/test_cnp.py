"""Means of labelled pixels against a loop."""

import numpy as np
import torch

from landmeta.meta.cnp import class_means, labelled_pixels, pooled


def test_means_are_those_of_a_loop_over_pixels():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    label = torch.randint(0, 3, (2, 4, 5), generator=generator)
    label[label == 1] = 255
    features[:, :, 0, 0], label[:, 0, 0] = torch.nan, 255
    of_class = {c: [] for c in range(4)}
    for tile, row, col in np.ndindex(2, 4, 5):
        if label[tile, row, col] != 255:
            of_class[int(label[tile, row, col])].append(features[tile, :, row, col].numpy())
    means, count = class_means(*labelled_pixels(features, label), 4)
    assert count.tolist() == [len(of_class[c]) for c in range(4)]
    for c in (0, 2):
        np.testing.assert_allclose(means[c].numpy(), np.mean(of_class[c], axis=0))
    assert not means[[1, 3]].any()
    np.testing.assert_allclose(pooled(means, count).numpy(), (means[0] + means[2]).numpy() / 2)


def test_nothing_labelled_is_nothing():
    none = labelled_pixels(torch.randn(1, 3, 2, 2), torch.full((1, 2, 2), 255))
    means, count = class_means(*none, 2)
    assert not means.any()
    assert not pooled(means, count).any()
