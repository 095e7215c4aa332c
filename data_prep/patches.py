"""Reading patches of Sentinel-1 and -2 with labels, as SEN12MS and DFC2020 have them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from data_prep.sen12ms_splits import LC_BANDS, S1_BANDS, S2_BANDS
from landmeta.errors import ConfigError, MissingBands, UnreadableFile
from landmeta.imagery import open_raster
from landmeta.taskset import Band, Split

FILES: dict[str, tuple[str, ...]] = {
    "s2": S2_BANDS, "s1": S1_BANDS, "lc": LC_BANDS, "dfc": ("DFC2020",)
}  # fmt: skip
"""Bands of each kind of file."""

Windows = tuple[tuple[int, int, int, int], ...]
"""(col_off, row_off, width, height) each, in pixels."""

ALL_BANDS: dict[str, Band] = {
    **{f"S2_{name}": Band(name=f"S2_{name}", scale=1e-4, unit="reflectance") for name in S2_BANDS},
    **{f"S1_{name}": Band(name=f"S1_{name}", unit="dB") for name in S1_BANDS},
}
"""Bands by name, S2_B1 … S2_B12 and S1_VV, S1_VH, with the scale of their stored values."""


def choose_bands(wanted: Sequence[str] | None) -> tuple[Band, ...]:
    """The bands of these names, in that order; all 15 for None.

    A name may go without its modality (`B8A`, `VV`) or with a leading zero (`B02`); `S1` and `S2`
    stand for all bands of one.

    Raises:
        ConfigError: an unknown name, none at all, or a band twice.
    """
    known = {name.lower(): [name] for name in ALL_BANDS}
    known |= {name[3:].lower(): [name] for name in ALL_BANDS}
    known |= {f"b{name[4:]:0>2}".lower(): [name] for name in ALL_BANDS if name[:4] == "S2_B"}
    known |= {m: [n for n in ALL_BANDS if n.startswith(m.upper())] for m in ("s1", "s2")}
    asked = list(ALL_BANDS) if wanted is None else list(wanted)
    unknown = [name for name in asked if name.lower() not in known]
    chosen = [name for word in asked for name in known.get(word.lower(), [])]
    if unknown or not chosen or len(set(chosen)) < len(chosen):
        raise ConfigError(
            f"bands {asked}: " + (f"there is no {unknown}" if unknown else "none, or one twice"),
            remedy=f"choose among {', '.join(ALL_BANDS)}, or S1 or S2 for all of one",
        )
    return tuple(ALL_BANDS[name] for name in chosen)


@dataclass(frozen=True, slots=True)
class Patch:
    """The files of a patch and the windows to cut from it. A part of the work.

    Attributes:
        s2, s1, label: paths.
        windows: (col_off, row_off, width, height) each.
        region, season, split: of its tiles.
    """

    s2: str
    s1: str
    label: str
    windows: Windows
    region: str
    season: str
    split: Split

    @property
    def files(self) -> tuple[Path, ...]:
        """All three."""
        return Path(self.s2), Path(self.s1), Path(self.label)

    @property
    def share(self) -> float:
        """All of them."""
        return 1.0

    @property
    def tiles(self) -> int:
        """One of each window."""
        return len(self.windows)

    @property
    def source(self) -> str:
        """The s2 file as the data set's own layout names it."""
        return "/".join(Path(self.s2).parts[-3:])


@dataclass(frozen=True)
class Shape:
    """What the header of an s2 file says.

    Attributes:
        height, width: in pixels; `gsd` in metres.
        dtype: of the stored values.
        bounds: west, south, east, north in `crs`; both None without a georeference.
    """

    height: int
    width: int
    gsd: float
    dtype: np.dtype[Any]
    crs: str | None
    bounds: tuple[float, float, float, float] | None


def system_of(dataset: rasterio.DatasetReader) -> str | None:
    """The coordinate reference system; None also beside the transform of a file that has none."""
    if dataset.crs is None or tuple(dataset.transform)[:6] in ((1, 0, 0, 0, 1, 0),):
        return None
    return str(dataset.crs.to_string())


def check_count(dataset: rasterio.DatasetReader, kind: str) -> None:
    """Refuse a file with more or fewer bands than its kind has."""
    expected = FILES[kind]
    if dataset.count != len(expected):
        raise MissingBands(
            f"has {dataset.count} bands; a SEN12MS {kind} file has {len(expected)}: "
            f"{', '.join(expected)}",
            remedy="take the file from the data set's archive again",
            path=dataset.name,
        )


def read_shape(path: Path, kind: str) -> Shape:
    """Read a header.

    Raises:
        SourceNotFound, UnreadableFile: it is not there, or no raster.
        MissingBands: it has more or fewer bands than its kind.
    """
    with open_raster(path) as dataset:
        check_count(dataset, kind)
        crs = system_of(dataset)
        return Shape(
            dataset.height,
            dataset.width,
            abs(dataset.transform.a),
            np.result_type(*dataset.dtypes),
            crs,
            None if crs is None else tuple(dataset.bounds),
        )


def first_shapes(patches: Iterable[Mapping[str, Path]]) -> dict[str, Shape]:
    """The headers of the first patch that can be read, by kind of file.

    Raises:
        UnreadableFile: none can be read; said of the first.
    """
    first: UnreadableFile | None = None
    for files in patches:
        try:
            return {kind: read_shape(path, kind) for kind, path in files.items()}
        except UnreadableFile as error:
            first = first or error
    assert first is not None
    raise first


def dtype_of(bands: Sequence[Band], shapes: Mapping[str, Shape]) -> str:
    """Of a task set: what holds the stored values of all its bands, in 4 bytes at most."""
    dtype = np.result_type(*(shapes[m].dtype for m in sorted({b.name[:2].lower() for b in bands})))
    return "float32" if dtype.kind == "f" else str(dtype)


def plan_windows(
    units: Sequence[tuple[str, str]], windows: Windows, limit: int | None, seed: int
) -> list[Windows]:
    """Which windows to cut from each patch: all, or as many as `limit` allows the patches' task."""
    if limit is None:
        return [windows] * len(units)
    by_unit: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, unit in enumerate(units):
        by_unit[unit].append(i)
    plan: list[Windows] = [()] * len(units)
    for unit, places in by_unit.items():
        # Seeded by the unit too, so that its draw does not depend on what others exist.
        rng = np.random.default_rng((seed, *"/".join(unit).encode()))
        count = len(places) * len(windows)
        for draw in np.sort(rng.permutation(count)[:limit]).tolist():
            plan[places[draw // len(windows)]] += (windows[draw % len(windows)],)
    return plan
