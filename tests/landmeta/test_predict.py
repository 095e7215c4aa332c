import tracemalloc

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.windows import Window

from landmeta.errors import (
    CheckpointMismatch,
    ConfigError,
    MissingBands,
    MissingCRS,
    OutputExists,
    UnreadableFile,
    WriteFailed,
)
from landmeta.legend import IGBP_SIMPLIFIED, IGNORE
from landmeta.predict import confidence_path, predict
from landmeta.raster import RowWriter
from tests.rasters import (
    THREE,
    NearestCentroid,
    PlaceInTile,
    nearest,
    read_raster,
    write_raster,
)
from tests.real import real_data

CENTROIDS = np.array([[0, 0], [3, 0], [0, 3]], np.float32)
IDS = np.array(THREE.ids)
NAMES = ("red", "nir")


def noise(height, width, seed=0):
    return np.random.default_rng(seed).uniform(-1, 4, (2, height, width)).astype(np.float32)


def expected_map(pixels):
    """Class ids pixel by pixel; 255 where all bands are NaN."""
    ids = IDS[nearest(pixels, CENTROIDS)]
    return np.where(np.isnan(pixels).all(axis=0), IGNORE, ids)


# --- the map ---------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    height=st.integers(1, 50),
    width=st.integers(1, 50),
    overlap=st.integers(0, 15),
    batch=st.integers(1, 9),
    invalid=st.sampled_from(["nothing", "pixels", "one band", "block", "all but one"]),
    seed=st.integers(0, 999),
)
def test_a_classifier_by_pixel_gives_the_same_map_in_windows(
    tmp_path_factory, height, width, overlap, batch, invalid, seed
):
    folder = tmp_path_factory.mktemp("p")
    rng = np.random.default_rng(seed)
    pixels = noise(height, width, seed)
    if invalid == "pixels":
        pixels[:, rng.random((height, width)) < 0.3] = np.nan
    elif invalid == "one band":
        pixels[0, rng.random((height, width)) < 0.3] = np.nan
    elif invalid == "block":
        pixels[:, : height // 2 + 1, : width // 2 + 1] = np.nan
    elif invalid == "all but one":
        keep = pixels[:, height // 2, width // 2].copy()
        pixels[:] = np.nan
        pixels[:, height // 2, width // 2] = keep
    raster = write_raster(folder / "a.tif", pixels, NAMES)
    out = folder / "map.tif"
    made = predict(
        NearestCentroid(CENTROIDS), raster, out, overlap=overlap, batch=batch, quiet=True
    )
    expected = expected_map(pixels)
    np.testing.assert_array_equal(read_raster(out)[0], expected)
    share = np.exp(-((np.nan_to_num(pixels)[None] - CENTROIDS[..., None, None]) ** 2).sum(1))
    percent = np.rint(100 * share.max(0) / share.sum(0))
    confidence = read_raster(made.confidence)[0].astype(int)
    np.testing.assert_array_equal(confidence == IGNORE, expected == IGNORE)
    assert (np.abs(confidence - percent)[expected != IGNORE] <= 1).all()  # a half may go either way
    assert made.nodata == (expected == IGNORE).sum()
    assert list(made.pixels.values()) == [(expected == i).sum() for i in IDS]


@pytest.mark.parametrize("kind", ["nodata", "alpha", "mask"])
def test_no_data_in_no_data_out_and_nowhere_else(tmp_path, kind):
    pixels = np.random.default_rng(0).integers(1, 255, (2, 40, 37)).astype(np.uint8)
    gone = np.random.default_rng(1).random((40, 37)) < 0.2
    gone[:20, :20] = True
    path = tmp_path / "a.tif"
    if kind == "nodata":
        pixels[:, gone] = 0
        pixels[0, 39] = 0  # the other band still has data
        write_raster(path, pixels, NAMES, nodata=0)
    elif kind == "alpha":
        opaque = np.where(gone, 0, 255).astype(np.uint8)
        write_raster(path, np.stack([*pixels, opaque]), NAMES, alpha="yes")
        with rasterio.open(path, "r+") as dataset:
            dataset.colorinterp = [*dataset.colorinterp[:2], rasterio.enums.ColorInterp.alpha]
    else:
        write_raster(path, pixels, NAMES)
        with rasterio.open(path, "r+") as dataset:
            dataset.write_mask(~gone)
    made = predict(NearestCentroid(CENTROIDS * 80), path, tmp_path / "map.tif", quiet=True)
    for output in (made.path, made.confidence):
        np.testing.assert_array_equal(read_raster(output)[0] == IGNORE, gone)


def test_the_batch_size_changes_nothing(tmp_path):
    raster = write_raster(tmp_path / "a.tif", noise(61, 83), NAMES)
    classifier = PlaceInTile(CENTROIDS)
    maps = []
    for batch in (1, 3, 7, 100):
        out = tmp_path / f"{batch}.tif"
        predict(classifier, raster, out, batch=batch, overlap=5, quiet=True)
        maps.append((read_raster(out), read_raster(confidence_path(out))))
    for ids, percent in maps[1:]:
        np.testing.assert_array_equal(ids, maps[0][0])
        np.testing.assert_array_equal(percent, maps[0][1])
    assert len(np.unique(maps[0][0])) == 3


def test_windows_without_data_are_not_classified(tmp_path):
    pixels = noise(64, 64)
    pixels[:, :, 16:] = np.nan
    raster = write_raster(tmp_path / "a.tif", pixels, NAMES)
    classifier = NearestCentroid(CENTROIDS)
    predict(classifier, raster, tmp_path / "map.tif", overlap=0, batch=3, quiet=True)
    assert classifier.batches == [3, 1]


def test_it_lies_on_the_rasters_own_grid_and_tells_where_it_comes_from(tmp_path):
    raster = write_raster(tmp_path / "scene.tif", noise(30, 40), NAMES)
    made = predict(
        NearestCentroid(CENTROIDS),
        raster,
        tmp_path / "new folder" / "map.tif",
        provenance={"landmeta_model": "region.safetensors"},
        quiet=True,
    )
    with rasterio.open(raster) as scene:
        for output in (made.path, made.confidence):
            with rasterio.open(output) as dataset:
                assert (dataset.crs, dataset.transform) == (scene.crs, scene.transform)
                assert dataset.tags()["landmeta_raster"] == "scene.tif"
                assert dataset.tags()["landmeta_model"] == "region.safetensors"
                assert dataset.nodata == IGNORE
    assert made.notes == ()


def test_without_confidence(tmp_path):
    raster = write_raster(tmp_path / "a.tif", noise(30, 40), NAMES)
    made = predict(
        NearestCentroid(CENTROIDS), raster, tmp_path / "map.tif", confidence=False, quiet=True
    )
    assert made.confidence is None
    assert not confidence_path(made.path).exists()


def test_stored_values_are_scaled(tmp_path):
    pixels = noise(20, 20)
    stored = np.rint((pixels + 5) * 1000).astype(np.uint16)
    raster = write_raster(tmp_path / "a.tif", stored, NAMES)
    classifier = NearestCentroid(CENTROIDS, scale=0.001, offset=-5)
    predict(classifier, raster, tmp_path / "map.tif", quiet=True)
    physical = stored / 1000 - 5
    differ = read_raster(tmp_path / "map.tif")[0] != expected_map(physical)
    # Only a pixel as near to one centroid as to another may fall on either side.
    nearest_two = np.sort(
        np.linalg.norm(np.moveaxis(physical, 0, -1)[..., None, :] - CENTROIDS, axis=-1)
    )[..., :2]
    assert (np.diff(nearest_two)[differ] < 1e-5).all()


def test_a_raster_on_ground_control_points_keeps_them(tmp_path):
    raster = write_raster(tmp_path / "a.tif", noise(30, 40), NAMES, crs=None)
    points = [
        rasterio.control.GroundControlPoint(row, col, 500_000 + 10 * col + row, 5_000_000 - 9 * row)
        for row, col in ((0, 0), (0, 40), (30, 40), (30, 0))
    ]
    with rasterio.open(raster, "r+") as dataset:
        dataset.gcps = (points, rasterio.crs.CRS.from_epsg(32633))
    made = predict(NearestCentroid(CENTROIDS), raster, tmp_path / "map.tif", quiet=True)
    with rasterio.open(made.path) as dataset:
        kept, crs = dataset.gcps
    assert crs.to_epsg() == 32633
    assert [(p.row, p.col, p.x, p.y) for p in kept] == [(p.row, p.col, p.x, p.y) for p in points]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_photo_without_georeference(tmp_path):
    photo = np.random.default_rng(0).integers(0, 85, (33, 47, 3)).astype(np.uint8)
    photo = photo * 3 + np.arange(3, dtype=np.uint8)  # no two channels are equal
    Image.fromarray(photo).save(tmp_path / "a.png")
    classifier = NearestCentroid(
        np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200]], np.float32) / 50, bands=("R", "G", "B")
    )
    classifier.scale = 1 / 50
    out = tmp_path / "map.tif"
    made = predict(classifier, tmp_path / "a.png", out, allow_no_crs=True, quiet=True)
    assert any("coordinate reference system" in note for note in made.notes)
    with rasterio.open(out) as dataset:
        assert dataset.crs is None
        assert dataset.transform.is_identity
    ids = read_raster(made.path)[0]
    np.testing.assert_array_equal(ids, IDS[photo.argmax(axis=-1)])


