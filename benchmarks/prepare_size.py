"""How `landmeta prepare` grows with the number of images: time, memory, disk.

    python benchmarks/prepare_size.py [--triplets 1000]

Prepares 1, 10 and 100 % of a made-up SEN12MS tree, of which no two files share their bytes on disk,
by two threads, and 10 % by three processes too, each in a program of its own and after the system
has been told to forget the files. Then the table of a task set as large as SEN12MS is opened.
Prints tables and writes benchmarks/results/prepare_size.json and prepare_size.md, with what follows
for the whole of SEN12MS.
"""

from __future__ import annotations

# Worker processes import this file too: what they do not need is imported where it is needed.
import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np
import pyarrow as pa
import shapely

import data_prep.prepare as preparing
from data_prep.sen12ms import sen12ms
from data_prep.survey import survey
from data_prep.synthetic import write_sen12ms
from landmeta.tile_table import SCHEMA, Columns, write_table

if TYPE_CHECKING:
    from landmeta.tables import Table

Figures = dict[str, Any]
SHARES = (0.01, 0.1, 1.0)
KINDS = ("threads", "processes")
"""The second only at 10 %."""
WORKERS = {"threads": 2, "processes": 3}
TRIPLETS = 180_662
TILE = 64
"""Pixels: 16 tiles a patch, so that what a tile costs shows."""
PATCHES = 20
"""Made for each scene; the others are copies."""


def make_raw(root: Path, triplets: int) -> None:
    """A tree of so many triplets, scenes side by side, each file with its own bytes on disk."""
    scenes = 10
    write_sen12ms(root, scenes=scenes, patches=PATCHES)
    for path in sorted(root.rglob("*.tif")):
        stem, _, number = path.stem.rpartition("_p")
        for again in range(int(number) + PATCHES, triplets // scenes + 1, PATCHES):
            shutil.copyfile(path, path.with_name(f"{stem}_p{again}.tif"))


def part_of(root: Path, whole: Path, share: float) -> Path:
    """The first patches of each scene, as links."""
    folder = root / f"{share:g}"
    for path in whole.rglob("*.tif"):
        count = len(list(path.parent.iterdir()))
        if int(path.stem.rpartition("_p")[2]) <= max(1, round(share * count)):
            target = folder / path.relative_to(whole)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(path)
    return folder


def forget(root: Path) -> None:
    """Have the system drop files from its cache."""
    for path in root.rglob("*.tif"):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


class FamilyMemory:
    """Most memory that this process and its children have had together, in bytes.

    Of pages that several share, each is counted its part (PSS).
    """

    def __enter__(self) -> FamilyMemory:
        self.peak, self.own = 0, 0
        self._done = threading.Event()
        self._looking = threading.Thread(target=self._look)
        self._looking.start()
        return self

    def _look(self) -> None:
        while not self._done.wait(0.1):
            own = _pss(os.getpid())
            self.own = max(self.own, own)
            self.peak = max(self.peak, own + sum(map(_pss, _children())))

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._looking.join()


def _children() -> list[int]:
    lists = Path("/proc/self/task").glob("*/children")
    return [int(word) for path in lists for word in path.read_text().split()]


def _pss(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(s.split()[1]) * 1024 for s in lines if s.startswith("Pss:")), 0)


def prepare_and_tell(root: Path, kind: str) -> Figures:
    """In a process of its own: prepare a tree, tell what it took."""
    preparing.PROCESSES_FROM = 0.0 if kind == "processes" else float("inf")
    with tempfile.TemporaryDirectory(dir=root.parent) as folder:
        before = _pss(os.getpid())
        with FamilyMemory() as memory:
            began = time.perf_counter()
            source = sen12ms(root, tile=TILE, split="official")
            found = survey(source)
            looked = time.perf_counter() - began
            made = preparing.prepare(
                source, Path(folder) / "set", workers=WORKERS[kind], quiet=True
            )
            seconds = time.perf_counter() - began - looked
        files = [p for p in made.folder.rglob("*") if p.is_file()]
        usage = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return {
            "kind": kind,
            "triplets": found.images,
            "raw_bytes": found.done[-1],
            "tiles": len(made),
            "seconds": seconds,
            "look_seconds": looked,
            "cpu_seconds": sum(u.ru_utime + u.ru_stime for u in usage),
            "program_bytes": before,
            "peak_bytes": memory.peak,
            "own_bytes": memory.own,
            "stored_bytes": sum(p.stat().st_size for p in files),
            "load": os.getloadavg()[0],
        }


