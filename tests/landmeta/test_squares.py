"""Squares of an image, against a plain loop over the whole of it."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import entropy

from landmeta.errors import ConfigError
from landmeta.raster import open_image
from landmeta.squares import FULL, survey
from landmeta.vectors import read_places
from tests.rasters import NearestCentroid, nearest, write_raster
from tests.shapes import at, write_shapes


@dataclass
class Featured(NearestCentroid):
    """Its features are the bands, and one more."""

    def features(self, image):
        filled = np.nan_to_num(image)
        return np.concatenate([filled, filled.sum(axis=1, keepdims=True)], axis=1)


CENTROIDS = np.array([[0, 0], [3, 0], [0, 3]], np.float32)


def make(folder, height=41, width=53, seed=0):
    rng = np.random.default_rng(seed)
    pixels = rng.normal(1, 1.5, (2, height, width)).astype(np.float32)
    pixels[:, 10:14, 20:27] = -9
    return write_raster(folder / "a.tif", pixels, ("red", "nir"), nodata=-9), pixels


@pytest.mark.parametrize("shape", [(41, 53), (9, 70), (33, 16)])
@pytest.mark.parametrize("size", [1, 3, 5, 8])
def test_squares_are_those_of_the_whole_image(tmp_path, size, shape):
    path, pixels = make(tmp_path, *shape)
    classifier = Featured(CENTROIDS)
    with open_image(path, classifier.band_specs) as image:
        heavy, background = survey(classifier, image, size)
    void = pixels[0] == -9
    pixels[:, void] = 0
    away = ((pixels[None] - CENTROIDS[:, :, None, None]) ** 2).sum(1)
    probability = np.exp(-away) / np.exp(-away).sum(0)
    classes, unsure = nearest(pixels, CENTROIDS), entropy(probability, axis=0) / np.log(3)
    expected = {}
    for row in range(0, shape[0] - size + 1, size):
        for col in range(0, shape[1] - size + 1, size):
            part = np.s_[row : row + size, col : col + size]
            free = ~void[part]
            if free.mean() >= FULL:
                counts = np.bincount(classes[part][free], minlength=3)
                expected[row, col] = (
                    counts.max() / free.sum(), unsure[part][free].mean(),
                    probability.max(0)[part][free].mean(), pixels[0][part][free].mean(),
                )  # fmt: skip
    for squares in (heavy, background):
        found = {
            (r, c): (s, e, p, f)
            for r, c, s, e, p, f in zip(
                squares.row.tolist(), squares.col.tolist(), squares.share, squares.entropy,
                squares.confidence, squares.feature[:, 0], strict=True,
            )
        }  # fmt: skip
        assert found.keys() == expected.keys()
        for place, values in found.items():
            np.testing.assert_allclose(values, expected[place], rtol=1e-3, atol=1e-4)


def test_what_is_labelled_is_left_out(tmp_path):
    path, _ = make(tmp_path)
    labels = write_shapes(tmp_path / "l.gpkg", [at(0, 0, 20, 20)], [None])
    classifier = Featured(CENTROIDS)
    with open_image(path, classifier.band_specs) as image:
        known = read_places(labels).on(image.grid)
        squares, _ = survey(classifier, image, 5, labelled=known)
        everything, _ = survey(classifier, image, 5)
    inside = (everything.row < 20) & (everything.col < 20)
    assert len(squares) == (~inside).sum() == len(everything) - inside.sum() < len(everything)
    assert not ((squares.row < 20) & (squares.col < 20)).any()


def test_the_heaviest_are_kept_and_others_at_random(tmp_path, monkeypatch):
    path, _ = make(tmp_path, 64, 64)
    classifier = Featured(CENTROIDS)
    with open_image(path, classifier.band_specs) as image:
        everything, _ = survey(classifier, image, 2)
        monkeypatch.setattr("landmeta.squares.MOST", 50)
        heavy, background = survey(classifier, image, 2)
    assert len(heavy) == len(background) == 50
    np.testing.assert_array_equal(np.sort(heavy.weight), np.sort(everything.weight)[-50:])
    assert background.row.max() > 40 > 20 > background.row.min()


def test_nothing_to_see(tmp_path):
    empty = write_raster(tmp_path / "e.tif", np.full((2, 20, 20), -9, np.float32), ("red", "nir"),
                         nodata=-9)  # fmt: skip
    classifier = Featured(CENTROIDS)
    with open_image(empty, classifier.band_specs) as image:
        assert [len(s) for s in survey(classifier, image, 5)] == [0, 0]
    path, _ = make(tmp_path)
    with (
        open_image(path, classifier.band_specs) as image,
        pytest.raises(ConfigError, match="squares of 9 pixels in windows of 16"),
    ):
        survey(classifier, image, 9)
