from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from shapely import Polygon

from landmeta.leakage.ground import Ground

SIZE = 64


def ground(*tiles):
    """Tiles as (crs, left, top, pixel)."""
    crs = pd.Series([t[0] for t in tiles], dtype=object)
    grids = [None if t[0] is None else [t[3], 0, t[1], 0, -t[3], t[2]] for t in tiles]
    return Ground(crs, pd.Series(grids, dtype=object), SIZE)


def near(tiles, first, second, buffer=0.0):
    """{(i, j): (metres, overlap)}."""
    found = {}
    for part in ground(*tiles).near(np.array(first), np.array(second), buffer):
        for i, j, metres, overlap in zip(
            part.first.tolist(), part.second.tolist(), part.metres, part.overlap, strict=True
        ):
            assert (i, j) not in found
            found[i, j] = (metres, bool(overlap))
    return found


@cache
def mover(source, target):
    return Transformer.from_crs(source, target, always_xy=True)


def shape(tile, centre):
    """Outline of a tile in an azimuthal equidistant projection about a place near it."""
    crs, left, top, pixel = tile
    side, near, far = np.arange(20) / 20 * SIZE, np.zeros(20), np.full(20, SIZE)
    col = np.concatenate([side, far, SIZE - side, near])
    row = np.concatenate([near, side, far, SIZE - side])
    lonlat = mover(crs, "EPSG:4326").transform(left + pixel * col, top - pixel * row)
    local = f"+proj=aeqd +lon_0={centre[0]} +lat_0={centre[1]} +ellps=WGS84"
    return Polygon(np.stack(mover("EPSG:4326", local).transform(*lonlat), axis=1))


@st.composite
def places(draw):
    """Where two UTM zones meet, and tiles of both within some kilometres."""
    zone = draw(st.sampled_from((1, 17, 60)))
    centre = (-180 + 6 * zone, draw(st.sampled_from((4, 40, 75))))
    zones = [f"EPSG:326{z:02d}" for z in (zone, zone % 60 + 1)]
    corners = st.tuples(st.integers(-4000, 4000), st.integers(-4000, 4000))
    tiles = []
    for x, y in draw(st.lists(corners, min_size=2, max_size=12)):
        crs = draw(st.sampled_from(zones))
        left, top = mover("EPSG:4326", crs).transform(*centre)
        tiles.append((crs, left + x, top + y, draw(st.sampled_from((0.5, 10.0, 30.0)))))
    return centre, tiles


@settings(max_examples=60, deadline=None)
@given(places(), st.sampled_from((0.0, 200.0, 3000.0)), st.integers(1, 2**12 - 1))
def test_the_same_pairs_as_a_loop_over_all(where, buffer, code):
    centre, tiles = where
    first = [i for i in range(len(tiles)) if code >> i & 1]
    second = [i for i in range(len(tiles)) if not code >> i & 1]
    if not first or not second:
        return
    found = near(tiles, first, second, buffer)
    shapes = [shape(tile, centre) for tile in tiles]
    for i in first:
        for j in second:
            metres = shapes[i].distance(shapes[j])
            rounding = 2e-3 * SIZE * min(tiles[i][3], tiles[j][3]) + 0.01
            depth = -rounding if shapes[i].buffer(-rounding).intersects(shapes[j]) else 0
            if (i, j) in found:
                assert found[i, j][0] == pytest.approx(metres, abs=0.01 + 1e-5 * metres)
                assert metres <= buffer + 0.01
                assert found[i, j][1] or metres > 0 or not depth
            else:
                assert metres >= buffer - 0.01
                assert buffer or not depth


def test_a_gap_along_the_central_meridian_is_as_long_as_its_scale_says():
    tiles = [("EPSG:32633", 500_000, 5_000_000, 10), ("EPSG:32633", 500_000, 5_001_640, 10)]
    ((metres, overlap),) = near(tiles, [0], [1], 1001).values()
    assert metres == pytest.approx(1000 / 0.9996, abs=0.02)
    assert not overlap
    assert not near(tiles, [0], [1], 1000)


def test_across_the_antimeridian():
    one, other = ("EPSG:32660", 833_700, 1000, 10), ("EPSG:32601", 166_200, 1000, 10)
    assert near([one, other], [0], [1])[0, 1][1]
    degrees = [("EPSG:4326", 179.9, 10, 0.01), ("EPSG:4326", -179.9, 10, 0.01)]
    assert near(degrees, [0], [1])[0, 1][1]
    touching = [("EPSG:4326", 179.36, 10, 0.01), ("EPSG:4326", -180.0, 10, 0.01)]
    assert not near(touching, [0], [1])
    assert near(touching, [0], [1], 1)[0, 1] == (pytest.approx(0, abs=0.01), False)


def test_at_the_pole():
    side = 64 * 100
    quadrants = [("EPSG:3995", x, y, 100) for x in (-side, 0) for y in (0, side)]
    assert not near(quadrants, [0, 1], [2, 3])
    assert len(near(quadrants, [0, 1], [2, 3], 10)) == 4
    over = [*quadrants, ("EPSG:3995", -side / 2, side / 2, 100)]
    assert set(near(over, [0, 1, 2, 3], [4])) == {(0, 4), (1, 4), (2, 4), (3, 4)}


def test_large_neighbours_in_degrees_touch_though_parallels_are_no_great_circles():
    tiles = [
        ("EPSG:4326", 0, 60, 0.05),
        ("EPSG:4326", 1.6, 63.2, 0.05),
        ("EPSG:4326", 3.2, 60, 0.05),
        ("EPSG:4326", 1.6, 60.1, 0.05),
    ]
    assert set(near(tiles, [0, 1], [2, 3])) == {(0, 3), (1, 3)}
    assert not near(tiles, [0], [1])


def test_one_pixel_is_an_overlap_and_a_thousandth_of_a_tile_is_not():
    for shift, expected in ((639.7, False), (630, True)):
        tiles = [("EPSG:32633", 5e5, 5e6, 10), ("EPSG:32633", 5e5 + shift, 5e6, 10)]
        assert bool(near(tiles, [0], [1])) is expected


def test_tiles_of_one_place_and_tiles_of_none():
    tiles = [("EPSG:32633", 5e5, 5e6, 10)] * 2 + [(None, 0, 0, 1), ("EPSG:32633", 1e12, 0, 10)]
    assert near(tiles, [0, 2], [1, 3])[0, 1] == (0, True)
    where = ground(*tiles)
    assert where.located.tolist() == [0, 1]
    assert where.lost.tolist() == [3]


def test_a_set_without_any_place():
    where = ground((None, 0, 0, 1), (None, 0, 0, 1))
    assert list(where.near(np.array([0]), np.array([1]), 10)) == []
