"""Points in groups that anyone can tell apart."""

import numpy as np


def blobs(sizes, distance=20.0, seed=0):
    """Points and the group of each."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(sizes)), sizes)
    centres = distance * rng.normal(size=(len(sizes), 6))
    return centres[group] + rng.normal(size=(len(group), 6)), group
