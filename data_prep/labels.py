"""The labels of a scene: a raster of ids or colours, polygons and points, or an array.

Each is small, pickles, and is opened where it is read. What was read of vector files is kept by
the process, for they often hold the labels of many images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import rasterio
import shapely
from rasterio.crs import CRS
from rasterio.warp import transform_bounds
from rasterio.windows import Window

from landmeta.arrays import array_header, is_array, read_array
from landmeta.errors import ConfigError, SizeMismatch, UnreadableFile
from landmeta.imagery import Header, check_same_grid, open_raster, read_header, read_label
from landmeta.legend import Labels, Legend
from landmeta.location import Location, is_virtual, name_of
from landmeta.raster import Grid
from landmeta.vectors import Shapes, read_shapes
from landmeta.warping import check_can_warp, read_label_on

ReadLabels: TypeAlias = Callable[[Window], Labels]
ReadLabelFile: TypeAlias = Callable[[rasterio.DatasetReader, Legend, Window], Labels]

VECTOR = (".gpkg", ".geojson", ".json", ".shp", ".shz", ".shp.zip", ".parquet", ".geoparquet",
          ".fgb", ".kml", ".gml", ".sqlite")  # fmt: skip
"""How the names of vector files end."""


class LabelFile(Protocol):
    """What the labels of a scene can do."""

    @property
    def files(self) -> tuple[Location, ...]:
        """What they are read from."""
        ...

    def check(self, image: Header, legend: Legend) -> list[str]:
        """Refuse labels that do not fit the image; returns notes for the user."""
        ...

    def open(self, image: Header, legend: Legend) -> AbstractContextManager[ReadLabels]:
        """Read class indices of windows of the image."""
        ...


@dataclass(frozen=True)
class RasterLabels:
    """A raster of ids or colours.

    Attributes:
        path: the file.
        band: that holds the ids, from 1; None if there is but one, or colours.
        warp: bring it to the image's grid by nearest neighbour, if it lies on another.
        read: reads a window; a function of a module, so that it pickles.
    """

    path: Location
    band: int | None = None
    warp: bool = False
    read: ReadLabelFile | None = None

    @property
    def files(self) -> tuple[Location, ...]:
        """The file."""
        return (self.path,)

    def check(self, image: Header, legend: Legend) -> list[str]:
        """Refuse another grid, unless it is to be warped.

        Raises:
            SizeMismatch: another size or grid.
            MissingCRS: it is to be warped, and nobody knows from where.
        """
        header = read_header(self.path)
        if not self.warp or _fits(image, header):
            check_same_grid(image, header)
            return []
        with open_raster(self.path) as dataset:
            check_can_warp(image, dataset)
        return [WARPED]

    @contextmanager
    def open(self, image: Header, legend: Legend) -> Iterator[ReadLabels]:
        """Read windows of the file."""
        warp = self.warp and not _fits(image, read_header(self.path))
        with closing(open_raster(self.path)) as dataset:
            if warp:
                yield lambda window: read_label_on(image, dataset, legend, window, self.band)
            elif self.read is not None:
                read = self.read
                yield lambda window: read(dataset, legend, window)
            else:
                yield lambda window: read_label(dataset, legend, window, self.band)


WARPED = "labels were warped to the grid of their image by nearest neighbour"


def _fits(image: Header, label: Header) -> bool:
    try:
        check_same_grid(image, label)
    except SizeMismatch:
        return False
    return True


@dataclass(frozen=True)
class ArrayLabels:
    """One band of a NumPy file, often the image's own.

    Attributes:
        path: the file.
        band: that holds the ids, from 1.
    """

    path: Location
    band: int = 1

    @property
    def files(self) -> tuple[Location, ...]:
        """The file."""
        return (self.path,)

    def check(self, image: Header, legend: Legend) -> list[str]:
        """Refuse another size, and a band that is not there.

        Raises:
            SizeMismatch: another size.
            UnreadableFile: it has not so many bands.
        """
        header = array_header(self.path)
        if self.band > len(header.bands):
            raise UnreadableFile(
                f"has {len(header.bands)} bands, so no band {self.band} with labels",
                remedy="correct the number of the labels' band",
                path=self.path,
            )
        check_same_grid(image, header)
        return []

    @contextmanager
    def open(self, image: Header, legend: Legend) -> Iterator[ReadLabels]:
        """Read windows of the band."""
        ids = read_array(self.path)[self.band - 1]
        yield lambda window: legend.from_ids(ids[window.toslices()], path=self.path)


@dataclass(frozen=True)
class ShapeLabels:
    """Polygons and points with a class each; one file may hold those of many images.

    Attributes:
        path: the file.
        column: that holds the class; `layer`: of a file that has several.
    """

    path: Path
    column: str | None
    layer: str | None = None

    @property
    def files(self) -> tuple[Location, ...]:
        """The file."""
        return (self.path,)

    def check(self, image: Header, legend: Legend) -> list[str]:
        """Refuse shapes that cannot be put on the image; returns what was said of the file.

        Raises:
            MissingCRS: one of both has a coordinate reference system and the other has not.
            UnknownClass, ConfigError, UnreadableFile: as `landmeta.vectors.read_shapes`.
        """
        shapes = self._read(legend)
        shapes.on(_grid(image))
        return list(shapes.notes)

    @contextmanager
    def open(self, image: Header, legend: Legend) -> Iterator[ReadLabels]:
        """Draw windows of the shapes; where two classes overlap, nothing is labelled."""
        grid = _grid(image)
        placed = _near(self._read(legend), grid).on(grid)
        yield lambda window: placed.draw(window).label

    def _read(self, legend: Legend) -> Shapes:
        stamp = self.path.stat().st_mtime_ns if self.path.exists() else 0
        return _shapes(self.path, stamp, self.column, self.layer, legend.model_dump_json())


@lru_cache(maxsize=4)
def _shapes(path: Path, stamp: int, column: str | None, layer: str | None, legend: str) -> Shapes:
    """`stamp` only tells a file from the one that was there before."""
    return read_shapes(path, column, Legend.model_validate_json(legend), layer=layer)


def _grid(image: Header) -> Grid:
    crs = None if image.crs is None else CRS.from_user_input(image.crs)
    return Grid(image.height, image.width, crs, image.transform)


def _near(shapes: Shapes, grid: Grid) -> Shapes:
    """Those that may lie on the grid: to reproject a country's for each image takes long."""
    if grid.crs is None or shapes.crs is None:
        return shapes
    xs, ys = zip(
        *(grid.transform * (grid.width * x, grid.height * y) for x in (0, 1) for y in (0, 1)),
        strict=True,
    )
    bounds = transform_bounds(
        grid.crs, CRS.from_wkt(shapes.crs.to_wkt()), min(xs), min(ys), max(xs), max(ys)
    )
    west, south, east, north = bounds
    if not np.isfinite(bounds).all() or west > east:  # across the antimeridian
        return shapes
    margin = 0.01 * max(east - west, north - south)
    frame = shapely.box(west - margin, south - margin, east + margin, north + margin)
    near = shapely.intersects(shapes.geometry, frame)
    return replace(shapes, geometry=shapes.geometry[near], index=shapes.index[near])


def is_vector_name(path: Location) -> bool:
    """True if the name of a file says that it holds shapes."""
    return name_of(path).lower().endswith(VECTOR)


def labels_of(
    path: Location,
    *,
    band: int | None = None,
    column: str | None = None,
    layer: str | None = None,
    warp: bool = False,
) -> LabelFile:
    """The labels in a file, by the kind that its name tells.

    Args:
        path: the file.
        band: of a raster or array, that holds the ids.
        column: of a vector file, that holds the class.
        layer: of a vector file that has several.
        warp: a raster on another grid is brought to the image's.

    Raises:
        ConfigError: an option does not go with that kind of file.
    """
    if is_vector_name(path):
        if is_virtual(path) or band is not None:
            raise ConfigError(
                "polygons and points are read from files of this machine, and have no bands",
                remedy="fetch the file first, and leave the labels' band out",
                path=path,
            )
        return ShapeLabels(Path(path), column, layer)
    if column is not None or layer is not None:
        raise ConfigError(
            "is taken for a raster, which has no class column and no layers",
            remedy="leave those options out, or give a file named " + ", ".join(VECTOR[:5]),
            path=path,
        )
    if is_array(path):
        return ArrayLabels(path, band or 1)
    return RasterLabels(path, band, warp)
