"""What a worker does with a part: cut it into tiles and compress them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from data_prep.quarantine import Unreadable
from data_prep.source import Cut, Part, Source
from landmeta.errors import UnreadableFile
from landmeta.taskset import EncodedTile, TaskSetMeta, encode_tiles


@dataclass(frozen=True)
class Encoded:
    """A part that is done: its tiles, and how many were left out."""

    tiles: list[EncodedTile]
    left_out: int


@dataclass(frozen=True)
class CutAndEncode:
    """Does a part, in whatever thread, process or machine."""

    cut: Callable[[Any], Cut]
    meta: TaskSetMeta

    @classmethod
    def of(cls, source: Source) -> Self:
        """For the parts of this source."""
        return cls(source.cut, source.meta.model_copy(update={"notes": []}))

    def __call__(self, part: Part) -> Encoded | Unreadable:
        """Do it; answer what cannot be read.

        Raises:
            LandmetaError: what else the source may be wrong in.
        """
        try:
            made = self.cut(part)
        except UnreadableFile as error:
            return Unreadable(str(error.path or ""), error.what, part.region, part.tiles)
        return Encoded(encode_tiles(made.tiles, self.meta), made.left_out)
