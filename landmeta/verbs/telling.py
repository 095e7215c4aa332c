"""Printing for people."""

from __future__ import annotations

from collections.abc import Sequence


def tell(text: str) -> None:
    """Print a line as it is: values of the user may look like markup, and paths stay whole."""
    from rich.console import Console

    Console(markup=False, highlight=False, soft_wrap=True).print(text)


def tell_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, its first column to the left and the others to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), box=SIMPLE_HEAD, title_justify="left", title_style="bold")
    for number, head in enumerate(heads):
        table.add_column(Text(head), justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(highlight=False).print(table)
