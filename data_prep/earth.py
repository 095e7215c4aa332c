"""A real sample of the whole Earth: NASA Blue Marble, yearly NDVI and MODIS land cover 2019.

Everything lies on the grid of the land cover product, 0.05 degree, EPSG:4326, 7200 x 3600 pixels
from (-180, 90).

Sources: Stöckli et al. 2005, The Blue Marble Next Generation; Friedl & Sulla-Menashe 2015, MCD12C1
MODIS/Terra+Aqua Land Cover Type Yearly L3 Global 0.05Deg CMG V006,
doi:10.5067/MODIS/MCD12C1.006; Halverson et al., BESS-JPL (yearly maximum and minimum of NDVI).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.warp import Resampling, reproject
from rasterio.windows import Window

from data_prep.earth_fetch import BLUE_MARBLE, LAND_COVER, NDVI, fetch
from data_prep.earth_regions import PIXEL, REGIONS, Region
from data_prep.source import Cut, Source
from landmeta.atomic import atomic_file, refuse_existing
from landmeta.errors import ConfigError
from landmeta.imagery import METRES_PER_DEGREE, open_raster
from landmeta.legend import IGBP_SIMPLIFIED, IGNORE, Labels
from landmeta.raster import create_in_memory
from landmeta.taskset import Band, SourceTile, TaskSetMeta, tile_windows

MIN_LAND = 0.15
"""Tiles with less land than this share are left out."""
NODATA = -32768
"""Of NDVI, which is defined on land only."""

_CRS = "EPSG:4326"
_WATER_IN_FILE, _WATER = 0, 17
_WATER_INDEX = IGBP_SIMPLIFIED.names.index("Water")
_NDVI_SCALE = 1e-4
_RGB_BANDS = (Band(name="R"), Band(name="G"), Band(name="B"))
_NDVI_BANDS = (Band(name="NDVI_max", scale=_NDVI_SCALE), Band(name="NDVI_min", scale=_NDVI_SCALE))


class World:
    """The whole Earth on the land cover grid; windows of it are read on demand.

    Args:
        ndvi: add yearly maximum and minimum of NDVI as bands four and five; 52 MB to fetch.
        cache: folder for the fetched files; default is the user's cache folder.

    Raises:
        SourceNotFound: the files are not cached and cannot be downloaded.
        UnreadableFile: what was downloaded is not what was expected.
    """

    def __init__(self, *, ndvi: bool = True, cache: Path | None = None) -> None:
        (marble,), (self._land_cover,) = fetch(BLUE_MARBLE, cache), fetch(LAND_COVER, cache)
        self._ndvi = fetch(NDVI, cache) if ndvi else []
        self._made_of = partial(World, ndvi=ndvi, cache=cache)
        with open_raster(marble) as dataset:  # JPEG: no reading of windows without decoding it all
            self._marble = dataset.read()
        self.bands = _RGB_BANDS + (_NDVI_BANDS if ndvi else ())
        self.dtype = "int16" if ndvi else "uint8"

    def __reduce__(self) -> tuple[partial[World], tuple[()]]:
        """Pickled as how it was made: each process opens and decodes for itself."""
        return self._made_of, ()

    def image(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Stored values and where they are valid, both (band, row, col).

        R, G and B are 0-255, resampled bilinearly from 1/15 degree; NDVI is stored × 10⁴ and not
        valid over the sea.
        """
        shape = (len(self.bands), int(window.height), int(window.width))
        image, valid = np.empty(shape, self.dtype), np.ones(shape, bool)
        image[:3] = self._rgb(window)
        for band, path in enumerate(self._ndvi, start=3):
            with open_raster(path) as dataset:
                ndvi = dataset.read(1, window=window)
                valid[band] = np.isfinite(ndvi) & (ndvi != dataset.nodata)
            stored = np.rint(np.where(valid[band], ndvi, 0) / _NDVI_SCALE)
            image[band] = np.where(valid[band], stored, NODATA)
        return image, valid

    def _rgb(self, window: Window) -> NDArray[np.uint8]:
        _, rows, cols = self._marble.shape
        out = np.empty((3, int(window.height), int(window.width)), np.uint8)
        reproject(
            self._marble,
            out,
            src_transform=Affine(360 / cols, 0, -180, 0, -180 / rows, 90),
            src_crs=_CRS,
            dst_transform=transform_of(window),
            dst_crs=_CRS,
            resampling=Resampling.bilinear,
        )
        return out

    def igbp(self, window: Window) -> NDArray[np.uint8]:
        """IGBP land cover of 2019, 1-17 (17 = water), 255 = no data; shape (row, col)."""
        with open_raster(self._land_cover) as dataset:
            found: NDArray[np.uint8] = dataset.read(1, window=window)
        return np.where(found == _WATER_IN_FILE, np.uint8(_WATER), found)

    def label(self, window: Window) -> Labels:
        """Class index in `IGBP_SIMPLIFIED`, shape (row, col), 255 = ignore."""
        return IGBP_SIMPLIFIED.from_ids(self.igbp(window), path=self._land_cover)


def transform_of(window: Window) -> Affine:
    """Pixel to degrees (x = longitude) for a window of the world grid."""
    left, top = PIXEL * window.col_off - 180, 90 - PIXEL * window.row_off
    return Affine(PIXEL, 0, left, 0, -PIXEL, top)


