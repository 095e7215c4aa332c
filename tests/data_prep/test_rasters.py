import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from data_prep.pairs import find_pairs
from data_prep.prepare import prepare
from data_prep.rasters import rasters
from landmeta.errors import (
    ConfigError,
    EmptyRegion,
    LandmetaError,
    MissingBands,
    SizeMismatch,
    SourceNotFound,
    UnknownClass,
    UnreadableFile,
)
from landmeta.imagery import read_header
from landmeta.legend import IGBP_SIMPLIFIED, LandClass, Legend, read_legend
from landmeta.taskset import TaskSet, tile_windows
from tests.data.rasters import utm, write_raster, write_tree
from tests.real import real_data

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
LEGEND = Legend(
    classes=tuple(
        LandClass(id=i, name=n, color=c)
        for i, n, c in [(1, "A", "#ff0000"), (2, "B", "#00ff00"), (3, "C", "#0000ff")]
    )
)
COLOURS = np.array([c.rgb for c in LEGEND.classes], np.uint8)
GEOTIFFS = {"images": "{region}/{name}_img.tif", "labels": "{region}/{name}_lab.tif"}
PHOTOS = {"images": "{region}/{name}.jpg", "labels": "{region}/{name}.png"}


def read(root: Path, out: Path, **options) -> TaskSet:
    options = {"legend": LEGEND, "tile": 16, "val": ["b"], "test": ["c"], **GEOTIFFS} | options
    return prepare(rasters(root, **options), out, quiet=True)


def fails(root: Path, out: Path, error: type[LandmetaError], **options) -> str:
    """The message of the error that reading ends in; nothing may be left of the task set."""
    with pytest.raises(error) as caught:
        read(root, out, **options)
    assert not out.exists()
    assert not list(out.parent.glob(".*partial*"))
    assert caught.value.remedy
    return str(caught.value)


def copy_regions(root: Path, image: Path, label: Path) -> None:
    """The same pair in regions a, b, c: splits need three."""
    for region in "abc":
        for path in (image, label):
            target = root / region / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())


# --- what comes out ---------------------------------------------------------------------------


def test_tiles_are_the_windows_of_the_files(tmp_path):
    truth = write_tree(tmp_path / "raw", images=2)
    tasks = read(tmp_path / "raw", tmp_path / "out")
    assert len(tasks) == 3 * 2 * 2 * 3
    assert tasks.bands == ("b1", "b2")
    assert tasks.meta.dtype == "int16"
    assert tasks.meta.gsd == pytest.approx(10)
    assert {s: tasks.tasks(s) for s in ("train", "val", "test")} == {
        "train": ["a"], "val": ["b"], "test": ["c"]
    }  # fmt: skip
    for row in tasks.table.itertuples():
        tile = tasks.read([row.id])
        image, label = truth[row.source.removesuffix("_img.tif")]
        col_off, row_off, width, height = row.window
        cut = (slice(row_off, row_off + height), slice(col_off, col_off + width))
        assert np.array_equal(tile.image[0], image[:, *cut].astype(np.float32))
        assert np.array_equal(tile.label[0], label[cut] - 1)
        with rasterio.open(tmp_path / "raw" / row.source) as dataset:
            window = rasterio.windows.Window(*row.window)
            bounds = rasterio.windows.bounds(window, dataset.transform)
            west, south, east, north = rasterio.warp.transform_bounds(
                dataset.crs, "EPSG:4326", *bounds
            )
        assert tuple(row.native_bounds) == pytest.approx(bounds)
        assert row.geometry.bounds == pytest.approx((west, south, east, north), abs=1e-5)


