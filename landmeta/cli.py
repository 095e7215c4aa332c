"""The `landmeta` command: one verb per step of the way. Heavy imports happen inside the verbs."""

from __future__ import annotations

import errno
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

import landmeta
from data_prep.cli import app as prepare
from landmeta.errors import ConfigError, LandmetaError
from landmeta.verbs.check import check
from landmeta.verbs.show import show


class _Program(TyperGroup):
    """The place where errors about the user's input become a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer's own context, private by version
        """Run the verb; exit with 2 after an error of ours, with 130 when interrupted."""
        try:
            return super().invoke(ctx)
        except LandmetaError as error:
            if ctx.params["debug"]:
                raise
            _say(error)
            raise typer.Exit(2) from error
        except OSError as error:
            # A pipe that was closed (landmeta … | head) is no error; typer knows that.
            if ctx.params["debug"] or error.errno == errno.EPIPE:
                raise
            _say(_of_system(error))
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            if ctx.params["debug"]:
                raise
            Console(stderr=True).print("interrupted", style="red")
            raise typer.Exit(130) from error


def _say(error: LandmetaError) -> None:
    where = "" if error.path is None else f"{error.path}: "
    # Values of the user may look like markup, and long paths must stay in one piece.
    console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    console.print(f"error: {where}{error.what}", style="red")
    console.print(f"remedy: {error.remedy}")


def _of_system(error: OSError) -> LandmetaError:
    """What the operating system refused, where no file format was in between to explain it."""
    return LandmetaError(
        error.strerror or str(error),
        remedy="check that the disk has room and that you may read and write there; "
        "'landmeta --debug …' shows where it happened",
        path=error.filename,
    )


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"landmeta {landmeta.__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=_Program, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)


@app.callback()
def program(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of errors.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Land-cover maps of a new region from a handful of labelled tiles, by meta-learning."""


app.add_typer(prepare, name="prepare")
app.command()(check)
app.command()(show)


