"""Which regions are for meta-training, which for validation, which for the final test."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from landmeta.errors import ConfigError
from landmeta.taskset import Split


def assign_splits(
    regions: Iterable[str],
    *,
    val: Iterable[str] | float = 0.15,
    test: Iterable[str] | float = 0.2,
    seed: int = 0,
) -> dict[str, Split]:
    """Give each region a split.

    Args:
        regions: all region names.
        val: the regions for validation by name, or a share of all regions to draw at random (at
            least one; 0 for none).
        test: same for the final test.
        seed: of the draw.

    Raises:
        ConfigError: a named region does not exist, is in both splits, or none is left to train on.
    """
    everything = sorted(set(regions))
    free = list(np.random.default_rng(seed).permutation(everything))
    named = [set(s) if not isinstance(s, float) else set() for s in (val, test)]
    for names in named:
        missing = sorted(names - set(everything))
        if missing:
            raise ConfigError(
                f"no region named {', '.join(missing)}",
                remedy=f"the regions are: {', '.join(everything)}",
            )
    if named[0] & named[1]:
        raise ConfigError(
            f"regions in both val and test: {', '.join(sorted(named[0] & named[1]))}",
            remedy="name each region once",
        )
    free = [r for r in free if r not in named[0] | named[1]]
    chosen = []
    for share, names in zip((test, val), (named[1], named[0]), strict=True):
        if isinstance(share, float) and share > 0:
            count = max(1, round(share * len(everything)))
            names, free = set(free[:count]), free[count:]
        chosen.append(names)
    if not free:
        raise ConfigError(
            f"none of {len(everything)} regions is left for training",
            remedy="name fewer regions for val and test, or lower their shares",
        )
    test_names, val_names = chosen
    return {
        r: "test" if r in test_names else "val" if r in val_names else "train" for r in everything
    }