@given(width=st.integers(1, 400), height=st.integers(1, 400), size=st.integers(8, 130))
def test_windows_tile_the_image_without_overlap(width, height, size):
    windows = tile_windows(width, height, size)
    assert len(windows) == (width // size) * (height // size)
    covered = np.zeros((height, width), np.uint8)
    for col, row, w, h in windows:
        assert (w, h) == (size, size)
        covered[row : row + h, col : col + w] += 1
    assert covered.max(initial=0) <= 1
    assert covered.sum() == len(windows) * size * size
    if windows:  # centred: the margins differ by at most a pixel
        rows, cols = np.nonzero(covered)
        assert abs(cols.min() - (width - 1 - cols.max())) <= 1
        assert abs(rows.min() - (height - 1 - rows.max())) <= 1


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(height=st.integers(16, 60), width=st.integers(16, 60), tile=st.integers(8, 16))
def test_any_size_is_read_in_full_tiles(tmp_path_factory, height, width, tile):
    root = tmp_path_factory.mktemp("any")
    truth = write_tree(root / "raw", size=(height, width), bands=1)
    tasks = read(root / "raw", root / "out", tile=tile)
    assert len(tasks) == 3 * (height // tile) * (width // tile)
    expected = np.zeros(3, int)
    for _, label in truth.values():
        for col, row, _, _ in tile_windows(width, height, tile):
            cut = label[row : row + tile, col : col + tile]
            expected += np.bincount(cut.ravel(), minlength=4)[1:]
    assert tasks.class_pixels(range(len(tasks))).tolist() == expected.tolist()


def test_nodata_counts_for_each_band_alone(tmp_path):
    image = np.full((2, 16, 16), 7, np.int16)
    image[0, :8] = -9999
    image[1, :4] = -9999
    label = np.ones((16, 16), np.uint8)
    copy_regions(
        tmp_path / "raw",
        write_raster(tmp_path / "x_img.tif", image, nodata=-9999, **utm()),
        write_raster(tmp_path / "x_lab.tif", label, **utm()),
    )
    tile = read(tmp_path / "raw", tmp_path / "out").read([0])
    assert np.array_equal(np.isnan(tile.image[0]), image == -9999)
    assert (tile.label[0, :4] == 255).all()  # no band has data
    assert (tile.label[0, 4:] == 0).all()


def test_nan_and_infinity_are_no_data(tmp_path):
    image = np.ones((1, 16, 16), np.float32)
    image[0, 0, 0], image[0, 0, 1] = np.nan, np.inf
    copy_regions(
        tmp_path / "raw",
        write_raster(tmp_path / "x_img.tif", image),
        write_raster(tmp_path / "x_lab.tif", np.ones((16, 16), np.uint8)),
    )
    tasks = read(tmp_path / "raw", tmp_path / "out")
    tile = tasks.read([0])
    assert np.isnan(tile.image).sum() == 2
    assert (tile.label == 255).sum() == 2
    assert tasks.meta.gsd is None
    assert tasks.table["crs"].isna().all()
    assert any("no georeference" in note for note in tasks.meta.notes)


def test_transparency_of_a_png_is_a_mask_not_a_band(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(1, 255, (16, 16, 4)).astype(np.uint8)
    image[..., 3] = 255
    image[:5, :, 3] = 0
    Image.fromarray(image, "RGBA").save(tmp_path / "x.png")
    write_raster(tmp_path / "x_lab.png", np.ones((16, 16), np.uint8))
    copy_regions(tmp_path / "raw", tmp_path / "x.png", tmp_path / "x_lab.png")
    tasks = read(
        tmp_path / "raw",
        tmp_path / "out",
        images="{region}/{name}.png",
        labels="{region}/{name}_lab.png",
    )
    assert tasks.bands == ("R", "G", "B")
    tile = tasks.read([0])
    assert np.isnan(tile.image[0, :, :5]).all()
    assert np.array_equal(tile.image[0, :, 5:], np.moveaxis(image, -1, 0)[:3, 5:])
    assert (tile.label[0, :5] == 255).all()


def test_a_palette_image_is_read_as_its_colours(tmp_path):
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 255, (16, 16, 3)).astype(np.uint8)).quantize(20)
    photo.save(tmp_path / "x.png")
    write_raster(tmp_path / "x_lab.png", np.ones((16, 16), np.uint8))
    copy_regions(tmp_path / "raw", tmp_path / "x.png", tmp_path / "x_lab.png")
    tasks = read(
        tmp_path / "raw",
        tmp_path / "out",
        images="{region}/{name}.png",
        labels="{region}/{name}_lab.png",
    )
    expected = np.moveaxis(np.asarray(photo.convert("RGB")), -1, 0)
    assert np.array_equal(tasks.read([0]).image[0], expected)


def test_a_fourth_byte_band_counts_once_it_is_named(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (4, 16, 16)).astype(np.uint8)
    image[3, 0] = 0  # dark in near infrared, not absent
    path = write_raster(tmp_path / "x_img.tif", image, photometric="RGB", alpha="yes")
    assert len(read_header(path).bands) == 3
    copy_regions(
        tmp_path / "raw", path, write_raster(tmp_path / "x_lab.tif", np.ones((16, 16), np.uint8))
    )
    tasks = read(tmp_path / "raw", tmp_path / "out", bands=["red", "green", "blue", "nir"])
    assert tasks.bands == ("red", "green", "blue", "nir")
    assert np.array_equal(tasks.read([0]).image[0], image)


def test_bands_are_chosen_by_the_files_own_names(tmp_path):
    image = np.stack([np.full((16, 16), v, np.float32) for v in (1, 2, 3)])
    names = ("blue", "green", "red")
    copy_regions(
        tmp_path / "raw",
        write_raster(tmp_path / "x_img.tif", image, descriptions=names),
        write_raster(tmp_path / "x_lab.tif", np.ones((16, 16), np.uint8)),
    )
    tasks = read(tmp_path / "raw", tmp_path / "out", bands=["red", "blue"], scales={"blue": 0.5})
    assert tasks.bands == ("red", "blue")
    assert tasks.read([0]).image[0, :, 0, 0].tolist() == [3, 0.5]
    assert "has no band nir; its bands are blue, green, red" in fails(
        tmp_path / "raw", tmp_path / "again", MissingBands, bands=["nir"]
    )
    assert "scale is given for nir" in fails(
        tmp_path / "raw", tmp_path / "again", ConfigError, scales={"nir": 1}
    )


def test_scale_in_the_files_is_kept(tmp_path):
    path = write_raster(tmp_path / "x_img.tif", np.full((1, 16, 16), 5000, np.int16))
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.0001,), (-0.1,)
    copy_regions(
        tmp_path / "raw", path, write_raster(tmp_path / "x_lab.tif", np.ones((16, 16), np.uint8))
    )
    assert read(tmp_path / "raw", tmp_path / "out").read([0]).image == pytest.approx(0.4)