class Device(StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Optimizer(StrEnum):
    """How to adapt."""

    sgd = "sgd"
    adam = "adam"


class WorldName(StrEnum):
    """What the demo runs on."""

    earth = "earth"
    synthetic = "synthetic"


Config = Annotated[Path, typer.Argument(help="YAML file; see configs/ for examples.")]
On = Annotated[Device, typer.Option("--device", help="auto takes a GPU where there is one.")]
ConfigDevice = Annotated[
    Device | None, typer.Option("--device", help="In place of the configuration's.")
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", help="NAME=VALUE or SECTION.NAME=VALUE in place of the file's."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]
AllowLeakage = Annotated[
    bool,
    typer.Option(
        "--allow-leakage", help="Take a task set that is not proved free of leakage; recorded."
    ),
]
BandNames = Annotated[
    str | None,
    typer.Option("--bands", help="What the image's bands are, in its order, comma between."),
]


@app.command()
def train(
    config: Config,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run.")
    ] = False,
    changes: Changes = None,
    device: ConfigDevice = None,
    allow_leakage: AllowLeakage = False,
    quiet: Quiet = False,
) -> None:
    """Train a network by the method that the configuration names (docs/methods.md)."""
    from landmeta.config import TrainConfig, read_config
    from landmeta.train import train as run

    settings = read_config(config, TrainConfig, changes or [])
    if device is not None:
        settings = settings.model_copy(update={"device": device.value})
    if allow_leakage:
        settings = settings.model_copy(update={"allow_leakage": True})
    path = run(settings, resume=resume, quiet=quiet)
    if os.environ.get("RANK", "0") != "0":  # torchrun's first process speaks for all
        return
    _tell(f"written to {path}")
    _tell(f"next: landmeta adapt {path} --support IMAGE=LABELS --out region.safetensors")


@app.command()
def adapt(
    checkpoint: Annotated[Path, typer.Argument(help="Written by 'landmeta train'.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Region model to write.")],
    support: Annotated[
        list[str] | None,
        typer.Option(help="IMAGE=LABELS, a labelled image of the region; may be repeated."),
    ] = None,
    taskset: Annotated[
        Path | None, typer.Option(help="Take the labelled tiles from a task set instead.")
    ] = None,
    region: Annotated[str | None, typer.Option(help="Task of the task set.")] = None,
    shots: Annotated[int, typer.Option(min=1, help="Tiles to take from the task set.")] = 5,
    seed: Annotated[int, typer.Option(help="Of the draw from the task set.")] = 0,
    legend: Annotated[
        str | None,
        typer.Option(
            help="Legend of the labels where the checkpoint takes any (legend: open): a file, or "
            "igbp-simplified, or deepglobe."
        ),
    ] = None,
    bands: BandNames = None,
    optimizer: Annotated[Optimizer | None, typer.Option(help="In place of the tuned one.")] = None,
    rate: Annotated[float | None, typer.Option(min=0, help="In place of the tuned one.")] = None,
    steps: Annotated[int | None, typer.Option(min=0, help="In place of the tuned ones.")] = None,
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
) -> None:
    """Adapt a trained network to a new region from a few labelled tiles."""
    from landmeta.adapt import adapt as run
    from landmeta.adapt import support_from_files, support_from_taskset
    from landmeta.legend import find_legend

    if bool(support) == bool(taskset):
        raise ConfigError(
            "labelled tiles are needed from files or from a task set, one of both",
            remedy="give --support IMAGE=LABELS, or --taskset DIR --region NAME",
        )
    if taskset is not None:
        if legend is not None:
            raise ConfigError(
                f"a legend ({legend}) was given beside a task set, which has one of its own",
                remedy="leave --legend out, or give the labels by --support IMAGE=LABELS",
                path=taskset,
            )
        if region is None:
            raise ConfigError(
                "a task set was given but no region of it",
                remedy="give --region NAME",
                path=taskset,
            )
        labelled = support_from_taskset(checkpoint, taskset, region, shots, seed)
    else:
        own = None if legend is None else find_legend(legend)
        labelled = support_from_files(checkpoint, support or [], _names(bands), own)
    changes = {
        "optimizer": optimizer and optimizer.value,
        "rate": rate,
        "steps": steps,
        "layers": layers or None,
        "prior": prior,
        "early_stopping": early_stopping,
    }
    done = run(
        checkpoint,
        labelled,
        out,
        changes={k: v for k, v in changes.items() if v is not None},
        device=device.value,
        overwrite=overwrite,
    )
    for note in (*labelled.notes, *done.notes):
        _tell(f"note: {note}")
    if done.dropped:
        _tell(f"note: nothing is labelled {', '.join(done.dropped)}: not in the map's legend")
    for name, count in done.pixels.items():
        warning = "  (few: expect little of this class)" if name in done.scarce else ""
        _tell(f"{name}: {count} labelled pixels{warning}")
    _tell(done.how.text())
    _tell(f"loss on the labelled tiles: {done.loss_before:.3f} before, {done.loss_after:.3f} after")
    _tell(f"written to {out}")
    _tell(f"next: landmeta predict {out} RASTER --out map.tif")


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="Region model, or a checkpoint as it is.")],
    raster: Annotated[Path, typer.Argument(help="Image to map.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="GeoTIFF to write.")],
    overlap: Annotated[
        int | None, typer.Option(min=0, help="Pixels windows share; a quarter if not given.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Windows at a time.")] = 8,
    confidence: Annotated[
        bool, typer.Option(help="Write OUT.confidence.tif too, in percent.")
    ] = True,
    bands: BandNames = None,
    allow_no_crs: Annotated[
        bool, typer.Option("--allow-no-crs", help="Map a photo that lies nowhere on a map.")
    ] = False,
    device: On = Device.auto,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Map a raster of any size: a GeoTIFF with class names and colours, and its confidence."""
    from landmeta.classifier import NetworkClassifier
    from landmeta.predict import predict as run

    classifier = NetworkClassifier(model, device.value)
    done = run(
        classifier,
        raster,
        out,
        overlap=overlap,
        batch=batch,
        confidence=confidence,
        names=_names(bands),
        provenance=classifier.provenance(),
        allow_no_crs=allow_no_crs,
        overwrite=overwrite,
        quiet=quiet,
    )
    for note in done.notes:
        _tell(f"note: {note}")
    total = max(1, sum(done.pixels.values()))
    for name, count in done.pixels.items():
        if count:
            _tell(f"{name}: {count / total:.1%}")
    _tell(f"written to {out}" + (f" and {done.confidence}" if done.confidence else ""))


@app.command()
def compare(
    config: Config,
    changes: Changes = None,
    device: ConfigDevice = None,
    allow_leakage: AllowLeakage = False,
    quiet: Quiet = False,
) -> None:
    """Compare trained networks on regions none has seen: same labels, same query tiles."""
    from landmeta.compare import compare as run
    from landmeta.config import CompareConfig, read_config

    settings = read_config(config, CompareConfig, changes or [])
    if device is not None:
        settings = settings.model_copy(update={"device": device.value})
    if allow_leakage:
        settings = settings.model_copy(update={"allow_leakage": True})
    found = run(settings, quiet=quiet)
    _tell(found.text())
    _tell(f"written to {found.folder}; open {found.folder / 'report.html'}")


@app.command()
def search(
    config: Config,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted search.")
    ] = False,
    changes: Changes = None,
    device: ConfigDevice = None,
    allow_leakage: AllowLeakage = False,
    quiet: Quiet = False,
) -> None:
    """Search for the network that a method learns best with, by short trainings."""
    from landmeta.config import SearchConfig, read_config
    from landmeta.search import search as run

    settings = read_config(config, SearchConfig, changes or [])
    if device is not None:
        own = (*settings.changes, f"device={device.value}")
        settings = settings.model_copy(update={"changes": own})
    if allow_leakage:
        own = (*settings.changes, "allow_leakage=true")
        settings = settings.model_copy(update={"changes": own})
    path = run(settings, resume=resume, quiet=quiet)
    _tell(f"written to {path}; all trials are in {path.with_name('trials.csv')}")
    _tell(f"next: landmeta train {path}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")] = Path("demo"),
    world: Annotated[
        WorldName, typer.Option(help="Real satellite images (fetched once), or made-up ones.")
    ] = WorldName.earth,
    device: On = Device.auto,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """The whole way in some minutes: prepare, train, adapt, map, compare, one page of results."""
    from landmeta.demo import demo as run

    page = run(out, world=world.value, device=device.value, overwrite=overwrite, quiet=quiet)
    _tell(f"written to {out}; open {page}")


def _tell(text: str) -> None:
    # Values of the user may look like markup, and long paths must stay in one piece.
    Console(markup=False, highlight=False, soft_wrap=True).print(text)


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def main() -> None:
    """Run the program."""
    app()
