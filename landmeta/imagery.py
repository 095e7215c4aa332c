"""Reading one image or label file of any format of GDAL; what is no data is masked, never guessed.

Arrays are (band, row, col), labels (row, col) uint8 with 255 = ignore. Windows are rasterio's.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from landmeta.errors import MissingBands, SizeMismatch, SourceNotFound, UnreadableFile
from landmeta.legend import IGNORE, Labels, Legend
from landmeta.location import Location, is_virtual
from landmeta.taskset import Band

METRES_PER_DEGREE = math.pi / 180 * 6_371_008.8
"""Along a meridian of a sphere with the Earth's mean radius."""

Bands: TypeAlias = Sequence[str] | Mapping[str, int]
"""Bands by name, or by name and place in the file, from 1."""

_ABSENT = re.compile(r"does not exist|HTTP|CURL|No such file|Could ?n.t resolve|timed out")
"""How GDAL words that a file in an archive or on a server cannot be had."""

_PHOTOS = {"JPEG", "PNG"}
"""Formats whose three bands are red, green and blue by definition."""


@dataclass(frozen=True)
class Header:
    """What can be known of an image without reading its pixels.

    Attributes:
        path: the file.
        height, width: in pixels.
        bands: the bands to read, in that order, with scale and offset.
        indexes: the place of each of them in the file, from 1; of a palette image, in its colours.
        palette: True if pixels are places in a colour table.
        alpha: True if a transparency band says what is valid.
        dtype: of the pixels.
        crs: coordinate reference system, or None; `transform`: pixel to CRS.
    """

    path: Location
    height: int
    width: int
    bands: tuple[Band, ...]
    indexes: tuple[int, ...]
    palette: bool
    alpha: bool
    dtype: np.dtype[Any]
    crs: str | None
    transform: Affine

    @property
    def gsd(self) -> float | None:
        """Side in metres of a square of one pixel's area, at the image's centre; None without CRS.

        On a geographic grid a pixel narrows with the cosine of the latitude.
        """
        if self.crs is None:
            return None
        crs = CRS.from_user_input(self.crs)
        area = abs(self.transform.determinant)
        if crs.is_geographic:
            _, latitude = self.transform * (self.width / 2, self.height / 2)
            narrower = math.cos(math.radians(min(90.0, abs(latitude))))
            return METRES_PER_DEGREE * math.sqrt(area * narrower)
        unit: float = crs.linear_units_factor[1] if crs.is_projected else 1.0
        return math.sqrt(area) * unit


def unreadable(path: Location, error: Exception) -> UnreadableFile:
    """The error for a file that cannot be decoded."""
    return UnreadableFile(
        f"cannot be read: {error}",
        remedy="it may be truncated or of another format than its name says; copy it again or "
        "take it out of the folder",
        path=path,
    )


@contextmanager
def reading(path: Location) -> Iterator[None]:
    """Whatever GDAL finds wrong inside the block is said of this file."""
    try:
        # Of what is missing, libjpeg only warns, and GDAL says nothing when it decodes a whole PNG
        # in one go: make both an error. Servers that are busy are asked again.
        with rasterio.Env(
            GDAL_ERROR_ON_LIBJPEG_WARNING=True,
            GDAL_PNG_WHOLE_IMAGE_OPTIM=False,
            GDAL_HTTP_MAX_RETRY=3,
            GDAL_HTTP_RETRY_DELAY=1,
        ):
            yield
    except RasterioError as error:
        # "Read failed. See previous exception for details." tells nobody anything.
        raise unreadable(path, _root(error)) from error


def open_raster(path: Location) -> rasterio.DatasetReader:
    """Open a raster; close it, or use it as a context manager.

    Raises:
        SourceNotFound: the file is not there, or its server does not give it.
        UnreadableFile: it is truncated, damaged or no raster.
    """
    virtual = is_virtual(path)
    if not virtual and not Path(path).is_file():
        raise SourceNotFound("is not there", remedy="check the name of the file", path=path)
    with warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning):
        try:
            with reading(path):
                return rasterio.open(path)
        except UnreadableFile as error:
            if virtual and _ABSENT.search(str(error.__cause__)):
                raise SourceNotFound(
                    f"cannot be opened: {error.__cause__}",
                    remedy="check the address, the network, and what the server wants of you",
                    path=path,
                ) from error
            raise


def _root(error: Exception) -> Exception:
    cause = error.__cause__
    return _root(cause) if isinstance(cause, Exception) else error


def _has_palette(dataset: rasterio.DatasetReader) -> bool:
    return bool(dataset.count == 1 and dataset.colorinterp[0] == ColorInterp.palette)


