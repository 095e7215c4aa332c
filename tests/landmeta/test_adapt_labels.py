"""`landmeta adapt` and `landmeta suggest` on polygons, points and rasters, as a user types them."""

import geopandas as gpd
import numpy as np
import pytest
import torch
from shapely import Point

from landmeta.checkpoint import load_checkpoint, read_tensors, write_tensors
from landmeta.classifier import NetworkClassifier
from landmeta.errors import CheckpointMismatch
from landmeta.forest import PixelForest, over_tiles
from landmeta.train import train
from tests.program import invoke
from tests.rasters import UTM, write_raster
from tests.shapes import at, write_shapes
from tests.tiny import BANDS, LEGEND, tiny_config

SIZE = (48, 64)


def blocks(seed=0):
    return np.random.default_rng(seed).integers(0, 3, (SIZE[0] // 8, SIZE[1] // 8))


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """An image like those of the tiny task set's region t, and a polygon in each block of it."""
    folder = tmp_path_factory.mktemp("scene")
    index = np.kron(blocks(), np.ones((8, 8), int))
    image = 60.0 * (index == np.arange(3)[:, None, None]) + 120
    image += np.random.default_rng(1).normal(0, 8, image.shape)
    write_raster(folder / "image.tif", image.clip(0, 255).astype(np.uint8), BANDS)
    geometry, names = [], []
    for (row, col), kind in np.ndenumerate(blocks()):
        geometry.append(at(8 * col + 1, 8 * row + 1, 8 * col + 7, 8 * row + 7))
        names.append(("forest", "WATER", "Urban")[kind])
    write_shapes(folder / "labels.gpkg", geometry, names)
    back = gpd.GeoSeries(geometry, crs="EPSG:32633").to_crs(4326)
    write_shapes(folder / "degrees.geojson", back[:20], names[:20], "EPSG:4326")
    write_shapes(folder / "few.shp", geometry[:3], names[:3])
    centres = [g.centroid for g in geometry]
    write_shapes(folder / "points.parquet", centres, names)
    ids = np.array(LEGEND.ids, np.uint8)[index][::2, ::2]
    grid = UTM | {"transform": UTM["transform"] * UTM["transform"].scale(2)}
    write_raster(folder / "coarse.tif", ids[None], **grid)
    return folder


def adapted(scene, checkpoint, labels, out, *more):
    column = () if str(labels).endswith(".tif") else ("--class-column", "class")
    return invoke(
        "adapt", checkpoint, "--image", scene / "image.tif", "--labels", scene / labels, *column,
        "--out", out, "--device", "cpu", "--quiet", *more,
    )  # fmt: skip


def row_of(output, name):
    """The cells of a row of the printed table."""
    (found,) = [line.split() for line in output.splitlines() if line.strip().startswith(f"{name} ")]
    return found


def test_polygons_are_counted_held_out_and_remembered(scene, checkpoints, tmp_path):
    out = tmp_path / "region.safetensors"
    done = adapted(scene, checkpoints["pretrain"], "labels.gpkg", out)
    assert done.exit_code == 0, done.output
    for number, name in enumerate(LEGEND.names):
        shapes = int((blocks() == number).sum())
        assert row_of(done.output, name)[:3] == [name, str(shapes), str(36 * shapes)]
    assert "labelled places are right" in done.output
    assert "no random sample" in done.output.replace("\n", " ")
    meta = load_checkpoint(out).meta
    record = meta.provenance["held_out"]
    assert record["groups"] == 48
    assert f"{record['accuracy']:.0%} of the pixels of 48" in done.output
    assert meta.provenance["support_pixels"] == {
        name: 36 * int((blocks() == i).sum()) for i, name in enumerate(LEGEND.names)
    }
    heat = meta.temperature
    assert heat is None or 0.05 <= heat <= 20
    assert NetworkClassifier(out, "cpu").novelty.threshold > 0


def test_other_formats_projections_and_points(scene, checkpoints, tmp_path):
    for labels, pixels in (("degrees.geojson", 20 * 36), ("points.parquet", 48 * 5)):
        out = tmp_path / f"{labels}.safetensors"
        done = adapted(
            scene, checkpoints["pretrain"], labels, out, "--no-hold-out", "--point-radius", 1
        )
        assert done.exit_code == 0, done.output
        used = load_checkpoint(out).meta.provenance["support_pixels"]
        assert sum(used.values()) == pixels
        assert load_checkpoint(out).meta.temperature is None


def test_a_raster_on_another_grid(scene, checkpoints, tmp_path):
    out = tmp_path / "region.safetensors"
    done = adapted(scene, checkpoints["pretrain"], "coarse.tif", out, "--no-hold-out")
    assert done.exit_code == 0, done.output
    assert "was warped to the grid" in done.output
    used = load_checkpoint(out).meta.provenance["support_pixels"]
    assert used == {n: 64 * int((blocks() == i).sum()) for i, n in enumerate(LEGEND.names)}


def test_too_few_places_are_told(scene, checkpoints, tmp_path):
    done = adapted(scene, checkpoints["pretrain"], "few.shp", tmp_path / "r.safetensors")
    assert done.exit_code == 0, done.output
    assert "3 separate labelled places are too few to hold any out" in done.output
    tuned = load_checkpoint(checkpoints["pretrain"]).meta.adaptation
    made = load_checkpoint(tmp_path / "r.safetensors").meta
    assert set(made.adaptation.values()) <= set(tuned.values())
    missing = set(LEGEND.names) - {LEGEND.names[i] for i in blocks().ravel()[:3]}
    for name in missing:
        assert f"nothing is labelled {name}" in done.output


def test_an_asked_for_way_is_judged_and_kept(scene, checkpoints, tmp_path):
    out = tmp_path / "r.safetensors"
    done = adapted(
        scene, checkpoints["pretrain"], "labels.gpkg", out, "--optimizer", "sgd", "--rate", 0.01,
        "--steps", 2,
    )  # fmt: skip
    assert "2 steps of sgd at rate 0.01" in done.output
    assert "with the way asked for" in done.output
    assert load_checkpoint(out).meta.provenance["held_out"]["ways"] == 1


def test_a_forest_votes_beside_the_network(scene, checkpoints, tmp_path):
    """Colours tell the classes, so the forest is right; the map is the pool of the two."""
    found = []
    for share in (None, 0.0, 0.5, 1.0):
        out = tmp_path / f"{share}.safetensors"
        asked = () if share is None else ("--forest", share)
        done = adapted(scene, checkpoints["pretrain"], "labels.gpkg", out, "--steps", 1, *asked)
        assert done.exit_code == 0, done.output
        assert "forest on the pixels alone" in done.output
        found.append((NetworkClassifier(out), done.output))
    chosen, *asked = found
    assert chosen[0].checkpoint.meta.forest > 0
    assert "has 50% of the votes" in asked[1][1]
    assert "forest on the pixels maps alone" in asked[2][1]
    image = np.random.default_rng(0).normal(150, 40, (2, 3, 16, 16)).astype(np.float32)
    for classifier, _ in asked:
        classifier.temperature = None
    network, half, forest = (c.probabilities(image) for c, _ in asked)
    np.testing.assert_allclose(half, (network + forest) / 2, atol=1e-6)
    assert np.abs(network - forest).max() > 0.1
    np.testing.assert_allclose(forest.sum(axis=1), 1, atol=1e-5)
    asked[1][0].temperature = 0.5  # of what both say together
    powers = half.astype(np.float64) ** 2
    expected = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(asked[1][0].probabilities(image), expected, atol=1e-5)
    assert asked[1][0].checkpoint.meta.provenance["held_out"]["forest_share"] == 0.5


def test_without_anything_held_out_half_of_the_votes_are_the_forests(scene, checkpoints, tmp_path):
    out = tmp_path / "r.safetensors"
    done = adapted(scene, checkpoints["pretrain"], "labels.gpkg", out, "--no-hold-out")
    assert "has 50% of the votes" in done.output
    assert load_checkpoint(out).meta.forest == 0.5
    done = adapted(scene, checkpoints["pretrain"], "few.shp", tmp_path / "few.safetensors")
    assert "the network maps alone" in done.output
    beside = load_checkpoint(tmp_path / "few.safetensors").beside
    assert not any(name.startswith("forest") for name in beside)


def test_a_forest_that_does_not_belong_is_refused(scene, checkpoints, tmp_path):
    out, damaged = tmp_path / "r.safetensors", tmp_path / "damaged.safetensors"
    adapted(scene, checkpoints["pretrain"], "labels.gpkg", out, "--no-hold-out")
    tensors, metadata = read_tensors(out)
    forest = {name: t for name, t in tensors.items() if "forest." in name}
    rest = {name: t for name, t in tensors.items() if name not in forest}
    one = {name: t[:, :2] if name.endswith("values") else t for name, t in forest.items()}
    turned = {n: t.flip(0) if n.endswith("left_child") else t for n, t in forest.items()}
    for wrong, why in ((one, "classes"), (turned, "leads nowhere"), ({}, "share")):
        write_tensors(damaged, rest | wrong, metadata, overwrite=True)
        with pytest.raises(CheckpointMismatch, match=why) as caught:
            NetworkClassifier(damaged, "cpu")
        assert "damaged.safetensors" in str(caught.value)


def test_an_ensemble_is_averaged(scene, checkpoints, tmp_path):
    out = tmp_path / "r.safetensors"
    done = adapted(
        scene, checkpoints["pretrain"], "labels.gpkg", out, "--ensemble", 3, "--no-hold-out",
        "--steps", 3, "--rate", 0.01, "--optimizer", "adam",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    loaded, image = load_checkpoint(out), np.random.default_rng(0).uniform(0, 255, (2, 3, 16, 16))
    batch = torch.from_numpy(image.astype(np.float32))
    assert len(loaded.members) == 2
    with torch.no_grad():
        each = [loaded.method.logits(p, batch).softmax(1) for p in (loaded.params, *loaded.members)]
    assert not torch.equal(each[0], each[1])
    assert not torch.equal(each[1], each[2])
    forest = over_tiles(PixelForest.of(loaded.beside), batch.numpy())
    classifier = NetworkClassifier(out, "cpu")
    found = classifier.probabilities(batch.numpy())
    expected = (torch.stack(each).mean(0).numpy() + forest) / 2
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert classifier.provenance()["landmeta_forest_share"] == "0.5"


def test_an_image_out_of_the_trained_range(scene, checkpoints, tmp_path):
    with_scale = write_raster(tmp_path / "image.tif", np.full((3, *SIZE), 30_000, np.int32), BANDS)
    done = invoke(
        "adapt", checkpoints["pretrain"], "--image", with_scale, "--labels", scene / "few.shp",
        "--class-column", "class", "--out", tmp_path / "r.safetensors", "--device", "cpu",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    for band in BANDS:
        assert f"out of the trained range: band {band} has mean 3e+04" in done.output


def test_new_classes_with_an_open_legend(scene, tiny, tmp_path):
    settings = {"legend": "open", "outer": {"steps": 2, "rate": 0.003}}
    path = train(tiny_config(tiny, tmp_path / "run", "ridge", **settings), quiet=True)
    frame = gpd.read_file(scene / "labels.gpkg")
    frame["class"] = frame["class"].replace({"forest": "oil palm", "Urban": "mine"})
    frame.to_file(tmp_path / "new.gpkg")
    out = tmp_path / "r.safetensors"
    done = adapted(scene, path, tmp_path / "new.gpkg", out, "--no-hold-out")
    assert done.exit_code == 0, done.output
    assert load_checkpoint(out).meta.legend.names == ("mine", "oil palm", "Water")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--class-column", "note"), "unknown classes 'x' (48 times)"),
        (("--class-column", "nope"), "the columns are class ("),
        (("--class-column", "class", "--layer", "second"), "no layer 'second'"),
        ((), "no column was named"),
    ],
)
def test_bad_requests_say_what_to_do_and_leave_nothing(scene, checkpoints, tmp_path, more, said):
    out = tmp_path / "r.safetensors"
    done = invoke(
        "adapt", checkpoints["pretrain"], "--image", scene / "image.tif", "--labels",
        scene / "labels.gpkg", "--out", out, *more,
    )  # fmt: skip
    assert done.exit_code == 2
    assert said in done.output
    assert "remedy:" in done.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words", [("--image", "a.tif"), ("--labels", "l.gpkg"), ("--taskset", "t", "--labels", "l")]
)
def test_half_a_request(checkpoints, tmp_path, words):
    done = invoke("adapt", checkpoints["pretrain"], "--out", tmp_path / "r", *words)
    assert done.exit_code == 2
    assert "remedy: give --image" in done.output


def test_suggested_places_are_filled_in_and_adapted_to(scene, checkpoints, tmp_path):
    model, places = tmp_path / "r.safetensors", tmp_path / "places.gpkg"
    assert adapted(scene, checkpoints["pretrain"], "few.shp", model).exit_code == 0
    done = invoke(
        "suggest", model, scene / "image.tif", "--out", places, "--labels", scene / "few.shp",
        "--count", 6, "--size", 4, "--device", "cpu",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    table = gpd.read_file(places)
    assert 1 <= len(table) <= 6
    assert table["rank"].tolist() == list(range(1, len(table) + 1))
    assert not table.intersects(gpd.read_file(scene / "few.shp").union_all()).any()
    bounds = gpd.GeoSeries([at(0, 0, SIZE[1], SIZE[0])], crs=table.crs).buffer(0.1)[0]
    assert table.within(bounds).all()
    table["class"] = table["guess"]
    table.to_file(places)
    again = adapted(
        scene, checkpoints["pretrain"], places, tmp_path / "s.safetensors", "--no-hold-out"
    )
    assert again.exit_code == 0, again.output
    refused = invoke("suggest", model, scene / "image.tif", "--out", places, "--device", "cpu")
    assert refused.exit_code == 2
    assert "already exists" in refused.output


def test_far_points_label_nothing(scene, checkpoints, tmp_path):
    write_shapes(tmp_path / "far.gpkg", [Point(0, 0)], ["Forest"])
    done = adapted(scene, checkpoints["pretrain"], tmp_path / "far.gpkg", tmp_path / "r")
    assert done.exit_code == 2
    assert "none of the 1 shapes lies on" in done.output
