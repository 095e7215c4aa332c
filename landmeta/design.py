"""How a sample was drawn, kept in a file beside the sheet of points that people interpret.

The sheet (GeoPackage) shows where to look and nothing else: the map's class, the stratum and the
inclusion probability would all tell the interpreter what the map says. These are in the design.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import geopandas as gpd
import numpy as np
import pandas as pd
from affine import Affine
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from rasterio.crs import CRS

from landmeta.atomic import atomic_files
from landmeta.errors import SourceNotFound, UnreadableFile
from landmeta.kinds import Kind
from landmeta.legend import LandClass
from landmeta.pixelarea import centres
from landmeta.problems import problems
from landmeta.raster import Grid

REFERENCE = "reference"
"""Column of the sheet for the true class."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Stratum(_Part):
    """A part of the map that units were drawn from.

    Attributes:
        name: of the map's class, or "map" for all of it.
        klass: index of that class in the design's `classes`, or None.
        pixels, area: all of it in the map.
        units: drawn.
    """

    name: str
    klass: int | None
    pixels: int
    area: float
    units: int


class SampledUnits(_Part):
    """The pixels drawn: columns of equal length; the sheet's `id` is the place, from 1.

    `mapped` is the class index in the map they were drawn from; `cluster` is empty but in cluster
    samples.
    """

    row: tuple[int, ...]
    col: tuple[int, ...]
    stratum: tuple[int, ...]
    mapped: tuple[int, ...]
    cluster: tuple[int, ...] = ()


class SampleDesign(_Part):
    """All that estimating needs to know of a sample.

    Attributes:
        kind: stratified, simple or cluster.
        landmeta: version that drew it.
        map, map_hash: the map it was drawn from and `landmeta.landmap.Content.hash` of it.
        crs, transform, height, width: the grid that `units` are rows and columns of.
        area_unit: of the areas, "m2" or "pixel".
        classes: of that map.
        seed: of the draw.
        allocation: how units were divided over strata, in words.
        strata: of which all units were drawn.
        units: what was drawn.
        side: of cluster samples, rows and columns of a cluster (a block of pixels).
        clusters: that the map has with data; `cluster_pixels`: with data, of those drawn.
    """

    format: Literal[1] = 1
    kind: Kind
    landmeta: str
    map: str
    map_hash: str
    crs: str | None
    transform: tuple[float, float, float, float, float, float]
    height: int
    width: int
    area_unit: Literal["m2", "pixel"]
    classes: tuple[LandClass, ...]
    seed: int
    allocation: str
    strata: tuple[Stratum, ...]
    units: SampledUnits
    side: int | None = None
    clusters: int | None = None
    cluster_pixels: tuple[int, ...] = ()

    @property
    def grid(self) -> Grid:
        """The grid of the map it was drawn from."""
        crs = None if self.crs is None else CRS.from_wkt(self.crs)
        return Grid(self.height, self.width, crs, Affine(*self.transform))

    def probabilities(self) -> NDArray[np.float64]:
        """Inclusion probability of each unit, shape (unit,)."""
        stratum = np.array(self.units.stratum, np.int64)
        if self.kind is Kind.cluster:
            assert self.clusters is not None
            cluster = np.array(self.units.cluster, np.int64)
            within = np.bincount(cluster) / np.array(self.cluster_pixels)
            first = len(self.cluster_pixels) / self.clusters
            both: NDArray[np.float64] = first * within[cluster]
            return both
        share = np.array([s.units / s.pixels for s in self.strata])
        result: NDArray[np.float64] = share[stratum]
        return result


def design_path(sheet: Path) -> Path:
    """Where the design of a sheet is: `points.gpkg` has `points.design.json`."""
    return sheet.with_suffix(".design.json")


def read_design(path: Path) -> SampleDesign:
    """Read a design.

    Raises:
        SourceNotFound: the file is not there.
        UnreadableFile: it is no design, or was changed by hand so that it contradicts itself.
    """
    if not path.is_file():
        raise SourceNotFound("is not there", remedy="check the name of the design", path=path)
    try:
        design = SampleDesign.model_validate_json(path.read_text(encoding="utf-8"))
        _check(design)
    except (ValidationError, ValueError) as error:
        said = problems(error) if isinstance(error, ValidationError) else str(error)
        raise UnreadableFile(
            f"is not the design of a sample: {said}",
            remedy="give the file that 'landmeta sample' wrote beside the points, unchanged",
            path=path,
        ) from error
    return design


