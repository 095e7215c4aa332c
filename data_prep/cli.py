"""`landmeta prepare`: raw imagery in, task set out; one command per source."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.console import Console

from data_prep.options import prepares
from data_prep.parallel import default_workers
from landmeta.errors import ConfigError

if TYPE_CHECKING:
    from data_prep.sen12ms_splits import Season
    from data_prep.source import Source

app = typer.Typer(no_args_is_help=True, help="Turn raw imagery with labels into a task set.")


class Sen12msSplit(StrEnum):
    """The two published splits of SEN12MS."""

    fewshot = "fewshot"
    official = "official"


class Layout(StrEnum):
    """Raw trees that can be made up."""

    sen12ms = "sen12ms"
    deepglobe = "deepglobe"


class Resampling(StrEnum):
    """How pixels become smaller ones."""

    nearest = "nearest"
    bilinear = "bilinear"
    cubic = "cubic"
    average = "average"


class DeepglobeSplit(StrEnum):
    """How images without georeference become regions."""

    clustered = "clustered"
    random = "random"


Root = Annotated[Path, typer.Argument(help="Folder of the raw data.")]
Tile = Annotated[int, typer.Option(min=8, help="Side of a tile in pixels.")]
Seed = Annotated[int, typer.Option(help="Of everything drawn at random.")]
Bands = Annotated[str | None, typer.Option(help="Names of the bands, comma between; order counts.")]
MinLabelled = Annotated[
    float, typer.Option(min=0, max=1, help="Least share of labelled pixels of a tile.")
]
Workers = int | None
"""Of the shared options; for readers that have work for them before the source is made."""
HeldOut = Annotated[
    str, typer.Option(help="Names of regions, comma between, or a share of them to draw.")
]
LegendOption = Annotated[
    str | None,
    typer.Option(
        help="File of the legend, or igbp-simplified, or deepglobe.",
        show_default="of polygons and points, their classes",
    ),
]
ClassColumn = Annotated[
    str | None, typer.Option(help="Of polygons and points: the column that holds the class.")
]
Layer = Annotated[str | None, typer.Option(help="Of a vector file that has several.")]
LabelBand = Annotated[
    int | None, typer.Option(min=1, help="Of label files of several bands: which one holds ids.")
]
Warp = Annotated[
    bool,
    typer.Option("--warp", help="Warp labels to the image's grid, by nearest neighbour only."),
]
Resample = Annotated[
    Resampling | None,
    typer.Option(help="How bands with larger pixels come to the smallest.", show_default="refused"),
]
Areas = Annotated[
    Path | None, typer.Option(help="Polygons of the regions: a tile belongs to the one around it.")
]
RegionColumn = Annotated[str, typer.Option(help="Of those polygons: the region's name.")]
BlocksOption = Annotated[
    int | None, typer.Option("--blocks", min=2, help="Cut each region into N × N of them.")
]
MinLabelledAny = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Least share of labelled pixels of a tile.",
        show_default="0.05; of polygons and points any",
    ),
]


@app.command()
@prepares
def earth(
    tile: Tile = 64,
    ndvi: Annotated[
        bool, typer.Option("--ndvi/--rgb", help="Five bands (84 MB to fetch) or RGB (32 MB).")
    ] = True,
) -> Source:
    """A real sample of the whole Earth: 57 regions at 0.05 degree, fetched once and cached."""
    from data_prep.earth import earth as read

    return read(tile=tile, ndvi=ndvi)


@app.command()
@prepares
def sen12ms(
    root: Root,
    tile: Tile = 128,
    bands: Bands = None,
    split: Annotated[Sen12msSplit, typer.Option()] = Sen12msSplit.fewshot,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many tiles a task.")] = None,
    seed: Seed = 0,
) -> Source:
    """SEN12MS as its archives unpack: ROOT/ROIs1158_spring/s2_63/….tif and so on."""
    from data_prep.sen12ms import sen12ms as read

    return read(
        root,
        bands=_names(bands),
        tile=tile,
        split=split.value,
        limit=limit,
        seed=seed,
    )


@app.command()
@prepares
def deepglobe(
    root: Root,
    tile: Tile = 256,
    split: Annotated[
        DeepglobeSplit, typer.Option(help="Regions of images that look alike, or of any images.")
    ] = DeepglobeSplit.clustered,
    k: Annotated[int | None, typer.Option(min=2, help="Number of regions.")] = None,
    min_labelled: MinLabelled = 0.05,
    val: HeldOut = "0.15",
    test: HeldOut = "0.2",
    seed: Seed = 0,
    workers: Workers = None,
) -> Source:
    """DeepGlobe land cover: ROOT/{id}_sat.jpg with {id}_mask.png."""
    from data_prep.deepglobe import deepglobe as read

    return read(
        root,
        tile=tile,
        k=k,
        split=split.value,
        min_labelled=min_labelled,
        val=_held_out(val),
        test=_held_out(test),
        seed=seed,
        workers=workers or default_workers(),
    )


@app.command()
@prepares
def rasters(
    root: Root,
    images: Annotated[
        str | None,
        typer.Option(
            help="Template of the images, as '{region}/images/{name}.jpg'; files that differ only "
            "in {band} are one image."
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Template of the labels, as '{region}/masks/{name}.png', or one file for all "
            "images: rasters, polygons or points."
        ),
    ] = None,
    legend: LegendOption = None,
    tile: Tile = 128,
    bands: Annotated[
        str | None,
        typer.Option(help="Names of the bands, comma between, or NAME=PLACE in the file, from 1."),
    ] = None,
    scale: Annotated[
        list[str] | None,
        typer.Option(help="BAND=FACTOR, physical = stored × factor; may be repeated."),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(help="CSV with columns path, region, season, label, instead of templates."),
    ] = None,
    class_column: ClassColumn = None,
    layer: Layer = None,
    label_band: LabelBand = None,
    warp: Warp = False,
    resample: Resample = None,
    regions: Areas = None,
    region_column: RegionColumn = "name",
    blocks: BlocksOption = None,
    min_labelled: MinLabelledAny = None,
    val: HeldOut = "0.15",
    test: HeldOut = "0.2",
    seed: Seed = 0,
) -> Source:
    """Any images with labels: what GDAL opens, or NumPy; ids, colours, polygons or points."""
    from data_prep.areas import read_polygons
    from data_prep.rasters import rasters as read
    from data_prep.reading import Reading
    from landmeta.legend import find_legend

    return read(
        root,
        images=images,
        labels=labels,
        legend=None if legend is None else find_legend(legend),
        tile=tile,
        reading=Reading(
            bands=_bands(bands),
            resampling=None if resample is None else resample.value,
            label_band=label_band,
            class_column=class_column,
            layer=layer,
            warp=warp,
        ),
        scales=dict(map(_scale, scale or [])),
        table=table,
        areas=None if regions is None else read_polygons(regions, region_column),
        blocks=blocks,
        min_labelled=min_labelled,
        val=_held_out(val),
        test=_held_out(test),
        seed=seed,
    )


@app.command()
@prepares
def stac(
    catalog: Annotated[str, typer.Argument(help="File or address of a catalogue, or of an API.")],
    image_assets: Annotated[
        str, typer.Option(help="Names of the image's assets, comma between; each is a file.")
    ],
    label_asset: Annotated[str, typer.Option(help="Name of the asset of the labels.")],
    region: Annotated[
        str, typer.Option(help="'collection', 'grid' or the name of an item's property.")
    ] = "collection",
    collection: Annotated[
        list[str] | None, typer.Option(help="Ask an API for it; may be repeated.")
    ] = None,
    bbox: Annotated[
        str | None, typer.Option(help="Ask an API: west,south,east,north in degrees.")
    ] = None,
    datetime: Annotated[
        str | None, typer.Option(help="Ask an API: a date, or two with a slash between.")
    ] = None,
    legend: LegendOption = None,
    tile: Tile = 128,
    bands: Bands = None,
    scale: Annotated[
        list[str] | None,
        typer.Option(help="BAND=FACTOR, physical = stored × factor; may be repeated."),
    ] = None,
    class_column: ClassColumn = None,
    layer: Layer = None,
    label_band: LabelBand = None,
    warp: Warp = False,
    resample: Resample = None,
    regions: Areas = None,
    region_column: RegionColumn = "name",
    blocks: BlocksOption = None,
    min_labelled: MinLabelledAny = None,
    val: HeldOut = "0.15",
    test: HeldOut = "0.2",
    seed: Seed = 0,
) -> Source:
    """Items of a STAC catalogue: image and label assets, files or behind an API."""
    from data_prep.areas import read_polygons
    from data_prep.reading import Reading
    from data_prep.stac import stac as read
    from data_prep.stac_items import Query
    from landmeta.legend import find_legend

    query = Query(tuple(collection or ()), _bbox(bbox), datetime)
    return read(
        catalog,
        image_assets=_names(image_assets) or [],
        label_asset=label_asset,
        tile=tile,
        legend=None if legend is None else find_legend(legend),
        region=region,
        query=None if query == Query() else query,
        reading=Reading(
            bands=_bands(bands),
            resampling=None if resample is None else resample.value,
            label_band=label_band,
            class_column=class_column,
            layer=layer,
            warp=warp,
        ),
        scales=dict(map(_scale, scale or [])),
        areas=None if regions is None else read_polygons(regions, region_column),
        blocks=blocks,
        min_labelled=min_labelled,
        val=_held_out(val),
        test=_held_out(test),
        seed=seed,
    )


@app.command()
def synthetic(
    root: Annotated[Path, typer.Argument(help="Folder to write.")],
    layout: Annotated[Layout, typer.Option(help="Of which data set.")],
    regions: Annotated[int, typer.Option(min=1, help="Regions, or kinds of terrain.")] = 10,
    images: Annotated[int, typer.Option(min=1, help="Images a region (and season).")] = 4,
    size: Annotated[
        int | None, typer.Option(help="Side of an image in pixels.", show_default="256, or 512")
    ] = None,
    seasons: Annotated[str, typer.Option(help="Of sen12ms; comma between.")] = "summer",
    shift: Annotated[
        float, typer.Option(min=0, help="How much regions differ in appearance; 0 not at all.")
    ] = 1.0,
    seed: Seed = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace ROOT.")] = False,
) -> None:
    """Write made-up raw imagery in the exact layout of SEN12MS or DeepGlobe, to prepare next."""
    from data_prep.synthetic import write_deepglobe, write_sen12ms

    if layout is Layout.sen12ms:
        write_sen12ms(
            root,
            scenes=regions,
            seasons=cast("list[Season]", _names(seasons)),  # it checks them
            patches=images,
            size=size or 256,
            shift=shift,
            seed=seed,
            overwrite=overwrite,
        )
    else:
        write_deepglobe(
            root,
            images=images * regions,
            terrains=regions,
            size=size or 512,
            shift=shift,
            seed=seed,
            overwrite=overwrite,
        )
    console = Console(markup=False, highlight=False, soft_wrap=True)
    console.print(f"written to {root}")
    console.print(f"next: landmeta prepare {layout.value} {root} --out DIR")


def _names(text: str | None) -> list[str] | None:
    """Names with commas between, or None."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _bands(text: str | None) -> list[str] | dict[str, int] | None:
    """Names, or names with their places."""
    names = _names(text)
    if not names or not any("=" in name for name in names):
        return names
    places = {}
    for name, equals, place in (text.partition("=") for text in names):
        if not (name.strip() and equals and place.strip().isdigit()):
            raise ConfigError(
                f"{name + equals + place!r} does not say a band and its place",
                remedy="write NAME=PLACE for all bands, such as red=3,nir=4, or names alone",
            )
        places[name.strip()] = int(place)
    return places


def _bbox(text: str | None) -> tuple[float, float, float, float] | None:
    try:
        west, south, east, north = (float(part) for part in text.split(",")) if text else (0,) * 4
    except ValueError as error:
        raise ConfigError(
            f"{text!r} is no bounding box", remedy="write west,south,east,north in degrees"
        ) from error
    return (west, south, east, north) if text else None


def _held_out(text: str) -> list[str] | float:
    """A share if it is a number, otherwise names."""
    try:
        share = float(text)
    except ValueError:
        return _names(text) or []
    if not 0 <= share < 1:
        raise ConfigError(
            f"a share of {text} regions cannot be held out", remedy="choose from 0 to below 1"
        )
    return share


def _scale(text: str) -> tuple[str, float]:
    """`BAND=FACTOR`."""
    name, _, factor = text.rpartition("=")
    try:
        if name:
            return name, float(factor)
    except ValueError:
        pass
    raise ConfigError(f"{text!r} is no scale", remedy="write BAND=FACTOR, such as B4=0.0001")
