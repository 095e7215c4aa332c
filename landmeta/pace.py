"""How much of a training's time is spent waiting for data."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


class Pace:
    """Adds up time spent waiting and computing since the share was last asked for."""

    def __init__(self) -> None:
        self._waiting = self._computing = 0.0

    def waiting_for(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, with the time until each comes counted as waiting."""
        source = iter(items)
        while True:
            started = time.perf_counter()
            try:
                item = next(source)
            except StopIteration:
                return
            self._waiting += time.perf_counter() - started
            yield item

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Count the time of the block as computing."""
        started = time.perf_counter()
        yield
        self._computing += time.perf_counter() - started

    def share(self) -> float:
        """Waiting as a share of both, 0-1; then both start at 0 again."""
        both = self._waiting + self._computing
        share = self._waiting / both if both else 0.0
        self._waiting = self._computing = 0.0
        return share
