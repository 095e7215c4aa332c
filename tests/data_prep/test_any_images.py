"""Images of every make, from the command line."""

import zipfile

import numpy as np
import pandas as pd
import pytest
import rasterio

from tests.anydata import CLASSES, THREE, rasters, refused, scene
from tests.data.rasters import utm, write_raster
from tests.program import write_config


@pytest.fixture
def legend(tmp_path):
    return write_config(tmp_path / "legend.yaml", CLASSES)


# ---- several files as one image ----------------------------------------------------------------


def write_stack(folder, place=0, missing=()):
    """B2 and B3 at 10 m, B5 at 20 m, S1 of two float bands, and labels."""
    rng = np.random.default_rng(place)
    fine, coarse = utm(100 * place), utm(50 * place, gsd=20)
    files = {
        "B3": (rng.integers(1, 99, (32, 48)).astype(np.uint16), fine),
        "B2": (rng.integers(1, 99, (32, 48)).astype(np.uint16), fine),
        "B5": (rng.integers(1, 99, (16, 24)).astype(np.uint16), coarse),
        "S1": (rng.normal(size=(2, 32, 48)).astype(np.float32), fine),
    }
    for name, (values, grid) in files.items():
        if name not in missing:
            write_raster(folder / f"{name}.tif", values, **grid)
    label = rng.integers(1, 4, (32, 48)).astype(np.uint8)
    write_raster(folder / "labels.tif", label, **fine)
    return {name: values for name, (values, _) in files.items()}


STACK = ("--images", "{region}/{date}/{band}.tif", "--labels", "{region}/{date}/labels.tif")


def test_files_of_single_bands_are_one_image(tmp_path, legend):
    truth = {r: write_stack(tmp_path / "raw" / r / "1", i) for i, r in enumerate("abc")}
    words = (tmp_path / "raw", *STACK, "--legend", legend, *THREE)
    tasks = rasters(tmp_path / "out", *words, "--bands", "B2,S1.b2,B3")
    assert tasks.bands == ("B2", "S1.b2", "B3")
    assert tasks.meta.dtype == "float32"
    row = tasks.table[tasks.table["region"] == "b"].iloc[1]
    assert row["source"] == "b/1/{band}.tif"
    col, top, w, h = row["window"]
    expected = np.stack([truth["b"]["B2"], truth["b"]["S1"][1], truth["b"]["B3"]])
    image = tasks.read([row["id"]]).image[0]
    assert np.array_equal(image, expected[:, top : top + h, col : col + w])

    assert "--resample" in refused(tmp_path / "no", *words)  # B5 has other pixels
    every = rasters(tmp_path / "all", *words, "--resample", "nearest")
    assert every.bands == ("B2", "B3", "B5", "S1.b1", "S1.b2")
    ids = every.tile_ids("a")
    doubled = np.kron(truth["a"]["B5"], np.ones((2, 2)))
    col, top, w, h = every.table.loc[ids[0], "window"]
    assert np.array_equal(every.read(ids[:1]).image[0, 2], doubled[top : top + h, col : col + w])
    assert "B5 were brought to the smallest pixels by nearest" in every.meta.notes


def test_stacks_that_lack_a_band(tmp_path, legend):
    for place, region in enumerate("abc"):
        write_stack(tmp_path / "raw" / region / "1", place)
    write_stack(tmp_path / "raw/a/2", 5, missing=("B2", "B3", "B5"))
    words = (tmp_path / "raw", *STACK, "--legend", legend, *THREE)
    tasks = rasters(tmp_path / "out", *words, "--bands", "B2,B3")
    assert "1 images have none of the bands and were left out" in tasks.meta.notes
    message = refused(tmp_path / "no", *words, "--bands", "B2,S1.b1")
    assert "a/2/{band}.tif: has no band B2" in message
    assert "no image has any" in refused(tmp_path / "no", *words, "--bands", "B11")
    assert "not places" in refused(tmp_path / "no", *words, "--bands", "red=1")


def test_files_of_other_ground_are_not_stacked(tmp_path, legend):
    for place, region in enumerate("abc"):
        write_stack(tmp_path / "raw" / region / "1", place)
    write_raster(tmp_path / "raw/b/1/B5.tif", np.ones((32, 48), np.uint16), **utm(100, gsd=60))
    words = (tmp_path / "raw", *STACK, "--legend", legend, *THREE, "--bands", "B2,B5")
    assert "b/1/B5.tif: shows other ground" in refused(
        tmp_path / "no", *words, "--resample", "bilinear"
    )


def test_bands_by_their_places(tmp_path, legend):
    for place, region in enumerate("abc"):
        image, _, _ = scene(tmp_path / "raw", region, place)
        with rasterio.open(tmp_path / "raw" / region / "img.tif", "r+") as dataset:
            dataset.descriptions = ("one", None if region == "a" else "two")
    words = (tmp_path / "raw", "--images", "{region}/img.tif", "--labels", "{region}/lab.tif",
             "--legend", legend, *THREE)  # fmt: skip
    tasks = rasters(tmp_path / "out", *words, "--bands", "nir=2,red=1")
    assert tasks.bands == ("nir", "red")
    assert np.array_equal(tasks.read(tasks.tile_ids("c")[:1]).image[0], image[::-1, :16, :16])
    assert "none is x=3" in refused(tmp_path / "no", *words, "--bands", "x=3")
    assert "NAME=PLACE" in refused(tmp_path / "no", *words, "--bands", "x=3,y")


