"""How good a map is and how much there is of each class, as far as a reference can tell.

Three cases, never mixed. A *sample* drawn at random allows estimates with intervals for the whole
map. A *census*, a reference for every pixel, has no sampling error. *Labels* of any other origin
say how often the map agrees with these labels, and nothing of the map.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from landmeta.cautions import cautions
from landmeta.design import REFERENCE, design_path, read_design
from landmeta.errors import ConfigError, EmptyRegion
from landmeta.estimators.accuracy import Accuracy, confusion, exact_accuracy
from landmeta.estimators.designs import Floats, Ints
from landmeta.interpreted import Interpreted, as_stated, by_design
from landmeta.kinds import Kind
from landmeta.landmap import Content, LandMap, content, open_map
from landmeta.legend import IGNORE, LandClass, Legend
from landmeta.matching import labelled
from landmeta.reference import (
    count_polygons,
    geometry_kind,
    read_shapes,
    reference_strips,
    to_points,
)
from landmeta.translation import Coding, translate
from landmeta.vectorfile import is_vector

WHY_NOT = {
    "points": "nobody said how these points were chosen. Only of places that were drawn at random, "
    "with known probability, can errors and areas be carried over to the whole map. Draw such a "
    "sample with 'landmeta sample', or say how these were drawn with --design",
    "polygons": "polygons digitised by hand are no probability sample: they lie where somebody "
    "found it easy to draw one, which is mostly where the map is right. Draw a sample with "
    "'landmeta sample' and interpret its points",
    "raster": "the reference raster covers a part of the map only, and nobody knows how this part "
    "was chosen. What it says holds for that part",
}


@dataclass(frozen=True)
class Assessment:
    """What was found.

    Attributes:
        landmap, reference: the files.
        kind: what may be concluded: "sample", "census" or "labels".
        design: how the sample was drawn, in words; of others, what the reference is.
        source: who says so: "design file", "user's statement" or "".
        classes: of the map, in the order of the tables.
        accuracy: estimates (sample), or what is the case (census); of labels the agreement with
            these labels, whose areas are counts of places.
        mapped: area by class in the map; `area_unit`: "m2" or "pixel".
        units: what counted: "places" or "pixels".
        narrow: classes (by index) whose interval of area is too narrow to trust, see the notes.
        why: why there are no intervals, or "".
        notes: what did not count and what was assumed, in words.
    """

    landmap: Path
    reference: Path
    kind: Literal["sample", "census", "labels"]
    design: str
    source: str
    classes: tuple[LandClass, ...]
    accuracy: Accuracy
    mapped: Floats
    area_unit: Literal["m2", "pixel"]
    units: str
    why: str
    notes: tuple[str, ...]
    narrow: tuple[int, ...] = ()


def assess(
    landmap: Path,
    reference: Path,
    *,
    column: str = REFERENCE,
    design: str | None = None,
    cluster: str | None = None,
    post_stratify: bool = False,
    legend: Legend | None = None,
    reference_legend: Legend | None = None,
) -> Assessment:
    """Compare a map with a reference.

    Args:
        landmap: raster of class ids.
        reference: points or polygons with a column of classes (names or ids), or a raster on the
            map's grid.
        column: of the true class.
        design: how the points were drawn: "stratified" (by the classes of this map), "simple" or
            "cluster", as the user's own statement; or the design file of `landmeta sample`. If not
            given, the design file beside the reference, if there is one.
        cluster: column of the cluster of each point, for "cluster".
        post_stratify: of a simple sample, use the known areas of the map's classes.
        legend: of a map that does not name its classes, or whose reference has more.
        reference_legend: of a reference whose values are not the map's ids and names; its classes
            are those of the map by their names, and others that the map does not have.

    Raises:
        LandmetaError: a file cannot be read, the classes do not fit, or nothing is left to compare.
    """
    land = open_map(landmap, legend)
    found = content(land)
    coding = Coding.same(land.legend)
    if reference_legend is not None:
        land, found, coding = translate(land, found, reference_legend)
    if not is_vector(reference):
        if design is not None or cluster is not None or post_stratify:
            raise _no_sample("a raster", reference)
        return _with_raster(land, found, reference, coding)
    frame = read_shapes(reference, column, land, coding)
    if geometry_kind(frame, reference) == "polygons":
        if design is not None or cluster is not None or post_stratify:
            raise _no_sample("polygons", reference)
        counts, notes = count_polygons(frame, land)
        what = f"{len(frame):,} polygons"
        return _of_labels(land, found, reference, "polygons", what, counts, "pixels", notes)
    points = to_points(frame, reference, land, cluster)
    beside = design_path(reference)
    notes = []
    if design is None and beside.is_file():
        design = str(beside)
    elif beside.is_file() and design != str(beside):
        notes.append(f"{beside} lies beside the points and was not used, as --design says {design}")
    if design is None:
        _check_options(None, cluster, post_stratify, reference)
        kept, mapped = labelled(points, land, reference)
        counts = confusion(mapped, kept.reference, len(land.legend))
        what = f"{int(counts.sum()):,} points"
        return _of_labels(land, found, reference, "points", what, counts, "places", kept.notes)
    if design in list(Kind):
        _check_options(Kind(design), cluster, post_stratify, reference)
        done = as_stated(points, land, found, Kind(design), reference, post_stratify=post_stratify)
        source = "user's statement"
    else:
        if not Path(design).is_file():
            raise ConfigError(
                f"--design {design!r} is neither {', '.join(Kind)} nor a file",
                remedy="say how the points were drawn, or name the file that 'landmeta sample' "
                "wrote beside them",
            )
        told = read_design(Path(design))
        if cluster is not None:
            raise ConfigError(
                f"the design {design} knows the clusters, and --cluster names them again",
                remedy="leave --cluster out",
                path=reference,
            )
        _check_post_strata(told.kind, post_stratify, reference)
        done = by_design(points, land, found, told, reference, post_stratify=post_stratify)
        source = "design file"
    return _of_sample(land, found, reference, source, done, notes)


def _of_sample(
    land: LandMap,
    found: Content,
    reference: Path,
    source: str,
    done: Interpreted,
    notes: list[str],
) -> Assessment:
    census = done.design.census
    warnings = [] if census else cautions(done.accuracy, land.legend)
    return Assessment(
        landmap=land.path,
        reference=reference,
        kind="census" if census else "sample",
        design=done.words,
        source=source,
        classes=land.legend.classes,
        accuracy=done.accuracy,
        mapped=found.areas,
        area_unit=done.area_unit,
        units="places",
        why="",
        notes=(*land.notes, *notes, *done.notes, *warnings),
        narrow=done.narrow,
    )


def _of_labels(
    land: LandMap,
    found: Content,
    reference: Path,
    what: str,
    words: str,
    counts: Ints,
    units: str,
    notes: list[str],
) -> Assessment:
    if not counts.any():
        raise EmptyRegion(
            "no labelled place lies on a pixel of the map with data"
            + "".join(f"; {n}" for n in notes),
            remedy="check that map and reference are of the same region and in the right "
            "coordinate reference systems, and that the classes are filled in",
            path=reference,
        )
    return Assessment(
        landmap=land.path,
        reference=reference,
        kind="labels",
        design=words,
        source="",
        classes=land.legend.classes,
        accuracy=exact_accuracy(counts, counts.astype(np.float64)),
        mapped=found.areas,
        area_unit=land.area.unit,
        units=units,
        why=WHY_NOT[what],
        notes=(*land.notes, *notes),
    )


def _with_raster(land: LandMap, found: Content, reference: Path, coding: Coding) -> Assessment:
    classes = len(land.legend)
    counts = np.zeros((classes, classes), np.int64)
    areas = np.zeros((classes, classes))
    beyond = 0
    for top, labels, truth in reference_strips(reference, land, coding):
        told = (labels != IGNORE) & (truth != IGNORE)
        beyond += int(((labels == IGNORE) & (truth != IGNORE)).sum())
        mapped, true = (a[told].astype(np.int64) for a in (labels, truth))
        counts += confusion(mapped, true, classes)
        weight = np.broadcast_to(land.area.rows(top, top + len(labels)), labels.shape)[told]
        flat = np.bincount(mapped * classes + true, weight, minlength=classes**2)
        areas += flat.reshape(classes, classes)
    notes = []
    if beyond:
        notes.append(f"{beyond:,} pixels of the reference lie where the map has no data")
    covered, whole = int(counts.sum()), int(found.pixels.sum())
    if covered < whole:
        words = f"raster of {covered:,} labelled pixels, {covered / whole:.2%} of the map's"
        return _of_labels(land, found, reference, "raster", words, counts, "pixels", notes)
    return Assessment(
        landmap=land.path,
        reference=reference,
        kind="census",
        design="the reference covers every pixel of the map: nothing is estimated",
        source="",
        classes=land.legend.classes,
        accuracy=exact_accuracy(counts, areas),
        mapped=found.areas,
        area_unit=land.area.unit,
        units="pixels",
        why="",
        notes=(*land.notes, *notes),
    )


def _no_sample(what: str, path: Path) -> ConfigError:
    return ConfigError(
        f"is {what}, of which no sampling design can be stated",
        remedy="leave --design, --cluster and --post-stratify out, or give points that were drawn "
        "at random ('landmeta sample')",
        path=path,
    )


def _check_options(kind: Kind | None, cluster: str | None, post_stratify: bool, path: Path) -> None:
    if (kind is Kind.cluster) != (cluster is not None):
        raise ConfigError(
            "a cluster sample needs the column that says the cluster of each point, other samples "
            "have none",
            remedy="give --design cluster --cluster COLUMN, or neither",
            path=path,
        )
    _check_post_strata(kind, post_stratify, path)


def _check_post_strata(kind: Kind | None, post_stratify: bool, path: Path) -> None:
    if post_stratify and kind is not Kind.simple:
        raise ConfigError(
            "only a simple random sample can be stratified after it was drawn",
            remedy="leave --post-stratify out, or state --design simple if that is how the points "
            "were drawn",
            path=path,
        )
