"""`landmeta predict` as a user gives it, its files opened by tools that are not ours."""

import json
from xml.etree import ElementTree

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from rasterio.rio.main import main_group
from shapely.geometry import box

from landmeta.checkpoint import load_checkpoint
from landmeta.classifier import NetworkClassifier
from landmeta.legend import IGNORE
from tests.program import invoke
from tests.rasters import UTM, read_raster, write_raster
from tests.real import real_data
from tests.tiny import LEGEND, untrained

RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return untrained(tmp_path_factory.mktemp("model") / "model.safetensors", tile_size=32)


def scene(path, height=70, width=90, col=0, row=0, **more):
    pixels = RNG.integers(1, 255, (3, height, width)).astype(np.uint8)
    pixels[:, 10:20, 5:30] = 0
    grid = {"transform": UTM["transform"] @ Affine.translation(col, row)}
    return write_raster(path, pixels, ("R", "G", "B"), nodata=0, **grid | more)


def predicted(*words):
    done = invoke("predict", *words, "--quiet", "--device", "cpu")
    assert done.exit_code == 0, done.output
    return done.output


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_all_that_there_is_in_one_go(tmp_path, model):
    raster = scene(tmp_path / "a.tif")
    aoi = tmp_path / "aoi.geojson"
    area = gpd.GeoSeries([box(500_100, 4_999_400, 500_800, 4_999_950)], crs="EPSG:32633")
    area.to_crs(4326).to_file(aoi)
    out = tmp_path / "maps" / "map.tif"
    told = predicted(
        model, raster, "--out", out, "--aoi", aoi, "--flips", "--entropy", "--probabilities",
        "--stac", "--date", "2024-06-30", "--mmu", 0.05,
    )  # fmt: skip
    quantities = ("map.confidence.tif", "map.entropy.tif", "map.probabilities.tif")
    made = ["map.gpkg", "map.qml", "map.stac.json", "map.tif", "map.tif.aux.xml", *quantities]
    assert names(out.parent) == sorted(made)
    for name in made:
        assert name in told or name.endswith(".aux.xml")
    assert "the confidence is not calibrated" in told
    ids, confidence, entropy, shares = (
        read_raster(out.parent / name) for name in ("map.tif", *quantities)
    )
    gone = ids[0] == IGNORE
    for bands in (confidence, entropy, shares):
        assert (bands == IGNORE).all(axis=0).tolist() == gone.tolist()
        assert (bands == IGNORE).any(axis=0).tolist() == gone.tolist()
    assert 0 < gone.sum() < gone.size
    assert set(ids[0][~gone].tolist()) <= set(LEGEND.ids)
    assert np.abs(shares[:, ~gone].sum(axis=0) - 250.0).max() <= 2
    assert np.abs(shares.max(axis=0)[~gone] / 2.5 - confidence[0][~gone]).max() <= 1
    assert set(gpd.read_file(out.with_suffix(".gpkg"), layer="classes")["name"]) <= set(
        LEGEND.names
    )
    style = ElementTree.parse(out.with_suffix(".qml"))
    assert [e.get("label") for e in style.iter("paletteEntry")] == list(LEGEND.names)
    assert json.loads((out.parent / "map.stac.json").read_text())["properties"]["proj:code"]


def test_what_rasterio_and_rio_cogeo_say_on_the_command_line(tmp_path):
    raster = scene(tmp_path / "a.tif", 530, 700)
    model = untrained(tmp_path / "model.safetensors", tile_size=128)
    predicted(model, raster, "--out", tmp_path / "map.tif", "--entropy", "--probabilities")

    def rio(*words):
        done = CliRunner().invoke(main_group, words)
        assert done.exit_code == 0, done.output
        return done.output

    for name in ("map", "map.confidence", "map.entropy", "map.probabilities"):
        path = str(tmp_path / f"{name}.tif")
        assert "is a valid cloud optimized GeoTIFF" in rio("cogeo", "validate", "--strict", path)
        said = json.loads(rio("info", path))
        assert (said["dtype"], said["nodata"], said["crs"]) == ("uint8", 255, "EPSG:32633")
        assert said["shape"] == [530, 700]
        tags = json.loads(rio("info", "--tags", path))
        assert tags["landmeta_model"] == "model.safetensors"
        assert tags["landmeta_confidence"] == "not calibrated"
        assert len(tags["landmeta_model_sha256"]) == 64
        assert tags["TIFFTAG_SOFTWARE"].startswith("landmeta ")
    assert said["count"] == 3
    assert said["descriptions"] == list(LEGEND.names)
    with rasterio.open(tmp_path / "map.probabilities.tif") as dataset:
        assert dataset.scales == (0.004,) * 3
        assert dataset.offsets == (0,) * 3
    with rasterio.open(tmp_path / "map.entropy.tif") as dataset:
        assert dataset.units == ("%",)


