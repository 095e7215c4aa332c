"""Regions by polygons: continents, countries, ecoregions, or a user's own.

The polygons come from a file of the user's, such as Natural Earth's countries with their columns
NAME and CONTINENT, or a map of ecoregions: anything GeoPandas reads, in any coordinate reference
system.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
from rasterio.warp import transform_geom
from shapely.geometry import box, mapping, shape
from shapely.geometry.base import BaseGeometry

from landmeta.errors import ConfigError, MissingCRS
from landmeta.vectorfile import read_frame

LONLAT = "EPSG:4326"

Bounds = tuple[float, float, float, float]
"""West, south, east, north in some coordinate reference system."""


@dataclass(frozen=True)
class Placed:
    """Which place each footprint belongs to.

    Attributes:
        names: by footprint; None for one that belongs to none.
        outside: footprints that meet no place.
        border: footprints that meet several places, which therefore belong to none.
    """

    names: list[str | None]
    outside: int
    border: int

    def notes(self, what: str, file: Path) -> list[str]:
        """Say what was left out, if anything."""
        return [
            f"left out {count} {what} that {why} {file.name}"
            for count, why in (
                (self.outside, "lie in no place of"),
                (self.border, "lie on the border of several places of"),
            )
            if count
        ]


def read_places(path: Path, column: str) -> gpd.GeoDataFrame:
    """Read named polygons; several of one name are one place.

    Args:
        path: GeoPackage, Shapefile (also zipped), GeoJSON, GeoParquet, ….
        column: whose values are the names. Rows without a value are left out.

    Returns:
        Columns `name` and `geometry`, in EPSG:4326 (x = longitude).

    Raises:
        SourceNotFound: the file is not there.
        UnreadableFile: it is no vector file.
        ConfigError: it lacks the column, or has no polygons.
        MissingCRS: it does not say what its coordinates are.
    """
    table = read_frame(path, what="polygons")
    if not isinstance(table, gpd.GeoDataFrame) or column not in table.columns:
        known = [str(c) for c in table.columns if c != "geometry"]
        raise ConfigError(
            f"has no column {column!r}",
            remedy=f"choose --place-column among {', '.join(known[:40])}",
            path=path,
        )
    table = table[table[column].notna() & ~table.geometry.is_empty & table.geometry.notna()]
    if not len(table) or not set(table.geom_type) <= {"Polygon", "MultiPolygon"}:
        raise ConfigError(
            f"has no polygons with a {column}, but {sorted(set(table.geom_type)) or 'nothing'}",
            remedy="places are polygons; buffer lines and points first",
            path=path,
        )
    if table.crs is None:
        raise MissingCRS(
            "has no coordinate reference system",
            remedy="add the .prj file, or write one into the file with ogr2ogr -a_srs",
            path=path,
        )
    places = gpd.GeoDataFrame(
        {"name": table[column].astype(str).str.strip()}, geometry=table.geometry
    ).to_crs(LONLAT)
    places["geometry"] = places.geometry.make_valid()
    return places.reset_index(drop=True)


def footprints(bounds: Sequence[Bounds], systems: Sequence[str]) -> list[BaseGeometry]:
    """Rectangles of any coordinate reference systems in EPSG:4326.

    Those across the antimeridian become two parts.
    """
    found: list[BaseGeometry] = [box(*b) for b in bounds]
    groups = pd.Series(np.arange(len(found))).groupby(np.asarray(systems, object)).indices
    for crs, places in groups.items():
        # All of one system at once: to set a transformation up takes longer than to do it.
        moved = transform_geom(crs, LONLAT, [mapping(found[i]) for i in places])
        for i, outline in zip(places, moved, strict=True):
            found[i] = shape(outline)
    return found


def place_all(outlines: Sequence[BaseGeometry], places: gpd.GeoDataFrame) -> Placed:
    """Give each footprint the one place that it meets.

    What meets several places belongs to none of them, so that no footprints of two places overlap
    within the polygons. What reaches beyond all polygons, such as over a coarse coast line, stays.

    Args:
        outlines: in EPSG:4326.
        places: from `read_places`.
    """
    table = gpd.GeoDataFrame(geometry=list(outlines), crs=LONLAT)
    met = table.sjoin(places, predicate="intersects").groupby(level=0)["name"]
    several = met.nunique().reindex(table.index, fill_value=0).to_numpy()
    first = met.first().reindex(table.index)
    names = [str(name) if count == 1 else None for name, count in zip(first, several, strict=True)]
    return Placed(names, int((several == 0).sum()), int((several > 1).sum()))
