"""A method through the whole program: trained, broken off and resumed, adapted, used for a map."""

import numpy as np
import pytest
import rasterio
import torch

import landmeta.train as training
from landmeta.adapt import adapt
from landmeta.adaptation import adapt_params
from landmeta.checkpoint import load_checkpoint
from landmeta.classifier import NetworkClassifier
from landmeta.labelled import support_from_taskset
from landmeta.losses import to_batch
from landmeta.predict import predict
from landmeta.relabel import numbering, present, with_table
from landmeta.train import train
from tests.rasters import write_raster
from tests.tiny import BANDS, CLASSES, tiny_config

SHORT = {"outer": {"steps": 4, "rate": 0.003}}


def check_whole_way(tiny, folder, method, **more):
    """Assert that everything a user does with a method works; returns its checkpoint."""
    more = SHORT | more
    whole = train(tiny_config(tiny, folder / "whole", method, **more), quiet=True)
    _check_resumed(tiny, folder, method, more, whole)
    before, after = load_checkpoint(whole).method.initial(), load_checkpoint(whole).params
    assert before.keys() == after.keys()
    assert not all(torch.equal(before[k], after[k]) for k in before)
    _check_map(tiny, folder, _check_adapted(tiny, folder, whole, {}))
    steps = {"optimizer": "adam", "rate": 0.01, "steps": 15}
    _check_adapted(tiny, folder, whole, steps)
    return whole


def _check_resumed(tiny, folder, method, more, whole):
    config = tiny_config(tiny, folder / "broken", method, **more)
    step = training._Run._outer_step

    def killed(run, work):
        if run.step == 3:  # after the state of step 2 was saved
            raise KeyboardInterrupt
        return step(run, work)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training._Run, "_outer_step", killed)
        with pytest.raises(KeyboardInterrupt):
            train(config, quiet=True)
    resumed = load_checkpoint(train(config, resume=True, quiet=True)).params
    expected = load_checkpoint(whole).params
    assert all(torch.equal(resumed[k], expected[k]) for k in expected)


def _check_adapted(tiny, folder, path, changes):
    out = folder / ("stepped.safetensors" if changes else "region.safetensors")
    support = support_from_taskset(path, tiny.folder, "t", 2, 0)
    done = adapt(path, support, out, changes=changes, device="cpu")
    if changes:
        assert done.loss_after < done.loss_before
    made, region = load_checkpoint(path), load_checkpoint(out)
    tiles, classes = support.tiles, CLASSES
    if made.meta.open_legend:
        shown = present(tiles.label)
        tiles, classes = with_table(tiles, numbering(shown)), len(shown)
    batch = to_batch(tiles, torch.device("cpu"))
    phi = adapt_params(made.method, made.params, batch, done.how, classes)
    with torch.no_grad():
        expected = made.method.logits(phi, batch.image)
        found = region.method.logits(region.phi(), batch.image)
        torch.testing.assert_close(found, expected)  # saved weights may lie otherwise in memory
        unadapted = made.method.start(made.params, None, classes)
        assert made.method.logits(unadapted, batch.image).shape == expected.shape
    return out


def _check_map(tiny, folder, region):
    pixels = tiny.read(tiny.tile_ids("t")[2:3]).image[0]
    raster = write_raster(folder / "raster.tif", pixels.astype(np.uint8), names=BANDS)
    made = predict(NetworkClassifier(region, "cpu"), raster, folder / "map.tif", quiet=True)
    assert sum(made.pixels.values()) == pixels[0].size
    model = load_checkpoint(region)
    with torch.no_grad():
        logits = model.method.logits(model.phi(), torch.from_numpy(pixels)[None])
    ids = np.array([c.id for c in model.meta.legend.classes])
    with rasterio.open(folder / "map.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1), ids[logits.argmax(1)[0].numpy()])
