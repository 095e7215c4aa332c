"""Unpacking archives of strangers: only named files, only where we say, only so much.

Nothing of an archive decides where something is written: the reader gives each member that it wants
a path of its own, and links, devices and owners are never made. An archive that holds a link, a
device, an absolute path or a `..` is refused as a whole, wanted or not: it is not what it says.

A `.tar.gz` can only be read from its start, so it is read once from end to end and its files are
kept in a folder; an index for random access would need the same pass and then decode each stretch
again for every file.
"""

from __future__ import annotations

import gzip
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

from landmeta.errors import TooLittleDisk, UnreadableFile, UnsafeFile

SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip")
PICKLES = (".pkl", ".pickle", ".p", ".joblib")
"""What a split or label list is never read from: loading it could run code."""

_HEADERS = 8 * 2**20
"""Bytes that the headers between two members of a tar may take."""
_SAMPLE = 16 * 2**20
"""Compressed bytes from which the size of the whole is estimated."""


@dataclass(frozen=True)
class Limits:
    """How much an archive may unpack to.

    Attributes:
        members: files and folders in it.
        file: bytes of one file.
        total: bytes of all of them.
    """

    members: int = 2_000_000
    file: int = 2**30
    total: int = 2 * 2**40


@dataclass(frozen=True)
class Unpacked:
    """What came out of an archive.

    Attributes:
        files: how many were kept; `bytes`: how large they are together.
        other: names of the files that were not wanted, at most a thousand.
    """

    files: int
    bytes: int
    other: tuple[str, ...]


Choose = Callable[[PurePosixPath], PurePosixPath | None]
"""Where, below the folder, a member goes; None leaves it in the archive."""
Advance = Callable[[int], None]
"""Told how many more bytes of the archive have been read."""


def is_archive(path: Path) -> bool:
    """Whether a name ends like that of an archive."""
    return path.name.lower().endswith(SUFFIXES)


def unpack(
    archive: Path,
    folder: Path,
    choose: Choose,
    *,
    limits: Limits | None = None,
    advance: Advance = lambda count: None,
) -> Unpacked:
    """Write the members that are wanted into an empty folder; it is the caller's to remove.

    Args:
        archive: `.tar`, `.tar.gz`, `.tgz` or `.zip`.
        folder: exists and is empty.
        choose: says which members are wanted, and where they go.
        limits: on members and sizes, both of those declared and of those met.
        advance: called as the archive is read, for a progress bar.

    Raises:
        UnsafeFile: the archive holds a link, a device, a path that leaves the folder or a name
            twice, or is beyond the limits.
        UnreadableFile: it is truncated, damaged, encrypted or no archive.
        OSError: the disk is full or not writable.
    """
    limits = limits or Limits()
    keep = _Keeper(archive, folder, choose, limits)
    with _reading(archive):
        if archive.name.lower().endswith(".zip"):
            _unzip(archive, keep, advance)
        else:
            _untar(archive, keep, advance)
    return Unpacked(keep.files, keep.written, tuple(keep.other))


def unpacked_size(archive: Path) -> int:
    """Bytes that an archive unpacks to: as declared (zip), or estimated from its first 16 MiB.

    Raises:
        UnreadableFile: it is damaged or no archive.
    """
    with _reading(archive):
        if archive.name.lower().endswith(".zip"):
            with zipfile.ZipFile(archive) as file:
                return sum(member.file_size for member in file.infolist())
        size = archive.stat().st_size
        if archive.name.lower().endswith(".tar"):
            return size
        with archive.open("rb") as raw, gzip.GzipFile(fileobj=raw) as file:
            plain = 0
            while (block := file.read(2**20)) and raw.tell() < _SAMPLE:
                plain += len(block)
            plain += len(block)
            return size * plain // max(1, raw.tell())


def safe_path(name: str, archive: Path) -> PurePosixPath:
    """The path of a member, relative and without `..`.

    Raises:
        UnsafeFile: it is anything else.
    """
    path = PurePosixPath(name)
    strange = "\0" in name or "\\" in name or (len(name) > 1 and name[1] == ":")
    if strange or path.is_absolute() or ".." in path.parts:
        raise _unsafe(archive, f"has a member that leaves the folder: {name!r}")
    return path


def _unsafe(archive: Path, what: str) -> UnsafeFile:
    return UnsafeFile(
        what,
        remedy="it is not the data set's own archive: fetch that from its publisher, or unpack "
        "this one yourself if you trust it",
        path=archive,
    )


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """Whatever the archive's format has to complain about is said of this file."""
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UnreadableFile(
            f"cannot be unpacked: {str(error) or type(error).__name__}",
            remedy="it may be truncated or of another format than its name says; fetch it again",
            path=archive,
        ) from error


