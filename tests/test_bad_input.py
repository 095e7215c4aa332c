"""Every kind of bad input, given to the command line: a named error and nothing left behind."""

import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

import landmeta.cli
from landmeta import errors
from landmeta.adaptation import Adaptation
from landmeta.checkpoint import CheckpointMeta, save_checkpoint
from landmeta.methods import MethodSettings, make_method
from landmeta.model import UNetConfig
from landmeta.taskset import Band, TaskSet
from tests.data.deepglobe import write_deepglobe
from tests.disk import no_file_above
from tests.program import BANDS, NODATA, invoke, prepare, write_config, write_scene, write_world
from tests.rasters import read_raster, write_raster
from tests.tiny import LEGEND, NET, TILE, tiny_config


@dataclass(frozen=True)
class Place:
    """Where a case happens.

    Attributes:
        here: an empty folder of its own; outputs go there.
        given: good inputs, shared by all cases and never changed.
    """

    here: Path
    given: Path

    @property
    def out(self) -> Path:
        return self.here / "out"

    @property
    def world(self) -> Path:
        """A copy of the raw files, to be spoilt."""
        return Path(shutil.copytree(self.given / "raw", self.here / "raw", dirs_exist_ok=True))

    @property
    def image(self) -> Path:
        return self.world / "b/0_image.tif"

    @property
    def labels(self) -> Path:
        return self.world / "b/0_labels.tif"

    @property
    def model(self) -> Path:
        return self.given / "model.safetensors"

    def prepare(self, *more):
        legend = self.here / "raw/legend.yaml"
        return ("prepare", self.here / "raw", self.out, "--legend", legend, *more)

    def predict(self, image=None, model=None, *more):
        image = image or self.given / "new_image.tif"
        return ("predict", model or self.model, image, "--out", self.here / "map.tif", *more)

    def adapt(self, image=None, labels=None, model=None, *more):
        image, labels = (
            image or self.given / "raw/b/0_image.tif",
            labels or self.given / "raw/b/0_labels.tif",
        )
        pair = f"{image}={labels}"
        return ("adapt", model or self.model, "--support", pair, "--out", self.out, *more)

    def adapt_from_taskset(self, taskset=None, region="t", shots=2):
        return (
            "adapt", self.model, "--taskset", taskset or self.given / "taskset",
            "--region", region, "--shots", shots, "--out", self.out,
        )  # fmt: skip

    def train(self, *more, **settings):
        config = tiny_config(TaskSet(self.given / "taskset"), self.out, "pretrain")
        plain = config.model_dump(mode="json") | settings
        return ("train", write_config(self.here / "train.yaml", plain), *more)

    def compare(self, **settings):
        plain = {
            "taskset": str(self.given / "taskset"),
            "out": str(self.out),
            "checkpoints": {"pretrain": str(self.model), "other": str(self.model)},
            "device": "cpu",
            "shots": [0, 1],
            "draws": 2,
            "queries": 2,
        }
        return ("compare", write_config(self.here / "compare.yaml", plain | settings))


def run(words):
    if words[0] == "prepare" and isinstance(words[1], Path):
        return prepare(*words[1:], "--quiet")
    quiet = ["--quiet"] if words[0] in ("predict", "train", "compare") else []
    return invoke(*words, *quiet)


def model_for(taskset: TaskSet, path: Path, **changes) -> Path:
    """An untrained checkpoint."""
    unet, meta = UNetConfig.model_validate(NET), taskset.meta.model_copy(update=changes)
    settings = MethodSettings(method="scratch")
    method = make_method(settings, unet, len(meta.bands), len(meta.legend))
    record = CheckpointMeta(
        kind="meta",
        settings=settings,
        unet=unet,
        bands=meta.bands,
        legend=meta.legend,
        gsd=meta.gsd,
        tile_size=meta.tile_size,
        adaptation={1: Adaptation(rate=0.01, steps=1)},
    )
    save_checkpoint(path, method, method.initial(), record)
    return path


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    write_world(folder / "raw")
    write_scene(folder, "new", brightness=3, seed=99)
    assert prepare(folder / "raw", folder / "taskset", "--quiet").exit_code == 0
    model_for(TaskSet(folder / "taskset"), folder / "model.safetensors")
    return folder


@pytest.fixture
def place(given, tmp_path):
    return Place(tmp_path, given)


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file (and empty folder) below, hidden ones too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


