"""The options that all readers' commands share, and what is done with the source they make."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from data_prep.source import Source
    from landmeta.taskset import TaskSet


def _common(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the task set to write.")],
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="That read and cut.", show_default="one a core, at most 8"),
    ] = None,
    max_unreadable: Annotated[
        float,
        typer.Option(min=0, help="Unreadable images to put up with: a share below 1, or a number."),
    ] = 0.01,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = (
        False
    ),
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, no table.")] = (
        False
    ),
) -> None:
    """Their names, defaults and help."""


def prepares(reader: Callable[..., Source]) -> Callable[..., None]:
    """Make a command of a function that returns a source: with the shared options, and prepared.

    A shared option that the reader's own signature names too is handed on to it.
    """
    own = inspect.signature(reader).parameters
    shared = inspect.signature(_common).parameters
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [p for name, p in own.items() if name not in shared]
    parameters += [p.replace(kind=keyword) for p in shared.values()]
    hints = typing.get_type_hints(reader, include_extras=True, localns={"Source": object})
    hints |= typing.get_type_hints(_common, include_extras=True)
    parameters = [p.replace(annotation=hints[p.name]) for p in parameters]

    @functools.wraps(reader)
    def command(*args: Any, **options: Any) -> None:  # noqa: ANN401
        common = {name: options[name] for name in shared}
        mine = {name: value for name, value in options.items() if name in own}
        _prepare(reader(*args, **mine), **common)

    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def _prepare(source: Source, out: Path, quiet: bool, **options: Any) -> None:  # noqa: ANN401
    from data_prep.prepare import prepare

    taskset = prepare(source, out, quiet=quiet, **options)
    if not quiet:
        _summarise(taskset)


def _summarise(taskset: TaskSet) -> None:
    """Say what was written, where it is, and what comes next."""
    from landmeta.taskset import SPLITS

    meta = taskset.meta
    table = Table("split", "tasks", "tiles", box=None, pad_edge=False)
    for split in SPLITS:
        tiles = len(taskset.split_ids(split))
        table.add_row(split, str(len(taskset.tasks(split))), str(tiles))
    pixels = taskset.class_pixels(range(len(taskset)))
    shares = pixels / max(1, pixels.sum())
    console = Console(markup=False, highlight=False, soft_wrap=True)
    console.print(table)
    size = f"{meta.tile_size} × {meta.tile_size} pixels"
    console.print(f"{len(taskset)} tiles of {size}, bands: {', '.join(taskset.bands)}")
    console.print("classes: " + ", ".join(f"{n} {s:.1%}" for n, s in shares.items()))
    for note in meta.notes:
        console.print(f"note: {note}")
    console.print(f"written to {taskset.folder}")
    console.print(
        f"next: put 'taskset: {taskset.folder}' into a configuration, then 'landmeta train CONFIG'"
    )