def table_of(path: Path, tiles: int) -> float:
    """Write the table of so many tiles; seconds."""
    group = 64 * 256

    def tables() -> Iterator[pa.Table]:
        for first in range(0, tiles, group):
            yield _rows(first, min(group, tiles - first))

    began = time.perf_counter()
    write_table(path, tables())
    return time.perf_counter() - began


def _rows(first: int, count: int) -> pa.Table:
    numbers = np.arange(first, first + count)
    names = [f"ROIs1158_spring/s2_{n % 149}/ROIs1158_spring_s2_{n % 149}_p{n}.tif" for n in numbers]
    squares = geopandas.points_from_xy(numbers % 360 - 180, numbers % 80).buffer(0.01, cap_style=3)
    columns = {
        "id": numbers,
        "region": [str(n % 149) for n in numbers],
        "season": ["spring"] * count,
        "task": [f"{n % 149}/spring" for n in numbers],
        "split": ["train"] * count,
        "crs": [f"EPSG:326{n % 60 + 1:02}" for n in numbers],
        "transform": [[10.0, 0.0, float(n), 0.0, -10.0, float(n)] for n in numbers],
        "native_bounds": [[float(n), 0.0, n + 1.0, 1.0] for n in numbers],
        "valid_share": np.ones(count),
        "labelled_share": np.ones(count),
        "class_pixels": [[int(n) % 7] * 10 for n in numbers],
        "source": names,
        "window": [[0, 0, 128, 128]] * count,
        "geometry": shapely.to_wkb(np.asarray(squares)),
    }
    return pa.table(columns, SCHEMA)


def open_and_tell(path: Path, how: str) -> Figures:
    """In a process of its own: what a table takes in memory."""
    before = _pss(os.getpid())
    began = time.perf_counter()
    if how == "columns":
        columns = Columns(path)
        kept: list[object] = [
            columns.categories("task")[1],
            columns.categories("split")[1],
            columns.categories("crs", otherwise="source")[1],
            columns.numbers("valid_share"),
            columns.lists("class_pixels", 10),
            columns.lists("native_bounds", 4),
        ]
    else:
        kept = [geopandas.read_parquet(path)]
    seconds = time.perf_counter() - began
    pa.default_memory_pool().release_unused()
    assert kept
    return {"how": how, "seconds": seconds, "bytes": _pss(os.getpid()) - before}


