"""The real cases of any data, from the command line, against rasterio, geopandas and NumPy."""

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling
from rasterio.warp import reproject

from tests.anydata import rasters, refused
from tests.data.rasters import write_raster
from tests.program import write_config
from tests.real import real_data


def legend_of(folder, *names, ignore=()):
    colours = [f"#{40 * i % 256:02x}{90 * i % 256:02x}{17 * i % 256:02x}" for i in range(1, 30)]
    classes = [
        {"id": i, "name": n, "color": c}
        for i, (n, c) in enumerate(zip(names, colours, strict=False), start=1)
    ]
    return write_config(
        folder / "legend.yaml", {"classes": classes, "ignore": [str(i) for i in ignore]}
    )


def pixels_of(tasks, region=None):
    """Class pixels of a region, or of all."""
    table = tasks.table if region is None else tasks.table[tasks.table["region"] == region]
    return np.sum(table["class_pixels"].tolist(), axis=0)


def test_flair_whose_masks_have_a_local_system(tmp_path):
    root = real_data("flair")
    legend = legend_of(tmp_path, *(f"class {i}" for i in range(1, 20)))
    tasks = rasters(
        tmp_path / "out", root, "--images", "{region}/{name}_aerial.tif",
        "--labels", "{region}/{name}_mask.tif", "--legend", legend,
        "--bands", "R,G,B,NIR,height", tile=128,
    )  # fmt: skip
    assert len(tasks) == 6 * 16 and tasks.meta.dtype == "uint8"
    assert tasks.meta.gsd == pytest.approx(0.2)
    for region in tasks.table["region"].unique():
        with rasterio.open(next((root / region).glob("*_mask.tif"))) as dataset:
            expected = np.bincount(dataset.read(1).ravel(), minlength=20)[1:]
        assert pixels_of(tasks, region).tolist() == expected.tolist()


COVER = ("Water", "Tree canopy", "Low vegetation", "Barren", "Impervious", "Road")


def test_chesapeake_quad_in_blocks_with_landsat_beside_naip(tmp_path):
    root = real_data("chesapeake") / "md_quad_m_3907833_nw_17"
    legend = legend_of(tmp_path, *COVER)
    words = (root, "--images", "{quad}_1_{band}.tif", "--labels", "{quad}_1_lc.tif",
             "--legend", legend, "--blocks", 2)  # fmt: skip
    bands = "naip-new.b1,naip-new.b4,landsat-leaf-on.b5"
    tasks = rasters(tmp_path / "out", *words, "--bands", bands, tile=32)
    assert tasks.bands == tuple(bands.split(",")) and len(tasks) == 64
    row = tasks.table.iloc[11]
    window = rasterio.windows.Window(*row["window"])
    expected = []
    for name, band in (("naip-new", 1), ("naip-new", 4), ("landsat-leaf-on", 5)):
        with rasterio.open(root / f"m_3907833_nw_17_1_{name}.tif") as dataset:
            expected.append(dataset.read(band, window=window).astype(np.float32))
    assert np.array_equal(tasks.read([row["id"]]).image[0], expected)


def test_chesapeake_patches_as_arrays(tmp_path):
    root = real_data("chesapeake") / "wv_patches"
    legend = legend_of(tmp_path, *COVER, ignore=(0, 15))
    name = "wv_1m_2014-m_{region}-{n}.npz"
    tasks = rasters(
        tmp_path / "out", root, "--images", name, "--labels", name, "--label-band", 9,
        "--bands", "R=1,G=2,B=3,NIR=4", "--legend", legend, "--val", 0, "--test", 0.5, tile=128,
    )  # fmt: skip
    assert len(tasks) == 16 * 4
    row = tasks.table.iloc[5]
    array = np.load(root / row["source"])["arr_0"][0]
    col, top, w, h = row["window"]
    cut = array[:, top : top + h, col : col + w]
    tile = tasks.read([row["id"]])
    assert np.array_equal(tile.image[0], cut[:4])
    assert np.array_equal(tile.label[0], np.where(cut[8] == 15, 255, cut[8] - 1))


LANDSAT = ("--images", "LE7022049{date}EDC{version}_stack.gtif",
           "--bands", "blue=1,green=2,red=3,nir=4,swir1=5,swir2=6", "--blocks", 3)  # fmt: skip


def test_landsat_with_polygons(tmp_path):
    """By `id`, as the labels' authors rasterised them: two polygons have another `class`."""
    root = real_data("landsat7_chiapas_sparse")
    legend = legend_of(tmp_path, "forest", "water", "herbaceous", "barren", "urban")
    tasks = rasters(
        tmp_path / "out", root, *LANDSAT, "--labels", "training_data.shp", "--class-column", "id",
        "--legend", legend, tile=10,
    )  # fmt: skip
    with rasterio.open(root / "training_data.gtif") as dataset:
        raster = dataset.read(1)
    for row in tasks.table.itertuples():
        col, top, w, h = row.window
        truth = raster[top : top + h, col : col + w]
        assert np.array_equal(tasks.read([row.id]).label[0], np.where(truth == 0, 255, truth - 1))
    # tiles of 10 pixels fill the scene, so that all 718 labelled pixels are there, at both dates
    assert pixels_of(tasks).tolist() == (2 * np.bincount(raster.ravel())[1:]).tolist()