def test_a_folder_of_tiles_is_one_map_or_a_map_each(tmp_path, model):
    tiles = tmp_path / "tiles"
    tiles.mkdir()
    for i, (col, row) in enumerate(((0, 0), (90, 0), (0, 70))):
        scene(tiles / f"{i}.tif", col=col, row=row)
    predicted(model, tiles, "--out", tmp_path / "one.tif", "--no-confidence", "--no-style")
    with rasterio.open(tmp_path / "one.tif") as dataset:
        assert dataset.shape == (140, 180)
        assert (dataset.read(1)[70:, 90:] == IGNORE).all()  # there is no tile
        assert dataset.tags()["landmeta_raster"] == "0.tif, 1.tif, 2.tif"
    told = predicted(model, tiles, "--out", tmp_path / "each", "--no-confidence", "--no-style")
    expected = sorted(f"{i}.tif{end}" for i in range(3) for end in ("", ".aux.xml"))
    assert names(tmp_path / "each") == expected
    for i in range(3):
        assert f"{tiles / f'{i}.tif'}:" in told
        with rasterio.open(tmp_path / "each" / f"{i}.tif") as dataset:
            assert dataset.shape == (70, 90)


def test_a_vrt(tmp_path, model):
    raster = scene(tmp_path / "a.tif")
    rasterio.shutil.copy(raster, tmp_path / "a.vrt", driver="VRT")
    predicted(model, raster, "--out", tmp_path / "tif.tif")
    predicted(model, tmp_path / "a.vrt", "--out", tmp_path / "vrt.tif")
    np.testing.assert_array_equal(
        read_raster(tmp_path / "vrt.tif"), read_raster(tmp_path / "tif.tif")
    )


