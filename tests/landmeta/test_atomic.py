import errno
import os

import pytest

from landmeta.atomic import atomic_file, atomic_files, atomic_folder, write_text
from landmeta.errors import OutputExists, WriteFailed


class Stop(Exception):
    pass


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def no_space(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_appears_when_the_block_ends(tmp_path):
    target = tmp_path / "new" / "a.tif"
    with atomic_file(target) as temporary:
        temporary.write_text("text")
        assert temporary.parent == target.parent  # a rename within one file system
        assert temporary.suffix == ".tif"
        assert not target.exists()
    assert target.read_text() == "text"
    assert names(target.parent) == ["a.tif"]


def test_a_folder_appears_when_the_block_ends(tmp_path):
    with atomic_folder(tmp_path / "set") as temporary:
        (temporary / "a").write_text("text")
        assert not (tmp_path / "set").exists()
    assert (tmp_path / "set" / "a").read_text() == "text"
    assert names(tmp_path) == ["set"]


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt])
def test_nothing_is_left_when_the_block_fails(tmp_path, error):
    with pytest.raises(error), atomic_file(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise error
    with pytest.raises(error), atomic_folder(tmp_path / "b") as temporary:
        (temporary / "half").write_text("half")
        raise error
    with pytest.raises(error), atomic_files([tmp_path / "c"]) as scratch:
        (scratch / "c").write_text("half")
        raise error
    assert names(tmp_path) == []


def test_a_failed_overwrite_keeps_the_old(tmp_path):
    (tmp_path / "a").write_text("old")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "inside").write_text("old")
    with pytest.raises(Stop), atomic_file(tmp_path / "a", overwrite=True) as temporary:
        temporary.write_text("half")
        raise Stop
    with pytest.raises(Stop), atomic_folder(tmp_path / "b", overwrite=True):
        raise Stop
    assert (tmp_path / "a").read_text() == "old"
    assert (tmp_path / "b" / "inside").read_text() == "old"
    assert names(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("write", [atomic_file, atomic_folder, lambda p: atomic_files([p])])
def test_existing_outputs_are_refused_before_any_work(tmp_path, write):
    (tmp_path / "a").write_text("mine")
    with pytest.raises(OutputExists, match="--overwrite"), write(tmp_path / "a"):
        pytest.fail("the block must not run")
    assert (tmp_path / "a").read_text() == "mine"


@pytest.mark.parametrize("write", [atomic_file, lambda p: atomic_files([p])])
def test_what_appears_meanwhile_is_not_replaced(tmp_path, write):
    with pytest.raises(OutputExists), write(tmp_path / "a") as temporary:
        (temporary / "a" if temporary.is_dir() else temporary).write_text("ours")
        (tmp_path / "a").write_text("theirs")
    assert (tmp_path / "a").read_text() == "theirs"
    assert names(tmp_path) == ["a"]


def test_overwrite(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "old").write_text("old")
    write_text(tmp_path / "a", "one")
    write_text(tmp_path / "a", "zwölf", overwrite=True)
    with atomic_folder(tmp_path / "b", overwrite=True) as temporary:
        (temporary / "new").write_text("new")
    assert (tmp_path / "a").read_bytes() == "zwölf".encode()
    assert names(tmp_path / "b") == ["new"]
    assert names(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("step", ["write", "fsync"])
def test_a_full_disk(tmp_path, monkeypatch, step):
    if step == "fsync":
        monkeypatch.setattr(os, "fsync", no_space)
    for write in (atomic_file, lambda p: atomic_files([p])):
        with (
            pytest.raises(WriteFailed, match="No space left") as error,
            write(tmp_path / "a") as temporary,
        ):
            (temporary / "a" if temporary.is_dir() else temporary).write_text("text")
            if step == "write":
                no_space()
        assert str(tmp_path / "a") in str(error.value)
        assert "Remedy: free disk space" in str(error.value)
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    for write in (atomic_file, atomic_folder, lambda p: atomic_files([p])):
        with pytest.raises(WriteFailed), write(tmp_path / "file" / "a"):
            pytest.fail("the block must not run")


def test_files_that_belong_together(tmp_path):
    for name in ("a.tif", "a.tif.ovr", "b.tif.aux.xml", "bystander.ovr"):
        (tmp_path / name).write_text("old")
    with atomic_files([tmp_path / "a.tif", tmp_path / "b.tif"], overwrite=True) as scratch:
        for name in ("a.tif", "b.tif", "a.tif.aux.xml", "scratch.tmp"):
            (scratch / name).write_text("new")
        assert (tmp_path / "a.tif").read_text() == "old"
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        "a.tif": "new",
        "a.tif.aux.xml": "new",
        "b.tif": "new",
        "bystander.ovr": "old",
    }


def test_one_existing_file_stops_all(tmp_path):
    (tmp_path / "b").write_text("mine")
    with (
        pytest.raises(OutputExists, match="b: the output"),
        atomic_files([tmp_path / "a", tmp_path / "b"]),
    ):
        pytest.fail("the block must not run")
    assert names(tmp_path) == ["b"]


def test_files_of_two_folders_do_not_belong_together(tmp_path):
    with (
        pytest.raises(ValueError, match="one folder"),
        atomic_files([tmp_path / "a", tmp_path / "x" / "b"]),
    ):
        pytest.fail("the block must not run")
