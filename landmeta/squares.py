"""What a model makes of an image, square by square: where it is unsure, and what it sees there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from landmeta.drawing import Placed
from landmeta.errors import ConfigError
from landmeta.legend import IGNORE
from landmeta.raster import Image
from landmeta.windows import cut, pad_by_mirror

MOST = 20_000
"""Squares that are kept: the most unsure ones, and as many at random."""
BATCH = 8
"""Windows classified at once."""
FULL = 0.75
"""Share of a square that must have data."""


class Featured(Protocol):
    """A classifier that also tells what its head sees."""

    @property
    def tile_size(self) -> int: ...  # noqa: D102

    def probabilities(self, image: NDArray[np.float32]) -> NDArray[np.float32]: ...  # noqa: D102

    def features(self, image: NDArray[np.float32]) -> NDArray[np.float32]: ...  # noqa: D102


@dataclass(frozen=True)
class Squares:
    """Squares of an image; one number or row for each.

    Attributes:
        row, col: their first row and column.
        label: class index that most of their pixels are given.
        share: how many pixels are given it, 0-1.
        confidence: mean probability of the most likely class.
        entropy: mean entropy of the class probabilities in parts of the highest there is, 0-1.
        feature: (square, feature) means.
    """

    row: NDArray[np.int64]
    col: NDArray[np.int64]
    label: NDArray[np.uint8]
    share: NDArray[np.float32]
    confidence: NDArray[np.float32]
    entropy: NDArray[np.float32]
    feature: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.row)

    def take(self, which: NDArray[np.integer] | NDArray[np.bool_]) -> Squares:
        """Some of them."""
        return Squares(**{name: values[which] for name, values in vars(self).items()})

    @classmethod
    def joined(cls, parts: Sequence[Squares]) -> Squares:
        """All of several."""
        names = vars(parts[0])
        return cls(**{name: np.concatenate([vars(p)[name] for p in parts]) for name in names})

    @property
    def weight(self) -> NDArray[np.float32]:
        """How much labelling a square would tell: unsure, but of one class.

        The rim between two classes is always unsure, and tells little.
        """
        weight: NDArray[np.float32] = self.entropy * self.share**2
        return weight


def survey(
    classifier: Featured, image: Image, size: int, *, labelled: Placed | None = None, seed: int = 0
) -> tuple[Squares, Squares]:
    """Look at an image square by square, in memory that does not grow with it.

    Args:
        classifier: for example a `NetworkClassifier`.
        image: the raster.
        size: rows and columns of a square, in pixels.
        labelled: what is labelled already: squares that touch it are left out.
        seed: of the random ones.

    Returns:
        The squares that weigh most, and as many at random.

    Raises:
        ConfigError: a square is more than half as large as the classifier's windows.
    """
    if size > classifier.tile_size // 2:
        raise ConfigError(
            f"squares of {size} pixels in windows of {classifier.tile_size}",
            remedy=f"choose a size of at most {classifier.tile_size // 2}",
        )
    rng = np.random.default_rng(seed)
    heavy: list[Squares] = []
    others: list[Squares] = []
    keys = np.empty(0)
    for squares in _strips(classifier, image, size, labelled):
        heavy = [_most(Squares.joined([*heavy, squares]))]
        keys = np.concatenate([keys, rng.random(len(squares))])
        both = Squares.joined([*others, squares])
        kept = np.sort(np.argsort(keys, kind="stable")[:MOST])
        keys, others = keys[kept], [both.take(kept)]
    if not heavy:
        none = np.empty(0)
        empty = Squares(
            *(none.astype(np.int64),) * 2,
            none.astype(np.uint8),
            *(none.astype(np.float32),) * 3,
            np.empty((0, 1), np.float32),
        )
        return empty, empty
    return heavy[0], others[0]


def _most(squares: Squares) -> Squares:
    order = np.argsort(-squares.weight, kind="stable")[:MOST]
    return squares.take(np.sort(order))


def _strips(
    classifier: Featured, image: Image, size: int, labelled: Placed | None
) -> Iterator[Squares]:
    """The squares of each row of windows; each from the window in which it lies deepest."""
    tile = classifier.tile_size
    overlap = min(max(tile // 4, 2 * size), tile - 1)  # then each square is whole in a window
    rows, cols = (cut(n, tile, overlap) for n in (image.grid.height, image.grid.width))
    for row, top in enumerate(rows.starts):
        first, last = _own(rows.starts, row, rows.span, rows.length, size)
        windows = []
        for col, left in enumerate(cols.starts):
            begin, end = _own(cols.starts, col, cols.span, cols.length, size)
            pixels = image.read(left, top, cols.span, rows.span)
            if first == last or begin == end or np.isnan(pixels).all():
                continue
            part = np.s_[:, first - top : last - top, begin - left : end - left]
            free = np.asarray(np.isfinite(pixels[:, *part[1:]]).any(axis=0))
            if labelled is not None:
                window = Window(begin, first, end - begin, last - first)
                free &= labelled.draw(window).label == IGNORE
            windows.append((pad_by_mirror(pixels, tile), part, free, (first, begin)))
        found = []
        for number in range(0, len(windows), BATCH):
            together = windows[number : number + BATCH]
            batch = np.stack([pixels for pixels, *_ in together])
            each = zip(classifier.probabilities(batch), classifier.features(batch), strict=True)
            for (probability, feature), (_, part, free, corner) in zip(each, together, strict=True):
                found.append(_squares(probability[part], feature[part], free, corner, size))
        if found:
            yield Squares.joined(found)


def _own(starts: Sequence[int], number: int, span: int, length: int, size: int) -> tuple[int, int]:
    """First pixel and end of the whole squares that a window gives, along one axis."""

    def middle(before: int) -> int:
        return (starts[before] + span + starts[before + 1]) // 2 // size * size

    first = 0 if number == 0 else middle(number - 1)
    last = length // size * size if number + 1 == len(starts) else middle(number)
    return first, max(first, last)


def _squares(
    probability: NDArray[np.float32],
    feature: NDArray[np.float32],
    free: NDArray[np.bool_],
    corner: tuple[int, int],
    size: int,
) -> Squares:
    """Reduce pixels, (class or feature, row, col), to squares."""
    classes = len(probability)
    best = probability.argmax(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.nansum(probability * np.log(probability), axis=0) / np.log(max(2, classes))
    votes = (best[None] == np.arange(classes)[:, None, None]) & free
    count = _mean(free[None].astype(np.float32), size)[0]
    by_class = _mean(votes.astype(np.float32), size)
    with np.errstate(divide="ignore", invalid="ignore"):
        share, sure, unsure = (
            values / count
            for values in (
                by_class.max(axis=0),
                _mean((probability.max(axis=0) * free)[None], size)[0],
                _mean((entropy * free)[None], size)[0],
            )
        )
        features = _mean(feature * free, size) / count
    row, col = np.nonzero(count >= FULL)
    return Squares(
        row=corner[0] + size * row,
        col=corner[1] + size * col,
        label=by_class.argmax(axis=0)[row, col].astype(np.uint8),
        share=share[row, col].astype(np.float32),
        confidence=sure[row, col].astype(np.float32),
        entropy=unsure[row, col].astype(np.float32),
        feature=features[:, row, col].T.astype(np.float32),
    )


def _mean(values: NDArray[np.floating], size: int) -> NDArray[np.floating]:
    """Means over squares of the last two axes."""
    count, rows, cols = values.shape
    blocks = values.reshape(count, rows // size, size, cols // size, size)
    means: NDArray[np.floating] = blocks.mean(axis=(2, 4))
    return means
