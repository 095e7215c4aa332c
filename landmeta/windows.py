"""Overlapping windows over a raster, and blending what was predicted in them. No files here.

Windows form a full grid, so their weights are products of one weight by row and one by column, and
each axis can be normalised for itself. Only the rows in work are held.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True)
class Axis:
    """The windows along the rows, or along the columns, of a raster.

    Attributes:
        length: pixels of the raster along this axis.
        tile: pixels of a window. Where the raster is smaller than a window, there is one window,
            which reaches beyond the end.
        starts: first pixel of each window, ascending; the first is 0 and the last window ends with
            the raster.
        weights: share of each window in each of its pixels, shape (window, tile), all above 0. At
            every pixel of the raster the shares of the windows that cover it sum to 1.
    """

    length: int
    tile: int
    starts: tuple[int, ...]
    weights: NDArray[np.float32] = field(repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def span(self) -> int:
        """Pixels of a window that lie in the raster."""
        return min(self.tile, self.length)

    def end(self, window: int) -> int:
        """The pixel up to which no window after `window` reaches."""
        return self.starts[window + 1] if window + 1 < len(self) else self.length

    def lead(self, window: int) -> int:
        """The first window that reaches into the pixels from `window`'s first one on."""
        return next(
            w for w in range(window + 1) if self.starts[w] + self.span > self.starts[window]
        )


def cut(length: int, tile: int, overlap: int) -> Axis:
    """Spread windows of `tile` pixels evenly over `length` pixels, each two sharing ≥ `overlap`.

    The weights fall as a squared sine from a window's middle to its rim, where a network sees the
    least context; sampled at pixel centres they never reach 0, so the outermost pixels, which one
    window alone covers, have that window's full weight.
    """
    if not 0 <= overlap < tile or length < 1:
        raise ValueError(f"no windows of {tile} pixels with {overlap} overlap over {length}")
    span = min(length, tile)
    count = 1 + math.ceil((length - span) / (tile - overlap))
    starts = tuple(round(s) for s in np.linspace(0, length - span, count))
    ramp = np.sin(np.pi * (np.arange(tile) + 0.5) / tile) ** 2
    total = np.zeros(length)
    for start in starts:
        total[start : start + span] += ramp[:span]
    weights = np.ones((count, tile), np.float32)
    for window, start in enumerate(starts):
        weights[window, :span] = ramp[:span] / total[start : start + span]
    return Axis(length, tile, starts, weights)


def pad_by_mirror(pixels: NDArray[Scalar], tile: int) -> NDArray[Scalar]:
    """Mirror the last two axes at their end until they are `tile` long."""
    rows, cols = (max(0, tile - n) for n in pixels.shape[-2:])
    if not rows and not cols:
        return pixels
    none = [(0, 0)] * (pixels.ndim - 2)
    padded: NDArray[Any] = np.pad(pixels, [*none, (0, rows), (0, cols)], mode="symmetric")
    return padded


class Strip:
    """The blended rows in work: sums of weighted windows, from the top of the raster down.

    Add the windows of one row of windows in any order, then take what is `finished`. It holds
    channels × tile × width numbers, whatever the height of the raster. It may begin at any row of
    windows; what it finishes is whole from that row on whose `Axis.lead` it began at.
    """

    def __init__(self, rows: Axis, cols: Axis, channels: int, first: int = 0) -> None:
        self.rows, self.cols = rows, cols
        self.row = first
        """Number of the row of windows in work."""
        self._sums = np.zeros((channels, rows.span, cols.length), np.float32)

    def add(self, col: int, values: NDArray[np.float32]) -> None:
        """Blend in a window of the row in work.

        Args:
            col: number of the window in its row.
            values: shape (channel, tile, tile).
        """
        height, width = self.rows.span, self.cols.span
        by_row = self.rows.weights[self.row, :height, None]
        by_col = self.cols.weights[col, :width]
        start = self.cols.starts[col]
        self._sums[:, :, start : start + width] += values[:, :height, :width] * (by_row * by_col)

    def finished(self) -> NDArray[np.float32]:
        """The rows that no later window reaches, shape (channel, row, width); go on to the next."""
        count = self.rows.end(self.row) - self.rows.starts[self.row]
        done = self._sums
        # A new array: the finished rows may still be written while the next ones are summed.
        self._sums = np.zeros_like(done)
        self._sums[:, : done.shape[1] - count] = done[:, count:]
        self.row += 1
        return done[:, :count]
