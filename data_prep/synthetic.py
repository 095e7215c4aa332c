"""Raw trees of made-up imagery in the exact layouts of SEN12MS and DeepGlobe, from a seed.

The worlds have biomes, fields, rivers, lakes, towns, roads and gaps in the data, and every region
looks different by a strength that can be chosen: see `synthetic_world` and `synthetic_look`.
Same arguments, same bytes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning
from rasterio.warp import transform as to_crs
from scipy.ndimage import binary_dilation

from data_prep.sen12ms_splits import FEWSHOT, FOLDERS, Scene, Season, patch_path
from data_prep.synthetic_look import Look, make_look, render
from data_prep.synthetic_noise import fractal
from data_prep.synthetic_world import BIOMES, Biome, Landscape, Mask, landscape
from landmeta.atomic import atomic_folder
from landmeta.errors import ConfigError
from landmeta.legend import DEEPGLOBE, IGBP_SIMPLIFIED
from landmeta.raster import create_in_memory
from landmeta.taskset import Split

PIXEL = 10
"""Metres."""

# LCCS codes of MCD12Q1 (Sulla-Menashe and Friedl 2018, tables 8-10) that go with IGBP 1-17. The
# first and third have no code for towns: taken for sparse herbaceous and grassland.
_LCCS_COVER = (11, 12, 13, 14, 15, 41, 43, 21, 22, 31, 31, 31, 32, 31, 2, 1, 3)
_LCCS_USE = (10, 10, 10, 10, 10, 40, 40, 20, 20, 30, 30, 36, 9, 35, 2, 1, 3)
_LCCS_WATER = (10, 10, 10, 10, 10, 40, 40, 20, 20, 30, 50, 30, 30, 30, 2, 1, 3)
_LC_TABLE = np.array(
    [(0, 0, 0, 0), *zip(range(1, 18), _LCCS_COVER, _LCCS_USE, _LCCS_WATER, strict=True)], np.uint16
).T
"""Shape (4, 18): the bands of an lc file by IGBP class."""

_ANY_CROPS = {"young crop": 0.25, "green crop": 0.35, "ripe crop": 0.2, "ploughed": 0.2}


@dataclass(frozen=True)
class Region:
    """Where a region lies and what it is made of."""

    number: int
    biome: Biome
    latitude: float
    longitude: float

    @property
    def epsg(self) -> int:
        """Of its UTM zone."""
        zone = int((self.longitude + 180) // 6) + 1
        return (32600 if self.latitude >= 0 else 32700) + zone


def _some_ids(count: int) -> list[int]:
    """Ids of the few-shot split, mixed so that a few already serve all three parts."""
    left = {split: list(ids) for split, ids in FEWSHOT.items()}
    cycle: tuple[Split, ...] = ("train", "val", "test", "train", "train")
    return [left[cycle[i % len(cycle)]].pop(0) for i in range(count)]


_ORDER = _some_ids(125)


def make_region(seed: int, number: int, shift: float) -> Region:
    """The region of a scene id: the same one whatever other regions are made."""
    rng = np.random.default_rng((seed, number, 0))
    # In turn rather than by chance, so that already nine regions have all biomes.
    order = np.random.default_rng((seed, 5)).permutation(len(BIOMES))
    place = _ORDER.index(number) if number in _ORDER else number
    biome = BIOMES[order[place % len(BIOMES)]]
    crops = {name: biome.crops.get(name, 0.02) for name in {**_ANY_CROPS, **biome.crops}}
    # Between what is grown everywhere and what is grown here.
    own = {
        name: math.exp(
            (1 - min(shift, 1)) * math.log(_ANY_CROPS.get(name, 0.02))
            + min(shift, 1) * math.log(share)
            + shift * rng.normal(0, 0.5)
        )
        for name, share in crops.items()
    }
    return Region(
        number,
        replace(biome, crops=own),
        float(rng.uniform(*biome.latitudes)),
        float(rng.uniform(-179, 179)),
    )


def _scenes(scenes: Mapping[Season, Sequence[int]] | int, seasons: Sequence[Season]) -> list[Scene]:
    if isinstance(scenes, int):
        return [(season, number) for season in seasons for number in _ORDER[:scenes]]
    return [(season, number) for season, numbers in scenes.items() for number in numbers]


def _check_scenes(scenes: Sequence[Scene], patches: int, size: int, shift: float) -> None:
    for what, wrong, remedy in (
        (f"seasons {[s for s, _ in scenes]}", any(s not in FOLDERS for s, _ in scenes),
         f"choose among {', '.join(FOLDERS)}"),
        ("no scenes", not scenes, "name at least one scene, or a number of regions"),
        (f"{patches} patches a scene", patches < 1, "make at least 1"),
        (f"patches of {size} pixels", size < 16 or size % 2, "choose an even size from 16"),
        (f"shift {shift}", shift < 0, "choose 0 (regions look alike) or more; 1 is usual"),
    ):  # fmt: skip
        if wrong:
            raise ConfigError(f"{what} cannot be made", remedy=remedy)


def write_sen12ms(
    root: str | Path,
    *,
    scenes: Mapping[Season, Sequence[int]] | int = 10,
    seasons: Sequence[Season] = ("summer",),
    patches: int = 4,
    size: int = 256,
    shift: float = 1.0,
    seed: int = 0,
    overwrite: bool = False,
) -> Path:
    """Write a tree laid out like SEN12MS: s1, s2 and lc patches that overlap by half.

    Scenes of one id lie in one region, 40 km apart from season to season.

    Args:
        root: the folder to write; it appears complete or not at all.
        scenes: scene ids by season, or a number of regions (at most 125) that take ids of the
            few-shot split.
        seasons: those of the regions, where `scenes` is a number.
        patches: per scene, on a grid with half a patch between neighbours.
        size: side of a patch in pixels of 10 m; 256 in SEN12MS.
        shift: how much regions and seasons differ in appearance; 0 not at all, 1 as usual.
        seed: same seed, same files.
        overwrite: replace an existing folder.

    Returns:
        `root`.

    Raises:
        ConfigError: an argument is out of range.
        OutputExists: `root` exists and `overwrite` is False.
        WriteFailed: the disk is full or not writable; nothing is left behind.
    """
    if isinstance(scenes, int) and not 1 <= scenes <= 125:
        raise ConfigError(f"{scenes} regions cannot be made", remedy="choose 1 to 125")
    wanted = _scenes(scenes, seasons)
    _check_scenes(wanted, patches, size, shift)
    with atomic_folder(Path(root), overwrite=overwrite) as temporary:
        for scene in wanted:
            _write_scene(temporary, scene, patches, size, shift, seed)
    return Path(root)


def _write_scene(
    root: Path, scene: Scene, patches: int, size: int, shift: float, seed: int
) -> None:
    for patch in make_patches(scene, patches, size, shift, seed):
        for modality in ("s1", "s2", "lc"):
            path = root / patch_path(modality, scene, patch.number)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_tif(path, patch.layers[modality], patch.crs, patch.transform)


@dataclass(frozen=True)
class Patch:
    """A made-up patch: its number from 1, its layers (band, row, col) by modality, its grid."""

    number: int
    layers: Mapping[str, NDArray[Any]]
    crs: str
    transform: Affine


def make_patches(scene: Scene, patches: int, size: int, shift: float, seed: int) -> Iterator[Patch]:
    """The patches of a scene: s1, s2, lc (IGBP and LCCS) and dfc (IGBP simplified, at 10 m)."""
    season, number = scene
    region = make_region(seed, number, shift)
    part = 1 + list(FOLDERS).index(season)
    columns = math.ceil(math.sqrt(patches))
    lines = math.ceil(patches / columns)
    step = size // 2
    shape = (size + (lines - 1) * step, size + (columns - 1) * step)
    land = landscape(np.random.default_rng((seed, number, part, 0)), region.biome, shape)
    look = make_look(
        np.random.default_rng((seed, number, 1)),
        np.random.default_rng((seed, number, part, 1)),
        region.biome,
        season,
        region.latitude,
        shift,
    )
    rng = np.random.default_rng((seed, number, part, 2))
    s2, s1 = _measured(rng, land, look)
    dfc = IGBP_SIMPLIFIED.to_ids(IGBP_SIMPLIFIED.from_ids(land.label))[None]
    layers: dict[str, NDArray[Any]] = {
        "s1": s1, "s2": s2, "lc": _LC_TABLE[:, land.label], "dfc": dfc
    }  # fmt: skip
    origin = _origin(region, part)
    for patch in range(patches):
        row, col = (patch // columns) * step, (patch % columns) * step
        place = (slice(None), slice(row, row + size), slice(col, col + size))
        transform = Affine(PIXEL, 0, origin[0] + col * PIXEL, 0, -PIXEL, origin[1] - row * PIXEL)
        cut = {modality: pixels[place] for modality, pixels in layers.items()}
        yield Patch(patch + 1, cut, f"EPSG:{region.epsg}", transform)


def _measured(
    rng: np.random.Generator, land: Landscape, look: Look
) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
    """Stored values of s2 and s1, with gaps: now and then a hole in s2, or an edge in s1."""
    image, radar = render(rng, land, look)
    s2 = np.clip(np.rint(image * 1e4), 1, 28000).astype(np.uint16)
    if rng.uniform() < 0.25:
        s2[:, _blot(rng, land.surface.shape, rng.uniform(0.01, 0.06), 80)] = 0
    if rng.uniform() < 0.15:
        radar[:, :, : int(rng.integers(1, 12))] = np.nan
    return s2, radar


def _blot(rng: np.random.Generator, shape: tuple[int, ...], share: float, largest: float) -> Mask:
    """Cloud-shaped spots over a share of the pixels."""
    field = fractal(rng, (shape[0], shape[1]), largest, 1.8)
    spots: Mask = field > np.quantile(field, 1 - share)
    return spots


def _origin(region: Region, part: int) -> tuple[float, float]:
    """Upper left corner in metres of the region's UTM zone."""
    (east, *_), (north, *_) = to_crs(
        "EPSG:4326", f"EPSG:{region.epsg}", [region.longitude], [region.latitude]
    )
    return round(east / PIXEL) * PIXEL, round(north / PIXEL) * PIXEL + 40_000 * part


