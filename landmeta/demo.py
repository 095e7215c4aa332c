"""The whole way on a sample: prepare, train, adapt, map, compare, and one page of results."""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import rasterio
from rich.console import Console

import landmeta
from data_prep.earth import earth, write_region
from data_prep.prepare import prepare
from data_prep.sen12ms import sen12ms
from data_prep.synthetic import write_sen12ms
from landmeta.adapt import adapt
from landmeta.atomic import refuse_existing, write_text
from landmeta.classifier import NetworkClassifier
from landmeta.compare import compare
from landmeta.config import CompareConfig, TrainConfig, Variant
from landmeta.device import DeviceName, choose_device, describe
from landmeta.errors import OutputExists
from landmeta.labelled import support_from_taskset
from landmeta.legend import Labels
from landmeta.pictures import plot_map
from landmeta.predict import confidence_path, predict
from landmeta.report import Picture, write_report
from landmeta.taskset import TaskSet

WorldName = Literal["earth", "synthetic"]
SHOTS = 5
"""Labelled tiles of the region that gets a map."""
EARTH_REGION = "Southern Africa"
METHODS = ("pretrain", "maml", "scratch")
_MARKER = "demo.json"


def demo(
    out: Path,
    *,
    world: WorldName = "earth",
    device: DeviceName = "auto",
    overwrite: bool = False,
    quiet: bool = False,
) -> Path:
    """Run the demo into the folder `out` and return its page of results.

    Raises:
        OutputExists: `out` exists and `overwrite` is False, or it is no folder of a demo.
        SourceNotFound: the Earth sample cannot be fetched; `world="synthetic"` needs no network.
    """
    if not _is_empty(out):
        refuse_existing(out, overwrite)
        _remove_demo(out)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / _MARKER, json.dumps({"world": world, "version": landmeta.__version__}))
    steps = _Steps(Console(quiet=quiet))
    with steps("prepare the task set"):
        sample = (_prepare_earth if world == "earth" else _prepare_synthetic)(out, quiet)
    checkpoints = {}
    for method in METHODS:
        with steps(f"train: {method}"):
            checkpoints[method] = _train(out, method, device, quiet)
    with steps(f"adapt to {sample.region} with {SHOTS} labelled tiles, and map it"):
        pictures = _map(out, sample, checkpoints["maml"], device, quiet)
    with steps("compare the methods on all held-out regions"):
        found = compare(_compare_config(out, checkpoints, device), quiet=quiet)
    page = out / "report.html"
    write_report(
        page,
        found,
        title=f"landmeta demo: {sample.title}",
        facts={
            "data": sample.data,
            "task set": _describe(sample.taskset),
            "budgets": "MAML starts from the pretrained network, so it has trained longer",
            "machine": f"{platform.machine()}, {describe(choose_device(device))}",
            **{name: f"{seconds:.0f} s" for name, seconds in steps.seconds.items()},
            "in all": f"{sum(steps.seconds.values()) / 60:.1f} minutes",
        },
        lead=pictures,
    )
    steps.console.print(found.text(), markup=False, highlight=False, soft_wrap=True)
    steps.console.print(f"in all {sum(steps.seconds.values()) / 60:.1f} minutes", highlight=False)
    return page


def _is_empty(out: Path) -> bool:
    """Whether there is nothing to lose, as after a demo that found the disk full at once."""
    return not out.exists() or (out.is_dir() and not any(out.iterdir()))


def _remove_demo(out: Path) -> None:
    if not (out / _MARKER).is_file():
        raise OutputExists(
            "exists and was not made by 'landmeta demo', so it is not replaced",
            remedy="choose another folder with --out",
            path=out,
        )
    shutil.rmtree(out)