# ---- files of other kinds and places -----------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32"])
def test_types_are_kept(tmp_path, legend, dtype):
    for place, region in enumerate("abc"):
        scene(tmp_path / "raw", region, place, dtype=np.dtype(dtype))
    tasks = rasters(
        tmp_path / "out", tmp_path / "raw", "--images", "{region}/img.tif",
        "--labels", "{region}/lab.tif", "--legend", legend, *THREE,
    )  # fmt: skip
    assert tasks.meta.dtype == dtype


@pytest.mark.parametrize("form", ["jp2", "cog", "vrt", "zip"])
def test_formats_and_archives(tmp_path, legend, form):
    raw = tmp_path / "raw"
    truth = {}
    rows = []
    for place, region in enumerate("abc"):
        image, _, grid = scene(raw, region, place, size=(64, 64), dtype=np.uint8)
        truth[region] = image
        source = raw / region / "img.tif"
        if form == "jp2":
            profile = grid | {"QUALITY": "100", "REVERSIBLE": "YES"}
            with rasterio.open(
                raw / region / "img.jp2", "w", driver="JP2OpenJPEG", width=64, height=64, count=2,
                dtype="uint8", **profile,
            ) as dataset:  # fmt: skip
                dataset.write(image)
        elif form == "cog":
            rasterio.shutil.copy(source, raw / region / "img.cog.tif", driver="COG")
        elif form == "vrt":
            rasterio.shutil.copy(source, raw / region / "img.vrt", driver="VRT")
        else:
            with zipfile.ZipFile(raw / region / "all.zip", "w") as archive:
                archive.write(source, "in/img.tif")
                archive.write(raw / region / "lab.tif", "in/lab.tif")
            start = f"/vsizip/{raw / region / 'all.zip'}/in"
            rows.append((f"{start}/img.tif", region, f"{start}/lab.tif"))
    if form == "zip":
        pd.DataFrame(rows, columns=["path", "region", "label"]).to_csv(tmp_path / "t.csv")
        words = ("--table", tmp_path / "t.csv")
    else:
        suffix = {"cog": "cog.tif"}.get(form, form)
        words = ("--images", f"{{region}}/img.{suffix}", "--labels", "{region}/lab.tif")
    tasks = rasters(tmp_path / "out", raw, *words, "--legend", legend, *THREE)
    for region, image in truth.items():
        row = tasks.table[tasks.table["region"] == region].iloc[5]
        col, top, w, h = row["window"]
        found = tasks.read([row["id"]]).image[0]
        assert np.array_equal(found, image[:, top : top + h, col : col + w])
        if form == "zip":
            assert row["source"] == f"/vsizip/{raw / region / 'all.zip'}/in/img.tif"


def test_what_a_table_names_must_be_there(tmp_path, legend):
    _ = scene(tmp_path / "raw", "a", 0)
    for path, says in (
        ("a/gone.tif", "is not there"),
        (f"/vsizip/{tmp_path}/gone.zip/x.tif", "cannot be opened"),
        ("https://127.0.0.1:9/x.tif", "cannot be opened"),
    ):
        table = tmp_path / "t.csv"
        table.write_text(f"path,region,label\n{path},a,a/lab.tif\n")
        words = (tmp_path / "raw", "--table", table, "--legend", legend)
        message = refused(tmp_path / "no", *words)
        assert says in message and path in message


def test_several_labels_for_one_image_are_refused(tmp_path, legend):
    scene(tmp_path / "raw", "a", 0)
    table = tmp_path / "t.csv"
    table.write_text("path,region,label\na/img.tif,a,a/lab.tif\na/img.tif,a,a/two.tif\n")
    words = (tmp_path / "raw", "--table", table, "--legend", legend)
    assert "line 3 lists 'a/img.tif' again, with another label: a/two.tif" in refused(
        tmp_path / "no", *words
    )
    words = (tmp_path / "raw", "--images", "{region}/img.tif", "--legend", legend)
    assert "one label file" in refused(
        tmp_path / "no", *words, "--labels", "{region}/{annotator}.tif"
    )
    assert "which files are labels" in refused(tmp_path / "no", *words)
    assert "which files are images" in refused(
        tmp_path / "no", tmp_path / "raw", "--labels", "x.tif", "--legend", legend
    )


def test_numpy_files(tmp_path, legend):
    rng = np.random.default_rng(0)
    for region in "abc":
        array = rng.integers(0, 200, (1, 4, 32, 32)).astype(np.float32)
        array[0, 3] = rng.integers(1, 4, (32, 32))
        array[0, 0, 0, 0] = np.nan
        (tmp_path / "raw" / region).mkdir(parents=True)
        np.savez(tmp_path / "raw" / region / "x.npz", array)
    words = (tmp_path / "raw", "--images", "{region}/x.npz", "--labels", "{region}/x.npz",
             "--legend", legend, *THREE, "--label-band", 4)  # fmt: skip
    tasks = rasters(tmp_path / "out", *words, "--bands", "red=1,nir=3")
    assert tasks.bands == ("red", "nir") and tasks.meta.gsd is None
    first = tasks.read(tasks.tile_ids("c")[:1])
    assert np.array_equal(first.image[0], array[0, [0, 2], :16, :16], equal_nan=True)
    assert np.array_equal(first.label[0], array[0, 3, :16, :16] - 1)

    np.savez(tmp_path / "raw/b/x.npz", image=array, label=array)
    assert "2 arrays (image, label)" in refused(tmp_path / "no", *words)
    np.savez(tmp_path / "raw/b/x.npz", np.array([{}], object))
    assert "pickled" in refused(tmp_path / "no", *words)
    (tmp_path / "raw/b/x.npz").write_bytes(b"PK\3\4")
    assert "cannot be read" in refused(tmp_path / "no", *words)