def test_one_bad_raster_does_not_lose_the_others_and_they_are_not_made_again(tmp_path, model):
    rasters = tmp_path / "rasters"
    rasters.mkdir()
    for name in "abc":
        scene(rasters / f"{name}.tif")
    whole = (rasters / "b.tif").read_bytes()
    (rasters / "b.tif").write_bytes(whole[:5000])
    words = ("predict", model, rasters, "--out", tmp_path / "maps", "--device", "cpu", "--quiet")
    ended = invoke(*words)
    assert ended.exit_code == 2
    assert "1 of 3 rasters were not mapped" in ended.stderr
    assert "b.tif: cannot be read" in ended.output
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "maps").iterdir()}
    assert sorted(p.name for p in before if p.suffix == ".qml") == ["a.qml", "c.qml"]
    (rasters / "b.tif").write_bytes(whole)
    again = invoke(*words)
    assert again.exit_code == 0
    assert again.output.count("is there already, made of the same") == 2
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "maps").iterdir()}
    assert {p: after[p] for p in before} == before
    assert (tmp_path / "maps" / "b.tif") in after


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--out", "map.png"), "is no name for a map"),
        (("--out", "maps", "--date", "2024-06-30"), "without a STAC item"),
        (("--out", "map.tif", "--aoi", "none.gpkg"), "none.gpkg: is not there"),
        (("--out", "map.tif", "--stac"), "does not say when it was taken"),
        (("--out", "map.tif", "--dask", "nonsense"), "no Dask scheduler at nonsense"),
    ],
)
def test_bad_words(tmp_path, model, words, said, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scene(tmp_path / "a.tif")
    ended = invoke("predict", model, "a.tif", *words, "--quiet", "--device", "cpu")
    assert ended.exit_code == 2, ended.output
    assert said in ended.stderr
    assert "remedy: " in ended.stderr
    assert names(tmp_path) == ["a.tif"]


def test_two_rasters_of_one_name(tmp_path, model):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        scene(tmp_path / folder / "a.tif")
    ended = invoke("predict", model, tmp_path / "x", tmp_path / "y", "--out", tmp_path / "maps")
    assert ended.exit_code == 2
    assert "maps of both" in ended.stderr


# --- the network -----------------------------------------------------------------------------


def test_a_temperature_divides_the_logits_and_is_told(tmp_path):
    plain = untrained(tmp_path / "plain.safetensors")
    calibrated = untrained(tmp_path / "calibrated.safetensors", temperature=2.5)
    assert load_checkpoint(calibrated).meta.temperature == 2.5
    image = RNG.uniform(0, 255, (2, 3, 16, 16)).astype(np.float32)
    before, after = (
        NetworkClassifier(path, "cpu").probabilities(image) for path in (plain, calibrated)
    )
    expected = before ** (1 / 2.5)
    np.testing.assert_allclose(after, expected / expected.sum(axis=1, keepdims=True), rtol=1e-4)
    raster = scene(tmp_path / "a.tif")
    told = predicted(calibrated, raster, "--out", tmp_path / "map.tif")
    assert "the confidence is calibrated by temperature 2.5" in told
    with rasterio.open(tmp_path / "map.confidence.tif") as dataset:
        assert dataset.tags()["landmeta_confidence"] == "calibrated by temperature 2.5"
        assert "calibrated by temperature 2.5" in dataset.descriptions[0]


def test_the_batch_changes_at_most_what_rounds(tmp_path, model):
    raster = scene(tmp_path / "a.tif")
    for batch in (1, 7, 64):
        predicted(model, raster, "--out", tmp_path / f"{batch}.tif", "--batch", batch)
    one = read_raster(tmp_path / "1.confidence.tif").astype(int)
    for batch in (7, 64):
        other = read_raster(tmp_path / f"{batch}.confidence.tif").astype(int)
        assert np.abs(one - other).max() <= 1
        same = read_raster(tmp_path / "1.tif") == read_raster(tmp_path / f"{batch}.tif")
        assert same.mean() > 0.999


# --- real imagery ----------------------------------------------------------------------------

REAL = {
    "chesapeake/md_quad_m_3907833_nw_17/*_naip-new.tif": ("R", "G", "B", "NIR"),
    "landsat7_chiapas_sparse/*_stack.gtif": None,
    "flair/*/IMG_*_aerial.tif": ("R", "G", "B", "NIR", "elevation"),
}


@pytest.mark.slow
@pytest.mark.parametrize("pattern", REAL)
def test_a_real_scene(tmp_path, pattern):
    source, _, rest = pattern.partition("/")
    images = sorted(real_data(source).glob(rest))
    with rasterio.open(images[0]) as dataset:
        height, width = (min(300, n) for n in dataset.shape)
        window = rasterio.windows.Window(
            dataset.width - width, dataset.height - height, width, height
        )
        pixels = dataset.read(window=window)
        valid = dataset.read_masks(window=window).any(axis=0)
        profile = {
            "nodata": dataset.nodata,
            "crs": dataset.crs,
            "transform": dataset.window_transform(window),
        }
    bands = REAL[pattern] or tuple(f"B{i + 1}" for i in range(len(pixels)))
    raster = write_raster(tmp_path / "a.tif", pixels, bands, **profile)
    model = untrained(tmp_path / "model.safetensors", bands=bands, tile_size=64)
    predicted(model, raster, "--out", tmp_path / "map.tif", "--polygons", "--mmu", 0.001)
    with rasterio.open(tmp_path / "map.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1) != IGNORE, valid)
        assert dataset.crs == profile["crs"]
        assert dataset.transform == profile["transform"]
    classes = gpd.read_file(tmp_path / "map.gpkg", layer="classes")
    assert classes["pixels"].sum() == valid.sum()
