"""`landmeta assess`: how good a map is, and how much there is of each class."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from landmeta.verbs.options import Overwrite


def assess(
    landmap: Annotated[Path, typer.Argument(metavar="MAP", help="Map of classes to assess.")],
    reference: Annotated[
        Path,
        typer.Option("--reference", "-r", help="Points, polygons or a raster of the true classes."),
    ],
    column: Annotated[str, typer.Option(help="Of the true class, by name or id.")] = "reference",
    design: Annotated[
        str | None,
        typer.Option(
            help="How the points were drawn, where 'landmeta sample' did not: stratified (by the "
            "classes of this map), simple, cluster; or its design file."
        ),
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Column of the cluster, with --design cluster.")
    ] = None,
    post_stratify: Annotated[
        bool,
        typer.Option("--post-stratify", help="Use the map's areas with a simple random sample."),
    ] = False,
    legend: Annotated[
        str | None,
        typer.Option(help="Names of the classes where the map has none: a file, or a known name."),
    ] = None,
    reference_legend: Annotated[
        str | None,
        typer.Option(
            help="What the values of the reference mean, where they are not the map's own ids and "
            "names: a file, or a known name. Classes are matched by name."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder to write.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Accuracy and class areas with 95 % intervals from a random sample, or why there are none."""
    from landmeta.assess import assess as run
    from landmeta.assess_files import write_assessment
    from landmeta.assess_tables import headline, tables
    from landmeta.atomic import refuse_existing
    from landmeta.legend import find_legend
    from landmeta.verbs.telling import tell, tell_table

    if out is not None:
        refuse_existing(out, overwrite)
    found = run(
        landmap,
        reference,
        column=column,
        design=design,
        cluster=cluster,
        post_stratify=post_stratify,
        legend=None if legend is None else find_legend(legend),
        reference_legend=None if reference_legend is None else find_legend(reference_legend),
    )
    for table in tables(found):
        tell_table(table.title, table.heads, table.rows)
    for note in found.notes:
        tell(f"note: {note}")
    for line in headline(found):
        tell(line)
    if out is not None:
        write_assessment(found, out, overwrite=overwrite)
        tell(f"written to {out}")
