"""Scenes, images with their labels, cut into tiles a few strips at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window

from data_prep.images import Image
from data_prep.labels import LabelFile, ReadLabels
from data_prep.quarantine import Attempt, Unreadable, refuse, sort_out
from data_prep.source import Cut, Source
from landmeta.legend import IGNORE, Labels, Legend
from landmeta.location import Location, is_virtual
from landmeta.taskset import SourceTile, Split, TaskSetMeta, tile_windows
from landmeta.warping import ReadWindow

Item = TypeVar("Item")
Result = TypeVar("Result")

PART = 32 * 2**20
"""Bytes of pixels that a worker reads at a time; one strip of tiles if that is more."""

Corner = tuple[int, int]
"""Of a tile: column and row of its first pixel."""
Tiling = dict[str, list[Corner]]
"""The tiles of a scene by region, from the top down."""


@dataclass(frozen=True)
class Scene:
    """An image with its labels.

    Attributes:
        name: what its tiles say that they come from.
        image, labels: how to read them.
        region, season: that it belongs to, or "".
    """

    name: str
    image: Image
    labels: LabelFile
    region: str
    season: str = ""


def corners_of(scene: Scene, size: int) -> list[Corner]:
    """All tiles of a scene, side by side."""
    header = scene.image.header
    return [(col, row) for col, row, _, _ in tile_windows(header.width, header.height, size)]


def readable(
    items: Sequence[Item], look: Callable[[Item], Result], region: Callable[[Item], str]
) -> tuple[list[Item], list[Result], list[Unreadable]]:
    """The items that `look` can read, what it found, and what it cannot read.

    Raises:
        UnreadableFile: no item of a region can be read.
    """
    sound, found, bad = sort_out(items, map(Attempt(look, region), items))
    left = {region(item) for item in sound}
    if lost := [b for b in bad if b.region not in left]:
        refuse(lost, len(items))
    return sound, found, bad


def scene_source(
    scenes: Sequence[Scene],
    meta: TaskSetMeta,
    splits: Mapping[str, Split],
    *,
    min_labelled: float,
    tilings: Sequence[Tiling] | None = None,
    unreadable: Sequence[Unreadable] = (),
) -> Source:
    """The source that cuts scenes into tiles and keeps those with enough labels.

    A pixel is labelled only where at least one band has data. While it is cut, `UnknownClass` is
    raised for a label value that the legend lacks.

    Args:
        scenes: what to cut.
        meta: of the task set; says tile size, dtype and legend.
        splits: split of each region.
        min_labelled: least share of labelled pixels; a tile without any is left out in any case.
        tilings: which tiles of each scene are of which region; without it, all are of the scene's.
        unreadable: files that were already found damaged.
    """
    size = meta.tile_size
    if tilings is None:
        tilings = [{scene.region: corners_of(scene, size)} for scene in scenes]
    parts = [
        part
        for scene, tiling in zip(scenes, tilings, strict=True)
        for part in _parts(scene, tiling, splits, size)
    ]
    return Source(
        meta,
        parts,
        _Cutter(meta.legend, meta.dtype, size, min_labelled),
        regions=tuple(sorted({part.region for part in parts})),
        why_left_out=f"with less than {min_labelled:.0%} labelled pixels"
        if min_labelled
        else "without any labelled pixel",
        unreadable=tuple(unreadable),
    )


@dataclass(frozen=True)
class Strips:
    """Some tiles of one scene and region, in a few strips. A part of the work."""

    scene: Scene
    region: str
    split: Split
    size: int
    corners: tuple[Corner, ...]
    share: float

    @property
    def files(self) -> tuple[Location, ...]:
        """Of image and labels."""
        return (*self.scene.image.files, *self.scene.labels.files)

    @property
    def tiles(self) -> int:
        """In all strips."""
        return len(self.corners)


def _parts(
    scene: Scene, tiling: Tiling, splits: Mapping[str, Split], size: int
) -> Iterator[Strips]:
    chunks = [
        (region, chunk)
        for region, corners in tiling.items()
        for chunk in _chunks(scene, corners, size)
    ]
    for region, chunk in chunks:
        yield Strips(scene, region, splits[region], size, tuple(chunk), 1 / len(chunks))


def _chunks(scene: Scene, corners: Sequence[Corner], size: int) -> Iterator[list[Corner]]:
    """Whole strips, as many as make up a part."""
    if not corners:
        return
    header = scene.image.header
    width = max(col for col, _ in corners) + size - min(col for col, _ in corners)
    count = max(1, PART // (len(header.bands) * width * size * header.dtype.itemsize))
    rows = sorted({row for _, row in corners})
    for first in range(0, len(rows), count):
        some = set(rows[first : first + count])
        yield [corner for corner in corners if corner[1] in some]


class _Files(threading.local):
    """The scene that a thread has open.

    It stays open from part to part: a photo can only be decoded from its top.
    """

    key: object = None
    stack: ExitStack
    image: ReadWindow
    labels: ReadLabels

    def open(self, scene: Scene, legend: Legend) -> tuple[ReadWindow, ReadLabels]:
        files = (*scene.image.files, *scene.labels.files)
        key = (scene, legend, [_stamp(file) for file in files])
        if key != self.key:
            self.close()
            with ExitStack() as stack:
                self.image = stack.enter_context(scene.image.open())
                self.labels = stack.enter_context(scene.labels.open(scene.image.header, legend))
                self.stack = stack.pop_all()
            self.key = key
        return self.image, self.labels

    def close(self) -> None:
        if self.key is not None:
            self.key = None
            self.stack.close()


def _stamp(path: Location) -> tuple[int, ...]:
    """Changes when another file takes the place of this one, which threads that stay may meet."""
    if not is_virtual(path):
        with suppress(OSError):
            status = Path(path).stat()
            return status.st_ino, status.st_size, status.st_mtime_ns
    return ()


_FILES = _Files()


@dataclass(frozen=True)
class _Cutter:
    """Cuts parts of scenes into tiles; several at a time, in threads or processes of their own."""

    legend: Legend
    dtype: str
    size: int
    min_labelled: float

    def __call__(self, part: Strips) -> Cut:
        read_image, read_labels = _FILES.open(part.scene, self.legend)
        window = around(part.corners, self.size)
        pixels, valid = read_image(window)
        label = read_labels(window)
        label[~valid.any(axis=0)] = IGNORE
        pixels = pixels.astype(self.dtype, copy=False)
        tiles = [self._tile(part, window, c, pixels, label, valid) for c in part.corners]
        kept = [t for t in tiles if enough(t.label, self.min_labelled)]
        return Cut(kept, left_out=len(tiles) - len(kept))

    def _tile(
        self,
        part: Strips,
        window: Window,
        corner: Corner,
        pixels: NDArray[Any],
        label: Labels,
        valid: NDArray[np.bool_],
    ) -> SourceTile:
        header, size = part.scene.image.header, self.size
        col, row = corner
        cols = slice(col - window.col_off, col - window.col_off + size)
        rows = slice(row - window.row_off, row - window.row_off + size)
        shift = Affine.translation(col, row)
        return SourceTile(
            image=pixels[:, rows, cols],
            label=label[rows, cols],
            valid=valid[:, rows, cols],
            region=part.region,
            season=part.scene.season,
            split=part.split,
            source=part.scene.name,
            window=(col, row, size, size),
            crs=header.crs,
            transform=None if header.crs is None else header.transform * shift,
        )


def around(corners: Sequence[Corner], size: int) -> Window:
    """The window that holds some tiles."""
    cols, rows = zip(*corners, strict=True)
    left, top = min(cols), min(rows)
    return Window(left, top, max(cols) + size - left, max(rows) + size - top)


def enough(label: Labels, least: float) -> bool:
    """True if a tile has that share of labelled pixels, and one at least."""
    return bool(np.count_nonzero(label != IGNORE) >= max(least * label.size, 1))


def labelled_corners(
    scene: Scene, corners: Sequence[Corner], legend: Legend, size: int, least: float
) -> list[Corner]:
    """The tiles with enough labels. Reads the labels, not the image.

    Raises:
        UnreadableFile, UnknownClass: as the labels are.
    """
    kept = []
    with scene.labels.open(scene.image.header, legend) as read:
        for chunk in _chunks(scene, corners, size):
            window = around(chunk, size)
            label = read(window)
            for col, row in chunk:
                left, top = col - window.col_off, row - window.row_off
                if enough(label[top : top + size, left : left + size], least):
                    kept.append((col, row))
    return kept
