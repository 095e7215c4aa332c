"""The `landmeta` command: one verb per step of the way. Heavy imports happen inside the verbs."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

import landmeta
from data_prep.cli import app as prepare
from landmeta.errors import LandmetaError


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


def main() -> None:
    """Run the program."""
    app()