def earth(
    *,
    tile: int = 64,
    ndvi: bool = True,
    regions: Sequence[Region] = REGIONS,
    cache: Path | None = None,
) -> Source:
    """Regions of the world as tasks.

    Args:
        tile: side of a tile in pixels of 0.05 degree.
        ndvi: add yearly maximum and minimum of NDVI as bands four and five; 52 MB to fetch.
        regions: which regions; each is one task.
        cache: folder for the fetched files; default is the user's cache folder.

    Raises:
        ConfigError: a region is smaller than a tile.
        SourceNotFound: the files are not cached and cannot be downloaded.
        UnreadableFile: what was downloaded is not what was expected.
    """
    for region in regions:
        smallest = min(region.window[2:])
        if tile > smallest:
            raise ConfigError(
                f"a tile of {tile} pixels does not fit into {region.name} ({smallest} pixels)",
                remedy=f"choose a tile of at most {smallest}",
            )
    world = World(ndvi=ndvi, cache=cache)
    meta = TaskSetMeta(
        source="earth",
        bands=world.bands,
        legend=IGBP_SIMPLIFIED,
        gsd=PIXEL * METRES_PER_DEGREE,
        tile_size=tile,
        dtype=world.dtype,
        options={"ndvi": ndvi, "min_land": MIN_LAND},
        notes=[
            "image (about 2004) and land cover (2019) are of different years",
            "the colour of the sea in Blue Marble is painted from its depth",
            "gsd holds along a meridian; pixels narrow eastwards with the cosine of the latitude",
        ],
    )
    return Source(meta, [_Part(region, tile) for region in regions], _Cutter(world, tile))


@dataclass(frozen=True)
class _Part:
    """A region, all at once."""

    of: Region
    size: int
    files: tuple[Path, ...] = ()  # the same for all, and checked when they were fetched
    share: float = 1.0

    @property
    def region(self) -> str:
        return self.of.name

    @property
    def tiles(self) -> int:
        _, _, width, height = self.of.window
        return (width // self.size) * (height // self.size)


@dataclass(frozen=True)
class _Cutter:
    """Cuts a region into the tiles that have enough land."""

    world: World
    size: int

    def __call__(self, part: _Part) -> Cut:
        region = part.of
        left, top, width, height = region.window
        image, valid = self.world.image(Window(left, top, width, height))
        label = self.world.label(Window(left, top, width, height))
        tiles = []
        for col, row, *_ in tile_windows(width, height, self.size):
            place = np.s_[..., row : row + self.size, col : col + self.size]
            if land_share(label[place]) < MIN_LAND:
                continue
            window = (left + col, top + row, self.size, self.size)
            tiles.append(
                SourceTile(
                    image=image[place],
                    label=label[place],
                    valid=valid[place],
                    region=region.name,
                    split=region.split,
                    source=LAND_COVER.members[0].name,
                    window=window,
                    crs=_CRS,
                    transform=transform_of(Window(*window)),
                )
            )
        return Cut(tiles)  # that the sea is left out needs no word


def land_share(label: Labels) -> float:
    """Share of pixels labelled as something else than water."""
    return float(((label != _WATER_INDEX) & (label != IGNORE)).mean())


def region_named(name: str) -> Region:
    """The region of that name.

    Raises:
        ConfigError: there is none.
    """
    for region in REGIONS:
        if region.name == name:
            return region
    raise ConfigError(
        f"the Earth sample has no region named {name!r}",
        remedy=f"choose one of: {', '.join(r.name for r in REGIONS)}",
    )


def write_region(
    name: str,
    image: Path,
    label: Path,
    *,
    ndvi: bool = True,
    cache: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Write one region as two GeoTIFFs in EPSG:4326, as a user would have them.

    Args:
        name: of the region.
        image: target for the bands as the task set has them; they carry their names, scale and
            nodata.
        label: target for the truth: class ids of `IGBP_SIMPLIFIED`, with its colours.
        ndvi: add the two bands of NDVI.
        cache: folder for the fetched files.
        overwrite: replace the targets if they exist.

    Raises:
        ConfigError: no such region.
        OutputExists: a target exists and `overwrite` is False.
        WriteFailed: the disk is full or not writable.
        SourceNotFound, UnreadableFile: see `World`.
    """
    window = Window(*region_named(name).window)
    for target in (image, label):
        refuse_existing(Path(target), overwrite)
    world = World(ndvi=ndvi, cache=cache)
    pixels, _ = world.image(window)
    grid = {"crs": _CRS, "transform": transform_of(window)}
    grid |= {"height": int(window.height), "width": int(window.width), "compress": "deflate"}
    with (
        atomic_file(Path(image), overwrite=overwrite) as temporary,
        create_in_memory(
            temporary,
            **grid,
            count=len(world.bands),
            dtype=world.dtype,
            nodata=NODATA if ndvi else None,
        ) as target,
    ):
        target.write(pixels)
        target.descriptions = [b.name for b in world.bands]
        target.scales = [b.scale for b in world.bands]
    with (
        atomic_file(Path(label), overwrite=overwrite) as temporary,
        create_in_memory(temporary, **grid, count=1, dtype="uint8", nodata=IGNORE) as target,
    ):
        target.write(IGBP_SIMPLIFIED.to_ids(world.label(window)), 1)
        target.write_colormap(1, IGBP_SIMPLIFIED.colormap)
