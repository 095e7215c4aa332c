"""What every reader hands to `prepare`: metadata, pieces of work, and how to do one of them.

A reader looks at names and headers and says what is to be done; it opens no pixels. What it hands
over can be pickled, so that the work can be done by threads, processes or other machines, be broken
off and taken up again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from data_prep.quarantine import Unreadable
from landmeta.taskset import SourceTile, TaskSetMeta


class Part(Protocol):
    """A piece of work: some tiles of one region from a few files. Frozen, small, pickles.

    Of two equal parts the pickles are equal, in every process: no sets, nothing by address.
    """

    @property
    def files(self) -> tuple[Path | str, ...]:
        """The files that are read; paths of this machine, or what GDAL opens."""
        ...

    @property
    def share(self) -> float:
        """How much of those files it reads: 1, or 1 / number of parts of an image or archive."""
        ...

    @property
    def region(self) -> str:
        """Of its tiles."""
        ...

    @property
    def tiles(self) -> int:
        """How many there are at most."""
        ...


@dataclass(frozen=True)
class Cut:
    """What a part was cut into.

    Attributes:
        tiles: in the order they have in the task set.
        left_out: tiles that were not worth keeping; see `Source.why_left_out`.
    """

    tiles: list[SourceTile]
    left_out: int = 0


@dataclass(frozen=True)
class Source:
    """A raw data set, ready to be read.

    Attributes:
        meta: bands, legend, gsd, tile size, dtype, options and notes; `splits` and `versions` are
            left empty.
        parts: the work, in the order of the task set's tiles. May make its parts as it is asked.
        cut: does one part; called in several threads or processes at a time, opens files itself.
            It pickles, with the same rule as parts.
        regions: those that must get a tile.
        why_left_out: ends the sentence "left out 12 tiles …".
        unreadable: what the reader already found damaged and left out.
    """

    meta: TaskSetMeta
    parts: Sequence[Part]
    cut: Callable[[Any], Cut]
    regions: tuple[str, ...] = ()
    why_left_out: str = "without any labelled pixel"
    unreadable: tuple[Unreadable, ...] = ()
