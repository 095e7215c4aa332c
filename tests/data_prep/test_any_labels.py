"""Labels of every kind, and regions inside images, from the command line."""

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
from rasterio.enums import Resampling
from rasterio.features import rasterize
from rasterio.warp import reproject, transform_geom
from shapely import box
from shapely.geometry import Point, mapping, shape

from tests.anydata import CLASSES, THREE, rasters, refused, scene
from tests.data.rasters import utm, write_raster
from tests.program import write_config


@pytest.fixture
def legend(tmp_path):
    return write_config(tmp_path / "legend.yaml", CLASSES)


# ---- labels on other grids, in other bands -----------------------------------------------------


@pytest.mark.parametrize("grid_crs, gsd", [("EPSG:32633", 7.0), ("EPSG:4326", 8e-5)])
def test_labels_on_another_grid_are_refused_or_warped(tmp_path, legend, grid_crs, gsd):
    expected = {}
    for place, region in enumerate("abc"):
        _, _, grid = scene(tmp_path / "raw", region, place)
        west, south, east, north = rasterio.warp.transform_bounds(
            grid["crs"], grid_crs, *rasterio.transform.array_bounds(48, 64, grid["transform"])
        )
        transform = rasterio.transform.from_origin(west - 2 * gsd, north + 2 * gsd, gsd, gsd)
        shape_ = (int((north - south) / gsd) + 5, int((east - west) / gsd) + 5)
        label = np.random.default_rng(place).integers(0, 4, shape_).astype(np.uint8)
        other = {"crs": grid_crs, "transform": transform}
        write_raster(tmp_path / "raw" / region / "lab.tif", label, **other)
        warped = np.zeros((48, 64), np.uint8)
        reproject(
            label, warped, src_transform=transform, src_crs=grid_crs,
            dst_transform=grid["transform"], dst_crs=grid["crs"],
            resampling=Resampling.nearest, tolerance=0,
        )  # fmt: skip
        expected[region] = warped
    words = (tmp_path / "raw", "--images", "{region}/img.tif", "--labels", "{region}/lab.tif",
             "--legend", legend, *THREE)  # fmt: skip
    assert "--warp" in refused(tmp_path / "no", *words)
    tasks = rasters(tmp_path / "out", *words, "--warp")
    for row in tasks.table.itertuples():
        col, top, w, h = row.window
        truth = expected[row.region][top : top + h, col : col + w]
        found = tasks.read([row.id]).label[0]
        assert (found == np.where(truth == 0, 255, truth - 1)).mean() > 0.999
    assert any("nearest" in note for note in tasks.meta.notes)


def test_warping_leaves_labels_on_the_same_grid_as_they_are(tmp_path, legend):
    for place, region in enumerate("abc"):
        scene(tmp_path / "raw", region, place)
    words = (tmp_path / "raw", "--images", "{region}/img.tif", "--labels", "{region}/lab.tif",
             "--legend", legend, *THREE)  # fmt: skip
    plain = rasters(tmp_path / "plain", *words)
    warped = rasters(tmp_path / "warped", *words, "--warp")
    ids = range(len(plain))
    assert np.array_equal(plain.read(ids).label, warped.read(ids).label)
    assert warped.meta.notes == plain.meta.notes


def test_one_band_of_a_label_file(tmp_path, legend):
    for place, region in enumerate("abc"):
        _, label, grid = scene(tmp_path / "raw", region, place)
        bands = np.stack([label * 0 + 200, label])
        write_raster(tmp_path / "raw" / region / "lab.tif", bands, **grid)
    words = (tmp_path / "raw", "--images", "{region}/img.tif", "--labels", "{region}/lab.tif",
             "--legend", legend, *THREE)  # fmt: skip
    tasks = rasters(tmp_path / "out", *words, "--label-band", 2)
    assert np.array_equal(tasks.read(tasks.tile_ids("c")[:1]).label[0], label[:16, :16] - 1)
    assert "no band 3" in refused(tmp_path / "no", *words, "--label-band", 3)
    assert "2 bands" in refused(tmp_path / "no", *words)


# ---- polygons and points -----------------------------------------------------------------------

FORMATS = {
    "gpkg": lambda frame, path: frame.to_file(path),
    "geojson": lambda frame, path: frame.to_crs(4326).to_file(path),
    "shp": lambda frame, path: frame.to_file(path),
    "parquet": lambda frame, path: frame.to_parquet(path),
}


