"""`landmeta adapt`: from a checkpoint and some labels of a new region to that region's model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from landmeta.errors import ConfigError
from landmeta.verbs.options import BandNames, Device, On, Overwrite, Quiet, name_list
from landmeta.verbs.telling import tell, tell_table

if TYPE_CHECKING:
    from landmeta.adapt import Adapted
    from landmeta.estimate import Found
    from landmeta.support import Support


class Optimizer(StrEnum):
    """How to adapt."""

    sgd = "sgd"
    adam = "adam"


def adapt(
    checkpoint: Annotated[Path, typer.Argument(help="Written by 'landmeta train'.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Region model to write.")],
    image: Annotated[
        list[Path] | None, typer.Option(help="Image of the region; may be repeated.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Polygons or points over the images (GeoPackage, GeoJSON, Shapefile, GeoParquet), "
            "or a label raster."
        ),
    ] = None,
    class_column: Annotated[
        str | None, typer.Option(help="Column of the polygons and points that holds the class.")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Of a file of labels with several.")] = None,
    point_radius: Annotated[
        float, typer.Option(min=0, help="Pixels around a point that it labels too.")
    ] = 0.0,
    support: Annotated[
        list[str] | None,
        typer.Option(
            help="IMAGE=LABELS, an image and a label raster on its grid; may be repeated."
        ),
    ] = None,
    taskset: Annotated[
        Path | None, typer.Option(help="Take the labelled tiles from a task set instead.")
    ] = None,
    region: Annotated[str | None, typer.Option(help="Task of the task set.")] = None,
    shots: Annotated[int, typer.Option(min=1, help="Tiles to take from the task set.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of every draw.")] = 0,
    legend: Annotated[
        str | None,
        typer.Option(
            help="Legend of the labels where the checkpoint takes any (legend: open): a file, or "
            "igbp-simplified, or deepglobe. Polygons and points may do without."
        ),
    ] = None,
    bands: BandNames = None,
    hold_out: Annotated[
        bool,
        typer.Option(
            help="Hold labelled places out in turn, to choose steps and rate, to estimate the "
            "accuracy and to calibrate the confidence."
        ),
    ] = True,
    forest: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Share of a random forest on the pixels in the votes, from 0 (the network alone) "
            "to 1 (the forest alone). Unless given, half, or what held-out labels say is better.",
        ),
    ] = None,
    ensemble: Annotated[
        int, typer.Option(min=1, help="Models, of draws of the labelled places, to average.")
    ] = 1,
    optimizer: Annotated[Optimizer | None, typer.Option(help="In place of the chosen one.")] = None,
    rate: Annotated[float | None, typer.Option(min=0, help="In place of the chosen one.")] = None,
    steps: Annotated[int | None, typer.Option(min=0, help="In place of the chosen ones.")] = None,
    layers: Annotated[
        list[str] | None,
        typer.Option(help="Adapt only what is named so (head, unet.decoder); may be repeated."),
    ] = None,
    prior: Annotated[
        float | None, typer.Option(min=0, help="Strength of the pull towards the start; 0: none.")
    ] = None,
    early_stopping: Annotated[
        bool | None,
        typer.Option(
            "--early-stopping", help="Choose the steps on held-out tiles (4 labelled ones needed)."
        ),
    ] = None,
    device: On = Device.auto,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Adapt a trained network to a new region from a few labelled places or tiles."""
    from landmeta.adapt import adapt as run
    from landmeta.atomic import refuse_existing
    from landmeta.labelled import support_from_files, support_from_images
    from landmeta.legend import find_legend

    refuse_existing(out, overwrite)
    given = [bool(support), taskset is not None, labels is not None or bool(image)]
    if sum(given) != 1:
        raise ConfigError(
            "labels are needed from one place: a file over images, pairs of files, or a task set",
            remedy="give --image IMAGE --labels LABELS, or --support IMAGE=LABELS, or --taskset "
            "DIR --region NAME",
        )
    if taskset is not None:
        labelled = _from_taskset(checkpoint, taskset, region, shots, seed, legend)
    else:
        names, own = name_list(bands), None if legend is None else find_legend(legend)
        if support:
            labelled = support_from_files(checkpoint, support, names, own)
        elif labels is None or not image:
            raise ConfigError(
                "labels lie over images: one of both is missing",
                remedy="give --image IMAGE (as often as there are images) and --labels LABELS",
            )
        else:
            labelled = support_from_images(
                checkpoint,
                image,
                labels,
                column=class_column,
                layer=layer,
                radius=point_radius,
                seed=seed,
                names=names,
                legend=own,
            )
    changes: dict[str, Any] = {
        "optimizer": optimizer and optimizer.value,
        "rate": rate,
        "steps": steps,
        "layers": layers or None,
        "prior": prior,
        "early_stopping": early_stopping,
    }
    with _bar(quiet or not hold_out) as progress:
        done = run(
            checkpoint,
            labelled,
            out,
            changes={k: v for k, v in changes.items() if v is not None},
            hold_out=hold_out,
            forest=forest,
            members=ensemble,
            seed=seed,
            progress=progress,
            device=device.value,
            overwrite=overwrite,
        )
    _report(done, labelled)
    tell(f"written to {out}")
    tell(f"next: landmeta predict {out} RASTER --out map.tif")