def _own_names(dataset: rasterio.DatasetReader, indexes: Sequence[int]) -> tuple[str, ...] | None:
    """The names a file gives its bands, or None."""
    descriptions = [dataset.descriptions[i - 1] for i in indexes]
    if all(descriptions):
        return tuple(str(d) for d in descriptions)
    # A GeoTIFF's colour flags are no names: GDAL sets them to red, green, blue by default.
    if dataset.driver in _PHOTOS and len(indexes) == 3:
        return ("R", "G", "B")
    return None


def choose_bands(
    own: tuple[str, ...] | None, wanted: Bands | None, count: int, path: Location
) -> list[tuple[int, str]]:
    """Positions (from 0) and names of the bands to read, of `count` that a file has.

    Raises:
        MissingBands: a band asked for is not in the file, or too many or few names were given.
    """
    if wanted is None:
        return list(enumerate(own or [f"b{i + 1}" for i in range(count)]))
    if isinstance(wanted, Mapping):
        beyond = [f"{name}={place}" for name, place in wanted.items() if not 1 <= place <= count]
        if beyond:
            raise MissingBands(
                f"has {count} bands, so none is {', '.join(beyond)}",
                remedy="give places from 1 to the number of bands",
                path=path,
            )
        return [(place - 1, name) for name, place in wanted.items()]
    if own is None:
        if len(wanted) != count:
            raise MissingBands(
                f"has {count} bands without names, but {len(wanted)} names were given: "
                f"{', '.join(wanted)}",
                remedy="name every band of the file, in the file's order, or say which are meant "
                "by their places, as red=3",
                path=path,
            )
        return list(enumerate(wanted))
    missing = [name for name in wanted if name not in own]
    if missing:
        raise MissingBands(
            f"has no band {', '.join(missing)}; its bands are {', '.join(own)}",
            remedy="choose among these names, say which are meant by their places, as red=3, or "
            "leave the choice of bands out",
            path=path,
        )
    return [(own.index(name), name) for name in wanted]


def read_header(path: Location, bands: Bands | None = None) -> Header:
    """Read what an image says of itself.

    Args:
        path: GeoTIFF, JPEG, PNG or anything else GDAL opens.
        bands: of a file that names its bands, the ones to read; otherwise names for all of them,
            in order; or names with their places in the file, whatever it calls them. Without it,
            the file's own names, R, G, B for photos, or b1, b2, ….

    Raises:
        SourceNotFound: the file is not there.
        UnreadableFile: it is no raster, or of complex numbers.
        MissingBands: a band asked for is not in the file, or too many or few names were given.
    """
    with open_raster(path) as dataset:
        palette = _has_palette(dataset)
        alphas = [c == ColorInterp.alpha for c in dataset.colorinterp]
        # GDAL marks the fourth of four uint8 bands as alpha by default, which near infrared often
        # suffers: a name says that it is a band.
        alpha = any(alphas) and not _alpha_is_named(dataset, alphas.index(True) + 1, bands)
        indexes = [i for i, a in enumerate(alphas, start=1) if not (a and alpha)]
        if palette:
            indexes = [1, 2, 3]
            own: tuple[str, ...] | None = ("R", "G", "B")
        else:
            own = _own_names(dataset, indexes)
        chosen = choose_bands(own, bands, len(indexes), path)
        dtype = np.result_type(*(dataset.dtypes[i - 1] for i in indexes[: dataset.count]))
        if dtype.kind not in "uif":
            raise unreadable(path, ValueError(f"its pixels are {dtype}"))
        return Header(
            path=path,
            height=dataset.height,
            width=dataset.width,
            bands=tuple(
                Band(name=name)
                if palette
                else Band(
                    name=name,
                    scale=dataset.scales[indexes[position] - 1],
                    offset=dataset.offsets[indexes[position] - 1],
                )
                for position, name in chosen
            ),
            indexes=tuple(indexes[position] for position, _ in chosen),
            palette=palette,
            alpha=alpha,
            dtype=dtype,
            crs=_place_on_earth(dataset.crs),
            transform=dataset.transform,
        )


def _alpha_is_named(dataset: rasterio.DatasetReader, index: int, bands: Bands | None) -> bool:
    if isinstance(bands, Mapping):
        return index in bands.values()
    named = bands is not None and len(bands) == dataset.count
    return named or bool(dataset.descriptions[index - 1])


def _place_on_earth(crs: CRS | None) -> str | None:
    """A local system ("LOCAL_CS", as some writers leave of a true one) says nothing of places."""
    return crs.to_string() if crs and (crs.is_projected or crs.is_geographic) else None


