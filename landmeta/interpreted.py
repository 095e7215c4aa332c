"""From interpreted points to estimates: which units they are, and by which design."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from landmeta.design import SampleDesign
from landmeta.errors import ConfigError
from landmeta.estimators.accuracy import (
    Accuracy,
    Units,
    estimate_accuracy,
    post_strata,
    unseen_areas,
)
from landmeta.estimators.designs import Clustered, Design, Floats, Ints, Stratified
from landmeta.kinds import Kind
from landmeta.landmap import Content, LandMap
from landmeta.matching import labelled, mapped_now, match, nothing_left
from landmeta.pixelarea import pixel_area
from landmeta.reference import Points


@dataclass(frozen=True)
class Interpreted:
    """Estimates and how they came about.

    Attributes:
        accuracy: the estimates; `design`: that they were made by.
        words: the design in words.
        area_unit: of the areas.
        narrow: classes (by index) whose area's interval leaves out what one stratum may hide.
        notes: what did not count and what was assumed, in words.
    """

    accuracy: Accuracy
    design: Design
    words: str
    area_unit: Literal["m2", "pixel"]
    narrow: tuple[int, ...]
    notes: list[str]


def as_stated(
    points: Points,
    land: LandMap,
    found: Content,
    kind: Kind,
    path: Path,
    *,
    post_stratify: bool = False,
) -> Interpreted:
    """Estimate from points of which the user says how they were drawn.

    Raises:
        EmptyRegion: no point is left.
        ConfigError: two points of one pixel contradict each other.
    """
    points, mapped = labelled(points, land, path)
    if not len(mapped):
        raise nothing_left(points.notes, path)
    area = land.area.at(points.row, points.col)
    units = Units(mapped, points.reference, len(land.legend))
    notes = [*points.notes, land.area.note]
    aligned = kind is Kind.stratified or post_stratify
    design: Design
    if kind is Kind.cluster:
        assert points.cluster is not None
        cluster = np.unique(points.cluster, return_inverse=True)[1].astype(np.int64)
        whole = float(found.areas.sum())
        design = Clustered(area, cluster, np.bincount(cluster).astype(np.int64), None, whole)
        _check_clusters(design, notes)
        notes.append(
            "clusters are taken to be drawn with equal probability, the same share of each to be "
            "interpreted, and to be few of very many"
        )
    elif aligned:
        strata = np.arange(len(land.legend))
        if post_stratify:
            strata = post_strata(mapped, len(land.legend))
        pixels, areas = _by_stratum(found, strata)
        names = _names(land, strata)
        design = _stratified(area, strata[mapped], pixels, areas, names, notes)
        aligned = len(np.unique(strata)) == len(strata)
    else:
        pixels = found.pixels.sum(keepdims=True)
        areas = found.areas.sum(keepdims=True)
        design = _stratified(area, np.zeros_like(mapped), pixels, areas, ["map"], notes)
    accuracy = estimate_accuracy(units, design, strata_are_classes=aligned)
    narrow, told_of = _hidden(accuracy, design, units, land)
    notes += told_of
    words = _words(kind, len(mapped), design, post_stratify)
    return Interpreted(accuracy, design, words, land.area.unit, narrow, notes)


def by_design(
    points: Points,
    land: LandMap,
    found: Content,
    told: SampleDesign,
    path: Path,
    *,
    post_stratify: bool = False,
) -> Interpreted:
    """Estimate from the interpreted sheet of a sample that landmeta drew.

    Raises:
        EmptyRegion: nothing was interpreted.
        ConfigError: the sheet and its design do not fit, or it contradicts itself.
    """
    same = found.hash == told.map_hash
    points, unit = match(points, told, land, path, same)
    notes = [*points.notes]
    row, col, mapped, stratum = (
        np.array(values, np.int64)[unit]
        for values in (told.units.row, told.units.col, told.units.mapped, told.units.stratum)
    )
    grid_area = pixel_area(told.grid)
    area = grid_area.at(row, col)
    if not same:
        mapped = mapped_now(row, col, told, land)
        notes.append(_changed(told, land, mapped))
        if post_stratify:
            raise ConfigError(
                "the map is not the one the sample was drawn from, and its classes do not give "
                "post-strata of it",
                remedy="leave --post-stratify out",
                path=land.path,
            )
    pixels = np.array([s.pixels for s in told.strata], np.int64)
    areas = np.array([s.area for s in told.strata])
    aligned = same and told.kind is Kind.stratified
    design: Design
    if told.kind is Kind.cluster:
        design = _clustered(told, area, unit, float(areas.sum()), notes)
    elif post_stratify:
        strata = post_strata(mapped, len(land.legend))
        aligned = len(np.unique(strata)) == len(strata)
        pixels, areas = _by_stratum(found, strata)
        design = _stratified(area, strata[mapped], pixels, areas, _names(land, strata), notes)
    else:
        names = [s.name for s in told.strata]
        design = _stratified(area, stratum, pixels, areas, names, notes)
    notes.append(grid_area.note)
    units = Units(mapped, points.reference, len(land.legend))
    accuracy = estimate_accuracy(units, design, strata_are_classes=aligned)
    narrow, told_of = _hidden(accuracy, design, units, land)
    notes += told_of
    words = _words(told.kind, len(unit), design, post_stratify) + f", seed {told.seed}"
    return Interpreted(accuracy, design, words, told.area_unit, narrow, notes)


def _changed(told: SampleDesign, land: LandMap, mapped: Ints) -> str:
    lost = int((mapped < 0).sum())
    text = (
        f"{land.path.name} is not the map that the sample was drawn from ({told.map}): strata are "
        "of that map, classes of this one (Stehman 2014)"
    )
    if lost:
        text += f"; {lost} places lie where this map has no data, and the figures are of the rest"
    return text


# ---- designs ------------------------------------------------------------------------------------


def _stratified(
    area: Floats,
    stratum: Ints,
    pixels: Ints,
    areas: Floats,
    names: list[str],
    notes: list[str],
) -> Stratified:
    """The design without strata that have no unit; what these are is noted."""
    units = np.bincount(stratum, minlength=len(pixels))
    gone = (units == 0) & (pixels > 0)
    if gone.any():
        which = ", ".join(name for name, yes in zip(names, gone, strict=True) if yes)
        share = areas[gone].sum() / areas.sum()
        notes.append(
            f"no place was interpreted in the strata {which}, {share:.2%} of the map: all figures "
            "are of the rest"
        )
    kept = units > 0
    number = np.cumsum(kept) - 1
    return Stratified(area, number[stratum].astype(np.int64), pixels[kept], areas[kept])


def _clustered(
    told: SampleDesign, area: Floats, unit: Ints, whole: float, notes: list[str]
) -> Clustered:
    old = np.array(told.units.cluster, np.int64)[unit]
    kept, cluster = np.unique(old, return_inverse=True)
    pixels = np.array(told.cluster_pixels, np.int64)[kept]
    design = Clustered(area, cluster.astype(np.int64), pixels, told.clusters, whole)
    _check_clusters(design, notes)
    return design


def _check_clusters(design: Clustered, notes: list[str]) -> None:
    n = len(design.cluster_pixels)
    if n < 2 and not design.census:
        notes.append("one cluster tells nothing about how clusters differ: no interval can be had")
    elif n < 10 and not design.census:
        notes.append(f"{n} clusters are few: the intervals are wide, and rough")
    if ((design.sizes == 1) & (design.cluster_pixels > 1)).any():
        notes.append(
            "a cluster with one interpreted pixel does not tell how it varies within: clusters "
            "are taken as drawn with replacement, which makes intervals a little too wide"
        )


def _hidden(
    accuracy: Accuracy, design: Design, units: Units, land: LandMap
) -> tuple[tuple[int, ...], list[str]]:
    """Classes of which a large stratum may hide more than their interval shows, and a note."""
    if not isinstance(design, Stratified) or design.simple:
        return (), []
    unseen = unseen_areas(design, units.reference, units.classes)
    narrow = tuple(
        k for k, a in enumerate(accuracy.areas) if a.value > 0 and unseen[k] > a.half_width
    )
    if not narrow:
        return (), []
    whole = accuracy.area.value
    told = ", ".join(f"{land.legend.names[k]} ({unseen[k] / whole:.2%} of the map)" for k in narrow)
    return narrow, [
        "† these intervals of area and producer's accuracy are too narrow to trust. In a large "
        "stratum no place turned out to be of the class, which the formulas take for certain; by "
        f"the rule of three, so much of it could hide there: {told}. More places in that stratum "
        "help"
    ]


def _by_stratum(found: Content, strata: Ints) -> tuple[Ints, Floats]:
    """Pixels and areas of strata that are (groups of) classes."""
    pixels = np.zeros(int(strata.max()) + 1, np.int64)
    areas = np.zeros(len(pixels))
    np.add.at(pixels, strata, found.pixels)
    np.add.at(areas, strata, found.areas)
    return pixels, areas


def _names(land: LandMap, strata: Ints) -> list[str]:
    return [
        " + ".join(n for n, s in zip(land.legend.names, strata, strict=True) if s == number)
        for number in range(int(strata.max()) + 1)
    ]


def _words(kind: Kind, units: int, design: Design, post: bool) -> str:
    if isinstance(design, Clustered):
        return f"cluster sample of {units:,} pixels in {len(design.cluster_pixels)} clusters"
    if kind is Kind.simple:
        after = ", stratified by map class afterwards" if post else ""
        return f"simple random sample of {units:,} places{after}"
    return f"stratified random sample of {units:,} places"