def shapes_over(grid, seed, size=(48, 64)):
    """Boxes and points with a class, in the grid's coordinates."""
    rng = np.random.default_rng(seed)
    names = ["Water", "Forest", "Sand"]
    rows = []
    for k in range(12):
        col, row = 16 * (k % 4), 16 * (k // 4)
        ends = [grid["transform"] * (col + 2.2 + dx, row + 3.1 + dy) for dx, dy in ((0, 0), (9, 8))]
        (x0, y0), (x1, y1) = ends
        rows.append(
            (names[rng.integers(3)], box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))
        )
    return rows


@pytest.mark.parametrize("form", FORMATS)
def test_one_vector_file_for_images_of_several_zones(tmp_path, form):
    rows, grids = [], {}
    zones = {"a": "EPSG:32633", "b": "EPSG:32632", "c": "EPSG:32634"}
    for place, (region, crs) in enumerate(zones.items()):
        _, _, grid = scene(tmp_path / "raw", region, place, crs=crs)
        grids[region] = grid
        for name, polygon in shapes_over(grid, place):
            there = shape(transform_geom(crs, "EPSG:32633", mapping(polygon)))
            rows.append((name, region, there))
    frame = gpd.GeoDataFrame(rows, columns=["cover", "where", "geometry"], crs="EPSG:32633")
    FORMATS[form](frame, tmp_path / f"labels.{form}")
    tasks = rasters(
        tmp_path / "out", tmp_path / "raw", "--images", "{region}/img.tif",
        "--labels", tmp_path / f"labels.{form}", "--class-column", "cover", *THREE,
    )  # fmt: skip
    assert tasks.meta.legend.names == ("Forest", "Sand", "Water")
    assert {row.crs for row in tasks.table.itertuples()} == set(zones.values())
    for region, grid in grids.items():
        pairs = [
            (shape(transform_geom("EPSG:32633", zones[region], mapping(g))), 1 + sorted(
                tasks.meta.legend.names).index(name))
            for name, where, g in rows if where == region
        ]  # fmt: skip
        drawn = rasterize(pairs, (48, 64), transform=grid["transform"])
        for row in tasks.table[tasks.table["region"] == region].itertuples():
            col, top, w, h = row.window
            truth = drawn[top : top + h, col : col + w]
            found = tasks.read([row.id]).label[0]
            assert np.array_equal(found, np.where(truth == 0, 255, truth - 1))


def test_one_vector_file_an_image_and_points(tmp_path, legend):
    for place, region in enumerate("abc"):
        _, _, grid = scene(tmp_path / "raw", region, place)
        points = [Point(grid["transform"] * (c + 0.5, 20.5)) for c in (3, 20, 40)]
        frame = gpd.GeoDataFrame({"class": ["water", "SAND", None]}, geometry=points, crs=32633)
        frame.to_file(tmp_path / "raw" / region / "points.gpkg")
    words = (tmp_path / "raw", "--images", "{region}/img.tif", "--labels", "{region}/points.gpkg",
             *THREE)  # fmt: skip
    tasks = rasters(tmp_path / "out", *words, "--class-column", "class", "--legend", legend)
    assert len(tasks) == 6  # a tile each for two points with a class
    assert tasks.class_pixels(range(6)).tolist() == [3, 0, 3]
    assert tasks.table["labelled_share"].unique() == pytest.approx([1 / 256])
    assert "class (" in refused(tmp_path / "no", *words, "--legend", legend)
    assert "no column 'kind'" in refused(tmp_path / "no", *words, "--class-column", "kind")
    small = write_config(tmp_path / "small.yaml", {"classes": CLASSES["classes"][:2]})
    assert "SAND" in refused(tmp_path / "no", *words, "--class-column", "class", "--legend", small)
    assert "need a legend" in refused(
        tmp_path / "no", tmp_path / "raw", "--images", "{region}/img.tif",
        "--labels", "{region}/lab.tif",
    )  # fmt: skip


# ---- regions inside images ---------------------------------------------------------------------


def overlaps(tasks):
    """Pairs of tiles of different regions that share ground."""
    table = tasks.table[["region", "geometry"]].to_crs(tasks.table["crs"].iloc[0])
    table.geometry = table.buffer(-0.5)
    joined = table.sjoin(table, predicate="intersects")
    return (joined["region_left"] != joined["region_right"]).sum()


