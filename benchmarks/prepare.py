"""How fast `landmeta prepare` is, against reading the same files with rasterio alone.

    python benchmarks/prepare.py [--repeats 7] [--size 1]

Prints tables and writes benchmarks/results/prepare.json and prepare.md. Sources are made up, in
three ways of storing: SEN12MS's GeoTIFFs without compression, scenes as deflated GeoTIFFs, photos
with masks. Reading and preparing take turns with the same number of reading threads; each ratio is
the median over the turns. "Cold" runs come after the system has been told to forget the files.

Preparing reads and writes. To tell the two apart, the finished arrays are also written alone: as a
task set has them, compressed in shards, and as bare bytes. Preparing cannot be faster than reading,
nor than writing, nor than both on all cores: the bound is the time of reading by the longest of
these, counted in CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import zarr
from measuring import Figures, PeakMemory, medians, publish, ratio, record, take_turns
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning

from data_prep.deepglobe import deepglobe
from data_prep.parallel import default_workers
from data_prep.prepare import prepare
from data_prep.rasters import rasters
from data_prep.sen12ms import sen12ms
from data_prep.source import Source
from data_prep.synthetic import write_deepglobe, write_sen12ms
from landmeta.legend import IGBP_SIMPLIFIED, IGNORE
from landmeta.shards import SHARD, encode, new_array, set_length, shard_path, write_shard
from landmeta.tables import Table

GOAL = 0.8
PATCHES = 9
"""Of each scene of the SEN12MS tree."""

LABELS = {
    "sen12ms": "SEN12MS, uncompressed",
    "scenes": "scenes, deflated GeoTIFF",
    "photos": "photos, JPEG and PNG",
}


def make_raw(root: Path, size: int) -> None:
    """The three sources, `size` × about 100 MB of pixels each."""
    write_sen12ms(root / "sen12ms", scenes=4 * size, patches=PATCHES)
    write_sen12ms(root / "plain", scenes=4 * size, patches=1, size=1024)
    for s2 in (root / "plain").rglob("*_s2_*.tif"):
        region = s2.parent.name
        folder = root / "scenes" / region
        folder.mkdir(parents=True)
        _deflate(s2, folder / f"{region}_image.tif", None)
        label = Path(str(s2).replace("s2_", "lc_"))
        _deflate(label, folder / f"{region}_label.tif", [1])
    shutil.rmtree(root / "plain")
    write_deepglobe(root / "photos", images=12 * size, size=1224)


def _deflate(path: Path, out: Path, bands: list[int] | None) -> None:
    """Store as most do: in blocks, each compressed."""
    with rasterio.open(path) as dataset:
        pixels = dataset.read(bands)
        profile = dataset.profile | {"count": len(pixels), "predictor": 2, "compress": "deflate"}
        profile |= {"tiled": True, "blockxsize": 256, "blockysize": 256}
        with rasterio.open(out, "w", **profile) as new:
            new.write(pixels)


def source(root: Path, name: str, workers: int, tile: int = 128) -> Source:
    """Ready to be prepared."""
    if name == "sen12ms":
        return sen12ms(root / name, tile=tile)
    if name == "scenes":
        return rasters(
            root / name,
            images="{region}/{name}_image.tif",
            labels="{region}/{name}_label.tif",
            legend=IGBP_SIMPLIFIED,
            tile=tile,
        )
    return deepglobe(root / name, tile=tile, split="random", k=5, workers=workers)


def raw_files(root: Path, name: str) -> list[Path]:
    """What preparing reads."""
    return sorted(p for p in (root / name).rglob("*") if p.suffix in (".tif", ".jpg", ".png"))


def read_alone(files: Sequence[Path], workers: int) -> None:
    """Decode all pixels of all files."""

    def read(path: Path) -> None:
        with rasterio.open(path) as dataset:
            dataset.read()

    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(read, files):
            pass


def write_alone(arrays: Sequence[NDArray[Any]], out: Path) -> None:
    """Write arrays (tile, …) as task sets are written, by one thread."""
    for i, values in enumerate(arrays):
        fill = (0, IGNORE, True)[i]  # of images, labels, valid
        path = out / f"{i}.zarr"
        new_array(path, values.shape[1:], values.dtype.name, fill)
        for number, start in enumerate(range(0, len(values), SHARD)):
            chunks = [encode(tile, fill) for tile in values[start : start + SHARD]]
            write_shard(shard_path(path, number, values.ndim), chunks)
        set_length(path, len(values))


def write_uncompressed(arrays: Sequence[NDArray[Any]], out: Path) -> None:
    """The least that can be done: their bytes, to one file each."""
    out.mkdir()
    for i, values in enumerate(arrays):
        values.tofile(out / f"{i}.bin")


def forget(files: Sequence[Path]) -> None:
    """Have the system drop files from its cache."""
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def measure(root: Path, name: str, workers: int, repeats: int) -> Figures:
    """One source by one number of threads."""
    files, out = raw_files(root, name), root / "taskset"

    def prepared() -> None:
        prepare(source(root, name, workers), out, workers=workers, quiet=True)

    shutil.rmtree(out, ignore_errors=True)
    prepared()
    arrays = [np.asarray(a[:]) for a in _arrays(out)]
    kinds: dict[str, Callable[[], object]] = {
        "read": lambda: read_alone(files, workers),
        "prepare": prepared,
        "write": lambda: write_alone(arrays, root / "written"),
        "write_bare": lambda: write_uncompressed(arrays, root / "written"),
        "read_cold": lambda: read_alone(files, workers),
        "prepare_cold": prepared,
    }

    def clear(kind: str) -> None:
        for folder in (out, root / "written"):
            shutil.rmtree(folder, ignore_errors=True)
        if kind.endswith("cold"):
            forget(files)

    wall, cpu = take_turns(kinds, repeats, clear)
    return {
        "source": name,
        "workers": workers,
        "files": len(files),
        "stored_bytes": sum(p.stat().st_size for p in files),
        "array_bytes": sum(a.nbytes for a in arrays),
        "tiles": len(arrays[0]),
        "seconds": medians(wall),
        "cpu_seconds": medians(cpu),
        "share": ratio(wall["read"], wall["prepare"]),
        "share_cold": ratio(wall["read_cold"], wall["prepare_cold"]),
        "bound": bound(medians(cpu), workers),
    }


def bound(cpu: Figures, workers: int) -> float:
    """The share that preparing had if it were nothing but reading and writing, well overlapped.

    Of CPU seconds, so that it does not depend on what else the machine does.
    """
    cores = os.cpu_count() or 1
    reading = cpu["read"] / min(workers, cores)
    return float(reading / max(reading, cpu["write"], (cpu["read"] + cpu["write"]) / cores))


def _arrays(folder: Path) -> Iterator[Any]:
    for name in ("images", "labels", "valid"):
        yield zarr.open_array(folder / f"{name}.zarr", mode="r")


def measure_memory(root: Path, workers: int) -> list[Figures]:
    """Peak memory beyond that of the loaded program, by the number of files."""
    found = []
    for patches in (3, 9, 27):
        command = [sys.executable, __file__, "--memory", str(root), str(patches), str(workers)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found.append(json.loads(done.stdout))
    return found


def prepare_and_tell(root: Path, patches: int, workers: int) -> Figures:
    """In a process of its own: prepare so many patches of each scene, tell how memory grew."""
    with tempfile.TemporaryDirectory(dir=root) as folder:
        for path in raw_files(root, "sen12ms"):
            stem, _, number = path.stem.rpartition("_p")
            target = Path(folder) / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            for again in range(int(number), patches + 1, PATCHES):
                target.with_name(f"{stem}_p{again}.tif").hardlink_to(path)
        chosen = source(Path(folder), "sen12ms", workers, tile=64)
        with PeakMemory() as memory:
            made = prepare(chosen, Path(folder) / "taskset", workers=workers, quiet=True)
        return {
            "workers": workers,
            "files": len(raw_files(Path(folder), "sen12ms")),
            "tiles": len(made),
            "peak_bytes": memory.grown,
        }


def tables(found: Sequence[Figures], memory: Sequence[Figures]) -> list[Table]:
    """For people."""
    kinds = ("read", "prepare", "write", "write_bare")
    speed = Table(
        "Speed, reading with rasterio alone = 1; median seconds",
        ["source", "threads", "read", "prepare", "write alone", "bare bytes", "share", "bound",
         "cold share"],
        [
            [LABELS[row["source"]], str(row["workers"])]
            + [f"{row['seconds'][kind]:.2f}" for kind in kinds]
            + [f"{row[key]:.2f}" for key in ("share", "bound", "share_cold")]
            for row in found
        ],
    )  # fmt: skip
    work = Table(
        "Work: CPU seconds, and megabytes",
        ["source", "threads", "read", "write alone", "both", "prepare", "read MB", "arrays MB"],
        [
            [LABELS[row["source"]], str(row["workers"])]
            + [f"{seconds:.2f}" for seconds in _work(row)]
            + [f"{row[key] / 1e6:.0f}" for key in ("stored_bytes", "array_bytes")]
            for row in found
        ],
    )
    peak = Table(
        "Memory beyond the loaded program, SEN12MS in tiles of 64",
        ["threads", "files", "tiles", "peak MB"],
        [
            [str(row[key]) for key in ("workers", "files", "tiles")]
            + [f"{row['peak_bytes'] / 1e6:.0f}"]
            for row in memory
        ],
    )
    return [speed, work, peak]


def _work(row: Figures) -> tuple[float, float, float, float]:
    cpu = row["cpu_seconds"]
    return cpu["read"], cpu["write"], cpu["read"] + cpu["write"], cpu["prepare"]


def verdict(found: Sequence[Figures]) -> str:
    """Whether the goal was reached, and what stands in its way."""
    lines = []
    for row in found:
        reached = "reached" if row["share"] >= GOAL else "missed"
        of_bound = row["share"] / row["bound"]
        read, write, both, prepared = _work(row)
        lines.append(
            f"- {LABELS[row['source']]}, {row['workers']} threads: {reached}. Reading takes "
            f"{read:.2f} s of CPU, writing {write:.2f} s, together {both / read:.1f} times the "
            f"reading; preparing {prepared:.2f} s ({prepared / both:.2f} times both). The bound on "
            f"this machine is {row['bound']:.2f}; preparing is at {of_bound:.0%} of it."
        )
    return "\n".join([f"Goal: a share of {GOAL:.2f}.", "", *lines])


def main() -> None:
    """Measure, print, write."""
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--size", type=int, default=1, help="× about 100 MB of pixels a source")
    parser.add_argument("--memory", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        root, patches, workers = arguments.memory
        print(json.dumps(prepare_and_tell(Path(root), int(patches), int(workers))))
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_raw(root, arguments.size)
        every = sorted({1, default_workers()})
        found = [measure(root, name, n, arguments.repeats) for name in LABELS for n in every]
        memory = [figures for n in every for figures in measure_memory(root, n)]
    versions = {
        "GDAL": rasterio.__gdal_version__,
        "rasterio": rasterio.__version__,
        "zarr": zarr.__version__,
    }
    write_up(record(GOAL, arguments.repeats, versions, speed=found, memory=memory))


def write_up(made: Figures) -> None:
    """Print, and write both files."""
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    setting = (
        f"`python benchmarks/prepare.py`, {versions}, {made['machine']}, load "
        f"{made['load']:.1f} at the end; median of {made['repeats']} rounds. Threads are those "
        "that read; they compress too, and one more writes; writing alone is done by one. Seconds "
        "are of the clock, in which others' work on the machine counts; CPU seconds below."
    )
    found, memory = made["speed"], made["memory"]
    publish("prepare", "Preparing", [setting, *tables(found, memory), verdict(found)], made)


if __name__ == "__main__":
    main()
