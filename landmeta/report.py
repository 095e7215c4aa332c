"""One self-contained HTML page of a comparison: findings, tables, pictures."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from landmeta import pages
from landmeta.atomic import write_text

if TYPE_CHECKING:
    from landmeta.findings import Comparison


@dataclass(frozen=True)
class Picture:
    """A PNG with the sentence under it."""

    path: Path
    caption: str

    @property
    def data(self) -> str:
        """The file as a data address, so that the page needs nothing beside it."""
        return "data:image/png;base64," + base64.b64encode(self.path.read_bytes()).decode()


def write_report(
    path: Path,
    comparison: Comparison,
    *,
    title: str,
    facts: Mapping[str, str],
    lead: Sequence[Picture] = (),
    overwrite: bool = False,
) -> None:
    """Write the page.

    Args:
        path: HTML file to write.
        comparison: what was found.
        title: heading of the page.
        facts: how it was made (data, machine, times), shown as a list.
        lead: pictures before the comparison, such as the map that was made.
        overwrite: replace `path`.
    """
    regions = sorted((comparison.folder / "regions").glob("*.png"))
    page = pages.render(
        "report.html",
        title=title,
        facts=facts,
        lead=lead,
        parts=[
            (part, [Picture(comparison.folder / n, c) for n, c in part.charts.items()])
            for part in comparison.parts()
        ],
        regions=[Picture(p, p.stem.replace("_", " ")) for p in regions],
    )
    write_text(path, page, overwrite=overwrite)
