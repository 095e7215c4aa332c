"""Files that cannot be read: set aside with the reason, up to a limit, instead of ending the work.

Only what `UnreadableFile` says is set aside. A label that the legend lacks, or a file on another
grid, is no damage but a mistake about the whole source, and ends the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from landmeta.errors import UnreadableFile

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Unreadable:
    """A file that was set aside.

    Attributes:
        file: its path.
        reason: what is wrong with it.
        region: that lacks it; "" if the file was met before there were regions.
        tiles: lost with it, at most; 0 if the file was met before it was cut.
    """

    file: str
    reason: str
    region: str = ""
    tiles: int = 0


@dataclass(frozen=True)
class Attempt(Generic[Item, Result]):
    """`work` that answers `Unreadable` instead of raising; goes to other processes if `work` does.

    Attributes:
        work: what to do with an item.
        region: of an item.
    """

    work: Callable[[Item], Result]
    region: Callable[[Item], str] = lambda item: ""

    def __call__(self, item: Item) -> Result | Unreadable:
        """Do the work."""
        try:
            return self.work(item)
        except UnreadableFile as error:
            return Unreadable(str(error.path or ""), error.what, self.region(item))


def sort_out(
    items: Sequence[Item], results: Iterable[Result | Unreadable]
) -> tuple[list[Item], list[Result], list[Unreadable]]:
    """The items that could be read, what was found in them, and the others.

    Raises:
        UnreadableFile: none could be read.
    """
    sound, found, bad = [], [], []
    for item, result in zip(items, results, strict=True):
        if isinstance(result, Unreadable):
            bad.append(result)
        else:
            sound.append(item)
            found.append(result)
    if bad and not sound:
        refuse(bad, len(items))
    return sound, found, bad


def refuse(bad: Sequence[Unreadable], images: int) -> None:
    """Raise the error that names the files.

    Raises:
        UnreadableFile: always.
    """
    more = f"; {len(bad)} of {images} images cannot be read" if len(bad) > 1 else ""
    raise UnreadableFile(
        bad[0].reason + more,
        remedy="it may be truncated or of another format than its name says; copy it again, take "
        "it out of the folder, or put up with it: --max-unreadable, a share or a number of images",
        path=bad[0].file,
    )
