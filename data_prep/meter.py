"""How far the work is and how fast: a bar on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from data_prep.survey import Survey

EVERY = 60.0
"""Seconds between lines where there is no terminal."""
_LOOK_BACK = 60.0
"""Seconds over which the speed is taken."""


class Meter:
    """Is told which part is done, and says so.

    Args:
        found: what there is to do.
        begin: the first part to be done now.
        name: of what is made.
        console: to say it on, or None to be quiet.
    """

    def __init__(self, found: Survey, begin: int, name: str, console: Console | None) -> None:
        self._found, self._name, self._console = found, name, console
        self._marks = [(time.monotonic(), begin)]
        self._done, self._told = begin, time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[text]}"),
            console=console,
            disable=console is None or not console.is_terminal,
        )
        self._bar = self._progress.add_task(f"preparing {name}", total=1.0, text="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def did(self, done: int) -> None:
        """So many parts are done."""
        now, self._done = time.monotonic(), done
        if now - self._marks[-1][0] > 1:
            self._marks.append((now, done))
            while now - self._marks[1][0] > _LOOK_BACK:
                del self._marks[0]
        self._progress.update(self._bar, completed=self.share, text=self.text())
        if self._console and not self._console.is_terminal and now - self._told > EVERY:
            self._console.print(f"{self._name}: {self.share:.1%}, {self.text()}")
            self._told = now

    @property
    def share(self) -> float:
        """How much is done, 0-1: of the bytes if they are known, otherwise of the parts."""
        return self._work(self._done) / (self._work(len(self._found.done) - 1) or 1.0)

    def _work(self, part: int) -> float:
        """How much there is to do before a part, in bytes or parts."""
        done = self._found.done
        return done[part] if done[-1] else float(part)

    def text(self) -> str:
        """Images, images/s, MB/s and time left, as far as they are known."""
        parts = len(self._found.done) - 1
        since, before = self._marks[0]
        seconds = time.monotonic() - since
        each = self._found.images / max(1, parts)  # images in a part, on average
        text = f"{self._done * each:,.0f} of {self._found.images:,} images"
        if self._done == before or seconds < 1:
            return text
        text += f", {(self._done - before) * each / seconds:.1f} images/s"
        speed = (self._work(self._done) - self._work(before)) / seconds
        if self._found.done[-1]:
            text += f", {speed / 1e6:.1f} MB/s"
        if speed:
            left = (self._work(parts) - self._work(self._done)) / speed
            text += f", {timedelta(seconds=round(left))} left"
        return text
