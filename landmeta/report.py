"""One self-contained HTML page of a comparison: findings, tables, pictures."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

import landmeta
from landmeta.atomic import write_text
from landmeta.compare import Comparison
from landmeta.stats import measure_name


@dataclass(frozen=True)
class Picture:
    """A PNG with the sentence under it."""

    path: Path
    caption: str

    @property
    def data(self) -> str:
        """The file as a data address, so that the page needs nothing beside it."""
        return "data:image/png;base64," + base64.b64encode(self.path.read_bytes()).decode()


@dataclass(frozen=True)
class Table:
    """A table of text: column heads and rows."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


def score_table(summary: pd.DataFrame, measure: str) -> Table:
    """Rows of methods, columns of shots, cells "mean (low-high)"."""
    part = summary[summary["measure"] == measure]
    shots = sorted(part["shots"].unique())
    cells = part.set_index(["method", "shots"])
    rows = []
    for method in part["method"].unique():
        values = [cells.loc[(method, s)] for s in shots]
        rows.append([str(method), *(_cell(v["mean"], v["low"], v["high"]) for v in values)])
    title = f"{measure_name(measure)}, mean over regions (95 % interval)"
    return Table(title, ["method", *(f"{s} shots" for s in shots)], rows)


def _cell(mean: float, low: float, high: float) -> str:
    return f"{mean:.3f}" + (f" ({low:.3f}-{high:.3f})" if np.isfinite(low) else "")


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
    environment = Environment(
        loader=PackageLoader("landmeta"), autoescape=True, undefined=StrictUndefined
    )
    regions = sorted((comparison.folder / "regions").glob("*.png"))
    page = environment.get_template("report.html").render(
        title=title,
        facts=facts,
        lead=lead,
        sentences=comparison.sentences,
        tables=[score_table(comparison.summary, m) for m in ("miou", "accuracy", "macro_f1")],
        scores=Picture(comparison.folder / "scores.png", "Score against labelled tiles."),
        regions=[Picture(p, p.stem.replace("_", " ")) for p in regions],
        version=landmeta.__version__,
    )
    write_text(path, page, overwrite=overwrite)
