"""`landmeta sample`: draw the places at which a map is to be checked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from landmeta.errors import ConfigError
from landmeta.kinds import Allocation, Kind
from landmeta.verbs.options import Overwrite

if TYPE_CHECKING:
    from landmeta.design import SampleDesign
    from landmeta.planning import Plan

HECTARE = 10_000


def sample(
    landmap: Annotated[Path, typer.Argument(metavar="MAP", help="Map of classes to check.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="GeoPackage of points to write.")],
    design: Annotated[
        Kind,
        typer.Option(help="Pixels by map class, anywhere, or blocks of pixels."),
    ] = Kind.stratified,
    size: Annotated[int | None, typer.Option(min=1, help="Places to draw.")] = None,
    error: Annotated[
        float | None,
        typer.Option(help="In place of a size: standard error of overall accuracy (0.02)."),
    ] = None,
    area_error: Annotated[
        list[str] | None,
        typer.Option(help="In place of a size: CLASS=HECTARES, half the 95 % interval of its area"),
    ] = None,
    expected: Annotated[
        list[str] | None,
        typer.Option(help="CLASS=SHARE, user's accuracy to expect; 0.8 if not given."),
    ] = None,
    allocation: Annotated[
        Allocation,
        typer.Option(help="balanced: by area, but at least --minimum of each class."),
    ] = Allocation.balanced,
    minimum: Annotated[
        int, typer.Option(min=2, help="Places of each class, in balanced allocation.")
    ] = 50,
    clusters: Annotated[int | None, typer.Option(help="Blocks to draw.")] = None,
    block: Annotated[int, typer.Option(help="Rows and columns of a block, in pixels.")] = 10,
    per_cluster: Annotated[
        int | None, typer.Option(help="Pixels to draw in each block; all if not given.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 0,
    legend: Annotated[
        str | None, typer.Option(help="Of a map that does not name its classes: a file, or a name.")
    ] = None,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Show the map's class: no blind interpretation.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Draw a random sample of a map, to be interpreted by people and given to 'assess'."""
    from landmeta.atomic import refuse_existing
    from landmeta.classnames import by_class
    from landmeta.design import design_path, write_sample
    from landmeta.landmap import open_map
    from landmeta.legend import find_legend
    from landmeta.planning import ERROR, Aim
    from landmeta.sampling import sample_clusters, sample_pixels
    from landmeta.verbs.telling import tell

    _check(out, design, size, error, area_error, clusters)
    for path in (out, design_path(out)):
        refuse_existing(path, overwrite)
    land = open_map(landmap, None if legend is None else find_legend(legend))
    planned = None
    if clusters is not None:
        drawn = sample_clusters(land, clusters, block, per_cluster, seed=seed)
    else:
        halves = by_class(pairs(area_error, "--area-error"), land.legend, "--area-error")
        aim = Aim(
            size=size,
            class_area={k: value * HECTARE for k, value in halves.items()} or None,
            error=ERROR if error is None else error,
            users=by_class(pairs(expected, "--expected"), land.legend, "--expected"),
        )
        drawn, planned = sample_pixels(land, design, allocation, aim, minimum=minimum, seed=seed)
    write_sample(out, drawn, reveal=reveal, overwrite=overwrite)
    for note in land.notes:
        tell(f"note: {note}")
    _summary(drawn, planned)
    tell(f"written to {out} and {design_path(out)}")
    tell(
        "next: write the true class of each point into the column 'reference', without looking at "
        "the map, then"
    )
    tell(f"      landmeta assess {landmap} --reference {out} --out accuracy")


def pairs(texts: list[str] | None, option: str) -> dict[str, float]:
    """NAME=NUMBER options as a table.

    Raises:
        ConfigError: a text is not of that form.
    """
    found = {}
    for text in texts or []:
        name, _, number = text.rpartition("=")
        try:
            found[name.strip()] = float(number)
        except ValueError:
            name = ""
        if not name:
            raise ConfigError(
                f"{option} {text!r} is not NAME=NUMBER", remedy=f"write {option} Forest=0.9"
            )
    return found


def _check(
    out: Path,
    design: Kind,
    size: int | None,
    error: float | None,
    area_error: list[str] | None,
    clusters: int | None,
) -> None:
    if out.suffix.lower() != ".gpkg":
        raise ConfigError(
            f"the points are written as GeoPackage, not as {out.suffix or 'a file without ending'}",
            remedy="choose a name that ends with .gpkg",
            path=out,
        )
    if (design is Kind.cluster) != (clusters is not None):
        raise ConfigError(
            "a cluster sample needs a number of clusters, other samples have none",
            remedy="give --design cluster --clusters 30 (with --block and --per-cluster), or "
            "neither",
        )
    aims = (("--size", size), ("--error", error), ("--area-error", area_error or None))
    given = [name for name, value in aims if value is not None]
    if len(given) > 1 or (given and clusters is not None):
        raise ConfigError(
            f"the size is asked for in more than one way: {', '.join(given)}"
            + (", --clusters" if clusters is not None else ""),
            remedy="keep one of them",
        )


def _summary(design: SampleDesign, planned: Plan | None) -> None:
    from landmeta.verbs.telling import tell, tell_table

    whole = sum(s.area for s in design.strata)
    rows = [
        [s.name, f"{s.pixels:,}", f"{s.area / whole:.1%}", f"{s.units:,}"] for s in design.strata
    ]
    heads = ["class", "pixels", "share of the map", "places drawn"]
    tell_table(f"{len(design.units.row):,} places, {design.kind.value} sample", heads, rows)
    if planned is None:
        tell(design.allocation)
        return
    tell(f"size: {planned.reason}")
    tell(
        f"if the map is right on {planned.overall:.0%} of its area, the standard error of overall "
        f"accuracy will be about {planned.error:.3f} (95 % interval ± {1.96 * planned.error:.3f})"
    )
