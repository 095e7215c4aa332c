import numpy as np
import pyproj
import pytest
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS

from landmeta.pixelarea import centres, pixel_area
from landmeta.raster import Grid

GRIDS = {
    "degrees": Grid(200, 100, CRS.from_epsg(4326), Affine(0.05, 0, 10, 0, -0.05, 60)),
    "to the poles": Grid(180, 360, CRS.from_epsg(4326), Affine(1, 0, -180, 0, -1, 90)),
    "degrees, turned": Grid(50, 60, CRS.from_epsg(4326), Affine(0.05, 0.01, 10, 0.01, -0.05, 60)),
    "web mercator": Grid(600, 500, CRS.from_epsg(3857), Affine(5e3, 0, 1e6, 0, -5e3, 9e6)),
    "equal area": Grid(500, 500, CRS.from_epsg(3035), Affine(1e3, 0, 3e6, 0, -1e3, 4e6)),
    "over the date line": Grid(9, 200, CRS.from_epsg(3832), Affine(1e4, 0, 3e6, 0, -1e4, 2e6)),
}


def geodesic(grid, row, col):
    """Area of one pixel by pyproj, its rim in many steps."""
    geod = pyproj.CRS(grid.crs.to_wkt()).get_geod()
    to_degrees = pyproj.Transformer.from_crs(grid.crs.to_wkt(), 4326, always_xy=True)
    step, one = np.linspace(0, 1, 60), np.ones(60)
    cols = col + np.concatenate([step, one, 1 - step, 0 * one])
    rows = row + np.concatenate([0 * one, step, one, 1 - step])
    lon, lat = to_degrees.transform(*(grid.transform * (cols, rows)))
    return abs(geod.polygon_area_perimeter(lon, lat)[0])


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_area_is_the_geodesic_one(grid):
    area = pixel_area(grid)
    assert area.unit == "m2"
    for row, col in [(0, 0), (grid.height // 3, grid.width // 2), (grid.height - 1, 3)]:
        (found,) = area.at(np.array([row]), np.array([col]))
        assert found == pytest.approx(geodesic(grid, row, col), rel=1e-4)
        rows = np.broadcast_to(area.rows(row, row + 1), (1, grid.width))
        assert rows[0, col] == pytest.approx(found)


def test_the_earth_is_as_large_as_it_is():
    area = pixel_area(GRIDS["to the poles"])
    whole = np.broadcast_to(area.rows(0, 180), (180, 360)).sum()
    assert whole == pytest.approx(510_065_621_724_000, rel=1e-9)  # WGS 84


def test_utm_is_taken_as_it_is():
    grid = Grid(100, 100, CRS.from_epsg(32633), Affine(10, 0, 5e5, 0, -10, 5e6))
    area = pixel_area(grid)
    assert area.at(np.array([5]), np.array([7])).tolist() == [100]
    assert "plane" in area.note


def test_feet_are_no_metres():
    grid = Grid(10, 10, CRS.from_epsg(2263), Affine(100, 0, 980_000, 0, -100, 200_000))
    assert pixel_area(grid).rows(0, 1)[0, 0] == pytest.approx((100 * 0.3048006096) ** 2)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1)])
def test_small_grids(size):
    grid = Grid(*size, CRS.from_epsg(3857), Affine(1e3, 0, 0, 0, -1e3, 8e6))
    found = np.broadcast_to(pixel_area(grid).rows(0, size[0]), size)
    assert found[-1, -1] == pytest.approx(geodesic(grid, size[0] - 1, size[1] - 1), rel=1e-4)


def test_nowhere_means_pixels():
    points = tuple(GroundControlPoint(r, c, c, r) for r, c in [(0, 0), (0, 5), (5, 0)])
    for grid in (
        Grid(5, 5, None, Affine.identity()),
        Grid(5, 5, CRS.from_epsg(4326), Affine.identity(), points),
    ):
        area = pixel_area(grid)
        assert area.unit == "pixel"
        assert area.rows(0, 5).sum() == 1


def test_centres_are_rasterio_s():
    grid = GRIDS["degrees, turned"]
    rows, cols = np.array([0, 3, 49]), np.array([0, 59, 7])
    x, y = centres(grid, rows, cols)
    for i in range(3):
        assert (x[i], y[i]) == pytest.approx(grid.transform * (cols[i] + 0.5, rows[i] + 0.5))
