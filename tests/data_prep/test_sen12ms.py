import shutil

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.windows import Window
from rasterio.windows import bounds as window_bounds

from data_prep.prepare import prepare
from data_prep.sen12ms import ALL_BANDS, sen12ms
from data_prep.sen12ms_splits import (
    FEWSHOT,
    FOLDERS,
    OFFICIAL_HOLDOUT,
    fewshot_split,
    official_split,
    patch_path,
)
from landmeta.errors import (
    ConfigError,
    EmptyRegion,
    MissingBands,
    MissingCRS,
    SizeMismatch,
    SourceNotFound,
    UnknownClass,
    UnreadableFile,
)
from landmeta.taskset import overlapping
from tests.data.sen12ms import patch, rewrite, tree

# IGBP 0-17 to simplified ids, as the DFC2020 baseline has them.
SIMPLIFIED = np.array([0, 1, 1, 1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 6, 8, 9, 10])


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return tree(tmp_path_factory.mktemp("sen12ms") / "raw", seed=3)


@pytest.fixture
def raw(clean, tmp_path):
    """A copy to damage."""
    return shutil.copytree(clean, tmp_path / "raw")


def read(source):
    return [tile for part in source.parts for tile in source.cut(part).tiles]


def read_window(path, window):
    with rasterio.open(path) as file:
        return file.read(window=Window(*window))


