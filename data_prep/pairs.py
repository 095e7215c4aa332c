"""Which image goes with which label, and which region it belongs to: by templates of paths.

A template is a path relative to the source's folder with placeholders in braces, such as
``{region}/images/{name}.jpg``. A placeholder stands for a piece of one folder or file name. Files
that differ only in what `{band}` stands for are one image. A table may say all this instead.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from data_prep.listing import Row, read_table
from landmeta.errors import ConfigError, SourceNotFound
from landmeta.location import Location, is_virtual, located

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


BAND = "band"
"""The placeholder that tells the files of one image apart."""


@dataclass(frozen=True)
class Pair:
    """An image, its label file, and the region (and season) it belongs to.

    Attributes:
        image: the file; of an image of several files their common template, `{band}` and all.
        label: the file.
        region, season: or "".
        bands: of an image of several files, what `{band}` stands for and the file, in order.
    """

    image: Location
    label: Location
    region: str
    season: str
    bands: tuple[tuple[str, Path], ...] = ()


def name_in(root: Path, image: Location) -> str:
    """What an image is called: its path in the source's folder, or else its whole address."""
    if not is_virtual(image) and Path(image).is_relative_to(root):
        return Path(image).relative_to(root).as_posix()
    return str(image)


def _check_template(template: str) -> list[str]:
    """The names of a template's placeholders."""
    names = _PLACEHOLDER.findall(template)
    literal = _PLACEHOLDER.sub("", template)
    parts = PurePosixPath(template)
    wrong = [n for n in names if not n.isidentifier()]
    if wrong or set("{}*?") & set(literal) or parts.is_absolute() or ".." in parts.parts:
        raise ConfigError(
            f"{template!r} is no path template",
            remedy="write a path inside the source's folder with placeholders, for instance "
            "{region}/images/{name}.jpg",
        )
    return names


def _regex(template: str) -> re.Pattern[str]:
    """Earlier placeholders take as much as they can; a repeated one must match the same text."""
    seen: set[str] = set()
    pattern = ""
    for i, piece in enumerate(_PLACEHOLDER.split(template)):
        if i % 2 == 0:
            pattern += re.escape(piece)
        elif piece in seen:
            pattern += f"(?P={piece})"
        else:
            seen.add(piece)
            pattern += f"(?P<{piece}>[^/]+)"
    return re.compile(pattern)


def _glob(template: str) -> str:
    pieces = _PLACEHOLDER.split(template)
    return "".join("*" if i % 2 else glob.escape(piece) for i, piece in enumerate(pieces))