def tell(*words: object) -> Figures:
    """What this program says when it is started with these words."""
    command = [sys.executable, __file__, *map(str, words)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    said: Figures = json.loads(done.stdout.splitlines()[-1])
    return said


def tables(runs: Sequence[Figures], opened: Sequence[Figures]) -> list[Table]:
    """For people."""
    from landmeta.tables import Table

    return [
        Table(
            f"SEN12MS, made up, in tiles of {TILE}",
            ["by", "triplets", "raw GB", "tiles", "seconds", "tiles/s", "raw MB/s", "CPU s",
             "peak MB", "of it, this process", "stored GB", "load"],
            [
                [
                    run["kind"],
                    f"{run['triplets']:,}",
                    f"{run['raw_bytes'] / 1e9:.2f}",
                    f"{run['tiles']:,}",
                    f"{run['seconds']:.1f}",
                    f"{run['tiles'] / run['seconds']:.0f}",
                    f"{run['raw_bytes'] / run['seconds'] / 1e6:.0f}",
                    f"{run['cpu_seconds']:.1f}",
                    f"{run['peak_bytes'] / 1e6:.0f}",
                    f"{run['own_bytes'] / 1e6:.0f}",
                    f"{run['stored_bytes'] / 1e9:.2f}",
                    f"{run['load']:.1f}",
                ]
                for run in runs
            ],
        ),
        Table(
            f"The table of a set of {4 * TRIPLETS:,} tiles: seconds to open, memory",
            ["read as", "seconds", "MB"],
            [[o["how"], f"{o['seconds']:.1f}", f"{o['bytes'] / 1e6:.0f}"] for o in opened],
        ),
    ]  # fmt: skip


def verdict(runs: Sequence[Figures], table_seconds: float) -> str:
    """What follows for the whole of SEN12MS, and what does not."""
    best, small = runs[-1], next(run for run in runs if run["triplets"] > runs[0]["triplets"])
    each = best["seconds"] / best["triplets"]
    cpu = (best["cpu_seconds"] - small["cpu_seconds"]) / (best["triplets"] - small["triplets"])
    ratio = best["stored_bytes"] / best["raw_bytes"]
    raw = best["raw_bytes"] / best["triplets"]
    return "\n".join(
        [
            f"From {small['tiles']:,} to {best['tiles']:,} tiles, most memory went from "
            f"{small['peak_bytes'] / 1e6:.0f} to {best['peak_bytes'] / 1e6:.0f} MB, of which the "
            f"program takes {best['program_bytes'] / 1e6:.0f} MB before it begins.",
            "",
            f"The whole of SEN12MS, {TRIPLETS:,} triplets, by extrapolation and not measured: a "
            f"triplet takes {1e3 * cpu:.0f} ms of CPU, so all take {cpu * TRIPLETS / 3600:.1f} "
            f"hours of one core, divided by the cores that there are (more than two were not "
            f"tried). At the speed seen here, on a busy machine, {each * TRIPLETS / 3600:.1f} "
            f"hours. Looking at all files before "
            f"({best['look_seconds'] / best['triplets'] * 1e3:.2f} ms a triplet, from a warm "
            f"cache) takes {best['look_seconds'] / best['triplets'] * TRIPLETS:.0f} seconds, "
            f"writing the table at the end {table_seconds:.0f} seconds.",
            "",
            f"What does not carry over: real files are of {350e9 / TRIPLETS / 1e6:.1f} MB a "
            f"triplet (here {raw / 1e6:.1f}), so a disk that reads 100 MB/s needs "
            f"{350e9 / 100e6 / 3600:.1f} hours whatever the CPU does; made-up noise compresses "
            f"otherwise than real imagery (here the set takes {ratio:.2f} of the raw files, all 15 "
            "bands as float32), which is why `prepare` compresses some real parts before it "
            "starts where the disk could be too small; a network disk is slower at looking at "
            "half a million files.",
        ]
    )


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--triplets", type=int, default=1000, help="of the whole tree")
    parser.add_argument("--prepare", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--open", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.prepare:
        root, kind = arguments.prepare
        print(json.dumps(prepare_and_tell(Path(root), kind)))
        return
    if arguments.open:
        path, how = arguments.open
        print(json.dumps(open_and_tell(Path(path), how)))
        return
    from measuring import record

    runs = []
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        make_raw(whole, arguments.triplets)
        for share in SHARES:
            root = part_of(Path(folder), whole, share)
            for kind in KINDS if share == 0.1 else KINDS[:1]:
                forget(root)
                runs.append(tell("--prepare", root, kind))
                print(runs[-1], flush=True)
        table = Path(folder) / "tiles.parquet"
        table_seconds = table_of(table, 4 * TRIPLETS)
        opened = [tell("--open", table, how) for how in ("columns", "GeoDataFrame")]
    write_up(record(0, 1, {}, runs=runs, opened=opened, table_seconds=table_seconds))


def write_up(made: Figures) -> None:
    """Print, and write both files."""
    from measuring import publish

    runs, opened = made["runs"], made["opened"]
    setting = (
        f"`python benchmarks/prepare_size.py --triplets {runs[-1]['triplets']}`, "
        f"{made['machine']}; "
        "one run each, of which every one reads from the disk. The load is the machine's at the "
        "end of a run; other work was going on, and seconds are of the clock."
    )
    said = verdict(runs, made["table_seconds"])
    publish("prepare_size", "Preparing at size", [setting, *tables(runs, opened), said], made)


if __name__ == "__main__":
    main()