def test_common_type_holds_all_files(tmp_path):
    write_tree(tmp_path / "raw")
    high = np.full((2, 40, 50), 60_000, np.uint16)
    write_raster(tmp_path / "raw/a/0_img.tif", high, **utm())
    tasks = read(tmp_path / "raw", tmp_path / "out")
    assert tasks.meta.dtype == "int32"
    assert tasks.read(tasks.tile_ids("a")).image.min() == 60_000


@pytest.mark.parametrize("crs, gsd", [("EPSG:32633", 10.0), ("EPSG:2263", 10 * 1200 / 3937)])
def test_pixel_size_is_in_metres(tmp_path, crs, gsd):
    path = write_raster(tmp_path / "x.tif", np.zeros((4, 4), np.uint8), **(utm() | {"crs": crs}))
    assert read_header(path).gsd == pytest.approx(gsd)


def test_pixel_size_of_degrees_is_that_of_the_latitude(tmp_path):
    grid = {"crs": "EPSG:4326", "transform": rasterio.Affine(0.01, 0, 20, 0, -0.01, 60.05)}
    path = write_raster(tmp_path / "x.tif", np.zeros((10, 10), np.uint8), **grid)
    # geodesic lengths at 60° on WGS 84: 55 800 m a degree of longitude, 111 412 m of latitude
    assert read_header(path).gsd == pytest.approx(0.01 * np.sqrt(55_800 * 111_412), rel=0.01)


# --- labels -----------------------------------------------------------------------------------


