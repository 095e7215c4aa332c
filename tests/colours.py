"""Tiles whose classes have colours of their own."""

import numpy as np

from landmeta.taskset import Tiles

CLASSES = 4


def world(seed, tiles=3, size=12, missing=0.0):
    """Three of four classes, each of its own colour, in blocks."""
    rng = np.random.default_rng(seed)
    blocks = rng.choice([0, 1, 3], (tiles, size // 4, size // 4))
    label = np.kron(blocks, np.ones((1, 4, 4))).astype(np.uint8)
    colours = np.array([[10, 200, 30], [90, 20, 120], [0, 0, 0], [200, 150, 220]], np.float32)
    image = colours[label].transpose(0, 3, 1, 2) + rng.normal(0, 12, (tiles, 3, size, size))
    image[rng.random(image.shape) < missing] = np.nan
    return Tiles(image.astype(np.float32), label)
