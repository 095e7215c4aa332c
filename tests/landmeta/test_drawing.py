"""Drawing shapes into windows: against rasterio, naive loops and each other."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.features import rasterize
from rasterio.transform import from_origin
from rasterio.windows import Window
from shapely import Point, box

from landmeta.drawing import Placed
from landmeta.raster import Grid

SIZE = (23, 31)
GRID = Grid(*SIZE, CRS.from_epsg(32633), from_origin(500_000, 5_000_000, 10, 10))


def placed(geometry, index):
    return Placed(np.array(index, np.uint8), GRID, np.array(geometry, object))


def random_shapes(seed, count, classes):
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        centre = rng.uniform(-3, 34, 2)
        if rng.random() < 0.3:
            made.append(Point(centre))
        else:
            made.append(shapely.MultiPoint(centre + rng.normal(0, 5, (8, 2))).convex_hull)
    return made, rng.integers(0, classes, count)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(0, 12), classes=st.integers(1, 4),
       radius=st.sampled_from([0.0, 1.0, 2.5]))  # fmt: skip
def test_windows_are_parts_of_the_whole_and_the_whole_is_rasterios(seed, count, classes, radius):
    geometry, index = random_shapes(seed, count, classes)
    shapes = placed(geometry, index)
    whole = shapes.draw(radius=radius)
    layers = np.zeros((classes, *SIZE), bool)
    for shape, number in zip(geometry, index, strict=True):
        if shape.geom_type == "Polygon":
            layers[number] |= rasterize([(shape, 1)], SIZE, dtype=np.uint8).astype(bool)
        else:
            rows, cols = np.mgrid[: SIZE[0], : SIZE[1]]
            away = np.hypot(cols - np.floor(shape.x), rows - np.floor(shape.y))
            layers[number] |= away <= radius
    expected = np.where(layers.sum(0) == 1, layers.argmax(0), 255)
    np.testing.assert_array_equal(whole.label, expected)
    assert whole.conflicts == (layers.sum(0) > 1).sum()
    labelled = whole.number >= 0
    np.testing.assert_array_equal(labelled, whole.label != 255)
    np.testing.assert_array_equal(np.asarray(index)[whole.number[labelled]], whole.label[labelled])
    parts = np.full(SIZE, 77, np.uint8)
    conflicts = 0
    for top in range(0, SIZE[0], 9):
        for left in range(0, SIZE[1], 7):
            window = Window(left, top, min(7, SIZE[1] - left), min(9, SIZE[0] - top))
            drawn = shapes.draw(window, radius)
            parts[top : top + 9, left : left + 7] = drawn.label
            conflicts += drawn.conflicts
    np.testing.assert_array_equal(parts, whole.label)
    assert conflicts == whole.conflicts


def test_different_classes_on_a_pixel_are_no_label():
    drawn = placed([box(0, 0, 4, 4), box(2, 0, 6, 4), box(2, 0, 6, 4)], [0, 1, 1]).draw()
    assert drawn.conflicts == 8
    assert (drawn.label[:4, 2:4] == 255).all()
    assert (drawn.label[:4, :2] == 0).all()
    assert (drawn.number[:4, 4:6] == 2).all()


def test_a_window_may_reach_beyond_the_image():
    drawn = placed([box(-5, -5, 50, 50)], [3]).draw(Window(-2, 20, 10, 10))
    assert drawn.label.shape == (10, 10)
    assert (drawn.label == 3).all()


def test_what_touches_or_nearly_does_is_one_group():
    shapes = placed(
        [box(0, 0, 2, 2), box(2, 0, 4, 2), box(4.5, 0, 6, 2), box(8, 0, 9, 2), Point(20, 20)],
        [0, 1, 0, 0, 2],
    )
    groups = shapes.groups().tolist()
    assert groups[0] == groups[1] == groups[2]
    assert len(set(groups)) == 3
    assert len(set(shapes.groups(apart=30).tolist())) == 1


@pytest.mark.parametrize("index", [[], [4]])
def test_nothing_in_sight(index):
    shapes = placed([shapely.Polygon()] * len(index), index)
    assert (shapes.draw().label == 255).all()
    assert shapes.inside.tolist() == [False] * len(index)
    assert len(shapes.groups()) == len(index)
