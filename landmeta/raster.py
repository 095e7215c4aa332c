"""The only room that writes GeoTIFF, and where an image's bands meet the bands a model needs.

Images come as float32 physical values (band, row, col) with NaN where a band has no data. Outputs
are Cloud-Optimized GeoTIFFs of uint8 on the image's own grid.
"""

from __future__ import annotations

import json
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from xml.etree import ElementTree

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.env import get_gdal_config, set_gdal_config
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

import landmeta
from landmeta.atomic import atomic_files, write_failed
from landmeta.errors import MissingBands
from landmeta.imagery import Header, open_raster, read_header, read_image
from landmeta.legend import IGNORE, Legend
from landmeta.taskset import Band

BLOCK = 512
"""Rows and columns of a block of the outputs, the COG driver's own default."""
CACHE = 16 * 2**20
"""Bytes of decoded blocks that GDAL may keep in any case."""

Maker = Callable[[Path, Path], None]
"""Given the folder that holds the finished layers, and a path in it, makes another file there."""


@dataclass(frozen=True)
class Grid:
    """Where the pixels of a raster lie.

    Attributes:
        height, width: in pixels.
        crs: coordinate reference system, or None.
        transform: from (col, row) to the CRS's (x, y).
        gcps: ground control points, of rasters that have these in place of a transform.
    """

    height: int
    width: int
    crs: CRS | None
    transform: Affine
    gcps: tuple[rasterio.control.GroundControlPoint, ...] = ()

    @classmethod
    def of(cls, dataset: rasterio.DatasetReader) -> Grid:
        """The grid of an open raster."""
        gcps, gcps_crs = dataset.gcps
        return cls(
            height=dataset.height,
            width=dataset.width,
            crs=gcps_crs if gcps else dataset.crs,
            transform=dataset.transform,
            gcps=tuple(gcps),
        )

    def profile(self) -> dict[str, Any]:
        """How rasterio is told of it."""
        where = {"gcps": list(self.gcps)} if self.gcps else {"transform": self.transform}
        return {"height": self.height, "width": self.width, "crs": self.crs} | where


def on_grid(dataset: rasterio.DatasetReader, grid: Grid) -> WarpedVRT:
    """A raster of categories as it lies on another grid, nearest neighbour, nodata beyond it."""
    return WarpedVRT(
        dataset,
        crs=grid.crs,
        transform=grid.transform,
        width=grid.width,
        height=grid.height,
        resampling=Resampling.nearest,
        nodata=IGNORE if dataset.nodata is None else dataset.nodata,
    )


class Image:
    """An open raster, read as the bands a model needs; made by `open_image`.

    Attributes:
        path: the file.
        grid: where it lies.
        notes: what had to be assumed, in words for the user.
        date: when it was taken, in ISO 8601, if it says so where GDAL looks for it.
    """

    def __init__(
        self,
        dataset: rasterio.DatasetReader,
        header: Header,
        bands: Sequence[Band],
        notes: list[str],
    ) -> None:
        self.path = header.path
        self.grid = Grid.of(dataset)
        self.notes = notes
        self.date: str | None = dataset.tags(ns="IMAGERY").get("ACQUISITIONDATETIME")
        self._dataset, self._header = dataset, header
        self._scale = np.array([b.scale for b in bands], np.float32)[:, None, None]
        self._offset = np.array([b.offset for b in bands], np.float32)[:, None, None]

    def read(self, col: int, row: int, width: int, height: int) -> NDArray[np.float32]:
        """Physical values of a window inside the raster, shape (band, height, width).

        NaN where a band has no data: its nodata value, a mask, transparency, NaN or infinity.

        Raises:
            UnreadableFile: that part of the file is missing or damaged.
        """
        window = Window(col, row, width, height)
        stored, valid = read_image(self._dataset, self._header, window)
        physical = stored.astype(np.float32) * self._scale + self._offset
        physical[~valid] = np.nan
        return physical


@contextmanager
def open_image(
    path: Path, bands: Sequence[Band], names: Sequence[str] | None = None
) -> Iterator[Image]:
    """Open a raster to read exactly `bands` from it, in that order.

    Args:
        path: GeoTIFF or anything else GDAL opens.
        bands: what a model needs; stored × scale + offset = physical.
        names: what the bands of the file are, in the file's order, when it does not say so itself
            or says it in other words. Only then may it have bands that are not needed.

    Raises:
        SourceNotFound: the file is not there.
        UnreadableFile: it is truncated, damaged or no raster.
        MissingBands: it has not the bands that are needed.
    """
    with open_raster(path) as dataset:
        image = image_of(dataset, path, bands, names)
        with few_blocks_kept(bytes_of_blocks(dataset)):
            yield image


