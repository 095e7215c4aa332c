"""`landmeta show`: one page on which a person sees what the tasks are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def show(
    taskset: Annotated[Path, typer.Argument(help="Folder written by 'landmeta prepare'.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="HTML file to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = (
        False
    ),
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Show a task set on one HTML page: map, classes, sample tiles, distances, proof."""
    from rich.console import Console

    from landmeta.showing.page import show as run
    from landmeta.taskset import TaskSet

    run(TaskSet(taskset), out, overwrite=overwrite, quiet=quiet)
    console = Console(markup=False, highlight=False, soft_wrap=True)
    console.print(f"written to {out} ({out.stat().st_size / 1e6:.1f} MB); open it in a browser")
