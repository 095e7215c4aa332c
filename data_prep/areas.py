"""Regions inside images: by polygons of the user, or by blocks of a grid over the scene.

A tile belongs to the area that holds all of it; tiles across a border are left out. Areas do not
overlap, so no ground is in tiles of two regions, however many images show it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from shapely import STRtree

from landmeta.errors import ConfigError, MissingCRS
from landmeta.imagery import Header
from landmeta.location import name_of
from landmeta.taskset import tile_windows
from landmeta.vectorfile import read_frame

_TOLERANCE = 0.01
"""Of a pixel: by so much a tile may reach over a border."""

Corner = tuple[int, int]
"""Of a tile: column and row of its first pixel."""


class Areas(Protocol):
    """Says in which region a tile lies."""

    def regions(self, image: Header, corners: Sequence[Corner], size: int) -> list[str | None]:
        """The region of each tile of an image, None for none."""
        ...


@dataclass(frozen=True)
class Polygons:
    """Areas of the user: one geometry a region. Made by `read_polygons`."""

    path: Path
    names: tuple[str, ...]
    geometry: gpd.GeoSeries

    def regions(self, image: Header, corners: Sequence[Corner], size: int) -> list[str | None]:
        """The polygon that holds each tile.

        Raises:
            MissingCRS: the image has no coordinate reference system.
        """
        if image.crs is None:
            raise MissingCRS(
                f"has no coordinate reference system, so the polygons of {self.path} cannot say "
                "where its regions are",
                remedy="give the image one, for instance with gdal_edit -a_srs, or use blocks",
                path=image.path,
            )
        here = self.geometry.to_crs(image.crs).to_numpy()
        shapely.prepare(here)
        found: list[str | None] = [None] * len(corners)
        outlines = np.array([_outline(image.transform, c, size) for c in corners], object)
        tiles, areas = STRtree(here).query(outlines, predicate="within")
        for tile, area in zip(tiles.tolist(), areas.tolist(), strict=True):
            found[tile] = self.names[area]
        return found


def _outline(transform: Affine, corner: Corner, size: int) -> shapely.Polygon:
    left, top = corner[0] + _TOLERANCE, corner[1] + _TOLERANCE
    right, bottom = corner[0] + size - _TOLERANCE, corner[1] + size - _TOLERANCE
    return shapely.Polygon(
        [transform * xy for xy in ((left, top), (right, top), (right, bottom), (left, bottom))]
    )


def read_polygons(path: Path, column: str) -> Polygons:
    """Read areas from a vector file; polygons of one name are one area.

    Args:
        path: GeoPackage, GeoJSON, Shapefile, GeoParquet, ….
        column: that holds the region's name.

    Raises:
        SourceNotFound, UnreadableFile: the file is not there or damaged.
        MissingCRS: it has no coordinate reference system.
        ConfigError: it has no such column, an area without a name, or areas that overlap.
    """
    frame = read_frame(Path(path), what="polygons")
    if column not in frame.columns:
        names = ", ".join(c for c in frame.columns if c != frame.geometry.name)
        raise ConfigError(
            f"has no column {column!r}; its columns are {names}",
            remedy="choose the one that holds the regions' names with --region-column",
            path=path,
        )
    if frame.crs is None:
        raise MissingCRS(
            "has no coordinate reference system",
            remedy="say what it is, for instance with ogr2ogr -a_srs",
            path=path,
        )
    surfaces = frame[shapely.area(frame.geometry.to_numpy()) > 0]
    if surfaces.empty or surfaces[column].isna().any():
        raise ConfigError(
            "has a polygon without a name" if len(surfaces) else "has no polygons",
            remedy=f"give each polygon of it a name in the column {column!r}",
            path=path,
        )
    surfaces = surfaces.assign(
        geometry=shapely.make_valid(surfaces.geometry.to_numpy()), name=surfaces[column].astype(str)
    )
    areas = surfaces[["name", "geometry"]].set_geometry("geometry").dissolve("name")
    _refuse_overlap(areas, path)
    return Polygons(Path(path), tuple(areas.index), areas.geometry)


def _refuse_overlap(areas: gpd.GeoDataFrame, path: Path) -> None:
    shapes = areas.geometry.to_numpy()
    one, two = STRtree(shapes).query(shapes, predicate="intersects")
    for i, j in zip(one.tolist(), two.tolist(), strict=True):
        if i >= j:
            continue
        common = shapely.area(shapely.intersection(shapes[i], shapes[j]))
        if common > 1e-6 * min(shapely.area(shapes[i]), shapely.area(shapes[j])):
            raise ConfigError(
                f"its areas {areas.index[i]!r} and {areas.index[j]!r} overlap",
                remedy="draw them so that each place is in one region only",
                path=path,
            )


@dataclass(frozen=True)
class Blocks:
    """A grid of blocks over images of one scene. Made by `blocks_over`.

    Attributes:
        prefix: of the regions' names, `{prefix}r1c1` and so on.
        reference: pixel of the first image to its coordinates.
        cols, rows: borders in pixels of that image, ascending, the first and last at infinity.
    """

    prefix: str
    reference: Affine
    cols: tuple[float, ...]
    rows: tuple[float, ...]

    def regions(self, image: Header, corners: Sequence[Corner], size: int) -> list[str | None]:
        """The block that holds each tile."""
        if not corners:
            return []
        to_reference = ~self.reference * image.transform
        first = np.array([to_reference * (c, r) for c, r in corners])
        last = np.array([to_reference * (c + size, r + size) for c, r in corners])
        low, high = np.minimum(first, last) + _TOLERANCE, np.maximum(first, last) - _TOLERANCE
        names: list[str | None] = []
        for start, end in zip(low.tolist(), high.tolist(), strict=True):
            places = [
                [int(np.searchsorted(borders, v[axis])) for v in (start, end)]
                for axis, borders in enumerate((self.cols, self.rows))
            ]
            within = all(a == b for a, b in places)
            names.append(f"{self.prefix}r{places[1][0]}c{places[0][0]}" if within else None)
        return names


def blocks_over(images: Sequence[Header], count: int, size: int, prefix: str = "") -> Blocks:
    """Lay `count` × `count` blocks over what images of one scene cover, borders along tiles.

    Images without georeference are taken to cover the same pixels.

    Args:
        images: of the scene.
        count: blocks along each side.
        size: of a tile, in pixels.
        prefix: of the blocks' names.

    Raises:
        ConfigError: the images are of several coordinate reference systems or turned against each
            other, or too small for so many blocks.
    """
    first = images[0]
    corners = []
    for image in images:
        to_first = ~first.transform * image.transform
        if image.crs != first.crs or max(abs(to_first.b), abs(to_first.d)) > 1e-6:
            raise ConfigError(
                f"lies in another coordinate reference system than {first.path}, or turned: "
                f"{image.crs} against {first.crs}, so one grid of blocks cannot cover both",
                remedy="put them into different regions, or draw the regions as polygons",
                path=image.path,
            )
        corners += [to_first * (0, 0), to_first * (image.width, image.height)]
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    start = _first_tile(first, size)
    borders = []
    for axis in (0, 1):
        steps = np.linspace(low[axis], high[axis], count + 1)[1:-1]
        snapped = np.unique(start[axis] + np.round((steps - start[axis]) / size) * size)
        held = np.concatenate([[start[axis]], snapped, [high[axis]]])
        if len(snapped) < count - 1 or (np.diff(held) < size).any():
            raise ConfigError(
                f"{name_of(first.path)} and the images with it, {high[0] - low[0]:.0f} × "
                f"{high[1] - low[1]:.0f} pixels, are too small for {count} × {count} blocks of "
                f"tiles of {size} pixels",
                remedy="ask for fewer blocks or smaller tiles",
                path=first.path,
            )
        borders.append((-np.inf, *snapped.tolist(), np.inf))
    return Blocks(prefix, first.transform, borders[0], borders[1])


def _first_tile(image: Header, size: int) -> tuple[int, int]:
    windows = tile_windows(image.width, image.height, size)
    return windows[0][:2] if windows else (0, 0)
