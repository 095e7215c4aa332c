"""A table of images: a CSV file that says what templates of paths cannot."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from landmeta.errors import ConfigError
from landmeta.location import is_virtual

COLUMNS = ("path", "region", "season", "label")


@dataclass(frozen=True)
class Row:
    """What a table says of one image; "" where it says nothing."""

    region: str = ""
    season: str = ""
    label: str = ""


def read_table(table: Path) -> dict[str, Row]:
    """Read a CSV table in UTF-8: column `path` and, if need be, `region`, `season`, `label`.

    Paths are relative to the source's folder, or absolute, or what GDAL opens: `https://…`,
    `/vsizip/archive.zip/image.tif` and so on. Other columns are not looked at.

    Returns:
        By path, in the order of the table.

    Raises:
        ConfigError: no such file, not UTF-8, no column `path`, a field of a known column is empty,
            or an image is listed twice.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            lines = list(reader)
            columns = [name for name in COLUMNS if name in (reader.fieldnames or ())]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(
            f"cannot be read: {error}", remedy="give a CSV file in UTF-8", path=table
        ) from error
    rows: dict[str, Row] = {}
    for number, line in enumerate(lines, start=2):
        values = {name: (line.get(name) or "").strip() for name in columns}
        if "path" not in values or not all(values.values()):
            absent = " or ".join(f"no {name}" for name in columns if not values[name])
            raise ConfigError(
                f"line {number} has {absent or 'no path'}; columns: {', '.join(map(str, line))}",
                remedy="give the table the columns 'path' (relative to the source), 'region' and, "
                "if need be, 'season' and 'label', and fill them in every line",
                path=table,
            )
        path = values.pop("path")
        path = path if is_virtual(path) else PurePosixPath(path).as_posix()
        row = Row(**values)
        if path in rows:
            several = rows[path].label != row.label
            raise ConfigError(
                f"line {number} lists {path!r} again"
                + (f", with another label: {row.label}, not {rows[path].label}" if several else ""),
                remedy="an image has one label file: make one of several first, or take a line out",
                path=table,
            )
        rows[path] = row
    return rows