def image_of(
    dataset: rasterio.DatasetReader,
    path: Path,
    bands: Sequence[Band],
    names: Sequence[str] | None = None,
) -> Image:
    """An open raster as `open_image` gives it. Arguments and errors as there."""
    header, notes = _match_bands(dataset, path, [b.name for b in bands], names)
    for band, own in zip(bands, header.bands, strict=True):
        if (own.scale, own.offset) not in ((1, 0), (band.scale, band.offset)):
            notes.append(
                f"{path} declares scale {own.scale:g} and offset {own.offset:g} for band "
                f"{band.name}; the model's {band.scale:g} and {band.offset:g} were used"
            )
    image = Image(dataset, header, bands, notes)
    if image.grid.crs is None:
        notes.append(f"{path} has no coordinate reference system; its map cannot have one")
    return image


def bytes_of_blocks(dataset: rasterio.DatasetReader) -> int:
    """Three rows of blocks, enough for who reads from the top down."""
    rows: int = max(rows for rows, _ in dataset.block_shapes)
    pixel: int = sum(np.dtype(dtype).itemsize for dtype in dataset.dtypes)
    width: int = dataset.width
    return 3 * rows * width * pixel


@contextmanager
def few_blocks_kept(enough: int) -> Iterator[None]:
    """Have GDAL keep so many bytes of decoded blocks, or `CACHE` if that is more.

    By itself it keeps decoded blocks until they take 5 % of the machine's memory.
    """
    with rasterio.Env():
        before: int = get_gdal_config("GDAL_CACHEMAX")
        set_gdal_config("GDAL_CACHEMAX", min(before, max(CACHE, enough)))
        try:
            yield
        finally:  # the limit is the whole process's, and an Env within another leaves it changed
            set_gdal_config("GDAL_CACHEMAX", before)


def _match_bands(
    dataset: rasterio.DatasetReader, path: Path, needed: Sequence[str], given: Sequence[str] | None
) -> tuple[Header, list[str]]:
    """Choose the needed bands among those of the file; returns what to read, and notes."""
    header = read_header(path)
    given = None if given is None else [_in_full(name, needed) for name in given]
    anonymous = [b.name for b in header.bands] == [f"b{i + 1}" for i in range(len(header.bands))]
    if header.alpha and anonymous and dataset.count == len(given or needed):
        header = read_header(path, given or needed)  # the fourth of four bands is no transparency
    found = list(given or [b.name for b in header.bands])
    if len(found) != len(header.bands):
        raise MissingBands(
            f"has {len(header.bands)} bands, but {len(found)} names were given for them: "
            f"{', '.join(found)}",
            remedy="name every band of the file, in the file's order",
            path=path,
        )
    notes = []
    if given is None and anonymous and len(found) == len(needed):
        _check_partial_names(dataset, header, needed, path)
        if [n.casefold() for n in needed] != found:
            notes.append(
                f"{path} does not name its bands; they were taken to be {', '.join(needed)}"
            )
        found = list(needed)
    places = _places(found, needed, path, extra_allowed=given is not None)
    chosen = replace(
        header,
        bands=tuple(header.bands[p] for p in places),
        indexes=tuple(header.indexes[p] for p in places),
    )
    return chosen, notes


def _in_full(name: str, needed: Sequence[str]) -> str:
    """The needed band that a short name (B8A for S2_B8A) can only mean, or the name itself."""
    short = name.strip().casefold()
    if short in (n.casefold() for n in needed):
        return name
    meant = [n for n in needed if n.casefold().endswith(f"_{short}")]
    return meant[0] if len(meant) == 1 and short else name


def _check_partial_names(
    dataset: rasterio.DatasetReader, header: Header, needed: Sequence[str], path: Path
) -> None:
    """Refuse to assume an order that the few names a file does have contradict."""
    for index, name in zip(header.indexes, needed, strict=True):
        own = None if header.palette else dataset.descriptions[index - 1]
        if own and own.casefold() != name.casefold():
            raise MissingBands(
                f"calls its band {index} {own!r} where {name!r} is needed, and leaves others "
                f"unnamed; needed are {', '.join(needed)}",
                remedy="say what its bands are, in the file's order, with --bands",
                path=path,
            )


