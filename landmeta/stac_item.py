"""A map as a STAC item: what it is, where it lies, its layers and classes, for catalogues.

STAC 1.1.0 (github.com/radiantearth/stac-spec) with its extensions projection 2.0.0, raster 1.1.0
and classification 2.0.0.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import shapely
from rasterio.warp import transform_geom
from shapely.geometry import mapping, shape

import landmeta
from landmeta.errors import ConfigError
from landmeta.legend import IGNORE, Legend
from landmeta.raster import Grid, Layer

EXTENSIONS = [
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in ("projection/v2.0.0", "raster/v1.1.0", "classification/v2.0.0")
]
COG = "image/tiff; application=geotiff; profile=cloud-optimized"
EDGE = 16
"""Pieces into which an edge of the footprint is cut before it is reprojected."""


def item(layers: Sequence[Layer], grid: Grid, date: str, tags: Mapping[str, str]) -> dict[str, Any]:
    """The item, to lie beside the map.

    Args:
        layers: of the map, itself first; all in the item's folder.
        grid: of all of them; in a coordinate reference system.
        date: of the image in ISO 8601, or two of them with a slash between.
        tags: provenance of the map.

    Raises:
        ConfigError: the date is none.
    """
    footprint = _footprint(grid)
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": EXTENSIONS,
        "id": layers[0].path.stem,
        "geometry": mapping(footprint),
        "bbox": list(footprint.bounds),
        "properties": _when(date) | _where(grid) | _how(tags),
        "links": [],
        "assets": {_key(layer): _asset(layer, grid) for layer in layers},
    }


def _footprint(grid: Grid) -> shapely.Polygon:
    """The outline in longitude and latitude."""
    corners = [(0, 0), (0, grid.height), (grid.width, grid.height), (grid.width, 0)]
    outline = shapely.Polygon([grid.transform @ corner for corner in corners])
    fine = outline.segmentize(outline.length / 4 / EDGE)
    found = shape(transform_geom(grid.crs, "OGC:CRS84", mapping(fine), precision=7))
    return shapely.orient_polygons(found)


def _when(date: str) -> dict[str, Any]:
    moments = [_moment(part, date) for part in date.split("/")]
    if len(moments) == 1:
        return {"datetime": moments[0]}
    start, end, *more = moments
    if more or start > end:
        raise _no_date(date)
    return {"datetime": None, "start_datetime": start, "end_datetime": end}


def _moment(text: str, date: str) -> str:
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise _no_date(date) from error
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    return found.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _no_date(date: str) -> ConfigError:
    return ConfigError(
        f"{date!r} is no date",
        remedy="write it like 2024-06-30, 2024-06-30T10:30:00Z or 2024-06-01/2024-08-31",
    )


def _where(grid: Grid) -> dict[str, Any]:
    if grid.crs is None:
        raise ValueError("the grid lies nowhere on Earth")
    authority = grid.crs.to_authority()
    code = (
        {"proj:wkt2": grid.crs.to_wkt(version="WKT2_2019"), "proj:code": None}
        if authority is None
        else {"proj:code": ":".join(authority)}
    )
    shape_and_place = {
        "proj:shape": [grid.height, grid.width],
        "proj:transform": list(grid.transform)[:6],
    }
    return code | shape_and_place


def _how(tags: Mapping[str, str]) -> dict[str, Any]:
    """Provenance, under names of our own."""
    told: dict[str, Any] = {"landmeta:version": landmeta.__version__}
    for name, value in tags.items():
        own = name.removeprefix("landmeta_")
        told[f"landmeta:{own}"] = json.loads(value) if own == "provenance" else value
    return told


def _key(layer: Layer) -> str:
    return "map" if layer.legend is not None else layer.description.split(" ")[0]


def _asset(layer: Layer, grid: Grid) -> dict[str, Any]:
    asset: dict[str, Any] = {
        "href": f"./{layer.path.name}",
        "type": COG,
        "title": layer.description,
        "roles": ["data"],
        "raster:bands": [_band(layer, grid) for _ in range(layer.count)],
    }
    if layer.bands:
        asset["bands"] = [{"name": _name(name), "description": name} for name in layer.bands]
    if layer.legend is not None:
        asset["classification:classes"] = _classes(layer.legend)
    return asset


def _band(layer: Layer, grid: Grid) -> dict[str, Any]:
    band: dict[str, Any] = {"data_type": "uint8", "nodata": IGNORE, "sampling": "area"}
    band["spatial_resolution"] = abs(grid.transform.determinant) ** 0.5
    if layer.legend is None:
        band |= {"scale": layer.scale, "offset": 0}
    return band | ({"unit": layer.unit} if layer.unit else {})


def _classes(legend: Legend) -> list[dict[str, Any]]:
    classes: list[dict[str, Any]] = [
        {
            "value": land.id,
            "name": _name(land.name),
            "title": land.name,
            "color_hint": land.color[1:].upper(),
        }
        for land in legend.classes
    ]
    nodata = {"value": IGNORE, "name": "nodata", "title": "No data", "nodata": True}
    return [*classes, nodata]


def _name(text: str) -> str:
    """A name of the letters that the extension allows."""
    return re.sub(r"[^0-9a-z]+", "_", text.lower()).strip("_") or "class"
