"""QGIS itself opens what is written, where this machine has it."""

import json
import os
import shutil
import subprocess

import numpy as np
import pytest

from landmeta.companions import Companions
from landmeta.design import write_sample
from landmeta.kinds import Allocation, Kind
from landmeta.landmap import open_map
from landmeta.planning import Aim
from landmeta.predict import predict
from landmeta.sampling import sample_pixels
from tests.rasters import THREE, NearestCentroid, write_raster

CENTROIDS = np.array([[0, 0], [1, 0.5], [0.2, 1]], np.float32)
PROGRAM = """
import json, sys
from qgis.core import QgsApplication, QgsRasterLayer, QgsVectorLayer
app = QgsApplication([], False)
app.initQgis()
found = {}
for path in sys.argv[1:]:
    if path.endswith(".tif"):
        layer = QgsRasterLayer(path, "layer")
        shown = layer.renderer()
        classes = shown.classes() if shown.type() == "paletted" else []
        found[path] = {
            "valid": layer.isValid(), "crs": layer.crs().authid(), "type": shown.type(),
            "nodata": layer.dataProvider().sourceNoDataValue(1),
            "classes": [[c.value, c.label, c.color.name()] for c in classes],
        }
    else:
        layer = QgsVectorLayer(path, "layer", "ogr")
        found[path] = {
            "valid": layer.isValid(), "crs": layer.crs().authid(), "count": layer.featureCount(),
            "fields": [field.name() for field in layer.fields()],
            "good": all(f.geometry().isGeosValid() for f in layer.getFeatures()),
        }
print(json.dumps(found))
"""


def opened(*paths):
    """What QGIS says of files; skips the test, with the reason, where there is none."""
    python = "/usr/bin/python3"
    environment = {"PATH": os.environ["PATH"], "QT_QPA_PLATFORM": "offscreen", "LANG": "C.UTF-8"}
    asked = [python, "-c", "import qgis.core"]
    if not shutil.which(python) or subprocess.run(asked, env=environment, stderr=-3).returncode:
        pytest.skip("no QGIS here: install python3-qgis")
    told = subprocess.run(
        [python, "-c", PROGRAM, *map(str, paths)],
        env=environment, check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    found = json.loads(told.stdout.splitlines()[-1])
    return [found[str(path)] for path in paths]


def test_a_map_its_polygons_and_a_sample_of_it(tmp_path):
    pixels = np.random.default_rng(0).uniform(0, 1, (2, 70, 90)).astype(np.float32)
    pixels[:, 10:20, 10:30] = np.nan
    write_raster(tmp_path / "image.tif", pixels, ("red", "nir"))
    out = tmp_path / "map.tif"
    predict(
        NearestCentroid(CENTROIDS), tmp_path / "image.tif", out,
        companions=Companions(polygons=True), quiet=True,
    )  # fmt: skip
    design = sample_pixels(open_map(out), Kind.stratified, Allocation.equal, Aim(size=30))[0]
    write_sample(tmp_path / "points.gpkg", design)
    landmap, polygons, points = opened(out, tmp_path / "map.gpkg", tmp_path / "points.gpkg")
    assert landmap == {
        "valid": True,
        "crs": "EPSG:32633",
        "type": "paletted",
        "nodata": 255,
        "classes": [[c.id, c.name, c.color] for c in THREE.classes],
    }
    assert polygons["valid"]
    assert polygons["good"]
    assert polygons["crs"] == points["crs"] == "EPSG:32633"
    assert points["count"] == 30
    assert {"id", "reference", "comment"} <= set(points["fields"])