def write_tif(path: Path, pixels: NDArray[Any], crs: str | None, transform: Affine | None) -> None:
    """Write one layer; without a CRS, a file that does not tell its place."""
    count, height, width = pixels.shape
    profile: dict[str, Any] = {
        "count": count,
        "height": height,
        "width": width,
        "dtype": pixels.dtype.name,
    }
    profile |= {"crs": crs, "transform": transform, "interleave": "band"}
    with (
        warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning),
        create_in_memory(path, **profile) as file,
    ):
        file.write(pixels)


# IGBP class to DeepGlobe's class index; wetlands and all low plants are rangeland.
_DEEPGLOBE_OF = np.array([255, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 1, 0, 1, 5, 5, 4], np.uint8)
_ZOOM = 8.0
"""Pixels to 10 m: between DeepGlobe's 20 and what shows several fields in a small picture."""


def write_deepglobe(
    root: str | Path,
    *,
    images: int = 12,
    size: int = 512,
    shift: float = 1.0,
    seed: int = 0,
    terrains: int = 6,
    overwrite: bool = False,
) -> Path:
    """Write a folder laid out like DeepGlobe's training set: `{id}_sat.jpg` and `{id}_mask.png`.

    Like the real masks, these are not exact everywhere: colours must be binarised at 128.

    Args:
        root: the folder to write; it appears complete or not at all.
        images: how many.
        size: side in pixels; 2448 in DeepGlobe.
        shift: how much terrains differ in appearance; 0 not at all, 1 as usual.
        seed: same seed, same files.
        terrains: kinds of country the images come from, in turn; nothing in the files tells which.
        overwrite: replace an existing folder.

    Returns:
        `root`.

    Raises:
        ConfigError: an argument is out of range.
        OutputExists: `root` exists and `overwrite` is False.
        WriteFailed: the disk is full or not writable; nothing is left behind.
    """
    if min(images, terrains) < 1 or size < 32 or shift < 0:
        raise ConfigError(
            f"{images} images of {size} pixels, {terrains} terrains, shift {shift} cannot be made",
            remedy="choose images and terrains from 1, size from 32, shift from 0",
        )
    names = np.random.default_rng((seed, 0)).choice(900_000, images, replace=False) + 100_000
    with atomic_folder(Path(root), overwrite=overwrite) as temporary:
        for index, name in enumerate(sorted(names.tolist())):
            rng = np.random.default_rng((seed, index, 7))
            terrain = make_region(seed, 1000 + index % terrains, shift)
            photo, mask = _photo(rng, terrain, size, shift, seed)
            Image.fromarray(photo).save(temporary / f"{name}_sat.jpg", quality=92)
            Image.fromarray(mask).save(temporary / f"{name}_mask.png")
    return Path(root)


