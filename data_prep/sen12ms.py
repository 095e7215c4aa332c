"""Reader of SEN12MS: Sentinel-1, Sentinel-2 and MODIS land cover over the seasons of the Earth.

Expected below the root, as the archives unpack::

    ROIs1158_spring/s1_63/ROIs1158_spring_s1_63_p123.tif    VV VH, dB
    ROIs1158_spring/s2_63/ROIs1158_spring_s2_63_p123.tif    B1 … B8 B8A B9 … B12, reflectance × 1e4
    ROIs1158_spring/lc_63/ROIs1158_spring_lc_63_p123.tif    IGBP and three LCCS layers
    ROIs1868_summer/…  ROIs1970_fall/…  ROIs2017_winter/…

A region is a scene id ("63"), a task is a region in one season. Patches of a scene overlap, so do
tiles of neighbouring patches; the tiles' windows and transforms tell which.

Source: Schmitt et al. 2019, doi:10.5194/isprs-annals-IV-2-W7-153-2019.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window
from rasterio.windows import transform as window_transform

from data_prep.sen12ms_splits import (
    FOLDERS,
    LC_BANDS,
    S1_BANDS,
    S2_BANDS,
    Scene,
    Season,
    fewshot_split,
    official_split,
    patch_path,
)
from data_prep.source import Cut, Source
from landmeta.errors import (
    ConfigError,
    MissingBands,
    MissingCRS,
    SizeMismatch,
    SourceNotFound,
    UnreadableFile,
)
from landmeta.imagery import open_raster, unreadable
from landmeta.legend import IGBP_SIMPLIFIED, IGNORE, Labels, Legend
from landmeta.taskset import Band, SourceTile, Split, TaskSetMeta, tile_windows

SplitName = Literal["fewshot", "official"]
Key = tuple[Season, int, int]
"""Season, scene id and patch number: what names a triplet."""

ALL_BANDS: dict[str, Band] = {
    **{f"S2_{name}": Band(name=f"S2_{name}", scale=1e-4, unit="reflectance") for name in S2_BANDS},
    **{f"S1_{name}": Band(name=f"S1_{name}", unit="dB") for name in S1_BANDS},
}
"""Bands by name, S2_B1 … S2_B12 and S1_VV, S1_VH, with the scale of their stored values."""

_MODALITIES: dict[str, tuple[str, ...]] = {"s2": S2_BANDS, "s1": S1_BANDS, "lc": LC_BANDS}
_FILE = re.compile(r"_p(\d+)\.tif")
_FOLDER = re.compile(r"(s1|s2|lc)_(\d+)")
_SHOWN = 10
_LAYOUT = (
    "name the folder that holds ROIs1158_spring/s2_63/ROIs1158_spring_s2_63_p123.tif and its "
    "partners in s1_63 and lc_63; unpack the archives (…_s1.tar.gz, …_s2.tar.gz, …_lc.tar.gz) there"
)


@dataclass(frozen=True)
class _Layer:
    """One file of a triplet: pixels (band, row, col), where they are valid, and the grid."""

    path: Path
    pixels: NDArray[Any]
    valid: NDArray[np.bool_]
    crs: str
    transform: Affine


def sen12ms(
    root: str | Path,
    *,
    bands: Sequence[str] | None = None,
    tile: int = 128,
    split: SplitName = "fewshot",
    limit: int | None = None,
    seed: int = 0,
) -> Source:
    """Read SEN12MS, cut into tiles, with IGBP simplified to ten classes.

    Stored values are the files' own. A Sentinel-2 pixel that is 0 in all its 13 bands, a
    Sentinel-1 value that is not finite, and what a file declares as nodata, is not valid; a pixel
    with no valid band, and IGBP 0 and 255, are labelled 255 (ignore). Tiles without any label are
    left out.

    Args:
        root: folder with the season folders.
        bands: which of `ALL_BANDS` to keep, in that order; all 15 by default.
        tile: side of a tile in pixels; the tiles of a patch do not overlap each other.
        split: `fewshot` uses the published 75/25/25 region ids; `official` the published hold-out
            scenes as test and all others for training, of which a share of ids is drawn with
            `seed` for validation.
        limit: at most this many tiles per task, drawn with `seed`; all by default.
        seed: of the draws.

    Raises:
        ConfigError: an unknown band or split, or a tile larger than a patch.
        SourceNotFound: no such folder, or no complete triplet in it.
        UnreadableFile: the first patch cannot be read (others are set aside as they are met).
        MissingBands: a file has more or fewer bands than its kind has.
        SizeMismatch: s1, s2 and lc of a triplet differ in size, CRS or position.
        MissingCRS: a file has no coordinate reference system.
        UnknownClass: a land-cover code that IGBP does not have.
    """
    root = Path(root)
    chosen = _choose_bands(bands)
    _check_options(tile, split, limit)
    triplets, notes = _find_triplets(root)
    scenes = {(season, number) for season, number, _ in triplets}
    splits = fewshot_split(scenes) if split == "fewshot" else official_split(scenes, seed)
    notes += _split_notes(scenes, splits)
    used = [key for key in triplets if key[:2] in splits]
    if not used:
        raise SourceNotFound(
            f"holds no scene of the {split} split; its scene ids are "
            f"{', '.join(map(str, sorted({number for _, number in scenes})))}",
            remedy="use split 'official', or add scenes whose ids are in the few-shot lists",
            path=root,
        )
    first = {m: _header(root / _path(used[0], m), m) for m in _MODALITIES}
    height, width, gsd, _ = first["s2"]
    if tile > min(height, width):
        raise ConfigError(
            f"a tile of {tile} pixels does not fit a patch of {height} × {width}",
            remedy=f"choose a tile of at most {min(height, width)} pixels",
        )
    modalities = {name.split("_")[0].lower() for name in chosen}
    dtype = np.result_type(*(first[m][3] for m in sorted(modalities)))
    if dtype.kind == "f":
        dtype = np.dtype(np.float32)
    meta = TaskSetMeta(
        source="sen12ms",
        bands=tuple(ALL_BANDS[name] for name in chosen),
        legend=IGBP_SIMPLIFIED,
        gsd=gsd,
        tile_size=tile,
        dtype=str(dtype),
        options={"split": split, "tile": tile, "bands": chosen, "limit": limit, "seed": seed},
        notes=notes,
    )
    plan = _plan(used, tile_windows(width, height, tile), limit, seed)
    parts = [Triplet(root, key, tuple(plan[key]), splits[key[:2]]) for key in plan]
    cut = _Cutter(meta.bands, meta.legend, meta.dtype, (height, width))
    return Source(meta, parts, cut)


def _choose_bands(bands: Sequence[str] | None) -> list[str]:
    chosen = list(ALL_BANDS if bands is None else bands)
    unknown = [name for name in chosen if name not in ALL_BANDS]
    if unknown or not chosen or len(set(chosen)) < len(chosen):
        raise ConfigError(
            f"bands {chosen}: " + (f"there is no {unknown}" if unknown else "none, or one twice"),
            remedy=f"choose among {', '.join(ALL_BANDS)}",
        )
    return chosen


def _check_options(tile: int, split: str, limit: int | None) -> None:
    for what, wrong, remedy in (
        (f"split {split!r}", split not in ("fewshot", "official"), "choose fewshot or official"),
        (f"tile {tile}", tile < 8, "choose a tile of at least 8 pixels"),
        (f"limit {limit}", limit is not None and limit < 1, "choose at least 1 tile per task"),
    ):
        if wrong:
            raise ConfigError(f"{what} is not possible", remedy=remedy)


def _path(key: Key, modality: str) -> str:
    season, number, patch = key
    return patch_path(modality, (season, number), patch)


def _find_triplets(root: Path) -> tuple[list[Key], list[str]]:
    """All complete triplets, sorted, and notes on the incomplete ones."""
    found: dict[str, set[Key]] = {modality: set() for modality in _MODALITIES}
    for season, folder in FOLDERS.items():
        if not (root / folder).is_dir():
            continue
        for scene in (root / folder).iterdir():
            match = _FOLDER.fullmatch(scene.name)
            if match is None or not scene.is_dir():
                continue
            modality, number = match[1], int(match[2])
            prefix = f"{folder}_{scene.name}"
            found[modality] |= {
                (season, number, int(file[1]))
                for path in scene.iterdir()
                if path.name.startswith(prefix)
                and (file := _FILE.fullmatch(path.name.removeprefix(prefix)))
            }
    everything = set.union(*found.values())
    complete = set.intersection(*found.values())
    notes = _missing_notes(everything - complete, found)
    if not complete:
        raise SourceNotFound(
            "; ".join(["holds no complete SEN12MS triplet", *notes[:_SHOWN]])
            if root.is_dir()
            else "is no folder",
            remedy=_LAYOUT,
            path=root,
        )
    return sorted(complete), notes


def _missing_notes(incomplete: set[Key], found: Mapping[str, set[Key]]) -> list[str]:
    """One line per scene and kind of file: which patches lack it."""
    lacking: dict[tuple[Season, int, str], list[int]] = defaultdict(list)
    for season, number, patch in sorted(incomplete):
        for modality, keys in found.items():
            if (season, number, patch) not in keys:
                lacking[season, number, modality].append(patch)
    return [
        f"left out {len(patches)} patches of {season} {number} that have no {modality} file: "
        + ", ".join(f"p{p}" for p in patches[:_SHOWN])
        + (", …" if len(patches) > _SHOWN else "")
        for (season, number, modality), patches in lacking.items()
    ]


def _split_notes(scenes: set[Scene], splits: Mapping[Scene, Split]) -> list[str]:
    notes = []
    if outside := sorted({number for season, number in scenes if (season, number) not in splits}):
        notes.append(f"scene ids in none of the split's lists, left out: {outside}")
    by_id: dict[int, set[Split]] = defaultdict(set)
    for (_, number), split in splits.items():
        by_id[number].add(split)
    if shared := sorted(number for number, of in by_id.items() if len(of) > 1):
        notes.append(
            f"scene ids that the published hold-out has in test in one season and in training in "
            f"another: {shared}; whether they are one place is not published"
        )
    return notes


def _plan(
    triplets: Sequence[Key],
    windows: Sequence[tuple[int, int, int, int]],
    limit: int | None,
    seed: int,
) -> dict[Key, list[tuple[int, int, int, int]]]:
    """Which windows to cut from which triplet."""
    if limit is None:
        return {key: list(windows) for key in triplets}
    by_scene: dict[Scene, list[Key]] = defaultdict(list)
    for key in triplets:
        by_scene[key[:2]].append(key)
    plan: dict[Key, list[tuple[int, int, int, int]]] = defaultdict(list)
    for (season, number), keys in by_scene.items():
        # Seeded by the scene too, so that a task's draw does not depend on what other scenes exist.
        rng = np.random.default_rng((seed, list(FOLDERS).index(season), number))
        count = len(keys) * len(windows)
        for place in np.sort(rng.permutation(count)[:limit]).tolist():
            plan[keys[place // len(windows)]].append(windows[place % len(windows)])
    return dict(plan)


def _check_count(dataset: rasterio.DatasetReader, modality: str) -> None:
    expected = _MODALITIES[modality]
    if dataset.count != len(expected):
        raise MissingBands(
            f"has {dataset.count} bands; a SEN12MS {modality} file has {len(expected)}: "
            f"{', '.join(expected)}",
            remedy="take the file from the data set's archive again",
            path=dataset.name,
        )


def _header(path: Path, modality: str) -> tuple[int, int, float, np.dtype[Any]]:
    """Height, width, ground sampling distance in metres and dtype."""
    with open_raster(path) as dataset:
        _check_count(dataset, modality)
        dtype = np.result_type(*dataset.dtypes)
        return dataset.height, dataset.width, abs(dataset.transform.a), dtype


def _read_layer(path: Path, modality: str) -> _Layer:
    with open_raster(path) as dataset:
        _check_count(dataset, modality)
        if dataset.crs is None:
            raise MissingCRS(
                "has no coordinate reference system",
                remedy="take the file from the data set's archive again; SEN12MS is in UTM",
                path=path,
            )
        try:
            pixels = dataset.read()
            declared = dataset.nodata is not None
            valid = dataset.read_masks() > 0 if declared else np.ones(pixels.shape, bool)
        except RasterioError as error:
            cause = error.__cause__  # says what went wrong, the error itself only that it did
            raise unreadable(path, cause if isinstance(cause, Exception) else error) from error
        crs, transform = dataset.crs.to_string(), dataset.transform
    if pixels.dtype.kind == "f":
        valid &= np.isfinite(pixels)
    if modality == "s2":
        valid &= (pixels != 0).any(axis=0)
    return _Layer(path, pixels, valid, crs, transform)


def _check_grid(layer: _Layer, other: _Layer, expected: tuple[int, int]) -> None:
    """Refuse another size than all patches have, or another grid than the triplet's s2 file."""
    if layer.pixels.shape[1:] != expected:
        raise SizeMismatch(
            "is {} × {} pixels (rows × columns), the other patches are {} × {}".format(
                *layer.pixels.shape[1:], *expected
            ),
            remedy="take the file from the data set's archive again, or remove the triplet",
            path=layer.path,
        )
    if layer.crs != other.crs or not layer.transform.almost_equals(other.transform, 1e-2):
        raise SizeMismatch(
            f"lies on {layer.crs} {tuple(layer.transform)[:6]}, its partner {other.path.name} on "
            f"{other.crs} {tuple(other.transform)[:6]}",
            remedy="take the triplet from the data set's archive again, or remove it",
            path=layer.path,
        )