def test_one_large_raster_in_blocks(tmp_path, legend):
    _, label, _ = scene(tmp_path / "raw", "all", 0, size=(100, 135))
    label[:34, :51] = 0  # the first block has no labels
    write_raster(tmp_path / "raw/all/lab.tif", label, **utm())
    words = (tmp_path / "raw", "--images", "all/img.tif", "--labels", "all/lab.tif",
             "--legend", legend, "--blocks", 3)  # fmt: skip
    tasks = rasters(tmp_path / "out", *words)
    names = sorted(tasks.table["region"].unique())
    assert names == [f"r{r}c{c}" for r in (1, 2, 3) for c in (1, 2, 3)][1:]
    assert overlaps(tasks) == 0
    windows = [tuple(w) for w in tasks.table["window"]]
    assert len(set(windows)) == len(windows) == 6 * 8 - 6
    assert any("too few labels" in note for note in tasks.meta.notes)
    assert all(tasks.tasks(split) for split in ("train", "val", "test"))
    assert "too small for 9 × 9 blocks" in refused(tmp_path / "no", *words[:-1], 9)


def test_images_of_one_scene_share_its_blocks(tmp_path, legend):
    """Two dates of one place, one shifted by half a tile: no ground in two regions."""
    raw = tmp_path / "raw"
    for name, col in (("1", 0), ("2", 8)):
        image = np.ones((1, 96, 96), np.uint8)
        write_raster(raw / name / "img.tif", image, **utm(col, col))
        write_raster(raw / name / "lab.tif", np.ones((96, 96), np.uint8), **utm(col, col))
    tasks = rasters(
        tmp_path / "out", raw, "--images", "{date}/img.tif", "--labels", "{date}/lab.tif",
        "--legend", legend, "--blocks", 2,
    )  # fmt: skip
    assert overlaps(tasks) == 0
    assert set(tasks.table["region"]) == {"r1c1", "r1c2", "r2c1", "r2c2"}
    assert tasks.table["source"].nunique() == 2
    assert any("across a border" in note for note in tasks.meta.notes)


def test_polygons_of_regions(tmp_path, legend):
    _, _, grid = scene(tmp_path / "raw", "all", 0, size=(96, 96))
    x, y = grid["transform"] * (0, 0)
    areas = gpd.GeoDataFrame(
        {"area": ["west", "east", "west"]},
        geometry=[box(x, y - 500, x + 400, y), box(x + 400, y - 960, x + 960, y),
                  box(x, y - 960, x + 200, y - 520)],
        crs=32633,
    )  # fmt: skip
    areas.to_crs(4326).to_file(tmp_path / "areas.geojson")
    words = (tmp_path / "raw", "--images", "{place}/img.tif", "--labels", "{place}/lab.tif",
             "--legend", legend, "--regions", tmp_path / "areas.geojson")  # fmt: skip
    more = ("--region-column", "area", "--val", 0, "--test", "east")
    tasks = rasters(tmp_path / "out", *words, *more)
    local = areas.dissolve("area")
    for row in tasks.table.itertuples():
        west, south, east, north = row.native_bounds
        assert local.geometry[row.region].buffer(1).contains(box(west, south, east, north))
    assert set(tasks.table["region"]) == {"west", "east"} and overlaps(tasks) == 0
    # by hand: columns 400..960 m hold tiles from column 48; the left part two, and one below
    assert (tasks.table["region"] == "east").sum() == 3 * 6
    assert (tasks.table["region"] == "west").sum() == 2 * 3 + 1 * 2

    assert "has no column 'name'" in refused(tmp_path / "no", *words)
    twice = pd.concat([areas, areas.iloc[:1].assign(area="again")])
    twice.to_file(tmp_path / "areas.gpkg")
    assert "'again' and 'west' overlap" in refused(
        tmp_path / "no", *words[:-1], tmp_path / "areas.gpkg", *more
    )
    assert "choose one" in refused(tmp_path / "no", *words, *more, "--blocks", 2)
    far = areas.set_geometry(areas.translate(1e5, 0))
    far.to_file(tmp_path / "far.gpkg")
    assert "no tile is left: 36 lie" in refused(
        tmp_path / "no", *words[:-1], tmp_path / "far.gpkg", *more
    )


def test_options_are_on_record(tmp_path, legend):
    for place, region in enumerate("abc"):
        scene(tmp_path / "raw", region, place)
    tasks = rasters(
        tmp_path / "out", tmp_path / "raw", "--images", "{region}/img.tif",
        "--labels", "{region}/lab.tif", "--legend", legend, *THREE, "--bands", "r=1", "--warp",
    )  # fmt: skip
    kept = json.loads((tasks.folder / "taskset.json").read_text())["options"]
    assert kept["bands"] == {"r": 1} and kept["warp"] is True
