import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from landmeta.mapping import CHUNK, Job, blended, mapped
from landmeta.mosaic import open_rasters
from landmeta.uncertainty import Quantities
from tests.rasters import NearestCentroid, PlaceInTile, write_raster

CENTROIDS = np.array([[0, 0], [3, 0], [0, 3]], np.float32)


def job_for(path, overlap=3, batch=4, quantities=None):
    return Job((path,), None, overlap, batch, quantities or Quantities())


def rows_of(classifier, job, chunks=None, tick=lambda done: None):
    with job.open(classifier) as image:
        tiling = job.tiling(image.grid, classifier.tile_size)
        chunks = range(tiling.chunks) if chunks is None else chunks
        parts = list(blended(classifier, image, tiling, chunks, job.area, tick))
    return np.concatenate([rows for _, rows in parts], axis=1), [row for row, _ in parts]


def scene(folder, height, width, seed=0, holes=True):
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(-1, 4, (2, height, width)).astype(np.float32)
    if holes:
        pixels[:, rng.random((height, width)) < 0.2] = np.nan
        pixels[:, height // 3 : height // 2] = np.nan
    return write_raster(folder / f"{height}x{width}_{seed}.tif", pixels, ("red", "nir"))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    height=st.integers(60, 260),
    width=st.integers(1, 40),
    overlap=st.integers(0, 7),
    batch=st.integers(1, 7),
    seed=st.integers(0, 99),
)
def test_a_chunk_alone_is_what_it_is_beside_its_neighbours_bit_for_bit(
    tmp_path_factory, height, width, overlap, batch, seed
):
    path = scene(tmp_path_factory.mktemp("m"), height, width, seed)
    classifier = PlaceInTile(CENTROIDS, tile_size=8)
    job = job_for(path, overlap, batch)
    whole, _ = rows_of(classifier, job)
    assert whole.shape == (3, height, width)
    with job.open(classifier) as image:
        tiling = job.tiling(image.grid, 8)
    alone = [rows_of(classifier, job, range(n, n + 1)) for n in range(tiling.chunks)]
    np.testing.assert_array_equal(np.concatenate([rows for rows, _ in alone], axis=1), whole)
    for number, (rows, windows) in enumerate(alone):
        assert rows.shape[1] == len(tiling.pixels_of(number))
        assert windows == list(tiling.windows_of(number))


def test_batches_are_those_of_the_chunk_whoever_asks(tmp_path):
    # What a network answers may depend on the batch in the last bit.
    class Remember(PlaceInTile):
        def probabilities(self, image):
            seen.append(image.tobytes())
            return super().probabilities(image)

    path = scene(tmp_path, 200, 20, holes=False)
    seen: list[bytes] = []
    job = job_for(path, overlap=6, batch=5)
    rows_of(Remember(CENTROIDS, tile_size=8), job)
    together, seen = set(seen), []
    rows_of(Remember(CENTROIDS, tile_size=8), job, range(3, 4))
    assert len(seen) < len(together)
    assert set(seen) <= together


@pytest.mark.parametrize("overlap", [0, 3, 7])
@pytest.mark.parametrize("value", [0.0, 1.5, 4.0])
def test_constant_in_constant_out_up_to_the_outermost_ring(tmp_path, overlap, value):
    pixels = np.full((2, 45, 37), value, np.float32)
    path = write_raster(tmp_path / "a.tif", pixels, ("red", "nir"))
    classifier = NearestCentroid(CENTROIDS, tile_size=8)
    rows, _ = rows_of(classifier, job_for(path, overlap))
    expected = classifier.probabilities(np.full((1, 2, 8, 8), value, np.float32))[0, :, 0, 0]
    np.testing.assert_allclose(
        rows, np.broadcast_to(expected[:, None, None], rows.shape), rtol=2e-6
    )


def test_probabilities_sum_to_one_where_there_is_data_and_to_zero_elsewhere(tmp_path):
    path = scene(tmp_path, 90, 41)
    with open_rasters([path], NearestCentroid(CENTROIDS).band_specs) as image:
        valid = ~np.isnan(image.read(0, 0, 41, 90)).all(axis=0)
    rows, _ = rows_of(PlaceInTile(CENTROIDS, tile_size=8), job_for(path))
    np.testing.assert_allclose(rows.sum(axis=0), valid, atol=1e-5)
    np.testing.assert_array_equal(rows.max(axis=0) > 0, valid)


def test_seams_do_not_show_when_windows_disagree(tmp_path):
    class Disagree(NearestCentroid):
        """Each window is sure of one of two classes, in turn."""

        turn = 0

        def probabilities(self, image):
            sure = np.zeros((len(image), 3, 32, 32), np.float32)
            for i in range(len(image)):
                sure[i, self.turn % 2] = 1
                self.turn += 1
            return sure

    pixels = np.ones((2, 130, 137), np.float32)
    path = write_raster(tmp_path / "a.tif", pixels, ("red", "nir"))
    rows, _ = rows_of(Disagree(CENTROIDS, tile_size=32), job_for(path, overlap=16))
    steps = [np.abs(np.diff(rows, axis=axis)).max() for axis in (1, 2)]
    assert rows[0].max() - rows[0].min() > 0.9
    assert max(steps) < 0.15  # a seam would be a step of 1


def test_the_bar_never_goes_back_and_ends_full(tmp_path):
    path = scene(tmp_path, 150, 60)
    classifier = PlaceInTile(CENTROIDS, tile_size=8)
    job = job_for(path)
    told: list[int] = []
    rows_of(classifier, job, tick=told.append)
    with job.open(classifier) as image:
        tiling = job.tiling(image.grid, 8)
    assert told == sorted(told)
    assert told[-1] == len(tiling.rows) * len(tiling.cols)
    told.clear()
    rows_of(classifier, job, range(1, 2), told.append)
    assert told[0] >= CHUNK * len(tiling.cols)
    assert told[-1] == 2 * CHUNK * len(tiling.cols)


def test_bytes_are_numbered_by_chunk(tmp_path):
    path = scene(tmp_path, 150, 30)
    classifier = PlaceInTile(CENTROIDS, tile_size=8)
    job = job_for(path, quantities=Quantities(entropy=True, probabilities=True))
    with job.open(classifier) as image:
        tiling = job.tiling(image.grid, 8)
        made = [(n, make()) for n, make in mapped(classifier, image, job, range(tiling.chunks))]
    for number in range(tiling.chunks):
        rows = np.concatenate([bands for n, bands in made if n == number], axis=1)
        assert rows.shape == (1 + 1 + 1 + 3, len(tiling.pixels_of(number)), 30)
        assert rows.dtype == np.uint8
