"""How fast training is, against supervised training of the same network in the same run.

    python benchmarks/training.py [--device cuda] [--tile 64] [--steps 8]

Prints a table and writes benchmarks/results/training.json and training.md. Every measurement is a
process of its own that runs the loop of `landmeta train`, reading in the background included, on
made-up tiles; the medians are over its steps. The rest of the script puts them side by side.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

import landmeta
import landmeta.train as training
from landmeta import distributed
from landmeta.config import TrainConfig
from landmeta.device import choose_device, describe
from landmeta.leakage.prove import prove_folder
from landmeta.legend import find_legend
from landmeta.losses import to_batch
from landmeta.meta.inner import gradient
from landmeta.taskset import Band, SourceTile, TaskSet, TaskSetMeta, write_taskset

RESULTS = Path(__file__).parent / "results"
BANDS = 13
WARM_UP = 2
LAUNCHED = "LANDMETA_BENCHMARK_LAUNCHED"
Figures = dict[str, Any]

# Assumptions of the estimate for 8 GPUs, not measured.
GPUS = 8
PEAK = 989e12
"""bf16 operations a second of an H200, dense, as its maker states."""
SHARES = (0.05, 0.2)
"""Of the peak that small convolutions may reach."""
LINKS = {"NVLink, 300 GB/s": 300e9, "PCIe 4, 20 GB/s": 20e9, "network, 3 GB/s": 3e9}
LATENCY = 20e-6
"""Seconds for each of the 2 (N - 1) hops of a ring all-reduce."""


def make_tiles(folder: Path, tile: int) -> TaskSet:
    """Four training regions and one for validation, 16 noisy tiles each."""
    rng, legend = np.random.default_rng(0), find_legend("igbp-simplified")
    tiles = [
        SourceTile(
            image=rng.integers(0, 10_000, (BANDS, tile, tile)).astype(np.uint16),
            label=rng.integers(0, len(legend), (tile, tile)).astype(np.uint8),
            valid=np.ones((BANDS, tile, tile), bool),
            region=region,
            split="val" if region == "v" else "train",
            source=f"{region}.tif",
            window=(tile * i, 0, tile, tile),
        )
        for region in "abcdv"
        for i in range(16)
    ]
    meta = TaskSetMeta(
        source="noise",
        bands=tuple(Band(name=f"B{i + 1}") for i in range(BANDS)),
        legend=legend,
        tile_size=tile,
        dtype="uint16",
    )
    taskset = write_taskset(folder, meta, tiles)
    prove_folder(folder, quiet=True)
    return taskset


def measure(config: TrainConfig) -> Figures:
    """The training loop without validation and saving, in this process."""
    launched = float(os.environ[LAUNCHED])
    device = choose_device(config.device)
    with distributed.together(device):
        taskset = TaskSet(config.taskset)
        run = training._Run(config, taskset, training._network(config, taskset), device)
        run.start_alike()
        waits, steps = [], []
        works, before, started = run._works(), time.perf_counter(), 0.0
        for work in works:
            ready = time.perf_counter()
            run._outer_step(work)
            run.step += 1
            after = time.perf_counter()
            started = started or time.time() - launched
            waits.append(ready - before)
            steps.append(after - before)
            before = after
        figures: Figures = {
            "method": config.method,
            "start_s": started,
            "step_s": median(steps[WARM_UP:]),
            "waiting_share": sum(waits[WARM_UP:]) / sum(steps[WARM_UP:]),
            "episodes": run.learner.items if config.method != "pretrain" else None,
            "images": run.learner.images,
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "parameters": sum(p.numel() for p in run.params.values()),
            "device": describe(device),
        }
        if device.type == "cuda":
            figures["peak_cuda_bytes"] = torch.cuda.max_memory_allocated()
        figures |= _parts(run)
    return figures


def _parts(run: training._Run) -> Figures:
    """Seconds of what a step consists of, and operations of one tile's gradient."""
    ids, sums = np.arange(16), []
    before = time.perf_counter()
    TaskSet(run.taskset.folder).read(ids)
    first = time.perf_counter() - before
    run.taskset.read(ids)  # has been read before, and kept
    again = time.perf_counter() - before - first
    grads = {name: torch.zeros_like(p) for name, p in run.params.items()}
    for _ in range(5):
        distributed.wait_for_all()
        started = time.perf_counter()
        distributed.mean(torch.zeros((), device=run.device), grads, 1.0)
        sums.append(time.perf_counter() - started)
    tiles = run.taskset.read([0])
    with FlopCounterMode(display=False) as counter:
        gradient(run.method.loss(run.params, to_batch(tiles, run.device)), run.params)
    return {
        "read_tile_s": first / len(ids),
        "read_tile_again_s": again / len(ids),
        "all_reduce_s": median(sums) if distributed.size() > 1 else None,
        "tile_gradient_operations": counter.get_total_flops(),
    }


