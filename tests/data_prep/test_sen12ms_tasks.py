import shutil

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.windows import Window
from shapely.geometry import box

from data_prep.patches import ALL_BANDS, choose_bands
from data_prep.places import footprints
from data_prep.prepare import prepare
from data_prep.sen12ms import sen12ms
from data_prep.sen12ms_options import LABEL_BANDS, LEGENDS, Places
from data_prep.sen12ms_splits import (
    DAMAGED,
    FEWSHOT,
    FOLDERS,
    OFFICIAL_HOLDOUT,
    leak_notes,
    patch_path,
)
from data_prep.sen12ms_tasks import Tasks, split_units
from landmeta.errors import ConfigError, MissingCRS, SourceNotFound
from landmeta.legend import find_legend
from landmeta.taskset import TaskSet
from tests.data.sen12ms import patch, rewrite, tree
from tests.program import invoke

WORLD = {
    "spring": [63, 57, 126], "summer": [57, 126, 118, 27], "winter": [57, 126, 63, 77]
}  # fmt: skip
"""57, 27 and 77 are train, 63 is a validation, 126 and 118 are test ids of the few-shot split."""


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return tree(tmp_path_factory.mktemp("sen12ms") / "raw", WORLD, seed=3, patches=2)


def tasks_of(source):
    """Split of each task."""
    cut = [t for part in source.parts for t in source.cut(part).tiles]
    of = {t.task: t.split for t in cut}
    assert all(t.split == of[t.task] for t in cut)
    return of


def read(path, window):
    with rasterio.open(path) as file:
        return file.read(window=Window(*window))


# --- labels ------------------------------------------------------------------------------------

SIMPLE = np.array([0, 1, 1, 1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 6, 8, 9, 10])


@pytest.mark.parametrize("legend", LEGENDS)
def test_labels_are_those_of_the_file_by_every_legend(raw, tmp_path, legend):
    made = prepare(sen12ms(raw, tile=32, legend=legend), tmp_path / "set", quiet=True)
    band = ["igbp", "lccs-lc", "lccs-lu", "lccs-hydro"].index(made.meta.options["label_band"])
    seen = set()
    for row in made.table.itertuples():
        stored = read(raw / row.source.replace("s2_", "lc_"), row.window)[band]
        if legend.startswith("igbp-simplified"):
            stored = SIMPLE[stored]
        if legend.endswith("no-savanna"):
            stored = np.where(stored == 3, 255, stored)
        tile = made.read([row.id])
        label = made.legend.to_ids(tile.label[0])
        nothing = np.isnan(tile.image[0]).all(axis=0)
        np.testing.assert_array_equal(label, np.where(nothing, 255, stored))
        seen |= set(np.unique(label).tolist())
    assert len(seen) > 4
    assert made.legend == find_legend(legend)


def test_a_legend_file_explains_the_band_it_is_for(raw, tmp_path):
    file = tmp_path / "woods.yaml"
    file.write_text(
        "remap: {10: 1, 20: 1, 1: 2, 2: 2, 3: 2, 9: 2, 25: 2, 30: 2, 35: 2, 36: 2, 40: 2}\n"
        "classes:\n- {id: 1, name: Woods, color: '#009900'}\n"
        "- {id: 2, name: Open, color: '#ffff00'}\n"
    )
    made = prepare(
        sen12ms(raw, tile=32, legend=str(file), label_band="lccs-lu"), tmp_path / "s", quiet=True
    )
    for row in made.table.itertuples():
        stored = read(raw / row.source.replace("s2_", "lc_"), row.window)[2]
        label = made.read([row.id]).label[0]
        np.testing.assert_array_equal(label == 0, np.isin(stored, [10, 20]) & (label != 255))


@pytest.mark.parametrize(
    ("legend", "band", "message"),
    [
        ("deepglobe", None, "neither a legend of SEN12MS"),
        ("lccs", None, "neither a legend of SEN12MS nor a file"),
        ("lccs-lc", "igbp", "does not explain the label band igbp"),
        ("igbp", "modis", "no label band 'modis'"),
    ],
)
def test_legends_that_do_not_go_with_the_labels(raw, legend, band, message):
    with pytest.raises(ConfigError, match=message):
        sen12ms(raw, legend=legend, label_band=band)


# --- bands -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (["VV", "VH", "B2"], ["S1_VV", "S1_VH", "S2_B2"]),
        (["b02", "B8A", "b12"], ["S2_B2", "S2_B8A", "S2_B12"]),
        (["S1", "B4"], ["S1_VV", "S1_VH", "S2_B4"]),
        (["S2_B4", "s1_vh"], ["S2_B4", "S1_VH"]),
        (["S2", "S1"], list(ALL_BANDS)),
        (None, list(ALL_BANDS)),
    ],
)
def test_bands_go_by_their_short_names_too(asked, found):
    assert [band.name for band in choose_bands(asked)] == found


