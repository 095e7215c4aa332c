"""A method through the whole program: trained, broken off and resumed, adapted, used for a map."""

import numpy as np
import pytest
import rasterio
import torch

import landmeta.train as training
from landmeta.adapt import adapt, support_from_taskset
from landmeta.adaptation import adapt_params
from landmeta.checkpoint import load_checkpoint
from landmeta.classifier import NetworkClassifier
from landmeta.losses import to_batch
from landmeta.predict import predict
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
    region = _check_adapted(tiny, folder, whole)
    _check_map(folder, region)
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


def _check_adapted(tiny, folder, path):
    out = folder / "region.safetensors"
    support = support_from_taskset(path, tiny.folder, "t", 2, 0)
    how = adapt(path, support, out, device="cpu").how
    made, region = load_checkpoint(path), load_checkpoint(out)
    batch = to_batch(support.tiles, torch.device("cpu"))
    phi = adapt_params(made.method, made.params, batch, how, CLASSES)
    with torch.no_grad():
        expected = made.method.logits(phi, batch.image)
        found = region.method.logits(region.phi(), batch.image)
        assert torch.equal(found, expected)
        assert made.method.logits(made.phi(), batch.image).shape == expected.shape
    return out


def _check_map(folder, region):
    pixels = np.random.default_rng(0).integers(0, 255, (len(BANDS), 40, 40), dtype=np.uint8)
    raster = write_raster(folder / "raster.tif", pixels, names=BANDS)
    predict(NetworkClassifier(region, "cpu"), raster, folder / "map.tif", quiet=True)
    with rasterio.open(folder / "map.tif") as made:
        assert set(np.unique(made.read(1))) <= {1, 2, 5}
