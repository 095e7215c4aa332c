import json

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from landmeta.errors import ConfigError, UnknownClass
from landmeta.legend import (
    DEEPGLOBE,
    IGBP_SIMPLIFIED,
    IGNORE,
    KNOWN_LEGENDS,
    LandClass,
    Legend,
    find_legend,
    read_legend,
)

TWO = Legend(
    classes=(
        LandClass(id=7, name="Forest", color="#00AA00"),
        LandClass(id=3, name="Water", color="#0000ff"),
    )
)

legends = st.lists(st.integers(0, 254), min_size=1, max_size=12, unique=True).flatmap(
    lambda ids: st.builds(
        lambda colours: Legend(
            classes=tuple(
                LandClass(id=i, name=f"class {i}", color=f"#{c:06x}")
                for i, c in zip(ids, colours, strict=True)
            )
        ),
        st.lists(st.integers(0, 0xFFFFFF), min_size=len(ids), max_size=len(ids), unique=True),
    )
)


def write(path, content):
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return path


# --- ids, indices and colours ----------------------------------------------------------------


@given(legends, st.integers(0, 2**32 - 1))
def test_ids_and_colours_lead_to_the_same_indices_and_back(legend, seed):
    rng = np.random.default_rng(seed)
    index = rng.integers(0, len(legend), (5, 6)).astype(np.uint8)
    index[rng.random((5, 6)) < 0.2] = IGNORE
    ids = legend.to_ids(index)
    for i, land_class in enumerate(legend.classes):  # one by one, without tables
        assert (ids[index == i] == land_class.id).all()
    assert (ids[index == IGNORE] == IGNORE).all()
    np.testing.assert_array_equal(legend.from_ids(ids), index)
    colours = np.moveaxis(legend.palette()[index], -1, 0)
    known = index != IGNORE
    np.testing.assert_array_equal(legend.from_colors(colours[:, None, known])[0], index[known])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32])
def test_ids_of_any_number_type(dtype):
    index = TWO.from_ids(np.array([[7, 3], [255, 7]], dtype))
    assert index.dtype == np.uint8
    np.testing.assert_array_equal(index, [[0, 1], [IGNORE, 0]])


def test_nodata_is_ignored():
    np.testing.assert_array_equal(TWO.from_ids(np.array([[7, 0]]), nodata=0), [[0, IGNORE]])
    labels = np.array([[7, np.nan]], np.float32)
    np.testing.assert_array_equal(TWO.from_ids(labels, nodata=np.nan), [[0, IGNORE]])


def test_a_class_may_have_the_nodata_value():
    np.testing.assert_array_equal(TWO.from_ids(np.array([[7, 3]]), nodata=3), [[0, 1]])


def test_remap_merges_source_ids_and_hides_the_others():
    legend = TWO.model_copy(update={"remap": {"1": 7, "2": 7, "9": 3}, "ignore": ("0",)})
    np.testing.assert_array_equal(
        legend.from_ids(np.array([[1, 2], [9, 0]])), [[0, 0], [1, IGNORE]]
    )
    with pytest.raises(UnknownClass, match="class id 7;"):  # ids of the source, not of the map
        legend.from_ids(np.array([[7]]))


@pytest.mark.parametrize("value", [8, -1, 300, 3.5, np.nan, np.inf])
def test_unknown_ids_are_named_with_their_file(value):
    with pytest.raises(UnknownClass) as error:
        TWO.from_ids(np.array([[7, value]]), path="labels.tif")
    assert f"class id {value}" in str(error.value)
    assert "labels.tif" in str(error.value)
    assert "the legend knows 7, 3" in str(error.value)


def test_many_unknown_ids_are_counted():
    with pytest.raises(UnknownClass, match="0, 1, 2, 4, 5, 6, 8, 9 and 11 more"):
        TWO.from_ids(np.arange(21)[None])


def test_unknown_colours():
    mask = np.array([[[0, 0]], [[0, 0]], [[255, 254]]], np.uint8)
    with pytest.raises(UnknownClass, match="colour #0000fe; the legend knows") as error:
        TWO.from_colors(mask, path="mask.png")
    assert "mask.png" in str(error.value)


