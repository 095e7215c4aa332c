"""Synthetic landscapes: which land cover lies where.

A landscape is a grid of *surfaces* (what the ground looks like: ripe crop, roof, needle forest)
and of *labels* (IGBP classes 1-17: what a map would call it). The two are not the same: a parcel of
bare soil in farmland is Cropland, a grove inside a mosaic of small fields is Mosaic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from data_prep.synthetic_noise import Field, Shape, fractal
from data_prep.synthetic_surfaces import SURFACE_INDEX, SURFACE_LABELS

Mask = NDArray[np.bool_]
Ids = NDArray[np.uint8]
_TABLE = 4093
"""Length of the tables of random numbers from which parcels take their properties."""


@dataclass(frozen=True)
class Biome:
    """What a kind of region is made of.

    Attributes:
        name: of the biome.
        latitudes: degrees north, from, to.
        natural: surfaces that cover what people leave, with their weights.
        farm: share of the land under farming; `mosaic`: share of that in small mixed parcels.
        parcel: side lengths of fields in pixels of 10 m, along and across.
        crops: stages of the fields in the growing season, with their weights.
        fallow: share of fields under grass, `groves`: under natural cover.
        towns: expected towns in 4 × 4 km; `rivers`: expected rivers.
        lakes: share under lakes; `wet`: reach in pixels of wetlands about water; `coast`: chance of
            a sea shore.
        relief: strength of shading.
        evergreen: share of leaves that stay all year; `snow`: snow cover in winter, 0-1.
    """

    name: str
    latitudes: tuple[float, float]
    natural: Mapping[str, float]
    farm: float
    mosaic: float
    parcel: tuple[float, float]
    crops: Mapping[str, float]
    fallow: float = 0.08
    groves: float = 0.04
    towns: float = 1.0
    rivers: float = 0.8
    lakes: float = 0.0
    wet: float = 0.0
    coast: float = 0.0
    relief: float = 0.25
    evergreen: float = 0.2
    snow: float = 0.0


_CROPS = {"young crop": 0.25, "green crop": 0.35, "ripe crop": 0.2, "ploughed": 0.2}

BIOMES: tuple[Biome, ...] = (
    Biome(
        "boreal", (57, 65),
        {"needle forest": 3, "mixed forest": 1.5, "larch forest": 1.5, "wetland": 1,
         "grassland": 0.5, "woody savanna": 0.8},
        farm=0.12, mosaic=0.3, parcel=(34, 14), crops=_CROPS, towns=0.5, lakes=0.12, wet=6,
        snow=0.6, relief=0.2,
    ),
    Biome(
        "temperate", (44, 55),
        {"deciduous forest": 2.5, "mixed forest": 2, "needle forest": 1, "grassland": 1.6},
        farm=0.55, mosaic=0.25, parcel=(42, 15), crops=_CROPS, fallow=0.15, towns=1.8, rivers=1.0,
        lakes=0.02, wet=3, snow=0.15,
    ),
    Biome(
        "mediterranean", (35, 42),
        {"dense shrub": 1.6, "open shrub": 1.2, "woody savanna": 1.3, "savanna": 0.8, "barren": 0.4,
         "needle forest": 0.6},
        farm=0.35, mosaic=0.35, parcel=(26, 12),
        crops={"orchard": 0.4, "ripe crop": 0.25, "ploughed": 0.2, "green crop": 0.15},
        towns=1.3, rivers=0.6, coast=0.4, relief=0.4, evergreen=0.75,
    ),
    Biome(
        "steppe", (42, 52),
        {"grassland": 4, "open shrub": 1, "barren": 0.4, "savanna": 0.5},
        farm=0.4, mosaic=0.05, parcel=(90, 45),
        crops={"young crop": 0.2, "green crop": 0.25, "ripe crop": 0.35, "ploughed": 0.2},
        towns=0.7, rivers=0.6, lakes=0.02, snow=0.3, relief=0.12, evergreen=0.3,
    ),
    Biome(
        "savanna", (-18, 13),
        {"savanna": 3, "woody savanna": 2, "grassland": 1.4, "dense shrub": 0.6, "open shrub": 0.6,
         "wetland": 0.3},
        farm=0.22, mosaic=0.5, parcel=(16, 9), crops=_CROPS, fallow=0.2, towns=0.8, rivers=1.0,
        wet=3, relief=0.15, evergreen=0.35,
    ),
    Biome(
        "rainforest", (-9, 7),
        {"rainforest": 5, "woody savanna": 0.5, "wetland": 0.7, "grassland": 0.5},
        farm=0.28, mosaic=0.5, parcel=(22, 12),
        crops={"green crop": 0.5, "young crop": 0.25, "orchard": 0.15, "ploughed": 0.1},
        towns=0.6, rivers=1.5, wet=5, relief=0.3, evergreen=0.95,
    ),
    Biome(
        "desert", (20, 31),
        {"barren": 4, "open shrub": 1.8, "grassland": 0.5, "savanna": 0.3},
        farm=0.15, mosaic=0.0, parcel=(30, 26),
        crops={"green crop": 0.5, "young crop": 0.2, "ploughed": 0.2, "orchard": 0.1},
        fallow=0.02, towns=1.2, rivers=0.5, coast=0.2, relief=0.3, evergreen=0.8,
    ),
    Biome(
        "mountain", (30, 47),
        {"needle forest": 1.8, "mixed forest": 0.8, "grassland": 1.6, "barren": 1.5, "snow": 1.3,
         "dense shrub": 0.6},
        farm=0.08, mosaic=0.5, parcel=(20, 9), crops=_CROPS, towns=0.5, rivers=1.0, lakes=0.01,
        relief=0.8, snow=0.5, evergreen=0.5,
    ),
    Biome(
        "delta", (9, 24),
        {"wetland": 2, "grassland": 1, "deciduous forest": 0.8, "dense shrub": 0.8,
         "rainforest": 0.5},
        farm=0.5, mosaic=0.25, parcel=(18, 9),
        crops={"paddy": 0.4, "green crop": 0.3, "young crop": 0.15, "ploughed": 0.15},
        towns=1.5, rivers=2.0, lakes=0.05, wet=8, coast=0.3, relief=0.03, evergreen=0.6,
    ),
)  # fmt: skip
"""All nine; every simplified IGBP class lies in at least two of them, except snow."""


@dataclass
class Landscape:
    """Which land cover lies where, all arrays (row, col).

    Attributes:
        surface: place in `synthetic_surfaces.SURFACES`.
        label: IGBP class, 1-17.
        tone: brightness of a parcel or house against others of its kind, mean 0.
        height: relief, mean 0, in units of its own standard deviation.
    """

    surface: Ids
    label: Ids
    tone: Field
    height: Field
    _water: Mask = field(repr=False)

    def put(self, where: Mask, surface: str, label: int | None = None) -> None:
        """Cover some pixels with a surface, labelled as usual for it unless `label` is given."""
        index = SURFACE_INDEX[surface]
        self.surface[where] = index
        self.label[where] = SURFACE_LABELS[index] if label is None else label
        self.tone[where] = 0
        self._water[where] = surface == "water"


def landscape(rng: np.random.Generator, biome: Biome, shape: Shape, zoom: float = 1.0) -> Landscape:
    """Make a landscape.

    Args:
        rng: source of randomness.
        biome: what it is made of.
        shape: (row, col).
        zoom: how many pixels there are to 10 m; 1 for Sentinel-2.
    """
    land = _natural(rng, biome, shape, zoom)
    _farms(rng, biome, land, zoom)
    _waters(rng, biome, land, zoom)
    _towns(rng, biome, land, zoom)
    return land


def _natural(rng: np.random.Generator, biome: Biome, shape: Shape, zoom: float) -> Landscape:
    """Each pixel gets the surface whose noise, preference for height and weight score best."""
    height = fractal(rng, shape, 260 * zoom, 1.8)
    names = list(biome.natural)
    weights = np.log([biome.natural[n] for n in names]) + rng.normal(0, 0.4, len(names))
    liking = rng.normal(0, 0.7, len(names))
    liking[[n in ("snow", "barren") for n in names]] = 1.6
    liking[[n == "wetland" for n in names]] = -1.2
    best = np.full(shape, -np.inf, np.float32)
    surface = np.zeros(shape, np.uint8)
    for name, weight, slope in zip(names, weights, liking, strict=True):
        score = (
            fractal(rng, shape, 90 * zoom, 1.5) + np.float32(weight) + np.float32(slope) * height
        )
        better = score > best
        surface[better] = SURFACE_INDEX[name]
        best[better] = score[better]
    label = np.asarray(SURFACE_LABELS, np.uint8)[surface]
    return Landscape(surface, label, np.zeros(shape, np.float32), height, np.zeros(shape, bool))


def _turned(shape: Shape, angle: Field | float) -> tuple[Field, Field]:
    """Coordinates along and across a direction, pixels."""
    rows, cols = np.indices(shape, np.float32)
    along: Field = (np.cos(angle) * cols + np.sin(angle) * rows).astype(np.float32)
    across: Field = (np.cos(angle) * rows - np.sin(angle) * cols).astype(np.float32)
    return along, across


def _districts(rng: np.random.Generator, shape: Shape, spacing: float) -> Ids:
    """Voronoi cells, at most 64: areas in which parcels lie alike."""
    count = int(np.clip(round(shape[0] * shape[1] / spacing**2), 1, 64))
    points = rng.uniform(0, 1, (count, 2)) * shape
    rows, cols = np.indices(shape, np.float32)
    best = np.full(shape, np.inf, np.float32)
    cell = np.zeros(shape, np.uint8)
    for index, (row, col) in enumerate(points.astype(np.float32)):
        distance = np.square(rows - row) + np.square(cols - col)
        nearer = distance < best
        cell[nearer] = index
        best[nearer] = distance[nearer]
    return cell


def _parcels(
    rng: np.random.Generator, district: Ids, length: float, width: float
) -> tuple[NDArray[np.int64], Mask]:
    """Rows of parcels of varying width, turned by district; their number (hashed) and borders."""
    shape = district.shape
    count = int(district.max()) + 1
    along, across = _turned(shape, rng.uniform(0, np.pi, count).astype(np.float32)[district])
    size = rng.uniform(0.7, 1.4, count).astype(np.float32)[district]
    lane = np.floor(across / (length * size) + 1000).astype(np.int64)
    table = rng.uniform(0, 1, _TABLE).astype(np.float32)
    place = (lane * 31 + district.astype(np.int64) * 977) % _TABLE
    step = width * size * (0.6 + table[place])
    cell = np.floor(along / step + 1000 + 7 * table[(place + 1) % _TABLE]).astype(np.int64)
    number = (lane * 389 + cell * 1511 + district.astype(np.int64) * 2741) % _TABLE
    # Some parcels are one with their neighbour.
    joined = (lane * 389 + (cell - 1) * 1511 + district.astype(np.int64) * 2741) % _TABLE
    number = np.where(table[number] < 0.25, joined, number)
    border = np.zeros(shape, bool)
    border[1:] |= number[1:] != number[:-1]
    border[:, 1:] |= number[:, 1:] != number[:, :-1]
    return number, border


def _pick(rng: np.random.Generator, kinds: Mapping[str, float]) -> Ids:
    """For each number of a parcel a surface, drawn by weight."""
    weights = np.array(list(kinds.values()))
    indices = np.array([SURFACE_INDEX[name] for name in kinds], np.uint8)
    return rng.choice(indices, _TABLE, p=weights / weights.sum())


def _farms(rng: np.random.Generator, biome: Biome, land: Landscape, zoom: float) -> None:
    shape = land.surface.shape
    share = np.clip(biome.farm * rng.uniform(0.6, 1.4), 0, 0.9)
    fit = fractal(rng, shape, 160 * zoom, 1.6) - 0.6 * land.height
    farmed = fit / fit.std() > ndtri(1 - share)
    district = _districts(rng, shape, 130 * zoom)
    number, border = _parcels(rng, district, biome.parcel[0] * zoom, biome.parcel[1] * zoom)
    crop = _pick(rng, biome.crops)[number]
    fate = rng.uniform(0, 1, _TABLE)[number]
    grove = fate > 1 - biome.groves
    fallow = fate < biome.fallow
    mixed = (rng.uniform(0, 1, 64) < biome.mosaic)[district] & farmed
    wild = mixed & (fractal(rng, shape, 30 * zoom, 1.4) > 0.8)
    fields = farmed & ~grove & ~wild
    land.surface[fields] = crop[fields]
    land.label[fields] = 12
    land.tone[fields] = rng.standard_normal(_TABLE, np.float32)[number][fields]
    land.put(fields & fallow, "pasture")
    hedged = rng.uniform(0, 1, 64) < 0.5
    land.put(fields & border & hedged[district] & ~fallow, "hedge", 12)
    land.label[mixed] = 14


def _band(
    rng: np.random.Generator, shape: Shape, through: NDArray[np.float64], bend: float
) -> Field:
    """Distance in pixels from a winding line through a point (row, col), in a random direction."""
    angle = float(rng.uniform(0, np.pi))
    along, across = _turned(shape, angle)
    at_along = np.cos(angle) * through[1] + np.sin(angle) * through[0]
    at_across = np.cos(angle) * through[0] - np.sin(angle) * through[1]
    reach = float(sum(shape))
    steps = np.linspace(-reach, reach, 512)
    wave = np.zeros(512)
    for wavelength in reach / np.array([1.5, 3.0, 6.0, 12.0]):
        wave += wavelength * np.sin(steps / wavelength * 2 * np.pi + rng.uniform(0, 6.3))
    wave *= bend / 12
    wave -= np.interp(at_along, steps, wave)
    centre = at_across + np.interp(along, steps, wave)
    distance: Field = np.abs(across - centre).astype(np.float32)
    return distance


def _waters(rng: np.random.Generator, biome: Biome, land: Landscape, zoom: float) -> None:
    shape = land.surface.shape
    water = np.zeros(shape, bool)
    near = np.full(shape, np.inf, np.float32)
    if biome.lakes:
        basin = fractal(rng, shape, 120 * zoom, 1.9)
        level = ndtri(np.clip(biome.lakes * rng.uniform(0.5, 1.8), 1e-4, 0.5))
        water |= basin < level
        near = np.minimum(near, (basin - level) * 40 * zoom)
    if rng.uniform() < biome.coast:
        shore = _turned(shape, float(rng.uniform(0, 6.3)))[1]
        away = shore - np.quantile(shore, rng.uniform(0.1, 0.4))
        away = away + fractal(rng, shape, 120 * zoom, 1.7) * 14 * zoom
        water |= away < 0
        near = np.minimum(near, away)
    for _ in range(rng.poisson(biome.rivers * max(1.0, max(shape) / (400 * zoom)))):
        distance = _band(rng, shape, rng.uniform(0.1, 0.9, 2) * shape, 1.0)
        distance += fractal(rng, shape, 30 * zoom, 1.5) * zoom
        half = rng.lognormal(1.0, 0.5) * zoom
        water |= distance < half
        near = np.minimum(near, distance - half)
    if biome.wet:
        moist = fractal(rng, shape, 50 * zoom, 1.5) + 0.5
        land.put((near < biome.wet * zoom * moist) & ~water, "wetland")
    land.put(water, "water")


def _towns(rng: np.random.Generator, biome: Biome, land: Landscape, zoom: float) -> None:
    shape = land.surface.shape
    area = shape[0] * shape[1] / (400 * zoom) ** 2
    rough = fractal(rng, shape, 40 * zoom, 1.4)
    rows, cols = np.indices(shape, np.float32)
    town = np.zeros(shape, bool)
    core = np.zeros(shape, bool)
    road = np.zeros(shape, bool)
    for _ in range(rng.poisson(biome.towns * max(area, 0.25))):
        centre = rng.uniform(0.02, 0.98, 2) * shape
        radius = float(np.clip(rng.lognormal(3.0, 0.6), 8, 90)) * zoom
        distance = np.hypot(rows - np.float32(centre[0]), cols - np.float32(centre[1]))
        town |= distance < radius * (1 + 0.3 * rough)
        core |= distance < radius * (0.35 + 0.2 * rough)
        for _ in range(2):
            road |= _band(rng, shape, centre, 0.35) < 0.8 * zoom
    town &= ~land._water
    core &= town
    district = _districts(rng, shape, 60 * zoom)
    _, street = _parcels(rng, district, 8 * zoom, 10 * zoom)
    house, gap = _parcels(rng, district, 2.6 * zoom, 2.4 * zoom)
    suburb = {"roofs": 0.42, "garden": 0.38, "asphalt": 0.2}
    centre_mix = {"roofs": 0.55, "garden": 0.08, "asphalt": 0.37}
    tone = rng.standard_normal(_TABLE, np.float32)
    for where, mix in ((town & ~core, suburb), (core, centre_mix)):
        land.surface[where] = _pick(rng, mix)[house][where]
        land.label[where] = 13
        land.tone[where] = tone[house][where]
    if zoom > 2:  # houses do not touch each other where one can tell them apart
        land.put(town & gap & ~core, "garden")
    land.put(town & street, "asphalt")
    land.put(road, "asphalt")
    land._water[:] = land.surface == SURFACE_INDEX["water"]
