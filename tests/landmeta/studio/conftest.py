"""An image like the tiny task set's, and checkpoints to map it with."""

import numpy as np
import pytest

from landmeta.train import train
from tests.rasters import write_raster
from tests.tiny import CLASSES, tiny_config


@pytest.fixture(scope="session")
def classes():
    """Truth of the image, (row, col): blocks of 8 pixels."""
    blocks = np.random.default_rng(5).integers(0, CLASSES, (6, 10))
    return np.kron(blocks, np.ones((8, 8))).astype(np.uint8)


@pytest.fixture
def image(classes, tmp_path):
    """An image whose colours say the class, on a grid in UTM."""
    rng = np.random.default_rng(6)
    pixels = (classes[None] == np.arange(3)[:, None, None]) * 60.0 + 70
    pixels = pixels + rng.normal(0, 8, pixels.shape)
    return write_raster(tmp_path / "image.tif", pixels.astype(np.float32), ("R", "G", "B"))


@pytest.fixture(scope="session")
def open_checkpoint(tiny, tmp_path_factory):
    """It takes any legend."""
    folder = tmp_path_factory.mktemp("open")
    return train(tiny_config(tiny, folder / "run", "protonet", legend="open"), quiet=True)
