"""How sure a map is: confidence, entropy and class probabilities as bytes, 255 = nodata."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landmeta.legend import IGNORE, Legend
from landmeta.raster import Layer

STEPS = 250
"""A probability of 1 as it is stored: 1 / 250 = 0.004 has few digits, and 255 stays nodata."""


def entropy(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shannon's entropy (1948, doi:10.1002/j.1538-7305.1948.tb01338.x) over the logarithm of the
    number of classes: 0 where one class is certain, 1 where all are equally likely.

    Args:
        probabilities: shape (class, row, col); sums to 1 over the classes, or is 0 in all.

    Returns:
        Shape (row, col); 0 with one class alone.
    """  # noqa: D205 - the sentence is long
    logarithms = np.log(probabilities, where=probabilities > 0, out=np.zeros_like(probabilities))
    most = np.log(max(2, len(probabilities)))
    found: NDArray[np.float32] = -(probabilities * logarithms).sum(axis=0) / np.float32(most)
    return found


MOST_NOVEL = 2.5
"""Unlikeness in parts of its threshold that is told apart: 250 percent, and 255 stays nodata."""


@dataclass(frozen=True)
class Quantities:
    """Which layers a map has beside its classes."""

    confidence: bool = True
    entropy: bool = False
    probabilities: bool = False
    novelty: bool = False

    def layers(self, out: Path, legend: Legend, calibration: str) -> list[Layer]:
        """The layers of the map `out`, in the order of the bands of `to_bytes`.

        Args:
            out: the map; the others are named after it.
            legend: its classes.
            calibration: what the probabilities are worth, in words.
        """
        layers = [Layer(out, "land cover", legend)]
        if self.confidence:
            name = f"confidence (percent, {calibration})"
            layers.append(Layer(beside(out, "confidence"), name, unit="%"))
        if self.entropy:
            name = f"entropy (percent of the most that is possible, {calibration})"
            layers.append(Layer(beside(out, "entropy"), name, unit="%"))
        if self.probabilities:
            path = beside(out, "probabilities")
            layers.append(Layer(path, "probabilities", bands=legend.names, scale=1 / STEPS))
        if self.novelty:
            name = "novelty (percent of what is still like a labelled place; above 100 unlike all)"
            layers.append(Layer(beside(out, "novelty"), name, unit="%"))
        return layers

    def to_bytes(self, blended: NDArray[np.float32], legend: Legend) -> NDArray[np.uint8]:
        """Everything that is kept of some rows.

        Args:
            blended: class probabilities, shape (class, row, width); all 0 means no data. With
                novelty, one channel more: unlikeness in parts of its threshold.
            legend: of the classes.

        Returns:
            Shape (band, row, width): class ids, then confidence and entropy in percent and the
            probability of each class in steps of 1 / `STEPS`, and novelty in percent, as far as
            they are wanted.
        """
        blended, unlike = blended[: len(legend)], blended[len(legend) :]
        best = blended.max(axis=0)
        nodata = best == 0
        index = blended.argmax(axis=0).astype(np.uint8)
        index[nodata] = IGNORE
        bands: list[NDArray[np.uint8]] = [legend.to_ids(index)[None]]
        if self.confidence:
            bands.append(_scaled(best, 100)[None])
        if self.entropy:
            bands.append(_scaled(entropy(blended), 100)[None])
        if self.probabilities:
            bands.append(_scaled(blended, STEPS))
        if self.novelty:
            bands.append(np.rint(unlike * 100).clip(0, 100 * MOST_NOVEL).astype(np.uint8))
        stacked = np.concatenate(bands)
        stacked[:, nodata] = IGNORE
        return stacked


def _scaled(values: NDArray[np.float32], one: int) -> NDArray[np.uint8]:
    """Shares as bytes, 1 as `one`."""
    return np.rint(values * one).clip(0, one).astype(np.uint8)


def split(bands: NDArray[np.uint8], layers: Sequence[Layer]) -> list[NDArray[np.uint8]]:
    """The bands of each layer."""
    ends = np.cumsum([layer.count for layer in layers])
    return np.split(bands, ends[:-1])


def beside(out: Path, what: str) -> Path:
    """Where what belongs to the map `out` goes: `map.tif` to `map.confidence.tif`."""
    return out.with_name(f"{out.stem}.{what}{out.suffix}")
