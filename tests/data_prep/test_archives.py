import gzip
import io
import os
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.archives import Limits, safe_path, unpack, unpacked_size
from data_prep.unpacked import left_in_archive, unpack_all
from landmeta.errors import ConfigError, TooLittleDisk, UnreadableFile, UnsafeFile, WriteFailed

FILES = {"a/one.tif": b"1" * 700, "a/b/two.tif": os.urandom(3000), "readme.txt": b"hello"}


def wanted(path):
    """Keep rasters where they are."""
    return path if path.suffix == ".tif" else None


def member(name, content=b"x", **more):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in more.items():
        setattr(info, key, value)
    return info, content


def make_tar(path, members, mode="w:gz"):
    with tarfile.open(path, mode) as file:
        for info, content in members:
            file.addfile(info, io.BytesIO(content))
    return path


def make_zip(path, members):
    """Members are (name or ZipInfo, content)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def plain(path):
    members = [member(name, content) for name, content in FILES.items()]
    if path.suffix == ".zip":
        return make_zip(path, FILES.items())
    return make_tar(path, members, "w" if path.suffix == ".tar" else "w:gz")


def folder(path):
    path.mkdir()
    return path


def contents(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


SUFFIXES = ["tar", "tar.gz", "tgz", "zip"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_only_what_is_wanted_is_written_where_it_is_wanted(tmp_path, suffix):
    archive = plain(tmp_path / f"x.{suffix}")
    told = []
    out = folder(tmp_path / "out")
    done = unpack(
        archive, out, lambda p: PurePosixPath("new") / p.name if wanted(p) else None,
        advance=told.append,
    )  # fmt: skip
    assert contents(out) == {
        "new/one.tif": FILES["a/one.tif"], "new/two.tif": FILES["a/b/two.tif"]
    }  # fmt: skip
    assert (done.files, done.bytes, done.other) == (2, 3700, ("readme.txt",))
    assert 0 < sum(told) <= archive.stat().st_size


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_owner_and_permissions_of_the_archive_are_not_taken_over(tmp_path, suffix):
    if suffix == "zip":
        info = zipfile.ZipInfo("a.tif")
        info.external_attr = (stat.S_IFREG | stat.S_ISUID | 0o777) << 16
        archive = make_zip(tmp_path / "x.zip", [(info, b"x")])
    else:
        archive = make_tar(
            tmp_path / f"x.{suffix}", [member("a.tif", mode=0o4777, uid=1234)],
            "w" if suffix == "tar" else "w:gz",
        )  # fmt: skip
    unpack(archive, folder(tmp_path / "out"), wanted)
    status = (tmp_path / "out" / "a.tif").stat()
    assert status.st_uid == os.getuid()
    assert not status.st_mode & (stat.S_ISUID | stat.S_IXUSR)


OUTSIDE = ["/tmp/landmeta-escaped.tif", "../escaped.tif", "a/../../escaped.tif", "C:/escaped.tif",
           "..\\escaped.tif", "\\\\host\\escaped.tif"]  # fmt: skip


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("choose", [wanted, lambda path: None])
def test_paths_that_leave_the_folder_are_refused_wanted_or_not(tmp_path, kind, name, choose):
    archive = tmp_path / f"x.{kind}"
    if kind == "zip":
        make_zip(archive, [(name, b"x")])
    else:
        make_tar(archive, [member(name)])
    out = folder(tmp_path / "out")
    with pytest.raises(UnsafeFile, match="leaves the folder") as error:
        unpack(archive, out, choose)
    assert error.value.path == archive
    assert contents(out) == {}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", archive.name]
    assert not Path("/tmp/landmeta-escaped.tif").exists()


SPECIAL = {
    "symbolic link": {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
    "hard link": {"type": tarfile.LNKTYPE, "linkname": "a/one.tif"},
    "device": {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5},
    "block device": {"type": tarfile.BLKTYPE},
    "pipe": {"type": tarfile.FIFOTYPE},
    "sparse": {"type": tarfile.GNUTYPE_SPARSE},
}


@pytest.mark.parametrize("how", SPECIAL.values(), ids=SPECIAL.keys())
def test_links_devices_and_sparse_files_are_refused(tmp_path, how):
    archive = make_tar(
        tmp_path / "x.tar.gz", [member("a/one.tif"), member("a/two.tif", b"", **how)]
    )
    with pytest.raises(UnsafeFile, match=r"no plain file: 'a/two\.tif'"):
        unpack(archive, folder(tmp_path / "out"), wanted)


def test_a_link_in_a_zip_is_refused(tmp_path):
    info = zipfile.ZipInfo("a/one.tif")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive = make_zip(tmp_path / "x.zip", [(info, b"/etc/passwd")])
    with pytest.raises(UnsafeFile, match="no plain file"):
        unpack(archive, folder(tmp_path / "out"), wanted)
    assert contents(tmp_path / "out") == {}


def test_a_folder_that_is_a_link_first_cannot_redirect_files(tmp_path):
    outside = folder(tmp_path / "outside")
    archive = make_tar(
        tmp_path / "x.tar",
        [member("a", b"", type=tarfile.SYMTYPE, linkname=str(outside)), member("a/one.tif")],
        "w",
    )
    with pytest.raises(UnsafeFile):
        unpack(archive, folder(tmp_path / "out"), wanted)
    assert contents(outside) == {}


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(members=2), "3 members, the limit is 2"),
        (Limits(file=2000), r"bytes in 'a/b/two\.tif', the limit is 2000"),
        (Limits(total=3000), "bytes unpacked, the limit is 3000"),
    ],
)
def test_bombs_are_refused_by_what_they_declare(tmp_path, kind, limits, message):
    archive = plain(tmp_path / f"x.{kind}")
    with pytest.raises(UnsafeFile, match=message):
        unpack(archive, folder(tmp_path / "out"), wanted, limits=limits)


def test_what_is_not_wanted_counts_too(tmp_path):
    archive = make_tar(tmp_path / "x.tar.gz", [member("zeros.bin", bytes(2**20))])
    with pytest.raises(UnsafeFile, match="too large"):
        unpack(archive, folder(tmp_path / "out"), wanted, limits=Limits(total=2**19))


def test_a_small_zip_that_lies_about_its_size_writes_no_more_than_it_declares(tmp_path):
    archive = make_zip(tmp_path / "x.zip", [("a.tif", bytes(2**22))])
    raw = bytearray(archive.read_bytes())
    lie = (100).to_bytes(4, "little")
    place = raw.find(b"PK\x01\x02")
    raw[place + 24 : place + 28] = lie  # size in the directory
    raw[22:26] = lie  # and in front of the file
    archive.write_bytes(raw)
    out = folder(tmp_path / "out")
    with pytest.raises((UnreadableFile, UnsafeFile)):
        unpack(archive, out, wanted)
    assert sum(map(len, contents(out).values())) <= 100


def test_a_header_that_asks_for_all_memory_is_refused(tmp_path):
    """A long name of 64 MB, a few kilobytes when compressed."""
    name = tarfile.TarInfo("././@LongLink")
    name.type, name.size = tarfile.GNUTYPE_LONGNAME, 2**26
    content = io.BytesIO()
    with gzip.GzipFile(fileobj=content, mode="wb", mtime=0) as packed:
        packed.write(name.tobuf() + b"a" * 2**26 + member("a.tif")[0].tobuf())
    (tmp_path / "x.tar.gz").write_bytes(content.getvalue())
    with pytest.raises(UnsafeFile, match="belong to no file"):
        unpack(tmp_path / "x.tar.gz", folder(tmp_path / "out"), wanted)


def test_endless_zeros_behind_the_last_file_are_refused(tmp_path):
    archive = tmp_path / "x.tar.gz"
    whole = plain(tmp_path / "x.tar").read_bytes()
    archive.write_bytes(gzip.compress(whole + bytes(2**25)))
    with pytest.raises(UnsafeFile, match="belong to no file"):
        unpack(archive, folder(tmp_path / "out"), wanted)


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
def test_a_name_twice_is_refused(tmp_path, kind):
    archive = tmp_path / f"x.{kind}"
    if kind == "zip":
        with pytest.warns(UserWarning, match="Duplicate"):
            make_zip(archive, [("a.tif", b"1"), ("a.tif", b"2")])
    else:
        make_tar(archive, [member("a.tif", b"1"), member("a.tif", b"2")],
                 "w" if kind == "tar" else "w:gz")  # fmt: skip
    with pytest.raises(UnsafeFile, match="twice"):
        unpack(archive, folder(tmp_path / "out"), wanted)


def cut(raw):
    return raw[: len(raw) // 2]


def flip(raw):
    middle = len(raw) // 2
    return raw[:middle] + bytes([raw[middle] ^ 255]) + raw[middle + 1 :]


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
@pytest.mark.parametrize("damage", [cut, flip, lambda raw: b"", lambda raw: b"no archive" * 99])
def test_damaged_archives_are_named(tmp_path, kind, damage):
    archive = plain(tmp_path / f"x.{kind}")
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(UnreadableFile, match="cannot be unpacked") as error:
        unpack(archive, folder(tmp_path / "out"), wanted)
    assert error.value.path == archive


def test_a_tar_cut_between_two_files_or_damaged_in_a_header_is_no_whole_tar(tmp_path):
    archive = plain(tmp_path / "x.tar")
    raw = archive.read_bytes()
    second = raw.index(b"a/b/two.tif")
    for damaged in (raw[:second], raw[:second] + b"Z" * 100 + raw[second + 100 :]):
        archive.write_bytes(damaged)
        with pytest.raises(UnreadableFile):
            unpack(archive, folder(tmp_path / str(len(damaged))), wanted)


def test_an_encrypted_zip_is_no_crash(tmp_path):
    archive = make_zip(tmp_path / "x.zip", [("a.tif", b"x")])
    raw = bytearray(archive.read_bytes())
    raw[6] |= 1
    raw[raw.find(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(raw)
    with pytest.raises(UnreadableFile, match="encrypted"):
        unpack(archive, folder(tmp_path / "out"), wanted)


NAMES = st.text(st.sampled_from("ab./\\:\0 -;$'\n"), min_size=1, max_size=12)


@given(NAMES)
def test_a_safe_path_stays_below_its_folder(name):
    try:
        path = safe_path(name, PurePosixPath("x.tar"))
    except UnsafeFile:
        return
    inside = os.path.normpath(f"/folder/{path}")
    assert inside == "/folder" or inside.startswith("/folder/")


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
def test_the_size_is_known_before(tmp_path, kind):
    members = [member(f"{i}.tif", os.urandom(1500) + bytes(500)) for i in range(40)]
    archive = tmp_path / f"x.{kind}"
    if kind == "zip":
        make_zip(archive, [(info.name, content) for info, content in members])
    else:
        make_tar(archive, members, "w" if kind == "tar" else "w:gz")
    assert 80_000 <= unpacked_size(archive) < 130_000  # headers and padding of a tar are counted


# --- a working folder --------------------------------------------------------------------------


def all_of(tmp_path, **how):
    return unpack_all([tmp_path / "x.tar.gz"], tmp_path / "work", wanted, quiet=True, **how)


def test_an_archive_is_unpacked_once(tmp_path):
    archive = plain(tmp_path / "x.tar.gz")
    assert all_of(tmp_path) == {archive: tmp_path / "work" / "x"}
    first = contents(tmp_path / "work" / "x")
    assert {"a/one.tif", "a/b/two.tif"} < set(first)
    assert left_in_archive(tmp_path / "work" / "x") == ("readme.txt",)
    before = (tmp_path / "work" / "x" / "a" / "one.tif").stat()
    all_of(tmp_path)
    assert (tmp_path / "work" / "x" / "a" / "one.tif").stat() == before


def test_another_archive_of_that_name_is_unpacked_again(tmp_path):
    plain(tmp_path / "x.tar.gz")
    all_of(tmp_path)
    make_tar(tmp_path / "x.tar.gz", [member("c.tif", b"new")])
    all_of(tmp_path)
    found = contents(tmp_path / "work" / "x")
    assert found.pop("unpacked.json")
    assert found == {"c.tif": b"new"}


def test_a_refused_archive_leaves_no_folder(tmp_path):
    make_tar(tmp_path / "x.tar.gz", [member("c.tif"), member("../d.tif")])
    with pytest.raises(UnsafeFile):
        all_of(tmp_path)
    assert [p.name for p in (tmp_path / "work").iterdir()] == [".lock"]


KILL = """
import os, sys
from pathlib import Path
from data_prep import unpacked
unpacked.os.sync = lambda: os.kill(os.getpid(), 9)
unpacked.unpack_all([Path(sys.argv[1])], Path(sys.argv[2]), lambda path: path, quiet=True)
"""


def test_what_a_killed_run_left_is_taken_away(tmp_path):
    archive = plain(tmp_path / "x.tar.gz")
    ended = subprocess.run([sys.executable, "-c", KILL, archive, tmp_path / "work"])
    assert ended.returncode == -9
    assert (tmp_path / "work" / ".x.partial" / "a" / "one.tif").is_file()
    assert not (tmp_path / "work" / "x").exists()
    all_of(tmp_path)
    assert sorted(p.name for p in (tmp_path / "work").iterdir()) == [".lock", "x"]


def test_two_at_a_time_are_refused(tmp_path):
    import fcntl

    plain(tmp_path / "x.tar.gz")
    (tmp_path / "work").mkdir()
    with (tmp_path / "work" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another process"):
            all_of(tmp_path)


def test_a_disk_without_room_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    plain(tmp_path / "x.tar.gz")
    monkeypatch.setattr(
        "data_prep.archives.shutil.disk_usage", lambda _: SimpleNamespace(free=2000)
    )
    with pytest.raises(TooLittleDisk, match="needs about"):
        all_of(tmp_path)
    assert [p.name for p in (tmp_path / "work").iterdir()] == [".lock"]


def test_a_folder_that_cannot_be_made(tmp_path):
    plain(tmp_path / "x.tar.gz")
    (tmp_path / "work").write_text("a file")
    with pytest.raises(WriteFailed, match="work"):
        all_of(tmp_path)
