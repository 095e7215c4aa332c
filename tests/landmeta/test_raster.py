import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.env import get_gdal_config
from rasterio.errors import RasterioIOError

from landmeta.errors import (
    MissingBands,
    OutputExists,
    SourceNotFound,
    UnreadableFile,
    WriteFailed,
)
from landmeta.raster import CACHE, Grid, Layer, open_image, write_layers
from landmeta.taskset import Band
from tests.rasters import THREE, UTM, read_raster, write_raster

RNG = np.random.default_rng(7)
RED_NIR = (Band(name="red"), Band(name="nir"))


def whole(path, bands=RED_NIR, names=None):
    with open_image(path, bands, names) as image:
        return image.read(0, 0, image.grid.width, image.grid.height), image.notes


# --- which band is which ---------------------------------------------------------------------


@pytest.fixture
def pixels():
    return RNG.integers(0, 1000, (2, 9, 11)).astype(np.uint16)


def test_short_names_of_bands_where_they_can_mean_one_only(tmp_path):
    pixels = RNG.integers(0, 200, (3, 4, 5)).astype(np.uint8)
    path = write_raster(tmp_path / "a.tif", pixels)
    needed = [Band(name=n) for n in ("S2_B2", "S1_VV", "S2_B12")]
    found, _ = whole(path, needed, ["vv", "B12", "b2"])
    np.testing.assert_array_equal(found, pixels[[2, 0, 1]])
    two = [Band(name=n) for n in ("near_red", "far_red", "blue")]
    with pytest.raises(MissingBands, match="missing near_red, far_red"):
        whole(path, two, ["red", "red", "blue"])


def test_bands_are_found_by_name_whatever_their_order(tmp_path, pixels):
    path = write_raster(tmp_path / "a.tif", pixels, ("NIR", "Red"))
    image, notes = whole(path)
    np.testing.assert_array_equal(image, pixels[::-1])
    assert image.dtype == np.float32
    assert notes == []


def test_scale_and_offset_give_physical_values(tmp_path, pixels):
    path = write_raster(tmp_path / "a.tif", pixels, ("red", "nir"))
    bands = (Band(name="red", scale=1e-4), Band(name="nir", scale=0.01, offset=-5))
    image, _ = whole(path, bands)
    np.testing.assert_allclose(image[0], pixels[0] / 10_000, rtol=1e-6)
    np.testing.assert_allclose(image[1], pixels[1] / 100 - 5, rtol=1e-5, atol=1e-5)


def test_a_scale_other_than_the_models_is_told(tmp_path, pixels):
    path = write_raster(tmp_path / "a.tif", pixels, ("red", "nir"))
    with rasterio.open(path, "r+") as dataset:
        dataset.scales = (0.5, 1.0)
    image, notes = whole(path)
    np.testing.assert_array_equal(image, pixels)
    assert len(notes) == 1
    assert "0.5" in notes[0] and "red" in notes[0]


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("red", "green"), r"missing nir; extra green"),
        (("red", "red"), r"missing nir; more than once red"),
    ],
)
def test_other_named_bands_are_refused(tmp_path, pixels, names, problem):
    path = write_raster(tmp_path / "a.tif", pixels, names)
    with pytest.raises(MissingBands, match=problem) as error:
        whole(path)
    for word in (str(path), "red, nir", "--bands", *names):
        assert word in str(error.value)


def test_extra_bands_are_refused_unless_named_by_the_user(tmp_path):
    pixels = RNG.integers(0, 9, (3, 4, 5)).astype(np.uint8)
    path = write_raster(tmp_path / "a.tif", pixels, ("nir", "swir", "red"))
    with pytest.raises(MissingBands, match="extra swir"):
        whole(path)
    image, _ = whole(path, names=["nir", "swir", "red"])
    np.testing.assert_array_equal(image, pixels[[2, 0]])