# ---- the table -------------------------------------------------------------------------------

Make = Callable[[Place], tuple]
CASES: list = []


def bad(error: type[errors.LandmetaError], *says: str, remedy: str):
    """Register a case: which error it is, what is said (`says`), and the remedy.

    The decorated function spoils something and returns the words of the command.
    """

    def register(make: Make) -> Make:
        CASES.append(pytest.param(make, error, says, remedy, id=make.__name__))
        return make

    return register


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(("make", "error", "says", "remedy"), CASES)
def test_bad_input_is_a_named_error_and_leaves_nothing(
    place, monkeypatch, make, error, says, remedy
):
    told = []
    say = landmeta.cli._say
    monkeypatch.setattr(landmeta.cli, "_say", lambda e: (told.append(e), say(e)))
    words = make(place)
    before = contents(place.here)
    ended = run(words)
    assert ended.exit_code == 2, ended.output
    assert isinstance(ended.exception, SystemExit)
    assert [type(e) for e in told] == [error]
    first, _, second = ended.stderr.partition("\nremedy: ")
    assert first.startswith("error: ")
    for words in says:
        assert words in first
    assert remedy in second
    assert "Traceback" not in ended.output
    assert ended.stdout == ""
    assert contents(place.here) == before
    assert not [p for p in place.given.rglob("*") if ".partial" in p.name]


# ---- bands -----------------------------------------------------------------------------------


def with_bands(path: Path, names) -> None:
    """Rewrite an image with as many bands, of these names."""
    with rasterio.open(path) as dataset:
        profile = {"crs": dataset.crs, "transform": dataset.transform, "nodata": dataset.nodata}
    pixels = read_raster(path)
    chosen = pixels[np.arange(len(names)) % len(pixels)]
    write_raster(path, chosen, tuple(names), **profile)


@bad(errors.MissingBands, "b/0_image.tif", "red, green, but", "nir", remedy="same bands")
def prepare_an_image_with_a_band_less(place):
    with_bands(place.image, ("red", "green"))
    return place.prepare()


@bad(errors.MissingBands, "b/0_image.tif", "swir", remedy="same bands")
def prepare_an_image_with_a_band_more(place):
    with_bands(place.image, (*BANDS, "swir"))
    return place.prepare()


@bad(errors.MissingBands, "b/0_image.tif", "nir, green, red", remedy="same order")
def prepare_an_image_with_bands_in_another_order(place):
    with_bands(place.image, BANDS[::-1])
    return place.prepare()


@bad(errors.MissingBands, "a/0_image.tif", "no band blue", remedy="names")
def prepare_with_a_band_that_is_not_there(place):
    assert place.world
    return place.prepare("--bands", "red,blue")


@bad(errors.MissingBands, "b/0_image.tif", "missing nir", remedy="--bands")
def predict_an_image_with_a_band_less(place):
    image = place.image
    with_bands(image, ("red", "green"))
    return place.predict(image)


@bad(errors.MissingBands, "b/0_image.tif", "extra swir", remedy="--bands")
def predict_an_image_with_a_band_more(place):
    image = place.image
    with_bands(image, (*BANDS, "swir"))
    return place.predict(image)


@bad(errors.MissingBands, "b/0_image.tif", "missing red", "extra blue", remedy="--bands")
def predict_an_image_with_another_band(place):
    image = place.image
    with_bands(image, ("blue", "green", "nir"))
    return place.predict(image)


@bad(errors.MissingBands, "b/0_image.tif", "band 1 'nir'", "'red' is needed", remedy="--bands")
def predict_an_image_whose_only_name_is_in_another_place(place):
    image = place.image
    with_bands(image, ("nir", None, None))
    return place.predict(image)


@bad(errors.MissingBands, "b/0_image.tif", "3 bands, but 2 names", remedy="every band")
def predict_with_too_few_names(place):
    return place.predict(place.image, None, "--bands", "red,nir")


@bad(errors.MissingBands, "b/0_image.tif", "missing red", remedy="--bands")
def adapt_to_an_image_with_another_band(place):
    image = place.image
    with_bands(image, ("blue", "green", "nir"))
    return place.adapt(image)


# ---- labels ----------------------------------------------------------------------------------


def spoil(path: Path, change) -> Path:
    """Change the pixels of a file in place."""
    with rasterio.open(path, "r+") as dataset:
        pixels = dataset.read()
        change(pixels)
        dataset.write(pixels)
    return path