def label_forms(index: np.ndarray) -> dict[str, Image.Image]:
    rgb = COLOURS[index]
    palette = Image.fromarray(index)
    palette.putpalette(COLOURS.tobytes())
    transparent = np.dstack([rgb, np.full(index.shape, 255, np.uint8)])
    return {
        "ids": Image.fromarray(index + 1),
        "colours": Image.fromarray(rgb),
        "palette": palette,
        "opaque": Image.fromarray(transparent, "RGBA"),
    }


@pytest.mark.parametrize("form", ["ids", "colours", "palette", "opaque"])
def test_labels_as_ids_colours_or_palette_mean_the_same(tmp_path, form):
    index = np.random.default_rng(1).integers(0, 3, (16, 16)).astype(np.uint8)
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "x.jpg")
    label_forms(index)[form].save(tmp_path / "x.png")
    copy_regions(tmp_path / "raw", tmp_path / "x.jpg", tmp_path / "x.png")
    tasks = read(tmp_path / "raw", tmp_path / "out", **PHOTOS)
    assert np.array_equal(tasks.read([0]).label[0], index)


def test_ids_with_a_colour_table_of_other_colours_stay_ids(tmp_path):
    label = np.random.default_rng(1).integers(1, 4, (16, 16)).astype(np.uint8)
    table = {i: (10 * i, 20, 30, 255) for i in range(4)}
    copy_regions(
        tmp_path / "raw",
        write_raster(tmp_path / "x_img.tif", np.zeros((1, 16, 16), np.uint8)),
        write_raster(tmp_path / "x_lab.tif", label, colormap=table, nodata=3),
    )
    tasks = read(tmp_path / "raw", tmp_path / "out")
    # the legend has a class 3, which wins over the file's nodata
    assert np.array_equal(tasks.read([0]).label[0], label - 1)


def test_grey_mask_with_a_legend_of_colours(tmp_path):
    legend = Legend(
        classes=(LandClass(id=1, name="Water", color="#0000ff"),),
        remap={"#ffffff": 1},
        ignore=("#000000",),
    )
    label = np.where(np.random.default_rng(1).random((16, 16)) < 0.5, 255, 0).astype(np.uint8)
    copy_regions(
        tmp_path / "raw",
        write_raster(tmp_path / "x_img.tif", np.zeros((1, 16, 16), np.uint8)),
        write_raster(tmp_path / "x_lab.tif", label),
    )
    tasks = read(tmp_path / "raw", tmp_path / "out", legend=legend)
    assert np.array_equal(tasks.read([0]).label[0], np.where(label == 255, 0, 255))


def test_float_labels_with_nan_are_ignored_there(tmp_path):
    label = np.ones((16, 16), np.float32)
    label[:3] = np.nan
    copy_regions(
        tmp_path / "raw",
        write_raster(tmp_path / "x_img.tif", np.zeros((1, 16, 16), np.uint8)),
        write_raster(tmp_path / "x_lab.tif", label),
    )
    tile = read(tmp_path / "raw", tmp_path / "out").read([0])
    assert np.array_equal(tile.label[0], np.where(np.isnan(label), 255, 0))


def test_sparsely_labelled_tiles_are_left_out(tmp_path):
    label = np.full((16, 48), 255, np.uint8)
    label[:, :16] = 1
    label[0, 16:24] = 2  # 8 of 256 pixels: 3 %
    copy_regions(
        tmp_path / "raw",
        write_raster(tmp_path / "x_img.tif", np.zeros((1, 16, 48), np.uint8)),
        write_raster(tmp_path / "x_lab.tif", label),
    )
    tasks = read(tmp_path / "raw", tmp_path / "out")
    assert len(tasks) == 3
    assert "left out 6 tiles with less than 5% labelled pixels" in tasks.meta.notes
    assert len(read(tmp_path / "raw", tmp_path / "all", min_labelled=0.03)) == 6
    assert len(read(tmp_path / "raw", tmp_path / "none", min_labelled=0)) == 6


# --- pairing ----------------------------------------------------------------------------------