@pytest.mark.parametrize("asked", [["B13"], ["B2", "S2"], ["IGBP"], [], ["B2", "b02"]])
def test_bands_that_are_not_there_or_twice(asked):
    with pytest.raises(ConfigError, match="bands"):
        choose_bands(asked)


def test_scaling_is_recorded_and_stored_values_are_the_files_own(raw, tmp_path):
    made = prepare(sen12ms(raw, tile=32, bands=["B4", "VV"]), tmp_path / "set", quiet=True)
    assert [(b.scale, b.offset, b.unit) for b in made.meta.bands] == [
        (1e-4, 0.0, "reflectance"), (1.0, 0.0, "dB")
    ]  # fmt: skip
    stored = made._images[0]
    row = made.table.iloc[0]
    np.testing.assert_array_equal(stored[0], read(raw / row.source, row.window)[3])


def test_the_damaged_file_is_no_data_by_its_name_whatever_it_holds(tmp_path):
    root = tree(tmp_path / "raw", {"summer": [146, 57]}, patches=1, size=16, seed=1)
    for modality in ("s1", "s2", "lc"):
        patch(root, modality, "summer", 146).rename(patch(root, modality, "summer", 146, 202))
    damaged = patch(root, "s1", "summer", 146, 202)
    assert damaged.name == DAMAGED
    rewrite(damaged, lambda a: np.full_like(a, -10))
    source = sen12ms(root, tile=16)
    tiles = {t.task: t for part in source.parts for t in source.cut(part).tiles}
    assert not tiles["146/summer"].valid[13:].any()
    assert tiles["146/summer"].valid[:13].any()
    assert tiles["57/summer"].valid[13:].any()
    (note,) = [n for n in source.meta.notes if DAMAGED in n]
    assert "no data" in note


def test_sentinel_1_without_any_echo_is_no_data(tmp_path):
    root = tree(tmp_path / "raw", {"summer": [57]}, patches=1, size=16, seed=1)

    def masked(pixels):
        pixels = np.nan_to_num(pixels, nan=-10)
        pixels[:, :4] = 0
        pixels[0, 4:8] = 0
        return pixels

    rewrite(patch(root, "s1", "summer", 57), masked)
    source = sen12ms(root, tile=16)
    (tile,) = source.cut(source.parts[0]).tiles
    assert not tile.valid[13:, :4].any()
    assert tile.valid[13:, 4:].all()


# --- tasks -------------------------------------------------------------------------------------


def test_tasks_by_scene(raw):
    few = {i: split for split, ids in FEWSHOT.items() for i in ids}
    assert tasks_of(sen12ms(raw, tile=32)) == {
        f"{i}/{season}": few[i] for season, ids in WORLD.items() for i in ids
    }


def test_tasks_by_region_go_over_seasons(raw):
    source = sen12ms(raw, tile=32, tasks=Tasks("region"))
    assert tasks_of(source) == {
        "57": "train", "27": "train", "77": "train", "63": "val", "126": "test", "118": "test"
    }  # fmt: skip
    seasons = {p.source.split("/")[0] for p in source.parts if p.region == "57"}
    assert seasons == {FOLDERS[s] for s in ("spring", "summer", "winter")}


def test_a_season_shift_trains_and_tests_in_other_seasons_and_other_regions(raw):
    shift = Tasks("season-shift", ("spring", "summer"), ("winter",))
    source = sen12ms(raw, tile=32, tasks=shift)
    assert tasks_of(source) == {
        "63/spring": "val", "57/spring": "train", "57/summer": "train", "27/summer": "train",
        "126/winter": "test",
    }  # fmt: skip
    assert any("left out 6 scenes" in note for note in source.meta.notes)


def test_a_season_shift_over_the_same_regions_if_asked_for(raw):
    shift = Tasks("season-shift", ("spring", "summer"), ("winter",), same_regions=True)
    assert tasks_of(sen12ms(raw, tile=32, tasks=shift)) == {
        "63/spring": "val", "57/spring": "train", "57/summer": "train", "27/summer": "train",
        "57/winter": "test", "126/winter": "test", "63/winter": "test", "77/winter": "test",
    }  # fmt: skip


UNITS = st.dictionaries(
    st.tuples(st.sampled_from(list(FOLDERS)), st.sampled_from("ABCDE")),
    st.sampled_from(["train", "val", "test"]),
    min_size=1,
)
SEASONS = st.lists(st.sampled_from(list(FOLDERS)), unique=True, min_size=2).flatmap(
    lambda seasons: st.integers(1, len(seasons) - 1).map(lambda i: (seasons[:i], seasons[i:]))
)


