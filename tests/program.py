"""A small made-up world as files, and the program's commands run on it in this process."""

from pathlib import Path

import numpy as np
import yaml
from affine import Affine
from pydantic import BaseModel
from typer.testing import CliRunner

from landmeta.cli import app
from landmeta.legend import IGNORE
from tests.rasters import write_raster
from tests.tiny import LEGEND

BANDS = ("red", "green", "nir")
REGIONS = ("a", "b", "c", "t", "u", "v")
NODATA = -9999
TREE = (
    "--images", "{region}/{name}_image.tif", "--labels", "{region}/{name}_labels.tif",
    "--tile", 16, "--val", "v", "--test", "t,u",
)  # fmt: skip
"""How `landmeta prepare rasters` is told of the files that `write_world` makes."""


def invoke(*words: object):
    """Run `landmeta` with these words."""
    return CliRunner().invoke(app, [str(word) for word in words])


def write_config(path: Path, config: BaseModel | dict[str, object]) -> Path:
    """Write a configuration as YAML."""
    plain = config.model_dump(mode="json") if isinstance(config, BaseModel) else config
    path.write_text(yaml.safe_dump(plain), encoding="utf-8")
    return path


def write_scene(folder: Path, name: str, brightness: int, seed: int, shape=(48, 64)) -> None:
    """`NAME_image.tif` and `NAME_labels.tif` in UTM: the brightest band says the class.

    The top left corner of the image has no data; 8 rows at the bottom have no labels.
    """
    rng = np.random.default_rng(seed)
    index = np.kron(rng.integers(0, 3, (shape[0] // 8, shape[1] // 8)), np.ones((8, 8), int))
    image = 400.0 * (index == np.arange(3)[:, None, None]) + 100 * brightness + 500
    image += rng.normal(0, 40, image.shape)
    image[:, :5, :7] = NODATA
    label = np.array(LEGEND.ids, np.uint8)[index]
    label[-8:] = IGNORE
    grid = {
        "crs": "EPSG:32633",
        "transform": Affine(10, 0, 500_000 + 10_000 * seed, 0, -10, 5_000_000 + 500 * brightness),
    }
    folder.mkdir(parents=True, exist_ok=True)
    stored = np.rint(image).astype(np.int16)
    write_raster(folder / f"{name}_image.tif", stored, BANDS, nodata=NODATA, **grid)
    write_raster(folder / f"{name}_labels.tif", label[None], **grid)


def write_world(root: Path) -> Path:
    """Six regions of one scene each, differently bright, and `legend.yaml`."""
    for number, region in enumerate(REGIONS):
        write_scene(root / region, "0", number, seed=number)
    write_config(root / "legend.yaml", LEGEND)
    return root


def prepare(root: Path, out: Path, *more: object):
    """`landmeta prepare rasters` on a world."""
    legend = root / "legend.yaml"
    return invoke("prepare", "rasters", root, "--out", out, *TREE, "--legend", legend, *more)
