import geopandas as gpd
import numpy as np
import pyogrio
import pyproj
import pytest
import scipy.ndimage
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize

from landmeta.companions import Companions
from landmeta.errors import ConfigError, WriteFailed
from landmeta.legend import IGNORE
from landmeta.polygons import Hectares, generalise, write_polygons
from landmeta.predict import predict
from tests.disk import no_file_above
from tests.rasters import THREE, UTM, NearestCentroid, read_raster, write_raster

CENTROIDS = np.array([[0, 0], [3, 0], [0, 3]], np.float32)
VALUES = np.array([*THREE.ids, IGNORE], np.uint8)


def speckle(height, width, seed, coarse=1):
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 4, (-(-height // coarse), -(-width // coarse)))
    return VALUES[np.kron(small, np.ones((coarse, coarse), int))[:height, :width]]


def polygons_of(folder, ids, mmu=0.0, **grid):
    raster = write_raster(folder / "map.tif", ids[None], nodata=IGNORE, **grid)
    write_polygons(raster, folder / "map.gpkg", THREE, mmu)
    return (gpd.read_file(folder / "map.gpkg", layer=layer) for layer in ("patches", "classes"))


def patch_sizes(ids):
    """Pixels of each patch, drawn on its own pixels, by scipy."""
    sizes = np.zeros(ids.shape, int)
    for value in set(np.unique(ids).tolist()) - {IGNORE}:
        labels, count = scipy.ndimage.label(ids == value)
        sizes += np.r_[0, np.bincount(labels.ravel(), minlength=count + 1)[1:]][labels]
    return sizes


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 99), st.sampled_from([1, 3]))
def test_they_cover_exactly_the_pixels_that_have_a_class(
    tmp_path_factory, height, width, seed, coarse
):
    ids = speckle(height, width, seed, coarse)
    patches, classes = polygons_of(tmp_path_factory.mktemp("p"), ids)
    for frame in (patches, classes):
        assert frame.geometry.is_valid.all()
        # Back to pixels, each polygon for itself: no hole, no overlap.
        drawn = [
            rasterize([row.geometry], ids.shape, fill=0, transform=UTM["transform"]).astype(bool)
            for row in frame.itertuples()
        ]
        assert (np.sum(drawn, axis=0) == (ids != IGNORE)).all()
        for row, own in zip(frame.itertuples(), drawn, strict=True):
            assert set(ids[own].tolist()) == {row.id}
            assert row.pixels == own.sum()
            assert row.area_ha == pytest.approx(own.sum() * 100 / 10_000)
            assert row.area_ha == pytest.approx(row.geometry.area / 10_000)
    # Neighbours share their borders: joined, nothing is left between them.
    joined = patches.union_all()
    assert joined.area == pytest.approx((ids != IGNORE).sum() * 100)
    assert sorted(patches["pixels"]) == patch_list(ids)


def patch_list(ids):
    found = []
    for value in set(np.unique(ids).tolist()) - {IGNORE}:
        labels, count = scipy.ndimage.label(ids == value)
        found += np.bincount(labels.ravel(), minlength=count + 1)[1:].tolist()
    return sorted(found)


def test_one_row_a_class_with_name_and_colour(tmp_path):
    ids = speckle(40, 30, 1)
    _, classes = polygons_of(tmp_path, ids)
    told = list(zip(classes["id"], classes["name"], classes["color"], strict=True))
    assert told == [(c.id, c.name, c.color) for c in THREE.classes]
    assert classes["pixels"].tolist() == [(ids == c.id).sum() for c in THREE.classes]
    assert classes.crs.to_epsg() == 32633
    assert sorted(pyogrio.list_layers(tmp_path / "map.gpkg")[:, 0]) == ["classes", "patches"]


def test_an_empty_map(tmp_path):
    patches, classes = polygons_of(tmp_path, np.full((5, 6), IGNORE, np.uint8))
    assert len(patches) == len(classes) == 0
    assert "area_ha" in patches.columns and "area_ha" in classes.columns


# --- the minimum mapping unit ----------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 30), st.integers(0, 999))
def test_what_stays_small_has_no_large_neighbour(height, width, size, seed):
    ids = speckle(height, width, seed, coarse=1 + seed % 3)
    found = generalise(ids, size)
    np.testing.assert_array_equal(found == IGNORE, ids == IGNORE)
    sizes = patch_sizes(found)
    small = (sizes > 0) & (sizes < size)
    cross = scipy.ndimage.generate_binary_structure(2, 1)
    assert not (scipy.ndimage.binary_dilation(small, cross) & (sizes >= size)).any()


@given(st.integers(0, 99))
def test_without_a_size_nothing_changes(seed):
    ids = speckle(20, 20, seed)
    np.testing.assert_array_equal(generalise(ids, 1), ids)


