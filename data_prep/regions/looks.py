"""How images look: small pictures in red, green and blue of whatever bands and values they have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_prep.parallel import in_order
from data_prep.quarantine import Attempt, sort_out
from data_prep.regions.statistics import Features, Mask
from landmeta.imagery import Header, read_small, unreadable

Size = tuple[int, int]
"""Rows and columns."""

_RGB = (("R", "G", "B"), ("RED", "GREEN", "BLUE"), ("B4", "B3", "B2"), ("B04", "B03", "B02"))
"""Names of bands that are red, green and blue, in capitals: of photos and of Sentinel-2."""
_SAMPLE = 1000
"""Values of a band that an image contributes to the common stretch."""
_STRETCH = (2, 98)
"""Percentiles of the values of all images that become black and full brightness."""
_SMALLEST = 16


@dataclass(frozen=True)
class Looks:
    """How the images of a set are looked at, so that their colours can be compared.

    Attributes:
        headers: of the images.
        bands: places of red, green and blue among each header's bands.
        low, high: stored values that become 0 and 255, shape (3, 1, 1); None to keep the values.
    """

    headers: Sequence[Header]
    bands: tuple[int, int, int]
    low: Features | None
    high: Features | None

    def see(self, number: int, size: Size) -> tuple[NDArray[np.uint8], Mask]:
        """Colours (3, row, col) of an image, averaged to `size`, and where they are valid.

        What is not valid is grey.

        Raises:
            UnreadableFile: the file is truncated or damaged, or no pixel of it is valid.
        """
        values, valid = _read(self.headers[number], self.bands, size)
        if self.low is not None and self.high is not None:
            values = (values - self.low) / np.maximum(self.high - self.low, 1e-12) * 255
        rgb = np.rint(np.clip(np.where(valid, values, 128), 0, 255)).astype(np.uint8)
        return rgb, valid

    def in_proportion(self, number: int, longest: float) -> Size:
        """Size of an image's picture if the median image's longer side is to be `longest` pixels.

        All images shrink alike, so that their textures can be compared; none grows.
        """
        sides = [max(h.height, h.width) for h in self.headers]
        shrink = max(1.0, float(np.median(sides)) / longest)
        header = self.headers[number]
        # An image much larger than the median would take a second to look at: shrink it more.
        shrink = max(shrink, max(header.height, header.width) / (2 * longest))
        rows, cols = (
            max(_SMALLEST, round(side / shrink)) for side in (header.height, header.width)
        )
        return rows, cols


def look_at(headers: Sequence[Header], *, workers: int = 1) -> Looks:
    """How to look at these images: which bands are colours, and how bright is bright.

    Bands named R, G, B (or red …, or B4, B3, B2) are the colours; otherwise the first three, or
    the first alone. Bytes keep their values. Other values are stretched from their 2nd to their
    98th percentile, band by band, over all the images together that can be read.

    Raises:
        UnreadableFile: values are to be stretched, and no image can be read.
    """
    bands = colour_bands([band.name for band in headers[0].bands])
    if all(h.dtype == np.uint8 for h in headers):
        return Looks(headers, bands, None, None)
    jobs = [(header, bands) for header in headers]
    _, samples, _ = sort_out(jobs, in_order(Attempt(_sample), jobs, workers))
    low, high = np.percentile(np.concatenate(samples, axis=1), _STRETCH, axis=1)
    return Looks(headers, bands, low[:, None, None], high[:, None, None])


def colour_bands(names: Sequence[str]) -> tuple[int, int, int]:
    """Places of red, green and blue among bands of these names."""
    # Bands without names are called b1, b2, …: these are not Sentinel-2's.
    plain = [name if name[1:].isdigit() else name.upper() for name in names]
    for wanted in _RGB:
        if all(name in plain for name in wanted):
            red, green, blue = (plain.index(name) for name in wanted)
            return red, green, blue
    return (0, 1, 2) if len(names) >= 3 else (0, 0, 0)


def _read(header: Header, bands: Sequence[int], size: Size) -> tuple[Features, Mask]:
    pixels, valid = read_small(header, bands, size)
    everywhere: Mask = np.asarray(valid.all(axis=0))
    if not everywhere.any():
        raise unreadable(header.path, ValueError("no pixel of it is valid"))
    return pixels, everywhere


def _sample(job: tuple[Header, tuple[int, int, int]]) -> Features:
    """Some values of each colour, evenly spaced; shape (3, value)."""
    header, bands = job
    values, valid = _read(header, bands, (128, 128))
    found = values[:, valid]
    last = found.shape[1] - 1
    return found[:, np.linspace(0, last, min(_SAMPLE, last + 1)).astype(int)]