def test_an_empty_raster_gives_an_empty_map_and_a_note(tmp_path):
    raster = write_raster(tmp_path / "a.tif", np.full((2, 40, 30), np.nan, np.float32), NAMES)
    made = predict(NearestCentroid(CENTROIDS), raster, tmp_path / "map.tif", quiet=True)
    assert (read_raster(made.path) == IGNORE).all()
    assert made.nodata == 1200
    assert any("no pixel with data" in note for note in made.notes)


# --- memory ----------------------------------------------------------------------------------


def peak_memory(folder, height):
    """Bytes that numpy and Python hold at most while a sparse raster is mapped."""
    raster = folder / f"{height}.tif"
    profile = {"count": 2, "dtype": "int16", "height": height, "width": 256, "sparse_ok": True}
    with rasterio.open(raster, "w", driver="GTiff", tiled=True, **profile) as dataset:
        for top in range(0, height, 2000):
            patch = np.full((2, 50, 256), 3, np.int16)
            dataset.write(patch, window=Window(0, top, 256, 50))
    tracemalloc.start()
    try:
        classifier = NearestCentroid(CENTROIDS, tile_size=128)
        out = folder / f"{height}.map.tif"
        made = predict(classifier, raster, out, allow_no_crs=True, quiet=True)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(made.pixels.values()) == height * 256
    return peak


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_memory_does_not_grow_with_height(tmp_path):
    peak_memory(tmp_path, 500)  # first use: imports and caches
    short, tall = peak_memory(tmp_path, 2_000), peak_memory(tmp_path, 40_000)
    assert tall < 1.3 * short  # twenty times as high
    assert tall < 40_000 * 256 * 3  # one byte per pixel and class would already be more