@pytest.mark.parametrize("size", [16, 20])
def test_round_trip_equals_what_rasterio_reads(clean, tmp_path, size):
    tasks = prepare(sen12ms(clean, tile=size), tmp_path / "set", quiet=True)
    per_patch = (32 // size) ** 2
    assert len(tasks) == 4 * 2 * per_patch
    assert tasks.bands == tuple(ALL_BANDS)
    assert tasks.meta.gsd == 10
    for row in tasks.table.itertuples():
        s2 = read_window(clean / row.source, row.window)
        s1 = read_window(clean / row.source.replace("s2_", "s1_"), row.window)
        lc = read_window(clean / row.source.replace("s2_", "lc_"), row.window)
        tile = tasks.read([row.id])
        gap = (s2 == 0).all(axis=0)
        expected = np.concatenate([np.where(gap, np.nan, s2 * np.float32(1e-4)), s1])
        np.testing.assert_allclose(tile.image[0], expected, rtol=1e-6)
        ids = np.where(tile.label[0] == 255, 0, tile.label[0] + 1)
        unseen = np.isnan(expected).all(axis=0)
        np.testing.assert_array_equal(ids, np.where(unseen, 0, SIMPLIFIED[lc[0]]))


def test_tiles_lie_where_their_pixels_lie(clean, tmp_path):
    tasks = prepare(sen12ms(clean, tile=16), tmp_path / "set", quiet=True)
    for row in tasks.table.itertuples():
        with rasterio.open(clean / row.source) as file:
            expected = window_bounds(Window(*row.window), file.transform)
            assert rasterio.crs.CRS.from_string(row.crs) == file.crs
        np.testing.assert_allclose(row.native_bounds, expected)
        assert tuple(row.window[2:]) == (16, 16)
    # Patch 2 begins in the middle of patch 1: of 4 tiles each, 2 lie on the other's.
    one = tasks.table[tasks.table.task == "63/spring"]
    bounds = np.stack(one.native_bounds.to_list())
    first = one.source.str.contains("_p1.tif").to_numpy()
    assert overlapping(bounds[first], bounds[~first]).sum() == 2
    assert one["crs"].nunique() == 1
    assert tasks.table["crs"].nunique() > 1


def test_tasks_are_region_and_season_in_their_published_split(clean, tmp_path):
    tasks = prepare(sen12ms(clean, tile=32), tmp_path / "set", quiet=True)
    assert tasks.tasks("train") == ["57/summer"]
    assert tasks.tasks("val") == ["63/spring", "83/spring"]
    assert tasks.tasks("test") == ["126/summer"]
    assert set(tasks.table.region) == {"57", "63", "83", "126"}
    official = prepare(sen12ms(clean, tile=32, split="official"), tmp_path / "official", quiet=True)
    assert official.tasks("test") == ["63/spring"]
    assert {*official.tasks("train"), *official.tasks("val")} == {
        "57/summer", "83/spring", "126/summer"
    }  # fmt: skip
    assert len(official.tasks("val")) == 1


def test_the_published_lists():
    assert {split: len(ids) for split, ids in FEWSHOT.items()} == {
        "train": 75, "val": 25, "test": 25
    }  # fmt: skip
    assert len(set().union(*FEWSHOT.values())) == 125
    scenes = [(season, i) for season, ids in OFFICIAL_HOLDOUT.items() for i in ids]
    assert len(scenes) == len(set(scenes)) == 26
    ids = {i for _, i in scenes}
    # What datasets.md says of how the two lists meet.
    assert [len(ids & set(FEWSHOT[s])) for s in ("train", "val", "test")] == [15, 5, 4]


SCENES = st.sets(st.tuples(st.sampled_from(list(FOLDERS)), st.integers(1, 149)), min_size=1)


@given(SCENES, st.integers(0, 5))
def test_splits_are_disjoint(scenes, seed):
    few = fewshot_split(scenes)
    for number in {i for _, i in few}:
        assert len({few[s] for s in few if s[1] == number}) == 1
    official = official_split(scenes, seed)
    assert set(official) == scenes
    held_out = {s for s in scenes if s[1] in OFFICIAL_HOLDOUT[s[0]]}
    assert {s for s, split in official.items() if split == "test"} == held_out
    val = {i for (_, i), split in official.items() if split == "val"}
    rest = {i for (_, i), split in official.items() if split != "val"}
    assert not val & rest
    assert official == official_split(scenes, seed)


def test_an_id_in_both_parts_of_the_official_split_is_noted(tmp_path):
    root = tree(tmp_path / "raw", {"spring": [15], "fall": [15, 2, 3]}, patches=1, size=16)
    source = sen12ms(root, tile=16, split="official")
    assert {t.task: t.split for t in read(source)}["15/spring"] == "test"
    assert any("[15]" in note for note in source.meta.notes)


def test_ids_of_no_few_shot_list_are_left_out_and_noted(tmp_path):
    root = tree(tmp_path / "raw", {"spring": [2, 63]}, patches=1, size=16)
    source = sen12ms(root, tile=16)
    assert {t.region for t in read(source)} == {"63"}
    assert any("[2]" in note for note in source.meta.notes)


@pytest.mark.parametrize(
    ("bands", "dtype"),
    [(["S2_B8", "S2_B4"], "uint16"), (["S1_VH"], "float32"), (["S1_VV", "S2_B8A"], "float32")],
)
def test_bands_are_chosen_by_name_in_the_order_asked_for(clean, bands, dtype):
    source = sen12ms(clean, bands=bands, tile=32)
    assert [b.name for b in source.meta.bands] == bands
    assert source.meta.dtype == dtype
    tile = read(source)[0]
    assert tile.image.dtype == dtype
    places = {"S2_B4": 4, "S2_B8": 8, "S2_B8A": 9, "S1_VV": 1, "S1_VH": 2}
    for name, stored, valid in zip(bands, tile.image, tile.valid, strict=True):
        path = clean / tile.source.replace("s2_", f"{name[:2].lower()}_")
        with rasterio.open(path) as file:
            np.testing.assert_array_equal(stored[valid], file.read(places[name])[valid])


def test_gaps_are_not_valid_and_not_labelled(raw):
    def hole(pixels):
        pixels = np.maximum(pixels, 1)
        pixels[:, :4] = 0  # nothing seen
        pixels[:10, 4:8] = 0  # dark in some bands only
        return pixels

    def torn(pixels):
        pixels = np.nan_to_num(pixels, nan=-10)
        pixels[:, :, :4] = np.nan
        pixels[1, 20, 20] = np.inf
        return pixels

    rewrite(patch(raw, "s2"), hole)
    rewrite(patch(raw, "s1"), torn)
    both = next(t for t in read(sen12ms(raw, tile=32)) if t.source.endswith("s2_63_p1.tif"))
    assert not both.valid[:13, :4].any()
    assert both.valid[:13, 4:].all()
    assert not both.valid[13:, :, :4].any()
    assert not both.valid[14, 20, 20]
    assert both.valid[13:, :, 4:].sum() == 2 * 32 * 28 - 1
    assert np.isfinite(both.image).all()
    assert ((both.label == 255) == ~both.valid.any(axis=0)).all()
    assert (both.label[:4, :4] == 255).all()
    assert (both.label == 255).sum() == 16
    one = sen12ms(raw, tile=32, bands=["S2_B2"])
    alone = next(t for t in read(one) if t.source.endswith("s2_63_p1.tif"))
    assert (alone.label[:4] == 255).all()
    assert not (alone.label[4:] == 255).any()


def test_the_patch_known_to_be_all_nan_in_s1_is_kept_for_its_s2(tmp_path):
    root = tree(tmp_path / "raw", {"summer": [146]}, patches=1, size=16, seed=1)
    for modality in ("s1", "s2", "lc"):
        path = patch(root, modality, "summer", 146)
        path.rename(patch(root, modality, "summer", 146, 202))
    rewrite(patch(root, "s1", "summer", 146, 202), lambda a: np.full_like(a, np.nan))
    (tile,) = read(sen12ms(root, tile=16))
    assert not tile.valid[13:].any()
    assert tile.valid[:13].any()
    source = sen12ms(root, tile=16, bands=["S1_VV"])
    assert read(source) == []
    assert sum(source.cut(part).left_out for part in source.parts) == 1


def test_unlabelled_codes_and_nodata_of_lc_are_ignored(raw):
    def unlabelled(pixels):
        pixels[0, 0], pixels[0, 1], pixels[0, 2] = 0, 255, 9999
        return pixels

    rewrite(patch(raw, "lc"), unlabelled, nodata=9999)
    tile = next(t for t in read(sen12ms(raw, tile=32)) if t.source.endswith("s2_63_p1.tif"))
    assert (tile.label[:3] == 255).all()
    assert (tile.label[3:] != 255).any()


def test_limit_draws_the_same_tiles_of_a_task_whatever_else_is_there(clean, raw):
    def drawn(root, **how):
        tiles = read(sen12ms(root, tile=8, limit=5, **how))
        return {task: sorted((t.source, t.window) for t in tiles if t.task == task)
                for task in {t.task for t in tiles}}  # fmt: skip

    first = drawn(clean)
    assert {task: len(tiles) for task, tiles in first.items()} == dict.fromkeys(first, 5)
    assert first == drawn(clean)
    assert first != drawn(clean, seed=1)
    shutil.rmtree(raw / FOLDERS["summer"])
    assert drawn(raw) == {task: t for task, t in first.items() if task.endswith("spring")}


def test_a_part_is_a_patch_and_says_what_it_reads(clean):
    source = sen12ms(clean, tile=16)
    assert len(source.parts) == 8
    assert sorted(f for part in source.parts for f in part.files) == sorted(clean.rglob("*.tif"))
    assert [part.tiles for part in source.parts] == [4] * 8


def test_incomplete_triplets_and_strange_files_are_left_out_and_noted(raw):
    patch(raw, "s1").unlink()
    (raw / FOLDERS["spring"] / "s2_63" / "notes.txt").write_text("hello")
    (raw / FOLDERS["spring"] / "s2_63" / "ROIs1158_spring_s2_7_p1.tif").write_text("misplaced")
    (raw / FOLDERS["spring"] / "dfc_63").mkdir()
    source = sen12ms(raw, tile=32)
    assert {t.source for t in read(source) if t.task == "63/spring"} == {
        patch_path("s2", ("spring", 63), 2)
    }
    (note,) = source.meta.notes
    assert "spring 63" in note
    assert "s1" in note
    assert "p1" in note


def test_no_folder_and_no_triplet(tmp_path, raw):
    with pytest.raises(SourceNotFound, match="nowhere") as error:
        sen12ms(tmp_path / "nowhere")
    assert "ROIs1158_spring/s2_63/ROIs1158_spring_s2_63_p123.tif" in error.value.remedy
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceNotFound, match="no complete"):
        sen12ms(tmp_path / "empty")
    for folder in raw.glob("*/s1_*"):
        shutil.rmtree(folder)
    with pytest.raises(SourceNotFound, match="have no s1 file"):
        sen12ms(raw, tile=32)


