"""`landmeta check`: does a task set leak from one split into another?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def check(
    taskset: Annotated[Path, typer.Argument(help="Folder written by 'landmeta prepare'.")],
    buffer: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Metres that tiles of different splits must be apart.",
            show_default="as in the set's proof, or 0",
        ),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write the proof into the task set.")
    ] = False,
    shown: Annotated[int, typer.Option(min=0, help="Offences of each kind to print.")] = 10,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Prove that the splits of a task set have no places, copies or files in common.

    Ends with 0 if none were found, with 2 if the set leaks. Changes nothing without --write.
    """
    from rich.console import Console

    from landmeta.leakage.proof import FILE, read_proof, write_proof
    from landmeta.leakage.prove import prove
    from landmeta.taskset import TaskSet

    data = TaskSet(taskset)
    if buffer is None:
        before = read_proof(taskset)
        buffer = before.buffer if before else 0.0
    proof = prove(data, buffer=buffer, quiet=quiet)
    console = Console(markup=False, highlight=False, soft_wrap=True)
    console.print(proof.text(shown))
    if write:
        write_proof(taskset, proof, overwrite=True)
        console.print(f"written to {taskset / FILE}")
    if not proof.passed:
        raise typer.Exit(2)
