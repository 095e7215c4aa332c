"""Several workers that read and cut, with results in the order of the work, not of the clock."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from typing import Any, Protocol, TypeVar

from rasterio.errors import NotGeoreferencedWarning

from landmeta.errors import ProcessLost

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST = 8
"""Workers used if nobody says how many: beyond, the disk is what takes the time."""


def default_workers() -> int:
    """One for each core, up to `MOST`."""
    return min(MOST, os.cpu_count() or 1)


class Promise(Protocol):
    """The result of a piece of work that may not be done yet."""

    def result(self) -> Any:  # noqa: ANN401
        """Wait for it."""
        ...

    def cancel(self) -> object:
        """It is not wanted any more."""
        ...


@dataclass(frozen=True)
class Crew:
    """Workers who all do the same work.

    Attributes:
        kind: threads, processes, … for people.
        size: how many there are.
        submit: give an item to one of them.
    """

    kind: str
    size: int
    submit: Callable[[Any], Promise]


@contextmanager
def threads(work: Callable[[Any], Any], count: int) -> Iterator[Crew]:
    """Threads of this process. GDAL, numpy and the codecs let others run; Python does not."""
    with (
        # Each file is opened without this warning, but threads that do so at a time would undo it
        # for each other.
        warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning),
        ThreadPoolExecutor(count, "prepare") as pool,
    ):
        yield Crew("threads", count, lambda item: pool.submit(work, item))


@contextmanager
def processes(work: Callable[[Any], Any], count: int) -> Iterator[Crew]:
    """Processes of their own, started afresh: none shares GDAL's state or a lock with this one.

    Raises:
        ProcessLost: one of them has died.
    """
    pool = ProcessPoolExecutor(count, get_context("spawn"), _begin, (work,))
    try:
        yield Crew("processes", count, lambda item: pool.submit(_do, item))
    except BrokenProcessPool as error:
        raise lost("a process that reads has died, perhaps for lack of memory") from error
    finally:
        pool.shutdown(cancel_futures=True)


def lost(what: str) -> ProcessLost:
    """The error for workers that are gone."""
    return ProcessLost(
        what,
        remedy="run the same command again: it goes on where it was; with fewer --workers it "
        "needs less memory",
    )


_work: Callable[[Any], Any]


def _begin(work: Callable[[Any], Any]) -> None:
    global _work  # of this process; sent once, not with each item
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.setdefault(
        "GDAL_CACHEMAX", "64"
    )  # MB; by default each takes a share of all there is
    warnings.simplefilter("ignore", NotGeoreferencedWarning)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _do(item: Any) -> Any:  # noqa: ANN401
    return _work(item)


def results(crew: Crew, items: Iterable[Any]) -> Generator[Any]:
    """Have a crew do its work on each item; yield the results in the order of the items.

    At most 2 × its size are made ahead of the one in use.

    Raises:
        Whatever the work raises, where its result would have come.
    """
    waiting: deque[Promise] = deque()
    try:
        for item in items:
            waiting.append(crew.submit(item))
            if len(waiting) > 2 * crew.size:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for promise in waiting:
            promise.cancel()


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Generator[Result]:
    """Do `work` on each item in `workers` threads; yield the results in the order of the items.

    Raises:
        Whatever `work` raises, where its result would have come.
    """
    with threads(work, workers) as crew:
        yield from results(crew, items)
