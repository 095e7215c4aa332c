import numpy as np
import pytest
import rasterio
from affine import Affine

import landmeta.landmap
from landmeta.errors import ConfigError, EmptyRegion, SourceNotFound, UnknownClass, UnreadableFile
from landmeta.landmap import content, open_map
from landmeta.legend import IGNORE, LandClass, Legend, find_legend
from landmeta.raster import Grid, Layer, write_layers
from tests.rasters import THREE, write_raster


@pytest.fixture
def ids():
    rng = np.random.default_rng(0)
    values = rng.choice(np.array([1, 4, 10, IGNORE], np.uint8), (70, 90))
    values[:10, :20] = IGNORE
    return values


@pytest.fixture
def path(tmp_path, ids):
    """As 'landmeta predict' writes it."""
    out = tmp_path / "map.tif"
    grid = Grid(*ids.shape, rasterio.crs.CRS.from_epsg(32633), Affine(10, 0, 5e5, 0, -10, 5e6))
    with write_layers([Layer(out, "land cover", THREE)], grid, {}) as (writer,):
        writer.write(ids)
    return out


def test_a_legend_that_remaps_is_not_for_a_map_that_names_its_classes(path):
    with pytest.raises(ConfigError, match="names its own classes"):
        open_map(path, find_legend("igbp-simplified"))


def test_map_of_ours_is_read_with_its_legend(path, ids):
    land = open_map(path)
    assert land.legend.classes == THREE.classes
    assert not land.notes
    found = content(land)
    assert found.pixels.tolist() == [(ids == i).sum() for i in (1, 4, 10)]
    assert found.areas.tolist() == [100 * (ids == i).sum() for i in (1, 4, 10)]


@pytest.mark.parametrize("strip", [1, 1000, 10**9])
def test_strips_do_not_matter(path, ids, strip, monkeypatch):
    whole = content(open_map(path))
    monkeypatch.setattr(landmeta.landmap, "STRIP", strip)
    land = open_map(path)
    assert np.array_equal(
        np.concatenate([labels for _, labels in land.strips()]), THREE.from_map(ids)
    )
    again = content(land)
    assert again.hash == whole.hash
    assert again.pixels.tolist() == whole.pixels.tolist()
    rng = np.random.default_rng(0)
    rows, cols = rng.integers(-3, 75, 200), rng.integers(-3, 95, 200)
    inside = (rows >= 0) & (rows < 70) & (cols >= 0) & (cols < 90)
    expected = np.full(200, IGNORE)
    expected[inside] = THREE.from_map(ids)[rows[inside], cols[inside]]
    assert np.array_equal(land.at(rows, cols), expected)


def test_hash_is_of_the_pixels_not_of_the_file(path, ids, tmp_path):
    first = content(open_map(path)).hash
    where = {"transform": Affine(10, 0, 5e5, 0, -10, 5e6)}
    plain = write_raster(tmp_path / "plain.tif", ids[None], nodata=IGNORE, **where)
    assert content(open_map(plain, THREE)).hash == first
    changed = ids.copy()
    changed[40, 40] = 1 if ids[40, 40] != 1 else 4
    other = write_raster(tmp_path / "other.tif", changed[None], nodata=IGNORE, **where)
    assert content(open_map(other, THREE)).hash != first
    moved = write_raster(tmp_path / "moved.tif", ids[None], nodata=IGNORE)
    with rasterio.open(moved, "r+") as dataset:
        dataset.transform = Affine(10, 0, 5e5 + 10, 0, -10, 5e6)
    assert content(open_map(moved, THREE)).hash != first


def test_areas_in_degrees_are_sums_of_zones(tmp_path, ids):
    path = write_raster(
        tmp_path / "degrees.tif",
        ids[None],
        crs="EPSG:4326",
        transform=Affine(0.1, 0, 10, 0, -0.1, 60),
        nodata=IGNORE,
    )
    land = open_map(path, THREE)
    by_row = np.broadcast_to(land.area.rows(0, 70), ids.shape)
    expected = [by_row[ids == i].sum() for i in (1, 4, 10)]
    assert content(land).areas == pytest.approx(expected)


def test_foreign_map_is_called_by_its_ids(tmp_path):
    path = write_raster(tmp_path / "foreign.tif", np.array([[[3, 7], [7, 0]]], np.uint8), nodata=0)
    land = open_map(path)
    assert land.legend.names == ("class 3", "class 7")
    assert "--legend" in land.notes[0]
    assert content(land).pixels.tolist() == [1, 2]


def test_large_and_negative_ids_need_a_legend(tmp_path):
    ids = np.array([[[111, 523], [523, -9]]], np.int16)
    path = write_raster(tmp_path / "corine.tif", ids, nodata=-9)
    with pytest.raises(UnreadableFile, match="from 111 to 523"):
        open_map(path)
    legend = Legend(
        classes=(LandClass(id=1, name="Urban", color="#ff0000"),), remap={"111": 1, "523": 1}
    )
    assert content(open_map(path, legend)).pixels.tolist() == [3]


def test_bad_maps_are_named(tmp_path, path):
    with pytest.raises(SourceNotFound):
        open_map(tmp_path / "nowhere.tif")
    with pytest.raises(UnreadableFile, match="float32"):
        open_map(write_raster(tmp_path / "float.tif", np.ones((1, 3, 3), np.float32)))
    with pytest.raises(UnreadableFile, match="3 bands"):
        open_map(write_raster(tmp_path / "rgb.tif", np.ones((3, 3, 3), np.uint8)))
    empty = write_raster(tmp_path / "empty.tif", np.zeros((1, 3, 3), np.uint8), nodata=0)
    with pytest.raises(EmptyRegion):
        open_map(empty)
    with pytest.raises(EmptyRegion):
        content(open_map(empty, THREE))
    strange = write_raster(tmp_path / "strange.tif", np.full((1, 3, 3), 77, np.uint8))
    with pytest.raises(UnknownClass, match="77") as caught:
        content(open_map(strange, THREE))
    assert "--legend" in caught.value.remedy
    cut = tmp_path / "cut.tif"
    noise = np.random.default_rng(0).integers(1, 200, (1, 300, 300)).astype(np.uint8)
    whole = write_raster(tmp_path / "noise.tif", noise).read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableFile):
        open_map(cut)
