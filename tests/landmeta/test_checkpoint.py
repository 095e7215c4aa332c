"""Checkpoints: round trip, and refusal of everything that is not one."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from landmeta.checkpoint import CheckpointMeta, load_checkpoint, save_checkpoint
from landmeta.errors import (
    CheckpointMismatch,
    OutputExists,
    SourceNotFound,
    UnreadableFile,
    UnsafeFile,
)
from landmeta.taskset import Band


def test_round_trip_keeps_weights_standardisation_and_record(checkpoints, tmp_path):
    first = load_checkpoint(checkpoints["maml"])
    copy = tmp_path / "copy.safetensors"
    save_checkpoint(copy, first.method, first.params, first.meta)
    second = load_checkpoint(copy)
    assert second.meta == first.meta
    assert all(torch.equal(first.params[k], second.params[k]) for k in first.params)
    assert torch.equal(first.method.net.mean, second.method.net.mean)
    assert float(first.method.net.mean.abs().sum()) > 0
    with pytest.raises(OutputExists):
        save_checkpoint(copy, first.method, first.params, first.meta)


class _Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemError('the pickle was run')",))


@pytest.mark.parametrize("write", ["torch", "pickle", "old torch"])
def test_a_pickle_is_never_opened(tmp_path, write):
    path = tmp_path / "model.safetensors"
    if write == "pickle":
        path.write_bytes(pickle.dumps(_Bomb()))
    else:
        torch.save(_Bomb(), path, _use_new_zipfile_serialization=write == "torch")
    with pytest.raises(UnsafeFile, match="pickle"):
        load_checkpoint(path)


def test_truncated_missing_and_foreign_files_are_named(checkpoints, tmp_path):
    whole = checkpoints["maml"].read_bytes()
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableFile, match=r"cut\.safetensors"):
        load_checkpoint(cut)
    with pytest.raises(SourceNotFound, match=r"none\.safetensors"):
        load_checkpoint(tmp_path / "none.safetensors")
    foreign = tmp_path / "foreign.safetensors"
    save_file({"w": torch.zeros(2)}, foreign)
    with pytest.raises(CheckpointMismatch, match="no landmeta checkpoint"):
        load_checkpoint(foreign)
    state = checkpoints["maml"].with_name("state.safetensors")
    with pytest.raises(CheckpointMismatch, match="where a training run stands") as caught:
        load_checkpoint(state)
    assert str(checkpoints["maml"]) in caught.value.remedy
    assert len(str(caught.value)) < 400


def test_other_bands_scales_or_classes_are_refused(checkpoints, tiny):
    path = checkpoints["maml"]
    meta: CheckpointMeta = load_checkpoint(path).meta
    meta.check_fits(tiny.meta, path)
    swapped = tiny.meta.model_copy(update={"bands": tuple(Band(name=n) for n in "BGR")})
    with pytest.raises(CheckpointMismatch, match=r"bands \['R', 'G', 'B'\].*\['B', 'G', 'R'\]"):
        meta.check_fits(swapped, path)
    scaled = tiny.meta.model_copy(update={"bands": tuple(Band(name=n, scale=2) for n in "RGB")})
    with pytest.raises(CheckpointMismatch, match="band scales"):
        meta.check_fits(scaled, path)
    legend = tiny.legend.model_copy(update={"classes": tiny.legend.classes[:2]})
    with pytest.raises(CheckpointMismatch, match="classes"):
        meta.check_fits(tiny.meta.model_copy(update={"legend": legend}), path)
