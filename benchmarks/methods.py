"""Every method in one comparison, each trained with the same budget from the same start.

    python benchmarks/methods.py modis --data DATA --work WORK
    python benchmarks/methods.py dubai --data DATA --work WORK
    python benchmarks/methods.py synthetic --work WORK
    python benchmarks/methods.py shift --work WORK
    python benchmarks/methods.py open --data DATA --work WORK

worlds.py tells what they are: `shift` is there to see when learning to adapt pays, `open` to see
whether learning to take any legend does; there, NAME_untrained is the head NAME on the pretrained
network, which learned nothing about legends.

A network is pretrained until --passes tiles have gone through it; every method, ordinary training
among them, goes on from it for as many more. A tile counts each time that it goes forward through
the network, in inner steps, queries and Hessian-vector products alike (the last cost more than
others; the seconds are told too). Validation and the search for the way to adapt come on top and
are the same for all. Runs go on side by side, on one thread each. Writes
benchmarks/results/methods_NAME.md, with the findings, charts and settings of each world in the
folder of that name; goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from worlds import NAMES, ROOT, World, worlds

import landmeta
from landmeta.budget import PassCounter
from landmeta.checkpoint import load_checkpoint
from landmeta.config import CompareConfig, TrainConfig, read_config
from landmeta.initial import start_from
from landmeta.learners import make_learner
from landmeta.methods import METHODS, make_method
from landmeta.stats import MEASURES, paired_differences, summarise, verdicts
from landmeta.tables import score_table
from landmeta.taskset import TaskSet

RESULTS = ROOT / "benchmarks/results"
SOME = {
    "shift": ("pretrain", "maml", "ridge", "protonet", "scratch"),
    "open": (
        *("ridge", "ridge_untrained", "protonet", "protonet_untrained"),
        *("alpaca", "matching", "proto_maml", "proto_maml_untrained"),
    ),
}
"""Methods of a benchmark that is not for all."""
UNTRAINED = "_untrained"
START = "start"
"""The run that the others begin with."""
TUNE = {
    "shots": (1, 5),
    "draws": 2,
    "queries": 8,
    "sgd_rates": (0.03,),
    "adam_rates": (0.0003, 0.001),
    "steps": (0, 1, 2, 5, 10, 20),
}
"""One search for all: lighter than the worlds' own, for the number of methods."""
JUDGING = {"draws": 2, "queries": 12, "shots": (0, 1, 5), "curve_shots": 5}
OPEN = {"shots": (1, 5), "reference": "random_forest"}
"""In place of those where nothing can be mapped without labels, nor by the pretrained head."""
OWN: dict[str, dict[str, Any]] = {}
"""Settings that a method needs other than the world's, by section."""


def settings(world: World, run: str, out: str) -> TrainConfig:
    """Of a run from random weights, with as many steps as the world's configuration has."""
    method = run.removesuffix(UNTRAINED)
    kind = {"pretrain": "pretrain", "scratch": "scratch"}.get(method, "maml")
    config = read_config(ROOT / f"configs/{world.configs}/{kind}.yaml", TrainConfig)
    raw = config.model_dump() | {"method": method, "init": "random", "device": "cpu"}
    raw["tune"] = (
        TUNE if method != "scratch" else TUNE | {"adam_rates": (0.003,), "steps": (50, 100)}
    )
    if out != START:
        raw["legend"] = world.legend
    for section, values in OWN.get(method, {}).items():
        raw[section] = raw[section] | values
    raw |= {"taskset": world.taskset.folder, "out": world.folder / "runs" / out}
    return TrainConfig.model_validate(raw)


