"""Memory of whole maps, measured in processes of their own as the system counts it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SIDE = 20_000
RUN = """
import json, re, sys
from pathlib import Path
import numpy as np
import rasterio
from rasterio.windows import Window
from landmeta.classifier import NetworkClassifier
from landmeta.predict import predict
from tests.tiny import untrained

folder, height, width = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
raster = folder / "a.tif"
profile = {"count": 3, "dtype": "uint8", "nodata": 0, "height": height, "width": width}
place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 5e6)}
with rasterio.open(
    raster, "w", driver="GTiff", tiled=True, compress="deflate", sparse_ok=True, **profile, **place
) as dataset:
    dataset.descriptions = ("R", "G", "B")
    rng = np.random.default_rng(0)
    for top in range(0, height - 100, 1900):
        for left in range(0, width - 100, 2700):
            patch = rng.integers(1, 255, (3, 100, 100)).astype(np.uint8)
            dataset.write(patch, window=Window(left, top, 100, 100))
model = untrained(folder / "model.safetensors", tile_size=128)
# What the system counts for a child that it began with its parent's pages would be the parent's.
status = Path("/proc/self/status")
peak = lambda: int(re.search("VmHWM:\\s+(\\d+)", status.read_text())[1]) * 1024
classifier = NetworkClassifier(model, "cpu")
classifier.probabilities(np.ones((8, 3, 128, 128), np.float32))
before = peak()
predict(
    classifier, raster, folder / "map.tif", entropy=True, probabilities=True, quiet=True
)
with rasterio.open(folder / "map.tif") as dataset:
    corner = dataset.read(1, window=Window(0, 0, 101, 101))
assert (corner[:100, :100] != 255).all() and (corner[100] == 255).all()
print(json.dumps(peak() - before))
"""


def grown(folder, height, width):
    """Bytes by which the process grew while it mapped."""
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(folder), str(height), str(width)],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_memory_of_a_raster_of_400_million_pixels(tmp_path):
    tile, overlap, classes = 128, 32, 3
    most = SIDE * (tile + overlap) * classes * 4
    # Sums that are being added to and those that are being written, the rows of blocks that GDAL
    # and the writers of six bands hold, and what they leave behind.
    short, tall = (grown(tmp_path / f"{h}", h, SIDE) for h in (SIDE // 8, SIDE))
    assert tall < 12 * most
    assert tall < 1.3 * short
    assert tall < SIDE * SIDE * (1 + 1 + 1 + classes) / 4
