"""The errors a user can meet. Each says what is wrong, with which value, and what to do."""

from __future__ import annotations

from functools import partial
from pathlib import Path


class LandmetaError(Exception):
    """Base of all errors that are about the user's input, not about a bug.

    Args:
        what: what is wrong, with the offending value in it.
        remedy: what the user can do about it.
        path: the file or folder concerned, if there is one.
    """

    def __init__(self, what: str, *, remedy: str, path: str | Path | None = None) -> None:
        self.what = what
        self.remedy = remedy
        # A Path would spoil an address.
        self.path = path if path is None or "://" in str(path) else Path(path)
        where = "" if path is None else f"{path}: "
        super().__init__(f"{where}{what}\nRemedy: {remedy}")

    def __reduce__(self) -> tuple[object, ...]:
        """Pickled as what it was made of, so that a worker process can hand it over."""
        return partial(type(self), self.what, remedy=self.remedy, path=self.path), ()


class ConfigError(LandmetaError):
    """A configuration file or option has a wrong name or value."""


class SourceNotFound(LandmetaError):
    """A folder or file the user named is not there or holds nothing we can read."""


class UnreadableFile(LandmetaError):
    """A file is truncated, damaged or of another format than its name says."""


class UnsafeFile(LandmetaError):
    """A file that could run code when loaded (a pickle), or an archive that escapes its folder."""


class MissingBands(LandmetaError):
    """The bands of an image are not the bands that are needed: some missing, extra or reordered."""


class SizeMismatch(LandmetaError):
    """Image and label, or image and window, are of different size or grid."""


class MissingCRS(LandmetaError):
    """A raster has no coordinate reference system where one is needed."""


class UnknownClass(LandmetaError):
    """A label holds a colour or class id that the legend does not have."""


class EmptyRegion(LandmetaError):
    """A region has no tile with labels."""


class TooFewTiles(LandmetaError):
    """A region has fewer tiles than support and query need."""


class CheckpointMismatch(LandmetaError):
    """A checkpoint was made for other bands, another legend or another network."""


class CannotAdapt(LandmetaError):
    """A method cannot do what is asked of it, such as to map without labels what it must learn."""


class LeakyTaskSet(LandmetaError):
    """The splits of a task set share places or images, or nobody has proved that they do not."""


class OutputExists(LandmetaError):
    """The output is already there and overwriting was not asked for."""


class TooLittleDisk(LandmetaError):
    """An output will not fit on the disk it is to be written to."""


class UnfinishedWork(LandmetaError):
    """For the same output there is unfinished work that another command began or is doing."""


class AlreadyMade(OutputExists):
    """The output is already there, and would come out the same."""


class WriteFailed(LandmetaError):
    """Writing stopped (disk full, no permission); nothing half-written was left."""


class TrainingDiverged(LandmetaError):
    """The loss or the meta-gradient became NaN or infinite; the last good checkpoint is kept."""


class ProcessLost(LandmetaError):
    """Of several processes that train or prepare together, another has died."""


class TooLittleMemory(LandmetaError):
    """A step of training needs more memory than is free."""
