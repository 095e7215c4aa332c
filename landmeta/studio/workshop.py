"""The work behind the page: one image, one checkpoint, what was drawn, and what came of it.

Everything lies in one folder, so that a person who comes back finds it again: `drawing.json`,
`labels.gpkg`, `region.safetensors`, `map.tif` and `map.confidence.tif`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from landmeta.adapt import adapt
from landmeta.atomic import atomic_file
from landmeta.checkpoint import load_checkpoint
from landmeta.classifier import NetworkClassifier
from landmeta.device import DeviceName
from landmeta.errors import ConfigError, EmptyRegion
from landmeta.imagery import reading
from landmeta.labelled import support_from_images
from landmeta.legend import LandClass, Legend
from landmeta.naming import color_of
from landmeta.pictures import true_colour_bands
from landmeta.predict import predict
from landmeta.raster import Grid, open_image
from landmeta.squares import survey
from landmeta.studio import drawing
from landmeta.studio.drawing import Shape
from landmeta.studio.jobs import Job
from landmeta.studio.view import View, cut_out, is_large
from landmeta.suggest import choose
from landmeta.vectors import read_places
from landmeta.windows import cut

DRAWING, LABELS, REGION, MAP = "drawing.json", "labels.gpkg", "region.safetensors", "map.tif"
CONFIDENCE = "map.confidence.tif"
PLACE, PLACES = 5, 8
"""Pixels along a suggested place, and how many are suggested."""
EXPORTS = (LABELS, REGION, MAP, CONFIDENCE)


class Workshop:
    """One image to be mapped from what a person draws on it.

    Args:
        raster: the image.
        checkpoint: written by training.
        folder: where everything is kept; made if it is not there.
        names: what the bands of the image are, if it does not say so itself.
        device: where to compute.

    Raises:
        LandmetaError: the image or checkpoint cannot be read, or do not fit together; the folder
            holds a damaged drawing.
    """

    def __init__(
        self,
        raster: Path,
        checkpoint: Path,
        folder: Path,
        *,
        names: Sequence[str] | None = None,
        device: DeviceName = "auto",
    ) -> None:
        self.raster, self.checkpoint, self.folder = raster, checkpoint, folder
        self.names, self.device = names, device
        meta = load_checkpoint(checkpoint).meta
        self.open_legend = meta.open_legend
        with open_image(raster, meta.bands, names) as image:
            self.grid: Grid = image.grid
            self.notes = tuple(image.notes)
        self.rgb = self._shown_bands()
        folder.mkdir(parents=True, exist_ok=True)
        self.shapes = drawing.read(folder / DRAWING)
        self.places: list[dict[str, int | str]] = []
        self.legend: Legend | None = None if self.open_legend else meta.legend
        for shape in self.shapes:
            self._legend_with(shape.label)

    def _shown_bands(self) -> tuple[int, int, int]:
        """Numbers, from 1, of the file's bands that are shown as red, green and blue."""
        with rasterio.open(self.raster) as dataset:
            described = [d or "" for d in dataset.descriptions]
            names = list(self.names or described)
        red, green, blue = true_colour_bands(names)
        return red + 1, green + 1, blue + 1

    # What is drawn

    def draw(self, shapes: Sequence[Shape]) -> None:
        """Take a whole drawing in place of the last one, and keep it on disk.

        Raises:
            ConfigError: a class is not in the legend, or a shape lies outside the image.
        """
        known = set(self.legend.names) if self.legend else set()
        for shape in shapes:
            if shape.label not in known:
                raise ConfigError(f"{shape.label!r} is no class here", remedy="add the class first")
        drawing.write(self.folder / DRAWING, shapes)
        self.shapes = list(shapes)

    def add_class(self, name: str, color: str | None = None) -> LandClass:
        """A new class, where the checkpoint takes any.

        Raises:
            ConfigError: the checkpoint's classes are fixed, or there is a class of that name.
        """
        if not self.open_legend:
            raise ConfigError(
                f"{name!r} cannot be added: the checkpoint maps its own classes only",
                remedy="use a checkpoint that was trained with 'legend: open'",
            )
        name = name.strip()
        if not name:
            raise ConfigError("a class needs a name", remedy="write one")
        if self.legend and name in self.legend.names:
            raise ConfigError(f"there is a class {name!r} already", remedy="choose another name")
        return self._legend_with(name, color)

    def _legend_with(self, name: str, color: str | None = None) -> LandClass:
        classes = self.legend.classes if self.legend else ()
        for known in classes:
            if known.name == name:
                return known
        made = LandClass(
            id=len(classes) + 1,
            name=name,
            color=color or color_of(name, {c.color for c in classes}),
        )
        self.legend = Legend(classes=(*classes, made))
        return made

    def pixels(self) -> dict[str, int]:
        """Labelled pixels per class of the drawing."""
        if self.legend is None:
            return {}
        counts = drawing.count_pixels(self.shapes, self.legend, self.grid.height, self.grid.width)
        return dict(zip(self.legend.names, counts.tolist(), strict=False))

    # What comes of it

    @property
    def large(self) -> bool:
        """Whether the image is mapped by parts."""
        return is_large(self.grid)

    def map(self, job: Job, hold_out: bool = False, seen: Sequence[float] | None = None) -> str:
        """Adapt to the drawing and map the image; what was there before stays until the end.

        Args:
            job: is told how far it is.
            hold_out: hold labels out in turn, to choose the way and to estimate the accuracy.
            seen: column, row, width and height of what is looked at: of a large image, only that is
                mapped.
        """
        if not self.shapes or self.legend is None:
            raise EmptyRegion("nothing is drawn yet", remedy="draw some labels, then adapt")
        job.tell("reading the labels")
        with tempfile.TemporaryDirectory(prefix=".next", dir=self.folder) as scratch:
            made = Path(scratch)
            self._write_vectors(made / LABELS)
            support = support_from_images(
                self.checkpoint,
                [self.raster],
                made / LABELS,
                column="class",
                names=self.names,
                legend=self.legend,
            )
            job.tell(f"adapting to {len(self.shapes)} labelled places")
            adapted = adapt(
                self.checkpoint,
                support,
                made / REGION,
                hold_out=hold_out,
                progress=lambda share: job.tell("holding labels out", share),
                device=self.device,
            )
            view = self._view(seen)
            self._map(made / REGION, made / MAP, job, view)
            job.tell("keeping the results")
            for name in EXPORTS:
                (made / name).replace(self.folder / name)
        said = [f"{adapted.how.steps} steps on {len(self.shapes)} labelled places; {adapted.votes}"]
        if adapted.found is not None:
            groups, right = adapted.found.groups, adapted.found.accuracy
            said.append(f"of {groups} held out, {right:.0%} of the pixels are right")
        if view is not None:
            said.append(f"mapped {view.width} × {view.height} pixels in the middle of the view")
        if adapted.scarce:
            said.append(f"few labels of {', '.join(adapted.scarce)}")
        if adapted.unlabelled:
            said.append(f"none of {', '.join(adapted.unlabelled)}")
        return "\n".join([*said, *dict.fromkeys((*support.notes, *adapted.notes))])

    def map_all(self, job: Job) -> str:
        """Map the whole image with the region model that is there."""
        model = self.export(REGION)
        with tempfile.TemporaryDirectory(prefix=".next", dir=self.folder) as scratch:
            self._map(model, Path(scratch) / MAP, job, None)
            for name in (MAP, CONFIDENCE):
                (Path(scratch) / name).replace(self.folder / name)
        return f"mapped all {self.grid.width} × {self.grid.height} pixels"

    def _view(self, seen: Sequence[float] | None) -> View | None:
        return View.of(seen, self.grid) if seen is not None and self.large else None

    def _map(self, model: Path, out: Path, job: Job, view: View | None) -> None:
        """Map the image, or the part of it that is in view."""
        with self._part(view) as raster:
            classifier = NetworkClassifier(model, self.device)
            predict(
                _Watched(classifier, job, view or self.grid),
                raster,
                out,
                names=self.names,
                provenance=classifier.provenance() | {"landmeta_image": self.raster.name},
                allow_no_crs=True,
                quiet=True,
            )

    @contextmanager
    def _part(self, view: View | None) -> Iterator[Path]:
        """The image, or a part of it as a file of its own."""
        if view is None:
            yield self.raster
            return
        with tempfile.TemporaryDirectory() as scratch:
            part = Path(scratch) / f"{self.raster.stem}_part.tif"
            with reading(self.raster):
                cut_out(self.raster, view, part)
            yield part

    def suggest(self, job: Job, seen: Sequence[float] | None = None) -> str:
        """Find places to label next; they are `places` then. Arguments as of `map`."""
        model = self.export(REGION)
        classifier = NetworkClassifier(model, self.device)
        view = self._view(seen)
        left, top = (0, 0) if view is None else (view.col, view.row)
        with (
            self._part(view) as raster,
            open_image(raster, classifier.band_specs, self.names) as image,
        ):
            job.tell("looking where the map is unsure")
            with tempfile.TemporaryDirectory() as scratch:
                self._write_vectors(Path(scratch) / LABELS)
                known = read_places(Path(scratch) / LABELS).on(image.grid)
            watched = _Watched(classifier, job, view or self.grid)
            found = choose(*survey(watched, image, PLACE, labelled=known), count=PLACES)
        names = classifier.legend.names
        self.places = [
            {"col": left + int(col), "row": top + int(row), "size": PLACE, "guess": names[k]}
            for row, col, k in zip(
                found.squares.row, found.squares.col, found.squares.label, strict=True
            )
        ]
        return f"{len(self.places)} places where a label tells most"

    def _write_vectors(self, path: Path) -> None:
        frame = drawing.to_frame(self.shapes, self.grid.transform, self.grid.crs)
        frame.to_file(path, layer="labels", driver="GPKG")

    def export(self, name: str) -> Path:
        """A file to take away; the labels are written anew as they are drawn now.

        Raises:
            ConfigError: there is no such file, or not yet.
        """
        path = self.folder / name
        if name == LABELS and self.shapes:
            with atomic_file(path, overwrite=True) as temporary:
                self._write_vectors(temporary)
        if name not in EXPORTS or not path.is_file():
            raise ConfigError(f"there is no {name} yet", remedy="draw labels and adapt first")
        return path


class _Watched:
    """A classifier that tells how much of the image is done, and stops when it is cancelled."""

    def __init__(self, inner: NetworkClassifier, job: Job, area: Grid | View) -> None:
        self._inner, self._job = inner, job
        self.tile_size = size = inner.tile_size
        rows, cols = (cut(n, size, size // 4) for n in (area.height, area.width))
        self._all, self._done = len(rows.starts) * len(cols.starts), 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the classifier has
        return getattr(self._inner, name)

    def probabilities(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        self._job.tell("mapping", min(1.0, self._done / self._all))
        self._done += len(image)
        return self._inner.probabilities(image)