def test_a_small_patch_goes_to_its_largest_neighbour():
    ids = np.full((12, 12), 1, np.uint8)
    ids[:, 9:] = 4
    ids[5:7, 7:9] = 10  # four pixels between both
    found = generalise(ids, 5)
    assert (found[5:7, 7:9] == 1).all()
    ids[0, 0] = 10
    assert generalise(ids, 2)[0, 0] == 1
    assert (generalise(ids, 4)[5:7, 7:9] == 10).all()


def test_no_polygon_is_below_the_unit_and_areas_still_add_up(tmp_path):
    ids = speckle(60, 50, 3)
    ids[ids == IGNORE] = 1
    patches, classes = polygons_of(tmp_path, ids, mmu=0.25)  # 25 pixels of 100 m²
    assert patches["area_ha"].min() >= 0.25
    assert patches["area_ha"].sum() == pytest.approx(60 * 50 * 0.01)
    assert classes["area_ha"].sum() == pytest.approx(60 * 50 * 0.01)
    assert patches.geometry.is_valid.all()
    assert patches.union_all().equals(shapely.box(500_000, 4_999_400, 500_500, 5_000_000))


# --- areas -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("crs", "corner", "step"),
    [
        ("EPSG:4326", (12.0, 60.0), 0.01),
        ("EPSG:3857", (1_335_833.9, 8_399_737.9), 1000.0),
        ("EPSG:32633", (500_000, 6_650_000), 500.0),
        ("EPSG:3035", (4_400_000, 4_100_000), 500.0),
        ("EPSG:2263", (980_000, 200_000), 1000.0),  # feet
    ],
)
def test_hectares_are_those_of_an_equal_area_projection(tmp_path, crs, corner, step):
    ids = np.full((10, 10), 4, np.uint8)
    grid = Affine(step, 0, corner[0], 0, -step, corner[1])
    patches, _ = polygons_of(tmp_path, ids, crs=crs, transform=grid)
    square = shapely.segmentize(
        shapely.box(corner[0], corner[1] - 10 * step, corner[0] + 10 * step, corner[1]), step
    )
    lon, lat = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(
        *np.array(square.exterior.coords).T
    )
    equal = pyproj.CRS.from_proj4(f"+proj=laea +lat_0={np.mean(lat)} +lon_0={np.mean(lon)}")
    x, y = pyproj.Transformer.from_crs(4326, equal, always_xy=True).transform(lon, lat)
    expected = shapely.Polygon(np.column_stack([x, y])).area / 10_000
    # A grid of a country is true to within a thousandth; Mercator would be wrong by four times.
    assert patches["area_ha"].sum() == pytest.approx(expected, rel=1e-3)


def test_a_hectare_and_none():
    assert Hectares(pyproj.CRS(32633))([shapely.box(0, 0, 100, 100)]) == pytest.approx(1)
    assert len(Hectares(pyproj.CRS(4326))(np.array([], object))) == 0


# --- with a map ------------------------------------------------------------------------------


def test_with_a_map(tmp_path):
    pixels = np.random.default_rng(0).uniform(-1, 4, (2, 50, 60)).astype(np.float32)
    raster = write_raster(tmp_path / "a.tif", pixels, ("red", "nir"))
    companions = Companions(polygons=True, mmu=0.05)
    made = predict(
        NearestCentroid(CENTROIDS), raster, tmp_path / "map.tif", companions=companions, quiet=True
    )
    patches = gpd.read_file(tmp_path / "map.gpkg", layer="patches")
    expected = generalise(read_raster(made.path)[0], 5)
    drawn = rasterize(
        zip(patches.geometry, patches["id"], strict=True),
        expected.shape,
        fill=IGNORE,
        transform=UTM["transform"],
        dtype="uint8",
    )
    np.testing.assert_array_equal(drawn, expected)
    assert (tmp_path / "map.gpkg") in made.files


@pytest.mark.parametrize("mmu", [-1, 0.5])
def test_a_unit_that_makes_no_sense(tmp_path, mmu):
    raster = write_raster(tmp_path / "a.tif", np.ones((2, 9, 9), np.float32), ("red", "nir"))
    with pytest.raises(ConfigError, match=f"{mmu:g} ha"):
        predict(
            NearestCentroid(CENTROIDS),
            raster,
            tmp_path / "map.tif",
            companions=Companions(polygons=mmu < 0, mmu=mmu),
            quiet=True,
        )


def test_a_full_disk(tmp_path):
    ids = speckle(200, 200, 0)
    raster = write_raster(tmp_path / "map.tif", ids[None], nodata=IGNORE)
    with no_file_above(50_000), pytest.raises(WriteFailed, match=r"map\.gpkg"):
        write_polygons(raster, tmp_path / "map.gpkg", THREE)
