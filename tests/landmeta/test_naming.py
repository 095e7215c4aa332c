"""Names in attribute tables."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landmeta.classnames import find_class, plain
from landmeta.errors import ConfigError, UnknownClass
from landmeta.legend import IGBP_SIMPLIFIED, Legend
from landmeta.naming import legend_of, match_classes
from tests.rasters import THREE

NAMES = st.text(min_size=1, max_size=8).filter(lambda t: t.strip() != "")


def test_ids_are_those_of_label_files():
    # 17 is water in IGBP and 10 in the simplified legend; the remap says what label files hold.
    assert match_classes([17, 17.0, "17", "water"], IGBP_SIMPLIFIED, "x").tolist() == [9] * 4


def test_nothing_and_ignored_are_no_class():
    values = [None, float("nan"), "", "  ", np.nan, 0, "255"]
    assert match_classes(values, IGBP_SIMPLIFIED, "x").tolist() == [255] * len(values)


def test_many_unknown_names_are_counted():
    with pytest.raises(UnknownClass, match="and 4 more"):
        match_classes([f"strange {i}" for i in range(12)], IGBP_SIMPLIFIED, "x")


@settings(max_examples=60, deadline=None)
@given(names=st.lists(NAMES, min_size=1, max_size=40))
def test_a_legend_of_names_matches_them_all(names):
    legend = legend_of(names)
    found = match_classes(names, legend, "x")
    assert (found < len(legend)).all()
    for value, index in zip(names, found, strict=True):
        same = [plain(value) == plain(other) for other in names]
        assert [i == index for i in found] == same
    assert len({c.color for c in legend.classes}) == len(legend)
    assert legend_of(list(reversed(names))).ids == legend.ids


def test_numbers_stay_ids():
    legend = legend_of([3, 1, 3.0, 40, None])
    assert dict(zip(legend.names, legend.ids, strict=True)) == {
        "1": 1, "3": 3, "40": 40,
    }  # fmt: skip
    assert match_classes([3, 1, 40], legend, "x").tolist() == [
        legend.ids.index(3), legend.ids.index(1), legend.ids.index(40),
    ]  # fmt: skip


def test_colours_are_those_people_expect():
    legend = legend_of(["Water", "paddy rice", "oil palm plantation", "river", "police"])
    colours = dict(zip(legend.names, [c.color for c in legend.classes], strict=True))
    assert {colours["Water"], colours["river"]} == {"#1c0dff", "#0000ff"}
    assert colours["oil palm plantation"] == "#009900"
    assert "#69fff8" not in (colours["paddy rice"], colours["police"])  # no ice


def test_a_full_legend_and_one_too_many():
    assert len(legend_of([f"n{i}" for i in range(254)])) == 254
    with pytest.raises(ConfigError, match="255 different"):
        legend_of([f"n{i}" for i in range(255)])


def test_known_classes_keep_id_and_colour():
    known = Legend.model_validate(
        {"classes": [{"id": 2, "name": "Corn field", "color": "#123456"}]}
    )
    legend = legend_of(["a", "corn  FIELD", "b"], known)
    assert legend.classes[legend.names.index("Corn field")] == known.classes[0]
    assert sorted(legend.ids) == [1, 2, 3]


@pytest.mark.parametrize(
    ("value", "found"), [(1, 0), ("1", 0), (1.0, 0), (-1, None), ("-1", None), ("1.5", None)]
)
def test_a_negative_id_is_no_other_id(value, found):
    assert find_class(value, THREE) == found
