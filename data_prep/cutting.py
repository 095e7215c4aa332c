"""Cutting images and their labels into tiles, a strip of tiles at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import rasterio
from affine import Affine
from rasterio.windows import Window

from data_prep.pairs import Pair
from landmeta.errors import EmptyRegion
from landmeta.imagery import Header, open_raster, read_image, read_label
from landmeta.legend import IGNORE, Labels, Legend
from landmeta.taskset import SourceTile, Split, TaskSetMeta, tile_windows

ReadLabel = Callable[[rasterio.DatasetReader, Legend, Window], Labels]


def size_notes(pairs: Sequence[Pair], headers: Sequence[Header], tile: int) -> list[str]:
    """A note naming the images that are smaller than a tile.

    Raises:
        EmptyRegion: a region has no other images.
    """
    small = {h.path for h in headers if min(h.height, h.width) < tile}
    empty = {p.region for p in pairs} - {p.region for p in pairs if p.image not in small}
    if empty:
        region = min(empty)
        sizes = [h for p, h in zip(pairs, headers, strict=True) if p.region == region]
        largest = max(min(h.height, h.width) for h in sizes)
        raise EmptyRegion(
            f"region {region!r} yields no tile: its images are smaller than {tile} × {tile} pixels",
            remedy=f"choose a tile of at most {largest} pixels, or take the region out",
            path=sizes[0].path.parent,
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


def count_strips(headers: Sequence[Header], tile: int) -> int:
    """How many strips `cut_pairs` yields."""
    return sum(h.height // tile for h in headers if h.width >= tile)


def cut_pairs(
    root: Path,
    pairs: Sequence[Pair],
    headers: Sequence[Header],
    meta: TaskSetMeta,
    splits: Mapping[str, Split],
    *,
    min_labelled: float,
    read: ReadLabel = read_label,
) -> Iterator[list[SourceTile]]:
    """Yield, strip by strip, the tiles with enough labels.

    A pixel is labelled only where at least one band has data. How many tiles were left out is
    noted in `meta` at the end.

    Args:
        root: folder that the tiles' sources are told relative to.
        pairs: the images with their labels.
        headers: of the images, in the same order.
        meta: of the task set; says tile size, dtype and legend.
        splits: split of each region.
        min_labelled: least share of labelled pixels; a tile without any is left out in any case.
        read: reads the labels of a window.

    Raises:
        UnreadableFile: a file is damaged.
        UnknownClass: a label value that the legend lacks.
        EmptyRegion: a region got no tile; raised at the end.
    """
    kept = dict.fromkeys((pair.region for pair in pairs), 0)
    cut = 0
    for pair, header in zip(pairs, headers, strict=True):
        for tiles in _strips(root, pair, header, meta, splits[pair.region], read):
            enough = [t for t in tiles if _labelled_share(t.label) >= max(min_labelled, 1e-9)]
            cut += len(tiles)
            kept[pair.region] += len(enough)
            yield enough
    for region, count in kept.items():
        if not count:
            raise EmptyRegion(
                f"region {region!r} has no tile with at least {min_labelled:.0%} labelled pixels",
                remedy="label more of it, lower that share, or take the region out",
                path=root,
            )
    if left := cut - sum(kept.values()):
        meta.notes.append(f"{left} tiles with less than {min_labelled:.0%} labels were left out")


def _labelled_share(label: Labels) -> float:
    return float((label != IGNORE).mean())


def _strips(
    root: Path, pair: Pair, header: Header, meta: TaskSetMeta, split: Split, read: ReadLabel
) -> Iterator[list[SourceTile]]:
    size = meta.tile_size
    windows = tile_windows(header.width, header.height, size)
    if not windows:
        return
    source = pair.image.relative_to(root).as_posix()
    with open_raster(pair.image) as image, open_raster(pair.label) as labels:
        for row in sorted({window[1] for window in windows}):
            strip = Window(0, row, header.width, size)
            pixels, valid = read_image(image, header, strip)
            label = read(labels, meta.legend, strip)
            label[~valid.any(axis=0)] = IGNORE
            tiles = []
            for window in [w for w in windows if w[1] == row]:
                cols = slice(window[0], window[0] + size)
                shift = Affine.translation(window[0], row)
                tiles.append(
                    SourceTile(
                        image=pixels[:, :, cols].astype(meta.dtype),
                        label=label[:, cols].copy(),
                        valid=valid[:, :, cols].copy(),
                        region=pair.region,
                        season=pair.season,
                        split=split,
                        source=source,
                        window=window,
                        crs=header.crs,
                        transform=None if header.crs is None else header.transform * shift,
                    )
                )
            yield tiles
