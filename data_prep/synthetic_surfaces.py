"""What the ground of the synthetic worlds is made of, and how Sentinel-1 and -2 see each matter.

Reflectances and backscatter are of the size that BigEarthNet patches of forest,
arable land, inland water, snow and towns in four countries show.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_REFLECTANCE: dict[str, tuple[float, ...]] = {
    # B1   B2    B3    B4    B5    B6    B7    B8    B8A   B9    B10 B11   B12
    "needle": (150, 200, 370, 250, 610, 1650, 2000, 2100, 2200, 2150, 4, 1080, 510),
    "broad": (170, 230, 480, 290, 850, 2700, 3450, 3550, 3700, 3650, 4, 1750, 780),
    "shrub": (300, 400, 640, 660, 1040, 1750, 2050, 2200, 2350, 2350, 4, 2100, 1250),
    "grass": (280, 370, 740, 560, 1250, 2800, 3350, 3500, 3650, 3600, 4, 2250, 1200),
    "straw": (600, 800, 1150, 1500, 1850, 2200, 2400, 2550, 2750, 2750, 5, 3400, 2400),
    "crop": (230, 310, 700, 400, 1120, 3350, 4250, 4350, 4550, 4450, 4, 1900, 880),
    "soil": (550, 750, 1050, 1400, 1650, 1800, 1950, 2050, 2200, 2200, 5, 2800, 2300),
    "rock": (1050, 1350, 1850, 2350, 2600, 2700, 2800, 2900, 3000, 3000, 6, 3700, 3300),
    "water": (350, 330, 310, 180, 150, 110, 100, 90, 75, 70, 3, 40, 25),
    "silt": (600, 700, 950, 850, 800, 500, 450, 400, 330, 300, 3, 120, 80),
    "snow": (8300, 8400, 8300, 8100, 8000, 7900, 7700, 7500, 7200, 6800, 30, 550, 450),
    "asphalt": (750, 850, 980, 1080, 1200, 1300, 1380, 1430, 1520, 1550, 5, 1750, 1600),
    "roof": (1300, 1500, 1750, 2100, 2250, 2350, 2450, 2550, 2650, 2650, 8, 2900, 2700),
}
_BACKSCATTER: dict[str, tuple[float, float]] = {
    # VV, VH in dB
    "needle": (-9.1, -14.3),
    "broad": (-8.4, -13.6),
    "shrub": (-10.6, -16.7),
    "grass": (-11.8, -18.9),
    "straw": (-12.4, -20.0),
    "crop": (-10.4, -16.2),
    "soil": (-13.1, -21.9),
    "rock": (-12.0, -20.9),
    "water": (-20.5, -28.0),
    "silt": (-19.5, -27.0),
    "snow": (-11.8, -18.9),
    "asphalt": (-13.3, -20.9),
    "roof": (-2.5, -9.5),
}

MATTERS: tuple[str, ...] = tuple(_REFLECTANCE)
REFLECTANCE: NDArray[np.float64] = np.array(list(_REFLECTANCE.values())) * 1e-4
"""Of the surface (0-1), shape (matter, band), in the order of SEN12MS's thirteen bands."""
BACKSCATTER: NDArray[np.float64] = np.array([_BACKSCATTER[m] for m in MATTERS])
"""Shape (matter, 2): VV, VH in dB."""


@dataclass(frozen=True)
class Surface:
    """A ground made of two mixtures of matter that alternate in a texture.

    Attributes:
        label: IGBP class it is usually mapped as.
        one, other: matter and its share.
        share: of the pixels that are nearer to `other`.
        texture: how much the fine (2.5 pixels), middle (6) and coarse (18) grain count.
        contrast: of the texture; below 1 blurred, 4 hard-edged.
    """

    label: int
    one: Mapping[str, float]
    other: Mapping[str, float]
    share: float = 0.5
    texture: tuple[float, float, float] = (1, 1, 1)
    contrast: float = 2.0


