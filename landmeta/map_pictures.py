"""The pictures of a map's page, in a size for screens, as data addresses."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image as Picture
from rasterio.enums import Resampling
from rasterio.warp import reproject
from shapely import transform as move
from shapely.geometry.base import BaseGeometry

from landmeta.errors import SizeMismatch, UnreadableFile
from landmeta.imagery import open_raster
from landmeta.landmap import LandMap
from landmeta.pictures import true_colour_bands
from landmeta.raster import Grid
from landmeta.vectorfile import read_frame

SIDE = 1600
"""Pixels of a picture's longer side at most."""


def picture_size(grid: Grid) -> tuple[int, int]:
    """Rows and columns of the pictures."""
    factor = min(1.0, SIDE / max(grid.height, grid.width))
    return max(1, round(grid.height * factor)), max(1, round(grid.width * factor))


def image_picture(
    path: Path, grid: Grid, size: tuple[int, int], names: list[str] | None
) -> NDArray[np.uint8]:
    """The image in colour on the map's grid."""
    with open_raster(path) as dataset:
        described = names or [d or "" for d in dataset.descriptions]
        bands = [i + 1 for i in true_colour_bands(described)]
        if dataset.crs is None or grid.crs is None:
            pixels = dataset.read(bands, out_shape=(3, *size), masked=True).astype(np.float32)
            values = np.ma.filled(pixels, np.nan)
        else:
            values = np.full((3, *size), np.nan, np.float32)
            across, down = grid.width / size[1], grid.height / size[0]
            for number, band in enumerate(bands):
                reproject(
                    rasterio.band(dataset, band),
                    values[number],
                    dst_transform=grid.transform * grid.transform.scale(across, down),
                    dst_crs=grid.crs,
                    dst_nodata=np.nan,
                    resampling=Resampling.average,
                )
    seen = np.isfinite(values).all(axis=0)
    shown = np.zeros((*size, 4), np.uint8)
    if seen.any():
        low, high = np.quantile(values[:, seen], (0.02, 0.98), axis=1)
        scaled = (values[:, seen].T - low) / np.maximum(high - low, 1e-6)
        shown[seen, :3] = np.clip(scaled * 255, 0, 255)
        shown[seen, 3] = 255
    return shown


def map_picture(land: LandMap, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The map in its colours, each pixel of the picture as the one of the map in its middle."""
    with open_raster(land.path) as dataset:
        values = dataset.read(1, out_shape=size, resampling=Resampling.nearest)
        valid = dataset.read_masks(1, out_shape=size, resampling=Resampling.nearest) > 0
    table = np.zeros((256, 4), np.uint8)
    for known in land.legend.classes:
        table[known.id] = (*known.rgb, 255)
    shown: NDArray[np.uint8] = table[np.clip(values, 0, 255)]
    shown[~valid] = 0
    return shown


def confidence_picture(path: Path, grid: Grid, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Black at 0 %, white at 100 %."""
    with open_raster(path) as dataset:
        if (dataset.height, dataset.width) != (grid.height, grid.width):
            raise SizeMismatch(
                f"has {dataset.height} × {dataset.width} pixels, the map "
                f"{grid.height} × {grid.width}",
                remedy="give the confidence that was written with the map",
                path=path,
            )
        values = dataset.read(1, out_shape=size, resampling=Resampling.average, masked=True)
    grey = np.clip(np.ma.filled(values.astype(np.float32), 0) * 2.55, 0, 255).astype(np.uint8)
    alpha = np.where(np.ma.getmaskarray(values), 0, 255).astype(np.uint8)
    return np.stack([grey, grey, grey, alpha], axis=-1)


def outlines(path: Path, land: LandMap, size: tuple[int, int]) -> list[str]:
    """Labelled places as SVG path data in pixels of the pictures; points are small crosses."""
    try:
        frame = read_frame(path)
    except UnreadableFile as error:
        raise UnreadableFile(
            f"is no file of polygons or points: it {error.what}",
            remedy="give what the model was adapted to, such as a GeoPackage",
            path=path,
        ) from error
    if frame.crs is not None and land.grid.crs is not None:
        frame = frame.to_crs(land.grid.crs)
    down, across = size[0] / land.grid.height, size[1] / land.grid.width
    inverse = ~land.grid.transform

    def to_picture(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        cols, rows = inverse * (xy[:, 0], xy[:, 1]) if frame.crs is not None else xy.T
        return np.column_stack([np.asarray(cols) * across, np.asarray(rows) * down])

    shapes = [move(g, to_picture) for g in frame.geometry if g is not None and not g.is_empty]
    return [_path(part) for shape in shapes for part in getattr(shape, "geoms", [shape])]


def _path(shape: BaseGeometry) -> str:
    if shape.geom_type == "Point":
        return f"M{shape.x - 4:.1f},{shape.y:.1f}h8M{shape.x:.1f},{shape.y - 4:.1f}v8"
    rings = [shape.exterior, *shape.interiors] if shape.geom_type == "Polygon" else [shape]
    return "".join("M" + "L".join(f"{x:.1f},{y:.1f}" for x, y, *_ in ring.coords) for ring in rings)


def reliability_picture(held_out: Mapping[str, Any] | None) -> str:
    """Reliability of held-out labels, without and with the temperature, as a data address."""
    if not held_out or not held_out.get("reliability"):
        return ""
    figure = Figure(figsize=(4.2, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1)
    names = ("as it comes", "with temperature")
    for name, bins, color in zip(
        names, held_out["reliability"], ("#b5651d", "#2c6e54"), strict=True
    ):
        share, sure, right = np.asarray(bins).T
        axes.plot(sure, right, color=color, linewidth=1.5, label=name)
        axes.scatter(sure, right, s=10 + 200 * share, color=color, alpha=0.6)
    axes.set(xlabel="confidence", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(loc="lower right", frameon=False)
    stream = io.BytesIO()
    figure.savefig(stream, dpi=130)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def to_data(pixels: NDArray[np.uint8]) -> str:
    """An RGBA picture, (row, col, 4), as a data address."""
    stream = io.BytesIO()
    Picture.fromarray(pixels).save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
