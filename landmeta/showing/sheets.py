"""Small pictures of tiles and their labels, as data that stand in a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from landmeta.legend import Labels, Legend
from landmeta.pictures import true_colour


def image_sheet(
    images: NDArray[np.float32], bands: Sequence[str], side: int, *, quality: int = 80
) -> str:
    """A row of tiles in true colour as a JPEG, each `side` pixels.

    Args:
        images: shape (tile, band, row, col), NaN where not valid.
        bands: their names.
        side: pixels.
        quality: of the JPEG.
    """
    shown = (255 * true_colour(images, bands)).round().astype(np.uint8)
    filter_ = Image.Resampling.BOX if images.shape[-1] >= side else Image.Resampling.NEAREST
    tiles = [Image.fromarray(tile).resize((side, side), filter_) for tile in shown]
    return _data(_row(tiles), "JPEG", quality=quality)


def label_sheet(labels: Labels, legend: Legend, side: int) -> str:
    """A row of labels in the legend's colours as a PNG; what is not labelled is white."""
    tiles = []
    for label in labels:
        tile = Image.fromarray(label, mode="P").resize((side, side), Image.Resampling.NEAREST)
        tile.putpalette(legend.palette().ravel().tolist())
        tiles.append(tile)
    return _data(_row(tiles), "PNG", optimize=True)


def _row(tiles: Sequence[Image.Image]) -> Image.Image:
    gap = 2
    width, height = tiles[0].size
    row = Image.new(tiles[0].mode, (len(tiles) * (width + gap) - gap, height), 255)
    if tiles[0].mode == "P":
        row.putpalette(tiles[0].getpalette() or [])
    else:
        row.paste((255, 255, 255), (0, 0, *row.size))
    for number, tile in enumerate(tiles):
        row.paste(tile, (number * (width + gap), 0))
    return row


def heat_map(values: NDArray[np.float64], most: float) -> str:
    """A matrix as a PNG, a pixel a cell: dark is 0, light is `most`."""
    scaled = np.clip(values / max(most, 1e-9), 0, 1)
    pixels = (colormaps["viridis"](scaled)[..., :3] * 255).round().astype(np.uint8)
    return _data(Image.fromarray(pixels), "PNG", optimize=True)


def as_bytes(values: NDArray[np.float64], most: float) -> str:
    """A matrix as base64 of a byte a cell, 255 being `most`."""
    scaled = np.clip(values / max(most, 1e-9), 0, 1) * 255
    return base64.b64encode(scaled.round().astype(np.uint8).tobytes()).decode()


def _data(picture: Image.Image, kind: str, **options: object) -> str:
    held = io.BytesIO()
    picture.save(held, kind, **options)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(held.getvalue()).decode()