class _Keeper:
    """Checks members one by one and writes those that are wanted."""

    def __init__(self, archive: Path, folder: Path, choose: Choose, limits: Limits) -> None:
        self.archive, self.folder, self.choose, self.limits = archive, folder, choose, limits
        self.files = self.written = self.members = self.declared = 0
        self.other: list[str] = []

    def check(self, name: str, size: int, *, regular: bool, folder: bool) -> PurePosixPath | None:
        """Where a member goes, or None if it is a folder or not wanted."""
        path = safe_path(name, self.archive)
        if not regular and not folder:
            raise _unsafe(self.archive, f"has a member that is no plain file: {name!r}")
        if size < 0:
            raise tarfile.ReadError(f"{name!r} has a negative size")
        self.members += 1
        self.declared += size
        for what, found, most in (
            ("members", self.members, self.limits.members),
            (f"bytes in {name!r}", size, self.limits.file),
            ("bytes unpacked", self.declared, self.limits.total),
        ):
            if found > most:
                raise _unsafe(self.archive, f"is too large: {found} {what}, the limit is {most}")
        wanted = None if folder else self.choose(path)
        if wanted is None and not folder and len(self.other) < 1000:
            self.other.append(name)
        return wanted

    def keep(self, wanted: PurePosixPath, size: int, file: IO[bytes]) -> None:
        """Write a member, and no more of it than was declared."""
        target = self.folder / safe_path(str(wanted), self.archive)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with target.open("xb") as copy:
                left = size
                while block := file.read(min(2**20, left + 1)):
                    left -= len(block)
                    if left < 0:
                        raise _unsafe(
                            self.archive, f"has a member larger than it declares: {wanted}"
                        )
                    copy.write(block)
        except FileExistsError:
            raise _unsafe(self.archive, f"has a member twice: {wanted}") from None
        if left:
            raise EOFError(f"{wanted} ends {left} bytes early")
        self.files += 1
        self.written += size


def _untar(archive: Path, keep: _Keeper, advance: Advance) -> None:
    """Read a tar from its start to its end, never backwards."""
    packed = archive.name.lower().endswith(("gz", "tgz"))
    with archive.open("rb") as raw:
        plain = _Metered(gzip.GzipFile(fileobj=raw) if packed else raw, raw, archive, advance)
        with tarfile.open(fileobj=plain, mode="r|") as file:  # type: ignore[call-overload]
            end = 0
            while (member := file.next()) is not None:
                wanted = keep.check(
                    member.name,
                    member.size,
                    regular=member.isreg() and not member.issparse(),
                    folder=member.isdir(),
                )
                end = member.offset_data + member.size
                plain.allow(end + _HEADERS)
                content = None if wanted is None else file.extractfile(member)
                if wanted is not None and content is not None:
                    keep.keep(wanted, member.size, content)
                file.members.clear()  # of a stream they are of no use, and they grow
            # A damaged header ends tarfile's reading like the end of the archive does.
            assert file.fileobj is not None
            while rest := file.fileobj.read(2**16):
                if any(rest):
                    raise tarfile.ReadError("a header is damaged")
            if plain.place < end + tarfile.BLOCKSIZE:
                raise EOFError("the end of the archive is missing")


class _Metered:
    """A stream that refuses to be read much beyond the next member.

    A tar's headers say how long they are, and tarfile reads them into memory whole: a compressed
    archive of a few kilobytes could ask for all of it.
    """

    def __init__(
        self, plain: BinaryIO | gzip.GzipFile, raw: BinaryIO, archive: Path, advance: Advance
    ) -> None:
        self._plain, self._raw, self._archive, self._advance = plain, raw, archive, advance
        self.place = self._told = 0
        self._allowed = _HEADERS

    def allow(self, place: int) -> None:
        """Allow reading up to here."""
        self._allowed = place

    def read(self, count: int) -> bytes:
        """As of any file."""
        block = self._plain.read(count)
        self.place += len(block)
        if self.place > self._allowed + 2**20:  # tarfile reads ahead a little
            raise _unsafe(self._archive, f"has more than {_HEADERS} bytes that belong to no file")
        if (read := self._raw.tell()) - self._told >= 2**20 or not block:
            self._advance(read - self._told)
            self._told = read
        return block


def _unzip(archive: Path, keep: _Keeper, advance: Advance) -> None:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            mode = member.external_attr >> 16
            kind = stat.S_IFMT(mode)
            if member.flag_bits & 1:
                raise zipfile.BadZipFile(f"{member.filename!r} is encrypted")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise zipfile.BadZipFile(f"{member.filename!r} is compressed in a rare way")
            wanted = keep.check(
                member.orig_filename,
                member.file_size,
                regular=not member.is_dir() and kind in (0, stat.S_IFREG),
                folder=member.is_dir() and kind in (0, stat.S_IFDIR),
            )
            if wanted is not None:
                with file.open(member) as content:
                    keep.keep(wanted, member.file_size, content)
            advance(member.compress_size)


def check_room(folder: Path, needed: int, what: str) -> None:
    """Refuse to begin what the disk has no room for.

    Raises:
        TooLittleDisk: fewer than `needed` bytes are free where `folder` is or will be.
    """
    here = folder.absolute()
    while not here.exists():
        here = here.parent
    free = shutil.disk_usage(here).free
    if needed > free:
        raise TooLittleDisk(
            f"{what} needs about {needed / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are free",
            remedy="free disk space or choose a folder on another disk",
            path=folder,
        )


def pickle_notes(names: Sequence[str]) -> list[str]:
    """A note that names the pickles among some files, which nothing reads."""
    pickles = [name for name in names if name.lower().endswith(PICKLES)]
    return [f"not read, as loading a pickle can run code: {some(pickles)}"] if pickles else []


def some(names: Sequence[str], most: int = 10) -> str:
    """The first names of a list, to be read by people."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