def in_colours(place: Place) -> Path:
    """The labels of region b as a mask of the legend's colours, with one colour of its own."""
    colours = LEGEND.palette()[LEGEND.from_map(read_raster(place.labels)[0])]
    colours[colours.all(axis=-1)] = (0, 0x99, 0)
    colours[20, 20] = (1, 2, 3)
    path = place.labels
    path.unlink()
    Image.fromarray(colours).save(path.with_suffix(".png"))
    return path.with_suffix(".png")


@bad(errors.SizeMismatch, "b/0_labels.tif", "47 × 64", "48 × 64", remedy="same size")
def prepare_a_mask_of_another_size(place):
    labels = place.labels
    write_raster(labels, read_raster(labels)[:, 1:])
    return place.prepare()


@bad(errors.SizeMismatch, "b/0_labels.tif", "47 × 64", "48 × 64", remedy="same size")
def adapt_to_a_mask_of_another_size(place):
    labels = place.labels
    write_raster(labels, read_raster(labels)[:, 1:])
    return place.adapt(labels=labels)


@bad(errors.UnknownClass, "b/0_labels.tif", "class id 77", "1, 2, 5", remedy="legend")
def prepare_an_unknown_class_id(place):
    spoil(place.labels, lambda pixels: pixels[:, 30:, 30:].fill(77))
    return place.prepare()


@bad(errors.UnknownClass, "b/0_labels.tif", "class id 77", "1, 2, 5", remedy="legend")
def adapt_to_an_unknown_class_id(place):
    labels = spoil(place.labels, lambda pixels: pixels[:, 30:, 30:].fill(77))
    return place.adapt(labels=labels)


@bad(errors.UnknownClass, "labels.png", "colour #010203", "#1c0dff", remedy="legend")
def prepare_an_unknown_mask_colour(place):
    mask = in_colours(place)
    for path in (place.here / "raw").glob("[!b]/*_labels.tif"):
        path.unlink()
    shutil.move(mask, place.here / "raw/b/0_labels.png")
    return (
        "prepare", "rasters", place.here / "raw", "--out", place.out, "--tile", TILE,
        "--images", "b/{region}_image.tif", "--labels", "b/{region}_labels.png",
        "--legend", place.here / "raw/legend.yaml", "--val", 0, "--test", 0, "--quiet",
    )  # fmt: skip


@bad(errors.UnknownClass, "labels.png", "colour #010203", "#1c0dff", remedy="legend")
def adapt_to_an_unknown_mask_colour(place):
    return place.adapt(labels=in_colours(place))


@bad(errors.UnknownClass, "1037_mask.png", "colour #ff0000", remedy="legend")
def prepare_an_unknown_colour_of_deepglobe(place):
    root = place.here / "raw"
    write_deepglobe(root, images=6, size=32)
    mask = np.asarray(Image.open(root / "1037_mask.png")).copy()
    mask[5, 5] = (250, 3, 0)
    Image.fromarray(mask).save(root / "1037_mask.png")
    return (
        "prepare", "deepglobe", root, "--out", place.out, "--tile", TILE, "--split", "random",
        "--k", 3, "--quiet",
    )  # fmt: skip


@bad(errors.EmptyRegion, "raw", "region 'b'", "labelled", remedy="label more")
def prepare_a_region_without_labels(place):
    spoil(place.labels, lambda pixels: pixels.fill(255))
    return place.prepare()


@bad(errors.EmptyRegion, "raw/b", "region 'b'", "16 × 16", remedy="at most 12")
def prepare_a_region_smaller_than_a_tile(place):
    image, labels = place.image, place.labels
    write_raster(image, read_raster(image)[:, :12], BANDS)
    write_raster(labels, read_raster(labels)[:, :12])
    return place.prepare()


@bad(errors.EmptyRegion, "b/0_labels.tif", "no pixel", remedy="label some")
def adapt_to_nothing_labelled(place):
    return place.adapt(labels=spoil(place.labels, lambda pixels: pixels.fill(255)))


@bad(errors.EmptyRegion, "b/0_labels.tif", "no pixel", remedy="label some")
def adapt_to_labels_where_the_image_has_no_data(place):
    return place.adapt(spoil(place.image, lambda pixels: pixels.fill(NODATA)))


