"""Files of polygons and points, in any format that GeoPandas reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import geopandas as gpd
import pyogrio
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError

from landmeta.errors import SourceNotFound, UnreadableFile

_PARQUET = {".parquet", ".geoparquet"}
_Found = TypeVar("_Found")

SHAPES = "polygons or points"


def layers(path: Path) -> list[str]:
    """Names of the layers of a vector file that have geometry. Errors as of `read_frame`."""
    if _is_parquet(path):
        return [path.stem]
    found = _reading(path, pyogrio.list_layers)
    return [str(name) for name, kind in found if kind is not None]


def is_vector(path: Path) -> bool:
    """Whether a file holds shapes rather than pixels.

    Raises:
        SourceNotFound: it is not there.
    """
    try:
        return bool(layers(path))
    except UnreadableFile:
        return False


def read_frame(path: Path, layer: str | None = None, what: str = SHAPES) -> gpd.GeoDataFrame:
    """Read all of a file, or of a layer of it.

    Args:
        path: GeoPackage, GeoJSON, Shapefile (also zipped), GeoParquet or anything else GDAL reads.
        layer: of a file that has several; the first if not given.
        what: the file should hold, for the message.

    Raises:
        SourceNotFound, UnreadableFile: the file is not there or damaged.
    """
    if _is_parquet(path):
        return _reading(path, gpd.read_parquet, what)
    return _reading(path, lambda p: gpd.read_file(p, layer=layer), what)


def _is_parquet(path: Path) -> bool:
    if not path.exists():
        raise SourceNotFound("is not there", remedy="check the name of the file", path=path)
    return path.suffix.lower() in _PARQUET


def _reading(
    path: Path, read: Callable[[Path], _Found], what: str = "polygons or points"
) -> _Found:
    try:
        return read(path)
    except (DataSourceError, DataLayerError, FeatureError, ValueError, OSError) as error:
        raise UnreadableFile(
            f"cannot be read as {what}: {str(error).splitlines()[0]}",
            remedy="give a GeoPackage, GeoJSON, Shapefile (with its .shx and .dbf) or GeoParquet; "
            "it may be truncated: export it again",
            path=path,
        ) from error