def _fill(template: str, values: dict[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


def find_pairs(
    root: Path,
    images: str | None,
    labels: str | None,
    table: Path | None = None,
    *,
    regions: bool = True,
) -> tuple[list[Pair], list[str]]:
    """Pair all images with their labels, in the order of region and path.

    Args:
        root: the source's folder.
        images: template of the images' paths. `{region}` gives the region, unless `table` does;
            `{season}`, if used, the season; any other names are free. Without it, the table names
            the images.
        labels: template of the labels' paths, filled with what the image's placeholders stand for;
            without placeholders it is one file, inside or outside of `root`, for all images. Files
            that are labels of other images are never images, even if `images` fits them. Without
            it, the table names the labels.
        table: CSV, see `data_prep.listing.read_table`; images that it does not list are left out.
        regions: refuse images of which nobody says the region.

    Returns:
        The pairs, and notes on what was left out.

    Raises:
        ConfigError: a template or table is not understood, or nobody says where labels or regions
            are.
        SourceNotFound: no such folder, no image, an image of the table or a label is missing.
    """
    if not root.is_dir():
        raise SourceNotFound("is no folder", remedy="name the folder of the images", path=root)
    rows = None if table is None else read_table(table)
    free = _placeholders(images, labels, rows, regions)
    notes = []
    if images is None:
        found = [_listed(root, path, row, labels) for path, row in (rows or {}).items()]
    else:
        found, left = _match(root, images, labels, rows)
        label_files = {pair.label for pair in found if pair.label != pair.image}
        found = [pair for pair in found if pair.image not in label_files]
        if left:
            notes.append(f"{left} images are not in the table and were left out")
        _check_all_found(root, images, found, rows, table)
        if BAND in free:
            found = _stacked(root, images, found)
    _check_there(found, labels)
    return sorted(found, key=lambda p: (p.region, p.season, str(p.image))), notes


def _placeholders(
    images: str | None, labels: str | None, rows: dict[str, Row] | None, regions: bool
) -> list[str]:
    """The placeholders of `images`, checked against all that is known."""
    free = [] if images is None else _check_template(images)
    if images is None and rows is None:
        raise ConfigError(
            "nothing says which files are images",
            remedy="give a template of the images' paths, or a table with the column 'path'",
        )
    if labels is None and not (rows and all(row.label for row in rows.values())):
        raise ConfigError(
            "nothing says which files are labels",
            remedy="give a template of the labels' paths, or a table with the column 'label'",
        )
    asked = [] if labels is None or "{" not in labels else _check_template(labels)
    if BAND in asked or (unfilled := sorted(set(asked) - set(free))):
        name = BAND if BAND in asked else unfilled[0]
        raise ConfigError(
            f"the template of labels {labels!r} uses {{{name}}}, "
            + ("which tells the bands of one image apart" if name == BAND else "which that of ")
            + ("" if name == BAND else f"images {images!r} does not have"),
            remedy="use the same placeholders in both: each image has one label file",
        )
    known = "region" in free or (rows is not None and all(row.region for row in rows.values()))
    if regions and not known:
        raise ConfigError(
            f"the template {images!r} says nothing of regions"
            if rows is None
            else "the table names an image without a region",
            remedy="put {region} where the region's name stands in the path, or give a table "
            "with the columns 'path' and 'region'",
        )
    return free


def _listed(root: Path, path: str, row: Row, labels: str | None) -> Pair:
    label = row.label or labels or ""
    return Pair(located(path, root), located(label, root), row.region, row.season)


def _match(
    root: Path, images: str, labels: str | None, rows: dict[str, Row] | None
) -> tuple[list[Pair], int]:
    """All files that fit `images`, and how many more do but are not in the table."""
    pattern = _regex(images)
    found = []
    left = set()
    for path in sorted(root.glob(_glob(images))):
        inside = PurePosixPath(path.relative_to(root).as_posix())
        match = pattern.fullmatch(inside.as_posix())
        if match is None or not path.is_file():
            continue
        values = match.groupdict()
        row = Row()
        if rows is not None:
            listed = _fill(images, values | {BAND: f"{{{BAND}}}"})
            if listed not in rows:
                left.add(listed)
                continue
            row = rows[listed]
        label = row.label or _fill(labels or "", values)
        region = row.region or values.get("region", "")
        season = row.season or values.get("season", "")
        bands = ((values[BAND], path),) if BAND in values else ()
        found.append(Pair(path, located(label, root), region, season, bands))
    return found, len(left)


def _check_all_found(
    root: Path,
    images: str,
    found: Sequence[Pair],
    rows: dict[str, Row] | None,
    table: Path | None,
) -> None:
    there = {_fill_band(root, images, pair) for pair in found}
    if absent := sorted(set(rows or {}) - there):
        raise SourceNotFound(
            f"the table {table} lists {absent[0]!r}, which is not there or does not fit {images!r}"
            + (f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""),
            remedy="correct the table or the template; paths are relative to the source's folder",
            path=root,
        )
    if not found:
        raise SourceNotFound(
            f"holds no image that fits {images!r}",
            remedy="check the folder and the template of the images",
            path=root,
        )


def _fill_band(root: Path, images: str, pair: Pair) -> str:
    """The path of a pair's image in the source, `{band}` where the band's name stands."""
    inside = Path(pair.image).relative_to(root).as_posix()
    match = _regex(images).fullmatch(inside)
    return _fill(images, (match.groupdict() if match else {}) | {BAND: f"{{{BAND}}}"})


def _stacked(root: Path, images: str, found: Sequence[Pair]) -> list[Pair]:
    """Files that differ only in their band made one image."""
    stacks: dict[str, Pair] = {}
    for pair in found:
        name = _fill_band(root, images, pair)
        before = stacks[name].bands if name in stacks else ()
        stacks[name] = replace(pair, image=root / name, bands=before + pair.bands)
    return list(stacks.values())


def _check_there(found: Sequence[Pair], labels: str | None) -> None:
    for pair in found:
        files: list[Location] = [file for _, file in pair.bands] or [pair.image]
        for file in files:
            if not is_virtual(file) and not Path(file).is_file():
                raise SourceNotFound(
                    "is not there",
                    remedy="correct the table; paths are relative to the source's folder",
                    path=file,
                )
        if not is_virtual(pair.label) and not Path(pair.label).exists():
            raise SourceNotFound(
                f"its label {pair.label} is not there",
                remedy="add the label, remove the image, or correct "
                + (f"the template {labels!r}" if labels else "the table"),
                path=pair.image,
            )
