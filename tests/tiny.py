"""A tiny task set and tiny run settings, so that whole runs take seconds."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from affine import Affine

from landmeta.adaptation import NO_ADAPTATION
from landmeta.checkpoint import CheckpointMeta, save_checkpoint
from landmeta.config import TrainConfig
from landmeta.leakage.prove import prove_folder
from landmeta.legend import Legend
from landmeta.methods import MethodSettings, make_method
from landmeta.model import UNetConfig
from landmeta.taskset import Band, SourceTile, TaskSet, TaskSetMeta, write_taskset

BANDS, CLASSES, TILE = ("R", "G", "B"), 3, 16
NET = {"encoder": "resnet18", "depth": 3, "decoder_channels": [8, 8, 8], "skip_channels": 4}
LEGEND = Legend.model_validate(
    {
        "classes": [
            {"id": 1, "name": "Forest", "color": "#009900"},
            {"id": 2, "name": "Water", "color": "#1c0dff"},
            {"id": 5, "name": "Urban", "color": "#a5a5a5"},
        ]
    }
)


def tiny_taskset(folder: Path, *, tiles: int = 8, overlap: bool = False) -> TaskSet:
    """Six regions whose colours say the class, differently bright from region to region."""
    rng = np.random.default_rng(0)
    splits = {"a": "train", "b": "train", "c": "train", "v": "val", "t": "test", "u": "test"}
    made = []
    for number, (region, split) in enumerate(splits.items()):
        for i in range(tiles):
            half = rng.integers(0, CLASSES, (TILE // 8, TILE // 8))
            label = np.kron(half, np.ones((8, 8))).astype(np.uint8)
            image = (label[None] == np.arange(3)[:, None, None]) * 60.0 + 20 * number
            image = image + rng.normal(0, 8, (3, TILE, TILE)) + 40
            step = TILE // 2 if overlap else TILE
            grid = Affine(10, 0, 500000 + 10 * step * i, 0, -10, 5_000_000 - 1e5 * number)
            made.append(
                SourceTile(
                    image=np.clip(image, 0, 255).astype(np.uint8),
                    label=label,
                    valid=np.ones((3, TILE, TILE), bool),
                    region=region,
                    split=split,
                    source=f"{region}.tif",
                    window=(step * i, 0, TILE, TILE),
                    crs="EPSG:32633",
                    transform=grid,
                )
            )
    meta = TaskSetMeta(
        source="tiny",
        bands=tuple(Band(name=n) for n in BANDS),
        legend=LEGEND,
        gsd=10.0,
        tile_size=TILE,
        dtype="uint8",
    )
    taskset = write_taskset(folder, meta, made)
    prove_folder(folder, quiet=True)
    return taskset


def untrained(
    path: Path,
    *,
    bands: Sequence[str] = BANDS,
    legend: Legend = LEGEND,
    tile_size: int = TILE,
    **more: object,
) -> Path:
    """A checkpoint of the tiny network that has learned nothing."""
    unet = UNetConfig.model_validate(NET)
    settings = MethodSettings(method="scratch")
    method = make_method(settings, unet, len(bands), len(legend))
    known = {
        "kind": "meta",
        "settings": settings,
        "unet": unet,
        "bands": tuple(Band(name=name) for name in bands),
        "legend": legend,
        "gsd": 10.0,
        "tile_size": tile_size,
        "adaptation": {1: NO_ADAPTATION},
    }
    save_checkpoint(path, method, method.initial(), CheckpointMeta.model_validate(known | more))
    return path


def tiny_config(taskset: TaskSet, out: Path, method: str = "maml", **more: object) -> TrainConfig:
    """A run of a few steps."""
    settings = {
        "taskset": str(taskset.folder),
        "out": str(out),
        "method": method,
        "device": "cpu",
        "model": NET,
        "inner": {"steps": 2, "rate": 0.05},
        "episodes": {"shots": 2, "queries": 2, "tasks": 1},
        "batch": 4,
        "outer": {"steps": 6, "rate": 0.003},
        "validation": {"every": 2, "draws": 1, "shots": 2, "queries": 2},
        "tune": {
            "shots": [1, 2],
            "draws": 1,
            "queries": 2,
            "sgd_rates": [0.05],
            "adam_rates": [0.003],
            "steps": [0, 2],
        },
    }
    return TrainConfig.model_validate(settings | more)