@given(UNITS, SEASONS, st.booleans())
def test_a_season_shift_never_shares_a_season_nor_a_region_unless_asked(splits, seasons, same):
    train, test = (tuple(s) for s in seasons)
    kept = Tasks("season-shift", train, test, same).apply(splits)
    assert {season for (season, _), of in kept.items() if of == "test"} <= set(test)
    assert {season for (season, _), of in kept.items() if of != "test"} <= set(train)
    tested = {region for (_, region), of in kept.items() if of == "test"}
    trained = {region for (_, region), of in kept.items() if of != "test"}
    assert same or not tested & trained


@given(UNITS)
def test_a_region_over_its_seasons_is_in_one_split_the_strictest(splits):
    kept = Tasks("region").apply(splits)
    assert kept.keys() == splits.keys()
    for region in "ABCDE":
        of = {split for (_, r), split in splits.items() if r == region}
        found = {split for (_, r), split in kept.items() if r == region}
        expected = next((s for s in ("test", "val", "train") if s in of), None)
        assert found == ({expected} if expected else set())


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (Tasks("scenes"), "tasks by 'scenes'"),
        (Tasks("season-shift"), "without its seasons"),
        (Tasks("season-shift", ("spring",), ()), "without its seasons"),
        (Tasks("season-shift", ("spring",), ("spring", "fall")), "from .'spring'."),
        (Tasks("season-shift", ("spring",), ("autumn",)), "autumn"),
        (Tasks("scene", ("spring",), ("fall",)), "with tasks by scene"),
        (Tasks("region", same_regions=True), "with tasks by region"),
    ],
)
def test_tasks_that_cannot_be_meant(raw, tasks, message):
    with pytest.raises(ConfigError, match=message):
        sen12ms(raw, tasks=tasks)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ("fall", "winter", "nothing to train on .* its seasons spring, summer, winter"),
        ("summer", "fall", "nothing to test on"),
    ],
)
def test_a_season_that_is_not_there(raw, train, test, message):
    with pytest.raises(SourceNotFound, match=message):
        sen12ms(raw, tile=32, tasks=Tasks("season-shift", (train,), (test,)))


# --- splits ------------------------------------------------------------------------------------


def test_a_drawn_split_by_names_and_by_shares(raw):
    named = tasks_of(sen12ms(raw, tile=32, split="drawn", val=["57"], test=["27", "77"]))
    assert {t for t, of in named.items() if of == "val"} == {
        "57/spring", "57/summer", "57/winter"
    }  # fmt: skip
    assert {t for t, of in named.items() if of == "test"} == {"27/summer", "77/winter"}
    with pytest.raises(ConfigError, match="no region named 58"):
        sen12ms(raw, split="drawn", val=["58"])
    shares = tasks_of(sen12ms(raw, tile=32, split="drawn", val=0.2, test=0.4))
    assert {of: len({t.split("/")[0] for t, o in shares.items() if o == of})
            for of in ("train", "val", "test")} == {"train": 3, "val": 1, "test": 2}  # fmt: skip


@pytest.mark.parametrize("split", [None, "fewshot", "official"])
def test_regions_cannot_be_named_beside_a_published_split(raw, split):
    with pytest.raises(ConfigError, match="has its own"):
        sen12ms(raw, tile=32, split=split, test=["57"])


def test_the_hold_out_by_region_takes_all_seasons_of_its_ids():
    units = [("spring", "15"), ("fall", "15"), ("fall", "2"), ("fall", "3")]
    splits = split_units(units, "official", val=0.15, test=0.2, seed=0)
    assert (splits["spring", "15"], splits["fall", "15"]) == ("test", "train")
    kept = Tasks("region").apply(splits)
    assert kept["spring", "15"] == kept["fall", "15"] == "test"
    (note,) = Tasks("region").notes(splits, kept)
    assert note.endswith(": 15")


def test_the_published_splits_leak_and_the_list_says_where():
    everything = [(season, i) for season, ids in OFFICIAL_HOLDOUT.items() for i in ids]
    (note,) = leak_notes(everything, "fewshot")
    # By hand: of the hold-out's scenes those whose id is a training or validation id.
    wrong = [(s, i) for s, i in everything if i not in FEWSHOT["test"]
             and i in FEWSHOT["train"] + FEWSHOT["val"]]  # fmt: skip
    assert f"; {len(wrong)} scenes" in note
    assert all(f"{season} {i}" in note for season, i in wrong)
    assert "winter 32" not in note  # a test id of both
    assert leak_notes([("winter", 32), ("fall", 2)], "fewshot") == []
    (other,) = leak_notes([("winter", 32), ("fall", 32), ("fall", 118), ("fall", 57)], "official")
    assert other.endswith(": fall 32, fall 118")


