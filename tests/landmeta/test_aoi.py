import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from shapely.geometry import LineString, MultiPolygon, Point, Polygon, box

from landmeta.aoi import Area, read_area
from landmeta.errors import ConfigError, MissingCRS, SourceNotFound, UnreadableFile
from landmeta.legend import IGNORE
from landmeta.predict import predict
from landmeta.raster import Grid, Image
from tests.rasters import UTM, PlaceInTile, read_raster, write_raster

CENTROIDS = np.array([[0, 0], [3, 0], [0, 3]], np.float32)
GRID = Grid(60, 80, CRS.from_epsg(32633), UTM["transform"])
LEFT, TOP = 500_000, 5_000_000
TRIANGLE = Polygon([(LEFT + 103, TOP - 52), (LEFT + 713, TOP - 148), (LEFT + 204, TOP - 566)])


def write_area(path, *polygons, crs="EPSG:32633", **options):
    gpd.GeoDataFrame(geometry=list(polygons), crs=crs).to_file(path, **options)
    return path


def centres_inside(polygon, grid):
    """Pixel by pixel, by shapely."""
    rows, cols = np.mgrid[: grid.height, : grid.width] + 0.5
    x, y = grid.transform @ (cols, rows)
    return shapely.contains_xy(polygon, x, y)


# --- the mask --------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    points=st.lists(
        st.tuples(st.floats(-100, 900), st.floats(-700, 100)), min_size=3, max_size=8, unique=True
    ),
    angle=st.sampled_from([0, 30, -77]),
    window=st.tuples(
        st.integers(0, 60), st.integers(0, 40), st.integers(1, 20), st.integers(1, 20)
    ),
)
def test_a_pixel_belongs_to_the_area_if_its_centre_does(points, angle, window):
    polygon = shapely.MultiPoint([(LEFT + x, TOP + y) for x, y in points]).convex_hull.buffer(3)
    turned = UTM["transform"] @ Affine.rotation(angle)
    grid = Grid(60, 80, GRID.crs, turned)
    area = Area((polygon,), turned)
    whole = area.mask(0, 0, 80, 60)
    apart = whole != centres_inside(polygon, grid)
    rows, cols = np.nonzero(apart)
    x, y = turned @ (cols + 0.5, rows + 0.5)  # only a centre on the border may be either
    assert all(polygon.boundary.distance(Point(a, b)) < 0.01 for a, b in zip(x, y, strict=True))
    col, row, width, height = window
    np.testing.assert_array_equal(
        area.mask(col, row, width, height), whole[row : row + height, col : col + width]
    )


@pytest.mark.parametrize("name", ["a.gpkg", "a.geojson", "a.shp", "a.parquet"])
@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326", "EPSG:3035"])
def test_any_format_and_reference_system(tmp_path, name, crs):
    frame = gpd.GeoDataFrame(geometry=[TRIANGLE], crs="EPSG:32633").to_crs(crs)
    if name.endswith("parquet"):
        frame.to_parquet(tmp_path / name)
    else:
        frame.to_file(tmp_path / name)
    mask = read_area(tmp_path / name, GRID).mask(0, 0, 80, 60)
    expected = centres_inside(TRIANGLE, GRID)
    assert (mask != expected).sum() <= 3  # GeoJSON keeps seven decimals of a degree
    assert 1000 < expected.sum() < 2000


def test_long_edges_are_bent_when_reprojected(tmp_path):
    # A parallel of 40 degrees is no straight line in UTM: its middle lies tens of kilometres off.
    wide = Polygon([(0, 45), (30, 45), (30, 46), (0, 46)])
    path = write_area(tmp_path / "a.gpkg", wide, crs="EPSG:4326")
    grid = Grid(200, 300, CRS.from_epsg(32633), Affine(8000, 0, -700_000, 0, -2000, 5_300_000))
    mask = read_area(path, grid).mask(0, 0, 300, 200)
    rows, cols = np.mgrid[:200, :300] + 0.5
    x, y = grid.transform @ (cols, rows)
    lon, lat = rasterio.warp.transform(grid.crs, "EPSG:4326", x.ravel(), y.ravel())
    lon, lat = (np.reshape(v, x.shape) for v in (lon, lat))
    expected = (lon > 0) & (lon < 30) & (lat > 45) & (lat < 46)
    assert (mask != expected).mean() < 0.002
    assert expected.sum() > 1000


