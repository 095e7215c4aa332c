"""Labelled places in images of a new region, as people draw them: what adapting makes of them.

    python benchmarks/places.py votes --data DATA --work WORK
    python benchmarks/places.py suggest --data DATA --work WORK

Held-out regions of MODIS land cover and the pretrained network of methods.py (trained if WORK does
not hold it). Places are squares of three to six pixels of one class, drawn from the truth, no class
having more than a quarter of them; every other pixel of the images judges the map.

`votes` adapts to them and lets the network vote alone, the forest alone, and both as held-out
places choose. `suggest` adds as many places as there were to one image: those that `landmeta
suggest` names, or such at random; each is labelled with its most frequent class. Writes
benchmarks/results/places_NAME.md.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
import torch
from methods import RESULTS, train_all
from numpy.typing import NDArray
from shapely.geometry import box
from worlds import MODIS_TEST, worlds

import landmeta
from landmeta.adapt import Adapted, adapt
from landmeta.calibration import expected_calibration_error
from landmeta.classifier import NetworkClassifier
from landmeta.labelled import support_from_images
from landmeta.legend import IGNORE, Labels, find_legend
from landmeta.predict import confidence_path, predict
from landmeta.raster import open_image
from landmeta.scores import confusion_matrix, scores
from landmeta.squares import survey
from landmeta.stats import paired_differences, summarise, verdicts
from landmeta.suggest import choose
from landmeta.tables import score_table
from landmeta.vectors import read_places

LEGEND = find_legend("igbp-simplified")
CPU = "cpu"
COUNTS = (20, 50)
FEW, SIDE = 12, 5
"""Places before any is suggested, and rows and columns of one that is."""


class Ground:
    """Images of a region, their truth, and the places in them that are labelled."""

    def __init__(self, images: Sequence[Path], folder: Path) -> None:
        self.images, self.folder = images, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.truth: list[Labels] = []
        for image in images:
            with rasterio.open(image.with_name(image.name.replace("_img", "_igbp"))) as dataset:
                self.truth.append(LEGEND.from_ids(dataset.read(1)))
                self.crs = dataset.crs
        self.places: list[tuple[int, int, int, int, int]] = []

    def draw(self, count: int, rng: np.random.Generator) -> None:
        """Places of one class each: (image, row, col, side, class)."""
        for _ in range(100 * count):
            image, side = int(rng.integers(len(self.images))), int(rng.integers(3, 7))
            truth = self.truth[image]
            row, col = (int(rng.integers(n - side)) for n in truth.shape)
            square = truth[row : row + side, col : col + side]
            label = int(square[0, 0])
            many = [place[4] for place in self.places].count(label) >= count / 4
            if (square == label).all() and label != IGNORE and not many:
                self.places.append((image, row, col, side, label))
            if len(self.places) == count:
                return

    def add(self, image: int, row: int, col: int, side: int) -> None:
        """A place that somebody looks at: its most frequent class."""
        square = self.truth[image][row : row + side, col : col + side]
        known = square[square != IGNORE]
        if len(known):
            self.places.append((image, row, col, side, int(np.bincount(known).argmax())))

    def write(self) -> Path:
        """The places as polygons."""
        shapes = []
        for image, row, col, side, _ in self.places:
            with rasterio.open(self.images[image]) as dataset:
                west, north = dataset.transform @ (col + 0.1, row + 0.1)
                east, south = dataset.transform @ (col + side - 0.1, row + side - 0.1)
            shapes.append(box(west, south, east, north))
        names = [LEGEND.names[place[4]] for place in self.places]
        path = self.folder / "places.gpkg"
        gpd.GeoDataFrame({"class": names}, geometry=shapes, crs=self.crs).to_file(path)
        return path

    def unlabelled(self, image: int) -> Labels:
        """The truth of an image less its labelled places."""
        truth = self.truth[image].copy()
        for number, row, col, side, _ in self.places:
            if number == image:
                truth[row : row + side, col : col + side] = IGNORE
        return truth


def made(ground: Ground, checkpoint: Path, **more: Any) -> tuple[Adapted, NetworkClassifier]:
    """A region model of the places."""
    support = support_from_images(checkpoint, ground.images, ground.write(), column="class")
    out = ground.folder / "region.safetensors"
    done = adapt(checkpoint, support, out, device=CPU, overwrite=True, **more)
    return done, NetworkClassifier(out, CPU)


def judged(
    ground: Ground, classifier: NetworkClassifier, truths: Sequence[Labels]
) -> dict[str, float]:
    """Figures of the maps of all images."""
    mapped: list[NDArray[Any]] = []
    sure: list[NDArray[Any]] = []
    for image in ground.images:
        out = ground.folder / "map.tif"
        predict(classifier, image, out, overwrite=True, quiet=True)
        with rasterio.open(out) as dataset:
            mapped.append(classifier.legend.from_map(dataset.read(1)).ravel())
        with rasterio.open(confidence_path(out)) as dataset:
            sure.append(dataset.read(1).ravel() / np.float32(100))
    truth, classes = np.concatenate([t.ravel() for t in truths]), np.concatenate(mapped)
    truth = np.where(classes == IGNORE, IGNORE, truth)
    found = asdict(scores(confusion_matrix(truth, classes, len(LEGEND))))
    found["ece"] = expected_calibration_error(truth, classes, np.concatenate(sure))
    return found | {"tile_accuracy": float("nan")}


def votes(data: Path, folder: Path, checkpoint: Path, draws: int) -> Iterator[dict[str, Any]]:
    """The network alone, the forest alone, and both."""
    for region in MODIS_TEST:
        images = sorted((data / "modis_igbp" / region).glob("*_img.tif"))[:3]
        for count in COUNTS:
            for draw in range(draws):
                ground = Ground(images, folder)
                ground.draw(count, np.random.default_rng(draw))
                truths = [ground.unlabelled(i) for i in range(len(images))]
                where = {"task": region, "shots": count, "draw": draw}
                done, classifier = made(ground, checkpoint, hold_out=True)
                assert done.found is not None
                told = {"held_out": done.found.balanced, "share": done.forest}
                yield where | told | {"method": "as chosen"} | judged(ground, classifier, truths)
                way = done.how.model_dump(include={"optimizer", "rate", "steps"})
                for name, share in (("network alone", 0.0), ("half each", 0.5), ("forest", 1.0)):
                    _, classifier = made(ground, checkpoint, changes=way, forest=share)
                    yield where | {"method": name} | judged(ground, classifier, truths)


def suggested(data: Path, folder: Path, checkpoint: Path, draws: int) -> Iterator[dict[str, Any]]:
    """More places where `landmeta suggest` says, and such at random."""
    for region in MODIS_TEST:
        image = sorted((data / "modis_igbp" / region).glob("*_img.tif"))[0]
        for draw in range(draws):
            rng = np.random.default_rng([draw, 1])
            ground = Ground([image], folder)
            ground.draw(FEW, np.random.default_rng(draw))
            start = list(ground.places)
            _, classifier = made(ground, checkpoint, forest=0.5)
            with open_image(image, classifier.band_specs) as opened:
                known = read_places(ground.folder / "places.gpkg").on(opened.grid)
                found = choose(*survey(classifier, opened, SIDE, labelled=known), count=FEW)
                free = np.isfinite(opened.read(0, 0, *ground.truth[0].shape[::-1])).any(axis=0)
            places = list(zip(found.squares.row.tolist(), found.squares.col.tolist(), strict=True))
            spots = np.argwhere(free[: -SIDE + 1, : -SIDE + 1])
            random = rng.permutation(spots)[: len(places)].tolist()
            # Judged where none of them lies, so that all are judged alike.
            apart = ground.unlabelled(0)
            for row, col in (*places, *random):
                apart[row : row + SIDE, col : col + SIDE] = IGNORE
            where = {"task": region, "shots": FEW, "draw": draw}
            ways = {"no more": [], "suggested": places, "at random": random}
            for name, more in ways.items():
                ground.places = list(start)
                for row, col in more:
                    ground.add(0, row, col, SIDE)
                _, classifier = made(ground, checkpoint, forest=0.5)
                yield where | {"method": name} | judged(ground, classifier, [apart])


def main() -> None:
    """Run a benchmark to its end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("name", choices=["votes", "suggest"])
    parser.add_argument("--data", type=Path, required=True, help="folder of the raw data sets")
    parser.add_argument("--work", type=Path, required=True, help="folder for runs")
    parser.add_argument("--passes", type=int, default=4000, help="tiles through the network")
    parser.add_argument("--draws", type=int, default=2)
    given = parser.parse_args()
    (world,) = worlds("modis", given.data, given.work / "modis")
    checkpoint = train_all(world, ["pretrain"], given.passes, 1)["pretrain"]
    run = votes if given.name == "votes" else suggested
    rows = pd.DataFrame(
        run(given.data, world.folder / f"places_{given.name}", checkpoint, given.draws)
    )
    against = "network alone" if given.name == "votes" else "at random"
    text = [
        f"# Labelled places: {given.name}",
        f"`python benchmarks/places.py {given.name} --draws {given.draws} --passes "
        f"{given.passes}`, landmeta {landmeta.__version__}, torch {torch.__version__}, Python "
        f"{platform.python_version()}, CPU ({platform.machine()}). {rows['task'].nunique()} "
        f"held-out regions, {given.draws} draws of places each, the same for all. *Shots* are "
        "labelled places of three to six pixels a side; maps are judged on the pixels that none "
        "of them covers.",
    ]
    text += [score_table(summarise(rows), m).markdown() for m in ("accuracy", "miou", "ece")]
    for measure in ("accuracy", "miou"):
        found = verdicts(paired_differences(rows, against), against, measure)
        text.append(f"Paired differences against {against} over regions:")
        text.append("\n".join(f"- {sentence}" for sentence in found))
    if given.name == "votes":
        chosen = rows[rows["method"] == "as chosen"]
        counts = chosen["share"].value_counts().sort_index()
        told = ", ".join(f"{share:.0%} in {n}" for share, n in counts.items())
        text.append(f"Share of the forest that held-out places chose: {told} of {len(chosen)}.")
    path = RESULTS / f"places_{given.name}.md"
    path.write_text("\n\n".join(text) + "\n", encoding="utf-8")
    print(f"written to {path}", flush=True)


if __name__ == "__main__":
    main()
