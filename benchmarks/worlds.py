"""The task sets that methods are trained and judged on; `NAMES` says what they are."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_prep.rasters import rasters
from data_prep.sen12ms import sen12ms
from data_prep.source import prepare
from data_prep.synthetic import write_sen12ms
from landmeta.legend import KNOWN_LEGENDS, Legend, read_legend
from landmeta.taskset import TaskSet

ROOT = Path(__file__).resolve().parents[1]
NAMES = {
    "modis": "22 regions of the world, five of them held out",
    "dubai": "five areas of one city, each held out once, the next one for validation",
    "synthetic": "made-up SEN12MS scenes",
    "shift": "made-up scenes whose regions differ in appearance less and more",
    "open": "as modis, but judged on IGBP's 17 classes after training on 10 others made of them",
}
MODIS_VAL = ("canada_nw", "india", "middle_east")
MODIS_TEST = (
    "great_lakes",
    "iberia_maghreb",
    "manchuria_korea",
    "sahel_central",
    "us_southwest",
)
DUBAI_AREAS = ("Tile 1", "Tile 2", "Tile 3", "Tile 5", "Tile 7")
SHIFTS = (0.0, 0.5, 1.0, 2.0)
"""How much the regions of a made-up world differ; 0: not at all."""


@dataclass(frozen=True)
class World:
    """A task set to train on, one to be judged on (often the same), and where runs go.

    Attributes:
        word: what tells it from the others of its benchmark.
        configs: folder under configs/ with its settings.
        legend: fixed or open.
    """

    word: str
    taskset: TaskSet
    judged: TaskSet
    folder: Path
    configs: str = "modis"
    legend: str = "fixed"


def worlds(name: str, data: Path | None, work: Path) -> Iterator[World]:
    """The worlds of a benchmark; `data` holds the raw imagery of those that are real."""
    data = data or Path()
    if name == "modis":
        made = _modis(data, work / "taskset", KNOWN_LEGENDS["igbp-simplified"])
        yield World("modis", made, made, work)
    elif name == "open":
        made = _modis(data, work / "taskset", KNOWN_LEGENDS["igbp-simplified"])
        fine = _modis(data, work / "fine", KNOWN_LEGENDS["igbp"])
        yield World("other classes", made, fine, work, legend="open")
    elif name == "dubai":
        for i, area in enumerate(DUBAI_AREAS):
            folder = work / area.replace(" ", "").lower()
            validation = DUBAI_AREAS[(i + 1) % len(DUBAI_AREAS)]
            made = _dubai(data / "dubai_hitl", folder / "taskset", area, validation)
            yield World(folder.name, made, made, folder, configs="dubai")
    else:
        for shift in (1.0,) if name == "synthetic" else SHIFTS:
            folder = work / f"shift_{shift:g}"
            made = _synthetic(folder, shift)
            yield World(f"shift {shift:g}", made, made, folder)


def _modis(data: Path, out: Path, legend: Legend) -> TaskSet:
    if out.exists():
        return TaskSet(out)
    source = rasters(
        data / "modis_igbp",
        images="{region}/{name}_img.tif",
        labels="{region}/{name}_igbp.tif",
        legend=legend,
        tile=32,
        val=MODIS_VAL,
        test=MODIS_TEST,
    )
    return prepare(source, out, quiet=True)


def _dubai(root: Path, out: Path, test: str, val: str) -> TaskSet:
    if out.exists():
        return TaskSet(out)
    source = rasters(
        root,
        images="{region}/images/{name}.jpg",
        labels="{region}/masks/{name}.png",
        legend=read_legend(ROOT / "configs/legends/dubai.yaml"),
        tile=64,
        val=[val],
        test=[test],
    )
    return prepare(source, out, quiet=True)


def _synthetic(folder: Path, shift: float) -> TaskSet:
    out = folder / "taskset"
    if out.exists():
        return TaskSet(out)
    write_sen12ms(folder / "raw", scenes=25, patches=4, size=128, shift=shift)
    made = prepare(sen12ms(folder / "raw", tile=32), out, quiet=True)
    shutil.rmtree(folder / "raw")
    return made