@bad(errors.EmptyRegion, "taskset", "'nowhere'", remedy="choose one of: a, b, c, t, u, v")
def adapt_to_a_region_that_is_not_there(place):
    return place.adapt_from_taskset(region="nowhere")


@bad(errors.EmptyRegion, "taskset", "'val'", remedy="prepare")
def train_without_validation_regions(place):
    assert prepare(place.world, place.here / "taskset", "--val", 0, "--quiet").exit_code == 0
    return place.train(taskset=str(place.here / "taskset"))


# ---- files -----------------------------------------------------------------------------------


def cut(path: Path, share: float = 0.6) -> Path:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    return path


@bad(errors.UnreadableFile, "b/0_image.tif", "cannot be read", remedy="truncated")
def prepare_a_truncated_image(place):
    cut(place.image)
    return place.prepare()


@bad(errors.UnreadableFile, "b/0_labels.tif", "cannot be read", remedy="truncated")
def prepare_truncated_labels(place):
    cut(place.labels)
    return place.prepare()


@bad(errors.UnreadableFile, "_sat.jpg", "cannot be read", remedy="truncated")
def prepare_a_truncated_photo(place):
    root = place.here / "raw"
    write_deepglobe(root, images=10, size=32)
    cut(min(root.glob("*_sat.jpg")))
    return (
        "prepare", "deepglobe", root, "--out", place.out, "--tile", TILE, "--split", "random",
        "--k", 3, "--min-images", 1, "--quiet",
    )  # fmt: skip


@bad(errors.UnreadableFile, "b/0_image.tif", "cannot be read", remedy="truncated")
def predict_a_truncated_image(place):
    return place.predict(cut(place.image))


@bad(errors.UnreadableFile, "b/0_image.tif", "cannot be read", remedy="truncated")
def predict_an_image_of_which_only_the_header_is_left(place):
    return place.predict(cut(place.image, 0.01))


@bad(errors.UnreadableFile, "b/0_image.tif", "cannot be read", remedy="truncated")
def predict_an_empty_file(place):
    return place.predict(cut(place.image, 0))


@bad(errors.UnreadableFile, "b/0_image.tif", "cannot be read", remedy="truncated")
def adapt_to_a_truncated_image(place):
    return place.adapt(cut(place.image))


@bad(errors.SourceNotFound, "none.tif", "is not there", remedy="name")
def predict_no_image(place):
    return place.predict(place.here / "none.tif")


@bad(errors.SourceNotFound, "raw", "no image", remedy="template")
def prepare_a_folder_without_images(place):
    for path in place.world.glob("*/*_image.tif"):
        path.unlink()
    return place.prepare()


@bad(errors.SourceNotFound, "b/0_image.tif", "0_labels.tif is not there", remedy="label")
def prepare_an_image_without_labels(place):
    place.labels.unlink()
    return place.prepare()


@bad(errors.MissingCRS, "bare.tif", "no coordinate reference", remedy="--allow-no-crs")
def predict_an_image_without_georeference(place):
    pixels = read_raster(place.given / "new_image.tif")
    return place.predict(write_raster(place.here / "bare.tif", pixels, BANDS, crs=None))


# ---- tiles and shots -------------------------------------------------------------------------


@bad(errors.TooFewTiles, "taskset", "'t' has 12 tiles", "13 shots", remedy="at most 12")
def adapt_to_more_shots_than_tiles(place):
    return place.adapt_from_taskset(shots=13)


@bad(errors.TooFewTiles, "taskset", "has 12 tiles, but 13", remedy="lower the shots")
def train_on_more_shots_than_tiles(place):
    episodes = {"shots": 12, "queries": 2, "tasks": 1}
    return place.train(method="maml", episodes=episodes)


@bad(errors.TooFewTiles, "taskset", "has 12 tiles, but 13", remedy="lower the shots")
def validate_on_more_shots_than_tiles(place):
    return place.train(validation={"every": 2, "draws": 1, "shots": 12, "queries": 2})


@bad(errors.TooFewTiles, "taskset", "has 12 tiles, but 13", remedy="lower the shots")
def tune_on_more_shots_than_tiles(place):
    return place.train(tune={"shots": [1, 12], "draws": 1, "steps": [0, 1]})


@bad(errors.TooFewTiles, "taskset", "has 12 tiles, but 13", remedy="lower the shots")
def compare_more_shots_than_tiles(place):
    return place.compare(shots=[0, 12])


