import json
import shutil

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from rasterio.transform import from_origin
from shapely.geometry import box

from landmeta.errors import EmptyRegion, OutputExists, SourceNotFound, UnreadableFile
from landmeta.legend import IGNORE
from landmeta.taskset import (
    SHARD,
    Band,
    SourceTile,
    TaskSet,
    TaskSetMeta,
    create_taskset,
    overlapping,
    tile_windows,
    write_taskset,
)
from tests.rasters import THREE

SIZE = 8
BANDS = (Band(name="red", scale=0.01, offset=-1, unit="1"), Band(name="nir"))


def meta(**more):
    return TaskSetMeta(
        source="test", bands=BANDS, legend=THREE, tile_size=SIZE, dtype="int16", **more
    )


def make_tile(number=0, region="a", split="train", **more):
    rng = np.random.default_rng(number)
    label = rng.integers(0, 3, (SIZE, SIZE)).astype(np.uint8)
    label[0] = IGNORE
    defaults = {
        "image": rng.integers(-500, 500, (2, SIZE, SIZE)).astype(np.int16),
        "label": label,
        "valid": np.ones((2, SIZE, SIZE), bool),
        "region": region,
        "split": split,
        "source": f"{region}/{number}.tif",
        "window": (number * SIZE, 0, SIZE, SIZE),
        "crs": "EPSG:32633",
        "transform": from_origin(500_000 + 80 * number, 5_000_000, 10, 10),
    }
    return SourceTile(**(defaults | more))


@pytest.fixture
def tiles():
    """Three tasks, one a split; the last tile of each has pixels without data."""
    made = []
    for region, split in (("a", "train"), ("b", "val"), ("c", "test")):
        for number in range(3):
            valid = np.ones((2, SIZE, SIZE), bool)
            if number == 2:
                valid[1, 2:4] = False
            made.append(make_tile(len(made), region, split, valid=valid))
    return made


@pytest.fixture
def taskset(tmp_path, tiles):
    return write_taskset(tmp_path / "set", meta(gsd=10.0), tiles)


# --- what is written comes back --------------------------------------------------------------


def test_tiles_come_back_in_physical_values(taskset, tiles):
    order = [8, 0, 5]
    read = taskset.read(order)
    assert read.image.dtype == np.float32
    for place, number in enumerate(order):
        tile = tiles[number]
        physical = (
            tile.image * np.array([0.01, 1])[:, None, None] + np.array([-1, 0])[:, None, None]
        )
        np.testing.assert_allclose(
            read.image[place], np.where(tile.valid, physical, np.nan), rtol=1e-6, atol=1e-6
        )
        np.testing.assert_array_equal(read.label[place], tile.label)
    assert len(read) == 3


def test_more_tiles_than_a_shard(tmp_path):
    count = 2 * SHARD + 3
    taskset = write_taskset(tmp_path / "set", meta(), (make_tile(i) for i in range(count)))
    assert len(taskset) == count
    for i in (0, SHARD - 1, SHARD, count - 1):
        np.testing.assert_array_equal(taskset.read([i]).label[0], make_tile(i).label)


def test_it_opens_with_ordinary_tools(taskset, tiles):
    images = zarr.open_array(taskset.folder / "images.zarr", mode="r")
    np.testing.assert_array_equal(images[4], tiles[4].image)
    assert images.chunks == (1, 2, SIZE, SIZE)
    table = gpd.read_parquet(taskset.folder / "tiles.parquet")
    assert table.crs == "EPSG:4326"
    assert table["id"].tolist() == list(range(9))
    assert table["task"].tolist() == list("aaabbbccc")
    row = table.iloc[2]
    assert row["valid_share"] == pytest.approx(1 - 2 * SIZE / (2 * SIZE * SIZE))
    assert row["labelled_share"] == pytest.approx(1 - 1 / SIZE)
    assert list(row["class_pixels"]) == [(tiles[2].label == i).sum() for i in range(3)]
    assert (row["source"], list(row["window"])) == ("a/2.tif", [2 * SIZE, 0, SIZE, SIZE])
    content = json.loads((taskset.folder / "taskset.json").read_text(encoding="utf-8"))
    assert content["splits"] == {"train": ["a"], "val": ["b"], "test": ["c"]}
    assert set(content["versions"]) >= {"landmeta", "zarr"}


def test_footprints_are_where_the_tiles_are(taskset):
    # Back to UTM, where they are squares of 80 m.
    native = taskset.table.geometry.to_crs("EPSG:32633")
    for number, outline in enumerate(native):
        left = 500_000 + 80 * number
        assert outline.symmetric_difference(
            box(left, 5_000_000 - 80, left + 80, 5_000_000)
        ).area == pytest.approx(0, abs=1)


def test_tiles_without_georeference(tmp_path):
    taskset = write_taskset(tmp_path / "set", meta(), [make_tile(3, crs=None, transform=None)])
    row = taskset.table.iloc[0]
    assert row.geometry is None
    assert pd.isna(row["crs"])
    assert list(row["native_bounds"]) == [24, 0, 32, 8]  # pixels of the file


def test_splits_tasks_and_tile_ids(taskset):
    assert taskset.tasks("val") == ["b"]
    assert taskset.tile_ids("b").tolist() == [3, 4, 5]
    assert taskset.split_ids("test").tolist() == [6, 7, 8]
    assert taskset.bands == ("red", "nir")
    assert taskset.legend == THREE
    with pytest.raises(EmptyRegion, match="no task 'd'") as error:
        taskset.tile_ids("d")
    assert "a, b, c" in str(error.value)


