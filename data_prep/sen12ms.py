"""Reader of SEN12MS: Sentinel-1, Sentinel-2 and MODIS land cover over the seasons of the Earth.

Expected below the root, as the archives unpack, or the archives themselves::

    ROIs1158_spring/s1_63/ROIs1158_spring_s1_63_p123.tif    VV VH, dB
    ROIs1158_spring/s2_63/ROIs1158_spring_s2_63_p123.tif    B1 … B8 B8A B9 … B12, reflectance × 1e4
    ROIs1158_spring/lc_63/ROIs1158_spring_lc_63_p123.tif    IGBP and three LCCS layers
    ROIs1868_summer/…  ROIs1970_fall/…  ROIs2017_winter/…

A scene is a season and an id. A region is a scene id ("63") or a place of a map that the user
gives. Patches of a scene overlap, so do tiles of neighbouring patches; the tiles' windows and
transforms tell which.

Source: Schmitt et al. 2019, doi:10.5194/isprs-annals-IV-2-W7-153-2019.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from data_prep.parallel import in_order
from data_prep.patch_cutter import PatchCutter
from data_prep.patches import (
    Patch,
    Shape,
    Windows,
    choose_bands,
    dtype_of,
    first_shapes,
    plan_windows,
    read_shape,
)
from data_prep.places import footprints, place_all, read_places
from data_prep.quarantine import Attempt, Unreadable, sort_out
from data_prep.sen12ms_files import MODALITIES, Key, Triplets, find_triplets
from data_prep.sen12ms_options import (
    LABEL_BANDS,
    Places,
    check_numbers,
    choose_labels,
    choose_split,
)
from data_prep.sen12ms_splits import DAMAGED, leak_notes, patch_path
from data_prep.sen12ms_tasks import SplitName, Tasks, Unit, split_units
from data_prep.source import Source
from landmeta.errors import ConfigError, MissingCRS, SourceNotFound
from landmeta.taskset import Split, TaskSetMeta, tile_windows


def sen12ms(
    root: str | Path,
    *,
    bands: Sequence[str] | None = None,
    legend: str = "igbp-simplified",
    label_band: str | None = None,
    tile: int = 128,
    tasks: Tasks | None = None,
    split: SplitName | None = None,
    places: Places | None = None,
    val: Iterable[str] | float | None = None,
    test: Iterable[str] | float | None = None,
    limit: int | None = None,
    seed: int = 0,
    unpack_to: Path | None = None,
    workers: int = 1,
    quiet: bool = True,
) -> Source:
    """Read SEN12MS, cut into tiles.

    Stored values are the files' own; `Band.scale` says what they mean. What is not valid:
    `data_prep.patch_cutter.PatchCutter`. The Sentinel-1 file known to be damaged is no data.
    Tiles without any label are left out.

    Args:
        root: folder with the season folders, or with the archives.
        bands: which to keep, in that order; all 15 by default. See `choose_bands`.
        legend: one of `data_prep.sen12ms_options.LEGENDS`, or a file.
        label_band: one of `LABEL_BANDS`: which the legend of a file explains; IGBP by default.
        tile: side of a tile in pixels; the tiles of a patch do not overlap each other.
        tasks: how scenes become tasks; a region in a season each, by default.
        split: `fewshot` uses the published 75/25/25 region ids; `official` the published hold-out
            scenes as test and all others for training, of which a share of ids is drawn with
            `seed` for validation; `drawn` the regions of `val` and `test`. By default `fewshot`,
            and with `places` `drawn`, which is the only one possible then.
        places: polygons that are the regions. A patch belongs to the one place that it meets; what
            meets none or several is left out.
        val: of a drawn split, names of the regions for validation, or a share of all regions; 0.15
            by default.
        test: same for the final test; 0.2 by default.
        limit: at most this many tiles per task, drawn with `seed`; all by default.
        seed: of the draws.
        unpack_to: working folder for archives; see `find_triplets`.
        workers: threads that read headers where places need those of all patches.
        quiet: no progress bar while archives are unpacked.

    Raises:
        ConfigError: an unknown band, legend, split or kind of task; options that do not go
            together; a tile larger than a patch; archives and no folder to unpack them to.
        SourceNotFound: no such folder, or nothing in it for these tasks.
        UnreadableFile: no patch can be read (single ones are set aside as they are met), or an
            archive is damaged.
        UnsafeFile: an archive holds what it should not.
        MissingBands: a file has more or fewer bands than its kind has.
        MissingCRS: the places, or a patch to be placed, have no coordinate reference system.
    """
    root, tasks = Path(root), tasks or Tasks()
    chosen, (labels, label) = choose_bands(bands), choose_labels(legend, label_band)
    tasks.check()
    split = choose_split(split, places, named=val is not None or test is not None)
    check_numbers(tile, limit)
    found = find_triplets(root, unpack_to, quiet=quiet)
    notes, keys = list(found.notes), found.keys
    unread: list[Unreadable] = []
    if places is None:
        regions = [str(number) for _, number, _ in keys]
        notes += leak_notes({key[:2] for key in keys}, split) if split != "drawn" else []
    else:
        keys, regions, unread, more = _placed(found, places, workers)
        notes += more
    units: list[Unit] = [(key[0], region) for key, region in zip(keys, regions, strict=True)]
    splits = split_units(
        set(units),
        split,
        val=0.15 if val is None else val,
        test=0.2 if test is None else test,
        seed=seed,
    )
    kept = tasks.apply(splits)
    notes += _split_notes(set(units), splits, split, tasks) + tasks.notes(splits, kept)
    used = [(key, unit) for key, unit in zip(keys, units, strict=True) if unit in kept]
    _check_any(root, kept, set(units), split, tasks)
    notes += _damaged_notes(key for key, _ in used)
    shapes = first_shapes({m: found.path(key, m) for m in MODALITIES} for key, _ in used)
    height, width = shapes["s2"].height, shapes["s2"].width
    if tile > min(height, width):
        raise ConfigError(
            f"a tile of {tile} pixels does not fit a patch of {height} × {width}",
            remedy=f"choose a tile of at most {min(height, width)} pixels",
        )
    meta = TaskSetMeta(
        source="sen12ms",
        bands=chosen,
        legend=labels,
        gsd=shapes["s2"].gsd,
        tile_size=tile,
        dtype=dtype_of(chosen, shapes),
        options={
            "split": split,
            "tasks": tasks.kind,
            "train_seasons": tasks.train_seasons,
            "test_seasons": tasks.test_seasons,
            "same_regions": tasks.same_regions,
            "places": None if places is None else f"{places.file.name}: {places.column}",
            "legend": legend,
            "label_band": LABEL_BANDS[label],
            "tile": tile,
            "bands": [band.name for band in chosen],
            "limit": limit,
            "seed": seed,
        },
        notes=notes,
    )
    names = [(tasks.season(unit), unit[1]) for _, unit in used]
    plan = plan_windows(names, tuple(tile_windows(width, height, tile)), limit, seed)
    parts = [
        _patch(found, key, windows, unit, kept[unit], tasks)
        for (key, unit), windows in zip(used, plan, strict=True)
        if windows
    ]
    cut = PatchCutter(chosen, labels, "lc", label, meta.dtype, (height, width))
    return Source(
        meta,
        parts,
        cut,
        unreadable=tuple(unread),
        missing=tuple(one.file for one in found.missing),
    )


def _patch(
    found: Triplets, key: Key, windows: Windows, unit: Unit, split: Split, tasks: Tasks
) -> Patch:
    s2, s1, lc = (str(found.path(key, modality)) for modality in MODALITIES)
    return Patch(s2, s1, lc, windows, unit[1], tasks.season(unit), split)


def _shape_of(found: Triplets, key: Key) -> Shape:
    shape = read_shape(found.path(key, "s2"), "s2")
    if shape.crs is None:
        raise MissingCRS(
            "has no coordinate reference system, so it lies in no place",
            remedy="take the file from the data set's archive again; SEN12MS is in UTM",
            path=found.path(key, "s2"),
        )
    return shape


def _placed(
    found: Triplets, places: Places, workers: int
) -> tuple[list[Key], list[str], list[Unreadable], list[str]]:
    """The patches that lie in a place, that place's name, what cannot be read, and notes."""
    polygons = read_places(places.file, places.column)
    look: Attempt[Key, Shape] = Attempt(partial(_shape_of, found))
    keys, shapes, unread = sort_out(found.keys, in_order(look, found.keys, workers))
    outlines = footprints([s.bounds for s in shapes if s.bounds], [s.crs for s in shapes if s.crs])
    placed = place_all(outlines, polygons)
    inside = [(key, name) for key, name in zip(keys, placed.names, strict=True) if name]
    if not inside:
        raise SourceNotFound(
            f"none of {len(keys)} patches lies in a place of {places.file}",
            remedy="check that the polygons lie where the scenes are, and their coordinate "
            "reference system",
        )
    notes = placed.notes("patches", places.file)
    return [key for key, _ in inside], [name for _, name in inside], unread, notes


