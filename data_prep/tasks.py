"""From scenes to a source: same bands, regions, splits, and what the user should know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, TypeVar

import numpy as np

from data_prep.areas import Areas, blocks_over
from data_prep.cutting import grid_notes, size_notes
from data_prep.scenes import Scene, Tiling, corners_of, labelled_corners, readable, scene_source
from data_prep.source import Source
from data_prep.splits import assign_splits
from landmeta.errors import ConfigError, EmptyRegion, MissingBands
from landmeta.imagery import Header
from landmeta.legend import Legend
from landmeta.taskset import Band, TaskSetMeta

Item = TypeVar("Item")


@dataclass(frozen=True)
class Cutting:
    """How scenes become tasks; see `data_prep.rasters.rasters`."""

    source: str
    legend: Legend
    tile: int
    scales: Mapping[str, float]
    areas: Areas | None
    blocks: int | None
    min_labelled: float
    val: Iterable[str] | float
    test: Iterable[str] | float
    seed: int
    options: dict[str, Any] = field(default_factory=dict)


def scenes_source(
    items: Sequence[Any], scene: Callable[[Any], Scene], cutting: Cutting, notes: Sequence[str]
) -> Source:
    """The source of scenes that are first looked at one by one.

    Args:
        items: with an attribute `region`.
        scene: makes a scene of an item; what it cannot read is set aside.
        cutting: the rest.
        notes: what is known of the items already.

    Raises:
        As `data_prep.rasters.rasters`.
    """
    said: list[str] = []

    def look(item: Any) -> Scene:  # noqa: ANN401
        made = scene(item)
        said.extend(made.image.notes)
        said.extend(made.labels.check(made.image.header, cutting.legend))
        return made

    _, scenes, unreadable = readable(items, look, lambda item: item.region)
    headers = [scene.image.header for scene in scenes]
    check_same_bands(headers)
    all_notes = [*notes, *dict.fromkeys(said)]
    all_notes += size_notes(scenes, headers, cutting.tile) + grid_notes(headers)
    tilings, more = _tilings(scenes, cutting)
    sizes = [h.gsd for h in headers if h.gsd is not None]
    meta = TaskSetMeta(
        source=cutting.source,
        bands=scaled(headers[0].bands, cutting.scales),
        legend=cutting.legend,
        gsd=float(np.median(sizes)) if sizes else None,
        tile_size=cutting.tile,
        dtype=str(np.result_type(*(h.dtype for h in headers))),
        options={
            **cutting.options,
            "blocks": cutting.blocks,
            "min_labelled": cutting.min_labelled,
            "seed": cutting.seed,
        },
        notes=all_notes + more,
    )
    regions = {region for tiling in tilings for region in tiling}
    return scene_source(
        scenes,
        meta,
        assign_splits(regions, val=cutting.val, test=cutting.test, seed=cutting.seed),
        min_labelled=cutting.min_labelled,
        tilings=tilings,
        unreadable=unreadable,
    )


def _tilings(scenes: Sequence[Scene], cutting: Cutting) -> tuple[list[Tiling], list[str]]:
    """Which tiles of each scene are of which region; notes on tiles that are of none."""
    if cutting.areas is not None and cutting.blocks is not None:
        raise ConfigError(
            "regions were asked for both as polygons and as blocks", remedy="choose one of them"
        )
    corners = [corners_of(scene, cutting.tile) for scene in scenes]
    if cutting.areas is None and cutting.blocks is None:
        return [{s.region: c} for s, c in zip(scenes, corners, strict=True)], []
    areas = _areas_of(scenes, cutting)
    tilings: list[Tiling] = []
    across = bare = 0
    for scene, places in zip(scenes, corners, strict=True):
        named = areas[scene.region].regions(scene.image.header, places, cutting.tile)
        inside = [corner for corner, name in zip(places, named, strict=True) if name is not None]
        region = dict(zip(places, named, strict=True))
        kept = labelled_corners(scene, inside, cutting.legend, cutting.tile, cutting.min_labelled)
        across += len(places) - len(inside)
        bare += len(inside) - len(kept)
        tiling: Tiling = {}
        for corner in kept:
            tiling.setdefault(str(region[corner]), []).append(corner)
        tilings.append(tiling)
    if not any(tilings):
        raise EmptyRegion(
            f"no tile is left: {across} lie in no region or across a border, {bare} have too few "
            "labels",
            remedy="check that images, labels and regions lie in one place, choose smaller tiles "
            "or a lower share of labelled pixels",
        )
    notes = []
    if across:
        notes.append(f"{across} tiles lie in no region or across a border and were left out")
    if bare:
        notes.append(f"{bare} tiles have too few labels and were left out")
    return tilings, notes


def _areas_of(scenes: Sequence[Scene], cutting: Cutting) -> dict[str, Areas]:
    """What says the regions, by the region that paths or table give."""
    if cutting.areas is not None:
        return {scene.region: cutting.areas for scene in scenes}
    areas: dict[str, Areas] = {}
    for region, some in groupby(sorted(scenes, key=lambda s: s.region), lambda s: s.region):
        headers = [scene.image.header for scene in some]
        large = [h for h in headers if min(h.height, h.width) >= cutting.tile]
        prefix = f"{region}-" if region else ""
        areas[region] = blocks_over(large or headers, cutting.blocks or 1, cutting.tile, prefix)
    return areas


def check_same_bands(headers: Sequence[Header]) -> None:
    """Refuse images of different bands.

    Raises:
        MissingBands: two images differ in names, order, scale or offset of their bands.
    """
    first = headers[0]
    for header in headers:
        if header.bands != first.bands:
            raise MissingBands(
                f"has the bands {_band_text(header.bands)}, but {first.path} has "
                f"{_band_text(first.bands)}",
                remedy="all images need the same bands in the same order; where they have names, "
                "choose the common ones",
                path=header.path,
            )


def _band_text(bands: Sequence[Band]) -> str:
    plain = [
        b.name if (b.scale, b.offset) == (1, 0) else f"{b.name} (× {b.scale:g} + {b.offset:g})"
        for b in bands
    ]
    return ", ".join(plain)


def scaled(bands: tuple[Band, ...], scales: Mapping[str, float]) -> tuple[Band, ...]:
    """Bands with the scales that the user gives.

    Raises:
        ConfigError: a scale of a band that is not there.
    """
    names = [b.name for b in bands]
    unknown = sorted(set(scales) - set(names))
    if unknown:
        raise ConfigError(
            f"a scale is given for {', '.join(unknown)}, but the bands are {', '.join(names)}",
            remedy="use the names of the bands",
        )
    return tuple(
        b.model_copy(update={"scale": scales[b.name]}) if b.name in scales else b for b in bands
    )
