"""From a drawing to a map, and nothing lost on the way."""

from functools import partial

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from landmeta.checkpoint import load_checkpoint
from landmeta.errors import ConfigError, MissingBands, UnreadableFile
from landmeta.studio import drawing, view
from landmeta.studio.jobs import Jobs
from landmeta.studio.workshop import EXPORTS, Workshop
from tests.landmeta.studio.test_drawing import point, polygon
from tests.rasters import write_raster
from tests.tiny import LEGEND

NAMES = LEGEND.names


def drawn(classes):
    """A polygon in the first block of each class."""
    raw = []
    for index, name in enumerate(NAMES):
        row, col = np.argwhere(classes == index)[0]
        raw.append(polygon(name, (col, row), (col + 6, row), (col + 6, row + 6), (col, row + 6)))
    return drawing.parse(raw)


def run(shop):
    jobs = Jobs()
    jobs.start(shop.map)
    jobs.wait()
    return jobs.progress


def test_a_drawing_becomes_a_map(image, classes, checkpoints, tmp_path):
    shop = Workshop(image, checkpoints["maml"], tmp_path / "out")
    shop.draw(drawn(classes))
    assert shop.pixels() == dict.fromkeys(NAMES, 36)
    ended = run(shop)
    assert ended.stage == "done", ended.words
    with rasterio.open(tmp_path / "out/map.tif") as made, rasterio.open(image) as source:
        assert (made.crs, made.transform) == (source.crs, source.transform)
        right = (made.read(1) == LEGEND.to_ids(classes)).mean()
    assert right > 0.5
    meta = load_checkpoint(tmp_path / "out/region.safetensors").meta
    assert meta.provenance["support_pixels"] == dict.fromkeys(NAMES, 36)
    labels = gpd.read_file(tmp_path / "out/labels.gpkg")
    assert sorted(labels["class"]) == sorted(NAMES)
    assert labels.crs.to_epsg() == 32633
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"drawing.json", *EXPORTS}


def test_an_image_without_coordinates(classes, checkpoints, tmp_path):
    pixels = (classes[None] == np.arange(3)[:, None, None]) * 60.0 + 70
    path = write_raster(tmp_path / "photo.tif", pixels, ("R", "G", "B"), crs=None)
    shop = Workshop(path, checkpoints["maml"], tmp_path / "out")
    shop.draw(drawn(classes))
    ended = run(shop)
    assert ended.stage == "done", ended.words
    meta = load_checkpoint(tmp_path / "out/region.safetensors").meta
    assert meta.provenance["support_pixels"] == dict.fromkeys(NAMES, 36)
    assert gpd.read_file(tmp_path / "out/labels.gpkg").crs is None


def test_places_to_label_next_are_not_where_labels_are(image, classes, checkpoints, tmp_path):
    shop = Workshop(image, checkpoints["maml"], tmp_path / "out")
    with pytest.raises(ConfigError, match="draw labels and adapt first"):
        shop.suggest(None)
    shop.draw(drawn(classes))
    run(shop)
    jobs = Jobs()
    jobs.start(shop.suggest)
    jobs.wait()
    assert jobs.progress.stage == "done", jobs.progress.words
    assert shop.places
    label = drawing.rasterise(shop.shapes, shop.legend, *classes.shape)
    for place in shop.places:
        rows = slice(place["row"], place["row"] + place["size"])
        cols = slice(place["col"], place["col"] + place["size"])
        assert label[rows, cols].shape == (place["size"], place["size"])
        assert (label[rows, cols] == 255).all()
        assert place["guess"] in NAMES


