"""Scenes for any data, and `landmeta prepare` run on them."""

import numpy as np

from landmeta.taskset import TaskSet
from tests.data.rasters import utm, write_raster
from tests.program import invoke

CLASSES = {
    "classes": [
        {"id": 1, "name": "Water", "color": "#0000ff"},
        {"id": 2, "name": "Forest", "color": "#00ff00"},
        {"id": 3, "name": "Sand", "color": "#ffff00"},
    ],
    "ignore": [0],
}
THREE = ("--val", "b", "--test", "c")


def rasters(out, *words, **more):
    return run(out, "rasters", *words, **more)


def run(out, *words, tile=16):
    result = invoke("prepare", *words, "--out", out, "--tile", tile, "--workers", 1)
    assert result.exit_code == 0, result.output
    return TaskSet(out)


def refused(out, *words, tile=16, reader="rasters"):
    """What is said of a mistake; nothing may be left."""
    result = invoke("prepare", reader, *words, "--out", out, "--tile", tile, "--workers", 1)
    assert result.exit_code == 2, result.output
    assert "remedy:" in result.output.lower()
    assert not out.exists() and not list(out.parent.glob(".*partial*"))
    return " ".join(result.output.split())


def scene(root, region, place, *, crs="EPSG:32633", size=(48, 64), dtype=np.uint16, seed=0):
    """`region/img.tif` and `region/lab.tif`; 10 m pixels, `place` kilometres east."""
    rng = np.random.default_rng(seed + place)
    image = rng.integers(1, 200, (2, *size)).astype(dtype)
    label = rng.integers(1, 4, size).astype(np.uint8)
    grid = utm(100 * place) | {"crs": crs}
    write_raster(root / region / "img.tif", image, **grid)
    write_raster(root / region / "lab.tif", label, **grid)
    return image, label, grid
