"""Bringing rasters to another grid, where the user asks for it: labels by nearest neighbour only.

Images are resampled only when several files are stacked, by a method that the user names.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any, Literal, TypeAlias

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import NotGeoreferencedWarning
from rasterio.vrt import WarpedVRT
from rasterio.warp import reproject, transform_bounds
from rasterio.windows import Window

from landmeta.errors import MissingCRS, SizeMismatch
from landmeta.imagery import Header, open_raster, read_image, read_label, reading
from landmeta.legend import IGNORE, Labels, Legend

ReadWindow: TypeAlias = Callable[[Window], tuple[NDArray[Any], NDArray[np.bool_]]]
"""Stored values and where they are valid, both (band, row, col), of a window."""
ResamplingName: TypeAlias = Literal["nearest", "bilinear", "cubic", "average"]

_MARGIN = 2
"""Pixels around a window that are read too, against rounding at its rim."""


def read_label_on(
    image: Header,
    dataset: rasterio.DatasetReader,
    legend: Legend,
    window: Window,
    band: int | None = None,
) -> Labels:
    """Class indices of a label file on the grid of another image, by nearest neighbour.

    The file's values become classes first, so that ids, colours and palettes are all categories;
    what the file does not cover is ignore (255).

    Args:
        image: on whose grid.
        dataset: the label file.
        legend: what its values mean.
        window: of the image.
        band: of the label file, see `landmeta.imagery.read_label`.

    Returns:
        Shape (row, col) of the window, uint8.

    Raises:
        MissingCRS: image or label has no coordinate reference system.
        UnreadableFile, UnknownClass: as `landmeta.imagery.read_label`.
    """
    check_can_warp(image, dataset)
    found = np.full((int(window.height), int(window.width)), IGNORE, np.uint8)
    transform = image.transform * Affine.translation(window.col_off, window.row_off)
    source = _covering(image.crs, transform, found.shape, dataset)
    if source is None:
        return found
    reproject(
        read_label(dataset, legend, source, band),
        found,
        src_transform=dataset.window_transform(source),
        src_crs=dataset.crs,
        src_nodata=IGNORE,
        dst_transform=transform,
        dst_crs=image.crs,
        dst_nodata=IGNORE,
        resampling=Resampling.nearest,
        tolerance=0,  # exact coordinates for each pixel: the same whatever the window
    )
    return found


def check_can_warp(image: Header, dataset: rasterio.DatasetReader) -> None:
    """Refuse to guess where a file without coordinates lies.

    Raises:
        MissingCRS: image or label has no coordinate reference system.
    """
    for path, crs in ((image.path, image.crs), (dataset.name, dataset.crs)):
        if crs is None:
            raise MissingCRS(
                "has no coordinate reference system, so labels cannot be warped",
                remedy="give image and label one each, for instance with gdal_edit -a_srs, or "
                "make them the same size",
                path=path,
            )


def _covering(
    crs: str | None, transform: Affine, shape: tuple[int, int], dataset: rasterio.DatasetReader
) -> Window | None:
    """The window of `dataset` that holds what lies below an array on a grid; None if nothing."""
    corners = [transform * (x, y) for x in (0, shape[1]) for y in (0, shape[0])]
    xs, ys = zip(*corners, strict=True)
    bounds = transform_bounds(crs, dataset.crs, min(xs), min(ys), max(xs), max(ys))
    if not all(map(math.isfinite, bounds)):
        return None
    # In pixels of the file, whatever way its axes run.
    west, south, east, north = bounds
    inside = [~dataset.transform * (x, y) for x in (west, east) for y in (south, north)]
    cols, rows = zip(*inside, strict=True)
    left, top = (max(0, math.floor(min(v)) - _MARGIN) for v in (cols, rows))
    right = min(dataset.width, math.ceil(max(cols)) + _MARGIN)
    bottom = min(dataset.height, math.ceil(max(rows)) + _MARGIN)
    return Window(left, top, right - left, bottom - top) if left < right and top < bottom else None


def on_same_ground(reference: Header, other: Header) -> None:
    """Refuse to stack files that do not show the same ground, to within a pixel of the coarser one.

    Raises:
        SizeMismatch: another coordinate reference system, or other bounds.
    """
    same_crs = reference.crs == other.crs or (
        None not in (reference.crs, other.crs)
        and CRS.from_user_input(reference.crs) == CRS.from_user_input(other.crs)
    )
    steps = [max(map(abs, h.transform[:2] + h.transform[3:5])) for h in (reference, other)]
    apart = max(
        math.dist(reference.transform * (reference.width * x, reference.height * y),
                  other.transform * (other.width * x, other.height * y))
        for x, y in ((0, 0), (1, 0), (0, 1), (1, 1))
    )  # fmt: skip
    if not same_crs or apart > max(steps):
        raise SizeMismatch(
            f"shows other ground than {reference.path}, with which it is to be stacked: "
            f"{_bounds_text(other)} against {_bounds_text(reference)}",
            remedy="clip the files to the same bounds (or correct the coordinates they claim), or "
            "leave this one out",
            path=other.path,
        )


def _bounds_text(header: Header) -> str:
    west, north = header.transform * (0, 0)
    east, south = header.transform * (header.width, header.height)
    return (
        f"{west:.10g} to {east:.10g}, {south:.10g} to {north:.10g} ({header.crs}, {header.width} × "
        f"{header.height} pixels)"
    )


def same_grid(one: Header, other: Header) -> bool:
    """True if the pixels of both lie on each other, to a hundredth of a pixel."""
    if (one.height, one.width) != (other.height, other.width):
        return False
    return all(
        math.dist(~one.transform * (other.transform * corner), corner) <= 0.01
        for corner in ((0, 0), (one.width, one.height))
    )


@contextmanager
def open_on(reference: Header, header: Header, resampling: ResamplingName) -> Iterator[ReadWindow]:
    """Open an image as if it lay on another grid of the same coordinate reference system.

    Values that are no data do not enter those around them.

    Args:
        reference: the other grid.
        header: of the image.
        resampling: how values between pixels are found.

    Returns:
        Reads a window of the other grid as `landmeta.imagery.read_image` does.

    Raises:
        SourceNotFound, UnreadableFile: the file is not there or damaged.
    """
    # Closed, not left as a context: a dataset that is entered needs the same thread at its exit.
    with (
        closing(open_raster(header.path)) as dataset,
        closing(_warped(dataset, reference, header, resampling)) as warped,
    ):
        transparent = ColorInterp.alpha in warped.colorinterp
        added = transparent and ColorInterp.alpha not in dataset.colorinterp
        seen = replace(header, alpha=header.alpha or added)
        yield lambda window: read_image(warped, seen, window)


def _warped(
    dataset: rasterio.DatasetReader, reference: Header, header: Header, resampling: ResamplingName
) -> WarpedVRT:
    nodata = dataset.nodata
    if nodata is None and header.dtype.kind == "f":
        nodata = math.nan
    masked = any(MaskFlags.per_dataset in flags for flags in dataset.mask_flag_enums)
    transparent = ColorInterp.alpha in dataset.colorinterp
    crs = dataset.crs or _ANYWHERE
    with (
        reading(header.path),
        warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning),
    ):
        return WarpedVRT(
            dataset,
            src_crs=crs,
            crs=crs,
            transform=reference.transform,
            width=reference.width,
            height=reference.height,
            src_nodata=nodata,
            nodata=nodata,
            # Where neither nodata nor transparency can say what the file does not cover.
            add_alpha=not transparent and (nodata is None or masked),
            resampling=Resampling[resampling],
            UNIFIED_SRC_NODATA="NO",  # of each band for itself
        )


_ANYWHERE = CRS.from_epsg(3857)
"""For files without coordinate reference system: any plane one will do, for both."""
