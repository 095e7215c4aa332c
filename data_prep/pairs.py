"""Which image goes with which label, and which region it belongs to: by templates of paths.

A template is a path relative to the source's folder with placeholders in braces, such as
``{region}/images/{name}.jpg``. A placeholder stands for a piece of one folder or file name.
"""

from __future__ import annotations

import csv
import glob
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from landmeta.errors import ConfigError, SourceNotFound

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Pair:
    """An image, its label file, and the region (and season) it belongs to."""

    image: Path
    label: Path
    region: str
    season: str


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


def read_regions(table: Path) -> dict[str, str]:
    """Region of each image from a CSV table with the columns `path` and `region`.

    Raises:
        ConfigError: no such file, not UTF-8, a column is missing or a field empty.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(
            f"cannot be read: {error}", remedy="give a CSV file in UTF-8", path=table
        ) from error
    regions = {}
    for number, row in enumerate(rows, start=2):
        if not row.get("path") or not row.get("region"):
            raise ConfigError(
                f"line {number} has no path or no region; columns: {', '.join(map(str, row))}",
                remedy="give the table the columns 'path' (relative to the source) and 'region'",
                path=table,
            )
        regions[PurePosixPath(row["path"]).as_posix()] = row["region"]
    return regions


def find_pairs(
    root: Path, images: str, labels: str, table: Path | None = None
) -> tuple[list[Pair], list[str]]:
    """Pair all images below `root` with their labels, in the order of region and path.

    Args:
        root: the source's folder.
        images: template of the images' paths. `{region}` gives the region, unless `table` does;
            `{season}`, if used, the season; any other names are free.
        labels: template of the labels' paths, filled with what the image's placeholders stand for.
            Files that are labels of other images are never images, even if `images` fits them.
        table: CSV with the columns `path` (relative to `root`) and `region`; images that it does
            not list are left out.

    Returns:
        The pairs, and notes on what was left out.

    Raises:
        ConfigError: a template or table is not understood.
        SourceNotFound: no such folder, no image, an image of the table or a label is missing.
    """
    free = _check_template(images)
    unfilled = sorted(set(_check_template(labels)) - set(free))
    if unfilled:
        raise ConfigError(
            f"the template of labels {labels!r} uses {{{unfilled[0]}}}, which that of images "
            f"{images!r} does not have",
            remedy="use the same placeholders in both",
        )
    if table is None and "region" not in free:
        raise ConfigError(
            f"the template {images!r} says nothing of regions",
            remedy="put {region} where the region's name stands in the path, or give a table "
            "with the columns 'path' and 'region'",
        )
    if not root.is_dir():
        raise SourceNotFound("is no folder", remedy="name the folder of the images", path=root)
    regions = None if table is None else read_regions(table)
    found = _match(root, images, labels, regions)
    if regions is not None and (absent := sorted(set(regions) - {f.as_posix() for f, _ in found})):
        raise SourceNotFound(
            f"the table {table} lists {absent[0]!r}, which is not there or does not fit {images!r}"
            + (f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""),
            remedy="correct the table or the template; paths are relative to the source's folder",
            path=root,
        )
    label_files = {pair.label for _, pair in found}
    kept = [pair for _, pair in found if pair.image not in label_files and pair.region]
    notes = []
    if left := sum(1 for _, pair in found if not pair.region and pair.image not in label_files):
        notes.append(f"{left} images are not in the table and were left out")
    if not kept:
        raise SourceNotFound(
            f"holds no image that fits {images!r}",
            remedy="check the folder and the template of the images",
            path=root,
        )
    for pair in kept:
        if not pair.label.is_file():
            raise SourceNotFound(
                f"its label {pair.label.relative_to(root)} is not there",
                remedy=f"add the label, remove the image, or correct the template {labels!r}",
                path=pair.image,
            )
    return sorted(kept, key=lambda p: (p.region, p.season, p.image)), notes


def _match(
    root: Path, images: str, labels: str, regions: dict[str, str] | None
) -> list[tuple[PurePosixPath, Pair]]:
    """All files that fit `images`, with a region of "" where the table has none."""
    pattern = _regex(images)
    found = []
    for path in root.glob(_glob(images)):
        inside = PurePosixPath(path.relative_to(root).as_posix())
        match = pattern.fullmatch(inside.as_posix())
        if match is None or not path.is_file():
            continue
        values = match.groupdict()
        region = values["region"] if regions is None else regions.get(inside.as_posix(), "")
        label = root / _fill(labels, values)
        found.append((inside, Pair(path, label, region, values.get("season", ""))))
    return found
