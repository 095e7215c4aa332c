"""`landmeta prepare`: raw imagery in, task set out; one command per source."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.console import Console

from data_prep.options import prepares
from landmeta.errors import ConfigError

if TYPE_CHECKING:
    from data_prep.sen12ms_splits import Season
    from data_prep.source import Source

app = typer.Typer(no_args_is_help=True, help="Turn raw imagery with labels into a task set.")


class Sen12msSplit(StrEnum):
    """The two published splits of SEN12MS, and one by named or drawn regions."""

    fewshot = "fewshot"
    official = "official"
    drawn = "drawn"


class TaskKind(StrEnum):
    """How the scenes of SEN12MS become tasks."""

    scene = "scene"
    region = "region"
    season_shift = "season-shift"


class Layout(StrEnum):
    """Raw trees that can be made up."""

    sen12ms = "sen12ms"
    deepglobe = "deepglobe"
    dfc2020 = "dfc2020"
    dfc2020_parts = "dfc2020-parts"


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


class Cluster(StrEnum):
    """How images that look alike are found."""

    kmeans = "kmeans"
    agglomerative = "agglomerative"
    mixture = "mixture"


Root = Annotated[Path, typer.Argument(help="Folder of the raw data.")]
Tile = Annotated[int, typer.Option(min=8, help="Side of a tile in pixels.")]
Seed = Annotated[int, typer.Option(help="Of everything drawn at random.")]
Bands = Annotated[str | None, typer.Option(help="Names of the bands, comma between; order counts.")]
MinLabelled = Annotated[
    float, typer.Option(min=0, max=1, help="Least share of labelled pixels of a tile.")
]
Workers = int | None
"""Of the shared options; for readers that have work for them before the source is made."""
S1S2Bands = Annotated[
    str | None,
    typer.Option(help="As 'VV,VH,B2,B8A' or 'S1,B4'; order counts.", show_default="all 15"),
]
UnpackTo = Annotated[
    Path | None, typer.Option(help="Folder to unpack archives to.", show_default="OUT.unpacked")
]
HeldOut = Annotated[
    str, typer.Option(help="Names of regions, comma between, or a share of them to draw.")
]
OfDrawn = Annotated[
    str | None,
    typer.Option(
        help="Of a drawn split: names of regions, or a share of them.",
        show_default="0.15 and 0.2",
    ),
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
    out: Path,
    tile: Tile = 128,
    bands: S1S2Bands = None,
    legend: Annotated[
        str,
        typer.Option(
            help="igbp, igbp-simplified, igbp-simplified-no-savanna, lccs-lc, lccs-lu, lccs-hydro, "
            "or a file."
        ),
    ] = "igbp-simplified",
    label_band: Annotated[
        str | None,
        typer.Option(help="That a legend file explains: igbp, lccs-lc, lccs-lu or lccs-hydro."),
    ] = None,
    tasks: Annotated[
        TaskKind,
        typer.Option(help="Region x season, region over seasons, or train and test seasons."),
    ] = TaskKind.scene,
    train_seasons: Annotated[
        str | None, typer.Option(help="Of a season shift; comma between.")
    ] = None,
    test_seasons: Annotated[
        str | None, typer.Option(help="Of a season shift; comma between.")
    ] = None,
    same_regions: Annotated[
        bool, typer.Option("--same-regions", help="Test a season shift in all regions.")
    ] = False,
    split: Annotated[
        Sen12msSplit | None,
        typer.Option(
            help="Published lists, or regions by --val and --test.",
            show_default="fewshot; drawn with --places",
        ),
    ] = None,
    places: Annotated[
        Path | None,
        typer.Option(help="Polygons that are the regions: countries, ecoregions, your own."),
    ] = None,
    place_column: Annotated[str | None, typer.Option(help="Column of their names.")] = None,
    val: OfDrawn = None,
    test: OfDrawn = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many tiles a task.")] = None,
    unpack_to: UnpackTo = None,
    seed: Seed = 0,
    workers: Workers = None,
    quiet: bool = False,
) -> Source:
    """SEN12MS, unpacked or as archives: ROOT/ROIs1158_spring/s2_63/….tif and so on."""
    from data_prep.parallel import default_workers
    from data_prep.sen12ms import sen12ms as read
    from data_prep.sen12ms_options import Places
    from data_prep.sen12ms_tasks import Tasks

    if (places is None) != (place_column is None):
        raise ConfigError(
            "--places and --place-column go together",
            remedy="name the file of polygons and its column of names",
        )
    return read(
        root,
        bands=_names(bands),
        legend=legend,
        label_band=label_band,
        tile=tile,
        tasks=Tasks(
            tasks.value, _seasons(train_seasons), _seasons(test_seasons), same_regions=same_regions
        ),
        split=None if split is None else split.value,
        places=None if places is None or place_column is None else Places(places, place_column),
        val=None if val is None else _held_out(val),
        test=None if test is None else _held_out(test),
        limit=limit,
        seed=seed,
        unpack_to=_unpack_to(unpack_to, out),
        workers=workers or default_workers(),
        quiet=quiet,
    )


@app.command()
@prepares
def dfc2020(
    root: Annotated[Path, typer.Argument(help="Folder of the raw data, or its archive.")],
    out: Path,
    tile: Tile = 128,
    bands: S1S2Bands = None,
    legend: Annotated[
        str, typer.Option(help="igbp-simplified or igbp-simplified-no-savanna.")
    ] = "igbp-simplified",
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many tiles a task.")] = None,
    unpack_to: UnpackTo = None,
    seed: Seed = 0,
    quiet: bool = False,
) -> Source:
    """DFC2020, a test set for SEN12MS with labels at 10 m: ROOT/ROIs0000_autumn/s2_Mumbai/….tif."""
    from data_prep.dfc2020 import dfc2020 as read

    return read(
        root,
        bands=_names(bands),
        legend=legend,
        tile=tile,
        limit=limit,
        seed=seed,
        unpack_to=_unpack_to(unpack_to, out),
        quiet=quiet,
    )


@app.command()
@prepares
def deepglobe(
    root: Root,
    tile: Tile = 256,
    split: Annotated[
        DeepglobeSplit,
        typer.Option(help="Regions of images that look alike, or of any, of the same sizes."),
    ] = DeepglobeSplit.clustered,
    features: Annotated[
        str,
        typer.Option(
            help="What tells how images look: statistics of colour and texture, a network of "
            "torchvision (vgg16, resnet18, …) or of timm (timm/NAME)."
        ),
    ] = "statistics",
    weights: Annotated[
        Path | None,
        typer.Option(
            help="The network's weights (.safetensors, or torch.save of a state_dict).",
            show_default="fetched where they are published",
        ),
    ] = None,
    cluster: Annotated[Cluster, typer.Option(help="How clusters are found.")] = Cluster.kmeans,
    k: Annotated[
        int | None,
        typer.Option(min=2, help="Number of clusters.", show_default="chosen from 5 to 20"),
    ] = None,
    min_images: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Images of a region; smaller clusters join the nearest.",
            show_default="a tenth of the mean, at least 2",
        ),
    ] = None,
    min_labelled: MinLabelled = 0.05,
    val: HeldOut = "0.15",
    test: HeldOut = "0.2",
    seed: Seed = 0,
    workers: Workers = None,
    quiet: bool = False,
) -> Source:
    """DeepGlobe land cover: {id}_sat.jpg with {id}_mask.png, also as packed again on Kaggle."""
    from data_prep.deepglobe import deepglobe as read
    from data_prep.parallel import default_workers

    return read(
        root,
        tile=tile,
        split=split.value,
        features=features,
        weights=weights,
        cluster=cluster.value,
        k=k,
        least=min_images,
        min_labelled=min_labelled,
        val=_held_out(val),
        test=_held_out(test),
        seed=seed,
        workers=workers or default_workers(),
        quiet=quiet,
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
    """Write made-up raw imagery in the exact layout of a data set, to prepare next."""
    from data_prep.synthetic import write_deepglobe, write_sen12ms
    from data_prep.synthetic_dfc2020 import CITIES, write_dfc2020

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
    elif layout is not Layout.deepglobe:
        write_dfc2020(
            root,
            layout="cities" if layout is Layout.dfc2020 else "parts",
            cities=min(regions, len(CITIES)),
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
    command = layout.value.removesuffix("-parts")
    console.print(f"next: landmeta prepare {command} {root} --out DIR")


def _names(text: str | None) -> list[str] | None:
    """Names with commas between, or None."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _seasons(text: str | None) -> tuple[Season, ...]:
    return tuple(cast("list[Season]", _names(text) or []))  # the reader checks them


def _unpack_to(folder: Path | None, out: Path) -> Path:
    return folder or out.with_name(f"{out.name}.unpacked")


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