SURFACES: dict[str, Surface] = {
    "needle forest": Surface(
        1, {"needle": 0.95, "soil": 0.05}, {"needle": 0.6, "shrub": 0.25, "grass": 0.15},
        0.3, (1, 1, 0.5),
    ),
    "rainforest": Surface(
        2, {"broad": 1}, {"broad": 0.75, "needle": 0.25}, 0.4, (1.5, 0.7, 0.2)
    ),
    "larch forest": Surface(
        3, {"needle": 0.55, "broad": 0.35, "grass": 0.1},
        {"needle": 0.4, "shrub": 0.3, "grass": 0.3}, 0.45, (1, 1, 0.3),
    ),
    "deciduous forest": Surface(
        4, {"broad": 0.95, "grass": 0.05}, {"broad": 0.65, "shrub": 0.25, "needle": 0.1},
        0.35, (1, 0.8, 0.4),
    ),
    "mixed forest": Surface(
        5, {"needle": 0.8, "broad": 0.2}, {"broad": 0.8, "needle": 0.2}, 0.5, (0.3, 1, 1), 3
    ),
    "dense shrub": Surface(
        6, {"shrub": 0.9, "soil": 0.1}, {"shrub": 0.55, "grass": 0.2, "broad": 0.25},
        0.4, (1, 0.7, 0.2),
    ),
    "open shrub": Surface(
        7, {"soil": 0.55, "straw": 0.3, "shrub": 0.15}, {"shrub": 0.6, "soil": 0.3, "straw": 0.1},
        0.35, (1.5, 0.5, 0.2), 3,
    ),
    "woody savanna": Surface(
        8, {"grass": 0.45, "straw": 0.35, "shrub": 0.2}, {"broad": 0.8, "shrub": 0.2},
        0.45, (1.5, 0.8, 0.3), 4,
    ),
    "savanna": Surface(
        9, {"straw": 0.55, "grass": 0.4, "soil": 0.05}, {"broad": 0.6, "shrub": 0.2, "grass": 0.2},
        0.18, (1.5, 0.5, 0.3), 4,
    ),
    "grassland": Surface(
        10, {"grass": 0.65, "straw": 0.35}, {"grass": 0.4, "straw": 0.5, "soil": 0.1},
        0.5, (0.2, 0.4, 1.5), 1.2,
    ),
    "pasture": Surface(
        10, {"grass": 0.9, "straw": 0.1}, {"grass": 0.75, "straw": 0.25}, 0.4, (0.3, 0.3, 1), 1.2
    ),
    "wetland": Surface(
        11, {"grass": 0.55, "shrub": 0.2, "water": 0.25},
        {"water": 0.65, "grass": 0.25, "shrub": 0.1}, 0.35, (0.4, 1.5, 0.8), 3,
    ),
    "young crop": Surface(
        12, {"soil": 0.65, "crop": 0.35}, {"soil": 0.4, "crop": 0.6}, 0.4, (0.2, 0.3, 1), 1
    ),
    "green crop": Surface(
        12, {"crop": 0.95, "soil": 0.05}, {"crop": 0.8, "grass": 0.1, "soil": 0.1},
        0.4, (0.2, 0.3, 1), 1,
    ),
    "ripe crop": Surface(
        12, {"straw": 0.85, "crop": 0.15}, {"straw": 0.75, "soil": 0.25}, 0.4, (0.2, 0.3, 1), 1
    ),
    "ploughed": Surface(12, {"soil": 1}, {"soil": 0.85, "straw": 0.15}, 0.4, (0.3, 0.3, 1), 1),
    "paddy": Surface(
        12, {"crop": 0.6, "silt": 0.4}, {"silt": 0.6, "crop": 0.4}, 0.4, (0.2, 0.3, 1), 1
    ),
    "orchard": Surface(
        12, {"soil": 0.6, "straw": 0.2, "broad": 0.2}, {"broad": 0.55, "shrub": 0.25, "soil": 0.2},
        0.45, (2, 0.2, 0.2), 4,
    ),
    "hedge": Surface(12, {"shrub": 0.5, "broad": 0.5}, {"grass": 0.7, "broad": 0.3}, 0.4),
    "roofs": Surface(
        13, {"roof": 0.8, "asphalt": 0.2}, {"roof": 0.4, "asphalt": 0.6}, 0.4, (2, 0.3, 0.3), 3
    ),
    "asphalt": Surface(13, {"asphalt": 1}, {"asphalt": 0.7, "soil": 0.2, "grass": 0.1}, 0.4),
    "garden": Surface(
        13, {"grass": 0.5, "broad": 0.2, "asphalt": 0.15, "roof": 0.15},
        {"broad": 0.7, "roof": 0.3}, 0.4, (2, 0.3, 0.3), 3,
    ),
    "snow": Surface(15, {"snow": 1}, {"snow": 0.75, "rock": 0.25}, 0.35, (0.3, 1, 1)),
    "barren": Surface(
        16, {"rock": 0.7, "soil": 0.3}, {"rock": 0.3, "soil": 0.6, "straw": 0.1},
        0.5, (0.3, 0.7, 1.5), 1.5,
    ),
    "water": Surface(17, {"water": 1}, {"water": 0.85, "silt": 0.15}, 0.4, (0, 0.1, 1.5), 0.4),
}  # fmt: skip
"""All surfaces by name. Several are alike on purpose; texture or surroundings tell them apart."""

SURFACE_INDEX: dict[str, int] = {name: i for i, name in enumerate(SURFACES)}
SURFACE_LABELS: tuple[int, ...] = tuple(s.label for s in SURFACES.values())


def mixture(shares: Mapping[str, float]) -> NDArray[np.float64]:
    """Shares by matter as a vector in the order of `MATTERS`."""
    return np.array([shares.get(m, 0.0) for m in MATTERS])
