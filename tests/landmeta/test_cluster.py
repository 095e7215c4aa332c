import pickle

import geopandas as gpd
import numpy as np
import pytest
from shapely.geometry import box

import landmeta
from landmeta import cluster
from landmeta.classifier import NetworkClassifier
from landmeta.errors import (
    CheckpointMismatch,
    ConfigError,
    MissingBands,
    ProcessLost,
    SourceNotFound,
    UnreadableFile,
)
from landmeta.predict import predict
from landmeta.unfinished import folder_of
from tests.rasters import PlaceInTile, write_raster
from tests.tiny import untrained

dask = pytest.importorskip("dask", reason="Dask is not installed")
distributed = pytest.importorskip("distributed", reason="Dask is not installed")
CENTROIDS = np.array([[0, 0], [3, 0], [0, 3]], np.float32)


@pytest.fixture(scope="module")
def address():
    """The scheduler of a cluster of two processes on this machine."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=2, processes=True, dashboard_address=":0"
    ) as local:
        yield local.scheduler_address


def classifier():
    return PlaceInTile(CENTROIDS, tile_size=8, fingerprint="f")


@pytest.fixture
def raster(tmp_path):
    pixels = np.random.default_rng(0).uniform(-1, 4, (2, 250, 43)).astype(np.float32)
    pixels[:, 100:140, 5:] = np.nan
    return write_raster(tmp_path / "a.tif", pixels, ("red", "nir"))


def same(folder, *names):
    a, b = ({p.name: p.read_bytes() for p in (folder / n).iterdir() if p.is_file()} for n in names)
    assert a == b
    return a


def test_a_cluster_makes_the_map_that_one_machine_makes_bit_for_bit(tmp_path, raster, address):
    area = box(500_020, 5_000_000 - 2300, 500_390, 5_000_000 - 100)
    aoi = tmp_path / "a.gpkg"
    gpd.GeoDataFrame(geometry=[area], crs="EPSG:32633").to_file(aoi)
    options = {"overlap": 6, "batch": 5, "flips": True, "aoi": aoi, "probabilities": True}
    predict(classifier(), raster, tmp_path / "here" / "map.tif", quiet=True, **options)
    there = classifier()
    predict(there, raster, tmp_path / "there" / "map.tif", dask=address, quiet=True, **options)
    assert there.batches == []  # all of it was done elsewhere
    assert len(same(tmp_path, "here", "there")) >= 4


def test_a_network_on_a_cluster(tmp_path, address):
    photo = np.random.default_rng(1).integers(0, 255, (3, 90, 70)).astype(np.uint8)
    raster = write_raster(tmp_path / "a.tif", photo, ("R", "G", "B"))
    network = NetworkClassifier(untrained(tmp_path / "model.safetensors"), "cpu")
    predict(network, raster, tmp_path / "here" / "map.tif", quiet=True)
    predict(network, raster, tmp_path / "there" / "map.tif", dask=address, quiet=True)
    same(tmp_path, "here", "there")


def test_what_a_worker_finds_wrong_is_said_as_on_one_machine(tmp_path, address):
    noise = np.random.default_rng(0).integers(0, 9999, (2, 600, 300)).astype(np.int16)
    raster = write_raster(tmp_path / "a.tif", noise, ("red", "nir"), tiled=True)
    raster.write_bytes(raster.read_bytes()[:400_000])
    with pytest.raises(UnreadableFile, match=r"a\.tif") as error:
        predict(
            PlaceInTile(CENTROIDS, tile_size=64),
            raster,
            tmp_path / "map.tif",
            dask=address,
            quiet=True,
        )
    assert "Remedy" in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


def test_another_model_under_the_same_path_is_refused(tmp_path):
    path = untrained(tmp_path / "model.safetensors")
    content = pickle.dumps(NetworkClassifier(path, "cpu"))
    assert cluster._unpacked(content).path == path
    cluster._unpacked.cache_clear()
    path.unlink()
    untrained(path, gsd=20.0)
    with pytest.raises(CheckpointMismatch, match="another model"):
        cluster._unpacked(content)


def test_no_scheduler_there(tmp_path, raster):
    with pytest.raises(ConfigError, match="no Dask scheduler at tcp://127"):
        predict(classifier(), raster, tmp_path / "map.tif", dask="tcp://127.0.0.1:9", quiet=True)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


def test_another_version_there(tmp_path, raster, address, monkeypatch):
    monkeypatch.setattr(landmeta, "__version__", "0.0.1")
    with pytest.raises(ConfigError, match=r"run landmeta .*, this is 0\.0\.1"):
        predict(classifier(), raster, tmp_path / "map.tif", dask=address, quiet=True)


def test_dask_is_not_installed(tmp_path, raster, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(ConfigError, match="not installed") as error:
        predict(classifier(), raster, tmp_path / "map.tif", dask="tcp://x:1", quiet=True)
    assert "landmeta[dask]" in str(error.value)


class Dies(PlaceInTile):
    """Takes its process with it, as a worker that runs out of memory."""

    def probabilities(self, image):
        if len(self.batches) > 30 and __import__("multiprocessing").parent_process():
            __import__("os")._exit(9)
        return super().probabilities(image)


def test_what_a_lost_cluster_has_done_is_kept(tmp_path, raster):
    out = tmp_path / "map.tif"
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as own,
        pytest.raises(ProcessLost, match="could not go on"),
    ):
        predict(
            Dies(CENTROIDS, tile_size=8, fingerprint="f"),
            raster,
            out,
            dask=own.scheduler_address,
            quiet=True,
        )
    kept = len(list(folder_of(out).glob("*.gz")))
    assert kept
    made = predict(classifier(), raster, out, quiet=True)
    assert any(f"{kept} parts were done" in note for note in made.notes)


@pytest.mark.parametrize("kind", [MissingBands, SourceNotFound, ProcessLost])
def test_errors_travel(kind):
    error = pickle.loads(pickle.dumps(kind("what", remedy="remedy", path="a/b")))
    assert type(error) is kind
    assert (error.what, error.remedy, str(error.path)) == ("what", "remedy", "a/b")
