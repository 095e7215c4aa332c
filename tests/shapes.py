"""Small files of labelled polygons and points."""

from pathlib import Path

import geopandas as gpd
from shapely import box


def write_shapes(path: Path, geometry, classes, crs="EPSG:32633", **more) -> Path:
    """A vector file with the columns `class` and `note`, in the format of its suffix."""
    data = {"class": list(classes), "note": ["x"] * len(classes)}
    frame = gpd.GeoDataFrame(data, geometry=list(geometry), crs=crs)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path, **more)
    return path


def at(left, top, right, bottom, grid=10.0, origin=(500_000.0, 5_000_000.0)):
    """A box by columns and rows of the grid of `tests.rasters.UTM`."""
    x, y = origin
    return box(x + grid * left, y - grid * bottom, x + grid * right, y - grid * top)