def test_templates_fill_from_the_image(tmp_path):
    for name in (
        "north [1]/photos/spring/p.1.tif", "north [1]/truth/p.1.tif", "south/photos/winter/q.tif",
        "south/truth/q.tif", "south/photos/readme.txt",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    pairs, _ = find_pairs(
        tmp_path, "{region}/photos/{season}/{name}.tif", "{region}/truth/{name}.tif"
    )
    found = [(p.region, p.season, p.label.relative_to(tmp_path).as_posix()) for p in pairs]
    assert found == [
        ("north [1]", "spring", "north [1]/truth/p.1.tif"),
        ("south", "winter", "south/truth/q.tif"),
    ]


def test_repeated_placeholder_means_the_same_text_and_the_first_takes_most(tmp_path):
    for name in ("big_lake/big_lake_r0_img.tif", "big_lake/other_r0_img.tif", "big_lake_r0.tif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    pairs, _ = find_pairs(tmp_path, "{region}/{region}_{name}_img.tif", "{region}_{name}.tif")
    assert [(p.region, p.label.name) for p in pairs] == [("big_lake", "big_lake_r0.tif")]


def test_labels_that_fit_the_images_template_are_no_images(tmp_path):
    truth = write_tree(tmp_path / "raw")
    for path in (tmp_path / "raw").rglob("*_img.tif"):
        path.rename(path.with_name(path.name.replace("_img", "")))
    pairs, _ = find_pairs(tmp_path / "raw", "{region}/{name}.tif", "{region}/{name}_lab.tif")
    assert len(pairs) == len(truth)


def test_regions_from_a_table(tmp_path):
    write_tree(tmp_path / "raw", images=2)
    rows = [
        ("a/0_img.tif", "a"),
        ("a/1_img.tif", "b"),
        ("./b/0_img.tif", "c"),
        ("c/0_img.tif", "d"),
    ]
    table = tmp_path / "regions.csv"
    with table.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([("path", "region"), *rows])
    tasks = read(
        tmp_path / "raw", tmp_path / "out", table=table,
        images="{folder}/{name}_img.tif", labels="{folder}/{name}_lab.tif",
    )  # fmt: skip
    by_source = tasks.table.groupby("source")["region"].unique().str[0].to_dict()
    assert by_source == {path.removeprefix("./"): region for path, region in rows}
    assert "2 images are not in the table and were left out" in tasks.meta.notes

    table.write_text("path,region\nz/0_img.tif,a\n", encoding="utf-8")
    assert "'z/0_img.tif', which is not there" in fails(
        tmp_path / "raw", tmp_path / "bad", SourceNotFound, table=table
    )
    table.write_text("path,area\na/0_img.tif,a\n", encoding="utf-8")
    assert "names an image without a region" in fails(
        tmp_path / "raw", tmp_path / "bad", ConfigError, table=table,
        images="{folder}/{name}_img.tif", labels="{folder}/{name}_lab.tif",
    )  # fmt: skip


@pytest.mark.parametrize(
    "templates, says",
    [
        ({"images": "*/*_img.tif"}, "no path template"),
        ({"images": "../{region}/{name}_img.tif"}, "no path template"),
        ({"images": "/etc/{region}.tif"}, "no path template"),
        ({"images": "{region}/{na me}_img.tif"}, "no path template"),
        ({"images": "{name}_img.tif", "labels": "{name}.tif"}, "says nothing of regions"),
        ({"labels": "{region}/{date}_lab.tif"}, "{date}"),
    ],
)
def test_templates_that_cannot_work_are_refused(tmp_path, templates, says):
    write_tree(tmp_path / "raw")
    assert says in fails(tmp_path / "raw", tmp_path / "out", ConfigError, **templates)


# --- bad input --------------------------------------------------------------------------------


def test_missing_folder_images_and_label(tmp_path):
    write_tree(tmp_path / "raw")
    out = tmp_path / "out"
    assert "is no folder" in fails(tmp_path / "nowhere", out, SourceNotFound)
    assert "no image that fits" in fails(
        tmp_path / "raw", out, SourceNotFound, images="{region}/{name}.jp2"
    )
    (tmp_path / "raw/b/0_lab.tif").unlink()
    message = fails(tmp_path / "raw", out, SourceNotFound)
    assert "b/0_img.tif" in message and "b/0_lab.tif" in message


def test_images_with_other_bands(tmp_path):
    write_tree(tmp_path / "raw")
    write_raster(tmp_path / "raw/b/0_img.tif", np.zeros((3, 40, 50), np.int16), **utm(1000))
    message = fails(tmp_path / "raw", tmp_path / "out", MissingBands)
    assert "b/0_img.tif" in message and "b1, b2, b3" in message
    assert "2 bands without names, but 1 names" in fails(
        tmp_path / "raw", tmp_path / "out", MissingBands, bands=["x"]
    )


@pytest.mark.parametrize(
    "size, grid, says",
    [
        ((40, 49), utm(), "40 × 49"),
        ((40, 50), utm(col=1), "another grid"),
        ((40, 50), utm(gsd=10.01), "another grid"),
        ((40, 50), utm() | {"crs": "EPSG:32632"}, "another grid"),
    ],
)
def test_label_of_another_size_or_grid(tmp_path, size, grid, says):
    write_tree(tmp_path / "raw")
    write_raster(tmp_path / "raw/a/0_lab.tif", np.ones(size, np.uint8), **grid)
    message = fails(tmp_path / "raw", tmp_path / "out", SizeMismatch)
    assert says in message and "a/0_lab.tif" in message and "a/0_img.tif" in message


def test_unknown_id_and_colour(tmp_path):
    write_tree(tmp_path / "raw", classes=4)
    message = fails(tmp_path / "raw", tmp_path / "out", UnknownClass)
    assert "unknown class id 4" in message and "a/0_lab.tif" in message
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "x.jpg")
    Image.fromarray(np.full((16, 16, 3), 9, np.uint8)).save(tmp_path / "x.png")
    copy_regions(tmp_path / "photos", tmp_path / "x.jpg", tmp_path / "x.png")
    message = fails(tmp_path / "photos", tmp_path / "out", UnknownClass, **PHOTOS)
    assert "#090909" in message and "a/x.png" in message


@pytest.mark.parametrize("kind", ["tif", "jpg", "png"])
@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.9])
def test_truncated_files(tmp_path, kind, keep):
    noise = np.random.default_rng(0).integers(0, 255, (3, 64, 64)).astype(np.uint8)
    compress = {"compress": "deflate"} if kind == "tif" else {}
    write_raster(tmp_path / f"x.{kind}", noise, **compress)
    write_raster(tmp_path / "x_lab.png", np.ones((64, 64), np.uint8))
    copy_regions(tmp_path / "raw", tmp_path / f"x.{kind}", tmp_path / "x_lab.png")
    broken = tmp_path / f"raw/b/x.{kind}"
    broken.write_bytes(broken.read_bytes()[: int(keep * broken.stat().st_size)])
    message = fails(
        tmp_path / "raw", tmp_path / "out", UnreadableFile,
        images=f"{{region}}/{{name}}.{kind}", labels="{region}/{name}_lab.png",
    )  # fmt: skip
    assert str(broken) in message


