"""`landmeta suggest`: where a person should label next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from landmeta.errors import ConfigError, EmptyRegion
from landmeta.verbs.options import BandNames, Device, On, Overwrite, name_list
from landmeta.verbs.telling import tell, tell_table


def suggest(
    model: Annotated[Path, typer.Argument(help="Region model, written by 'landmeta adapt'.")],
    raster: Annotated[Path, typer.Argument(metavar="IMAGE", help="Image to look at.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="GeoPackage of places to write.")],
    count: Annotated[int, typer.Option(min=1, help="Places to suggest.")] = 10,
    size: Annotated[int, typer.Option(min=1, help="Rows and columns of a place, in pixels.")] = 5,
    labels: Annotated[
        Path | None, typer.Option(help="Polygons and points that exist: nothing is suggested there")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Of a file of labels with several.")] = None,
    bands: BandNames = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice among equals.")] = 0,
    device: On = Device.auto,
    overwrite: Overwrite = False,
) -> None:
    """Suggest places to label next: those the model is unsure of, unlike each other."""
    from landmeta.atomic import refuse_existing
    from landmeta.classifier import NetworkClassifier
    from landmeta.raster import open_image
    from landmeta.squares import survey
    from landmeta.suggest import choose, write_places
    from landmeta.vectors import read_places

    if out.suffix.lower() != ".gpkg":
        raise ConfigError("places are written as GeoPackage", remedy="call it NAME.gpkg", path=out)
    refuse_existing(out, overwrite)
    classifier = NetworkClassifier(model, device.value)
    with open_image(raster, classifier.band_specs, name_list(bands)) as image:
        known = None if labels is None else read_places(labels, layer).on(image.grid)
        heavy, background = survey(classifier, image, size, labelled=known, seed=seed)
        found = choose(heavy, background, count, seed)
        if not len(found.squares):
            raise EmptyRegion(
                f"has no square of {size} × {size} pixels with data that is not labelled",
                remedy="choose a smaller --size, or another image",
                path=raster,
            )
        write_places(out, found, classifier.legend.names, image.grid, size, overwrite=overwrite)
        for note in image.notes:
            tell(f"note: {note}")
    if len(found.squares) < count:
        tell(f"note: only {len(found.squares)} places are different from each other")
    squares = found.squares
    rows = [
        [str(i + 1), classifier.legend.names[squares.label[i]], f"{squares.confidence[i]:.0%}",
         f"{found.stands_for[i]:.0%}"]
        for i in range(len(squares))
    ]  # fmt: skip
    tell_table("where to label next", ["rank", "guess", "confidence", "stands for"], rows)
    tell(f"written to {out}: write the true class of each place into its column 'class', then")
    tell(
        f"next: landmeta adapt CHECKPOINT --image {raster} --labels {out} --class-column class "
        "--out region.safetensors (put them into one file with the labels you have)"
    )