def test_bands_without_names_are_taken_in_order_and_that_is_told(tmp_path, pixels):
    path = write_raster(tmp_path / "a.tif", pixels)
    image, notes = whole(path)
    np.testing.assert_array_equal(image, pixels)
    assert len(notes) == 1
    assert "red, nir" in notes[0]
    reordered, notes = whole(path, names=["nir", "red"])
    np.testing.assert_array_equal(reordered, pixels[::-1])
    assert notes == []


def test_bands_without_names_must_be_as_many(tmp_path):
    path = write_raster(tmp_path / "a.tif", np.zeros((3, 4, 5), np.uint8))
    with pytest.raises(MissingBands, match="needed are red, nir"):
        whole(path)


def test_a_wrong_number_of_given_names(tmp_path, pixels):
    path = write_raster(tmp_path / "a.tif", pixels, ("red", "nir"))
    with pytest.raises(MissingBands, match=r"has 2 bands, but 3 names"):
        whole(path, names=["red", "nir", "swir"])


def test_no_order_is_assumed_against_the_one_name_there_is(tmp_path, pixels):
    path = write_raster(tmp_path / "a.tif", pixels, (None, "red"))
    with pytest.raises(MissingBands, match="calls its band 2 'red' where 'nir' is needed"):
        whole(path)


def test_the_fourth_of_four_bands_is_no_transparency_when_four_are_needed(tmp_path):
    pixels = RNG.integers(0, 3, (4, 6, 7)).astype(np.uint8)
    bands = tuple(Band(name=n) for n in ("R", "G", "B", "NIR"))
    path = write_raster(tmp_path / "a.tif", pixels, photometric="rgb", alpha="yes")
    with rasterio.open(path) as dataset:
        assert dataset.colorinterp[3] == ColorInterp.alpha
    image, _ = whole(path, bands)
    np.testing.assert_array_equal(image, pixels)


# --- what is no data -------------------------------------------------------------------------


def test_nodata_is_nan_in_that_band_only(tmp_path, pixels):
    pixels = pixels.astype(np.int16)
    pixels[0, 2, 3] = pixels[1, 5, 6] = pixels[:, 8, 10] = -32768
    path = write_raster(tmp_path / "a.tif", pixels, ("red", "nir"), nodata=-32768)
    image, _ = whole(path)
    np.testing.assert_array_equal(np.isnan(image), pixels == -32768)


def test_nan_and_infinity_are_no_data_even_beside_a_nodata_value(tmp_path):
    pixels = RNG.random((2, 4, 5)).astype(np.float32)
    pixels[0, 0, 0], pixels[0, 1, 1], pixels[1, 2, 2] = np.nan, np.inf, -9999
    image, _ = whole(write_raster(tmp_path / "a.tif", pixels, ("red", "nir"), nodata=-9999))
    expected = np.zeros(pixels.shape, bool)
    expected[0, 0, 0] = expected[0, 1, 1] = expected[1, 2, 2] = True
    np.testing.assert_array_equal(np.isnan(image), expected)


def test_alpha_masks_all_bands(tmp_path):
    pixels = RNG.integers(1, 255, (4, 6, 7)).astype(np.uint8)
    pixels[3] = 255
    pixels[3, 2:4, 1] = 0
    path = write_raster(tmp_path / "a.tif", pixels, photometric="rgb", alpha="yes")
    image, _ = whole(path, tuple(Band(name=n) for n in "RGB"))
    np.testing.assert_array_equal(np.isnan(image), np.repeat(pixels[3:] == 0, 3, axis=0))
    np.testing.assert_array_equal(image[:, 0], pixels[:3, 0])


def test_a_mask_file_masks_all_bands(tmp_path, pixels):
    path = write_raster(tmp_path / "a.tif", pixels, ("red", "nir"))
    mask = RNG.random((9, 11)) > 0.5
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(mask)
    assert path.with_name("a.tif.msk").exists()
    image, _ = whole(path)
    np.testing.assert_array_equal(np.isnan(image), np.stack([~mask] * 2))


def test_a_window_is_that_part_of_the_raster(tmp_path, pixels):
    path = write_raster(tmp_path / "a.tif", pixels, ("red", "nir"))
    with open_image(path, RED_NIR) as image:
        np.testing.assert_array_equal(image.read(3, 2, 5, 4), pixels[:, 2:6, 3:8])