def test_a_label_of_several_bands_is_no_label(tmp_path):
    write_tree(tmp_path / "raw")
    write_raster(tmp_path / "raw/a/0_lab.tif", np.ones((2, 40, 50), np.uint8), **utm())
    assert "2 bands" in fails(tmp_path / "raw", tmp_path / "out", UnreadableFile)


def test_regions_without_tiles(tmp_path):
    write_tree(tmp_path / "raw")
    message = fails(tmp_path / "raw", tmp_path / "out", EmptyRegion, tile=41)
    assert "region 'a'" in message and "at most 40" in message
    write_raster(tmp_path / "raw/c/0_lab.tif", np.full((40, 50), 255, np.uint8), **utm(2000))
    assert "region 'c'" in fails(tmp_path / "raw", tmp_path / "out", EmptyRegion)


def test_small_images_are_named(tmp_path):
    write_tree(tmp_path / "raw", images=2)
    write_raster(tmp_path / "raw/a/1_img.tif", np.zeros((2, 40, 12), np.int16), **utm())
    write_raster(tmp_path / "raw/a/1_lab.tif", np.ones((40, 12), np.uint8), **utm())
    tasks = read(tmp_path / "raw", tmp_path / "out")
    (note,) = [n for n in tasks.meta.notes if "smaller than a tile" in n]
    assert note.startswith("1 images") and "a/1_img.tif" in note


