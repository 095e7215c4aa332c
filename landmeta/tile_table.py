"""The table of a task set's tiles: one row a tile, GeoParquet, written a group of rows at a time.

A row is a dict of plain values; its `geometry` is the tile's outline in EPSG:4326 (x = longitude)
as WKB. Source of the file's metadata: https://geoparquet.org/releases/v1.1.0/.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyproj
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.warp import transform_geom
from shapely.geometry import Polygon, mapping, shape
from shapely.geometry.base import BaseGeometry

Row = dict[str, Any]
GROUP = 2**12
"""Rows in a group of the Parquet file: what is in memory at a time."""

SCHEMA = pa.schema(
    {
        "id": pa.int64(),
        "region": pa.string(),
        "season": pa.string(),
        "task": pa.string(),
        "split": pa.string(),
        "crs": pa.string(),
        "transform": pa.list_(pa.float64()),
        "native_bounds": pa.list_(pa.float64()),
        "valid_share": pa.float64(),
        "labelled_share": pa.float64(),
        "class_pixels": pa.list_(pa.int64()),
        "source": pa.string(),
        "window": pa.list_(pa.int64()),
        "geometry": pa.binary(),
    }
)


def corners(grid: Affine, rows: int, cols: int) -> list[tuple[float, float]]:
    """Outer corners (x, y) of an array on a grid, in the grid's CRS."""
    return [
        (grid.a * col + grid.b * row + grid.c, grid.d * col + grid.e * row + grid.f)
        for col, row in ((0, 0), (cols, 0), (cols, rows), (0, rows))
    ]


@lru_cache(maxsize=256)
def _is_lonlat(crs: str) -> bool:
    return bool(CRS.from_user_input(crs) == CRS.from_epsg(4326))


def outlines(
    rings: Sequence[Sequence[tuple[float, float]]], systems: Sequence[str | None]
) -> list[bytes | None]:
    """Outlines of tiles as WKB in EPSG:4326; GDAL cuts them in two at the antimeridian.

    Args:
        rings: the corners (x, y) of each tile.
        systems: the CRS of each, or None for a tile without.
    """
    found: list[BaseGeometry | None] = [
        None if crs is None else Polygon(ring) for ring, crs in zip(rings, systems, strict=True)
    ]
    for crs in {crs for crs in systems if crs is not None and not _is_lonlat(crs)}:
        places = [i for i, other in enumerate(systems) if other == crs]
        # All at once: setting a transformation up takes ten times as long as doing it.
        moved = transform_geom(crs, "EPSG:4326", [mapping(found[i]) for i in places])
        for i, outline in zip(places, moved, strict=True):
            found[i] = shape(outline)
    return [None if outline is None else shapely.to_wkb(outline) for outline in found]


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Put rows into a file of their own for the time being."""
    table = pa.Table.from_pylist(list(rows), SCHEMA)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, SCHEMA) as writer:
        writer.write_table(table)


def read_rows(path: Path) -> pa.Table:
    """What `write_rows` wrote."""
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def write_table(path: Path, tables: Iterable[pa.Table]) -> None:
    """Write tables, one after the other, as one GeoParquet file.

    Raises:
        OSError: the disk is full or not writable.
    """
    bounds, kinds = [np.inf, np.inf, -np.inf, -np.inf], set()
    with pq.ParquetWriter(path, SCHEMA, compression="snappy") as writer:
        for table in _regrouped(tables):
            shapes = shapely.from_wkb(table["geometry"].to_numpy())
            west, south, east, north = shapely.total_bounds(shapes)
            bounds = [
                *np.fmin(bounds[:2], (west, south)).tolist(),
                *np.fmax(bounds[2:], (east, north)).tolist(),
            ]
            kinds |= {s.geom_type for s in shapes if s is not None}
            writer.write_table(table)
        column: dict[str, Any] = {
            "encoding": "WKB",
            "crs": pyproj.CRS.from_epsg(4326).to_json_dict(),
            "geometry_types": sorted(kinds),
        }
        if kinds:
            column["bbox"] = bounds
        geo = {"version": "1.0.0", "primary_column": "geometry", "columns": {"geometry": column}}
        writer.add_key_value_metadata({"geo": json.dumps(geo)})


def _regrouped(tables: Iterable[pa.Table]) -> Iterable[pa.Table]:
    """In groups of `GROUP` rows, whatever the size of the tables."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= GROUP:
            joined = pa.concat_tables(waiting)
            yield joined[:GROUP]
            waiting = [joined[GROUP:]]
    joined = pa.concat_tables(waiting)
    if len(joined):
        yield joined


class Columns:
    """Single columns of a table, read when asked for.

    Raises:
        OSError, ValueError, KeyError: the file is not there, damaged, or lacks a column; of all
            methods.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: int = pq.read_metadata(path).num_rows

    def __len__(self) -> int:
        return self._rows

    def _read(self, *names: str) -> pa.Table:
        return pq.read_table(self._path, columns=list(names), partitioning=None)

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column of numbers, shape (row,)."""
        found: NDArray[np.float64] = self._read(name)[name].to_numpy()
        return found

    def lists(self, name: str, length: int) -> NDArray[Any]:
        """A column of lists of one length, shape (row, length)."""
        lists = self._read(name)[name].combine_chunks()
        values: NDArray[Any] = lists.flatten().to_numpy().reshape(-1, length)
        return values

    def categories(self, name: str, otherwise: str = "") -> tuple[list[str], NDArray[np.int32]]:
        """The texts of a column, and which of them each row has, shape (row,).

        Args:
            name: of the column.
            otherwise: a column that speaks for rows where the first has nothing.
        """
        names = [name, otherwise] if otherwise else [name]
        table = self._read(*names)
        texts = pc.coalesce(*(table[n].cast(pa.string()) for n in names)).combine_chunks()
        coded = texts.dictionary_encode()
        codes: NDArray[np.int32] = coded.indices.to_numpy()
        return coded.dictionary.to_pylist(), codes