def test_a_task_is_a_region_in_a_season(tmp_path):
    tiles = [make_tile(i, season=s) for i, s in enumerate(["spring", "fall", "spring"])]
    taskset = write_taskset(tmp_path / "set", meta(), tiles)
    assert taskset.tasks("train") == ["a/fall", "a/spring"]
    assert taskset.tile_ids("a/spring").tolist() == [0, 2]


def test_class_pixels(taskset, tiles):
    counts = taskset.class_pixels([1, 2])
    assert counts.index.tolist() == list(THREE.names)
    labels = np.stack([tiles[1].label, tiles[2].label])
    assert counts.tolist() == [(labels == i).sum() for i in range(3)]


# --- what cannot be written ------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"image": np.zeros((1, SIZE, SIZE), np.int16)},
        {"image": np.zeros((2, SIZE, SIZE + 1), np.int16)},
        {"valid": np.ones((SIZE, SIZE), bool)},
        {"label": np.zeros((SIZE, SIZE), np.int64)},
        {"label": np.zeros((SIZE - 1, SIZE), np.uint8)},
        {"label": np.full((SIZE, SIZE), 3, np.uint8)},  # three classes: 0, 1, 2
    ],
)
def test_tiles_that_do_not_fit_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError), create_taskset(tmp_path / "set", meta()) as writer:
        writer.add(make_tile(0))
        writer.add(make_tile(1, **wrong))
    assert list(tmp_path.iterdir()) == []


def test_a_set_without_tiles(tmp_path):
    with pytest.raises(EmptyRegion, match="'test'"):
        write_taskset(tmp_path / "set", meta(), [])
    assert list(tmp_path.iterdir()) == []


def test_an_existing_set_is_kept(tmp_path, taskset):
    with pytest.raises(OutputExists):
        write_taskset(taskset.folder, meta(), [make_tile()])
    assert len(TaskSet(taskset.folder)) == 9
    assert len(write_taskset(taskset.folder, meta(), [make_tile()], overwrite=True)) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


# --- what cannot be read ---------------------------------------------------------------------


def test_a_folder_that_is_no_task_set(tmp_path):
    with pytest.raises(SourceNotFound, match=r"taskset\.json"):
        TaskSet(tmp_path)
    with pytest.raises(SourceNotFound):
        TaskSet(tmp_path / "no")


def damage_json(folder):
    (folder / "taskset.json").write_text('{"format": ')


def other_version(folder):
    path = folder / "taskset.json"
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 2'))


def truncate_table(folder):
    path = folder / "tiles.parquet"
    path.write_bytes(path.read_bytes()[:200])


def drop_rows(folder):
    path = folder / "tiles.parquet"
    gpd.read_parquet(path).iloc[:4].to_parquet(path)


def remove_array(folder):
    (folder / "labels.zarr" / "zarr.json").unlink()


def no_text(folder):
    (folder / "taskset.json").write_bytes(b"\xff\xfe\x00")


@pytest.mark.parametrize(
    "damage", [damage_json, other_version, truncate_table, drop_rows, remove_array, no_text]
)
def test_a_damaged_set_is_told(taskset, damage):
    damage(taskset.folder)
    with pytest.raises(UnreadableFile) as error:
        TaskSet(taskset.folder)
    assert str(taskset.folder) in str(error.value)
    assert "landmeta prepare" in str(error.value)


def test_a_truncated_shard_is_told_when_it_is_read(taskset):
    for path in (taskset.folder / "images.zarr").rglob("*"):
        if path.is_file() and path.name != "zarr.json":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableFile) as error:
        TaskSet(taskset.folder).read([0])
    assert str(taskset.folder) in str(error.value)


# --- geometry --------------------------------------------------------------------------------

boxes = st.lists(
    st.tuples(*(st.integers(0, 20),) * 2, *(st.integers(1, 6),) * 2).map(
        lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
    ),
    min_size=1,
    max_size=6,
)


@given(boxes, boxes)
def test_overlapping_agrees_with_shapely(first, second):
    found = overlapping(np.array(first, float), np.array(second, float))
    expected = [[box(*a).intersection(box(*b)).area > 0 for b in second] for a in first]
    np.testing.assert_array_equal(found, expected)


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 20))
def test_tile_windows_are_inside_disjoint_and_as_many_as_fit(width, height, size):
    windows = tile_windows(width, height, size)
    assert len(windows) == (width // size) * (height // size)
    used = np.zeros((height, width), int)
    for col, row, w, h in windows:
        assert (w, h) == (size, size)
        assert used[row : row + h, col : col + w].shape == (size, size)
        used[row : row + h, col : col + w] += 1
    assert used.max(initial=0) <= 1
    if windows:  # what is left off is the same at both ends, but for one
        rows, cols = used.any(axis=1).nonzero()[0], used.any(axis=0).nonzero()[0]
        assert abs(rows[0] - (height - 1 - rows[-1])) <= 1
        assert abs(cols[0] - (width - 1 - cols[-1])) <= 1


def test_tiles_kept_in_memory_are_read_once(taskset):
    ids = np.arange(len(taskset))
    before = taskset.read(ids)
    taskset.keep_in_memory(10**6)
    taskset.read(ids)
    for name in ("images", "labels", "valid"):
        shutil.rmtree(taskset.folder / f"{name}.zarr")
    after = taskset.read(ids)
    np.testing.assert_array_equal(after.image, before.image)
    np.testing.assert_array_equal(after.label, before.label)


def test_no_more_is_kept_than_was_allowed(taskset):
    taskset.keep_in_memory(3 * SIZE * SIZE)
    taskset.read(np.arange(len(taskset)))
    assert 0 < sum(values.nbytes for values in taskset._kept.values()) <= 3 * SIZE * SIZE
