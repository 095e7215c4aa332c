"""Tables of scores, compared with the numbers they show."""

import numpy as np
import pandas as pd

from landmeta.tables import (
    Table,
    bootstrap_table,
    cost_table,
    curve_table,
    difference_table,
    region_table,
    score_table,
    training_table,
    way_table,
)


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


def test_what_is_not_known_is_a_dash():
    rows = [("a", 0, "miou", np.nan, np.nan, np.nan, 0)]
    columns = ["method", "shots", "measure", "mean", "low", "high", "regions"]
    assert score_table(pd.DataFrame(rows, columns=columns), "miou").rows == [["a", "–"]]


def test_differences_show_interval_and_adjusted_p():
    columns = ["method", "shots", "measure", "mean", "low", "high", "p_holm"]
    rows = [
        ("a", 1, "miou", 0.05, 0.01, 0.09, 0.0001),
        ("a", 0, "miou", -0.05, -0.1, 0.0, 0.25),
        ("b", 0, "miou", np.nan, np.nan, np.nan, np.nan),
        ("b", 1, "miou", 0.5, np.nan, np.nan, np.nan),
    ]
    table = difference_table(pd.DataFrame(rows, columns=columns), "pretrain")
    resampled = pd.DataFrame(rows, columns=columns).assign(
        boot_low=[-0.0001, -0.09, np.nan, np.nan], boot_high=[0.08, -0.01, np.nan, np.nan]
    )
    assert bootstrap_table(resampled).rows == [
        ["a", "[-0.090, -0.010]", "[+0.000, +0.080]"],  # no minus before zero
        ["b", "–", "–"],
    ]
    assert list(table.heads) == ["method", "0 shots", "1 shot"]
    assert table.rows == [
        ["a", "-0.050 [-0.100, +0.000] 0.250", "+0.050 [+0.010, +0.090] < 0.001"],
        ["b", "–", "+0.500"],
    ]


def test_regions_costs_and_curves_are_told():
    rows = [
        {"method": m, "shots": 5, "task": t, "draw": d, "miou": 0.1 * d + more}
        | {"adapt_seconds": 1.5 + d, "predict_seconds": 0.002, "adapted_parameters": 1234}
        for m, more in (("a", 0.2), ("b", 0.4))
        for t in ("x", "y")
        for d in (0, 1)
    ]
    results = pd.DataFrame(rows)
    table = region_table(results, 5)
    assert (list(table.heads), table.rows[1]) == (["method", "x", "y"], ["b", "0.450", "0.450"])
    assert cost_table(results, 5).rows[0] == ["a", "2.000", "2.00", "1,234"]
    curve = pd.DataFrame(
        [("a", 0, "miou", 0.2, 0.1, 0.3), ("a", 10, "miou", 0.4, 0.3, 0.5)],
        columns=["method", "step", "measure", "mean", "low", "high"],
    )
    table = curve_table(curve, 1)
    assert list(table.heads) == ["method", "0 steps", "10 steps"]
    assert table.rows == [["a", "0.200 (0.100-0.300)", "0.400 (0.300-0.500)"]]
    costs = {"a": {"steps": 10, "images": 160, "passes": 1234567, "seconds": 8.4}, "forest": None}
    assert training_table(costs).rows == [
        ["a", "10", "160", "1,234,567", "8"],
        ["forest", "–", "–", "–", "–"],
    ]
    assert way_table({"a": {0: "no step", 5: "more"}}, [0, 5]).rows == [["a", "no step", "more"]]