def test_no_scene_of_the_split(tmp_path):
    root = tree(tmp_path / "raw", {"spring": [2]}, patches=1, size=16)
    with pytest.raises(SourceNotFound, match="fewshot split; its scene ids are 2"):
        sen12ms(root, tile=16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bands": ["S2_B2", "S2_B99"]}, "S2_B99"),
        ({"bands": ["S2_B2", "S2_B2"]}, "twice"),
        ({"bands": []}, "none"),
        ({"tile": 33}, "33 pixels does not fit a patch of 32 × 32"),
        ({"tile": 4}, "tile 4"),
        ({"split": "random"}, "random"),
        ({"limit": 0}, "limit 0"),
    ],
)
def test_wrong_options(clean, options, message):
    with pytest.raises(ConfigError, match=message):
        sen12ms(clean, **{"tile": 32, **options})


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def add_band(path):
    rewrite(path, lambda a: np.concatenate([a, a[:1]]))


def unknown_code(path):
    def change(pixels):
        pixels[0, 5, 5] = 18
        return pixels

    rewrite(path, change)


def shift_grid(path):
    with rasterio.open(path) as file:
        moved = list(file.transform)[:6]
    moved[2] += 10
    rewrite(path, transform=rasterio.Affine(*moved))


BROKEN = [
    (truncate, "s2", UnreadableFile, "cannot be read"),
    (truncate, "s1", UnreadableFile, "cannot be read"),
    (truncate, "lc", UnreadableFile, "cannot be read"),
    (lambda p: p.write_bytes(b"not a tiff"), "s2", UnreadableFile, "cannot be read"),
    (add_band, "s2", MissingBands, "has 14 bands; a SEN12MS s2 file has 13: B1, B2"),
    (add_band, "s1", MissingBands, "has 3 bands; a SEN12MS s1 file has 2: VV, VH"),
    (lambda p: rewrite(p, lambda a: a[:1]), "lc", MissingBands, "has 1 bands"),
    (unknown_code, "lc", UnknownClass, "unknown class id 18"),
    (lambda p: rewrite(p, lambda a: a[:, :16]), "s1", SizeMismatch, "is 16 × 32 pixels"),
    (shift_grid, "lc", SizeMismatch, "lies on"),
    (lambda p: rewrite(p, crs="EPSG:32601"), "s1", SizeMismatch, "lies on EPSG:32601"),
    (lambda p: rewrite(p, crs=None), "s2", MissingCRS, "no coordinate reference system"),
]