# ---- checkpoints -----------------------------------------------------------------------------


def model_for_other_bands(place: Place) -> Path:
    bands = tuple(Band(name=name) for name in ("red", "green", "swir"))
    return model_for(
        TaskSet(place.given / "taskset"), place.here / "other.safetensors", bands=bands
    )


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemError('the pickle was run')",))


def pickled(place: Place) -> Path:
    path = place.here / "model.pt"
    torch.save({"state_dict": Bomb()}, path)
    return path


@bad(errors.CheckpointMismatch, "other.safetensors", "swir", "nir", remedy="checkpoint")
def adapt_a_checkpoint_for_other_bands_to_a_task_set(place):
    words = list(place.adapt_from_taskset())
    words[1] = model_for_other_bands(place)
    return tuple(words)


@bad(errors.MissingBands, "new_image.tif", "missing swir", "extra nir", remedy="--bands")
def predict_by_a_checkpoint_for_other_bands(place):
    return place.predict(model=model_for_other_bands(place))


@bad(errors.CheckpointMismatch, "other.safetensors", "swir", "nir", remedy="checkpoint")
def compare_a_checkpoint_for_other_bands(place):
    models = {"pretrain": str(place.model), "other": str(model_for_other_bands(place))}
    return place.compare(checkpoints=models)


@bad(errors.CheckpointMismatch, "other.safetensors", "swir", "nir", remedy="checkpoint")
def train_from_a_checkpoint_for_other_bands(place):
    return place.train(init=str(model_for_other_bands(place)))


@bad(errors.CheckpointMismatch, "model.safetensors", "network", remedy="same model section")
def train_from_a_checkpoint_of_another_network(place):
    return place.train(init=str(place.model), model=NET | {"skip_channels": 5})


@bad(errors.UnsafeFile, "model.pt", "pickle", remedy="safetensors")
def predict_by_a_pickle(place):
    return place.predict(model=pickled(place))


@bad(errors.UnsafeFile, "model.pt", "pickle", remedy="safetensors")
def adapt_a_pickle(place):
    return place.adapt(model=pickled(place))


@bad(errors.UnsafeFile, "model.safetensors", "pickle", remedy="safetensors")
def adapt_a_pickle_under_a_good_name(place):
    path = place.here / "model.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    return place.adapt(model=path)


@bad(errors.UnsafeFile, "model.pt", "pickle", remedy="safetensors")
def train_from_a_pickle(place):
    return place.train(init=str(pickled(place)))


@bad(errors.UnsafeFile, "model.pt", "pickle", remedy="safetensors")
def compare_a_pickle(place):
    return place.compare(checkpoints={"pretrain": str(place.model), "p": str(pickled(place))})


@bad(errors.UnreadableFile, "cut.safetensors", "safetensors", remedy="copy it again")
def predict_by_a_truncated_checkpoint(place):
    path = shutil.copy(place.model, place.here / "cut.safetensors")
    return place.predict(model=cut(Path(path)))


@bad(errors.UnreadableFile, "0_image.tif", "safetensors", remedy="train it again")
def predict_by_an_image(place):
    return place.predict(model=place.image)


@bad(errors.CheckpointMismatch, "foreign.safetensors", "no landmeta checkpoint", remedy="train")
def adapt_a_foreign_safetensors_file(place):
    path = place.here / "foreign.safetensors"
    save_file({"w": torch.zeros(2)}, path)
    return place.adapt(model=path)


@bad(errors.SourceNotFound, "none.safetensors", "no such", remedy="landmeta train")
def predict_by_no_checkpoint(place):
    return place.predict(model=place.here / "none.safetensors")


@bad(errors.CheckpointMismatch, "region.safetensors", "already adapted", remedy="made from")
def adapt_what_is_adapted_already(place):
    path = place.here / "region.safetensors"
    words = place.adapt()
    assert invoke(*words[:-1], path).exit_code == 0
    return place.adapt(model=path)


@bad(errors.SourceNotFound, "none.safetensors", "no such file", remedy="random, to pretrained")
def train_from_a_file_that_is_not_there(place):
    return place.train(init=str(place.here / "none.safetensors"))


@bad(errors.CheckpointMismatch, "foreign.safetensors", "0 of the 10", remedy="model.encoder")
def train_from_weights_of_something_else(place):
    path = place.here / "foreign.safetensors"
    save_file({"w": torch.zeros(2)}, path)
    return place.train(init=str(path))