class _Steps:
    """Announces each step and remembers how long it took."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self.console.rule(name, align="left")
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started


# ---- the sample ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sample:
    """A task set, and one of its held-out regions as a raster with its truth."""

    title: str
    data: str
    taskset: TaskSet
    region: str
    image: Path
    truth: Labels
    """Class index, shape (row, col)."""


def _prepare_earth(out: Path, quiet: bool) -> _Sample:
    taskset = prepare(earth(tile=32), out / "taskset", quiet=quiet)
    image, truth = out / "region.tif", out / "region_truth.tif"
    write_region(EARTH_REGION, image, truth)
    with rasterio.open(truth) as labels:
        reference = taskset.legend.from_map(labels.read(1))
    return _Sample(
        title=f"land cover of {EARTH_REGION}",
        data="NASA Blue Marble, NDVI extremes and MODIS MCD12C1 land cover 2019, 0.05 degree",
        taskset=taskset,
        region=EARTH_REGION,
        image=image,
        truth=reference,
    )


def _prepare_synthetic(out: Path, quiet: bool) -> _Sample:
    raw = write_sen12ms(out / "raw", scenes=40, patches=2, seed=1)
    bands = [f"S2_B{n}" for n in (*range(1, 9), "8A", *range(9, 13))]
    taskset = prepare(sen12ms(raw, bands=bands, tile=32), out / "taskset", quiet=quiet)
    region = taskset.tasks("test")[0]
    tile = taskset.table[taskset.table["task"] == region].iloc[0]
    image = raw / tile["source"].replace("s1_", "s2_").replace("lc_", "s2_")
    with rasterio.open(str(image).replace("s2_", "lc_")) as labels:
        reference = taskset.legend.from_ids(labels.read(1))
    return _Sample(
        title=f"land cover of synthetic region {region}",
        data="made-up Sentinel-2 images in the layout of SEN12MS",
        taskset=taskset,
        region=region,
        image=image,
        truth=reference,
    )


def _describe(taskset: TaskSet) -> str:
    counts = ", ".join(
        f"{len(taskset.tasks(s))} {s} regions with {len(taskset.split_ids(s))} tiles"
        for s in ("train", "val", "test")
    )
    return f"{counts}; {taskset.meta.tile_size} x {taskset.meta.tile_size} pixels a tile"


# ---- the steps -------------------------------------------------------------------------------


def _train(out: Path, method: str, device: DeviceName, quiet: bool) -> Path:
    from landmeta.train import train

    return train(train_config(out, method, device), quiet=quiet)


def train_config(out: Path, method: str, device: DeviceName = "auto") -> TrainConfig:
    """Settings that suit two CPU cores and a few minutes.

    MAML starts from the pretrained network; pretraining itself is compared as it is then.
    """
    steps = {"pretrain": 800, "maml": 150, "scratch": 1}[method]
    return TrainConfig.model_validate(
        {
            "taskset": out / "taskset",
            "out": out / "runs" / method,
            "method": method,
            "device": device,
            "init": out / "runs/pretrain/checkpoint.safetensors" if method == "maml" else "random",
            "model": {"depth": 3, "decoder_channels": [64, 32, 32]},
            "inner": {"steps": 3, "rate": 0.03},
            "episodes": {"shots": 5, "queries": 5, "tasks": 1},
            "batch": 16,
            "outer": {"steps": steps, "rate": 2e-3 if method == "pretrain" else 5e-4, "clip": 5.0},
            "validation": {"every": max(1, steps // 5), "draws": 2, "queries": 16},
            "tune": {
                "shots": [1, 5],
                "draws": 1,
                "sgd_rates": [0.03],
                "adam_rates": [0.003] if method == "scratch" else [0.0003, 0.001],
                "steps": [50, 100] if method == "scratch" else [0, 2, 5, 10, 20],
            },
        }
    )


def _compare_config(out: Path, checkpoints: dict[str, Path], device: DeviceName) -> CompareConfig:
    return CompareConfig(
        taskset=out / "taskset",
        out=out / "comparison",
        checkpoints=checkpoints,
        variants={f"{n} + forest": Variant(of=n, forest=0.5) for n in ("pretrain", "maml")},
        device=device,
        shots=(0, 1, 5),
        draws=5,
        queries=24,
    )


def _map(
    out: Path, sample: _Sample, checkpoint: Path, device: DeviceName, quiet: bool
) -> list[Picture]:
    support = support_from_taskset(checkpoint, sample.taskset.folder, sample.region, SHOTS, 0)
    model, made = out / "region.safetensors", out / "map.tif"
    adapted = adapt(checkpoint, support, model, device=device)
    classifier = NetworkClassifier(model, device)
    predict(
        classifier, sample.image, made, batch=16, provenance=classifier.provenance(), quiet=quiet
    )
    picture = out / "map.png"
    plot_map(
        sample.image,
        made,
        confidence_path(made),
        picture,
        bands=classifier.bands,
        legend=classifier.legend,
        truth=sample.truth,
        title=f"{sample.region}: never trained on, adapted with {SHOTS} labelled tiles "
        f"(MAML; {adapted.votes})",
    )
    caption = (
        f"The image, the map landmeta made, the reference, and how sure it is. GeoTIFF: {made}"
    )
    return [Picture(picture, caption)]