# --- files that cannot be read ---------------------------------------------------------------


def test_missing_file(tmp_path):
    with pytest.raises(SourceNotFound, match=r"no\.tif"):
        whole(tmp_path / "no.tif")


def test_a_text_file_is_no_raster(tmp_path):
    path = tmp_path / "a.tif"
    path.write_text("not a raster")
    with pytest.raises(UnreadableFile, match=r"a\.tif"):
        whole(path)


def test_truncated_geotiff_names_file_and_place(tmp_path):
    noise = RNG.integers(0, 60_000, (2, 300, 300)).astype(np.uint16)
    path = write_raster(tmp_path / "a.tif", noise, ("red", "nir"), tiled=True, compress="deflate")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableFile) as error:
        whole(path)
    assert str(path) in str(error.value)
    assert "See previous exception" not in str(error.value)


def test_damage_inside_is_found_while_reading(tmp_path):
    noise = RNG.integers(0, 9, (2, 600, 600)).astype(np.uint16)
    path = write_raster(tmp_path / "a.tif", noise, ("red", "nir"), tiled=True, compress="deflate")
    with rasterio.open(path) as dataset:
        block = int(dataset.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", bidx=1))
    content = bytearray(path.read_bytes())
    content[block : block + 100] = b"\xff" * 100
    path.write_bytes(content)
    with open_image(path, RED_NIR) as image, pytest.raises(UnreadableFile) as error:
        image.read(0, 0, 600, 600)
    assert str(path) in str(error.value)
    assert "See previous exception" not in str(error.value)


# --- writing ---------------------------------------------------------------------------------

CLASSES = np.array([1, 4, 10, 255], np.uint8)
GRID = Grid(height=1300, width=700, crs=CRS.from_epsg(32633), transform=UTM["transform"])


def patches(grid=GRID):
    """Class ids in patches of 50 pixels."""
    shape = (-(-grid.height // 50), -(-grid.width // 50))
    coarse = CLASSES[np.random.default_rng(1).integers(0, 4, shape)]
    return np.kron(coarse, np.ones((50, 50), np.uint8))[: grid.height, : grid.width]


def write_map(path, rows, grid=GRID, step=97, overwrite=False, **tags):
    with write_layers(
        [Layer(path, "land cover", THREE)], grid, tags, overwrite=overwrite
    ) as writers:
        for top in range(0, len(rows), step):
            writers[0].write(rows[top : top + step])


@pytest.fixture(scope="module")
def class_map(tmp_path_factory):
    path = tmp_path_factory.mktemp("map") / "map.tif"
    write_map(path, patches(), model="region.safetensors")
    return path


def test_rows_come_back_on_the_same_grid(class_map):
    with rasterio.open(class_map) as dataset:
        np.testing.assert_array_equal(dataset.read(1), patches())
        assert dataset.crs == CRS.from_epsg(32633)
        assert dataset.transform == GRID.transform
        assert dataset.dtypes == ("uint8",)
        assert dataset.nodata == 255
        assert dataset.descriptions == ("land cover",)


@pytest.mark.parametrize("step", [1, 511, 512, 513, 1300])
def test_rows_may_come_in_any_portions(tmp_path, step):
    write_map(tmp_path / "map.tif", patches(), step=step)
    np.testing.assert_array_equal(read_raster(tmp_path / "map.tif")[0], patches())


def test_it_is_a_valid_cog(class_map):
    cogeo = pytest.importorskip("rio_cogeo", reason="rio-cogeo is not installed")
    valid, errors, warnings = cogeo.cog_validate(class_map, strict=True)
    assert (valid, errors, warnings) == (True, [], [])


def test_colours(class_map):
    with rasterio.open(class_map) as dataset:
        assert dataset.colorinterp == (ColorInterp.palette,)
        colours = dataset.colormap(1)
    for land_class in THREE.classes:
        assert colours[land_class.id] == (*land_class.rgb, 255)
    assert colours[255][3] == 0


def categories(path, scratch):
    """The category names as GDAL itself reads them, by its VRT driver."""
    rasterio.shutil.copy(path, scratch, driver="VRT")
    return [c.text or "" for c in ElementTree.parse(scratch).iter("Category")]


def test_gdal_sees_the_class_names_by_value(class_map, tmp_path):
    names = categories(class_map, tmp_path / "x.vrt")
    assert [names[1], names[4], names[10]] == list(THREE.names)
    assert len(names) == 11
    assert names[2] == ""


def test_tags_tell_classes_and_provenance(class_map):
    with rasterio.open(class_map) as dataset:
        tags = dataset.tags()
    assert tags["model"] == "region.safetensors"
    assert tags["TIFFTAG_SOFTWARE"].startswith("landmeta ")
    told = {c["id"]: c["name"] for c in json.loads(tags["landmeta_classes"])}
    assert told == dict(zip(THREE.ids, THREE.names, strict=True))


def test_overviews_show_the_commonest_class_never_a_mean(tmp_path):
    # Alternate columns 1, 1, 1, 10: the mean would be 3.25, and nearest would show some 10.
    rows = np.tile(np.array([1, 1, 1, 10], np.uint8), (1024, 256))
    grid = Grid(1024, 1024, GRID.crs, GRID.transform)
    write_map(tmp_path / "map.tif", rows, grid)
    with rasterio.open(tmp_path / "map.tif") as dataset:
        assert dataset.overviews(1) == [2]
    with rasterio.open(tmp_path / "map.tif", OVERVIEW_LEVEL=0) as overview:
        assert set(np.unique(overview.read(1))) <= {1, 10}
    rows[:, 3::4][:, ::2] = 4
    write_map(tmp_path / "map.tif", rows, grid, overwrite=True)
    with rasterio.open(tmp_path / "map.tif", OVERVIEW_LEVEL=0) as overview:
        assert set(np.unique(overview.read(1))) <= {1, 4, 10}


def test_rotated_grid(tmp_path):
    turned = Affine.translation(500_000, 5_000_000) * Affine.rotation(30) * Affine.scale(10, -10)
    grid = Grid(60, 40, CRS.from_epsg(32633), turned)
    write_map(tmp_path / "map.tif", patches(grid), grid)
    with rasterio.open(tmp_path / "map.tif") as dataset:
        assert dataset.transform.almost_equals(turned, 1e-6)


def test_ground_control_points_are_kept(tmp_path):
    points = [
        GroundControlPoint(row=r, col=c, x=10 + c / 50 + r / 900, y=47 - r / 60)
        for r, c in ((0, 0), (0, 40), (60, 0), (60, 40))
    ]
    pixels = np.ones((2, 60, 40), np.uint8)
    path = write_raster(
        tmp_path / "a.tif", pixels, ("red", "nir"), gcps=points, crs="EPSG:4326", transform=None
    )
    with open_image(path, RED_NIR) as image:
        grid = image.grid
    write_map(tmp_path / "map.tif", patches(grid), grid)
    with rasterio.open(tmp_path / "map.tif") as dataset:
        kept, crs = dataset.gcps
    assert crs == CRS.from_epsg(4326)
    assert [(p.row, p.col, p.x, p.y) for p in kept] == [(p.row, p.col, p.x, p.y) for p in points]


def test_without_crs(tmp_path):
    path = write_raster(tmp_path / "a.tif", np.ones((2, 60, 40), np.uint8), crs=None)
    with open_image(path, RED_NIR) as image:
        assert any("no coordinate reference system" in note for note in image.notes)
        grid = image.grid
    write_map(tmp_path / "map.tif", patches(grid), grid)
    with rasterio.open(tmp_path / "map.tif") as dataset:
        assert dataset.crs is None
        np.testing.assert_array_equal(dataset.read(1), patches(grid))


# --- all or nothing --------------------------------------------------------------------------


def two_layers(folder):
    return [
        Layer(folder / "map.tif", "land cover", THREE),
        Layer(folder / "map.confidence.tif", "confidence (percent)"),
    ]


def test_existing_outputs_are_kept(tmp_path):
    (tmp_path / "map.confidence.tif").write_text("mine")
    with (
        pytest.raises(OutputExists, match="confidence"),
        write_layers(two_layers(tmp_path), GRID, {}),
    ):
        pytest.fail("the block must not run")
    assert [p.name for p in tmp_path.iterdir()] == ["map.confidence.tif"]


def test_overwriting_takes_stale_sidecars_away(tmp_path):
    for layer in two_layers(tmp_path):
        layer.path.write_text("old")
        layer.path.with_name(f"{layer.path.name}.aux.xml").write_text("<PAMDataset>old")
        layer.path.with_name(f"{layer.path.name}.ovr").write_text("old overviews")
    with write_layers(two_layers(tmp_path), GRID, {}, overwrite=True) as writers:
        for writer in writers:
            writer.write(patches())
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "map.confidence.tif",
        "map.tif",
        "map.tif.aux.xml",
    ]
    assert "Forest &amp; scrub" in (tmp_path / "map.tif.aux.xml").read_text(encoding="utf-8")


class Stop(Exception):
    pass


def test_nothing_appears_when_the_work_stops_half_way(tmp_path):
    (tmp_path / "map.tif").write_text("old")
    with (
        pytest.raises(Stop),
        write_layers(two_layers(tmp_path), GRID, {}, overwrite=True) as writers,
    ):
        writers[0].write(patches()[:600])
        raise Stop
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("map.tif", "old")]


def test_a_write_that_gdal_refuses(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise RasterioIOError("Write failed") from OSError(28, "No space left on device")

    monkeypatch.setattr(rasterio.io.DatasetWriter, "write", refuse, raising=False)
    with pytest.raises(WriteFailed, match="No space left on device"):
        write_map(tmp_path / "map.tif", patches())
    assert list(tmp_path.iterdir()) == []


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from landmeta.errors import WriteFailed
from landmeta.raster import Layer, write_layers
from tests.landmeta.test_raster import GRID, THREE

rows = np.random.default_rng(0).integers(0, 255, (GRID.height, GRID.width)).astype(np.uint8)
folder = Path(sys.argv[1])
layers = [Layer(folder / name, "x", THREE) for name in ("map.tif", "map.confidence.tif")]
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
for limit in map(int, sys.argv[2:]):
    try:
        with write_layers(layers, GRID, {}) as writers:
            writers[1].write(rows // 50)  # small: this one fits
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))
            writers[0].write(rows)
        print("written", end=" ")
    except WriteFailed as error:
        print(str(error).replace("\\n", " "), end=" ")
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    print(sorted(path.name for path in folder.iterdir()))
"""


def test_full_disk(tmp_path):
    # 950 kB hold the noise in the plain GeoTIFF, but not as a COG with its overviews.
    limits = ["0", "20000", "500000", "1000000", "1150000", "9000000"]
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), *limits],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    *failed, written = done.stdout.splitlines()
    assert len(failed) == 5
    for line in failed:
        assert "map.tif: could not be written" in line
        assert line.endswith("then run the same command []")
    names = [f"{name}.tif{end}" for name in ("map.confidence", "map") for end in ("", ".aux.xml")]
    assert written == f"written {names}"
    sizes = [(tmp_path / name).stat().st_size for name in ("map.tif", "map.confidence.tif")]
    assert sizes[0] > 1_000_000 > sizes[1]


def test_gdal_keeps_few_blocks_while_an_image_is_read_and_its_own_limit_comes_back(tmp_path):
    path = write_raster(tmp_path / "a.tif", np.zeros((2, 64, 64), np.uint8))
    with rasterio.Env():
        before = get_gdal_config("GDAL_CACHEMAX")
    with open_image(path, RED_NIR):
        assert get_gdal_config("GDAL_CACHEMAX") == CACHE < before
    with rasterio.Env():
        assert get_gdal_config("GDAL_CACHEMAX") == before