def test_holes_several_polygons_and_collections(tmp_path):
    holed = box(LEFT, TOP - 300, LEFT + 300, TOP).difference(
        box(LEFT + 100, TOP - 200, LEFT + 200, TOP - 100)
    )
    other = MultiPolygon([box(LEFT + 500, TOP - 100, LEFT + 600, TOP - 50)])
    path = write_area(tmp_path / "a.gpkg", holed, other)
    mask = read_area(path, GRID).mask(0, 0, 80, 60)
    assert mask.sum() == 30 * 30 - 10 * 10 + 10 * 5


def test_a_bow_tie_is_put_right(tmp_path):
    bow = Polygon([(LEFT, TOP), (LEFT + 200, TOP - 200), (LEFT + 200, TOP), (LEFT, TOP - 200)])
    path = write_area(tmp_path / "a.geojson", bow)
    mask = read_area(path, GRID).mask(0, 0, 80, 60)
    assert 150 < mask.sum() < 250  # both wings, half of 20 × 20 pixels


# --- what goes wrong -------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda p: None, SourceNotFound, "is not there"),
        (lambda p: p.write_text("no polygons"), UnreadableFile, "polygons"),
        (lambda p: write_area(p, Point(0, 0)), ConfigError, "no polygon among its 1"),
        (lambda p: write_area(p, LineString([(0, 0), (1, 1)])), ConfigError, "no polygon"),
        (lambda p: write_area(p, TRIANGLE, crs=None), MissingCRS, "coordinate reference"),
        (lambda p: write_area(p, box(0, 0, 9, 9)), ConfigError, r"does not touch.*0, 0, 9, 9"),
    ],
)
def test_bad_areas(tmp_path, make, error, said):
    path = tmp_path / "a.gpkg"
    make(path)
    with pytest.raises(error, match=said) as found:
        read_area(path, GRID)
    assert str(path) in str(found.value)


def test_a_raster_without_reference_system(tmp_path):
    path = write_area(tmp_path / "a.gpkg", TRIANGLE)
    with pytest.raises(MissingCRS, match="raster"):
        read_area(path, Grid(60, 80, None, Affine.identity()))


# --- maps ------------------------------------------------------------------------------------


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 99), overlap=st.integers(0, 7), batch=st.integers(1, 6))
def test_inside_the_map_is_what_it_is_without_and_outside_there_is_none(
    tmp_path_factory, seed, overlap, batch
):
    folder = tmp_path_factory.mktemp("a")
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(-1, 4, (2, 60, 80)).astype(np.float32)
    pixels[:, rng.random((60, 80)) < 0.1] = np.nan
    raster = write_raster(folder / "a.tif", pixels, ("red", "nir"))
    aoi = write_area(folder / "a.gpkg", TRIANGLE)
    options = {"overlap": overlap, "batch": batch, "entropy": True, "quiet": True}
    classifier = PlaceInTile(CENTROIDS, tile_size=8)
    predict(classifier, raster, folder / "whole.tif", **options)
    everywhere = sum(classifier.batches)
    made = predict(classifier, raster, folder / "map.tif", aoi=aoi, **options)
    assert sum(classifier.batches) - everywhere < everywhere
    inside = centres_inside(TRIANGLE, GRID)
    for name in ("tif", "confidence.tif", "entropy.tif"):
        whole, part = (read_raster(folder / f"{stem}.{name}")[0] for stem in ("whole", "map"))
        np.testing.assert_array_equal(part, np.where(inside, whole, IGNORE))
    assert made.nodata == (part == IGNORE).sum()


def test_only_windows_that_touch_it_are_read_and_classified(tmp_path, monkeypatch):
    read = []
    plain = Image.read

    def note(self, *window):
        read.append(window)
        return plain(self, *window)

    monkeypatch.setattr(Image, "read", note)
    pixels = np.ones((2, 60, 80), np.float32)
    raster = write_raster(tmp_path / "a.tif", pixels, ("red", "nir"))
    aoi = write_area(tmp_path / "a.gpkg", box(LEFT + 90, TOP - 310, LEFT + 250, TOP - 250))
    classifier = PlaceInTile(CENTROIDS, tile_size=20)
    predict(classifier, raster, tmp_path / "map.tif", aoi=aoi, overlap=0, quiet=True)
    assert read == [(0, 20, 40, 20)]  # columns 9-24 lie in two windows, rows 25-30 in one
    assert sum(classifier.batches) == 2