def _split_notes(
    units: set[Unit], splits: Mapping[Unit, Split], split: SplitName, tasks: Tasks
) -> list[str]:
    notes = []
    if outside := sorted(
        {int(region) for season, region in units if (season, region) not in splits}
    ):
        notes.append(f"scene ids in none of the split's lists, left out: {outside}")
    by_region: dict[str, set[Split]] = defaultdict(set)
    for (_, region), of in splits.items():
        by_region[region].add(of)
    shared = sorted(int(region) for region, of in by_region.items() if len(of) > 1)
    if shared and split == "official" and tasks.kind == "scene":
        notes.append(
            "warning: scene ids that the published hold-out has in test in one season and in "
            f"training in another: {shared}; whether they are one place is not published"
        )
    return notes


def _check_any(
    root: Path, kept: Mapping[Unit, Split], units: set[Unit], split: SplitName, tasks: Tasks
) -> None:
    shift = tasks.kind == "season-shift"
    lacking = [
        what
        for what, of in (("nothing to train on", "train"), ("nothing to test on", "test"))
        if shift and of not in kept.values()
    ]
    if kept and not lacking:
        return
    ids = ", ".join(sorted({region for _, region in units}, key=lambda r: (len(r), r)))
    seasons = ", ".join(sorted({season for season, _ in units}))
    raise SourceNotFound(
        f"holds {lacking[0] if kept else 'no scene'} of the {split} split for tasks by "
        f"{tasks.kind}; its scene ids are {ids}, its seasons {seasons}",
        remedy="choose another split or other seasons, or add the scenes",
        path=root,
    )


def _damaged_notes(keys: Iterable[Key]) -> list[str]:
    if any(patch_path("s1", key[:2], key[2]).endswith(DAMAGED) for key in keys):
        return [f"{DAMAGED} is known to be damaged: its Sentinel-1 bands are taken as no data"]
    return []
