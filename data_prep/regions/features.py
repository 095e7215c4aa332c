"""What describes an image for the grouping: one interface, several ways."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.regions.looks import Looks
from data_prep.regions.statistics import Features, Mask, image_features
from landmeta.errors import ConfigError

STATISTICS = "statistics"
_LONGEST = 612
"""Statistics are of the median image at 612 pixels: DeepGlobe's 2448 at a quarter."""

Describe = Callable[[NDArray[np.uint8], Mask], Features]
"""Colours (3, row, col) uint8 and where they are valid (row, col), to features (feature,)."""


@dataclass(frozen=True)
class Extractor:
    """A way to describe images.

    Attributes:
        name: as the user calls it.
        describe: what it does; may be called by several threads at a time.
        side: the pictures it looks at are squares of that many pixels; None for pictures in the
            images' own proportion.
        standardise: features are of different units; see `clustering.components`.
        session: entered while images are described.
    """

    name: str
    describe: Describe
    side: int | None
    standardise: bool
    session: Callable[[], AbstractContextManager[None]] = nullcontext

    def features(self, looks: Looks, number: int) -> Features:
        """Describe one image, shape (feature,). Errors as `Looks.see`."""
        side = self.side
        size = looks.in_proportion(number, _LONGEST) if side is None else (side, side)
        return self.describe(*looks.see(number, size))


def find_extractor(name: str, weights: Path | None = None) -> Extractor:
    """The extractor of that name.

    Args:
        name: `statistics` of colour and texture; a network of torchvision, such as `vgg16`; or
            one of timm, such as `timm/resnet18.a1_in1k`.
        weights: file of the network's weights; without it they are fetched where they are
            published.

    Raises:
        ConfigError: there is no such network, or the statistics are given weights.
        SourceNotFound: no such file, or what is published cannot be reached.
        UnsafeFile: the file is a pickle of more than weights; it was not loaded.
        UnreadableFile: it is damaged, or of another format.
        CheckpointMismatch: it is of another network.
    """
    if name == STATISTICS:
        if weights is not None:
            raise ConfigError(
                f"the statistics of colour and texture need no weights, but {weights} was given",
                remedy="leave the weights out, or name their network as the features",
            )
        return Extractor(STATISTICS, image_features, None, standardise=True)
    from data_prep.regions.networks import load_network, one_thread_an_image

    network = load_network(name, weights)
    return Extractor(name, network, network.side, standardise=False, session=one_thread_an_image)