def test_of_a_large_image_the_view_is_mapped_until_all_is_asked_for(
    image, classes, checkpoints, tmp_path, monkeypatch
):
    monkeypatch.setattr(view, "AT_ONCE", 1000)
    shop = Workshop(image, checkpoints["maml"], tmp_path / "out")
    assert shop.large
    shop.draw(drawn(classes))
    jobs = Jobs()
    seen = (20.0, 8.0, 32.0, 24.0)
    for work in (partial(shop.map, seen=seen), partial(shop.suggest, seen=seen)):
        jobs.start(work)
        jobs.wait()
        assert jobs.progress.stage == "done", jobs.progress.words
        if "mapped" in jobs.progress.words:
            assert "32 × 24 pixels" in jobs.progress.words
    with rasterio.open(tmp_path / "out/map.tif") as part, rasterio.open(image) as source:
        assert part.shape == (24, 32)
        assert part.transform == source.window_transform(Window(20, 8, 32, 24))
        right = (part.read(1) == LEGEND.to_ids(classes)[8:32, 20:52]).mean()
    assert right > 0.5
    assert shop.places
    for place in shop.places:
        assert 20 <= place["col"] <= 52 - place["size"]
        assert 8 <= place["row"] <= 32 - place["size"]
    model = (tmp_path / "out/region.safetensors").read_bytes()
    jobs.start(shop.map_all)
    jobs.wait()
    assert jobs.progress.stage == "done", jobs.progress.words
    with rasterio.open(tmp_path / "out/map.tif") as made:
        assert made.shape == classes.shape
    assert (tmp_path / "out/region.safetensors").read_bytes() == model
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"drawing.json", *EXPORTS}


def test_who_comes_back_finds_all_of_it(image, classes, open_checkpoint, tmp_path):
    shop = Workshop(image, open_checkpoint, tmp_path / "out")
    made = [shop.add_class(name) for name in ("Reed", "Rock")]
    shop.draw(drawing.parse([point("Reed", 1, 2), point("Rock", 9, 9)]))
    again = Workshop(image, open_checkpoint, tmp_path / "out")
    assert again.shapes == shop.shapes
    assert again.legend.classes == tuple(made)


def test_new_classes_are_mapped(image, classes, open_checkpoint, tmp_path):
    shop = Workshop(image, open_checkpoint, tmp_path / "out")
    assert shop.legend is None
    assert shop.pixels() == {}
    shapes = [s.model_copy(update={"label": f"my {s.label}"}) for s in drawn(classes)]
    for shape in shapes:
        shop.add_class(shape.label)
    shop.draw(shapes)
    ended = run(shop)
    assert ended.stage == "done", ended.words
    meta = load_checkpoint(tmp_path / "out/region.safetensors").meta
    assert meta.legend.names == tuple(f"my {name}" for name in NAMES)
    assert len({c.color for c in meta.legend.classes}) == 3
    with pytest.raises(ConfigError, match="already"):
        shop.add_class(f"my {NAMES[0]}")
    with pytest.raises(ConfigError, match="needs a name"):
        shop.add_class("  ")


def test_what_was_there_stays_when_adapting_fails_or_is_cancelled(
    image, classes, checkpoints, tmp_path
):
    shop = Workshop(image, checkpoints["maml"], tmp_path / "out")
    shop.draw(drawn(classes))
    run(shop)
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    shop.draw([])
    assert run(shop).stage == "failed"
    shop.draw(drawn(classes)[:1])
    jobs = Jobs()

    def cancelled_while_mapping(job):
        tell = job.tell

        def watched(words, share=None):
            if words == "mapping":
                jobs.cancel()
            tell(words, share)

        job.tell = watched
        return shop.map(job)

    jobs.start(cancelled_while_mapping)
    jobs.wait()
    assert jobs.progress.stage == "cancelled"
    after = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    del before["drawing.json"], after["drawing.json"]
    assert after == before


def test_bad_input_is_refused(image, checkpoints, tmp_path):
    with pytest.raises(MissingBands):
        Workshop(image, checkpoints["maml"], tmp_path / "out", names=["a", "b", "c"])
    assert not (tmp_path / "out").exists()
    shop = Workshop(image, checkpoints["maml"], tmp_path / "out")
    with pytest.raises(ConfigError, match="'Lava' is no class"):
        shop.draw(drawing.parse([point("Lava", 1, 1)]))
    with pytest.raises(ConfigError, match="its own classes only"):
        shop.add_class("Lava")
    with pytest.raises(ConfigError, match=r"there is no map\.tif yet"):
        shop.export("map.tif")
    with pytest.raises(ConfigError, match=r"there is no drawing\.json"):
        shop.export("drawing.json")
    (tmp_path / "out/drawing.json").write_text("{", encoding="utf-8")
    with pytest.raises(UnreadableFile, match="not a drawing"):
        Workshop(image, checkpoints["maml"], tmp_path / "out")
