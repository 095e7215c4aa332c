"""Pictures for people: image, truth and maps side by side."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from landmeta.legend import IGNORE, Labels, Legend

_TRUE_COLOUR = (
    ("R", "G", "B"),
    ("red", "green", "blue"),
    ("S2_B4", "S2_B3", "S2_B2"),
    ("B04", "B03", "B02"),
)
COLUMNS = 8
"""Pictures in a row at most."""


def true_colour_bands(bands: Sequence[str]) -> tuple[int, int, int]:
    """Which bands to show as red, green and blue: by name, else the first three (or the first)."""
    for names in _TRUE_COLOUR:
        if all(n in bands for n in names):
            return (bands.index(names[0]), bands.index(names[1]), bands.index(names[2]))
    return (0, 1, 2) if len(bands) >= 3 else (0, 0, 0)


def true_colour(image: NDArray[np.float32], bands: Sequence[str]) -> NDArray[np.float32]:
    """RGB 0-1, shape (tile, row, col, 3), stretched between the 2 % and 98 % quantiles.

    Args:
        image: (tile, band, row, col), NaN where not valid; shown white.
        bands: names of the bands.
    """
    chosen = image[:, true_colour_bands(bands)].astype(np.float32)
    low = np.nanquantile(chosen, 0.02, axis=(0, 2, 3), keepdims=True)
    high = np.nanquantile(chosen, 0.98, axis=(0, 2, 3), keepdims=True)
    stretched = np.clip((chosen - low) / np.maximum(high - low, 1e-6), 0, 1)
    shown: NDArray[np.float32] = np.nan_to_num(stretched, nan=1.0).transpose(0, 2, 3, 1)
    return shown


def legend_handles(legend: Legend, used: Sequence[int]) -> list[Patch]:
    """Colour patches of the classes in `used` (indices)."""
    return [
        Patch(facecolor=legend.classes[i].color, edgecolor="#444444", label=legend.classes[i].name)
        for i in used
    ]


def plot_region(
    image: NDArray[np.float32],
    truth: Labels,
    maps: Mapping[str, Labels],
    *,
    bands: Sequence[str],
    legend: Legend,
    title: str,
    path: Path,
) -> None:
    """Rows of tiles; columns image, truth and each method's map, in lines of eight.

    Args:
        image: (tile, band, row, col); truth and each map: (tile, row, col) class index.
        truth: reference labels; 255 is left white.
        maps: method name to its predictions.
        bands: names of the bands, to show true colour.
        legend: colours.
        title: over the picture.
        path: PNG to write.
    """
    palette = legend.palette()
    columns: dict[str, NDArray[Any]] = {"image": true_colour(image, bands), "truth": palette[truth]}
    columns |= {
        name: np.where(truth[..., None] == IGNORE, 255, palette[labels]).astype(np.uint8)
        for name, labels in maps.items()
    }
    wide = min(len(columns), COLUMNS)
    lines = math.ceil(len(columns) / wide)
    figure = Figure(figsize=(2.2 * wide, 2.4 * len(image) * lines + 1.0), layout="constrained")
    axes = figure.subplots(len(image) * lines, wide, squeeze=False)
    for axis in axes.ravel():
        axis.set_axis_off()
    for place, (name, pictures) in enumerate(columns.items()):
        for tile, picture in enumerate(pictures):
            line, column = divmod(place, wide)
            axis = axes[tile * lines + line, column]
            axis.imshow(picture, interpolation="nearest")
            if tile == 0 or lines > 1:
                axis.set_title("\n".join(textwrap.wrap(name, 22)), fontsize=10)
    drawn = np.concatenate([truth.ravel(), *(m[truth != IGNORE] for m in maps.values())])
    used = [int(i) for i in np.unique(drawn) if i != IGNORE]
    figure.legend(
        handles=legend_handles(legend, used), loc="outside lower center", ncols=min(5, len(used))
    )
    figure.suptitle(title)
    figure.savefig(path, dpi=100)


def plot_map(
    image: Path,
    made: Path,
    confidence: Path,
    path: Path,
    *,
    bands: Sequence[str],
    legend: Legend,
    truth: Labels,
    title: str,
    most: int = 700,
) -> None:
    """A raster and its map side by side, with the reference and the confidence.

    Args:
        image: raster that was mapped.
        made: map, class ids of `legend`.
        confidence: percent.
        path: PNG to write.
        bands: what the raster's bands are, in order.
        legend: the map's.
        truth: reference on the same grid, class index, shape (row, col).
        title: over the picture.
        most: rows or columns to show at most; larger rasters are thinned.
    """
    with rasterio.open(image) as source:
        shape = _thinned(source.height, source.width, most)
        pixels = source.read(out_shape=(source.count, *shape), masked=True).astype(np.float32)
    columns: dict[str, NDArray[Any]] = {"image": true_colour(pixels.filled(np.nan)[None], bands)[0]}
    with rasterio.open(made) as source:
        classes = legend.from_map(source.read(1, out_shape=shape))
    columns["map"] = legend.palette()[classes]
    pairs = zip(truth.shape, shape, strict=True)
    rows, cols = (np.linspace(0, n - 1, m).round().astype(int) for n, m in pairs)
    columns["reference"] = legend.palette()[truth[np.ix_(rows, cols)]]
    with rasterio.open(confidence) as source:
        columns["confidence"] = source.read(1, out_shape=shape, masked=True)
    wide = shape[1] > shape[0]
    grid = (2, 2) if wide else (1, 4)
    cell = 5.0 if wide else 3.5
    size = (cell * grid[1] + 1, cell * grid[0] * shape[0] / shape[1] + 1.2)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(*grid, squeeze=False).ravel()
    for axis, (name, picture) in zip(axes, columns.items(), strict=True):
        shown = axis.imshow(picture, interpolation="nearest", vmin=0, vmax=100, cmap="viridis")
        axis.set_title(name)
        axis.set_axis_off()
        if name == "confidence":
            figure.colorbar(shown, ax=axis, shrink=0.8, label="percent")
    used = [i for i in np.union1d(classes, truth).tolist() if i != IGNORE]
    figure.legend(
        handles=legend_handles(legend, used), loc="outside lower center", ncols=min(5, len(used))
    )
    figure.suptitle(title)
    figure.savefig(path, dpi=100)


def _thinned(height: int, width: int, most: int) -> tuple[int, int]:
    factor = max(1.0, max(height, width) / most)
    return round(height / factor), round(width / factor)