# --- real imagery -----------------------------------------------------------------------------


def test_modis_igbp_as_it_is(tmp_path):
    root = real_data("modis_igbp")
    tasks = read(
        root, tmp_path / "out", images="{region}/{name}_img.tif", labels="{region}/{name}_igbp.tif",
        legend=IGBP_SIMPLIFIED, tile=64, val=["india", "lena"], test=["sahel_central"],
    )  # fmt: skip
    assert tasks.bands == ("red", "green", "blue", "ndvi_max_x1e4", "ndvi_min_x1e4")
    assert tasks.meta.dtype == "int16"
    assert tasks.table["source"].nunique() == 167 and len(tasks) == 4 * 167
    assert len(tasks.tasks("train")) == 19 and tasks.tasks("val") == ["india", "lena"]

    manifest = pd.read_csv(root / "manifest.csv", index_col="tile")
    groups = tasks.table.groupby(tasks.table["source"].str.extract(r"/(.*)_img\.tif$")[0])
    shares = np.stack([np.sum(g["class_pixels"].tolist(), axis=0) for _, g in groups]) / 128**2
    simple = IGBP_SIMPLIFIED.remap
    expected = np.zeros((167, 10))
    for igbp in range(1, 18):
        expected[:, simple[str(igbp)] - 1] += manifest.loc[list(groups.groups), f"igbp_{igbp}"]
    assert np.abs(shares - expected).max() < 5e-4  # the manifest has four decimals

    for name, group in groups:
        row = manifest.loc[name]
        bounds = group.total_bounds
        assert bounds == pytest.approx([row.west, row.south, row.east, row.north], abs=1e-6)

    sea = tasks.table["valid_share"].to_numpy() < 1
    tile = int(np.flatnonzero(sea)[0])
    row = tasks.table.iloc[tile]
    with rasterio.open(root / row["source"]) as dataset:
        raw = dataset.read(window=rasterio.windows.Window(*row["window"]))
    image = tasks.read([tile]).image[0]
    assert np.array_equal(np.isnan(image), raw == -32768)
    assert not np.isnan(image[:3]).any() and np.isnan(image[3:]).any()
    assert (tasks.read([tile]).label != 255).all()  # sea has colour, so its label stands


def test_dubai_as_it_is(tmp_path):
    root = real_data("dubai_hitl")
    legend = read_legend(CONFIGS / "legends/dubai.yaml")
    source = rasters(
        root, images="{region}/images/{name}.jpg", labels="{region}/masks/{name}.png",
        legend=legend, tile=256, val=["Tile 2"], test=["Tile 3"],
    )  # fmt: skip
    tasks = prepare(source, tmp_path / "out", quiet=True)
    assert tasks.bands == ("R", "G", "B") and tasks.meta.gsd is None
    assert tasks.table["source"].nunique() == 45
    assert sorted(tasks.table["region"].unique()) == [f"Tile {n}" for n in (1, 2, 3, 5, 7)]

    known = {c.rgb: i for i, c in enumerate(legend.classes)}
    for row in tasks.table.groupby("region").first().itertuples():
        col, top, width, height = row.window
        box = (col, top, col + width, top + height)
        path = root / row.source
        mask = Image.open(path.parents[1] / "masks" / f"{path.stem}.png").convert("RGB").crop(box)
        tile = tasks.read([row.id])
        colours = [tuple(c) for c in np.asarray(mask).reshape(-1, 3).tolist()]
        assert tile.label.ravel().tolist() == [known.get(c, 255) for c in colours]
        # decoders of JPEG differ in how they smooth colour
        photo = np.moveaxis(np.asarray(Image.open(path).crop(box)), -1, 0).astype(np.float32)
        assert np.abs(tile.image[0] - photo).mean() < 1

    # what the data set's own list of colours says is not what is in the masks
    listed = json.loads((root / "classes.json").read_text())["classes"]
    assert not {c["color"].lower() for c in listed} & {c.color for c in legend.classes}
