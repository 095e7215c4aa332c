"""Time, memory and error of the meta-gradient, as ratios against peers in one run.

    python benchmarks/meta_gradient.py [--sizes 64 128] [--steps 1 5 10 20] [--out FILE]

The work is one task: 5 support and 5 query tiles of 13 bands, a ResNet-18 U-Net with group norm,
SiLU and average pooling. Variants take turns in each round, and medians are compared; on a CPU
they are CPU seconds of one thread. Memory is
that of a fresh process above what it held before the first meta-gradient. `higher` and `torchopt`
take part where they are installed (pip install higher==0.2.1 torchopt==0.7.3).
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from landmeta.device import choose_device, describe
from landmeta.losses import cross_entropy, segmentation_loss
from landmeta.meta import fomaml, maml, unrolled
from landmeta.meta.hessian import norm, plain_gradient
from landmeta.meta.inner import Batch, on
from landmeta.model import Params, UNetConfig, build_net, trainable

RATE, BANDS, CLASSES, SHOTS = 0.03, 13, 10, 5
RESULTS = Path(__file__).parent / "results"


def gradients_only(net: nn.Module, theta: Params, support: Batch, query: Batch, steps: int) -> None:
    """K + 1 plain gradients: the floor of any method."""
    loss = segmentation_loss(net)
    for _ in range(steps):
        plain_gradient(on(loss, support), theta)
    plain_gradient(on(loss, query), theta)


def _ours(
    function: Callable[..., object],
    net: nn.Module,
    theta: Params,
    support: Batch,
    query: Batch,
    steps: int,
    **more: str,
) -> Params:
    loss = segmentation_loss(net)
    return function(loss, theta, support, query, steps=steps, rate=RATE, **more)[1]  # type: ignore[index]


def by_higher(net: nn.Module, theta: Params, support: Batch, query: Batch, steps: int) -> Params:
    """Higher 0.2.1: a functional copy of the module and a differentiable optimiser."""
    import higher

    optimizer = torch.optim.SGD(net.parameters(), lr=RATE)
    with higher.innerloop_ctx(net, optimizer, copy_initial_weights=False) as (model, inner):
        for _ in range(steps):
            inner.step(cross_entropy(model(support.image), support.label))
        loss = cross_entropy(model(query.image), query.label)
        grads = torch.autograd.grad(loss, list(net.parameters()))
    return dict(zip(theta, grads, strict=True))


def by_torchopt(net: nn.Module, theta: Params, support: Batch, query: Batch, steps: int) -> Params:
    """TorchOpt 0.7.3: its differentiable MetaSGD on the module itself."""
    import torchopt

    start = list(net.parameters())
    state = torchopt.extract_state_dict(net, by="reference")
    inner = torchopt.MetaSGD(net, lr=RATE)
    for _ in range(steps):
        inner.step(cross_entropy(net(support.image), support.label))
    loss = cross_entropy(net(query.image), query.label)
    grads = torch.autograd.grad(loss, start)
    torchopt.recover_state_dict(net, state)
    return dict(zip(theta, grads, strict=True))


def variants() -> dict[str, Callable[..., object]]:
    """What is compared, by name."""
    found: dict[str, Callable[..., object]] = {
        "K+1 gradients": gradients_only,
        "fomaml": partial(_ours, fomaml.meta_gradient),
        "unrolled autograd": partial(_ours, unrolled.meta_gradient),
        "sweep, exact": partial(_ours, maml.meta_gradient, hvp="exact"),
        "sweep, forward over reverse": partial(
            _ours, maml.meta_gradient, hvp="forward_over_reverse"
        ),
        "sweep, central differences": partial(_ours, maml.meta_gradient, hvp="central"),
        "sweep, forward differences": partial(_ours, maml.meta_gradient, hvp="forward"),
    }
    if find_spec("higher"):
        found["higher"] = by_higher
    if find_spec("torchopt"):
        found["torchopt"] = by_torchopt
    return found


def work(size: int, device: torch.device) -> tuple[nn.Module, Params, Batch, Batch]:
    """Network, θ, support and query; smooth random images and labels."""
    generator = torch.Generator().manual_seed(0)
    net = build_net(UNetConfig(decoder_channels=(128, 64, 32, 16)), BANDS, CLASSES).to(device)

    def batch() -> Batch:
        coarse = torch.randn(SHOTS, BANDS, size // 8, size // 8, generator=generator)
        image = nn.functional.interpolate(coarse, scale_factor=8, mode="bilinear")
        image += 0.3 * torch.randn(image.shape, generator=generator)
        label = image[:, :CLASSES].argmax(1)
        return Batch(image.to(device, memory_format=torch.channels_last), label.to(device))

    return net, trainable(net), batch(), batch()


def clock(device: torch.device) -> float:
    """Seconds: of the wall on a GPU; of this process's one thread on a CPU that others use too."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def trained(net: nn.Module, theta: Params, batch: Batch, steps: int = 30) -> Params:
    """θ after a little training, where curvature is that of a network in use."""
    values = {name: p.detach().clone() for name, p in theta.items()}
    optimizer = torch.optim.Adam(list(values.values()), lr=1e-3)
    for _ in range(steps):
        _, grads = plain_gradient(on(segmentation_loss(net), batch), values)
        for name, p in values.items():
            p.grad = grads[name]
        optimizer.step()
    with torch.no_grad():  # the peers differentiate the module's own parameters
        for name, p in net.named_parameters():
            p.copy_(values[name])
    return {name: p.detach().requires_grad_() for name, p in values.items()}


