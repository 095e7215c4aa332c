"""Tables of scores, compared with the numbers they show."""

import numpy as np
import pandas as pd

from landmeta.tables import Table, score_table


def test_markdown_holds_every_cell_in_its_column():
    table = Table("Scores", ["method", "1 shot"], [["maml", "0.5"], ["pretrain", "0.25"]])
    lines = table.markdown().splitlines()
    assert lines[:2] == ["Scores:", ""]
    assert len({len(line) for line in lines[2:]}) == 1  # columns stand under each other
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines[2:]]
    assert cells[0] == table.heads
    assert cells[2:] == table.rows


def test_cells_are_means_with_intervals_where_there_are_any():
    rows = [
        ("a", 5, "miou", 0.5, 0.4, 0.6, 3),
        ("a", 1, "miou", 0.25, np.nan, np.nan, 1),
        ("b", 1, "miou", 0.125, 0.1, 0.15, 3),
        ("b", 5, "miou", 1.0, 0.9, 1.1, 3),
        ("b", 5, "accuracy", 0.7, 0.6, 0.8, 3),
    ]
    columns = ["method", "shots", "measure", "mean", "low", "high", "regions"]
    table = score_table(pd.DataFrame(rows, columns=columns), "miou")
    assert list(table.heads) == ["method", "1 shot", "5 shots"]
    assert table.rows == [
        ["a", "0.250", "0.500 (0.400-0.600)"],
        ["b", "0.125 (0.100-0.150)", "1.000 (0.900-1.100)"],
    ]
