"""Drawing a probability sample of a map's pixels, in two passes over the map.

The first pass counts (`landmeta.landmap.content`), the second finds the pixels whose numbers were
drawn; a few rows are held at a time, whatever the map's height.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

import landmeta
from landmeta.design import SampleDesign, SampledUnits, Stratum
from landmeta.errors import ConfigError, MissingCRS
from landmeta.estimators.size import Ints
from landmeta.kinds import Allocation, Kind
from landmeta.landmap import Content, LandMap, content
from landmeta.legend import IGNORE, Labels
from landmeta.planning import Aim, Plan, plan


@dataclass(frozen=True)
class Drawn:
    """Sampled pixels in random order: places in the map, and what the map says there."""

    row: Ints
    col: Ints
    mapped: Ints
    group: Ints
    """Stratum or cluster."""


def sample_pixels(
    land: LandMap,
    kind: Kind,
    allocation: Allocation,
    aim: Aim,
    *,
    minimum: int = 50,
    seed: int = 0,
) -> tuple[SampleDesign, Plan]:
    """Draw single pixels, stratified by map class or simply at random, without replacement.

    Args:
        land: the map.
        kind: `Kind.stratified` or `Kind.simple`.
        allocation: of a stratified sample.
        aim: what decides the size; by class index of the map's legend.
        minimum: units of each class in balanced allocation.
        seed: of the draw.

    Raises:
        MissingCRS: the map lies nowhere, so that nobody could find the places.
        ConfigError: as `landmeta.planning.plan`.
    """
    _check_place(land)
    found = content(land)
    present = np.flatnonzero(found.pixels)
    place = {int(k): i for i, k in enumerate(present)}
    how = allocation if kind is Kind.stratified else None
    planned = plan(
        found.pixels[present],
        found.areas[present],
        how,
        Aim(
            aim.size,
            _renumber(aim.class_area, place, land),
            aim.error,
            _renumber(aim.users, place, land, strict=False),
        ),
        minimum,
    )
    table = np.full(256, IGNORE, np.uint8)
    table[present] = np.arange(len(present)) if how else 0
    rng = np.random.default_rng(seed)
    pixels = found.pixels[present] if how else found.pixels.sum(keepdims=True)
    drawn = draw_pixels(land, table, pixels, planned.units, rng)
    if how is None:
        strata = [_whole_map(found, len(drawn.row))]
    else:
        strata = [
            Stratum(
                name=land.legend.names[k],
                klass=int(k),
                pixels=int(found.pixels[k]),
                area=float(found.areas[k]),
                units=int(n),
            )
            for k, n in zip(present, planned.units, strict=True)
        ]
    design = _design(land, found, kind, how.value if how else "at random", seed, strata, drawn)
    return design, planned


def sample_clusters(
    land: LandMap, clusters: int, side: int, per_cluster: int | None = None, *, seed: int = 0
) -> SampleDesign:
    """Draw blocks of pixels at random, and all or some of the pixels with data in each.

    Blocks are squares of the map's grid, cut off at its right and lower edge; those without data
    are not drawn.

    Args:
        land: the map.
        clusters: blocks to draw, 2 or more.
        side: rows and columns of a block.
        per_cluster: pixels to draw in each (two stages); None for all (one stage).
        seed: of the draw.

    Raises:
        MissingCRS: the map lies nowhere.
        ConfigError: a number makes no sense, or the map has fewer blocks.
    """
    _check_place(land)
    found = content(land)
    counts = _block_counts(land, side)
    some = np.flatnonzero(counts)
    _check_clusters(clusters, side, per_cluster, len(some))
    rng = np.random.default_rng(seed)
    chosen = rng.choice(some, clusters, replace=False)
    tops, lefts = (side * place for place in np.divmod(chosen, counts.shape[1]))
    blocks = [
        Window(left, top, min(side, land.grid.width - left), min(side, land.grid.height - top))
        for top, left in zip(tops.tolist(), lefts.tolist(), strict=True)
    ]
    parts = []
    for number, (block, labels) in enumerate(zip(blocks, land.windows(blocks), strict=True)):
        rows, cols = np.nonzero(labels != IGNORE)
        if per_cluster is not None and per_cluster < len(rows):
            keep = np.sort(rng.choice(len(rows), per_cluster, replace=False))
            rows, cols = rows[keep], cols[keep]
        group = np.full(len(rows), number)
        parts.append(
            np.stack([rows + block.row_off, cols + block.col_off, labels[rows, cols], group])
        )
    drawn = Drawn(*np.concatenate(parts, axis=1).astype(np.int64))
    stages = "one stage" if per_cluster is None else f"two stages, {per_cluster} pixels of each"
    how = f"{clusters} of {len(some)} blocks of {side} × {side} pixels, {stages}"
    strata = [_whole_map(found, len(drawn.row))]
    design = _design(land, found, Kind.cluster, how, seed, strata, drawn)
    return design.model_copy(
        update={
            "side": side,
            "clusters": len(some),
            "cluster_pixels": tuple(int(c) for c in counts.ravel()[chosen]),
        }
    )


def draw_pixels(
    land: LandMap, table: Labels, pixels: Ints, units: Ints, rng: np.random.Generator
) -> Drawn:
    """Draw so many pixels of each stratum, each set of them with the same probability.

    Args:
        land: the map.
        table: stratum of each class index, shape (256,); 255 for none.
        pixels: of each stratum in the map, shape (stratum,).
        units: to draw of each.
        rng: generator of the draw.
    """
    # Numbers of the pixels drawn, counting those of the stratum from the top left.
    ranks = [
        np.sort(rng.choice(int(size), int(n), replace=False, shuffle=False))
        for size, n in zip(pixels, units, strict=True)
    ]
    passed = np.zeros(len(ranks), np.int64)
    parts = []
    for top, labels in land.strips():
        strata = table[labels].ravel()
        counts = np.bincount(strata, minlength=256)[: len(ranks)]
        for h, numbers in enumerate(ranks):
            low, high = np.searchsorted(numbers, [passed[h], passed[h] + counts[h]])
            if low < high:
                where = np.flatnonzero(strata == h)[numbers[low:high] - passed[h]]
                rows, cols = np.divmod(where, labels.shape[1])
                mapped = labels[rows, cols]
                parts.append(np.stack([rows + top, cols, mapped, np.full(len(where), h)]))
        passed += counts
    together = np.concatenate(parts, axis=1).astype(np.int64)
    # A sheet in this order, interpreted in part, still is a random sample.
    return Drawn(*together[:, rng.permutation(together.shape[1])])


def _block_counts(land: LandMap, side: int) -> NDArray[np.int64]:
    """Pixels with data of each block, shape (row of blocks, column of blocks)."""
    if side < 1:
        raise ConfigError(
            f"blocks of {side} × {side} pixels", remedy="choose 1 pixel or more with --block"
        )
    starts = np.arange(0, land.grid.width, side)
    counts = np.zeros((-(-land.grid.height // side), len(starts)), np.int64)
    for top, labels in land.strips():
        by_col = np.add.reduceat((labels != IGNORE).astype(np.int32), starts, axis=1)
        np.add.at(counts, np.arange(top, top + len(labels)) // side, by_col)
    return counts


def _check_clusters(clusters: int, side: int, per_cluster: int | None, there: int) -> None:
    if not 2 <= clusters <= there:
        raise ConfigError(
            f"{clusters} clusters are asked for; the map has {there} blocks of {side} × {side} "
            "pixels with data",
            remedy="draw two or more, and not more than there are: smaller blocks (--block) or "
            "fewer clusters (--clusters)",
        )
    if per_cluster is not None and per_cluster < 1:
        raise ConfigError(
            f"{per_cluster} pixels of each cluster",
            remedy="draw one or more, or leave --per-cluster out to draw all",
        )


def _check_place(land: LandMap) -> None:
    if land.grid.crs is None or land.grid.gcps:
        raise MissingCRS(
            "has no coordinate reference system (or control points only), so that nobody could "
            "find the places drawn",
            remedy="georeference the map, for instance with gdalwarp",
            path=land.path,
        )


def _renumber(
    values: object, place: dict[int, int], land: LandMap, *, strict: bool = True
) -> dict[int, float] | None:
    """Values by class index of the legend to values by place among the classes of the map."""
    if not isinstance(values, dict):
        return None
    absent = [land.legend.names[k] for k in values if k not in place]
    if absent and strict:
        raise ConfigError(
            f"the map has no pixel of the class {absent[0]}, whose area is to be estimated",
            remedy="give the size with --size instead: how much of it hides among other classes "
            "cannot be guessed",
            path=land.path,
        )
    return {place[k]: v for k, v in values.items() if k in place}


def _whole_map(found: Content, units: int) -> Stratum:
    pixels, area = int(found.pixels.sum()), float(found.areas.sum())
    return Stratum(name="map", klass=None, pixels=pixels, area=area, units=units)


def _design(
    land: LandMap,
    found: Content,
    kind: Kind,
    allocation: str,
    seed: int,
    strata: list[Stratum],
    drawn: Drawn,
) -> SampleDesign:
    grid = land.grid
    clustered = kind is Kind.cluster
    group = tuple(drawn.group.tolist())
    return SampleDesign(
        kind=kind,
        landmeta=landmeta.__version__,
        map=land.path.name,
        map_hash=found.hash,
        crs=None if grid.crs is None else grid.crs.to_wkt(),
        transform=tuple(grid.transform)[:6],
        height=grid.height,
        width=grid.width,
        area_unit=land.area.unit,
        classes=land.legend.classes,
        seed=seed,
        allocation=allocation,
        strata=tuple(strata),
        units=SampledUnits(
            row=tuple(drawn.row.tolist()),
            col=tuple(drawn.col.tolist()),
            stratum=(0,) * len(group) if clustered else group,
            mapped=tuple(drawn.mapped.tolist()),
            cluster=group if clustered else (),
        ),
    )
