"""Methods in float64 on one small task, and a whole run of the program on the tiny task set."""

import numpy as np
import pytest
import torch

from landmeta.adapt import adapt, support_from_taskset
from landmeta.checkpoint import load_checkpoint
from landmeta.classifier import NetworkClassifier
from landmeta.meta.inner import Batch
from landmeta.methods import EpisodeBatch, MethodSettings, make_method
from landmeta.model import UNetConfig
from landmeta.predict import predict
from landmeta.train import train
from tests.rasters import read_raster, write_raster
from tests.tiny import tiny_config

NET = UNetConfig(encoder="resnet18", depth=3, decoder_channels=(8, 8, 8), skip_channels=4)
BANDS, CLASSES, SIZE = 3, 4, 16


def small_method(name, **settings):
    """The method on a small smooth network, in float64."""
    settings = MethodSettings.model_validate({"method": name} | settings)
    method = make_method(settings, NET, BANDS, CLASSES, seed=3)
    method.net.double()
    return method


def small_episode(seed=0, classes=CLASSES):
    """Two support tiles, partly labelled, and two query tiles."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(4, BANDS, SIZE, SIZE, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, classes, (4, SIZE, SIZE), generator=generator)
    labels[:, :3] = 255
    return EpisodeBatch(
        Batch(images[:2], labels[:2]), Batch(images[2:], labels[2:]), classes=classes
    )


def check_meta_gradient(method, theta, query_loss, episode, rel=1e-5):
    """`meta_gradient` against central differences of `query_loss(θ)`, along random directions."""
    value, grads = method.meta_gradient(theta, episode, 0.0)
    assert float(value) == pytest.approx(query_loss(theta), rel=1e-10)
    assert grads.keys() == theta.keys()
    generator = torch.Generator().manual_seed(1)
    parts = sorted({name.split(".")[0] for name in theta})
    for part in ["", *parts]:  # all of θ, and each part alone, however small its share
        move = {
            k: torch.randn(p.shape, generator=generator, dtype=torch.float64)
            for k, p in theta.items()
            if k.startswith(part)
        }
        length = torch.sqrt(sum((d**2).sum() for d in move.values()))
        ahead, behind = (
            query_loss(theta | {k: theta[k].detach() + s * d / length for k, d in move.items()})
            for s in (1e-4, -1e-4)
        )
        along = float(sum((grads[k] * d).sum() for k, d in move.items()) / length)
        assert along == pytest.approx((ahead - behind) / 2e-4, rel=rel, abs=1e-8), part


def check_whole_run(taskset, folder, monkeypatch, method, **more):
    """Train, interrupt and resume, adapt, load, map a raster: all as it should be."""
    run = {"outer": {"steps": 4, "rate": 0.003}} | more
    path = train(tiny_config(taskset, folder / "whole", method, **run), quiet=True)
    whole = load_checkpoint(path)
    _check_resuming(taskset, folder, monkeypatch, method, run, whole)

    support = support_from_taskset(path, taskset.folder, "t", 2, 0)
    how = {"optimizer": "adam", "rate": 0.01, "steps": 15}
    steps = adapt(path, support, folder / "steps.safetensors", changes=how, device="cpu")
    assert steps.loss_after < steps.loss_before
    region = folder / "region.safetensors"
    adapt(path, support, region, device="cpu")
    loaded = load_checkpoint(region)
    image = torch.from_numpy(taskset.read(taskset.tile_ids("t")[:2]).image)
    batch = Batch(torch.from_numpy(support.tiles.image), torch.from_numpy(support.tiles.label))
    again = adapt_again(whole, batch)
    torch.testing.assert_close(
        loaded.method.logits(loaded.params, image), whole.method.logits(again, image)
    )

    pixels = taskset.read(taskset.tile_ids("t")[2:3]).image[0]
    write_raster(folder / "a.tif", np.nan_to_num(pixels).astype(np.uint8), taskset.bands)
    made = predict(NetworkClassifier(region, "cpu"), folder / "a.tif", folder / "map.tif")
    assert sum(made.pixels.values()) == pixels[0].size
    expected = loaded.method.logits(loaded.params, torch.from_numpy(pixels)[None]).argmax(1)
    ids = np.array([c.id for c in loaded.meta.legend.classes])
    np.testing.assert_array_equal(read_raster(folder / "map.tif")[0], ids[expected[0].numpy()])


def adapt_again(checkpoint, support):
    """φ as the checkpoint says to adapt to so many tiles, without the program around it."""
    from landmeta.adaptation import adapt_params

    how = checkpoint.meta.adaptation_for(len(support.image))
    classes = len(checkpoint.meta.legend)
    label = Batch(support.image, support.label.long())
    return adapt_params(checkpoint.method, checkpoint.params, label, how, classes)


def _check_resuming(taskset, folder, monkeypatch, method, run, whole):
    from landmeta import train as training

    config = tiny_config(taskset, folder / "broken", method, **run)
    step = training._Run._outer_step

    def interrupted(self, work):
        if self.step == 3:
            raise KeyboardInterrupt
        return step(self, work)

    monkeypatch.setattr(training._Run, "_outer_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(config, quiet=True)
    monkeypatch.undo()
    resumed = load_checkpoint(train(config, resume=True, quiet=True))
    assert all(torch.equal(p, resumed.params[k]) for k, p in whole.params.items())
    first = tiny_config(taskset, folder / "none", method, **run)
    start = make_method(first.settings(), first.model, 3, 3, first.seed).initial()
    moved = [k for k, p in whole.params.items() if not torch.equal(p, start[k])]
    assert moved, "training must change something, or this test says nothing"
