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
from landmeta.errors import LandmetaError
from landmeta.verbs.adapt import adapt
from landmeta.verbs.assess import assess
from landmeta.verbs.check import check
from landmeta.verbs.options import Device, On, Overwrite, Quiet
from landmeta.verbs.predict import predict
from landmeta.verbs.report import report
from landmeta.verbs.sample import sample
from landmeta.verbs.show import show
from landmeta.verbs.studio import studio
from landmeta.verbs.suggest import suggest


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


class WorldName(StrEnum):
    """What the demo runs on."""

    earth = "earth"
    synthetic = "synthetic"


Config = Annotated[Path, typer.Argument(help="YAML file; see configs/ for examples.")]
ConfigDevice = Annotated[
    Device | None, typer.Option("--device", help="In place of the configuration's.")
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", help="NAME=VALUE or SECTION.NAME=VALUE in place of the file's."),
]
AllowLeakage = Annotated[
    bool,
    typer.Option(
        "--allow-leakage", help="Take a task set that is not proved free of leakage; recorded."
    ),
]


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
    _tell(f"next: landmeta adapt {path} --image IMAGE --labels LABELS --out region.safetensors")


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


app.add_typer(prepare, name="prepare")
for verb in (
    *(check, show),
    *(train, adapt, predict, studio, suggest),
    *(report, sample, assess),
    *(compare, search, demo),
):
    app.command()(verb)


def main() -> None:
    """Run the program."""
    app()
