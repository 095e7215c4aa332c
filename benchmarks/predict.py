"""How fast a map is made, against the bare network on the same windows.

    python benchmarks/predict.py [--repeats 7] [--side 512]

Prints tables and writes benchmarks/results/predict.json and predict.md. The raster and the weights
are made up, the network is that of configs/earth. The floor is the network's forward pass and
nothing else: the very same batches of windows, held in memory. Map and floor take turns with one
thread and with as many as there are cores; each ratio is the median over the turns. On a machine
that others use too, set OMP_WAIT_POLICY=passive, or the threads' waiting for each other is counted
as work.

Memory is measured in processes of their own, on rasters of the same width and several heights,
with a classifier that costs nothing: what is asked is what reading, blending and writing hold.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import torch
from measuring import Figures, PeakMemory, medians, publish, ratio, record, take_turns
from numpy.typing import NDArray

from landmeta.adaptation import NO_ADAPTATION
from landmeta.checkpoint import CheckpointMeta, save_checkpoint
from landmeta.classifier import NetworkClassifier
from landmeta.config import TrainConfig, read_config
from landmeta.legend import IGBP_SIMPLIFIED, Legend
from landmeta.mapping import Tiling, _batches
from landmeta.methods import MethodSettings, make_method
from landmeta.predict import predict
from landmeta.raster import open_image
from landmeta.tables import Table
from landmeta.taskset import Band
from landmeta.windows import cut

GOAL = 0.9
CONFIG = Path(__file__).resolve().parents[1] / "configs/earth/maml.yaml"
BANDS = tuple(Band(name=name) for name in ("R", "G", "B", "NIR", "NDVI"))
BATCH = 8
HEIGHTS = (2_000, 40_000, 80_000)
WIDTH = 256


def make_raster(path: Path, height: int, width: int) -> None:
    """Smooth noise of several bands, stored as most scenes are: in deflated blocks."""
    rng = np.random.default_rng(0)
    profile = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": len(BANDS),
        "dtype": "uint8",
        "crs": "EPSG:32632",
        "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 5e6),
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "compress": "deflate",
    }
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.descriptions = [band.name for band in BANDS]
        for top in range(0, height, 256):
            rows = min(256, height - top)
            steps = rng.integers(-2, 3, (len(BANDS), rows, width)).cumsum(axis=2)
            window = rasterio.windows.Window(0, top, width, rows)
            dataset.write((128 + steps).clip(0, 255).astype(np.uint8), window=window)


def make_model(path: Path, tile: int) -> None:
    """The network of configs/earth, untrained."""
    unet = read_config(CONFIG, TrainConfig).model
    settings = MethodSettings(method="scratch")
    method = make_method(settings, unet, len(BANDS), len(IGBP_SIMPLIFIED))
    meta = CheckpointMeta(
        kind="meta",
        settings=settings,
        unet=unet,
        bands=BANDS,
        legend=IGBP_SIMPLIFIED,
        gsd=10,
        tile_size=tile,
        adaptation={1: NO_ADAPTATION},
    )
    save_checkpoint(path, method, method.initial(), meta)


def batches_in_memory(raster: Path, tile: int) -> list[NDArray[np.float32]]:
    """What `predict` gives to the classifier."""
    with open_image(raster, BANDS) as image:
        rows, cols = (cut(n, tile, tile // 4) for n in (image.grid.height, image.grid.width))
        tiling = Tiling(rows, cols, BATCH)
        return [batch.images for batch in _batches(image, tiling, 0, len(rows), None)]


def measure(folder: Path, side: int, tile: int, threads: int, repeats: int) -> Figures:
    """Map against floor by one size of windows and number of threads."""
    torch.set_num_threads(threads)
    raster, model = folder / f"{side}.tif", folder / f"model_{tile}.safetensors"
    if not raster.exists():
        make_raster(raster, side, side)
    if not model.exists():
        make_model(model, tile)
    classifier = NetworkClassifier(model, "cpu")
    batches = batches_in_memory(raster, tile)

    def forward() -> None:
        for images in batches:
            classifier.probabilities(images)

    def mapped() -> None:
        predict(classifier, raster, folder / "map.tif", batch=BATCH, overwrite=True, quiet=True)

    kinds = {"forward": forward, "predict": mapped}
    take_turns(kinds, 1)  # warm
    wall, cpu = take_turns(kinds, repeats)
    return {
        "tile": tile,
        "threads": threads,
        "side": side,
        "windows": sum(map(len, batches)),
        "seconds": medians(wall),
        "cpu_seconds": medians(cpu),
        "share": ratio(wall["forward"], wall["predict"]),
        "cpu_share": ratio(cpu["forward"], cpu["predict"]),
    }


@dataclass(frozen=True)
class Cheap:
    """A classifier that costs next to nothing: equal probabilities."""

    tile_size: int = 32
    band_specs: tuple[Band, ...] = BANDS
    legend: Legend = IGBP_SIMPLIFIED

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands."""
        return tuple(band.name for band in self.band_specs)

    def probabilities(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """The same everywhere."""
        shape = (len(image), len(self.legend), *image.shape[2:])
        return np.full(shape, 1 / len(self.legend), np.float32)


def map_and_tell(folder: Path, height: int) -> Figures:
    """In a process of its own: map a raster, tell how memory grew."""
    raster = folder / f"{height}_rows.tif"
    with PeakMemory() as memory:
        predict(Cheap(), raster, folder / f"{height}_map.tif", batch=BATCH, quiet=True)
    return {"height": height, "width": WIDTH, "peak_bytes": memory.grown}


def measure_memory(folder: Path) -> list[Figures]:
    """By height of the raster."""
    found = []
    for height in HEIGHTS:
        make_raster(folder / f"{height}_rows.tif", height, WIDTH)
        command = [sys.executable, __file__, "--memory", str(folder), str(height)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found.append(json.loads(done.stdout))
    return found


def tables(found: Sequence[Figures], memory: Sequence[Figures]) -> list[Table]:
    """For people."""
    speed = Table(
        "Speed, bare forward pass = 1; median seconds",
        ["windows of", "threads", "windows", "forward", "predict", "share", "forward CPU",
         "predict CPU", "CPU share"],
        [
            [f"{row['tile']} px", str(row["threads"]), str(row["windows"])]
            + [f"{row['seconds'][kind]:.2f}" for kind in ("forward", "predict")]
            + [f"{row['share']:.2f}"]
            + [f"{row['cpu_seconds'][kind]:.2f}" for kind in ("forward", "predict")]
            + [f"{row['cpu_share']:.2f}"]
            for row in found
        ],
    )  # fmt: skip
    peak = Table(
        f"Memory beyond the loaded program, {WIDTH} columns, a classifier that costs nothing",
        ["rows", "peak MB"],
        [[f"{row['height']:,}", f"{row['peak_bytes'] / 1e6:.0f}"] for row in memory],
    )
    return [speed, peak]


def verdict(found: Sequence[Figures]) -> str:
    """Whether the goal was reached, and what stands in its way."""
    lines = []
    for row in found:
        cpu = row["cpu_seconds"]
        reached = "reached" if row["share"] >= GOAL else "missed"
        extra = cpu["predict"] - cpu["forward"]
        lines.append(
            f"- windows of {row['tile']} px, {row['threads']} threads: {reached}. Beyond the "
            f"forward pass ({cpu['forward']:.2f} s of CPU), a map takes {extra:.2f} s "
            f"({extra / cpu['forward']:.0%}) to read, blend and write."
        )
    lines += [
        "",
        "Where the forward pass has a thread on every core, there is no idle core to read, blend "
        "and write on: with nothing to overlap with, the share cannot be above the CPU share.",
    ]
    return "\n".join([f"Goal: a share of {GOAL:.2f}.", "", *lines])


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--side", type=int, default=512, help="rows and columns of the raster")
    parser.add_argument("--tiles", type=int, nargs="+", default=[32, 128], help="windows, pixels")
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        print(json.dumps(map_and_tell(Path(arguments.memory[0]), int(arguments.memory[1]))))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = [
            measure(folder, arguments.side, tile, threads, arguments.repeats)
            for tile in arguments.tiles
            for threads in sorted({1, os.cpu_count() or 1})
        ]
        memory = measure_memory(folder)
    write_up(
        record(
            GOAL,
            arguments.repeats,
            {"torch": torch.__version__, "GDAL": rasterio.__gdal_version__},
            wait_policy=os.environ.get("OMP_WAIT_POLICY", "default"),
            batch=BATCH,
            speed=found,
            memory=memory,
        )
    )


def write_up(made: Figures) -> None:
    """Print, and write both files."""
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    found, memory = made["speed"], made["memory"]
    setting = (
        f"`python benchmarks/predict.py`, {versions}, {made['machine']}, OMP wait policy "
        f"{made['wait_policy']}, load {made['load']:.1f} at the end; median of "
        f"{made['repeats']} rounds. The network of configs/earth, {len(BANDS)} bands, a "
        f"raster of {found[0]['side']} × "
        f"{found[0]['side']} pixels, windows that share a quarter, {made['batch']} at a time; "
        "map and confidence are written. Seconds are of the clock, in which others' work on the "
        "machine counts."
    )
    publish("predict", "Predicting", [setting, *tables(found, memory), verdict(found)], made)


if __name__ == "__main__":
    main()
