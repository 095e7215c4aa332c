"""What the benchmarks of preparing and predicting have in common: clocks, memory, printing."""

from __future__ import annotations

import json
import os
import platform
import resource
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any, Self

import rich.table
from rich.console import Console

import landmeta
from landmeta.tables import Table

RESULTS = Path(__file__).parent / "results"
Figures = dict[str, Any]


def take_turns(
    kinds: Mapping[str, Callable[[], object]],
    repeats: int,
    before: Callable[[str], object] = lambda kind: None,
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Wall and CPU seconds of each kind of work, in rounds: what else the machine does hits all.

    `before` is called with the name of the kind, and not measured.
    """
    wall: dict[str, list[float]] = {kind: [] for kind in kinds}
    cpu: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(repeats):
        for kind, work in kinds.items():
            before(kind)
            started = time.perf_counter(), time.process_time()
            work()
            wall[kind].append(time.perf_counter() - started[0])
            cpu[kind].append(time.process_time() - started[1])
    return wall, cpu


def ratio(first: Sequence[float], second: Sequence[float]) -> float:
    """Median over the rounds of first by second."""
    return median(a / b for a, b in zip(first, second, strict=True))


def medians(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """By kind."""
    return {kind: median(values) for kind, values in times.items()}


class PeakMemory:
    """Looks every few milliseconds how much memory this process has; `grown` is in bytes.

    For processes of their own: what was freed before may be used again without growing.
    """

    def __enter__(self) -> Self:
        self._before = self._peak = _resident()
        self._done = threading.Event()
        self._looking = threading.Thread(target=self._look)
        self._looking.start()
        return self

    def _look(self) -> None:
        while not self._done.wait(0.002):
            self._peak = max(self._peak, _resident())

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._looking.join()

    @property
    def grown(self) -> int:
        """Most memory beyond what there was at the start."""
        return self._peak - self._before


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def machine() -> str:
    """Processor and number of cores."""
    name = platform.processor() or platform.machine()
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    return f"{name}, {os.cpu_count()} cores"


def record(goal: float, repeats: int, versions: Mapping[str, str], **found: object) -> Figures:
    """What was found, with where and by what."""
    versions = {"landmeta": landmeta.__version__, **versions, "Python": platform.python_version()}
    setting = {"machine": machine(), "load": os.getloadavg()[0], "versions": versions}
    return setting | {"goal": goal, "repeats": repeats} | found


def publish(name: str, heading: str, parts: Sequence[str | Table], found: Figures) -> None:
    """Print, and write results/NAME.json and NAME.md."""
    console = Console(markup=False, highlight=False)
    for part in parts:
        if isinstance(part, str):
            console.print(part)
            continue
        table = rich.table.Table(*part.heads, title=part.title)
        for row in part.rows:
            table.add_row(*row)
        console.print(table)
    texts = [part if isinstance(part, str) else part.markdown() for part in parts]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    page = "\n\n".join([f"# {heading}", *texts])
    (RESULTS / f"{name}.md").write_text(page + "\n", encoding="utf-8")