def _from_taskset(
    checkpoint: Path, taskset: Path, region: str | None, shots: int, seed: int, legend: str | None
) -> Support:
    from landmeta.labelled import support_from_taskset

    if legend is not None:
        raise ConfigError(
            f"a legend ({legend}) was given beside a task set, which has one of its own",
            remedy="leave --legend out, or give the labels by --labels or --support",
            path=taskset,
        )
    if region is None:
        raise ConfigError(
            "a task set was given but no region of it", remedy="give --region NAME", path=taskset
        )
    return support_from_taskset(checkpoint, taskset, region, shots, seed)


@contextmanager
def _bar(off: bool) -> Iterator[Callable[[float], None] | None]:
    """A progress bar, by the function that moves it; None if there is to be none."""
    if off:
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task("holding labels out", total=1.0)

    def move(done: float) -> None:
        bar.start()  # only now: what is wrong with the input has been said by then
        bar.update(task, completed=done)

    try:
        yield move
    finally:
        if bar.live.is_started:
            bar.stop()


def _report(done: Adapted, labelled: Support) -> None:
    for note in dict.fromkeys((*labelled.notes, *done.notes)):
        tell(f"note: {note}")
    if done.dropped:
        tell(f"note: nothing is labelled {', '.join(done.dropped)}: not in the map's legend")
    heads = ["class", *(["shapes"] if done.shapes is not None else []), "pixels"]
    heads += ["right when held out", "places held out"] if done.found else []
    rows = [_row(done, number, name) for number, name in enumerate(done.pixels)]
    tell_table(f"used, in {labelled.shots} tiles", heads, rows)
    if done.scarce:
        tell(
            f"warning: {', '.join(done.scarce)} in fewer than 50 pixels: expect little of "
            f"{'this class' if len(done.scarce) == 1 else 'these classes'}"
        )
    if done.unlabelled:
        tell(
            f"warning: nothing is labelled {', '.join(done.unlabelled)}; the map may show it all "
            "the same"
        )
    if done.found is not None:
        tell(estimate_text(done.found))
    tell(f"{done.how.text()}; {done.votes}")
    tell(f"loss on the labelled tiles: {done.loss_before:.3f} before, {done.loss_after:.3f} after")


def _row(done: Adapted, number: int, name: str) -> list[str]:
    row = [name]
    if done.shapes is not None:
        row.append(str(done.shapes.get(name, 0)))
    row.append(str(done.pixels[name]))
    if done.found is not None:
        share, groups = done.found.recall.get(number, (None, 0))
        row += ["–" if share is None else f"{share:.0%}", str(groups)]
    return row


def estimate_text(found: Found) -> str:
    """What held-out labels say, in words, with what they do not."""
    chosen = (
        f"the best of {found.tried} ways on the same places, so it is too good rather than too bad"
        if found.how_changed
        else f"with the checkpoint's own way, which none of {found.tried} others clearly beat"
        if found.tried > 1
        else "with the way asked for"
    )
    heat = (
        "and no temperature brings it nearer"
        if found.temperature is None
        else f"by {found.after.error:.2f} with a temperature ({found.temperature:.2f})"
    )
    alone = (
        ""
        if found.forest_alone is None
        else f"Mean over classes of the network alone {found.network_alone:.0%}, of a random "
        f"forest on the pixels alone {found.forest_alone:.0%}. "
    )
    return (
        f"held out: {found.accuracy:.0%} of the pixels of {found.groups} labelled places are "
        f"right ({found.balanced:.0%} as the mean over classes), {chosen}. {alone}"
        f"Confidence is off by {found.before.error:.2f} on average, {heat}. Places that somebody "
        "chose to label are no random sample: for the accuracy of the map and for areas draw one "
        "('landmeta sample') and use 'landmeta assess'."
    )