def test_landsat_with_points_in_degrees(tmp_path):
    root = real_data("landsat7_chiapas_sparse")
    shapes = gpd.read_file(root / "training_data.shp")
    shapes.geometry = shapes.representative_point()
    shapes.drop(columns="id").to_crs(4326).to_file(tmp_path / "points.geojson")
    tasks = rasters(
        tmp_path / "out",
        root,
        *LANDSAT,
        "--labels",
        tmp_path / "points.geojson",
        "--class-column",
        "class",
        tile=16,
    )
    with rasterio.open(next(root.glob("*1999*.gtif"))) as dataset:
        places = [dataset.index(p.x, p.y) for p in shapes.geometry]
    expected = dict.fromkeys(tasks.meta.legend.names, 0)
    windows = {tuple(w) for w in tasks.table["window"]}
    for (row, col), name in zip(places, shapes["class"], strict=True):
        inside = any(c <= col < c + w and r <= row < r + h for c, r, w, h in windows)
        expected[name] += 2 * inside  # dates
    assert tasks.class_pixels(range(len(tasks))).to_dict() == expected
    assert sum(expected.values()) >= 2 * 25


BIG = ("--images", "{region}/{name}/{band}.tif", "--val", "Austria", "--test", "Portugal")
S12 = "B01,B02,B03,B04,B05,B06,B07,B08,B8A,B09,B11,B12,VV,VH"


@pytest.fixture
def bigearthnet(tmp_path):
    """A table of two patches a country, with made-up labels: theirs are of whole images."""
    root = real_data("ben_s1s2")
    lines = ["path,label"]
    for country in ("Austria", "Finland", "Lithuania", "Portugal"):
        for patch in sorted((root / country).glob("*/B08.tif"))[:2]:
            with rasterio.open(patch) as dataset:
                bright = dataset.read() > 2000
                grid = {"crs": dataset.crs, "transform": dataset.transform}
            label = tmp_path / f"{patch.parent.name}.tif"
            write_raster(label, 1 + bright.astype(np.uint8), **grid)
            lines.append(f"{country}/{patch.parent.name}/{{band}}.tif,{label}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    return root, ("--table", tmp_path / "table.csv", "--legend", legend_of(tmp_path, "dim", "lit"))


def test_bigearthnet_radar_and_optical_bands_as_one_image(tmp_path, bigearthnet):
    root, table = bigearthnet
    words = (root, *BIG, *table, "--bands", S12)
    assert "B01.tif: has 20 × 20 pixels" in refused(tmp_path / "no", *words, tile=60)
    tasks = rasters(tmp_path / "out", *words, "--resample", "bilinear", tile=60)
    assert tasks.bands == tuple(S12.split(",")) and tasks.meta.dtype == "float32"
    assert len(set(tasks.table["crs"])) > 1  # zones stay as they are
    assert any("B01" in n and "bilinear" in n for n in tasks.meta.notes)
    for row in tasks.table.iloc[[1, -1]].itertuples():
        image = tasks.read([row.id]).image[0]
        folder = (root / row.source).parent
        col, top, w, h = row.window
        with rasterio.open(folder / "B02.tif") as dataset:
            grid, crs = dataset.transform, dataset.crs
        for band in ("B02", "B05", "B09", "VH"):
            whole = np.zeros((120, 120), np.float32)
            with rasterio.open(folder / f"{band}.tif") as dataset:
                stored = dataset.read(1)
                reproject(
                    stored, whole,
                    src_transform=dataset.transform, src_crs=dataset.crs,
                    dst_transform=grid, dst_crs=crs, resampling=Resampling.bilinear,
                )  # fmt: skip
            found = image[tasks.bands.index(band)]
            assert np.abs(found - whole[top : top + h, col : col + w]).max() <= 0.5  # whole numbers


def test_bigearthnet_files_that_claim_other_pixels_are_not_stacked(tmp_path):
    """Some patches come as s1.tif at 10 m and s2.tif, of as many pixels, that says 60 m."""
    root = real_data("ben_s1s2")
    legend = legend_of(tmp_path, "any")
    patch = next(root.glob("Portugal/*/s2.tif")).parent
    with rasterio.open(patch / "s1.tif") as dataset:
        grid = {"crs": dataset.crs, "transform": dataset.transform}
    write_raster(tmp_path / "label.tif", np.ones((1, 120, 120), np.uint8), **grid)
    message = refused(
        tmp_path / "no", root, "--images", f"{{region}}/{patch.name}/{{band}}.tif",
        "--labels", tmp_path / "label.tif", "--legend", legend, "--bands", "s1.b1,s2.b4",
        "--resample", "nearest", "--val", 0, "--test", 0, tile=60,
    )  # fmt: skip
    assert "s2.tif: shows other ground" in message
