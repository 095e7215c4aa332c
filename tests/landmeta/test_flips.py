import numpy as np
import pytest

from landmeta.flips import Flipped
from landmeta.predict import predict
from tests.rasters import NearestCentroid, PlaceInTile, read_raster, write_raster

CENTROIDS = np.array([[0, 0], [3, 0], [0, 3]], np.float32)
RNG = np.random.default_rng(3)


@pytest.mark.parametrize("axes", [(-1,), (-2,), (-2, -1)])
def test_a_mirrored_image_gets_the_mirrored_answer_bit_for_bit(axes):
    image = RNG.uniform(-1, 4, (3, 2, 16, 16)).astype(np.float32)
    image[0, :, 2:5, 7] = np.nan
    plain = PlaceInTile(CENTROIDS)
    mirrored = np.flip(image, axes)
    assert not np.allclose(
        plain.probabilities(mirrored), np.flip(plain.probabilities(image), axes), atol=0.01
    )
    classifier = Flipped(plain)
    np.testing.assert_array_equal(
        classifier.probabilities(mirrored), np.flip(classifier.probabilities(image), axes)
    )


def test_it_is_the_mean_of_the_four():
    image = RNG.uniform(-1, 4, (2, 2, 16, 16)).astype(np.float32)
    plain = PlaceInTile(CENTROIDS)
    answers = [plain.probabilities(image)]
    answers.append(plain.probabilities(image[..., ::-1])[..., ::-1])
    answers.append(plain.probabilities(image[..., ::-1, :])[..., ::-1, :])
    answers.append(plain.probabilities(image[..., ::-1, ::-1])[..., ::-1, ::-1])
    found = Flipped(plain).probabilities(image)
    np.testing.assert_allclose(found, np.mean(answers, axis=0), rtol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


def test_each_pixel_for_itself_flips_change_nothing(tmp_path):
    image = RNG.uniform(-1, 4, (2, 40, 33)).astype(np.float32)
    raster = write_raster(tmp_path / "a.tif", image, ("red", "nir"))
    classifier = NearestCentroid(CENTROIDS)
    predict(classifier, raster, tmp_path / "plain.tif", quiet=True)
    once = len(classifier.batches)
    predict(classifier, raster, tmp_path / "flips.tif", flips=True, quiet=True)
    assert len(classifier.batches) == 5 * once
    plain, flips = (read_raster(tmp_path / f"{name}.tif") for name in ("plain", "flips"))
    assert (plain == flips).mean() > 0.999  # sums of four may settle a draw differently
