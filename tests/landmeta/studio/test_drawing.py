"""What is drawn becomes labels and a file that other programs read."""

from unittest import mock

import geopandas as gpd
import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from shapely.geometry import Point, box

from landmeta.errors import ConfigError, UnreadableFile
from landmeta.studio import drawing
from tests.tiny import LEGEND


def polygon(label, *corners):
    ring = [*corners, corners[0]]
    return {"label": label, "geometry": {"type": "Polygon", "coordinates": [ring]}}


def point(label, col, row):
    return {"label": label, "geometry": {"type": "Point", "coordinates": [col, row]}}


corner = st.tuples(st.floats(-3, 15), st.floats(-3, 15))


@given(corners=st.lists(corner, min_size=3, max_size=6, unique=True))
def test_a_polygon_labels_the_pixels_whose_centre_lies_in_it(corners):
    (shape,) = drawing.parse([polygon("Water", *corners)])
    outline = shape.outline()
    made = drawing.rasterise([shape], LEGEND, 12, 12)
    for row in range(12):
        for col in range(12):
            centre = Point(col + 0.5, row + 0.5)
            if outline.area >= 1 and outline.boundary.distance(centre) > 1e-6:
                assert (made[row, col] == 1) == outline.contains(centre)


place = st.tuples(st.floats(-3, 45), st.floats(-3, 35))
shapes_of_a_class = st.tuples(
    st.sampled_from(LEGEND.names), st.lists(place, min_size=1, max_size=5, unique=True)
)


@given(drawn=st.lists(shapes_of_a_class, max_size=6), block=st.integers(3, 50))
def test_counts_are_those_of_the_whole_image(drawn, block):
    """Whatever the blocks, also of shapes that lie partly outside."""
    raw = [point(n, *xy[0]) if len(xy) < 3 else polygon(n, *xy) for n, xy in drawn]
    shapes = drawing.parse(raw)
    expected = np.bincount(drawing.rasterise(shapes, LEGEND, 30, 40).ravel(), minlength=256)
    with mock.patch.object(drawing, "BLOCK", block):
        found = drawing.count_pixels(shapes, LEGEND, 30, 40)
    assert found[:255].tolist() == expected[:255].tolist()
    assert found[255] == 0


@given(col=st.floats(0, 11.99), row=st.floats(0, 11.99))
def test_a_point_labels_its_pixel(col, row):
    made = drawing.rasterise(drawing.parse([point("Urban", col, row)]), LEGEND, 12, 12)
    assert made[int(row), int(col)] == 2
    assert (made != 255).sum() == 1


def test_where_two_classes_overlap_nothing_is_labelled():
    shapes = drawing.parse(
        [
            polygon("Water", (0, 0), (6, 0), (6, 6), (0, 6)),
            polygon("Forest", (4, 4), (8, 4), (8, 8), (4, 8)),
        ]
    )
    made = drawing.rasterise(shapes, LEGEND, 10, 10)
    assert (made[4:6, 4:6] == 255).all()
    assert ((made == 1).sum(), (made == 0).sum()) == (32, 12)


def test_a_polygon_smaller_than_a_pixel_labels_one():
    shapes = drawing.parse([polygon("Water", (3.1, 3.1), (3.3, 3.1), (3.2, 3.3))])
    made = drawing.rasterise(shapes, LEGEND, 10, 10)
    assert list(zip(*np.nonzero(made == 1), strict=True)) == [(3, 3)]


def test_the_file_lies_where_it_was_drawn(tmp_path):
    shapes = drawing.parse(
        [polygon("Water", (0, 0), (2, 0), (2, 4), (0, 4)), point("Urban", 1.5, 2.5)]
    )
    grid = Affine(10, 0, 500_000, 0, -10, 4_000_000)
    frame = drawing.to_frame(shapes, grid, CRS.from_epsg(32633))
    frame.to_file(tmp_path / "labels.gpkg", layer="labels", driver="GPKG")
    again = gpd.read_file(tmp_path / "labels.gpkg")
    assert again.crs.to_epsg() == 32633
    assert list(again["class"]) == ["Water", "Urban"]
    assert again.geometry[0].equals(box(500_000, 3_999_960, 500_020, 4_000_000))
    assert again.geometry[1].equals(Point(500_015, 3_999_975))
    assert drawing.to_frame(shapes, grid, None).geometry[1].equals(Point(1.5, 2.5))


def test_what_is_kept_is_read_again(tmp_path):
    shapes = drawing.parse([point("Urban", 1, 2), polygon("Water", (0, 0), (2, 0), (2, 4))])
    drawing.write(tmp_path / "drawing.json", shapes)
    drawing.write(tmp_path / "drawing.json", shapes[:1])
    assert drawing.read(tmp_path / "drawing.json") == shapes[:1]
    assert drawing.read(tmp_path / "none.json") == []
    (tmp_path / "drawing.json").write_text("[{]", encoding="utf-8")
    with pytest.raises(UnreadableFile, match="not a drawing"):
        drawing.read(tmp_path / "drawing.json")


@pytest.mark.parametrize(
    "raw",
    [
        {"label": "Water"},
        [{"label": "", "geometry": {"type": "Point", "coordinates": [1, 2]}}],
        [{"label": "Water", "geometry": {"type": "Line", "coordinates": [[1, 2], [2, 3]]}}],
        [{"label": "Water", "geometry": {"type": "Point", "coordinates": [1, float("nan")]}}],
        [{"label": "Water", "geometry": {"type": "Polygon", "coordinates": [[[1, 2], [2, 3]]]}}],
        [point("Water", 1, 2)] * 10_001,
    ],
)
def test_what_is_no_drawing_is_refused(raw):
    with pytest.raises(ConfigError, match="not understood"):
        drawing.parse(raw)
