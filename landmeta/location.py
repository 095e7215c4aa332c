"""Where an image or label file lies: on this machine, in an archive or on a server.

A `Location` is a path, or a text that GDAL's virtual file systems understand: `https://…`,
`s3://…`, `/vsicurl/…`, `/vsizip/archive.zip/image.tif` and so on.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeAlias

Location: TypeAlias = str | Path

_SCHEME = re.compile(r"(https?|ftp|s3|gs|az|zip|tar|gzip|file)(\+\w+)*://")


def is_virtual(location: Location) -> bool:
    """True if GDAL, not the operating system, has to find it.

    Only addresses and `/vsi…` paths count: GDAL would also take connection strings, inline XML and
    the like, which no name of a file may turn into.
    """
    text = str(location)
    return text.startswith("/vsi") or _SCHEME.match(text) is not None


def located(text: str, folder: Path) -> Location:
    """What `text` names: a virtual file as it is, otherwise a path relative to `folder`."""
    return text if is_virtual(text) else folder / text


def name_of(location: Location) -> str:
    """The last part of a location, without what follows `?` or `#` in an address."""
    text = re.split(r"[?#]", str(location))[0] if is_virtual(location) else str(location)
    return text.rstrip("/").rsplit("/", 1)[-1]
