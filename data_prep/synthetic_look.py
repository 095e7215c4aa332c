"""How a synthetic landscape looks to Sentinel-2 and Sentinel-1 in one region and season.

Regions differ in what the same matter looks like (soil colour, leaf colour, brightness of roofs),
in how surfaces are mixed (how many trees a savanna has), in leaves, drought and snow by season,
and in the air above. One number, `shift`, scales all of it: with 0 every region looks alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from data_prep.synthetic_noise import Field, fractal, grain
from data_prep.synthetic_surfaces import BACKSCATTER, MATTERS, REFLECTANCE, SURFACES, mixture
from data_prep.synthetic_world import Biome, Landscape

Table = NDArray[np.float64]

_WAVELENGTHS = np.array(
    [443, 490, 560, 665, 705, 740, 783, 842, 865, 945, 1375, 1610, 2190], np.float64
)
"""Of Sentinel-2's bands, nm."""
_PIXEL = (60, 10, 10, 10, 20, 20, 20, 10, 20, 60, 60, 20, 20)
"""Ground sampling distance of each band, m: what SEN12MS resampled to 10 m."""
_HAZE = np.array([850, 560, 310, 180, 140, 105, 85, 65, 40, 0, 12, 4, 2]) * 1e-4
"""Reflectance of clear air, in the top-of-atmosphere values that SEN12MS holds."""
_VAPOUR = np.array([1, 1, 1, 1, 1, 1, 1, 1, 1, 0.4, 1, 1, 1])
_LOOKS = 4.9
"""Equivalent number of looks of Sentinel-1 IW GRD."""
_LEAF = {"spring": 0.75, "summer": 1.0, "fall": 0.55, "winter": 0.15}
_OPPOSITE = {"spring": "fall", "summer": "winter", "fall": "spring", "winter": "summer"}


def _modes() -> Table:
    """Smooth ways for spectra to vary, (mode, band): all, blue to infrared, near infrared."""
    place = (np.log(_WAVELENGTHS) - np.log(443)) / (np.log(2190) - np.log(443))
    infrared = np.exp(-(((place - 0.42) / 0.16) ** 2))
    return np.stack([np.ones_like(place), 1 - 2 * place, infrared])


_MODES = _modes()


@dataclass(frozen=True)
class Look:
    """What one region's surfaces look like in one season.

    Attributes:
        one, other: reflectance at the ground of the two mixtures of each surface, (surface, band).
        radar_one, radar_other: backscatter as power, (surface, 2).
        bias: moves the share of `other`, (surface,).
        gain, haze: of the air, (band,).
        relief: strength of shading.
        sun: azimuth, radians.
    """

    one: Table
    other: Table
    radar_one: Table
    radar_other: Table
    bias: Table
    gain: Table
    haze: Table
    relief: float
    sun: float


def _remix(shares: Table, matter: str, into: dict[str, float], part: float) -> None:
    """Turn a part of one matter into others, in place."""
    moved = shares[:, MATTERS.index(matter)] * np.clip(part, 0, 1)
    shares[:, MATTERS.index(matter)] -= moved
    shares += moved[:, None] * mixture(into)


def make_look(
    region: np.random.Generator,
    season: np.random.Generator,
    biome: Biome,
    name: str,
    latitude: float,
    shift: float,
) -> Look:
    """Draw a region's look in a season.

    Args:
        region: randomness that the seasons of a region share.
        season: randomness of this season in this region.
        biome: gives leaves, snow and relief.
        name: spring, summer, fall or winter, of the northern hemisphere.
        latitude: degrees north; south of the equator seasons are turned round.
        shift: strength of all differences between regions; 0 for none, 1 as usual.
    """
    one, other = (
        np.stack([mixture(getattr(s, side)) for s in SURFACES.values()])
        for side in ("one", "other")
    )
    for shares in (one, other):
        shares *= np.exp(shift * region.normal(0, 0.45, shares.shape))
        shares /= shares.sum(axis=1, keepdims=True)
    leaf = _LEAF[name if latitude >= 0 else _OPPOSITE[name]]
    leaf += (1 - leaf) * np.clip(1 - abs(latitude) / 30, 0, 1)
    bare = shift * (1 - leaf) * (1 - biome.evergreen)
    drought = shift * season.uniform(0, 0.6)
    snow = shift * biome.snow * season.uniform(0.3, 1) * (leaf < 0.2)
    for shares in (one, other):
        _remix(shares, "broad", {"straw": 0.4, "soil": 0.4, "needle": 0.2}, 0.75 * bare)
        _remix(shares, "shrub", {"straw": 0.5, "soil": 0.5}, 0.4 * bare)
        _remix(shares, "crop", {"soil": 0.8, "grass": 0.2}, 0.7 * bare)
        _remix(shares, "grass", {"straw": 1}, np.maximum(0.6 * bare, drought))
        for covered in ("grass", "straw", "soil", "crop", "rock"):
            _remix(shares, covered, {"snow": 1}, snow)
        _remix(shares, "needle", {"snow": 1}, 0.15 * snow)
    wobble = region.normal(0, 1, (len(MATTERS), 3)) * (0.13, 0.12, 0.13)
    wobble += season.normal(0, 1, wobble.shape) * 0.05
    matter = REFLECTANCE * np.exp(shift * wobble @ _MODES)
    radar = BACKSCATTER + shift * (
        region.normal(0, 0.8, (len(MATTERS), 1)) + region.normal(0, 0.4, (len(MATTERS), 2))
    )
    power = 10 ** (radar / 10)
    return Look(
        one=one @ matter,
        other=other @ matter,
        radar_one=one @ power,
        radar_other=other @ power,
        bias=shift * region.normal(0, 0.35, len(SURFACES)),
        gain=_VAPOUR * np.exp(shift * (season.normal(0, 0.06) + season.normal(0, 0.015, 13))),
        haze=_HAZE * np.exp(shift * season.normal(0, 0.3)),
        relief=biome.relief,
        sun=2.4 + 0.4 * shift * season.normal(),
    )