@bad(errors.UnreadableFile, "cut.safetensors", "safetensors", remedy="copy it again")
def train_from_truncated_weights(place):
    path = shutil.copy(place.model, place.here / "cut.safetensors")
    return place.train(init=str(cut(Path(path))))


@bad(errors.SourceNotFound, "resnext101_32x4d", "Available options", remedy="set init to")
def train_from_published_weights_that_there_are_not(place):
    return place.train(init="pretrained", model=NET | {"encoder": "resnext101_32x4d"})


# ---- legends ---------------------------------------------------------------------------------


@bad(errors.ConfigError, "train.yaml", "head of pretrain", "legend fixed", remedy="configs/")
def train_with_an_open_legend_and_a_head_for_one(place):
    return place.train(legend="open")


@bad(errors.ConfigError, "train.yaml", "episodes.relabel", "legend open", remedy="configs/")
def train_with_relabelled_episodes_of_a_fixed_legend(place):
    return place.train(episodes={"relabel": {"merge": 0.5}})


@bad(errors.ConfigError, "train.yaml", "episodes.relabel.drop", "1.5", remedy="configs/")
def train_with_a_chance_above_one(place):
    return place.train(episodes={"relabel": {"drop": 1.5}})


@bad(errors.CheckpointMismatch, "model.safetensors", "legend: fixed", "Agri", remedy="legend: open")
def adapt_a_fixed_legend_to_another(place):
    return place.adapt(None, None, None, "--legend", "deepglobe")


@bad(errors.ConfigError, "nowhere.yaml", "not a legend", remedy="classes:")
def adapt_with_a_legend_that_is_not_there(place):
    return place.adapt(None, None, None, "--legend", "nowhere.yaml")


@bad(errors.ConfigError, "taskset", "deepglobe", remedy="leave --legend out")
def adapt_to_a_task_set_with_a_legend_beside_it(place):
    return (*place.adapt_from_taskset(), "--legend", "deepglobe")


# ---- outputs that exist ----------------------------------------------------------------------


@bad(errors.OutputExists, "out", "exists", remedy="--overwrite")
def prepare_into_an_existing_folder(place):
    assert place.world
    place.out.mkdir()
    (place.out / "mine").write_text("mine")
    return place.prepare()


@bad(errors.OutputExists, "out", "exists", remedy="--resume")
def train_into_an_existing_folder(place):
    place.out.mkdir()
    return place.train()


@bad(errors.OutputExists, "out", "exists", remedy="--overwrite")
def adapt_into_an_existing_file(place):
    place.out.write_text("mine")
    return place.adapt()


@bad(errors.OutputExists, "map.tif", "exists", remedy="--overwrite")
def predict_into_an_existing_file(place):
    (place.here / "map.tif").write_text("mine")
    return place.predict()


@bad(errors.OutputExists, "map.confidence.tif", "exists", remedy="--overwrite")
def predict_beside_an_existing_confidence(place):
    (place.here / "map.confidence.tif").write_text("mine")
    return place.predict()


@bad(errors.OutputExists, "out", "exists", remedy="another folder")
def compare_into_an_existing_folder(place):
    place.out.mkdir()
    return place.compare()


@bad(errors.ConfigError, "0_image.tif", "both the raster", remedy="another name")
def predict_onto_the_image_itself(place):
    image = place.image
    words = list(place.predict(image, None, "--overwrite"))
    words[words.index("--out") + 1] = image
    return tuple(words)


# ---- configurations and options --------------------------------------------------------------


@bad(errors.ConfigError, "train.yaml", "outer.stepz", "7", remedy="configs/")
def train_with_an_unknown_key(place):
    return place.train(outer={"stepz": 7})


@bad(errors.ConfigError, "train.yaml", "inner.rate", "greater than 0", "-0.1", remedy="configs/")
def train_with_a_value_out_of_range(place):
    return place.train(inner={"steps": 2, "rate": -0.1})


@bad(errors.ConfigError, "train.yaml", "method", "'reptail'", remedy="configs/")
def train_with_an_unknown_method(place):
    return place.train(method="reptail")


@bad(errors.ConfigError, "none.yaml", "cannot be read", remedy="path")
def train_without_a_config(place):
    return ("train", place.here / "none.yaml")


