"""Tables of scores for people: rows of methods, columns of shots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from landmeta.stats import measure_name


@dataclass(frozen=True)
class Table:
    """A table of text: title, column heads and rows."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """The table in Markdown, columns aligned so that it reads well as plain text too."""
        lines = [self.heads, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.heads))]
        texts = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
        texts.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
        return "\n".join([f"{self.title}:", "", *texts])


def score_table(summary: pd.DataFrame, measure: str) -> Table:
    """Cells are "mean (low-high)", or the mean alone where there is no interval.

    Args:
        summary: as `landmeta.stats.summarise` returns it.
        measure: one of `landmeta.stats.MEASURES`.
    """
    part = summary[summary["measure"] == measure]
    shots = sorted(part["shots"].unique())
    cells = part.set_index(["method", "shots"])
    rows = []
    for method in part["method"].unique():
        values = [cells.loc[(method, s)] for s in shots]
        rows.append([str(method), *(_cell(v["mean"], v["low"], v["high"]) for v in values)])
    title = f"{measure_name(measure)}, mean over regions (95 % interval)"
    return Table(title, ["method", *(f"{s} shot{'' if s == 1 else 's'}" for s in shots)], rows)


def _cell(mean: float, low: float, high: float) -> str:
    return f"{mean:.3f}" + (f" ({low:.3f}-{high:.3f})" if np.isfinite(low) else "")