@pytest.mark.parametrize(("damage", "modality", "error", "message"), BROKEN)
@pytest.mark.parametrize("p", [1, 2])
def test_damage_is_named_and_leaves_no_output(raw, tmp_path, damage, modality, error, message, p):
    # The first patch of the tree is also read for its size; the last one only when cut.
    path = patch(raw, modality, *(("spring", 63, 1) if p == 1 else ("summer", 126, 2)))
    damage(path)
    with pytest.raises(error, match=message) as caught:
        prepare(sen12ms(raw, tile=16), tmp_path / "set", quiet=True)
    assert caught.value.path == path
    assert path.name in str(caught.value)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["raw"]


def test_float_pixels_do_not_lose_their_fractions_in_an_integer_set(raw):
    rewrite(patch(raw, "s2", "summer", 126, 2), lambda a: a.astype(np.float32) + 0.5)
    with pytest.raises(UnreadableFile, match="holds float32, the first file of its kind uint16"):
        read(sen12ms(raw, tile=32, bands=["S2_B4"]))
    assert read(sen12ms(raw, tile=32, bands=["S2_B4", "S1_VV"]))


def test_a_tree_without_labels_is_no_task_set(tmp_path):
    root = tree(tmp_path / "raw", {"spring": [63]}, patches=1, size=16)
    rewrite(patch(root, "lc"), np.zeros_like)
    with pytest.raises(EmptyRegion):
        prepare(sen12ms(root, tile=16), tmp_path / "set", quiet=True)