@bad(errors.ConfigError, "folder", "cannot be read", remedy="path")
def train_with_a_folder_as_config(place):
    (place.here / "folder").mkdir()
    return ("train", place.here / "folder")


@bad(errors.ConfigError, "config.yaml", "dictionary", remedy="configs/")
def train_with_an_empty_config(place):
    (place.here / "config.yaml").write_text("")
    return ("train", place.here / "config.yaml")


@bad(errors.ConfigError, "config.yaml", "YAML", remedy="syntax")
def train_with_a_config_that_is_no_yaml(place):
    (place.here / "config.yaml").write_text("outer: {steps: 3")
    return ("train", place.here / "config.yaml")


@bad(errors.ConfigError, "config.yaml", "utf-8", remedy="")
def train_with_a_config_that_is_no_text(place):
    (place.here / "config.yaml").write_bytes(b"\xff\xfe\x00out")
    return ("train", place.here / "config.yaml")


@bad(errors.ConfigError, "train.yaml", "tune.shots", "at least 1", remedy="configs/")
def tune_for_no_number_of_shots(place):
    return place.train(tune={"shots": []})


@bad(errors.ConfigError, "train.yaml", "sgd_rates and adam_rates", remedy="configs/")
def tune_without_any_rate(place):
    return place.train(tune={"sgd_rates": [], "adam_rates": []})


@bad(errors.ConfigError, "train.yaml", "outer.stepz", "7", remedy="configs/")
def train_with_an_unknown_key_set(place):
    return place.train("--set", "outer.stepz=7")


@bad(errors.ConfigError, "'outer.steps'", remedy="NAME=VALUE")
def train_with_a_setting_without_value(place):
    return place.train("--set", "outer.steps")


@bad(errors.ConfigError, "'seed.x=3'", "seed holds 0", remedy="section")
def train_with_a_setting_of_what_is_no_section(place):
    return place.train("--set", "seed.x=3")


@bad(errors.ConfigError, "config.yaml", "dictionary", remedy="configs/")
def train_with_an_empty_config_and_a_setting(place):
    (place.here / "config.yaml").write_text("")
    return ("train", place.here / "config.yaml", "--set", "seed=1")


@bad(errors.ConfigError, "2 entries", "depth is 3", remedy="3 channel numbers")
def train_a_network_whose_parts_do_not_fit(place):
    return place.train(model=NET | {"decoder_channels": [8, 8]})


@bad(errors.ConfigError, "'resnet19'", remedy="resnet18")
def train_an_unknown_network(place):
    return place.train(model=NET | {"encoder": "resnet19"})


@bad(errors.ConfigError, "16 px", "5 times", remedy="32 px")
def train_a_network_too_deep_for_the_tiles(place):
    return place.train(model=NET | {"depth": 5, "decoder_channels": [8] * 5})


@bad(errors.SourceNotFound, "nowhere", "no task set", remedy="landmeta prepare")
def train_on_no_task_set(place):
    return place.train(taskset=str(place.here / "nowhere"))


@bad(errors.ConfigError, "config.json", "another outer", remedy="old values")
def resume_with_other_settings(place):
    assert run(place.train(method="scratch")).exit_code == 0
    return place.train("--resume", method="scratch", outer={"steps": 9})


@bad(errors.ConfigError, "compare.yaml", "draw", "3", remedy="configs/")
def compare_with_an_unknown_key(place):
    return place.compare(draw=3)


@bad(errors.ConfigError, "compare.yaml", "draws", "greater than or equal to 2", remedy="configs/")
def compare_with_a_value_out_of_range(place):
    return place.compare(draws=1)


@bad(errors.ConfigError, "compare.yaml", "shots", "at least 1", remedy="configs/")
def compare_no_number_of_shots(place):
    return place.compare(shots=[])


@bad(errors.ConfigError, "'nobody'", "other, pretrain", remedy="checkpoints")
def compare_with_a_reference_that_is_not_there(place):
    return place.compare(reference="nobody")


@bad(errors.ConfigError, "windows of 16", "16", remedy="0 to 15")
def predict_with_an_overlap_as_large_as_a_window(place):
    return place.predict(None, None, "--overlap", 16)


@bad(errors.ConfigError, "rate 0.0", remedy="above 0")
def adapt_at_rate_zero(place):
    return place.adapt(None, None, None, "--rate", 0)