def _photo(
    rng: np.random.Generator, terrain: Region, size: int, shift: float, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """An aerial picture and its mask, both (row, col, 3) as Pillow wants them."""
    land = landscape(rng, terrain.biome, (size, size), _ZOOM)
    look = make_look(
        np.random.default_rng((seed, terrain.number, 1)),
        np.random.default_rng((seed, terrain.number, 2)),
        terrain.biome,
        "summer",
        terrain.latitude,
        shift,
    )
    image, _ = render(rng, land, look, zoom=2.0)  # a blur of 1 m where Sentinel-2 has 10
    clear = image - look.haze.astype(np.float32)[:, None, None]  # photos are taken from below it
    rgb = np.clip(clear[[3, 2, 1]] / 0.28, 0, 1) ** 0.6 * 255
    index = _DEEPGLOBE_OF[land.label]
    unknown = (
        _blot(rng, (size, size), rng.uniform(0.005, 0.04), size / 3)
        if rng.uniform() < 0.2
        else np.zeros((size, size), bool)
    )
    rgb[:, unknown] = 235 + rng.normal(0, 6, (3, int(unknown.sum())))
    colours = DEEPGLOBE.palette()
    mask = colours[index]
    mask[unknown] = 0
    edge = binary_dilation(np.hypot(*np.gradient(index.astype(np.float32))) > 0)
    smear = rng.integers(0, 40, (int(edge.sum()), 3))
    mask[edge] = np.where(mask[edge] > 127, 255 - smear, smear).astype(np.uint8)
    photo = np.moveaxis(np.rint(np.clip(rgb, 0, 255)).astype(np.uint8), 0, -1)
    return np.ascontiguousarray(photo), mask
