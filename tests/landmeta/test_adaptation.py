"""What restrains adaptation: layers, gradual unfreezing, early stopping."""

import pytest
import torch
from pydantic import ValidationError

from landmeta.adaptation import Adaptation, adapt_params, settle, trajectory
from landmeta.checkpoint import load_checkpoint
from landmeta.errors import ConfigError
from landmeta.losses import to_batch
from landmeta.meta.inner import Batch


@pytest.fixture(scope="module")
def loaded(checkpoints):
    return load_checkpoint(checkpoints["pretrain"])


@pytest.fixture(scope="module")
def batch(tiny):
    return to_batch(tiny.read(tiny.tile_ids("t")[:5]), torch.device("cpu"))


def moved(theta, phi):
    """Top-level and decoder parts of the network that are not bit for bit as they were."""
    names = [name for name, p in phi.items() if not torch.equal(p, theta[name])]
    return {".".join(n.split(".")[:2]) if n.startswith("unet") else n.split(".")[0] for n in names}


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_head_only_leaves_the_body_bit_for_bit(loaded, batch, optimizer):
    how = Adaptation(optimizer=optimizer, rate=0.01, steps=3, layers=("head",))
    phi = adapt_params(loaded.method, loaded.params, batch, how, 3)
    assert moved(loaded.params, phi) == {"head"}


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_unfreezing_frees_head_then_decoder_then_all(loaded, batch, optimizer):
    how = Adaptation(optimizer=optimizer, rate=0.01, steps=6, unfreeze=(1 / 3, 2 / 3))
    path = trajectory(loaded.method, loaded.params, batch, how, [2, 4, 6], 3)
    found = [moved(loaded.params, phi) for _, phi in path]
    assert found == [
        {"head"},
        {"head", "skip", "unet.decoder"},
        {"head", "skip", "unet.decoder", "unet.encoder"},
    ]


def test_unfreezing_at_once_is_ordinary_fine_tuning(loaded, batch):
    base = {"optimizer": "adam", "rate": 0.01, "steps": 3}
    plain, at_once = (
        adapt_params(loaded.method, loaded.params, batch, Adaptation(**base, **more), 3)
        for more in ({}, {"unfreeze": (0, 0)})
    )
    assert all(torch.equal(plain[name], at_once[name]) for name in plain)


def test_layers_that_nobody_has_are_refused(loaded, batch):
    how = Adaptation(rate=0.01, steps=1, layers=("tail",))
    with pytest.raises(ConfigError, match="are the beginning of no parameter") as refused:
        adapt_params(loaded.method, loaded.params, batch, how, 3)
    assert "head, skip, unet" in refused.value.remedy


@pytest.mark.parametrize(
    "more",
    [
        {"optimizer": "trained", "prior": 1.0},
        {"optimizer": "trained", "layers": ("head",)},
        {"unfreeze": (0.3, 0.6), "layers": ("head",)},
        {"unfreeze": (0.3, 0.6), "early_stopping": True},
        {"unfreeze": (0.3, 1.6)},
        {"layers": ()},
        {"prior": -1.0},
    ],
)
def test_what_contradicts_itself_is_refused(more):
    with pytest.raises(ValidationError):
        Adaptation.model_validate({"rate": 0.1, "steps": 2} | more)


class Slope:
    """φ falls by `rate` a step; the loss of a tile is its distance from the tile's value."""

    def start(self, params, support, classes):
        return params

    def adapting(self, phi):
        return ["x"]

    def loss(self, phi, batch):
        keep = batch.label != 255
        values = batch.image[:, 0][keep]
        return (phi["x"] - values).abs().mean()

    inner_loss = loss


def tiles(values, unlabelled=()):
    image = torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone()
    label = torch.zeros(len(values), 2, 2, dtype=torch.int64)
    label[list(unlabelled)] = 255
    return Batch(image, label)


def stopped(support, steps=4, optimizer="sgd"):
    how = Adaptation(optimizer=optimizer, rate=1.0, steps=steps, early_stopping=True)
    return settle(Slope(), {"x": torch.tensor(10.0, requires_grad=True)}, support, how, 2)


def test_early_stopping_stops_where_held_out_tiles_are_met_best():
    # From 10 a step of 1 leads down: three steps to 7, six to 4.
    assert stopped(tiles([7.0] * 5)).steps == 3
    assert stopped(tiles([4.0] * 4)).steps == 6
    assert stopped(tiles([10.0] * 4)).steps == 0


def test_early_stopping_looks_at_held_out_tiles_and_not_at_pixels_of_the_same(loaded):
    # Every tile has a class of its own: only a tile's own labels could teach it.
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(4, 3, 16, 16, generator=generator) * 60 + 100
    label = torch.tensor([0, 1, 2, 1]).view(-1, 1, 1).expand(-1, 16, 16).clone()
    label[:, ::2] = 255
    how = Adaptation(optimizer="adam", rate=0.02, steps=5, early_stopping=True)
    found = settle(loaded.method, loaded.params, Batch(image, label), how, 3)
    assert found.steps < 5
    assert not found.early_stopping


def test_too_few_labelled_tiles_take_the_tuned_steps():
    assert stopped(tiles([7.0] * 3)).steps == 4
    assert stopped(tiles([7.0] * 5, unlabelled=[1, 4])).steps == 4
    assert stopped(None).steps == 4
    assert stopped(tiles([7.0] * 5, unlabelled=[1])).steps == 3


def test_adapting_with_early_stopping_takes_the_steps_it_finds():
    theta = {"x": torch.tensor(10.0, requires_grad=True)}
    how = Adaptation(rate=1.0, steps=4, early_stopping=True)
    assert adapt_params(Slope(), theta, tiles([7.0] * 4), how, 2)["x"].item() == 7.0


def test_ways_are_told_in_words():
    assert Adaptation(rate=0.1, steps=0).text() == "no step"
    how = Adaptation(optimizer="adam", rate=0.001, steps=5, layers=("head",), prior=0.1)
    assert how.text() == "5 steps of adam at rate 0.001, of head only, prior 0.1"
    gradual = Adaptation(rate=0.1, steps=4, unfreeze=(0.25, 0.5)).text()
    assert gradual.endswith("unfreezing decoder and encoder after 25% and 50%")
