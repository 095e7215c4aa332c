"""Where trainings start: what is taken from which file, and what is not."""

import json

import pytest
import segmentation_models_pytorch.encoders as smp_encoders
import torch
import torchvision
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file
from segmentation_models_pytorch.encoders._utils import patch_first_conv
from torch import nn

from landmeta.checkpoint import CheckpointMeta, load_checkpoint, save_checkpoint
from landmeta.errors import CheckpointMismatch
from landmeta.initial import for_bands, start_from
from landmeta.methods import METHODS, MethodSettings, make_method
from landmeta.model import UNetConfig
from landmeta.taskset import Band
from landmeta.train import band_statistics
from tests.program import invoke, write_config
from tests.tiny import NET, tiny_config

ENCODER = "unet.encoder."


@pytest.fixture(scope="module")
def resnet():
    """Weights of torchvision's resnet18, its batch norms not as they are made."""
    torch.manual_seed(3)
    net = torchvision.models.resnet18(weights=None)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
    return net.state_dict()


def save(weights, path, prefix=""):
    save_file({prefix + name: w.contiguous() for name, w in weights.items()}, path)
    return path


def started(init, data, bands=3, method="maml"):
    unet = UNetConfig.model_validate(NET)
    if bands != 3:
        data = data.model_copy(update={"bands": tuple(Band(name=str(b)) for b in range(bands))})
    made = make_method(MethodSettings(method=method), unet, bands, 3, seed=1)
    return made.initial(), start_from(init, made, unet, data)


@pytest.mark.parametrize("prefix", ["", "encoder.", "module.", "module.encoder."])
def test_weights_of_torchvision_become_the_encoders(resnet, tiny, tmp_path, prefix):
    random, start = started(save(resnet, tmp_path / "w.safetensors", prefix), tiny.meta)
    encoder = {name for name in random if name.startswith(ENCODER)}
    for name, p in start.params.items():
        expected = resnet[name.removeprefix(ENCODER)] if name in encoder else random[name]
        assert torch.equal(p, expected), name
        assert p.stride() == random[name].stride(), name
    assert f"{len(encoder)} of {len(encoder)} tensors" in start.note
    assert "w.safetensors" in start.note
    assert not start.standardised


@pytest.mark.parametrize("bands", [1, 2, 4, 5, 6, 13])
def test_first_convolution_for_other_bands(resnet, tiny, tmp_path, bands):
    _, start = started(save(resnet, tmp_path / "w.safetensors"), tiny.meta, bands=bands)
    found = start.params[f"{ENCODER}conv1.weight"]
    reference = nn.Sequential(nn.Conv2d(3, 64, 7, bias=False))
    reference[0].weight.data.copy_(resnet["conv1.weight"])
    patch_first_conv(reference, bands)
    torch.testing.assert_close(found, reference[0].weight.detach())
    # Grey on grey weights excites it as before, whatever the number of bands.
    grey = resnet["conv1.weight"].mean(1, keepdim=True)
    torch.testing.assert_close(for_bands(grey.expand(-1, 3, -1, -1), bands).sum(1), 3 * grey[:, 0])
    if bands in (1, 6):
        torch.testing.assert_close(found.sum(1), resnet["conv1.weight"].sum(1))


def test_published_weights_are_taken_as_they_are_published(resnet, tiny, tmp_path, monkeypatch):
    weights = {name: w for name, w in resnet.items() if not name.startswith("fc.")}
    path = save(weights, tmp_path / "model.safetensors")
    asked = []

    def fetched(repository, filename, revision):
        asked.append((repository, filename))
        return path

    monkeypatch.setattr(smp_encoders, "hf_hub_download", fetched)
    random, start = started("pretrained", tiny.meta, bands=5)
    assert ("smp-hub/resnet18.imagenet", "model.safetensors") in asked
    _, same = started(path, tiny.meta, bands=5)
    assert all(torch.equal(start.params[n], same.params[n]) for n in random)
    assert torch.equal(start.params[f"{ENCODER}layer2.1.bn2.weight"], resnet["layer2.1.bn2.weight"])
    assert "published for resnet18" in start.note


def test_a_hub_out_of_reach_is_named_with_the_way_out(tiny, tmp_path, monkeypatch):
    def unreachable(*_, **__):
        raise LocalEntryNotFoundError("cannot find the requested files\nin the local cache")

    monkeypatch.setattr(smp_encoders, "hf_hub_download", unreachable)
    config = tiny_config(tiny, tmp_path / "run", init="pretrained")
    ended = invoke("train", write_config(tmp_path / "run.yaml", config), "--quiet")
    assert ended.exit_code == 2
    assert "weights of resnet18 cannot be had: cannot find the requested files\n" in ended.stderr
    assert "smp-hub/resnet18.imagenet" in ended.stderr
    assert "set init to that file" in ended.stderr
    assert not (tmp_path / "run").exists()


def test_weights_of_another_encoder_are_refused(tiny, tmp_path):
    torch.manual_seed(0)
    path = save(torchvision.models.resnet50(weights=None).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(CheckpointMismatch, match=r"fit 5 of the 10 convolutions.*resnet18"):
        started(path, tiny.meta)
    nothing = save({"w": torch.zeros(2)}, tmp_path / "nothing.safetensors")
    with pytest.raises(CheckpointMismatch, match=r"fit 0 of the 10 .*\n.*model\.encoder"):
        started(nothing, tiny.meta)


def test_the_program_starts_from_a_file_and_says_so(resnet, tiny, tmp_path):
    path = save(resnet, tmp_path / "w.safetensors")
    more = {"init": str(path), "outer": {"steps": 1, "rate": 1e-6}}
    config = tiny_config(tiny, tmp_path / "run", **more)
    ended = invoke("train", write_config(tmp_path / "run.yaml", config))
    assert ended.exit_code == 0, ended.output
    assert f"of the encoder, of {path}" in ended.stdout
    made = load_checkpoint(tmp_path / "run/checkpoint.safetensors")
    first = made.params[f"{ENCODER}layer1.0.conv1.weight"]
    torch.testing.assert_close(first, resnet["layer1.0.conv1.weight"], rtol=0, atol=2e-6)
    mean, _ = band_statistics(tiny, seed=0)
    torch.testing.assert_close(made.method.net.mean.flatten(), mean)
    assert str(path) in made.meta.provenance["start"]
    record = json.loads((tmp_path / "run/config.json").read_text())
    assert record["init"] == str(path)


def test_every_method_starts_from_a_checkpoint_of_another(tiny, tmp_path):
    unet, settings = UNetConfig.model_validate(NET), MethodSettings(method="pretrain")
    made = make_method(settings, unet, 3, 3, seed=7)
    made.net.set_standardisation(torch.full((3,), 5.0), torch.full((3,), 2.0))
    about = tiny.meta.model_dump(include={"bands", "legend", "gsd", "tile_size"})
    meta = CheckpointMeta(kind="meta", settings=settings, unet=unet, adaptation={}, **about)
    path = tmp_path / "pretrain.safetensors"
    save_checkpoint(path, made, made.initial(), meta)
    trained = made.initial()
    for method in METHODS:
        _, start = started(path, tiny.meta, method=method)
        assert start.standardised
        assert "tensors of" in start.note
        encoder = {name for name in start.params if name.startswith(ENCODER)}
        assert encoder == {name for name in trained if name.startswith(ENCODER)}
        for name in encoder:
            found = start.params[name]
            if method == "bias_transformation" and found.dim() == 4:  # it has more inputs
                found = found[:, : trained[name].shape[1]]
            assert torch.equal(found, trained[name]), (method, name)
