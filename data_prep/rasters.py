"""Any folder of images with label rasters: GeoTIFF, JPEG or PNG, classes as ids or as colours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from affine import Affine
from rasterio.windows import Window

from data_prep.imagery import (
    Header,
    check_same_grid,
    open_raster,
    read_header,
    read_image,
    read_label,
)
from data_prep.pairs import Pair, find_pairs
from data_prep.source import Source
from data_prep.splits import assign_splits
from landmeta.errors import ConfigError, EmptyRegion, MissingBands
from landmeta.legend import IGNORE, Labels, Legend
from landmeta.taskset import Band, SourceTile, Split, TaskSetMeta, tile_windows


def rasters(
    root: Path,
    *,
    images: str,
    labels: str,
    legend: Legend,
    tile: int,
    bands: Sequence[str] | None = None,
    scales: Mapping[str, float] | None = None,
    table: Path | None = None,
    min_labelled: float = 0.05,
    val: Iterable[str] | float = 0.15,
    test: Iterable[str] | float = 0.2,
    seed: int = 0,
) -> Source:
    """Cut a folder of images and labels into tiles, one task a region.

    The headers of all files are checked here; pixels are read while the tiles are.

    Args:
        root: the folder.
        images: template of the images' paths in it, such as ``{region}/images/{name}.jpg``.
        labels: template of the labels' paths, such as ``{region}/masks/{name}.png``.
            See `data_prep.pairs.find_pairs`.
        legend: what the ids or colours of the labels mean.
        tile: side of a tile in pixels. Tiles do not overlap; what does not fit is left off.
        bands: which bands to take, by name; names for all bands where the files have none.
        scales: stored × scale = physical value, by band name; otherwise what the files say.
        table: CSV with the columns `path` and `region`, instead of `{region}`.
        min_labelled: least share of labelled pixels of a tile; others are left out.
        val: names of the regions for validation, or a share of all regions.
        test: same for the final test.
        seed: of the draw of those shares.

    Raises:
        ConfigError: a template, table, region or band name is not understood.
        SourceNotFound: no folder, no images, or an image without label.
        UnreadableFile: a file is truncated or no raster (also while tiles are read).
        MissingBands: the images have different bands, or not those of `bands`.
        SizeMismatch: a label is of another size or on another grid than its image.
        EmptyRegion: all images of a region are smaller than a tile, or (while tiles are read)
            have too few labels.
        UnknownClass: a label value that the legend lacks (while tiles are read).
    """
    pairs, notes = find_pairs(Path(root), images, labels, table)
    headers = [read_header(pair.image, bands) for pair in pairs]
    for pair, header in zip(pairs, headers, strict=True):
        check_same_grid(header, read_header(pair.label))
    _check_same_bands(headers)
    notes += _size_notes(pairs, headers, tile) + _grid_notes(headers)
    sizes = [h.gsd for h in headers if h.gsd is not None]
    meta = TaskSetMeta(
        source="rasters",
        bands=_scaled(headers[0].bands, scales or {}),
        legend=legend,
        gsd=float(np.median(sizes)) if sizes else None,
        tile_size=tile,
        dtype=str(np.result_type(*(h.dtype for h in headers))),
        options={
            "images": images,
            "labels": labels,
            "table": None if table is None else Path(table).name,
            "min_labelled": min_labelled,
            "seed": seed,
        },
        notes=notes,
    )
    splits = assign_splits([p.region for p in pairs], val=val, test=test, seed=seed)
    rows = [max(0, h.height // tile) if h.width >= tile else 0 for h in headers]
    return Source(meta, sum(rows), _tiles(Path(root), pairs, headers, meta, splits, min_labelled))


def _check_same_bands(headers: Sequence[Header]) -> None:
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


def _scaled(bands: tuple[Band, ...], scales: Mapping[str, float]) -> tuple[Band, ...]:
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


def _size_notes(pairs: Sequence[Pair], headers: Sequence[Header], tile: int) -> list[str]:
    """A note naming the images that are smaller than a tile; an error if a region has no other."""
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


def _grid_notes(headers: Sequence[Header]) -> list[str]:
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


def _tiles(
    root: Path,
    pairs: Sequence[Pair],
    headers: Sequence[Header],
    meta: TaskSetMeta,
    splits: Mapping[str, Split],
    min_labelled: float,
) -> Iterator[list[SourceTile]]:
    kept = dict.fromkeys(splits, 0)
    cut = 0
    for pair, header in zip(pairs, headers, strict=True):
        for tiles in cut_pair(
            pair, header, meta, split=splits[pair.region], source=str(pair.image.relative_to(root))
        ):
            enough = [t for t in tiles if labelled_share(t.label) >= max(min_labelled, 1e-9)]
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


def labelled_share(label: Labels) -> float:
    """Share of pixels that are not ignored."""
    return float((label != IGNORE).mean())


def cut_pair(
    pair: Pair, header: Header, meta: TaskSetMeta, *, split: Split, source: str
) -> Iterator[list[SourceTile]]:
    """Cut one image and its label, a row of tiles at a time: memory is that of one such row."""
    size = meta.tile_size
    windows = tile_windows(header.width, header.height, size)
    if not windows:
        return
    with open_raster(pair.image) as image, open_raster(pair.label) as labels:
        for row in sorted({window[1] for window in windows}):
            strip = Window(0, row, header.width, size)
            pixels, valid = read_image(image, header, strip)
            label = read_label(labels, meta.legend, strip)
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
