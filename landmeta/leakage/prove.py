"""Prove a task set free of leakage, or find what leaks."""

from __future__ import annotations

from pathlib import Path

from rich.progress import Progress

from landmeta.errors import ConfigError
from landmeta.leakage.checks import (
    check_ground,
    check_looks,
    check_names,
    check_neighbours,
    check_seasons,
)
from landmeta.leakage.ground import Ground
from landmeta.leakage.looks import look
from landmeta.leakage.proof import Proof, fingerprint, write_proof
from landmeta.taskset import TaskSet


def prove(taskset: TaskSet, *, buffer: float = 0.0, workers: int = 2, quiet: bool = False) -> Proof:
    """Run all checks; reads every tile once and writes nothing.

    Args:
        taskset: to be checked.
        buffer: metres that tiles of different splits must be apart.
        workers: threads that read.
        quiet: no progress bar.

    Raises:
        ConfigError: the buffer is negative or no number.
        UnreadableFile: an array of the set is damaged.
    """
    if not 0 <= buffer < 1e7:
        raise ConfigError(
            f"a buffer of {buffer} m is not possible", remedy="choose from 0 to below 10000 km"
        )
    data = fingerprint(taskset)
    table = taskset.table
    ground = Ground(table["crs"], table["transform"], taskset.meta.tile_size)
    with Progress(disable=quiet) as progress:
        bar = progress.add_task("looking for leakage", total=len(taskset))
        looks = look(taskset, workers, lambda count: progress.advance(bar, count))
    checks = (
        check_ground(taskset, ground, buffer),
        check_looks(taskset, looks),
        check_names(taskset),
        check_neighbours(taskset, ground),
        check_seasons(taskset),
    )
    passed = all(check.passed for check in checks)
    return Proof(
        passed=passed,
        buffer=buffer,
        data=data,
        tiles=len(taskset),
        located=len(ground.located),
        checks=checks,
    )


def prove_folder(
    folder: Path, *, buffer: float = 0.0, workers: int = 2, quiet: bool = False
) -> Proof:
    """Prove the task set in a folder and write the proof into it, in place of an older one."""
    proof = prove(TaskSet(folder), buffer=buffer, workers=workers, quiet=quiet)
    write_proof(folder, proof, overwrite=True)
    return proof
