"""The layer that says where a map is a guess."""

from dataclasses import dataclass

import numpy as np
import pytest

from landmeta.adapt import adapt
from landmeta.classifier import NetworkClassifier
from landmeta.errors import CheckpointMismatch
from landmeta.legend import IGNORE
from landmeta.predict import predict
from landmeta.support import load_support
from landmeta.taskset import Band
from tests.rasters import THREE, read_raster, write_raster
from tests.tiny import BANDS, LEGEND, TILE


@dataclass
class Half:
    """Unlikeness by the first band: 0 as it should be, 1 as far again as the threshold."""

    tile_size: int = 16
    novelty: bool = True
    legend = THREE
    bands = ("a",)
    band_specs = (Band(name="a"),)

    def probabilities(self, image):
        return np.full((len(image), 3, *image.shape[2:]), 1 / 3, np.float32)

    def unlikeness(self, image):
        return np.nan_to_num(image[:, 0]) / np.float32(100)


@pytest.mark.parametrize("flips", [False, True])
def test_it_is_told_pixel_by_pixel_in_percent(tmp_path, flips):
    values = np.random.default_rng(0).integers(1, 400, (1, 40, 55)).astype(np.float32)
    values[0, :5, :7] = np.nan
    image = write_raster(tmp_path / "image.tif", values, ("a",))
    made = predict(Half(), image, tmp_path / "map.tif", novelty=True, flips=flips, quiet=True)
    assert tmp_path / "map.novelty.tif" in made.files
    told = read_raster(tmp_path / "map.novelty.tif")[0].astype(int)
    valid = np.isfinite(values[0])
    assert (told[~valid] == IGNORE).all()
    assert np.abs(told[valid] - np.minimum(values[0][valid], 250)).max() <= 1
    assert (read_raster(tmp_path / "map.tif")[0][valid] == THREE.ids[0]).all()


def test_what_nobody_labelled_stands_out(tiny, checkpoints, tmp_path):
    rng = np.random.default_rng(1)
    classes = np.kron(rng.integers(0, 3, (4, 6)), np.ones((8, 8))).astype(np.uint8)
    pixels = (classes[None] == np.arange(3)[:, None, None]) * 60.0 + 80
    pixels += rng.normal(0, 8, pixels.shape)
    labels = LEGEND.to_ids(classes)
    strange = pixels.copy()
    strange[:, 16:, 24:] = rng.normal(250, 60, strange[:, 16:, 24:].shape)
    write_raster(tmp_path / "image.tif", pixels.astype(np.float32), BANDS)
    write_raster(tmp_path / "strange.tif", strange.astype(np.float32), BANDS)
    write_raster(tmp_path / "labels.tif", labels[None], nodata=255)
    support = load_support(
        [(tmp_path / "image.tif", tmp_path / "labels.tif")],
        bands=tiny.meta.bands,
        legend=LEGEND,
        tile_size=TILE,
    )
    adapt(checkpoints["pretrain"], support, tmp_path / "region.safetensors")
    classifier = NetworkClassifier(tmp_path / "region.safetensors", "cpu")
    for name in ("image", "strange"):
        out = tmp_path / f"{name}_map.tif"
        predict(classifier, tmp_path / f"{name}.tif", out, novelty=True, quiet=True)
    usual = read_raster(tmp_path / "image_map.novelty.tif")[0]
    odd = read_raster(tmp_path / "strange_map.novelty.tif")[0]
    assert (usual > 100).mean() < 0.15
    assert (odd[20:, 28:] > 100).mean() > 0.7
    with pytest.raises(CheckpointMismatch, match="not adapted to a region"):
        predict(
            NetworkClassifier(checkpoints["pretrain"], "cpu"),
            tmp_path / "image.tif",
            tmp_path / "none.tif",
            novelty=True,
            quiet=True,
        )
    assert not list(tmp_path.glob("*none*"))
