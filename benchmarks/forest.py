"""A network, a random forest on the labelled pixels, and both voting, on the same labelled tiles.

    python benchmarks/forest.py modis --data DATA --work WORK
    python benchmarks/forest.py shift --work WORK

Networks are those that methods.py trains, and the worlds its own: with the same WORK nothing is
trained again. Writes benchmarks/results/forest_NAME.md.
"""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

import pandas as pd
import torch
from methods import RESULTS, train_all
from worlds import NAMES, World, worlds

import landmeta
from landmeta.compare import compare
from landmeta.config import CompareConfig, Variant
from landmeta.stats import paired_differences, summarise, verdicts
from landmeta.tables import score_table

SHARES = (0.25, 0.5)
MEASURES = ("miou", "accuracy", "ece")
WORDS = {
    "modis": "real regions of the world, coarse",
    "shift": "made-up regions that look more and more unlike those of the training",
}


def judge(world: World, given: argparse.Namespace) -> pd.DataFrame:
    """Rows of results on the world's held-out regions."""
    checkpoints = train_all(world, given.networks, given.passes, given.jobs)
    out = world.folder / "forest"
    if not out.exists():
        variants = {
            f"{name}, {share:.0%} forest": Variant(of=name, forest=share)
            for name in checkpoints
            for share in SHARES
        }
        config = CompareConfig(
            taskset=world.judged.folder,
            out=out,
            checkpoints=checkpoints,
            variants=variants,
            baselines=("random_forest",),
            device="cpu",
            shots=given.shots,
            draws=given.draws,
            queries=12,
        )
        compare(config, quiet=True)
    return pd.read_csv(out / "results.csv")


def main() -> None:
    """Run a benchmark to its end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("name", choices=[name for name in NAMES if name in WORDS])
    parser.add_argument("--data", type=Path, help="folder of the raw data sets")
    parser.add_argument("--work", type=Path, required=True, help="folder for runs")
    parser.add_argument("--passes", type=int, default=4000, help="tiles through the network")
    parser.add_argument("--networks", nargs="+", default=["pretrain", "maml"])
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 5, 10])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    given = parser.parse_args()
    text = [
        f"# A forest beside the network: {given.name}, {WORDS[given.name]}",
        f"`python benchmarks/forest.py {given.name} --networks {' '.join(given.networks)} --shots "
        f"{' '.join(map(str, given.shots))} --draws {given.draws} --passes {given.passes}`, "
        f"landmeta {landmeta.__version__}, torch {torch.__version__}, Python "
        f"{platform.python_version()}, CPU ({platform.machine()}). Networks of methods.py; a "
        "percentage is the forest's share in the votes. "
        f"{given.draws} support draws of each held-out region, the same for all.",
    ]
    for world in worlds(given.name, given.data, given.work / given.name):
        rows = judge(world, given)
        text.append(f"## {world.word}")
        text.append(f"{rows['task'].nunique()} held-out regions.")
        text += [score_table(summarise(rows), measure).markdown() for measure in MEASURES]
        for against in ("pretrain", "random_forest"):
            text.append(f"Paired differences against {against} over regions:")
            found = verdicts(paired_differences(rows, against), against)
            text.append("\n".join(f"- {sentence}" for sentence in found))
        path = RESULTS / f"forest_{given.name}.md"
        path.write_text("\n\n".join(text) + "\n", encoding="utf-8")
        print(f"written to {path}", flush=True)


if __name__ == "__main__":
    main()