class Bench:
    """Starts the measuring processes."""

    def __init__(self, work: Path, arguments: argparse.Namespace) -> None:
        self.work, self.arguments = work, arguments
        self.taskset = make_tiles(work / "taskset", arguments.tile)

    def config(self, method: str, tasks: int) -> TrainConfig:
        """A run of few steps; as many tiles a step whatever the method."""
        a = self.arguments
        return TrainConfig.model_validate(
            {
                "taskset": self.taskset.folder,
                "out": self.work / "run",
                "method": method,
                "device": a.device,
                "inner": {"steps": a.inner_steps, "rate": 0.01},
                "episodes": {"shots": a.shots, "queries": a.shots, "tasks": tasks},
                "batch": 2 * a.shots * tasks,
                "outer": {"steps": a.steps + WARM_UP},
                "tune": {"shots": [1]},
            }
        )

    def run(
        self, method: str, *, tasks: int = 1, processes: int = 1, threads: int = 0, copies: int = 1
    ) -> Figures:
        """Measure one method in processes of its own, in several copies at a time if asked."""
        path, out = self.work / "config.json", self.work / "figures.json"
        path.write_text(self.config(method, tasks).model_dump_json(), encoding="utf-8")
        command = [sys.executable]
        if processes > 1:
            command += ["-m", "torch.distributed.run", "--standalone"]
            command += ["--nproc-per-node", str(processes)]
        command += [__file__, "--measure", str(path), "--to", str(out)]
        # Bytecode is kept, as it is where landmeta is installed, so that starts are warm.
        environment = os.environ | {"PYTHONPYCACHEPREFIX": str(self.work / "bytecode")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        if threads:
            environment["OMP_NUM_THREADS"] = str(threads)
        root = str(Path(__file__).parents[1])
        environment |= {"PYTHONPATH": root, LAUNCHED: str(time.time())}
        running = [
            subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
            for _ in range(copies)
        ]
        for process in running:
            _, errors = process.communicate()
            if process.returncode:
                raise SystemExit(errors)
        figures: Figures = json.loads(out.read_text(encoding="utf-8"))
        return figures


def compare(bench: Bench) -> Figures:
    """All measurements."""
    bench.run("fomaml")  # writes bytecode
    rows = [bench.run(method) for method in ("pretrain", "fomaml", "maml")]
    scaling = {
        "one": bench.run("fomaml", tasks=2, threads=1),
        "together": bench.run("fomaml", tasks=2, processes=2, threads=1),
        "apart": bench.run("fomaml", tasks=1, threads=1, copies=2),
    }
    return {
        "device": rows[0]["device"],
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "load": os.getloadavg()[0],
        "versions": {
            "landmeta": landmeta.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "sizes": {k: getattr(bench.arguments, k) for k in ("tile", "shots", "inner_steps", "steps")}
        | {"bands": BANDS, "parameters": rows[0]["parameters"]},
        "methods": rows,
        "scaling": scaling,
    }


def _work(row: Figures, sizes: Figures) -> int:
    """Plain tile gradients of one step, were its method first-order."""
    if row["episodes"] is None:
        return int(row["images"])
    return int(row["episodes"] * sizes["shots"] * (sizes["inner_steps"] + 1))


def tables(found: Figures) -> str:
    """The measurements as Markdown."""
    sizes, plain = found["sizes"], found["methods"][0]
    lines = [
        "| method | episodes/s | images/s | against pretrain | tile gradients/s against pretrain "
        "| waiting | peak memory | warm start |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in found["methods"]:
        rate, work = row["images"] / row["step_s"], _work(row, sizes) / row["step_s"]
        episodes = "" if row["episodes"] is None else f"{row['episodes'] / row['step_s']:.2f}"
        lines.append(
            f"| {row['method']} | {episodes} | {rate:.1f} "
            f"| {rate / (plain['images'] / plain['step_s']):.2f} "
            f"| {work / (plain['images'] / plain['step_s']):.2f} "
            f"| {row['waiting_share']:.1%} | {row['peak_bytes'] / 1e9:.2f} GB "
            f"| {row['start_s']:.1f} s |"
        )
    one, two, apart = (found["scaling"][k] for k in ("one", "together", "apart"))
    lines += [
        "",
        f"Two processes of one thread, two tasks a step (fomaml): {one['step_s']:.2f} s a step "
        f"with one process, {two['step_s']:.2f} s with two: {one['step_s'] / two['step_s']:.2f} "
        "times as fast. Two processes that know nothing of each other need "
        f"{apart['step_s']:.2f} s for one task each at the same time: no more "
        "than that can be had of this machine. "
        f"Summing the gradient ({4 * sizes['parameters'] / 1e6:.0f} MB) takes "
        f"{two['all_reduce_s'] * 1e3:.0f} ms.",
        "",
        f"Reading a tile takes {plain['read_tile_s'] * 1e3:.2f} ms in the background thread the "
        f"first time and {plain['read_tile_again_s'] * 1e3:.2f} ms again, from memory (a quarter "
        "of what is free). A device that uses up "
        f"{1 / plain['read_tile_s']:.0f} tiles a second of a set that does not fit there, or "
        f"{1 / plain['read_tile_again_s']:.0f} of one that does, would have to wait.",
    ]
    return "\n".join(lines)


def estimate(found: Figures) -> str:
    """What 8 GPUs should give, on paper."""
    plain, fomaml, sizes = found["methods"][0], found["methods"][1], found["sizes"]
    episode = plain["tile_gradient_operations"] * _work(fomaml, sizes)
    message = 4 * sizes["parameters"]
    loads = {f"1 episode of {sizes['tile']} px": 1, "4 episodes of 256 px": 4 * (256**2)}
    loads["4 episodes of 256 px"] //= sizes["tile"] ** 2
    columns = [(name, times, share) for name, times in loads.items() for share in SHARES]
    lines = [
        f"Counted: an episode of fomaml is {episode / 1e9:.0f} billion operations "
        f"({sizes['shots']} + {sizes['shots']} tiles of {sizes['tile']} px, K = "
        f"{sizes['inner_steps']}), the message is {message / 1e6:.1f} MB. Assumed: a ring "
        f"all-reduce after the last backward pass and not overlapped with it, {LATENCY * 1e6:.0f} "
        f"µs a hop; bf16 at a share of {PEAK / 1e12:.0f} TFLOPS; tiles kept in memory; as many "
        "episodes on each GPU. Times as fast as one GPU with the same work in one step:",
        "",
        "| link | all-reduce | " + " | ".join(f"{n} a GPU, {s:.0%} of peak" for n, _, s in columns),
        "|---" * (2 + len(columns)) + "|",
    ]
    lines[2] += " |"
    for link, bandwidth in LINKS.items():
        reduce = 2 * (GPUS - 1) * (message / GPUS / bandwidth + LATENCY)
        computing = [times * episode / (PEAK * share) for _, times, share in columns]
        cells = " | ".join(f"{GPUS * t / (t + reduce):.1f}" for t in computing)
        lines.append(f"| {link} | {reduce * 1e3:.2f} ms | {cells} |")
    return "\n".join(lines)


def write_results(found: Figures) -> str:
    """Write both files; return the Markdown."""
    on_gpu = "cuda" if "peak_cuda_bytes" in found["methods"][0] else "cpu"
    sizes, versions = found["sizes"], found["versions"]
    text = "\n\n".join(
        [
            "# Training",
            f"`python benchmarks/training.py`, landmeta {versions['landmeta']}, torch "
            f"{versions['torch']}, Python {versions['python']}, {found['device']}, "
            f"{found['machine']}, load {found['load']:.1f} from others' work at the end: one "
            f"measurement, noisy. Tiles of {sizes['tile']} px, {BANDS} bands, {sizes['shots']} + "
            f"{sizes['shots']} tiles an episode, K = {sizes['inner_steps']}, median of "
            f"{sizes['steps']} steps. A warm start is from launch to the end of the first step.",
            tables(found),
            f"GPU: {found['device'] if on_gpu == 'cuda' else '(none was at hand)'}",
            f"## On paper: {GPUS} GPUs",
            estimate(found),
        ]
    )
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "training.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    (RESULTS / "training.md").write_text(text + "\n", encoding="utf-8")
    return text


def main() -> None:
    """Measure everything, or as one of the measuring processes, one method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--tile", type=int, default=64, help="rows and columns of a tile")
    parser.add_argument("--shots", type=int, default=5, help="support tiles; as many queries")
    parser.add_argument("--inner-steps", type=int, default=5, help="K")
    parser.add_argument("--steps", type=int, default=8, help="outer steps of each measurement")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--to", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        text = arguments.measure.read_text(encoding="utf-8")
        figures = measure(TrainConfig.model_validate_json(text))
        if os.environ.get("RANK", "0") == "0":
            arguments.to.write_text(json.dumps(figures), encoding="utf-8")
        return
    with tempfile.TemporaryDirectory() as work:
        print(write_results(compare(Bench(Path(work), arguments))))


if __name__ == "__main__":
    main()