# --- what goes wrong -------------------------------------------------------------------------


@pytest.fixture
def raster(tmp_path):
    return write_raster(tmp_path / "a.tif", noise(60, 70), NAMES)


def nothing_new(folder):
    return [p.name for p in folder.iterdir()] == ["a.tif"]


def test_wrong_bands(tmp_path):
    write_raster(tmp_path / "a.tif", noise(60, 70), ("red", "green"))
    with pytest.raises(MissingBands, match="missing nir"):
        predict(NearestCentroid(CENTROIDS), tmp_path / "a.tif", tmp_path / "map.tif", quiet=True)
    assert nothing_new(tmp_path)


def test_no_coordinate_reference_system(tmp_path):
    write_raster(tmp_path / "a.tif", noise(60, 70), NAMES, crs=None)
    with pytest.raises(MissingCRS, match=r"a\.tif: .*\n.*--allow-no-crs"):
        predict(NearestCentroid(CENTROIDS), tmp_path / "a.tif", tmp_path / "map.tif", quiet=True)
    assert nothing_new(tmp_path)


def test_truncated_raster_leaves_nothing(tmp_path):
    raster = write_raster(tmp_path / "a.tif", noise(600, 600), NAMES, tiled=True)
    raster.write_bytes(raster.read_bytes()[: raster.stat().st_size * 3 // 4])
    with pytest.raises(UnreadableFile, match=r"a\.tif"):
        predict(NearestCentroid(CENTROIDS, tile_size=64), raster, tmp_path / "map.tif", quiet=True)
    assert nothing_new(tmp_path)


def test_existing_map_is_kept(tmp_path, raster):
    for name in ("map.tif", "map.confidence.tif"):
        (tmp_path / name).write_text("mine")
        classifier = NearestCentroid(CENTROIDS)
        with pytest.raises(OutputExists, match=name):
            predict(classifier, raster, tmp_path / "map.tif", quiet=True)
        assert classifier.batches == []
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()


def test_overwrite(tmp_path, raster):
    (tmp_path / "map.tif").write_text("old")
    predict(NearestCentroid(CENTROIDS), raster, tmp_path / "map.tif", overwrite=True, quiet=True)
    np.testing.assert_array_equal(read_raster(tmp_path / "map.tif")[0], expected_map(noise(60, 70)))


def test_the_raster_itself_is_no_output(tmp_path, raster):
    before = raster.read_bytes()
    with pytest.raises(ConfigError, match="both the raster"):
        predict(NearestCentroid(CENTROIDS), raster, raster, overwrite=True, quiet=True)
    assert raster.read_bytes() == before


@pytest.mark.parametrize("option", [{"overlap": -1}, {"overlap": 16}, {"batch": 0}])
def test_impossible_options(tmp_path, raster, option):
    with pytest.raises(ConfigError, match=str(next(iter(option.values())))):
        predict(NearestCentroid(CENTROIDS), raster, tmp_path / "map.tif", quiet=True, **option)
    assert nothing_new(tmp_path)


def test_a_model_that_gives_no_numbers(tmp_path, raster):
    broken = NearestCentroid(np.full_like(CENTROIDS, np.nan))
    with pytest.raises(CheckpointMismatch, match="not numbers"):
        predict(broken, raster, tmp_path / "map.tif", quiet=True)
    assert nothing_new(tmp_path)


def test_a_disk_that_fills_while_rows_are_written(tmp_path, raster, monkeypatch):
    def full(self, rows):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RowWriter, "write", full)
    with pytest.raises(WriteFailed, match="No space left on device"):
        predict(NearestCentroid(CENTROIDS), raster, tmp_path / "map.tif", quiet=True)
    assert nothing_new(tmp_path)


# --- real imagery ----------------------------------------------------------------------------


def test_a_real_modis_tile(tmp_path):
    folder = real_data("modis_igbp") / "iberia_maghreb"
    tile = sorted(folder.glob("*_img.tif"))[0]
    label = read_raster(tile.with_name(tile.name.replace("_img", "_igbp")))[0]
    index = IGBP_SIMPLIFIED.from_ids(label, nodata=0)
    with rasterio.open(tile) as dataset:
        names = tuple(dataset.descriptions)
    pixels = read_raster(tile).astype(np.float32)
    pixels[pixels == -32768] = np.nan
    scaled = pixels * np.array([1e-2] * 3 + [1e-3] * 2, np.float32)[:, None, None]
    # Centroids of the classes that are there, far away for the others.
    centroids = np.full((10, 5), 1e3, np.float32)
    for c in np.unique(index[index != IGNORE]):
        centroids[c] = np.nan_to_num(scaled)[:, index == c].mean(axis=1)
    weights = np.array([1e-2] * 3 + [1e-3] * 2, np.float32)
    classifier = NearestCentroid(
        centroids / weights, tile_size=64, bands=names, legend=IGBP_SIMPLIFIED
    )
    made = predict(classifier, tile, tmp_path / "map.tif", quiet=True)
    ids = read_raster(made.path)[0]
    direct = np.array(IGBP_SIMPLIFIED.ids)[nearest(pixels, centroids / weights)]
    assert (ids == direct).mean() > 0.999  # float32 sums may settle a draw differently
    with rasterio.open(made.path) as dataset, rasterio.open(tile) as image:
        assert (dataset.crs, dataset.transform) == (image.crs, image.transform)
        assert dataset.colormap(1)[10] == (0x1C, 0x0D, 0xFF, 255)
    water = ids[label == 17]
    assert (water == 10).mean() > 0.8
