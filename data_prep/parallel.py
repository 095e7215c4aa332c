"""Several threads that read and cut, with results in the order of the work, not of the clock."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST = 8
"""Threads used if nobody says how many: beyond, writing is what takes the time."""


def default_workers() -> int:
    """A thread for each core, up to `MOST`."""
    return min(MOST, os.cpu_count() or 1)


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Generator[Result]:
    """Do `work` on each item in `workers` threads; yield the results in the order of the items.

    At most 2 × `workers` results are made ahead of the one in use. GDAL, numpy and the codecs let
    other threads run, so threads are enough; nothing is copied between processes.

    Raises:
        Whatever `work` raises, where its result would have come.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers, "prepare") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
