"""A table of text, for the screen and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


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


NOTHING = "–"
"""A cell without a value."""