@given(st.integers(0, 0xFFFFFF))
def test_no_colour_slips_through(colour):
    mask = np.array([colour >> 16, colour >> 8 & 255, colour & 255], np.uint8).reshape(3, 1, 1)
    known = {0x00AA00: 0, 0x0000FF: 1}
    if colour in known:
        assert TWO.from_colors(mask).item() == known[colour]
    else:
        with pytest.raises(UnknownClass):
            TWO.from_colors(mask)


def test_colours_may_be_remapped_and_ignored():
    legend = TWO.model_copy(update={"remap": {"#ff0000": 3}, "ignore": ("#000000",)})
    mask = np.array([[[255, 0]], [[0, 0]], [[0, 0]]], np.uint8)
    np.testing.assert_array_equal(legend.from_colors(mask), [[1, IGNORE]])


def test_colour_table_and_palette():
    assert TWO.colormap == {7: (0, 170, 0, 255), 3: (0, 0, 255, 255), IGNORE: (0, 0, 0, 0)}
    palette = TWO.palette()
    assert palette.shape == (256, 3)
    assert palette[:3].tolist() == [[0, 170, 0], [0, 0, 255], [255, 255, 255]]


# --- reading and refusing --------------------------------------------------------------------

FOREST = {"id": 1, "name": "Forest", "color": "#009900"}
WATER = {"id": 2, "name": "Wässer", "color": "#0000FF"}


def test_read_yaml_and_json(tmp_path):
    content = {"classes": [FOREST, WATER], "remap": {11: 1, "#ABCDEF": 2}, "ignore": [0]}
    legend = read_legend(write(tmp_path / "a.yaml", content))
    assert legend.names == ("Forest", "Wässer")
    assert legend.remap == {"11": 1, "#abcdef": 2}
    assert legend.ignore == ("0",)
    assert legend.classes[1].color == "#0000ff"
    path = tmp_path / "a.json"
    path.write_text(legend.model_dump_json(), encoding="utf-8")
    assert read_legend(path) == legend
    assert Legend.model_validate(json.loads(path.read_text(encoding="utf-8"))) == legend


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"classes": []}, "at least one class"),
        ({"classes": [FOREST, FOREST | {"name": "B"}]}, "id used twice: 1"),
        ({"classes": [FOREST, FOREST | {"id": 2}]}, "name used twice: Forest"),
        ({"classes": [FOREST | {"id": 255}]}, "254"),
        ({"classes": [FOREST | {"color": "green"}]}, "'green' is not a colour"),
        ({"classes": [FOREST], "remap": {3: 9}}, r"no class: \[9\]"),
        ({"classes": [FOREST], "colour": 1}, "colour"),
        ("just text", "legend"),
        (None, "legend"),
    ],
)
def test_bad_legends_are_told(tmp_path, content, problem):
    path = write(tmp_path / "legend.yaml", content)
    with pytest.raises(ConfigError, match=problem) as error:
        read_legend(path)
    assert str(path) in str(error.value)
    assert "Remedy" in str(error.value)


@pytest.mark.parametrize("text", [b"classes: [", b"\xff\xfe\x00bad"])
def test_files_that_are_no_yaml(tmp_path, text):
    (tmp_path / "a.yaml").write_bytes(text)
    with pytest.raises(ConfigError, match="is not a legend"):
        read_legend(tmp_path / "a.yaml")


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.yaml"):
        read_legend(tmp_path / "no.yaml")


def test_legends_are_frozen():
    with pytest.raises(ValidationError):
        TWO.classes = ()


# --- the legends we know ---------------------------------------------------------------------


def test_igbp_simplified_is_the_published_table():
    # DFC2020 baseline and torchgeo, from IGBP 0 (unused) to 17.
    table = [0, 1, 1, 1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 6, 8, 9, 10]
    index = IGBP_SIMPLIFIED.from_ids(np.arange(18))
    assert index[0] == IGNORE
    np.testing.assert_array_equal(IGBP_SIMPLIFIED.to_ids(index[1:]), table[1:])
    colours = "009900 c6b044 fbff13 b6ff05 27ff87 c24f44 a5a5a5 69fff8 f9ffa4 1c0dff"
    assert " ".join(c.color[1:] for c in IGBP_SIMPLIFIED.classes) == colours


