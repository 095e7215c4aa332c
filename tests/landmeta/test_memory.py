"""The estimate of memory: below what a step really takes, and not far below."""

import subprocess
import sys
from pathlib import Path

import pytest

from landmeta import memory
from landmeta.errors import TooLittleMemory
from landmeta.memory import StepSize, measure
from landmeta.train import train
from tests.tiny import tiny_config

PEAK = """
import sys, torch
from landmeta.losses import segmentation_loss
from landmeta.memory import measure
from landmeta.meta.hessian import reverse_over_reverse
from landmeta.meta.inner import Batch, gradient, on
from landmeta.model import UNetConfig, build_net, trainable

net = build_net(UNetConfig(), 4, 5)
loss, params, order = segmentation_loss(net), trainable(net), sys.argv[1] == "second"
tiles, side = 4, 128
image = torch.randn(tiles, 4, side, side).contiguous(memory_format=torch.channels_last)
batch = Batch(image, torch.zeros(tiles, side, side, dtype=torch.int64))
small = Batch(image[:1, :, :32, :32], batch.label[:1, :32, :32])
gradient(loss(params, small), params)  # what is loaded once
step = measure(loss, params, 4, side, 16, second_order=order)

def status(name):
    rows = dict(row.split(":", 1) for row in open("/proc/self/status"))
    return int(rows[name].split()[0]) * 1024

before = status("VmRSS")
open("/proc/self/clear_refs", "w").write("5")  # VmHWM starts anew
if order:
    reverse_over_reverse(on(loss, batch), params, params, {})
    print(step.bytes(shots=tiles, tiles=0, steps=0), end=" ")
else:
    gradient(loss(params, batch), params)
    print(step.bytes(shots=0, tiles=tiles, steps=0), end=" ")
print(status("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from /proc")
@pytest.mark.parametrize("order", ["first", "second"])
def test_the_estimate_is_a_near_lower_bound(order):
    done = subprocess.run(
        [sys.executable, "-c", PEAK, order], capture_output=True, text=True, check=True
    )
    estimate, peak = map(int, done.stdout.split())
    assert 0.4 * peak < estimate < peak


def test_bytes_grow_with_what_is_kept():
    step = StepSize(inner_tile=300, plain_tile=100, parameters=10)
    assert step.bytes(shots=0, tiles=7, steps=0) == 7 * 100 + 10
    assert step.bytes(shots=5, tiles=7, steps=1) == 5 * 300 + 20
    assert step.bytes(shots=2, tiles=7, steps=4) == 7 * 100 + 50


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "maml"}, r"lower episodes\.shots \(2\), set inner\.hvp to central"),
        (
            {"method": "maml", "inner": {"steps": 999}},
            r"lower inner\.steps \(999\), use method fomaml",
        ),
        (
            {"method": "maml", "inner": {"hvp": "central", "steps": 1}, "episodes": {"queries": 9}},
            r"lower episodes\.queries \(9\)",
        ),
        ({"method": "ridge"}, r"lower episodes\.shots and episodes\.queries \(4\)"),
        ({"method": "pretrain", "batch": 9}, r"lower batch \(9\)"),
    ],
)
def test_what_will_not_fit_is_refused_before_anything_is_written(
    tiny, tmp_path, monkeypatch, settings, words
):
    def made_up(*_, second_order):
        return StepSize(300_000 if second_order else 100_000, 100_000, parameters=1_000)

    monkeypatch.setattr(memory, "measure", made_up)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 100_000)
    with pytest.raises(
        TooLittleMemory, match=r"needs at least .* GB .*0\.0 GB are free"
    ) as refused:
        train(tiny_config(tiny, tmp_path / "run", **settings), quiet=True)
    refused.match(words)
    assert not (tmp_path / "run").exists()


def test_free_memory_of_a_machine_and_of_a_container(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:  5 kB\nSwapFree: 1 kB\n")
    assert memory._available(tmp_path / "meminfo") == 6 * 1024
    assert memory._available(tmp_path / "none") is None
    assert memory._left_in_cgroup(tmp_path) is None
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 50\n")
    assert memory._left_in_cgroup(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    assert memory._left_in_cgroup(tmp_path) == 350


def test_a_tile_is_measured_for_its_size():
    from landmeta.losses import segmentation_loss
    from landmeta.model import UNetConfig, build_net, trainable
    from tests.tiny import NET

    net = build_net(UNetConfig.model_validate(NET), 3, 3)
    loss, params = segmentation_loss(net), trainable(net)
    small = measure(loss, params, 3, 16, 8, second_order=True)
    large = measure(loss, params, 3, 64, 8, second_order=True)
    assert large.plain_tile == pytest.approx(16 * small.plain_tile, rel=0.05)
    assert small.inner_tile > 2 * small.plain_tile
