"""What is set aside, kept, refused and said while a source is prepared."""

import csv
import fcntl
import io
import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

import data_prep.meter as metering
import data_prep.prepare as preparing
from data_prep import scenes, survey
from data_prep.meter import Meter
from data_prep.prepare import prepare
from data_prep.rasters import rasters
from data_prep.sen12ms import sen12ms
from data_prep.survey import check_room, tile_bytes
from landmeta.errors import TooLittleDisk, UnfinishedWork, UnreadableFile
from landmeta.legend import LandClass, Legend
from landmeta.taskset import TaskSet
from tests.data.rasters import write_tree
from tests.data.sen12ms import patch, tree
from tests.data_prep.test_killed import content

LEGEND = Legend(
    classes=tuple(
        LandClass(id=i, name=n, color=c)
        for i, n, c in [(1, "A", "#ff0000"), (2, "B", "#00ff00"), (3, "C", "#0000ff")]
    )
)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """20 patches of 16 tiles: 5 shards."""
    scenes = {"summer": [57, 27, 83, 118], "winter": [57]}
    return tree(tmp_path_factory.mktemp("clean") / "raw", scenes, patches=4, seed=1)


@pytest.fixture
def raw(clean, tmp_path):
    return shutil.copytree(clean, tmp_path / "raw")


def read(root, **how):
    return sen12ms(root, tile=8, **how)


def cut_short(path, share=0.6):
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


# --- unreadable files ------------------------------------------------------------------------