def _check(design: SampleDesign) -> None:
    units = design.units
    lengths = {len(units.row), len(units.col), len(units.stratum), len(units.mapped)}
    if design.kind is Kind.cluster:
        lengths.add(len(units.cluster))
        if sorted(set(units.cluster)) != list(range(len(design.cluster_pixels))):
            raise ValueError("its clusters and their pixels do not fit")
    if len(lengths) != 1:
        raise ValueError("its columns of units differ in length")
    counts = np.bincount(np.array(units.stratum, np.int64), minlength=len(design.strata))
    if counts.tolist() != [s.units for s in design.strata]:
        raise ValueError("the units are not those that the strata tell of")


def write_sample(
    sheet: Path, design: SampleDesign, *, reveal: bool = False, overwrite: bool = False
) -> None:
    """Write the sheet to be interpreted and the design beside it; both appear, or none.

    Args:
        sheet: GeoPackage of points at the pixels' centres, with the columns `id`, `reference`
            (empty, with the classes to choose from) and `comment`.
        design: how they were drawn.
        reveal: add the map's class, the stratum and the inclusion probability.
        overwrite: replace files that exist.

    Raises:
        OutputExists, WriteFailed: as `landmeta.atomic.atomic_files`.
    """
    with atomic_files([sheet, design_path(sheet)], overwrite=overwrite) as folder:
        points = _points(design, reveal)
        points.to_file(folder / sheet.name, driver="GPKG", layer=sheet.stem, engine="pyogrio")
        names = [c.name for c in design.classes]
        _offer_values(folder / sheet.name, sheet.stem, REFERENCE, names)
        text = design.model_dump_json(indent=1)
        (folder / design_path(sheet).name).write_text(text, encoding="utf-8")


def _points(design: SampleDesign, reveal: bool) -> gpd.GeoDataFrame:
    units = design.units
    row, col = np.array(units.row), np.array(units.col)
    x, y = centres(design.grid, row, col)
    empty = pd.Series([None] * len(row), dtype="object")
    columns: dict[str, object] = {"id": np.arange(1, len(row) + 1), REFERENCE: empty}
    columns["comment"] = empty
    if design.kind is Kind.cluster:
        columns["cluster"] = np.array(units.cluster) + 1
    if reveal:
        names = [c.name for c in design.classes]
        columns["map_class"] = [names[i] for i in units.mapped]
        columns["stratum"] = [design.strata[i].name for i in units.stratum]
        columns["probability"] = design.probabilities()
    points = gpd.points_from_xy(x, y)
    return gpd.GeoDataFrame(columns, geometry=points, crs=design.crs)


def _offer_values(path: Path, table: str, column: str, values: Sequence[str]) -> None:
    """Let GIS programs offer these values for a column, by GeoPackage's schema extension.

    https://www.geopackage.org/spec131/#extension_schema; QGIS shows them as a list to choose from.
    """
    connection = sqlite3.connect(path)
    try:
        with connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS gpkg_extensions (table_name TEXT, column_name TEXT, "
                "extension_name TEXT NOT NULL, definition TEXT NOT NULL, scope TEXT NOT NULL, "
                "CONSTRAINT ge_tce UNIQUE (table_name, column_name, extension_name))"
            )
            connection.execute(
                "CREATE TABLE gpkg_data_columns (table_name TEXT NOT NULL, column_name TEXT NOT "
                "NULL, name TEXT, title TEXT, description TEXT, mime_type TEXT, constraint_name "
                "TEXT, CONSTRAINT pk_gdc PRIMARY KEY (table_name, column_name), "
                "CONSTRAINT gdc_tn UNIQUE (table_name, name))"
            )
            connection.execute(
                "CREATE TABLE gpkg_data_column_constraints (constraint_name TEXT NOT NULL, "
                "constraint_type TEXT NOT NULL, value TEXT, min NUMERIC, min_is_inclusive BOOLEAN, "
                "max NUMERIC, max_is_inclusive BOOLEAN, description TEXT, "
                "CONSTRAINT gdcc_ntv UNIQUE (constraint_name, constraint_type, value))"
            )
            about = ("gpkg_schema", "http://www.geopackage.org/spec/#extension_schema")
            for added in ("gpkg_data_columns", "gpkg_data_column_constraints"):
                connection.execute(
                    "INSERT INTO gpkg_extensions VALUES (?, NULL, ?, ?, 'read-write')",
                    (added, *about),
                )
            connection.execute(
                "INSERT INTO gpkg_data_columns (table_name, column_name, name, constraint_name) "
                "VALUES (?, ?, ?, 'classes')",
                (table, column, column),
            )
            connection.executemany(
                "INSERT INTO gpkg_data_column_constraints (constraint_name, constraint_type, "
                "value, description) VALUES ('classes', 'enum', ?, ?)",
                [(value, value) for value in values],
            )
    finally:
        connection.close()