def _texture(rng: np.random.Generator, land: Landscape, look: Look, zoom: float) -> Field:
    """How far each pixel is from the first (0) to the second (1) mixture of its surface."""
    kinds = list(SURFACES.values())
    weights = np.array([s.texture for s in kinds], np.float32)
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    contrast = np.array([s.contrast for s in kinds], np.float32)
    # In units of the noise: shares of 0.16, 0.5 and 0.84 are -1, 0 and 1.
    threshold = np.array([np.log(s.share / (1 - s.share)) / 1.7 for s in kinds]) + look.bias
    signal = np.zeros(land.surface.shape, np.float32)
    for index, wavelength in enumerate((2.5, 6.0, 18.0)):
        signal += weights[:, index][land.surface] * grain(
            rng, land.surface.shape, max(wavelength * zoom, 2.5)
        )
    signal += threshold.astype(np.float32)[land.surface] + 0.4 * land.tone
    share: Field = 1 / (1 + np.exp(-2 * contrast[land.surface] * signal))
    return share


def _slopes(land: Landscape, sun: float) -> tuple[Field, Field]:
    """Slope towards the sun and towards the radar, each with variance about 1."""
    down, right = np.gradient(gaussian_filter(land.height, 1.5))
    size = np.hypot(down, right).std() * 1.5 + 1e-6
    towards_sun: Field = (np.cos(sun) * down + np.sin(sun) * right) / size
    return towards_sun, (right / size).astype(np.float32)


def _lookup(one: Table, other: Table, land: Landscape, share: Field) -> NDArray[np.float32]:
    """Values of each pixel, shape (band, row, col)."""
    index = land.surface
    start, step = one.T.astype(np.float32), (other - one).T.astype(np.float32)
    return np.stack([a[index] + share * d[index] for a, d in zip(start, step, strict=True)])


def render(
    rng: np.random.Generator, land: Landscape, look: Look, zoom: float = 1.0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the satellites measure.

    Returns:
        Reflectance at the top of the atmosphere, shape (13, row, col), about 0-1; backscatter in
        dB, shape (2, row, col), with speckle.
    """
    shape = land.surface.shape
    share = _texture(rng, land, look, zoom)
    image = _lookup(look.one, look.other, land, share)
    sunny, ranged = _slopes(land, look.sun)
    flat = land._water
    light = np.clip(1 + 0.3 * look.relief * sunny, 0.4, 1.6)
    light *= np.exp(0.09 * land.tone)
    light[flat] = 1
    image *= light
    for mode, amplitude in zip(_MODES, (0.06, 0.05, 0.07), strict=True):
        field = 0.75 * fractal(rng, shape, 80 * zoom, 1.3) + 0.65 * grain(rng, shape, 4 * zoom)
        for band in range(13):
            image[band] *= 1 + np.float32(amplitude * mode[band]) * field
    for band, metres in enumerate(_PIXEL):
        image[band] = gaussian_filter(image[band], 0.05 * metres * zoom, truncate=3)
    image += rng.standard_normal(image.shape, np.float32) * (0.012 * image + 0.0008)
    image *= look.gain.astype(np.float32)[:, None, None]
    image += look.haze.astype(np.float32)[:, None, None]

    radar = _lookup(look.radar_one, look.radar_other, land, share)
    ranged[flat] = 0
    radar *= 10 ** (0.2 * look.relief * np.clip(ranged, -3, 3))
    speckle = rng.standard_gamma(_LOOKS, radar.shape, np.float32) / np.float32(_LOOKS)
    radar = np.stack([gaussian_filter(band, 0.6 * zoom, truncate=3) for band in radar]) * speckle
    return image, 10 * np.log10(np.maximum(radar, 1e-4))