def test_the_leak_is_told_where_the_scenes_are_there(raw):
    notes = sen12ms(raw, tile=32).meta.notes
    assert any("leak" in n and n.endswith(": spring 63") for n in notes)
    assert any("leak" in n and "summer 118" in n
               for n in sen12ms(raw, tile=32, split="official").meta.notes)  # fmt: skip
    assert not any("leak" in n for n in sen12ms(raw, tile=32, split="drawn").meta.notes)


# --- places ------------------------------------------------------------------------------------


def bounds_of(raw, unit):
    season, number = unit
    with rasterio.open(raw / patch_path("s2", (season, number), 1)) as one:
        (outline,) = footprints([one.bounds], [one.crs.to_string()])
    return outline.buffer(0.1)


@pytest.fixture
def lands(raw, tmp_path):
    """A map in Mercator of three lands: about 57 (all seasons), about 126, about 118."""
    outlines = {"A": [("summer", 57), ("spring", 57), ("winter", 57)],
                "B/b": [("summer", 126), ("spring", 126)], "C": [("summer", 118)]}  # fmt: skip
    rows = [(name, bounds_of(raw, unit)) for name, units in outlines.items() for unit in units]
    table = gpd.GeoDataFrame(
        {"land": [n for n, _ in rows]}, geometry=[g for _, g in rows], crs="EPSG:4326"
    )
    path = tmp_path / "lands.gpkg"
    table.to_crs("EPSG:3857").to_file(path)
    return path


def test_places_are_the_regions(raw, lands):
    source = sen12ms(raw, tile=32, places=Places(lands, "land"), val=["C"], test=["B/b"])
    assert tasks_of(source) == {
        "A/spring": "train", "A/summer": "train", "A/winter": "train", "C/summer": "val",
        "B/b/spring": "test", "B/b/summer": "test",
    }  # fmt: skip
    scenes = {(p.region, p.source.split("_")[2].split("/")[0]) for p in source.parts}
    assert {(region, number) for region, number in scenes} == {
        ("A", "57"), ("B/b", "126"), ("C", "118")
    }  # fmt: skip
    assert any("left out 10 patches that lie in no place of lands.gpkg" in n
               for n in source.meta.notes)  # fmt: skip


def test_places_over_seasons_and_by_command(raw, lands, tmp_path):
    ended = invoke(
        "prepare", "sen12ms", raw, "--out", tmp_path / "set", "--tile", 32, "--tasks", "region",
        "--places", lands, "--place-column", "land", "--val", "C", "--test", "B/b",
    )  # fmt: skip
    assert ended.exit_code == 0, ended.output
    made = TaskSet(tmp_path / "set")
    assert {s: made.tasks(s) for s in ("train", "val", "test")} == {
        "train": ["A"], "val": ["C"], "test": ["B/b"]
    }  # fmt: skip
    assert made.meta.options["places"] == "lands.gpkg: land"


def test_a_patch_that_cannot_be_read_for_its_place_is_set_aside(raw, lands, tmp_path):
    root = shutil.copytree(raw, tmp_path / "raw")
    (root / patch_path("s2", ("summer", 57), 1)).write_bytes(b"no")
    source = sen12ms(root, tile=32, places=Places(lands, "land"), val=["C"], test=["B/b"])
    assert [u.file for u in source.unreadable] == [str(root / patch_path("s2", ("summer", 57), 1))]
    rewrite(root / patch_path("s2", ("summer", 118), 1), crs=None)
    with pytest.raises(MissingCRS, match="lies in no place"):
        sen12ms(root, tile=32, places=Places(lands, "land"))


@pytest.mark.parametrize("split", ["fewshot", "official"])
def test_published_splits_are_not_of_places(raw, lands, split):
    with pytest.raises(ConfigError, match="not of places"):
        sen12ms(raw, split=split, places=Places(lands, "land"))


def test_places_elsewhere(raw, tmp_path):
    sea = gpd.GeoDataFrame({"land": ["Sea"]}, geometry=[box(-0.1, -60, 0, -59.9)], crs="EPSG:4326")
    sea.to_file(tmp_path / "sea.gpkg")
    with pytest.raises(SourceNotFound, match="none of 22 patches lies in a place"):
        sen12ms(raw, places=Places(tmp_path / "sea.gpkg", "land"))


def test_places_without_their_column(raw, lands, tmp_path):
    ended = invoke("prepare", "sen12ms", raw, "--out", tmp_path / "set", "--places", lands)
    assert ended.exit_code == 2
    assert "--place-column" in ended.output


def test_label_bands_are_the_bands_of_the_file():
    assert LABEL_BANDS == ("igbp", "lccs-lc", "lccs-lu", "lccs-hydro")
    assert [LEGENDS[name] for name in LABEL_BANDS] == [0, 1, 2, 3]