def _places(
    found: Sequence[str], needed: Sequence[str], path: Path, *, extra_allowed: bool
) -> list[int]:
    """Position of each needed band among those found, whatever the case of the letters."""
    have, want = ([n.casefold() for n in names] for names in (found, needed))
    missing = [n for n in needed if n.casefold() not in have]
    extra = [n for n in found if n.casefold() not in want]
    double = [n for n in needed if have.count(n.casefold()) > 1]
    problems = [
        f"{what} {', '.join(names)}"
        for what, names in (("missing", missing), ("more than once", double), ("extra", extra))
        if names and not (what == "extra" and extra_allowed and not missing)
    ]
    if problems:
        raise MissingBands(
            f"has the bands {', '.join(found)}; needed are {', '.join(needed)} "
            f"({'; '.join(problems)})",
            remedy="give an image with these bands, or say what its bands are, in the file's "
            "order, with --bands (bands that are not needed are then left out)",
            path=path,
        )
    return [have.index(n) for n in want]


@dataclass(frozen=True)
class Layer:
    """One output: a GeoTIFF of uint8, nodata 255.

    Attributes:
        path: where it goes.
        description: what its values are; of several bands, `bands` says it of each.
        legend: the classes its values are ids of, which give it a colour table and category names;
            None for a quantity.
        bands: what each band is; one band if empty.
        scale: stored × scale = the quantity.
        unit: of the quantity.
    """

    path: Path
    description: str
    legend: Legend | None = None
    bands: tuple[str, ...] = ()
    scale: float = 1
    unit: str = ""

    @property
    def count(self) -> int:
        """Number of bands."""
        return len(self.bands) or 1


class RowWriter:
    """Takes rows from the top down, any number at a time, and writes them in whole blocks.

    `checksum` is the CRC-32 of all rows written so far.
    """

    def __init__(self, dataset: rasterio.io.DatasetWriter, path: Path) -> None:
        self.checksum = 0
        self._dataset, self._path = dataset, path
        self._buffer = np.empty((dataset.count, BLOCK, dataset.width), np.uint8)
        self._held = self._written = 0

    def __enter__(self) -> Self:
        return self

    def write(self, rows: NDArray[np.uint8]) -> None:
        """Append rows, shape (row, width), or (band, row, width).

        Raises:
            WriteFailed: the disk is full or not writable.
        """
        rows = rows[None] if rows.ndim == 2 else rows
        while rows.shape[1]:
            part = rows[:, : BLOCK - self._held]
            count = part.shape[1]
            self._buffer[:, self._held : self._held + count] = part
            self._held += count
            rows = rows[:, count:]
            if self._held == BLOCK:
                self._flush()

    def _flush(self) -> None:
        window = Window(0, self._written, self._dataset.width, self._held)
        rows = np.ascontiguousarray(self._buffer[:, : self._held])
        with _writing(self._path):
            self._dataset.write(rows, window=window)
        self.checksum = zlib.crc32(rows.data, self.checksum)
        self._written += self._held
        self._held = 0

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None and self._held:
            self._flush()


@contextmanager
def write_layers(
    layers: Sequence[Layer],
    grid: Grid,
    tags: Mapping[str, str],
    *,
    beside: Mapping[Path, Maker] | None = None,
    overwrite: bool = False,
) -> Iterator[list[RowWriter]]:
    """Write several outputs on one grid, row by row; all appear when the block ends well, or none.

    Rows go to plain GeoTIFFs in a hidden folder beside the outputs; the COG driver then copies
    them block by block, with overviews (by the commonest class, or by the mean of a quantity), and
    the copies are read back.

    Args:
        layers: what to write, all in one folder.
        grid: of all of them.
        tags: provenance, kept in the files' metadata.
        beside: other files in that folder that are made of the finished layers, and how.
        overwrite: replace outputs that exist.

    Raises:
        OutputExists: an output exists and `overwrite` is False.
        WriteFailed: the disk is full or not writable; nothing is left behind.
    """
    others = beside or {}
    paths = [*(layer.path for layer in layers), *others]
    with atomic_files(paths, overwrite=overwrite) as folder:
        plain = [folder / f"{layer.path.name}.rows" for layer in layers]
        with ExitStack() as stack:
            writers = [
                stack.enter_context(_create(temporary, layer, grid, tags))
                for temporary, layer in zip(plain, layers, strict=True)
            ]
            yield writers
        for temporary, layer, writer in zip(plain, layers, writers, strict=True):
            with _writing(layer.path):
                cog = folder / layer.path.name
                _to_cog(temporary, cog, layer)
                _check_complete(cog, writer.checksum)
        for path, make in others.items():
            make(folder, folder / path.name)


@contextmanager
def create_in_memory(path: Path, **profile: Any) -> Iterator[rasterio.io.DatasetWriter]:  # noqa: ANN401
    """Make a small GeoTIFF in memory and write the whole file when the block ends well.

    GDAL does not report every write that a full disk refuses; Python does.

    Raises:
        OSError: the disk is full or not writable.
    """
    with rasterio.MemoryFile() as memory:
        with memory.open(driver="GTiff", **profile) as dataset:
            yield dataset
        path.write_bytes(memory.getbuffer())


