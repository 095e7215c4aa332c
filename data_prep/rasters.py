"""Any images with labels: rasters, photos or arrays; labels as ids, colours, polygons or points."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from data_prep.areas import Areas
from data_prep.pairs import Pair, find_pairs, name_in
from data_prep.reading import Reading, least_labelled, legend_of_shapes
from data_prep.scenes import Scene
from data_prep.source import Source
from data_prep.tasks import Cutting, scenes_source
from landmeta.errors import ConfigError
from landmeta.imagery import Bands
from landmeta.legend import Legend


def rasters(
    root: Path,
    *,
    legend: Legend | None,
    tile: int,
    images: str | None = None,
    labels: str | None = None,
    table: Path | None = None,
    reading: Reading | None = None,
    bands: Bands | None = None,
    scales: Mapping[str, float] | None = None,
    areas: Areas | None = None,
    blocks: int | None = None,
    min_labelled: float | None = None,
    val: Iterable[str] | float = 0.15,
    test: Iterable[str] | float = 0.2,
    seed: int = 0,
) -> Source:
    """Cut images with labels into tiles, one task a region (x season).

    The headers of all files are checked here; pixels are read while the tiles are.

    Args:
        root: the folder.
        legend: what the ids, colours or names of the labels mean; None to make one of the names in
            vector files.
        tile: side of a tile in pixels. Tiles do not overlap; what does not fit is left off.
        images: template of the images' paths in it, such as ``{region}/images/{name}.jpg``.
        labels: template of the labels' paths, such as ``{region}/masks/{name}.png``, or one file.
            See `data_prep.pairs.find_pairs`.
        table: CSV that names images, their regions and labels; see `data_prep.listing`.
        reading: how files are read.
        bands: short for ``Reading(bands)``.
        scales: stored × scale = physical value, by band name; otherwise what the files say.
        areas: says the region of each tile, instead of `{region}`.
        blocks: cut what the images of a region show into so many blocks along each side, each a
            region of its own.
        min_labelled: least share of labelled pixels of a tile; others are left out. 0.05, or of
            polygons and points any.
        val: names of the regions for validation, or a share of all regions.
        test: same for the final test.
        seed: of the draw of those shares.

    Raises:
        ConfigError: a template, table, region or band name is not understood.
        SourceNotFound: no folder, no images, or an image without label.
        UnreadableFile: no image with its label can be read; single ones are set aside.
        MissingBands: the images have different bands, or not those that were asked for.
        SizeMismatch: a label is of another size or on another grid than its image, or the files of
            one image are.
        MissingCRS: something is to be put on the map, and nobody knows where.
        EmptyRegion: all images of a region are smaller than a tile, or (while tiles are read)
            have too few labels.
        UnknownClass: a label value that the legend lacks (of rasters, while tiles are read).
    """
    root = Path(root)
    reading = reading or Reading(bands)
    pairs, notes = find_pairs(root, images, labels, table, regions=not (areas or blocks))
    pairs, more = _with_wanted_bands(pairs, reading)
    if legend is None:
        legend, made = legend_of_shapes([pair.label for pair in pairs], reading)
        notes.append(made)
    if min_labelled is None:
        min_labelled = least_labelled([pair.label for pair in pairs])

    def scene(pair: Pair) -> Scene:
        return Scene(
            name_in(root, pair.image),
            reading.image(pair),
            reading.labels(pair.label),
            pair.region,
            pair.season,
        )

    return scenes_source(
        pairs,
        scene,
        Cutting(
            source="rasters",
            legend=legend,
            tile=tile,
            scales=scales or {},
            areas=areas,
            blocks=blocks,
            min_labelled=min_labelled,
            val=val,
            test=test,
            seed=seed,
            options={
                "images": images,
                "labels": labels,
                "table": None if table is None else Path(table).name,
                **asdict(reading),
            },
        ),
        notes + more,
    )


def _with_wanted_bands(pairs: Sequence[Pair], reading: Reading) -> tuple[list[Pair], list[str]]:
    """Without images of several files of which none is wanted, as of another sensor."""
    wanted = None if isinstance(reading.bands, Mapping) else reading.bands
    if wanted is None:
        return list(pairs), []
    names = {name.partition(".")[0] for name in wanted} | set(wanted)
    kept = [p for p in pairs if not p.bands or names & {name for name, _ in p.bands}]
    left = len(pairs) - len(kept)
    if not kept:
        found = sorted({name for pair in pairs for name, _ in pair.bands})
        raise ConfigError(
            f"no image has any of the bands {', '.join(wanted)}; the files are called "
            f"{', '.join(found[:20])}",
            remedy="choose among these, or correct the template of the images",
        )
    return kept, [f"{left} images have none of the bands and were left out"] if left else []
