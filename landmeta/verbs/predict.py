"""`landmeta predict`: map rasters of any size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from landmeta.errors import (
    AlreadyMade,
    ConfigError,
    LandmetaError,
    ProcessLost,
    WriteFailed,
)
from landmeta.verbs.options import BandNames, Device, On, Overwrite, Quiet, name_list
from landmeta.verbs.telling import tell

if TYPE_CHECKING:
    from landmeta.predict import Map

MAPS = (".tif", ".tiff")
"""How the name of a map may end; a name that ends otherwise is a folder's."""


def predict(
    model: Annotated[Path, typer.Argument(help="Region model, or a checkpoint as it is.")],
    rasters: Annotated[
        list[Path],
        typer.Argument(help="Image to map; or several, or a folder of them, or a VRT."),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="MAP.tif: one map of all rasters, which lie on one grid (where they overlap, the "
            "first named that has data counts). A folder: a map of each, under its own name.",
        ),
    ],
    aoi: Annotated[
        Path | None,
        typer.Option(help="File of polygons, in any CRS, outside which nothing is mapped."),
    ] = None,
    flips: Annotated[
        bool, typer.Option("--flips", help="Classify windows mirrored too (4 times the work).")
    ] = False,
    overlap: Annotated[
        int | None, typer.Option(min=0, help="Pixels windows share; a quarter if not given.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Windows at a time.")] = 8,
    confidence: Annotated[
        bool, typer.Option(help="Write MAP.confidence.tif too, in percent.")
    ] = True,
    entropy: Annotated[
        bool,
        typer.Option("--entropy", help="Write MAP.entropy.tif, in percent: 100 is no idea at all."),
    ] = False,
    probabilities: Annotated[
        bool,
        typer.Option("--probabilities", help="Write MAP.probabilities.tif, a band a class."),
    ] = False,
    novelty: Annotated[
        bool,
        typer.Option(
            "--novelty",
            help="Write MAP.novelty.tif, in percent: above 100 a pixel is unlike every labelled "
            "place, and the map a guess.",
        ),
    ] = False,
    style: Annotated[bool, typer.Option(help="Write MAP.qml, names and colours for QGIS.")] = True,
    stac: Annotated[
        bool, typer.Option("--stac", help="Write MAP.stac.json, a STAC item for catalogues.")
    ] = False,
    date: Annotated[
        str | None,
        typer.Option(help="Of the image, for --stac: 2024-06-30, or 2024-06-01/2024-08-31."),
    ] = None,
    polygons: Annotated[
        bool, typer.Option("--polygons", help="Write MAP.gpkg, the map as polygons with areas.")
    ] = False,
    mmu: Annotated[
        float,
        typer.Option(min=0, help="Hectares below which a polygon goes to its largest neighbour."),
    ] = 0,
    bands: BandNames = None,
    allow_no_crs: Annotated[
        bool, typer.Option("--allow-no-crs", help="Map a photo that lies nowhere on a map.")
    ] = False,
    dask: Annotated[
        str | None,
        typer.Option(
            help="Scheduler of a Dask cluster to classify on, such as tcp://10.0.0.1:8786. Its "
            "workers need model and rasters under the same paths."
        ),
    ] = None,
    device: On = Device.auto,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Map rasters of any size: a GeoTIFF with class names and colours, and its confidence.

    A map that was interrupted or killed goes on when the same command is given again.
    """
    from landmeta.classifier import NetworkClassifier
    from landmeta.companions import Companions
    from landmeta.mosaic import find_rasters
    from landmeta.predict import calibration_of

    found = find_rasters(rasters)
    targets = _targets(found, out)
    classifier = NetworkClassifier(model, device.value)
    options = {
        "overlap": overlap,
        "batch": batch,
        "flips": flips,
        "aoi": aoi,
        "confidence": confidence,
        "entropy": entropy,
        "probabilities": probabilities,
        "novelty": novelty,
        "companions": Companions(style, stac, date, polygons or mmu > 0, mmu),
        "names": name_list(bands),
        "provenance": classifier.provenance(),
        "dask": dask,
        "allow_no_crs": allow_no_crs,
        "overwrite": overwrite,
        "quiet": quiet,
    }
    if _is_map(out):
        _make(classifier, found, out, options)
    else:
        _make_each(classifier, targets, options)
    if confidence:
        tell(f"the confidence is {calibration_of(classifier)}")


def _is_map(out: Path) -> bool:
    return out.suffix.lower() in MAPS and not out.is_dir()


def _targets(rasters: Sequence[Path], out: Path) -> dict[Path, Path]:
    """The raster of each map."""
    from landmeta.mosaic import RASTERS

    if not _is_map(out) and out.suffix.lower() in (*RASTERS, ".vrt") and not out.is_dir():
        raise ConfigError(
            "is no name for a map: maps are GeoTIFF",
            remedy="choose a name that ends in .tif, or a folder",
            path=out,
        )
    targets: dict[Path, Path] = {}
    for raster in rasters:
        target = out / f"{raster.stem}.tif"
        if target in targets and not _is_map(out):
            raise ConfigError(
                f"would hold the maps of both {targets[target]} and {raster}",
                remedy="map rasters of one name into different folders",
                path=target,
            )
        targets[target] = raster
    return targets


def _make(classifier: Any, rasters: Sequence[Path], out: Path, options: dict[str, Any]) -> None:  # noqa: ANN401
    from landmeta.predict import predict as run

    _say(run(classifier, rasters, out, **options))


def _make_each(classifier: Any, targets: dict[Path, Path], options: dict[str, Any]) -> None:  # noqa: ANN401
    """Make all maps that can be made; tell in the end of the others."""
    failed = []
    for target, raster in targets.items():
        tell(f"{raster}:")
        try:
            _make(classifier, [raster], target, options)
        except AlreadyMade as error:
            tell(f"{error.path} {error.what}")
        except (WriteFailed, ProcessLost):
            raise  # the next one would fare no better
        except LandmetaError as error:
            if len(targets) == 1:
                raise
            tell(f"not mapped: {error}")
            failed.append(raster)
    if failed:
        raise LandmetaError(
            f"{len(failed)} of {len(targets)} rasters were not mapped, for the reasons above: "
            f"{', '.join(map(str, failed))}",
            remedy="put them right and run the same command: maps that are made are kept",
        )


def _say(done: Map) -> None:
    for note in done.notes:
        tell(f"note: {note}")
    total = max(1, sum(done.pixels.values()))
    for name, count in done.pixels.items():
        if count:
            tell(f"{name}: {count / total:.1%}")
    first, *more = map(str, done.files)
    tell(f"written to {first}" + (f" and {', '.join(more)}" if more else ""))