def _colours(dataset: rasterio.DatasetReader, window: Window | None) -> NDArray[np.uint8]:
    """A palette image as red, green, blue and alpha, shape (4, row, col)."""
    table = np.zeros((256, 4), np.uint8)
    for place, colour in dataset.colormap(1).items():
        if place < 256:
            table[place] = colour
    return np.moveaxis(table[dataset.read(1, window=window)], -1, 0)


def read_image(
    dataset: rasterio.DatasetReader, header: Header, window: Window | None = None
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Stored values and where they are valid, both (band, row, col), in the header's bands.

    Invalid is what the file's nodata value, mask or transparency says, NaN and infinity: of each
    band for itself, except that transparency concerns all of them.

    Raises:
        UnreadableFile: the file is truncated or damaged.
    """
    with reading(header.path):
        return _read_image(dataset, header, window)


def _read_image(
    dataset: rasterio.DatasetReader, header: Header, window: Window | None
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    if header.palette:
        colours = _colours(dataset, window)
        pixels = colours[[i - 1 for i in header.indexes]]
        return pixels, np.broadcast_to(colours[3] > 0, pixels.shape).copy()
    indexes = list(header.indexes)
    if len({dataset.dtypes[i - 1] for i in indexes}) == 1:
        pixels = dataset.read(indexes, window=window)
    else:  # rasterio reads bands of several types only one by one
        pixels = np.stack([dataset.read(i, window=window).astype(header.dtype) for i in indexes])
    has_alpha = ColorInterp.alpha in dataset.colorinterp
    masks = [dataset.mask_flag_enums[i - 1] for i in indexes]
    # Of several that a file has, GDAL gives one: a mask, else nodata, else transparency.
    # Where transparency is a band, GDAL's masks would come from it.
    asked = not (all(MaskFlags.all_valid in m for m in masks) or (has_alpha and not header.alpha))
    valid = np.ones(pixels.shape, bool)
    if asked:
        valid = dataset.read_masks(indexes, window=window) > 0
    for band, index in enumerate(indexes):
        nodata = dataset.nodatavals[index - 1]
        if nodata is not None and not (asked and MaskFlags.nodata in masks[band]):
            valid[band] &= pixels[band] != nodata
    if header.alpha:  # GDAL's masks use it only in images of 2 or 4 bands
        transparency = dataset.read(dataset.colorinterp.index(ColorInterp.alpha) + 1, window=window)
        valid &= transparency > 0
    if pixels.dtype.kind == "f":
        valid &= np.isfinite(pixels)
    return pixels, valid


def read_small(
    header: Header, places: Sequence[int], size: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Stored values averaged down to a small picture, and where they are valid.

    Args:
        header: of the image.
        places: which of the header's bands, from 0; one may be asked for more than once.
        size: rows and columns of the picture.

    Returns:
        Both of shape (place, row, col). What is averaged is valid; whether a picture's pixel is
        valid, the pixel in its middle says.

    Raises:
        SourceNotFound: the file is not there.
        UnreadableFile: it is truncated or damaged.
    """
    with open_raster(header.path) as dataset, reading(header.path):
        if header.palette:
            pixels, valid = _read_image(dataset, header, None)
            rows, cols = (
                (np.arange(small) + 0.5) * full / small
                for small, full in zip(size, pixels.shape[1:], strict=True)
            )
            spots = np.ix_(list(places), rows.astype(int), cols.astype(int))
            return pixels[spots].astype(np.float64), valid[spots]
        indexes = [header.indexes[place] for place in places]
        shape = (len(indexes), *size)
        averages = dataset.read(indexes, out_shape=shape, resampling=Resampling.average)
        if all(MaskFlags.all_valid in dataset.mask_flag_enums[i - 1] for i in indexes):
            valid = np.ones(shape, bool)
        else:
            valid = dataset.read_masks(indexes, out_shape=shape) > 0
        if header.alpha:
            alpha = dataset.colorinterp.index(ColorInterp.alpha) + 1
            valid &= dataset.read(alpha, out_shape=size) > 0
        return averages.astype(np.float64), valid & np.isfinite(averages)


def labels_are_colours(legend: Legend) -> bool:
    """True if the legend explains the labels by colours, not ids."""
    return any(key.startswith("#") for key in (*legend.remap, *legend.ignore))


def read_label(
    dataset: rasterio.DatasetReader,
    legend: Legend,
    window: Window | None = None,
    band: int | None = None,
) -> Labels:
    """Class indices of a label file, shape (row, col), uint8, 255 = ignore.

    With `band`, that band, from 1, holds the ids.

    Three bands are colours. One band is ids; it is colours if the legend's remap or ignore speak
    of colours (a grey g then is the colour (g, g, g)), or if the file has a colour table of which
    every colour in use is one of the legend's. Transparent pixels and the file's nodata are ignore,
    unless the legend gives the nodata value a class.

    Raises:
        UnreadableFile: the file has neither one nor three bands, or is damaged.
        UnknownClass: an id or colour that the legend does not have.
    """
    path = dataset.name
    found = None if band else read_colours(dataset, window)
    if found is not None and (
        not _has_palette(dataset) or labels_are_colours(legend) or _all_known(*found, legend)
    ):
        rgb, visible = found
        return colours_to_labels(rgb, visible, legend, path)
    if band and band > dataset.count:
        raise UnreadableFile(
            f"has {dataset.count} bands, so no band {band} with labels",
            remedy="correct the number of the labels' band",
            path=path,
        )
    with reading(path):
        values = dataset.read(band or 1, window=window)
        visible = dataset.dataset_mask(window=window) > 0
    if labels_are_colours(legend):
        return colours_to_labels(np.stack([values] * 3), visible, legend, path)
    nodata = dataset.nodatavals[(band or 1) - 1]
    nodata = math.nan if nodata is None else nodata
    label = legend.from_ids(values, nodata=nodata, path=path)
    if ColorInterp.alpha in dataset.colorinterp:
        label[~visible] = IGNORE
    return label


def read_colours(
    dataset: rasterio.DatasetReader, window: Window | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]] | None:
    """Colours (3, row, col) and where they are opaque (row, col); None if the one band has none.

    Raises:
        UnreadableFile: the file has neither one nor three bands, or is damaged.
    """
    indexes = [i for i, c in enumerate(dataset.colorinterp, 1) if c != ColorInterp.alpha]
    if len(indexes) not in (1, 3):
        raise UnreadableFile(
            f"is no label image: it has {len(indexes)} bands",
            remedy="labels are one band of class ids or three bands of colours; of several bands "
            "say which one holds the ids",
            path=dataset.name,
        )
    with reading(dataset.name):
        if _has_palette(dataset):
            colours = _colours(dataset, window)
            return colours[:3], colours[3] > 0
        if len(indexes) == 1:
            return None
        return dataset.read(indexes, window=window), dataset.dataset_mask(window=window) > 0