@contextmanager
def _create(
    temporary: Path, layer: Layer, grid: Grid, tags: Mapping[str, str]
) -> Iterator[RowWriter]:
    with ExitStack() as stack:
        with _writing(layer.path):
            profile = grid.profile() | {
                "driver": "GTiff",
                "count": layer.count,
                "dtype": "uint8",
                "nodata": IGNORE,
                "tiled": True,
                "blockxsize": BLOCK,
                "blockysize": BLOCK,
                "compress": "deflate",
                "zlevel": 1,  # it is read once and thrown away
                "bigtiff": "if_safer",
            }
            dataset = stack.enter_context(quietly_open(temporary, "w", **profile))
            dataset.descriptions = layer.bands or (layer.description,)
            if layer.legend is None:
                dataset.scales = (layer.scale,) * layer.count
                dataset.units = (layer.unit,) * layer.count
            dataset.update_tags(**_software_tag(), **tags)
            if layer.legend is not None:
                dataset.update_tags(landmeta_classes=_classes_as_json(layer.legend))
                dataset.write_colormap(1, layer.legend.colormap)
        with RowWriter(dataset, layer.path) as writer:
            yield writer
        with _writing(layer.path):
            stack.close()


def _software_tag() -> dict[str, str]:
    return {"TIFFTAG_SOFTWARE": f"landmeta {landmeta.__version__}"}


def _classes_as_json(legend: Legend) -> str:
    return json.dumps([c.model_dump() for c in legend.classes], ensure_ascii=False)


def _to_cog(plain: Path, cog: Path, layer: Layer) -> None:
    with warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning):
        rasterio.shutil.copy(
            plain,
            cog,
            driver="COG",
            compress="deflate",
            blocksize=BLOCK,
            overview_resampling="average" if layer.legend is None else "mode",
            bigtiff="if_safer",
        )
    plain.unlink()
    if layer.legend is not None:
        _write_categories(cog.with_name(f"{cog.name}.aux.xml"), layer.legend)


def _check_complete(cog: Path, checksum: int) -> None:
    """Read a COG back whole. GDAL's COG driver does not report that a full disk cut it short.

    Raises:
        OSError, RasterioError: it does not hold the rows that were written, or its overviews
            cannot be read.
    """
    found = 0
    with quietly_open(cog) as dataset:
        levels = len(dataset.overviews(1))
        for rows in _rows_of_blocks(dataset):
            found = zlib.crc32(rows.data, found)
    if found != checksum:
        raise OSError("the file is cut short or damaged")
    for level in range(levels):
        with quietly_open(cog, overview_level=level) as overview:
            for _ in _rows_of_blocks(overview):
                pass


def _rows_of_blocks(dataset: rasterio.DatasetReader) -> Iterator[NDArray[np.uint8]]:
    for top in range(0, dataset.height, BLOCK):
        height = min(BLOCK, dataset.height - top)
        yield dataset.read(window=Window(0, top, dataset.width, height))


def quietly_open(path: Path, mode: str = "r", **options: Any) -> Any:  # noqa: ANN401
    """Open a raster of ours, which may rightly be without georeference."""
    with warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning):
        return rasterio.open(path, mode, **options)


def _write_categories(sidecar: Path, legend: Legend) -> None:
    """Write class names where GDAL and QGIS look for them: TIFF has no field for them.

    The format is GDAL's persistent auxiliary metadata: names by value, from 0, without gaps, and
    no XML declaration (GDAL then ignores the file). The schema is gdal/data/pam.xsd in GDAL's
    sources.
    """
    names = dict(zip(legend.ids, legend.names, strict=True))
    root = ElementTree.Element("PAMDataset")
    band = ElementTree.SubElement(root, "PAMRasterBand", band="1")
    categories = ElementTree.SubElement(band, "CategoryNames")
    for value in range(max(names) + 1):
        ElementTree.SubElement(categories, "Category").text = names.get(value, "")
    ElementTree.indent(root)
    sidecar.write_text(ElementTree.tostring(root, encoding="unicode"), encoding="utf-8")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what GDAL says when it cannot write into an error with a remedy."""
    try:
        yield
    except (RasterioError, CPLE_BaseError, OSError) as error:
        raise write_failed(path, OSError(str(_cause(error)))) from error


def _cause(error: BaseException) -> BaseException:
    """The first error: "Read failed. See previous exception for details." tells nobody anything."""
    return error if error.__cause__ is None else _cause(error.__cause__)