def measure(size: int, steps: int, rounds: int, device: torch.device) -> list[dict[str, object]]:
    """One row per variant: seconds, ratio to FOMAML, error against unrolled autograd, memory."""
    net, theta, support, query = work(size, device)
    theta = trained(net, theta, support)
    chosen = variants()
    times: dict[str, list[float]] = {name: [] for name in chosen}
    grads: dict[str, object] = {}
    for _ in range(rounds + 1):  # the first round warms up
        for name, run in chosen.items():
            started = clock(device)
            grads[name] = run(net, theta, support, query, steps)
            times[name].append(clock(device) - started)
    seconds = {name: statistics.median(t[1:]) for name, t in times.items()}
    rows = []
    for name in chosen:
        row: dict[str, object] = {"size": size, "K": steps, "variant": name}
        row["seconds"] = round(seconds[name], 4)
        row["ratio_to_fomaml"] = round(seconds[name] / seconds["fomaml"], 3)
        row["error"] = _error(grads[name], grads["unrolled autograd"])
        row["memory_mb"] = memory_in_fresh_process(name, size, steps, device)
        rows.append(row)
        print(_line(row), flush=True)
    return rows


def _error(found: object, exact: object) -> float | None:
    if not isinstance(found, dict) or not isinstance(exact, dict):
        return None
    return float(norm({k: found[k] - exact[k] for k in exact}) / norm(exact))


def _line(row: dict[str, object]) -> str:
    error = "" if row["error"] is None else f"{row['error']:.1e}"
    return (
        f"{row['size']:>4} px  K {row['K']:>2}  {row['variant']:<28} {row['seconds']:>8} s  "
        f"{row['ratio_to_fomaml']:>6} x fomaml  error {error:>8}  {row['memory_mb']:>6} MB"
    )


def memory_in_fresh_process(name: str, size: int, steps: int, device: torch.device) -> int:
    """Peak memory of one meta-gradient above the idle network, in MB."""
    command = [sys.executable, __file__, "--memory", name, "--sizes", str(size)]
    command += ["--steps", str(steps), "--device", device.type]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1])


def print_memory(name: str, size: int, steps: int, device: torch.device) -> None:
    """What the fresh process does."""
    net, theta, support, query = work(size, device)
    plain_gradient(on(segmentation_loss(net), Batch(support.image[:1], support.label[:1])), theta)
    if device.type == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        variants()[name](net, theta, support, query, steps)
        print((torch.cuda.max_memory_allocated() - before) // 2**20)
        return
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the peak so far
    before = _status("VmRSS")
    variants()[name](net, theta, support, query, steps)
    print((_status("VmHWM") - before) // 1024)


def _status(field: str) -> int:
    """A size of this process in kB, as Linux tells it."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def main() -> None:
    """Measure everything asked for; print a table, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 5, 10, 20])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--out", type=Path, default=RESULTS / "meta_gradient.json")
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    device = choose_device(chosen.device)
    torch.set_num_threads(1)
    if chosen.memory:
        print_memory(chosen.memory, chosen.sizes[0], chosen.steps[0], device)
        return
    rows = [
        row
        for size in chosen.sizes
        for steps in chosen.steps
        for row in measure(size, steps, chosen.rounds, device)
    ]
    record = {
        "device": describe(device),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "network": "ResNet-18 U-Net, group norm, SiLU, average pooling, float32",
        "tiles": f"{SHOTS} + {SHOTS} of {BANDS} bands, {CLASSES} classes",
        "rounds": chosen.rounds,
        "rows": rows,
    }
    chosen.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    chosen.out.with_suffix(".md").write_text(markdown(record), encoding="utf-8")


NOTE = """\
Ratios are to FOMAML of the same K. Error: ‖found − unrolled‖ / ‖unrolled‖ of the whole
meta-gradient in float32. Memory: peak of one meta-gradient above the idle network; the sweeps keep
one gradient (the size of the parameters) per inner step besides the graph of one step.

Counting forward + backward as one: FOMAML is K + 1. A Hessian-vector product by either exact way is
3 (each convolution's 1 forward and 2 backward products turn into 9), of which unrolled autograd has
already done 1 on its way forward: 3K + 1. The exact sweep does that 1 again, since it keeps no
graph: 4K + 1, that is 3.5 x FOMAML at K = 5 against 2.67 x; central differences are 3K + 1, forward
differences 2K + 1 (1.83 x at K = 5).
"""


def markdown(record: dict[str, object]) -> str:
    """The rows as a table, with what they mean."""
    facts = {name: value for name, value in record.items() if name != "rows"}
    lines = [
        "# Meta-gradient",
        "",
        "; ".join(f"{k}: {v}" for k, v in facts.items()) + ".",
        "",
        NOTE,
    ]
    lines += [
        "| px | K | variant | seconds | x FOMAML | error | MB |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = record["rows"]
    assert isinstance(rows, list)
    for row in rows:
        error = "" if row["error"] is None else f"{row['error']:.1e}"
        lines.append(
            f"| {row['size']} | {row['K']} | {row['variant']} | {row['seconds']:.2f} | "
            f"{row['ratio_to_fomaml']:.2f} | {error} | {row['memory_mb']} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
