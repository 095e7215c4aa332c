"""One self-contained HTML page of a map: swipe it over its image, areas, accuracy, how it was made.

The page needs nothing beside it and no network: pictures are in it, in a size for screens.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image as Picture
from rasterio.enums import Resampling
from rasterio.warp import reproject
from shapely import transform as move
from shapely.geometry.base import BaseGeometry

import landmeta
from landmeta.atomic import write_text
from landmeta.errors import SizeMismatch, UnreadableFile
from landmeta.imagery import open_raster
from landmeta.landmap import Content, LandMap, content, open_map
from landmeta.pictures import true_colour_bands
from landmeta.raster import Grid

SIDE = 1600
"""Pixels of a picture's longer side at most."""
HECTARE, KM2 = 1e4, 1e6


@dataclass(frozen=True)
class Row:
    """A class in the table.

    Attributes:
        share: of the mapped pixels' area, 0-1; `mapped`: that area in words.
        estimated: area with interval in words, or "" without a probability sample.
        users, producers: accuracies with intervals in words, or "".
    """

    name: str
    color: str
    share: float
    mapped: str
    estimated: str
    users: str
    producers: str


def write_map_report(
    out: Path,
    landmap: Path,
    image: Path,
    *,
    names: list[str] | None = None,
    confidence: Path | None = None,
    assessment: Path | None = None,
    labels: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Write the page.

    Args:
        out: HTML file to write.
        landmap: map of classes.
        image: what was mapped; brought to the map's grid for the picture.
        names: of the image's bands, if it does not say so itself, to find red, green and blue.
        confidence: map of percentages on the map's grid.
        assessment: folder that `landmeta assess --out` wrote.
        labels: polygons and points the model was adapted to.
        overwrite: replace `out`.

    Raises:
        SourceNotFound, UnreadableFile, UnknownClass, EmptyRegion: as `landmeta.landmap`.
        SizeMismatch: the confidence is on another grid.
        OutputExists, WriteFailed: nothing half written is left.
    """
    land = open_map(landmap)
    held = content(land)
    size = _size(land.grid)
    found = None if assessment is None else _read_assessment(assessment)
    record = _record(landmap)
    environment = Environment(
        loader=PackageLoader("landmeta"), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template("map_report.html").render(
        title=landmap.stem.replace("_", " "),
        width=size[1],
        height=size[0],
        image=_png(_image(image, land.grid, size, names)),
        map=_png(_map(land, size)),
        confidence="" if confidence is None else _png(_confidence(confidence, land.grid, size)),
        outlines=[] if labels is None else _outlines(labels, land, size),
        rows=_rows(land, held, found),
        facts=_facts(land, held, image, found),
        found=found,
        held_out=record.get("held_out"),
        reliability=_diagram(record.get("held_out")),
        record=json.dumps(record, indent=1, ensure_ascii=False) if record else "",
        notes=[*land.notes, land.area.note, *([] if found is None else found["notes"])],
        version=landmeta.__version__,
    )
    write_text(out, page, overwrite=overwrite)


def _size(grid: Grid) -> tuple[int, int]:
    """Rows and columns of the pictures."""
    factor = min(1.0, SIDE / max(grid.height, grid.width))
    return max(1, round(grid.height * factor)), max(1, round(grid.width * factor))


def _png(pixels: NDArray[np.uint8]) -> str:
    """An RGBA picture, (row, col, 4), as a data address."""
    stream = io.BytesIO()
    Picture.fromarray(pixels).save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def _image(
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


def _map(land: LandMap, size: tuple[int, int]) -> NDArray[np.uint8]:
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


def _confidence(path: Path, grid: Grid, size: tuple[int, int]) -> NDArray[np.uint8]:
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


def _outlines(path: Path, land: LandMap, size: tuple[int, int]) -> list[str]:
    """Labelled places as SVG path data in pixels of the pictures; points are small crosses."""
    try:
        frame = gpd.read_file(path)
    except Exception as error:  # whatever GDAL's driver for this file raises
        raise UnreadableFile(
            f"is no file of polygons or points: {error}",
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


def _read_assessment(folder: Path) -> dict[str, Any]:
    path = folder / "accuracy.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found["classes"], found["kind"], found["notes"]
    except (OSError, ValueError, KeyError) as error:
        raise UnreadableFile(
            f"is no assessment: {error}",
            remedy="give the folder that 'landmeta assess MAP --out FOLDER' wrote",
            path=path,
        ) from error
    return found


def _record(landmap: Path) -> dict[str, Any]:
    """What the map's tags say of how it was made."""
    with open_raster(landmap) as dataset:
        tags = dataset.tags()
    record: dict[str, Any] = {
        name.removeprefix("landmeta_"): value
        for name, value in tags.items()
        if name.startswith("landmeta_") and name != "landmeta_classes"
    }
    with suppress(ValueError):  # another program's words: the other tags still tell something
        record |= json.loads(record.pop("provenance", "{}"))
    return record


def _rows(land: LandMap, held: Content, found: Mapping[str, Any] | None) -> list[Row]:
    total, unit = held.areas.sum(), _Unit.for_map(land, held)
    rows = []
    for index, known in enumerate(land.legend.classes):
        judged = {} if found is None else found["classes"].get(known.name, {})
        rows.append(
            Row(
                name=known.name,
                color=known.color,
                share=float(held.areas[index] / total),
                mapped=unit.words(held.areas[index]),
                estimated=_words(judged.get("area"), unit.words),
                users=_words(judged.get("users_accuracy"), _percent),
                producers=_words(judged.get("producers_accuracy"), _percent),
            )
        )
    return rows


@dataclass(frozen=True)
class _Unit:
    """In what areas are told, one for the whole page."""

    name: str
    size: float
    digits: int

    @classmethod
    def for_map(cls, land: LandMap, held: Content) -> _Unit:
        if land.area.unit == "pixel":
            return cls("pixels", 1, 0)
        total = held.areas.sum()
        return cls("km²", KM2, 0) if total >= 1000 * KM2 else cls("ha", HECTARE, 1)

    def words(self, value: float) -> str:
        return f"{value / self.size:,.{self.digits}f} {self.name}"


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _words(estimate: Mapping[str, Any] | None, words: Callable[[float], str]) -> str:
    """An estimate of an assessment with its interval, as far as it has them."""
    if not estimate or estimate.get("value") is None:
        return ""
    text = words(estimate["value"])
    if estimate.get("low") is None:
        return text
    return f"{text} ({words(estimate['low'])} to {words(estimate['high'])})"


def _facts(
    land: LandMap, held: Content, image: Path, found: Mapping[str, Any] | None
) -> dict[str, str]:
    grid = land.grid
    facts = {
        "map": land.path.name,
        "image": image.name,
        "size": f"{grid.width} × {grid.height} pixels",
        "coordinates": "none" if grid.crs is None else str(grid.crs),
        "mapped": _Unit.for_map(land, held).words(held.areas.sum()),
    }
    if found is not None:
        facts["overall accuracy"] = _words(found["overall_accuracy"], _percent)
        kinds = {
            "sample": f"a probability sample ({found['design']}), {found['units']} units",
            "census": "a reference that covers the map",
        }
        facts["judged by"] = kinds.get(
            found["kind"], "labels that are no probability sample: no intervals, no areas"
        )
    return facts


def _diagram(held_out: Mapping[str, Any] | None) -> str:
    """Reliability of held-out labels, without and with the temperature, as a data address."""
    if not held_out or not held_out.get("reliability"):
        return ""
    figure = Figure(figsize=(4.2, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1)
    names = ("as the network says", "with temperature")
    for name, bins, color in zip(
        names, held_out["reliability"], ("#b5651d", "#2c6e54"), strict=True
    ):
        share, sure, right = np.asarray(bins).T
        axes.plot(sure, right, color=color, linewidth=1.5, label=name)
        axes.scatter(sure, right, s=10 + 200 * share, color=color, alpha=0.6)
    axes.set(xlabel="confidence", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(loc="upper left", frameon=False)
    stream = io.BytesIO()
    figure.savefig(stream, dpi=130)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