def test_unreadable_images_are_set_aside_with_the_reason(raw, tmp_path):
    whole = prepare(read(raw), tmp_path / "whole", quiet=True)
    broken = [patch(raw, "s1", "summer", 27, 2), patch(raw, "lc", "summer", 83, 4)]
    cut_short(broken[0])
    broken[1].write_bytes(b"")
    made = prepare(read(raw), tmp_path / "made", max_unreadable=0.1, quiet=True)
    with (made.folder / "unreadable.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [str(path) for path in broken]
    assert [row["region"] for row in rows] == ["27", "83"]
    assert [row["tiles"] for row in rows] == ["16", "16"]
    assert all(len(row["reason"]) > 20 for row in rows)
    (note,) = (note for note in made.meta.notes if "unreadable.csv" in note)
    assert "2 of 20 images" in note and "32 tiles" in note and str(broken[0]) in note
    lost = [f"s2_27/{broken[0].name}", f"s2_83/{broken[1].name}"]
    lost = [name.replace("_s1_", "_s2_").replace("_lc_", "_s2_") for name in lost]
    table = whole.table
    rest = table[~table["source"].str.contains("|".join(lost))]
    assert len(table) - len(rest) == 32
    assert made.table["source"].tolist() == rest["source"].tolist()
    np.testing.assert_array_equal(
        made.read(range(len(made))).label, whole.read(rest["id"].tolist()).label
    )


def test_without_damage_there_is_no_list(clean, tmp_path):
    made = prepare(read(clean), tmp_path / "made", quiet=True)
    assert not (made.folder / "unreadable.csv").exists()


@pytest.mark.parametrize(("most", "passes"), [(0, False), (0.09, False), (0.1, True), (2, True)])
def test_more_than_the_limit_is_refused(raw, tmp_path, most, passes):
    cut_short(patch(raw, "s2", "summer", 27, 2))
    cut_short(patch(raw, "s2", "summer", 27, 3))
    if passes:
        assert len(prepare(read(raw), tmp_path / "o", max_unreadable=most, quiet=True)) == 18 * 16
        return
    with pytest.raises(UnreadableFile, match="27_p2") as caught:
        prepare(read(raw), tmp_path / "o", max_unreadable=most, quiet=True)
    assert "--max-unreadable" in caught.value.remedy
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_a_region_is_never_lost_as_a_whole(raw, tmp_path):
    for number in (1, 2, 3, 4):
        cut_short(patch(raw, "s2", "summer", 27, number))
    with pytest.raises(UnreadableFile, match="27_p1") as caught:
        prepare(read(raw), tmp_path / "out", max_unreadable=0.9, quiet=True)
    assert "4 of 20" in str(caught.value)


def test_an_image_in_several_parts_counts_once(tmp_path, monkeypatch):
    monkeypatch.setattr(scenes, "PART", 1)  # a strip of tiles
    write_tree(tmp_path / "raw", images=3)
    how = {"images": "{region}/{name}_img.tif", "labels": "{region}/{name}_lab.tif"}
    broken = tmp_path / "raw/b/1_img.tif"
    cut_short(broken, 0.5)
    source = rasters(tmp_path / "raw", **how, legend=LEGEND, tile=8)
    assert sum(str(broken) in map(str, part.files) for part in source.parts) == 5
    made = prepare(source, tmp_path / "out", max_unreadable=1, quiet=True)
    with (made.folder / "unreadable.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["file"] == str(broken)
    assert row["tiles"] == "30"
    assert "b/1_img.tif" not in set(made.table["source"])


def test_headers_that_cannot_be_read_are_set_aside_too(tmp_path):
    write_tree(tmp_path / "raw", images=3)
    how = {"images": "{region}/{name}_img.tif", "labels": "{region}/{name}_lab.tif"}
    (tmp_path / "raw/b/1_lab.tif").write_bytes(b"II*")
    source = rasters(tmp_path / "raw", **how, legend=LEGEND, tile=8)
    with pytest.raises(UnreadableFile, match="1_lab"):
        prepare(source, tmp_path / "out", quiet=True)
    made = prepare(source, tmp_path / "out", max_unreadable=0.5, quiet=True)
    assert "b/1_img.tif" not in set(made.table["source"])
    assert "1_lab.tif" in (made.folder / "unreadable.csv").read_text()


# --- broken off and taken up -----------------------------------------------------------------


def break_off(source, out, monkeypatch, at=12, **how):
    """Prepare until that part of the work is to be done."""
    monkeypatch.setattr(preparing, "SAFE_EVERY", 0.0)
    stop = source.parts[at]

    def cut(part):
        if part == stop:
            raise KeyboardInterrupt
        return source.cut(part)

    cut.__reduce__ = None
    stopping = replace(source, cut=cut)
    plain = preparing.settings
    monkeypatch.setattr(preparing, "settings", lambda _, found: plain(source, found))
    with pytest.raises(KeyboardInterrupt):
        prepare(stopping, out, workers=1, **{"quiet": True, **how})
    monkeypatch.setattr(preparing, "settings", plain)
    return out.with_name(f".{out.name}.preparing")


def counted(source):
    """The source, and the list of parts that are cut from it."""
    done = []

    def cut(part):
        done.append(part)
        return source.cut(part)

    return replace(source, cut=cut), done


def take_up(source, out, monkeypatch, **how):
    """Prepare to the end; how many parts were cut for that."""
    plain = preparing.settings
    counting, done = counted(source)
    monkeypatch.setattr(preparing, "settings", lambda _, found: plain(source, found))
    prepare(counting, out, **{"quiet": True, **how})
    monkeypatch.setattr(preparing, "settings", plain)
    return len(done)


def test_the_same_call_goes_on_where_it_was(clean, tmp_path, monkeypatch, capsys):
    expected = content(prepare(read(clean), tmp_path / "undisturbed", quiet=True).folder)
    out = tmp_path / "out"
    folder = break_off(read(clean), out, monkeypatch, quiet=False)
    assert f"is kept in {folder}; the same command goes on" in capsys.readouterr().out
    assert not out.exists()
    assert take_up(read(clean), out, monkeypatch, quiet=False) == 8
    assert "going on at part 12 of 20" in capsys.readouterr().out
    assert content(out) == expected
    assert not folder.exists()


def test_unreadable_images_are_remembered(raw, tmp_path, monkeypatch):
    cut_short(patch(raw, "s2", "summer", 27, 2))
    expected = content(prepare(read(raw), tmp_path / "u", max_unreadable=1, quiet=True).folder)
    break_off(read(raw), tmp_path / "out", monkeypatch, max_unreadable=1)
    with pytest.raises(UnreadableFile):  # and it is still kept
        prepare(read(raw), tmp_path / "out", max_unreadable=0, quiet=True)
    assert take_up(read(raw), tmp_path / "out", monkeypatch, max_unreadable=1) == 11
    assert content(tmp_path / "out") == expected


def test_a_file_that_was_read_and_has_changed_is_read_again(raw, tmp_path, monkeypatch):
    out = tmp_path / "out"
    break_off(read(raw), out, monkeypatch)
    fourth, last = read(raw).parts[3].files[0], read(raw).parts[-1].files[0]
    last.touch()  # not read so far
    fourth.write_bytes(fourth.read_bytes() + b" ")
    expected = content(prepare(read(raw), tmp_path / "undisturbed", quiet=True).folder)
    assert take_up(read(raw), out, monkeypatch) > 8
    assert content(out) == expected


def test_unfinished_work_of_other_settings_is_neither_used_nor_lost(clean, tmp_path, monkeypatch):
    out = tmp_path / "out"
    folder = break_off(read(clean), out, monkeypatch)
    before = content(folder)
    with pytest.raises(UnfinishedWork) as caught:
        prepare(read(clean, bands=["S2_B4"]), out, quiet=True)
    assert str(folder) in str(caught.value)
    assert "bands" in str(caught.value) and "dtype" in str(caught.value)
    assert "--overwrite" in caught.value.remedy
    assert content(folder) == before
    assert take_up(read(clean), tmp_path / "out", monkeypatch) == 8
    break_off(read(clean), out.with_name("other"), monkeypatch)
    made = prepare(read(clean, bands=["S2_B4"]), out.with_name("other"), overwrite=True, quiet=True)
    assert made.bands == ("S2_B4",)


def test_overwriting_goes_on_too_and_the_old_set_stays_until_then(clean, tmp_path, monkeypatch):
    out = tmp_path / "out"
    old = content(prepare(read(clean, bands=["S2_B4"]), out, quiet=True).folder)
    expected = content(prepare(read(clean), tmp_path / "undisturbed", quiet=True).folder)
    break_off(read(clean), out, monkeypatch, overwrite=True)
    assert content(out) == old
    assert take_up(read(clean), out, monkeypatch, overwrite=True) == 8
    assert content(out) == expected


def test_two_at_a_time_are_refused(clean, tmp_path):
    folder = tmp_path / ".out.preparing"
    folder.mkdir()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UnfinishedWork, match="another process"):
            prepare(read(clean), tmp_path / "out", quiet=True)
    assert len(prepare(read(clean), tmp_path / "out", quiet=True)) == 320


@pytest.mark.parametrize(
    "tail", ["", '{"shards": 9', '{"shards": 9, "part": 9', "\x00\x00", "[]\n"]
)
def test_a_torn_line_of_the_journal_is_not_there(clean, tmp_path, monkeypatch, tail):
    folder = break_off(read(clean), tmp_path / "out", monkeypatch)
    journal = folder / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    assert len(lines) == 3
    journal.write_text("".join(lines[:2]) + tail)
    assert take_up(read(clean), tmp_path / "out", monkeypatch) == 12
    assert len(TaskSet(tmp_path / "out")) == 320


# --- room on the disk ------------------------------------------------------------------------

Usage = namedtuple("Usage", "total used free")


def have(monkeypatch, free):
    monkeypatch.setattr(survey.shutil, "disk_usage", lambda path: Usage(10**12, 0, int(free)))


def test_too_little_disk_is_told_before_anything_is_written(clean, tmp_path, monkeypatch):
    have(monkeypatch, 10_000)
    with pytest.raises(TooLittleDisk, match=r"needs about .* but 10.0 kB are free") as caught:
        prepare(read(clean), tmp_path / "new/out", quiet=True)
    assert caught.value.path == tmp_path / "new/out"
    assert list(tmp_path.iterdir()) == []


def test_room_is_estimated_from_some_parts_where_it_is_needed(clean, tmp_path, monkeypatch):
    made = prepare(read(clean), tmp_path / "out", quiet=True)
    stored = sum(
        path.stat().st_size for path in made.folder.glob("*.zarr/c/**/*") if path.is_file()
    )
    most = 320 * tile_bytes(made.meta)
    found = survey.survey(read(clean))
    have(monkeypatch, most)
    assert check_room(read(clean), found, tmp_path / "x").needed == most
    have(monkeypatch, most - 1)
    room = check_room(read(clean), found, tmp_path / "x")
    assert room.about
    assert room.needed == pytest.approx(stored, rel=0.2)
    have(monkeypatch, 0.6 * stored)
    with pytest.raises(TooLittleDisk):
        check_room(read(clean), found, tmp_path / "x")
    assert check_room(read(clean), found, tmp_path / "x", begin=12).needed < 0.6 * stored


# --- what is said ----------------------------------------------------------------------------


def test_a_survey_counts_what_there_is(clean):
    found = survey.survey(read(clean))
    size = sum(path.stat().st_size for path in clean.rglob("*.tif"))
    assert (found.images, found.tiles) == (20, 320)
    assert found.done[-1] == pytest.approx(size)
    assert found.prefix(5) == survey.survey(read(clean)).prefix(5) != found.prefix(6)


def test_the_meter_says_how_fast_and_how_long(clean, monkeypatch):
    found = survey.survey(read(clean))
    clock = [100.0]
    monkeypatch.setattr(metering.time, "monotonic", lambda: clock[0])
    said = io.StringIO()
    with Meter(found, 4, "set", Console(file=said, width=200)) as meter:
        assert meter.text() == "4 of 20 images"
        for done in (5, 6, 7, 8):
            clock[0] += 20
            meter.did(done)
        speed = found.done[-1] / 20 / 20 / 1e6
        assert meter.text() == f"8 of 20 images, 0.1 images/s, {speed:.1f} MB/s, 0:04:00 left"
        assert meter.share == pytest.approx(0.4, rel=1e-3)
    (line,) = said.getvalue().splitlines()  # no terminal: one a minute
    assert line.startswith("set: 40.0%, 8 of 20 images")


def test_what_names_the_work_is_the_same_in_every_process(clean):
    """Otherwise work would not be found again: see `Part`."""
    code = (
        "import json, sys; from data_prep.sen12ms import sen12ms; from data_prep import survey;"
        "s = sen12ms(sys.argv[1], tile=8); f = survey.survey(s);"
        "print(json.dumps([survey.settings(s, f), f.prefix(20)]))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code, clean], check=True, capture_output=True, text=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(said) == 1
    source = read(clean)
    found = survey.survey(source)
    assert json.loads(said.pop()) == [survey.settings(source, found), found.prefix(20)]
