"""Networks describe an image as their own libraries do; weights cannot run code."""

import pickle
import struct
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from data_prep.regions.features import find_extractor
from data_prep.regions.networks import load_network
from landmeta.errors import (
    CheckpointMismatch,
    ConfigError,
    SourceNotFound,
    UnreadableFile,
    UnsafeFile,
)


@pytest.fixture(scope="module")
def picture():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (3, 224, 224)).astype(np.uint8), np.ones((224, 224), bool)


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    """A network of random weights and a file of them."""
    torch.manual_seed(0)
    model = torchvision.models.resnet18().eval()
    path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    save_file(model.state_dict(), path)
    return model, path


def own_features(model, head, picture):
    """The library's model without its head, on what the library's preprocessing makes."""
    setattr(*head, nn.Identity())
    transform = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    image = torch.from_numpy(picture[0])
    plain = torchvision.transforms.functional.normalize(image / 255, transform.mean, transform.std)
    with torch.no_grad():
        return model(plain[None])[0].numpy()


def test_features_are_those_of_torchvision(resnet, picture, tmp_path):
    model, path = resnet
    network = load_network("resnet18", path)
    assert network.side == 224
    found = network(*picture)
    assert found.shape == (512,) and found.std() > 0
    by_torch = tmp_path / "resnet18.pth"
    parallel = {f"module.{key}": value for key, value in model.state_dict().items()}
    torch.save({"state_dict": parallel, "epoch": 3}, by_torch)
    assert np.array_equal(load_network("resnet18", by_torch)(*picture), found)
    copy = torchvision.models.resnet18().eval()
    copy.load_state_dict(model.state_dict())
    assert found == pytest.approx(own_features(copy, (copy, "fc"), picture), abs=1e-5)


@pytest.mark.slow
def test_vgg16_gives_its_second_fully_connected_layer(picture, tmp_path):
    torch.manual_seed(0)
    model = torchvision.models.vgg16().eval()
    save_file(model.state_dict(), tmp_path / "vgg16.safetensors")
    found = load_network("vgg16", tmp_path / "vgg16.safetensors")(*picture)
    assert found.shape == (4096,) and found.std() > 0
    head = (model.classifier, "6")
    assert found == pytest.approx(own_features(model, head, picture), abs=1e-5)


def test_features_are_those_of_timm(picture, tmp_path):
    torch.manual_seed(0)
    model = timm.create_model("mobilenetv3_small_050", num_classes=7).eval()  # of other classes
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    found = load_network("timm/mobilenetv3_small_050", tmp_path / "weights.safetensors")(*picture)
    model.reset_classifier(0)
    mean, deviation = (
        torch.tensor(model.pretrained_cfg[key])[:, None, None] for key in ("mean", "std")
    )
    with torch.no_grad():
        expected = model(((torch.from_numpy(picture[0]) / 255 - mean) / deviation)[None])[0]
    assert found.std() > 0
    assert found == pytest.approx(expected.numpy(), abs=1e-5)


def test_what_is_not_valid_is_as_the_mean(resnet, picture):
    network = load_network("resnet18", resnet[1])
    rgb, valid = picture[0].copy(), picture[1].copy()
    valid[:, 100:] = False
    found = network(rgb, valid)
    rgb[:, :, 100:] = 7
    assert np.array_equal(network(rgb, valid), found)
    assert not np.array_equal(network(rgb, picture[1]), found)


def test_weights_of_another_network(resnet, tmp_path):
    deeper = tmp_path / "resnet34.safetensors"
    save_file(torchvision.models.resnet34().state_dict(), deeper)
    with pytest.raises(CheckpointMismatch, match="another network than resnet18") as caught:
        load_network("resnet18", deeper)  # has all of resnet18's tensors, and more
    assert caught.value.path == deeper and caught.value.remedy
    with pytest.raises(CheckpointMismatch, match="another network than mobilenet_v3_small: 0 of"):
        load_network("mobilenet_v3_small", resnet[1])
    with pytest.raises(CheckpointMismatch, match="timm/mobilenetv3_small_050"):
        load_network("timm/mobilenetv3_small_050", resnet[1])


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path(self.target),)


def test_a_pickle_is_not_run(tmp_path):
    bomb = Bomb()
    bomb.target = str(tmp_path / "ran")
    whole = torchvision.models.mobilenet_v3_small()
    for number, write in enumerate(
        [
            lambda path: path.write_bytes(pickle.dumps(bomb, protocol=2)),
            lambda path: torch.save({"weight": bomb}, path),
            lambda path: torch.save({"weight": bomb}, path, _use_new_zipfile_serialization=False),
            lambda path: torch.save(whole, path),  # a network, not its weights: pickled code
        ]
    ):
        path = tmp_path / f"{number}.pth"
        write(path)
        with pytest.raises(UnsafeFile, match="holds a pickle") as caught:
            load_network("mobilenet_v3_small", path)
        assert caught.value.path == path and "state_dict" in caught.value.remedy
    assert not (tmp_path / "ran").exists()


def test_damaged_files(resnet, tmp_path):
    path = tmp_path / "weights"
    torch.save({"a": torch.zeros(100)}, path)
    zipped = path.read_bytes()
    whole = resnet[1].read_bytes()
    for content in (
        b"",
        b"hello",
        whole[:1000],
        struct.pack("<Q", 2**60) + whole[8:],
        zipped[: len(zipped) // 2],
    ):
        path.write_bytes(content)
        with pytest.raises(UnreadableFile, match="cannot be read") as caught:
            load_network("resnet18", path)
        assert caught.value.path == path
    for content, text in [([torch.zeros(1)], "no tensors by name"), ({"a": 1.0}, "other things")]:
        torch.save(content, path)
        with pytest.raises(UnreadableFile, match=text):
            load_network("resnet18", path)
    with pytest.raises(SourceNotFound, match="no such file of weights"):
        load_network("resnet18", tmp_path / "nowhere")


def test_names_that_are_no_features(tmp_path):
    with pytest.raises(ConfigError, match="'resnt18'") as caught:
        find_extractor("resnt18")
    assert "resnet18" in caught.value.remedy
    with pytest.raises(ConfigError, match="'timm/resnt18'") as caught:
        find_extractor("timm/resnt18")
    assert "timm/resnet18" in caught.value.remedy
    with pytest.raises(ConfigError, match="no linear layer"):
        find_extractor("squeezenet1_1", tmp_path / "any")
    with pytest.raises(ConfigError, match="need no weights"):
        find_extractor("statistics", tmp_path / "any")


def test_a_hub_out_of_reach(monkeypatch):
    asked = {}

    def offline(url, **options):
        asked.update(options, url=url)
        raise URLError("Name or service not known")

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", offline)
    with pytest.raises(SourceNotFound, match="weights of resnet18 cannot be had") as caught:
        load_network("resnet18")
    assert asked["weights_only"] is True and asked["check_hash"] is True
    assert asked["url"] in caught.value.remedy and "--weights" in caught.value.remedy

    def also_offline(name, **options):
        raise ConnectionError("offline")

    monkeypatch.setattr(timm, "create_model", also_offline)
    with pytest.raises(SourceNotFound, match="timm/resnet18 cannot be had: offline") as caught:
        load_network("timm/resnet18")
    assert "https://huggingface.co/timm/resnet18" in caught.value.remedy
