"""The ground that each pixel of a grid covers, in square metres.

On a grid in degrees a pixel narrows towards the poles; projections other than equal-area ones
stretch. Where the stretching over a map stays below 1 % (UTM: 0.2 %), the area in the plane is
taken, as everybody does; beyond that (Web Mercator), the area on the ellipsoid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyproj
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator

from landmeta.raster import Grid

Floats = NDArray[np.float64]
TOLERANCE = 0.01
"""Stretching of the plane, as a share of the area, that is let pass."""
_NODES = 129
"""Nodes along each side of a map between which the area of a pixel is interpolated."""


@dataclass(frozen=True)
class PixelArea:
    """Area of the pixels of a grid.

    Attributes:
        unit: "m2", or "pixel" where nobody knows how large a pixel is (no CRS).
        note: what was done, in words for the user.
        height, width: of the grid.
    """

    unit: Literal["m2", "pixel"]
    note: str
    height: int
    width: int
    _by_row: Floats | None = None
    _of_all: float = 1.0
    _nodes: RegularGridInterpolator | None = None

    def rows(self, top: int, bottom: int) -> Floats:
        """Area of each pixel of some rows; broadcasts to (row, col)."""
        if self._by_row is not None:
            return self._by_row[top:bottom, None]
        if self._nodes is None:
            return np.full((1, 1), self._of_all)
        rows, cols = np.meshgrid(np.arange(top, bottom), np.arange(self.width), indexing="ij")
        return self.at(rows, cols)

    def at(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> Floats:
        """Area of the pixels at these rows and columns, in their shape."""
        if self._by_row is not None:
            return self._by_row[rows]
        if self._nodes is None:
            return np.full(np.shape(rows), self._of_all)
        found: Floats = self._nodes(np.stack([rows, cols], axis=-1).astype(np.float64))
        return found


def pixel_area(grid: Grid) -> PixelArea:
    """Area of the pixels of a grid.

    A grid without coordinate reference system, or known by ground control points only, has pixels
    for areas.
    """
    size = grid.height, grid.width
    if grid.crs is None or grid.gcps:
        return PixelArea("pixel", "areas are in pixels: the map lies nowhere on Earth", *size)
    crs = pyproj.CRS.from_wkt(grid.crs.to_wkt())
    if crs.is_geographic and grid.transform.b == grid.transform.d == 0:
        note = "areas are on the ellipsoid; a pixel's depends on its latitude"
        return PixelArea("m2", note, *size, _by_row=_zones(grid, crs))
    plane = abs(grid.transform.determinant) * _unit(crs) ** 2
    rows, cols = (np.linspace(0, length - 1, min(_NODES, length)) for length in size)
    ground = _ground(grid, crs, *np.meshgrid(rows, cols, indexing="ij"))
    if crs.is_projected and np.nanmax(np.abs(ground / plane - 1)) <= TOLERANCE:
        note = "areas are those of the map's plane"
        return PixelArea("m2", note, *size, _of_all=plane)
    note = f"areas are on the ellipsoid, as the map's plane ({crs.name}) distorts them"
    return PixelArea("m2", note, *size, _nodes=_interpolator(rows, cols, ground))


def centres(grid: Grid, rows: NDArray[Any], cols: NDArray[Any]) -> tuple[Floats, Floats]:
    """Coordinates (x, y) of the middle of pixels, in the CRS of the grid."""
    a, b, c, d, e, f = tuple(grid.transform)[:6]
    return a * (cols + 0.5) + b * (rows + 0.5) + c, d * (cols + 0.5) + e * (rows + 0.5) + f


def _unit(crs: pyproj.CRS) -> float:
    """Metres, or radians, to a unit of the coordinates."""
    return float(crs.axis_info[0].unit_conversion_factor)


def _zones(grid: Grid, crs: pyproj.CRS) -> Floats:
    """Area of a pixel by row of a grid in degrees: between two meridians and two parallels."""
    edges = grid.transform.f + grid.transform.e * np.arange(grid.height + 1)
    latitudes = np.clip(edges * _unit(crs), -math.pi / 2, math.pi / 2)
    width = abs(grid.transform.a) * _unit(crs)
    return width * np.abs(np.diff(_authalic(latitudes, crs)))


def _authalic(latitude: Floats, crs: pyproj.CRS) -> Floats:
    """Area from the equator to a latitude, for a radian of longitude (Snyder 1987, eq. 3-12)."""
    a, e2 = _ellipsoid(crs)
    sine = np.sin(latitude)
    if e2 == 0:
        return a**2 * sine
    e = math.sqrt(e2)
    q = sine / (1 - e2 * sine**2) + np.arctanh(e * sine) / e
    result: Floats = a**2 * (1 - e2) / 2 * q
    return result


def _ellipsoid(crs: pyproj.CRS) -> tuple[float, float]:
    """Semi-major axis in metres, and squared eccentricity."""
    body = crs.ellipsoid or pyproj.CRS(4326).ellipsoid
    assert body is not None
    flat = 1 / body.inverse_flattening if body.inverse_flattening else 0.0
    return float(body.semi_major_metre), flat * (2 - flat)


def _ground(grid: Grid, crs: pyproj.CRS, rows: Floats, cols: Floats) -> Floats:
    """Area on the ellipsoid of pixels at these (fractional) rows and columns."""
    to_degrees = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    # A pixel, or what is large enough for differences of coordinates to mean something.
    half = max(0.5, 1e-6 * max(grid.height, grid.width))

    def radians(row: Floats, col: Floats) -> Floats:
        x, y = centres(grid, row, col)
        result: Floats = np.radians(np.stack(to_degrees.transform(x, y)))
        return result

    by_col = (radians(rows, cols + half) - radians(rows, cols - half)) / (2 * half)
    by_row = (radians(rows + half, cols) - radians(rows - half, cols)) / (2 * half)
    for step in (by_col, by_row):  # over the date line
        step[0] = (step[0] * 2 * half + np.pi) % (2 * np.pi) - np.pi
        step[0] /= 2 * half
    latitude = radians(rows, cols)[1]
    a, e2 = _ellipsoid(crs)
    w2 = 1 - e2 * np.sin(latitude) ** 2
    per_radians = a**2 * (1 - e2) * np.cos(latitude) / w2**2  # both radii of curvature
    found = np.abs(by_col[0] * by_row[1] - by_col[1] * by_row[0]) * per_radians
    return np.where(np.isfinite(found), found, np.nan)


def _interpolator(rows: Floats, cols: Floats, ground: Floats) -> RegularGridInterpolator:
    ground = np.nan_to_num(ground)  # what lies beyond the projection has no area
    if len(rows) == 1:
        rows, ground = np.array([rows[0], rows[0] + 1]), np.repeat(ground, 2, axis=0)
    if len(cols) == 1:
        cols, ground = np.array([cols[0], cols[0] + 1]), np.repeat(ground, 2, axis=1)
    return RegularGridInterpolator((rows, cols), ground, bounds_error=False, fill_value=None)
