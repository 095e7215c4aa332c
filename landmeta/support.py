"""Labelled tiles of a new region, from the files people have: images with rasters or shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS

from landmeta.errors import ConfigError, EmptyRegion, MissingCRS
from landmeta.groups import GroupMap, connected
from landmeta.imagery import check_same_grid, open_raster, read_header, read_label
from landmeta.legend import IGNORE, Labels, Legend
from landmeta.raster import Grid, Image, on_grid, open_image
from landmeta.taskset import Band, Tiles
from landmeta.windows import Scalar, cut


@dataclass(frozen=True)
class Support:
    """Tiles to adapt with.

    Attributes:
        tiles: those with at least one labelled pixel.
        sources: per tile, in words, where it was cut from.
        notes: what had to be assumed or left out, in words for the user.
        legend: the classes that the labels are indices of; None for those of the checkpoint.
        groups: which labelled pixels belong together, (tile, row, col), see `landmeta.groups`;
            None if each tile is a group.
        corners: (tile, 3) number of the image, first row and column of each tile in it; None if not
            known.
        shapes: number of polygons and points per class name; None of labels that are pixels.
        views: so many times every label is there, in tiles at other positions; one view after the
            other.
    """

    tiles: Tiles
    sources: tuple[str, ...]
    notes: tuple[str, ...]
    legend: Legend | None = None
    groups: GroupMap | None = None
    corners: NDArray[np.int64] | None = None
    shapes: Mapping[str, int] | None = None
    views: int = 1

    @property
    def shots(self) -> int:
        """Number of tiles of one view."""
        return len(self.tiles) // self.views


def joined(views: Sequence[Support]) -> Support:
    """One support set of several views of the same labels."""
    first = views[0]
    return replace(
        first,
        tiles=Tiles(
            np.concatenate([view.tiles.image for view in views]),
            np.concatenate([view.tiles.label for view in views]),
        ),
        sources=tuple(source for view in views for source in view.sources),
        groups=_together([view.groups for view in views]),
        corners=_together([view.corners for view in views]),
        views=len(views),
    )


def _together(arrays: Sequence[NDArray[Scalar] | None]) -> NDArray[Scalar] | None:
    known = [array for array in arrays if array is not None]
    return np.concatenate(known) if known else None


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
    made = Cutting(tile_size)
    for image_path, label_path in pairs:
        with open_raster(label_path) as dataset:
            check_same_grid(read_header(image_path), read_header(label_path))
            label = read_label(dataset, legend)
        with open_image(image_path, bands, names) as image:
            made.add_image(image)
            made.add_raster(image, label, label_path, made.used)
    return made.support(", ".join(str(label) for _, label in pairs) or "no file", legend)


def load_warped(
    images: Sequence[Path],
    labels: Path,
    *,
    bands: Sequence[Band],
    legend: Legend,
    tile_size: int,
    names: Sequence[str] | None = None,
) -> Support:
    """Cut images into tiles with the labels of one raster, warped to the grid of each of them.

    A pixel takes the label at its centre (nearest neighbour: classes cannot be averaged). Arguments
    and errors as of `load_support`, and:

    Raises:
        MissingCRS: the labels or an image have no coordinate reference system, and their grids are
            not the same.
    """
    made = Cutting(tile_size)
    groups_of: list[tuple[Grid, int]] = []
    for path in images:
        with open_image(path, bands, names) as image:
            made.add_image(image)
            # What two dates of one scene show is one place.
            first = next((used for grid, used in groups_of if grid == image.grid), made.used)
            groups_of.append((image.grid, first))
            with open_raster(labels) as dataset:
                same = Grid.of(dataset) == image.grid
                if not same:
                    _check_crs(dataset.crs, image, labels)
                    made.notes.append(f"{labels} was warped to the grid of {path}")
                with nullcontext(dataset) if same else on_grid(dataset, image.grid) as warped:
                    label = read_label(warped, legend)
            made.add_raster(image, label, labels, first)
    return made.support(str(labels), legend)


def _check_crs(labels: CRS | None, image: Image, path: Path) -> None:
    for crs, what, file in ((labels, "labels", path), (image.grid.crs, "image", image.path)):
        if crs is None:
            raise MissingCRS(
                f"labels and image have different grids, and the {what} no coordinate reference "
                "system",
                remedy="georeference it, for instance with gdal_edit.py -a_srs",
                path=file,
            )


@dataclass
class Cutting:
    """Tiles in the making, of one image after the other."""

    size: int
    notes: list[str] = field(default_factory=list)
    used: int = 0
    """Groups so far, of labels that are pixels."""
    _images: list[NDArray[np.float32]] = field(default_factory=list)
    _labels: list[Labels] = field(default_factory=list)
    _groups: list[GroupMap] = field(default_factory=list)
    _corners: list[tuple[int, int, int]] = field(default_factory=list)
    _sources: list[str] = field(default_factory=list)
    _image: int = -1
    _nodata: int = 0

    def add_image(self, image: Image) -> None:
        """Begin with an image."""
        self._image += 1
        self.notes += image.notes

    def add_raster(self, image: Image, label: Labels, path: Path, first: int) -> None:
        """Cut all of an image that is labelled (row, col); its groups count from `first`."""
        groups = connected(label, self.size) + first
        self.used = max(self.used, 1 + int(groups.max(initial=-1)))
        for top, left, piece in _labelled_windows(label, self.size):
            rows, cols = piece.shape
            self.add(image, top, left, piece, groups[top : top + rows, left : left + cols], path)

    def add(
        self, image: Image, top: int, left: int, label: Labels, groups: GroupMap, path: Path
    ) -> None:
        """Take a window of an image, unless nothing is labelled there that has data.

        Args:
            image: the one begun with.
            top: first row of the window.
            left: its first column.
            label: class index (row, col), 255 = not labelled.
            groups: (row, col), see `landmeta.groups`.
            path: of the labels.
        """
        height, width = label.shape
        pixels = image.read(left, top, width, height)
        void = np.isnan(pixels).all(axis=0)
        self._nodata += int((void & (label != IGNORE)).sum())
        label = np.where(void, np.uint8(IGNORE), label)
        if (label == IGNORE).all():
            return
        self._images.append(_fill(pixels, self.size, np.nan))
        self._labels.append(_fill(label, self.size, IGNORE))
        self._groups.append(_fill(np.where(label == IGNORE, np.int32(-1), groups), self.size, -1))
        self._corners.append((self._image, top, left))
        self._sources.append(
            f"{image.path} (rows {top}-{top + height}, columns {left}-{left + width}), "
            f"labels {path}"
        )

    def support(
        self, files: str, legend: Legend, shapes: Mapping[str, int] | None = None
    ) -> Support:
        """All that was taken.

        Raises:
            EmptyRegion: nothing was.
        """
        if not self._images:
            raise EmptyRegion(
                f"no pixel with data is labelled in {files}",
                remedy="label some pixels of the image, or check which value the labels use for "
                "'not labelled'",
            )
        if self._nodata:
            self.notes.append(
                f"{self._nodata} labelled pixels lie where the image has no data and do not count"
            )
        return Support(
            tiles=Tiles(np.stack(self._images), np.stack(self._labels)),
            sources=tuple(self._sources),
            notes=tuple(self.notes),
            legend=legend,
            groups=np.stack(self._groups),
            corners=np.array(self._corners, np.int64),
            shapes=shapes,
        )


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
