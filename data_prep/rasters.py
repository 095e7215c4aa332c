"""Any folder of images with label rasters: GeoTIFF, JPEG or PNG, classes as ids or as colours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from data_prep.cutting import grid_notes, pair_source, readable_pairs, size_notes
from data_prep.pairs import find_pairs
from data_prep.source import Source
from data_prep.splits import assign_splits
from landmeta.errors import ConfigError, MissingBands
from landmeta.imagery import Header
from landmeta.legend import Legend
from landmeta.taskset import Band, TaskSetMeta


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
        UnreadableFile: no image with its label can be read; single ones are set aside.
        MissingBands: the images have different bands, or not those of `bands`.
        SizeMismatch: a label is of another size or on another grid than its image.
        EmptyRegion: all images of a region are smaller than a tile, or (while tiles are read)
            have too few labels.
        UnknownClass: a label value that the legend lacks (while tiles are read).
    """
    pairs, notes = find_pairs(Path(root), images, labels, table)
    pairs, headers, unreadable = readable_pairs(pairs, bands)
    _check_same_bands(headers)
    notes += size_notes(pairs, headers, tile) + grid_notes(headers)
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
    return pair_source(
        Path(root), pairs, headers, meta, splits, min_labelled=min_labelled, unreadable=unreadable
    )


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
