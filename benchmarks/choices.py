"""What else could make a meta-step faster: each choice against what landmeta does, in one run.

    python benchmarks/choices.py [--size 64] [--device auto]

The work is the plain gradient of 5 tiles of 13 bands that inner steps are made of: with weights in
rows of channels (contiguous) and not channels-last, in bfloat16, through torch.compile; and the
inner steps of 4 tasks one after the other, as landmeta does, against all at once by vmap.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from meta_gradient import clock, work  # beside this file
from torch import Tensor
from torch.func import functional_call, grad, vmap

from landmeta.device import choose_device, describe
from landmeta.losses import cross_entropy, segmentation_loss
from landmeta.meta.hessian import plain_gradient
from landmeta.meta.inner import Batch, on
from landmeta.model import Params

TASKS = 4
RESULTS = Path(__file__).parent / "results"


def choices(size: int, device: torch.device) -> dict[str, Callable[[], object]]:
    """What is compared, by name; the first of each kind is what landmeta does."""
    net, theta, batch, _ = work(size, device)
    loss = segmentation_loss(net)

    plain_order = {name: p.detach().contiguous() for name, p in theta.items()}

    def in_bfloat16(params: Params) -> Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            logits = functional_call(net, params, (batch.image,))
        return cross_entropy(logits.float(), batch.label)

    compiled = torch.compile(lambda params: grad(on(loss, batch))(params))
    images = batch.image.expand(TASKS, *batch.image.shape)
    labels = batch.label.expand(TASKS, *batch.label.shape)
    stacked = {name: p.detach().expand(TASKS, *p.shape).clone() for name, p in theta.items()}
    at_once = vmap(grad(lambda p, image, label: loss(p, Batch(image, label))))
    plain = {name: p.detach() for name, p in theta.items()}
    return {
        "gradient": lambda: plain_gradient(on(loss, batch), theta),
        "gradient, weights contiguous": lambda: plain_gradient(on(loss, batch), plain_order),
        "gradient, bfloat16": lambda: plain_gradient(in_bfloat16, theta),
        "gradient, torch.compile": lambda: compiled(plain),
        f"{TASKS} tasks in turn": lambda: [
            plain_gradient(on(loss, batch), theta) for _ in range(TASKS)
        ],
        f"{TASKS} tasks by vmap": lambda: at_once(stacked, images, labels),
    }


def main() -> None:
    """Measure in turns, print ratios, write JSON."""
    parser = argparse.ArgumentParser(description="Choices that could speed up a meta-step.")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    chosen = parser.parse_args()
    device = choose_device(chosen.device)
    torch.set_num_threads(1)
    todo = choices(chosen.size, device)
    times: dict[str, list[float]] = {name: [] for name in todo}
    for _ in range(chosen.rounds + 1):  # the first round warms up and compiles
        for name, run in todo.items():
            started = clock(device)
            run()
            times[name].append(clock(device) - started)
    rows = []
    for name, seconds in times.items():
        base = "gradient" if name.startswith("gradient") else f"{TASKS} tasks in turn"
        ratio = statistics.median(seconds[1:]) / statistics.median(times[base][1:])
        rows.append({"choice": name, "ratio": round(ratio, 3), "first_call": round(seconds[0], 1)})
        print(f"{name:<34} {ratio:6.2f} x, first call {seconds[0]:.1f} s")
    record = {
        "device": describe(device),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "size": chosen.size,
        "rows": rows,
    }
    path = RESULTS / f"choices_{device.type}.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
