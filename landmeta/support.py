"""Labelled tiles of a new region, from the files people have: images and their label rasters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landmeta.errors import ConfigError, EmptyRegion
from landmeta.imagery import check_same_grid, open_raster, read_header, read_label
from landmeta.legend import IGNORE, Labels, Legend
from landmeta.raster import open_image
from landmeta.taskset import Band, Tiles
from landmeta.windows import Scalar, cut


@dataclass(frozen=True)
class Support:
    """Tiles to adapt with.

    Attributes:
        tiles: those with at least one labelled pixel.
        sources: per tile, in words, where it was cut from.
        notes: what had to be assumed, in words for the user.
        legend: the classes that the labels are indices of; None for those of the checkpoint.
    """

    tiles: Tiles
    sources: tuple[str, ...]
    notes: tuple[str, ...]
    legend: Legend | None = None


def parse_pair(text: str) -> tuple[Path, Path]:
    """Understand `IMAGE=LABELS` of the command line.

    Raises:
        ConfigError: it has no `=`, more than one, or nothing on one side.
    """
    parts = [part.strip() for part in text.split("=")]
    if len(parts) != 2 or not all(parts):
        raise ConfigError(
            f"{text!r} is no pair of an image and its labels",
            remedy="write IMAGE=LABELS, for instance --support tile.tif=tile_labels.tif",
        )
    return Path(parts[0]), Path(parts[1])


def load_support(
    pairs: Sequence[tuple[Path, Path]],
    *,
    bands: Sequence[Band],
    legend: Legend,
    tile_size: int,
    names: Sequence[str] | None = None,
) -> Support:
    """Cut labelled images into tiles.

    Tiles cover an image whole. Where they overlap because its size is no multiple of theirs, a
    label counts in the first of them only. An image smaller than a tile is filled up with NaN,
    its labels with 255. The label of a pixel of which no band has data does not count.

    Args:
        pairs: image and label raster. Labels are ids or colours that `legend` knows, on the
            image's grid; 255 and the label file's nodata are not labelled.
        bands: what the model needs, in order.
        legend: the classes of the labels.
        tile_size: in pixels.
        names: what the bands of the images are, in their order, if they do not say so themselves.

    Raises:
        SourceNotFound, UnreadableFile: a file is not there, truncated or damaged.
        MissingBands: an image has not the bands that are needed.
        SizeMismatch: image and labels differ in size or grid.
        UnknownClass: a label that is not in the legend.
        EmptyRegion: nothing is labelled at all.
    """
    images: list[NDArray[np.float32]] = []
    labels: list[Labels] = []
    sources: list[str] = []
    notes: list[str] = []
    for image_path, label_path in pairs:
        with open_raster(label_path) as dataset:
            check_same_grid(read_header(image_path), read_header(label_path))
            label = read_label(dataset, legend)
        with open_image(image_path, bands, names) as image:
            notes += image.notes
            for top, left, piece in _labelled_windows(label, tile_size):
                height, width = piece.shape
                pixels = image.read(left, top, width, height)
                piece[np.isnan(pixels).all(axis=0)] = IGNORE
                if (piece == IGNORE).all():
                    continue
                images.append(_fill(pixels, tile_size, np.nan))
                labels.append(_fill(piece, tile_size, IGNORE))
                sources.append(
                    f"{image_path} (rows {top}-{top + height}, columns {left}-{left + width}), "
                    f"labels {label_path}"
                )
    if not images:
        files = ", ".join(str(label) for _, label in pairs) or "no file"
        raise EmptyRegion(
            f"no pixel with data is labelled in {files}",
            remedy="label some pixels, or check which value the labels use for 'not labelled'",
        )
    tiles = Tiles(np.stack(images), np.stack(labels))
    return Support(tiles, tuple(sources), tuple(notes), legend)


def _labelled_windows(label: Labels, tile: int) -> list[tuple[int, int, Labels]]:
    """Windows (top, left, labels) with anything labelled; every label is in one of them only."""
    height, width = label.shape
    rows, cols = cut(height, tile, 0), cut(width, tile, 0)
    left_to_use = label.copy()
    windows = []
    for top in rows.starts:
        for left in cols.starts:
            window = np.s_[top : top + rows.span, left : left + cols.span]
            piece = left_to_use[window].copy()
            left_to_use[window] = IGNORE
            if (piece != IGNORE).any():
                windows.append((top, left, piece))
    return windows


def _fill(pixels: NDArray[Scalar], size: int, value: float) -> NDArray[Scalar]:
    """Extend the last two axes at their end to `size`."""
    rows, cols = (size - n for n in pixels.shape[-2:])
    none = [(0, 0)] * (pixels.ndim - 2)
    return np.pad(pixels, [*none, (0, rows), (0, cols)], constant_values=value)
