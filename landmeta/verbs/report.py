"""`landmeta report`: one HTML page of a map."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from landmeta.verbs.options import BandNames, Overwrite, name_list


def report(
    landmap: Annotated[Path, typer.Argument(metavar="MAP", help="Written by landmeta predict.")],
    image: Annotated[Path, typer.Option("--image", "-i", help="What was mapped.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="HTML file.", show_default="MAP.html")
    ] = None,
    assessment: Annotated[
        Path | None, typer.Option("--assessment", "-a", help="Folder of landmeta assess --out.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Polygons and points it was adapted to.")
    ] = None,
    bands: BandNames = None,
    overwrite: Overwrite = False,
) -> None:
    """One HTML page of a map: swiped over its image, areas, accuracy, how it was made."""
    from landmeta.atomic import refuse_existing
    from landmeta.map_report import write_map_report
    from landmeta.predict import confidence_path
    from landmeta.verbs.telling import tell

    page = out or landmap.with_suffix(".html")
    refuse_existing(page, overwrite)
    beside = confidence_path(landmap)
    write_map_report(
        page,
        landmap,
        image,
        names=name_list(bands),
        confidence=beside if beside.is_file() else None,
        assessment=assessment,
        labels=labels,
        overwrite=overwrite,
    )
    tell(f"written to {page}")