def colours_to_labels(
    rgb: NDArray[np.uint8], visible: NDArray[np.bool_], legend: Legend, path: Location
) -> Labels:
    """Class indices of colours (3, row, col); ignore where they are not visible.

    Raises:
        UnknownClass: a visible colour that the legend does not have.
    """
    if visible.all():
        return legend.from_colors(rgb, path=path)
    index = np.full(visible.shape, IGNORE, np.uint8)
    index[visible] = legend.from_colors(rgb[:, None, visible], path=path)[0]
    return index


def _all_known(rgb: NDArray[np.uint8], visible: NDArray[np.bool_], legend: Legend) -> bool:
    used = {tuple(c) for c in np.unique(rgb[:, visible], axis=1).T.tolist()}
    return used <= {c.rgb for c in legend.classes}


def check_same_grid(image: Header, label: Header) -> None:
    """Refuse a label that does not lie pixel on pixel on its image.

    A label without a coordinate reference system is taken to lie where its image lies, unless it
    has coordinates all the same and they are others.

    Raises:
        SizeMismatch: other size, or another grid by more than a hundredth of a pixel.
    """
    if (image.height, image.width) != (label.height, label.width):
        raise SizeMismatch(
            f"is {label.height} × {label.width} pixels (rows × columns), its image "
            f"{image.path} {image.height} × {image.width}",
            remedy="make image and label the same size, or warp the labels if both have "
            "coordinates (--warp, where there is that option)",
            path=label.path,
        )
    if Affine.identity() in (image.transform, label.transform):
        return
    same_crs = None in (image.crs, label.crs) or (
        CRS.from_user_input(image.crs) == CRS.from_user_input(label.crs)
    )
    corners = [(0, 0), (image.width, image.height)]
    shift = max(
        math.dist(~image.transform * (label.transform * corner), corner) for corner in corners
    )
    if not same_crs or shift > 0.01:
        raise SizeMismatch(
            f"lies on another grid than its image {image.path}: {label.crs} "
            f"{tuple(label.transform)[:6]} against {image.crs} {tuple(image.transform)[:6]}",
            remedy="warp the labels to the image's grid (--warp, where there is that option; by "
            "nearest neighbour: they are categories)",
            path=label.path,
        )
