"""Pairs of an image and a label file of one grid each, made into a source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from data_prep.images import RasterImage
from data_prep.labels import RasterLabels, ReadLabelFile
from data_prep.pairs import Pair, name_in
from data_prep.quarantine import Unreadable
from data_prep.scenes import Scene, readable, scene_source
from data_prep.source import Source
from landmeta.errors import EmptyRegion
from landmeta.imagery import Header, check_same_grid, read_header, read_label
from landmeta.taskset import Split, TaskSetMeta


class _OfRegion(Protocol):
    @property
    def region(self) -> str: ...


def size_notes(pairs: Sequence[_OfRegion], headers: Sequence[Header], tile: int) -> list[str]:
    """A note naming the images that are smaller than a tile.

    Raises:
        EmptyRegion: a region has no other images.
    """
    small = {h.path for h in headers if min(h.height, h.width) < tile}
    empty = {p.region for p in pairs} - {
        p.region for p, h in zip(pairs, headers, strict=True) if h.path not in small
    }
    if empty:
        region = min(empty)
        sizes = [h for p, h in zip(pairs, headers, strict=True) if p.region == region]
        largest = max(min(h.height, h.width) for h in sizes)
        raise EmptyRegion(
            f"region {region!r} yields no tile: its images are smaller than {tile} × {tile} pixels",
            remedy=f"choose a tile of at most {largest} pixels, or take the region out",
            path=sizes[0].path,
        )
    if not small:
        return []
    names = ", ".join(sorted(str(p) for p in small)[:10]) + (" …" if len(small) > 10 else "")
    return [f"{len(small)} images are smaller than a tile and were left out: {names}"]


def grid_notes(headers: Sequence[Header]) -> list[str]:
    """Notes on images without georeference and on pixels of different size."""
    notes = []
    bare = sum(1 for h in headers if h.crs is None)
    if bare:
        notes.append(
            f"{bare} of {len(headers)} images have no georeference; maps made from such images "
            "carry no coordinate reference system"
        )
    sizes = [h.gsd for h in headers if h.gsd is not None]
    if sizes and max(sizes) > 1.05 * min(sizes):
        notes.append(
            f"pixels measure {min(sizes):g} to {max(sizes):g} m; gsd is the median over the images"
        )
    return notes


def pair_source(
    root: Path,
    pairs: Sequence[Pair],
    headers: Sequence[Header],
    meta: TaskSetMeta,
    splits: Mapping[str, Split],
    *,
    min_labelled: float,
    read: ReadLabelFile = read_label,
    unreadable: Sequence[Unreadable] = (),
) -> Source:
    """The source that cuts images with labels into tiles and keeps those with enough labels.

    A pixel is labelled only where at least one band has data. While it is cut, `UnknownClass` is
    raised for a label value that the legend lacks.

    Args:
        root: folder that the tiles' sources are told relative to.
        pairs: the images with their labels.
        headers: of the images, in the same order.
        meta: of the task set; says tile size, dtype and legend.
        splits: split of each region.
        min_labelled: least share of labelled pixels; a tile without any is left out in any case.
        read: reads the labels of a window; a function of a module, so that it pickles.
        unreadable: files that were already found damaged.
    """
    scenes = [
        Scene(
            name_in(root, pair.image),
            RasterImage(header),
            RasterLabels(pair.label, read=read),
            pair.region,
            pair.season,
        )
        for pair, header in zip(pairs, headers, strict=True)
    ]
    return scene_source(scenes, meta, splits, min_labelled=min_labelled, unreadable=unreadable)


def readable_pairs(
    pairs: Sequence[Pair], bands: Sequence[str] | None = None
) -> tuple[list[Pair], list[Header], list[Unreadable]]:
    """The pairs whose headers can be read, the headers of their images, and what cannot be read.

    Raises:
        UnreadableFile: no pair of a region can be read.
        SizeMismatch: a label is of another size or on another grid than its image.
        MissingBands: an image lacks a band.
    """

    def look(pair: Pair) -> Header:
        header = read_header(pair.image, bands)
        check_same_grid(header, read_header(pair.label))
        return header

    return readable(pairs, look, lambda pair: pair.region)