def for_passes(config: TrainConfig, taskset: TaskSet, passes: int) -> TrainConfig:
    """With as many outer steps as so many tiles through the network allow."""
    bands, classes = len(taskset.bands), len(taskset.legend)
    method = make_method(config.settings(), config.model, bands, classes)
    theta = start_from(config.init, method, config.model, taskset.meta).params
    learner = make_learner(config, taskset, method, torch.device("cpu"))
    counter = PassCounter()
    with counter.counting(method.net):
        learner.gradient(theta, learner.load(0), 0.99)
    steps = max(10, passes // counter.passes)
    changes = {
        "outer": config.outer.model_copy(update={"steps": steps}),
        "validation": config.validation.model_copy(update={"every": max(1, steps // 6)}),
    }
    return config.model_copy(update=changes)


def train_all(world: World, runs: Sequence[str], passes: int, jobs: int) -> dict[str, Path]:
    """Checkpoint of each run."""
    start = settings(world, "pretrain", START)
    _run(start if _begun(start) else for_passes(start, world.taskset, passes))
    configs = []
    for run in runs:
        config = settings(world, run, run)
        if run != "scratch":
            config = config.model_copy(update={"init": start.out / "checkpoint.safetensors"})
        if run.endswith(UNTRAINED):
            config = _idle(config)
        elif run != "scratch" and not _begun(config):
            config = for_passes(config, world.taskset, passes)
        configs.append(config)
    with ThreadPoolExecutor(jobs) as pool:
        made = pool.map(_run, configs)
        return dict(zip(runs, made, strict=True))


def _idle(config: TrainConfig) -> TrainConfig:
    """One step so small that it changes nothing."""
    outer = config.outer.model_copy(update={"steps": 1, "rate": 1e-12})
    validation = config.validation.model_copy(update={"every": 1})
    return config.model_copy(update={"outer": outer, "validation": validation})


def _begun(config: TrainConfig) -> bool:
    return (config.out / "config.json").is_file()


def _run(config: TrainConfig) -> Path:
    """Train in a process of its own, or go on with it, by the program as users have it."""
    made = config.out / "checkpoint.safetensors"
    if (config.out / "tuning.csv").is_file():
        return made
    command, path = ["train"], config.out.with_suffix(".json")
    if _begun(config):
        shutil.copy(config.out / "config.json", path)
        command.append("--resume")
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(config.model_dump_json(indent=2), encoding="utf-8")
    _landmeta(*command, str(path), "--quiet")
    meta = load_checkpoint(made).meta
    print(f"{config.out.name}: {meta.provenance['seconds']} s, {meta.adaptation}", flush=True)
    return made


def _landmeta(*words: str, threads: int = 1) -> None:
    environment = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    subprocess.run([sys.executable, "-m", "landmeta", *words], check=True, env=environment)


def compare_all(world: World, checkpoints: dict[str, Path]) -> pd.DataFrame:
    """Rows of results on the world's held-out regions."""
    config = read_config(ROOT / f"configs/{world.configs}/compare.yaml", CompareConfig)
    out = world.folder / "comparison"
    if not out.exists():
        judging = JUDGING | (OPEN if world.legend == "open" else {})
        changes = judging | {
            "taskset": world.judged.folder,
            "out": out,
            "checkpoints": checkpoints,
            "device": "cpu",
        }
        path = out.with_suffix(".json")
        raw = config.model_dump(mode="json") | json.loads(json.dumps(changes, default=str))
        path.write_text(json.dumps(raw, indent=2), encoding="utf-8")
        _landmeta("compare", str(path), "--quiet", threads=0)
    return pd.read_csv(out / "results.csv")


def describe_run(word: str, path: Path) -> dict[str, str]:
    """What a run cost and how it adapts, as a row of a table."""
    meta = load_checkpoint(path).meta
    record = meta.provenance
    ways = [
        f"{n}: {how.steps} × {how.optimizer} {how.rate:g}" if how.steps else f"{n}: no step"
        for n, how in sorted(meta.adaptation.items())
    ]
    return {
        "world": word,
        "method": meta.settings.method,
        "steps": str(record["config"]["outer"]["steps"] if record["step"] else 0),
        "best at": str(record["step"]),
        "seconds": f"{record['seconds']:.0f}",
        "tiles seen": str(record["images_seen"]),
        "val mIoU": f"{record['val_miou']:.3f}" if record["step"] else "",
        "adapts by shots": "; ".join(ways),
    }


def markdown(rows: Sequence[dict[str, str]]) -> str:
    """A table of records."""
    heads = list(rows[0])
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(r.values()) + " |" for r in rows)])


def write_result(
    name: str, results: pd.DataFrame, runs: Sequence[dict[str, str]], tile: int, passes: int
) -> Path:
    """Tables and sentences under benchmarks/results."""
    text = [
        f"# Every method: {name}, {NAMES[name]}",
        f"`python benchmarks/methods.py {name} --passes {passes}`, landmeta "
        f"{landmeta.__version__}, torch {torch.__version__}, Python {platform.python_version()}, "
        f"one thread of a CPU ({platform.machine()}). Every method was trained for {passes} tiles "
        f"through the network, from one network pretrained for as many: short, with a "
        f"small U-Net and tiles of {tile} px. {results['draw'].nunique()} support draws of each "
        "held-out region, the same for all. GPU: none was at hand.",
    ]
    for word, rows in results.groupby("world", sort=False):
        text.append(f"## {word}")
        text.append(f"{rows['task'].nunique()} held-out regions.")
        text += [score_table(summarise(rows), measure).markdown() for measure in MEASURES]
        against = "pretrain" if "pretrain" in set(rows["method"]) else OPEN["reference"]
        differences = paired_differences(rows, against)
        text.append(f"Paired differences against {against} over regions:")
        text.append("\n".join(f"- {s}" for s in verdicts(differences, against)))
        text.append(per_region(rows))
        stem = str(word).replace(" ", "_")
        text.append(
            f"More, with learning curve, ranks and costs: [methods_{name}/{stem}.md]"
            f"(methods_{name}/{stem}.md)."
        )
    text += ["## Runs", markdown(runs)]
    path = RESULTS / f"methods_{name}.md"
    path.write_text("\n\n".join(text) + "\n", encoding="utf-8")
    return path


def per_region(results: pd.DataFrame) -> str:
    """Scores by region at the most shots, mean over draws, so that no region hides in the mean."""
    most = results[results["shots"] == results["shots"].max()]
    table = most.pivot_table("miou", "task", "method", sort=False)
    heads = "| region | " + " | ".join(table.columns) + " |"
    rows = [f"| {t} | " + " | ".join(f"{v:.3f}" for v in row) + " |" for t, row in table.iterrows()]
    rule = "|---" * (len(table.columns) + 1) + "|"
    title = f"mIoU with {results['shots'].max()} shots, mean over draws:"
    return "\n".join([title, "", heads, rule, *rows])


def keep(name: str, world: World, checkpoints: dict[str, Path]) -> None:
    """Copy what was found and what each run was made with, without the paths of this machine."""
    folder, stem = RESULTS / f"methods_{name}", world.word.replace(" ", "_")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(world.folder / "comparison/findings.md", folder / f"{stem}.md")
    for chart in ("methods.png", "curve.png", "ranks.png"):
        if (world.folder / "comparison" / chart).is_file():
            shutil.copy(world.folder / "comparison" / chart, folder / f"{stem}_{chart}")
    kept = {}
    for method, path in checkpoints.items():
        config = json.loads((path.parent / "config.json").read_text(encoding="utf-8"))
        config |= {"taskset": "TASKSET", "out": f"runs/{method}"}
        if config["init"] != "random":
            config["init"] = "runs/start/checkpoint.safetensors"
        kept[method] = config
    text = json.dumps(kept, indent=1) + "\n"
    (folder / f"{stem}.json").write_text(text, encoding="utf-8")


def main() -> None:
    """Run a benchmark to its end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--data", type=Path, help="folder of the raw data sets")
    parser.add_argument("--work", type=Path, required=True, help="folder for runs")
    parser.add_argument("--passes", type=int, default=4000, help="tiles through the network")
    parser.add_argument("--methods", help="names, comma between; all if not given")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    given = parser.parse_args()
    torch.set_num_threads(1)
    every = SOME.get(given.name, tuple(METHODS))
    methods = given.methods.split(",") if given.methods else every
    tables, runs = [], []
    for world in worlds(given.name, given.data, given.work / given.name):
        checkpoints = train_all(world, methods, given.passes, given.jobs)
        rows = compare_all(world, checkpoints)
        tables.append(rows.assign(world=world.word))
        runs += [describe_run(world.word, path) for path in checkpoints.values()]
        keep(given.name, world, checkpoints)
        tile = world.taskset.meta.tile_size
        path = write_result(given.name, pd.concat(tables), runs, tile, given.passes)
        print(f"written to {path}", flush=True)


if __name__ == "__main__":
    main()