def _check_dtype(layer: _Layer, dtype: str) -> None:
    if layer.pixels.dtype.kind == "f" and np.dtype(dtype).kind != "f":
        raise UnreadableFile(
            f"holds {layer.pixels.dtype}, the first file of its kind {dtype}",
            remedy="take the files from one release of the data set",
            path=layer.path,
        )


@dataclass(frozen=True, slots=True)
class Triplet:
    """A patch and the windows to cut from it. A part of the work."""

    root: Path
    key: Key
    windows: tuple[tuple[int, int, int, int], ...]
    split: Split

    @property
    def files(self) -> tuple[Path, ...]:
        """Its s2, s1 and lc files."""
        return tuple(self.root / _path(self.key, modality) for modality in _MODALITIES)

    @property
    def share(self) -> float:
        """All of them."""
        return 1.0

    @property
    def region(self) -> str:
        """The scene's id."""
        return str(self.key[1])

    @property
    def tiles(self) -> int:
        """One of each window."""
        return len(self.windows)


@dataclass(frozen=True)
class _Cutter:
    """Cuts a patch into the tiles that have a labelled pixel.

    Attributes:
        bands: to keep, in that order.
        legend: of the labels.
        dtype: of the task set.
        expected: rows and columns of every patch.
    """

    bands: tuple[Band, ...]
    legend: Legend
    dtype: str
    expected: tuple[int, int]

    def __call__(self, part: Triplet) -> Cut:
        season, number, _ = part.key
        image, valid, label, s2 = self._read(part)
        tiles = []
        for window in part.windows:
            place = Window(*window)
            rows, cols = place.toslices()
            if (label[rows, cols] == IGNORE).all():
                continue
            tiles.append(
                SourceTile(
                    image=image[:, rows, cols],
                    label=label[rows, cols],
                    valid=valid[:, rows, cols],
                    region=str(number),
                    season=season,
                    split=part.split,
                    source=_path(part.key, "s2"),
                    window=window,
                    crs=s2.crs,
                    transform=window_transform(place, s2.transform),
                )
            )
        return Cut(tiles, left_out=len(part.windows) - len(tiles))

    def _read(self, part: Triplet) -> tuple[NDArray[Any], NDArray[np.bool_], Labels, _Layer]:
        """Image, validity (band, row, col), labels (row, col) of a patch, and its s2 layer."""
        # Read even if no band of it is wanted: a triplet is only sound as a whole.
        layers = {m: _read_layer(part.root / _path(part.key, m), m) for m in _MODALITIES}
        s2 = layers["s2"]
        for layer in layers.values():
            _check_grid(layer, s2, self.expected)
        stacked = [
            (layers[modality], _MODALITIES[modality].index(band))
            for modality, band in ((b.name[:2].lower(), b.name[3:]) for b in self.bands)
        ]
        for layer, _ in stacked:
            _check_dtype(layer, self.dtype)
        shape = (len(stacked), *self.expected)
        image, valid = np.empty(shape, self.dtype), np.empty(shape, bool)
        for i, (layer, place) in enumerate(stacked):
            image[i], valid[i] = layer.pixels[place], layer.valid[place]
        if not valid.all():
            image[~valid] = 0
        lc = layers["lc"]
        igbp = np.where(lc.valid[0], lc.pixels[0], IGNORE)
        label = self.legend.from_ids(igbp, path=lc.path)
        label[~valid.any(axis=0)] = IGNORE
        return image, valid, label, s2
