"""Test-time flips: a window is classified as it is and mirrored, and the answers are averaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from landmeta.legend import Legend
from landmeta.mapping import Classifier, Wary
from landmeta.taskset import Band

Ask: TypeAlias = Callable[[NDArray[np.float32]], NDArray[np.float32]]

FLIPS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))
"""Axes that are mirrored: none, left to right, top to bottom, both."""


@dataclass(frozen=True)
class Flipped:
    """A classifier that asks another four times and takes the mean of the probabilities.

    A mirrored image gives exactly the mirrored answer, whatever the other does.
    """

    classifier: Classifier

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands."""
        return self.classifier.bands

    @property
    def band_specs(self) -> tuple[Band, ...]:
        """The bands."""
        return self.classifier.band_specs

    @property
    def legend(self) -> Legend:
        """The classes."""
        return self.classifier.legend

    @property
    def tile_size(self) -> int:
        """Size of a window in pixels."""
        return self.classifier.tile_size

    def probabilities(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `Classifier.probabilities`."""
        return self._mean(self.classifier.probabilities, image)

    def unlikeness(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `landmeta.mapping.Wary.unlikeness`, the mean likewise."""
        return self._mean(cast("Wary", self.classifier).unlikeness, image)

    def _mean(self, ask: Ask, image: NDArray[np.float32]) -> NDArray[np.float32]:
        answers = [self._mirrored(ask, image, axes) for axes in FLIPS]
        # In pairs, so that a mirrored image changes the order within sums of two only.
        total = (answers[0] + answers[1]) + (answers[2] + answers[3])
        return total * np.float32(1 / len(FLIPS))

    @staticmethod
    def _mirrored(
        ask: Ask, image: NDArray[np.float32], axes: tuple[int, ...]
    ) -> NDArray[np.float32]:
        answer = ask(np.ascontiguousarray(np.flip(image, axes)))
        flipped: NDArray[np.float32] = np.flip(answer, axes)
        return flipped