def test_deepglobe_colours():
    mask = np.array(
        [[0, 255, 255], [255, 255, 0], [255, 0, 255], [0, 255, 0], [0, 0, 255], [255] * 3, [0] * 3],
        np.uint8,
    )
    index = DEEPGLOBE.from_colors(mask.T[:, None])
    np.testing.assert_array_equal(index, [[0, 1, 2, 3, 4, 5, IGNORE]])
    assert DEEPGLOBE.names == ("Urban", "Agriculture", "Rangeland", "Forest", "Water", "Barren")


@pytest.mark.parametrize("name", KNOWN_LEGENDS)
def test_known_legends_survive_a_file(tmp_path, name):
    legend = find_legend(name)
    assert read_legend(write(tmp_path / "a.yaml", legend.model_dump(mode="json"))) == legend


def test_the_built_in_legends():
    assert set(KNOWN_LEGENDS) == {
        "igbp-simplified", "deepglobe", "igbp", "igbp-simplified-no-savanna",
        "lccs-lc", "lccs-lu", "lccs-hydro",
    }  # fmt: skip


# Values of LC_Prop1-3 as the Earth Engine catalogue lists them for MODIS/061/MCD12Q1.
LCCS = {
    "lccs-lc": [1, 2, 3, 11, 12, 13, 14, 15, 16, 21, 22, 31, 32, 41, 42, 43],
    "lccs-lu": [1, 2, 3, 9, 10, 20, 25, 30, 35, 36, 40],
    "lccs-hydro": [1, 2, 3, 10, 20, 27, 30, 40, 50, 51],
}


@pytest.mark.parametrize(("name", "codes"), LCCS.items())
def test_lccs_legends_have_the_codes_of_the_product(name, codes):
    legend = find_legend(name)
    assert list(legend.ids) == codes
    values = np.array([[0, *codes, 255]])
    index = legend.from_ids(values)
    np.testing.assert_array_equal(index, [[IGNORE, *range(len(codes)), IGNORE]])
    np.testing.assert_array_equal(legend.to_ids(index)[0, 1:-1], codes)
    for code in set(range(256)) - {0, 255, *codes}:
        with pytest.raises(UnknownClass, match=str(code)):
            legend.from_ids(np.array([[code]]))


def test_no_savanna_is_the_simplified_legend_without_its_third_class():
    every = np.arange(1, 18)[None]
    with_it, without = find_legend("igbp-simplified"), find_legend("igbp-simplified-no-savanna")
    expected = with_it.to_ids(with_it.from_ids(every))
    found = without.to_ids(without.from_ids(every))
    np.testing.assert_array_equal(found, np.where(expected == 3, IGNORE, expected))
    assert without == with_it.only([0, 1, *range(3, 10)]).model_copy(
        update={"ignore": without.ignore}
    )
    # As the DFC2020 baseline numbers its training labels: later classes move up by one.
    np.testing.assert_array_equal(
        without.from_ids(np.array([[1, 6, 10, 11, 12, 13, 15, 16, 17]])), [range(9)]
    )


def test_full_igbp_keeps_every_class():
    igbp = find_legend("igbp")
    np.testing.assert_array_equal(igbp.from_ids(np.arange(18)[None]), [[IGNORE, *range(17)]])
    assert igbp.names[11] == "Croplands"


# --- parts of a legend -----------------------------------------------------------------------


def test_some_classes_of_a_legend_keep_what_means_them():
    part = IGBP_SIMPLIFIED.only([9, 0])
    assert part.names == ("Water", "Forest")
    assert part.ids == (10, 1)
    assert part.ignore == IGBP_SIMPLIFIED.ignore
    source = np.array([[1, 5, 17, 0]])
    assert part.from_ids(source).tolist() == [[1, 1, 0, IGNORE]]
    with pytest.raises(UnknownClass, match="class id 12"):
        part.from_ids(np.array([[12]]))


def test_a_legend_is_found_by_name_or_in_a_file(tmp_path):
    assert find_legend("deepglobe") is DEEPGLOBE
    path = write(tmp_path / "two.yaml", TWO.model_dump(mode="json"))
    assert find_legend(str(path)) == TWO
    with pytest.raises(ConfigError, match="deepglob"):
        find_legend("deepglob")