@bad(errors.ConfigError, "'image.tif'", remedy="IMAGE=LABELS")
def adapt_to_an_image_without_labels(place):
    return ("adapt", place.model, "--support", "image.tif", "--out", place.out)


@bad(errors.ConfigError, "legend.yaml", "#12345", remedy="classes:")
def prepare_by_a_legend_with_a_wrong_colour(place):
    path = place.world / "legend.yaml"
    legend = yaml.safe_load(path.read_text())
    legend["classes"][1]["color"] = "#12345"
    path.write_text(yaml.safe_dump(legend))
    return place.prepare()


@bad(errors.ConfigError, "nowhere", remedy="a, b, c, t, u, v")
def prepare_with_a_held_out_region_that_is_not_there(place):
    assert place.world
    return place.prepare("--val", "nowhere")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("verb", ["train", "adapt", "predict"])
def test_a_gpu_where_there_is_none(place, verb):
    words = getattr(place, verb)()
    before = contents(place.here)
    ended = run((*words, "--device", "cuda"))
    assert ended.exit_code == 2
    assert "--device cpu" in ended.stderr
    assert contents(place.here) == before


# ---- a full disk -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "size", "names"),
    [
        ("prepare", 0, "out"),
        ("prepare", 2_000, "out"),
        ("prepare", 50_000, "out"),
        ("adapt", 0, "out"),
        ("adapt", 1_000_000, "out"),
        ("predict", 0, "map.tif"),
        ("predict", 600, "map.tif"),
        ("predict", 1_500, "map.tif"),
        ("compare", 0, "out"),
        ("compare", 20_000, "out"),
        ("train", 0, "out"),
    ],
)
def test_full_disk_is_a_named_error_and_leaves_nothing(place, verb, size, names):
    assert place.world
    words = getattr(place, verb)()
    before = contents(place.here)
    with no_file_above(size):
        ended = run(words)
    assert ended.exit_code == 2, ended.output
    assert isinstance(ended.exception, SystemExit)
    assert f"{place.here / names}" in ended.stderr
    assert "could not be written" in ended.stderr
    assert "remedy: free disk space" in ended.stderr
    assert contents(place.here) == before
    assert run(words).exit_code == 0  # with room again


@pytest.mark.parametrize("layout", ["sen12ms", "deepglobe"])
@pytest.mark.parametrize("size", [0, 1_000, 50_000])
def test_made_up_imagery_on_a_full_disk(place, layout, size):
    words = (
        "prepare", "synthetic", place.out, "--layout", layout, "--regions", 2, "--images", 1,
        "--size", 128,
    )  # fmt: skip
    with no_file_above(size if layout == "sen12ms" else size // 10):
        ended = invoke(*words)
    assert ended.exit_code == 2, ended.output
    assert f"error: {place.out}: could not be written" in ended.stderr
    assert contents(place.here) == {}


@pytest.mark.parametrize("verb", ["prepare", "adapt", "predict", "train", "compare", "demo"])
def test_an_output_below_what_is_no_folder(place, verb):
    (place.here / "file").write_text("no folder")
    elsewhere = Place(place.here / "file", place.given)
    if verb in ("adapt", "predict"):
        words = getattr(elsewhere, verb)()
    elif verb == "prepare":
        assert place.world
        words = [elsewhere.out if w == place.out else w for w in place.prepare()]
    elif verb == "demo":
        words = ("demo", "--world", "synthetic", "--out", elsewhere.out, "--quiet")
    else:
        words = getattr(place, verb)(out=str(elsewhere.out))
    before = contents(place.here)
    ended = run(words)
    assert ended.exit_code == 2, ended.output
    assert f"error: {elsewhere.here}" in ended.stderr
    assert "ot a directory" in ended.stderr
    assert "remedy: " in ended.stderr
    assert contents(place.here) == before


@pytest.mark.parametrize("size", [900, 20_000, 4_000_000])
def test_training_on_a_full_disk_can_be_resumed(place, size):
    words = place.train()
    with no_file_above(size):
        ended = run(words)
    assert ended.exit_code == 2, ended.output
    assert f"{place.out}" in ended.stderr
    assert "could not be written" in ended.stderr
    assert "--resume" in ended.stderr
    assert not [p for p in place.here.rglob("*") if ".partial" in p.name]
    assert run((*words, "--resume")).exit_code == 0
    assert (place.out / "checkpoint.safetensors").is_file()
