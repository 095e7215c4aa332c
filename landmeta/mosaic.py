"""Several rasters of one grid, read as if they were one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from landmeta.errors import MissingCRS, SizeMismatch, SourceNotFound
from landmeta.imagery import open_raster
from landmeta.location import Location
from landmeta.raster import (
    Grid,
    Image,
    bytes_of_blocks,
    few_blocks_kept,
    image_of,
    open_image,
)
from landmeta.taskset import Band

RASTERS = (".tif", ".tiff", ".gtif", ".jp2", ".img", ".png", ".jpg", ".jpeg")
"""Names of files in a folder that are taken for rasters end like this."""
SHIFT = 0.01
"""Pixels by which the grids of two rasters may be apart and still count as one."""


class Source(Protocol):
    """Something to map: an `Image` or a `Mosaic`.

    Attributes:
        path: the file, or the first of several.
        grid: where its pixels lie.
        notes: what had to be assumed, in words for the user.
        date: when it was taken, in ISO 8601, if that is known.
    """

    @property
    def path(self) -> Location: ...  # noqa: D102 - said above

    @property
    def grid(self) -> Grid: ...  # noqa: D102

    @property
    def notes(self) -> list[str]: ...  # noqa: D102

    @property
    def date(self) -> str | None: ...  # noqa: D102

    def read(self, col: int, row: int, width: int, height: int) -> NDArray[np.float32]:
        """Physical values of a window, shape (band, height, width), NaN where there is no data."""
        ...


def find_rasters(places: Sequence[Path]) -> list[Path]:
    """The files named, and those in the folders named, in the order of their names.

    Raises:
        SourceNotFound: a folder holds no raster.
    """
    found = []
    for place in places:
        inside = [place]
        if place.is_dir():
            files = (f for f in place.iterdir() if f.suffix.lower() in RASTERS)
            inside = sorted(f for f in files if not f.name.startswith("."))
        if not inside:
            raise SourceNotFound(
                f"holds no raster (no file that ends in {', '.join(RASTERS)})",
                remedy="name the folder that the rasters lie in, or the rasters themselves",
                path=place,
            )
        found += inside
    return found


@contextmanager
def open_rasters(
    paths: Sequence[Path], bands: Sequence[Band], names: Sequence[str] | None = None
) -> Iterator[Source]:
    """Open one raster, or several as one. Arguments and errors as `landmeta.raster.open_image`.

    Raises:
        SizeMismatch: the rasters do not lie on one grid.
        MissingCRS: one of several does not say where it lies.
    """
    if len(paths) == 1:
        with open_image(paths[0], bands, names) as image:
            yield image
        return
    members: list[tuple[Path, Grid]] = []
    notes: dict[str, None] = {}  # in order, each once
    dates: set[str | None] = set()
    blocks = 0
    for path in paths:
        with open_raster(path) as dataset:
            image = image_of(dataset, path, bands, names)
            members.append((path, image.grid))
            notes |= dict.fromkeys(image.notes)
            dates.add(image.date)
            blocks += bytes_of_blocks(dataset)
    grid, placed = _together(members)
    date = dates.pop() if len(dates) == 1 else None
    with few_blocks_kept(blocks), Mosaic(placed, grid, list(notes), date, bands, names) as mosaic:
        yield mosaic


@dataclass(frozen=True)
class _Member:
    """A raster of a mosaic, and where its pixels lie in it."""

    path: Path
    cols: range
    rows: range


def _together(members: Sequence[tuple[Path, Grid]]) -> tuple[Grid, list[_Member]]:
    """The grid that holds all of them, and where each lies in it."""
    first_path, first = members[0]
    for path, grid in members:
        if grid.crs is None or grid.gcps:
            raise MissingCRS(
                "is one of several rasters for one map, but has no grid in a coordinate reference "
                "system",
                remedy="georeference it, for instance with gdalwarp, or make a map of each raster: "
                "--out FOLDER",
                path=path,
            )
    offsets = []
    for path, grid in members:
        there = ~first.transform @ grid.transform
        shift = max(abs(there.c - round(there.c)), abs(there.f - round(there.f)))
        turned = max(
            abs(a - b) * max(grid.width, grid.height)
            for a, b in zip(there[:6], (1, 0, there.c, 0, 1, there.f), strict=True)
        )
        if grid.crs != first.crs or max(shift, turned) > SHIFT:
            raise SizeMismatch(
                f"lies on another grid than {first_path}: {grid.crs} {tuple(grid.transform)[:6]} "
                f"against {first.crs} {tuple(first.transform)[:6]}",
                remedy="make a map of each raster (--out FOLDER), or bring them to one grid, for "
                "instance with gdalwarp",
                path=path,
            )
        offsets.append((round(there.c), round(there.f)))
    left, top = (min(offset[axis] for offset in offsets) for axis in (0, 1))
    placed = [
        _Member(path, range(col, col + grid.width), range(row, row + grid.height))
        for (path, grid), (col, row) in (
            (member, (col - left, row - top))
            for member, (col, row) in zip(members, offsets, strict=True)
        )
    ]
    grid = replace(
        first,
        width=max(m.cols.stop for m in placed),
        height=max(m.rows.stop for m in placed),
        transform=first.transform @ Affine.translation(left, top),
    )
    return grid, placed


class Mosaic:
    """Rasters of one grid. Where several have data in a pixel, the first named counts.

    They are opened when a window reaches them and closed when windows have passed them, so that a
    mosaic of many holds few open files.
    """

    def __init__(
        self,
        members: Sequence[_Member],
        grid: Grid,
        notes: list[str],
        date: str | None,
        bands: Sequence[Band],
        names: Sequence[str] | None,
    ) -> None:
        self.path, self.grid, self.notes, self.date = members[0].path, grid, notes, date
        self._members, self._bands, self._names = members, bands, names
        self._open: dict[Path, tuple[rasterio.DatasetReader, Image]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close(())

    def read(self, col: int, row: int, width: int, height: int) -> NDArray[np.float32]:
        """Physical values of a window, shape (band, height, width), NaN where there is no data.

        Raises:
            UnreadableFile: that part of a raster is missing or damaged.
        """
        pixels = np.full((len(self._bands), height, width), np.nan, np.float32)
        rows = range(row, row + height)
        beside = [m for m in self._members if _shared(m.rows, rows)]
        self._close([m.path for m in beside])
        for member in beside:
            common = _shared(member.cols, range(col, col + width)), _shared(member.rows, rows)
            if not common[0]:
                continue
            across, down = common
            own = self._image(member.path).read(
                across.start - member.cols.start,
                down.start - member.rows.start,
                len(across),
                len(down),
            )
            there = pixels[
                :, down.start - row : down.stop - row, across.start - col : across.stop - col
            ]
            free = np.isnan(there).all(axis=0)
            there[:, free] = own[:, free]
        return pixels

    def _image(self, path: Path) -> Image:
        if path not in self._open:
            dataset = open_raster(path)
            self._open[path] = dataset, image_of(dataset, path, self._bands, self._names)
        return self._open[path][1]

    def _close(self, kept: Sequence[Path]) -> None:
        for path in [p for p in self._open if p not in kept]:
            dataset, _ = self._open.pop(path)
            dataset.close()


def _shared(a: range, b: range) -> range:
    """What two ranges have in common."""
    return range(max(a.start, b.start), min(a.stop, b.stop))
