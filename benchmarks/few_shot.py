"""Compare the methods on real imagery of regions that none was trained on.

    python benchmarks/few_shot.py modis --data DATA --work WORK
    python benchmarks/few_shot.py dubai --data DATA --work WORK

`modis`: 22 regions of the world, five of them held out. `dubai`: five areas of one city, each held
out once, the next one for validation. Settings are those of configs/NAME/*.yaml. MAML and FOMAML
start from a network pretrained for a part of the budget; the pretrain baseline is trained on for
as many tile gradients as MAML's whole training needs, so that no method has the larger budget.
Writes benchmarks/results/NAME.md; what it stands on stays in WORK. Goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

import landmeta
from data_prep.prepare import prepare
from data_prep.rasters import rasters
from landmeta.checkpoint import load_checkpoint
from landmeta.compare import compare
from landmeta.config import CompareConfig, TrainConfig, read_config
from landmeta.device import choose_device, describe
from landmeta.legend import KNOWN_LEGENDS, read_legend
from landmeta.stats import MEASURES, paired_differences, summarise, verdicts
from landmeta.tables import score_table
from landmeta.taskset import TaskSet
from landmeta.train import train

ROOT = Path(__file__).resolve().parents[1]
MODIS_VAL = ("canada_nw", "india", "middle_east")
MODIS_TEST = (
    "great_lakes",
    "iberia_maghreb",
    "manchuria_korea",
    "sahel_central",
    "us_southwest",
)
DUBAI_AREAS = ("Tile 1", "Tile 2", "Tile 3", "Tile 5", "Tile 7")
UNROLLED = 3
"""Cost of an exact meta-gradient in first-order ones, at K = 3 to 5."""


@dataclass(frozen=True)
class Fold:
    """A task set with its own held-out regions, and where its runs go."""

    taskset: TaskSet
    folder: Path


def folds(name: str, data: Path, work: Path) -> Iterator[Fold]:
    """The task sets of a benchmark."""
    if name == "modis":
        yield Fold(_modis(data / "modis_igbp", work / "taskset"), work)
    else:
        for i, area in enumerate(DUBAI_AREAS):
            validation = DUBAI_AREAS[(i + 1) % len(DUBAI_AREAS)]
            folder = work / area.replace(" ", "").lower()
            yield Fold(_dubai(data / "dubai_hitl", folder / "taskset", area, validation), folder)


def _modis(root: Path, out: Path) -> TaskSet:
    if out.exists():
        return TaskSet(out)
    source = rasters(
        root,
        images="{region}/{name}_img.tif",
        labels="{region}/{name}_igbp.tif",
        legend=KNOWN_LEGENDS["igbp-simplified"],
        tile=32,
        val=MODIS_VAL,
        test=MODIS_TEST,
    )
    return prepare(source, out, quiet=True)


def _dubai(root: Path, out: Path, test: str, val: str) -> TaskSet:
    if out.exists():
        return TaskSet(out)
    source = rasters(
        root,
        images="{region}/images/{name}.jpg",
        labels="{region}/masks/{name}.png",
        legend=read_legend(ROOT / "configs/legends/dubai.yaml"),
        tile=64,
        val=[val],
        test=[test],
    )
    return prepare(source, out, quiet=True)


def train_all(name: str, fold: Fold) -> dict[str, Path]:
    """Train every method; one whose run is complete is not trained again."""
    short = _settings(name, "pretrain", fold, "pretrain_short")
    maml = _settings(name, "maml", fold, "maml")
    budget = _first_order(maml) * UNROLLED * maml.outer.steps
    more = budget // short.batch
    longer = _with_steps(_settings(name, "pretrain", fold, "pretrain"), short.outer.steps + more)
    start = _run(short)
    maml = maml.model_copy(update={"init": start})
    fomaml = _settings(name, "maml", fold, "fomaml")
    fomaml = fomaml.model_copy(update={"init": start, "method": "fomaml"})
    fomaml = _with_steps(fomaml, budget // _first_order(maml))
    return {
        "pretrain": _run(longer),
        "maml": _run(maml),
        "fomaml": _run(fomaml),
        "scratch": _run(_settings(name, "scratch", fold, "scratch")),
    }


def _first_order(config: TrainConfig) -> int:
    """Tile gradients of one first-order meta-step."""
    sizes = config.episodes
    return sizes.tasks * (sizes.shots * config.inner.steps + sizes.queries)


def _settings(name: str, method: str, fold: Fold, run: str) -> TrainConfig:
    config = read_config(ROOT / f"configs/{name}/{method}.yaml", TrainConfig)
    changes = {"taskset": fold.taskset.folder, "out": fold.folder / "runs" / run}
    return config.model_copy(update=changes)


def _with_steps(config: TrainConfig, steps: int) -> TrainConfig:
    every = max(1, steps * config.validation.every // config.outer.steps)
    return config.model_copy(
        update={
            "outer": config.outer.model_copy(update={"steps": steps}),
            "validation": config.validation.model_copy(update={"every": every}),
        }
    )


def _run(config: TrainConfig) -> Path:
    made = config.out / "checkpoint.safetensors"
    if not (config.out / "tuning.csv").is_file():
        print(f"training {config.out.name}, {config.outer.steps} steps", flush=True)
        train(config, resume=config.out.exists(), quiet=True)
    meta = load_checkpoint(made).meta
    print(f"{config.out.name}: {meta.provenance['seconds']} s, {meta.adaptation}", flush=True)
    return made


def compare_all(name: str, fold: Fold, checkpoints: dict[str, Path]) -> pd.DataFrame:
    """Compare on the fold's held-out regions; rows as in results.csv."""
    config = read_config(ROOT / f"configs/{name}/compare.yaml", CompareConfig)
    out = fold.folder / "comparison"
    changes = {"taskset": fold.taskset.folder, "out": out, "checkpoints": checkpoints}
    if not out.exists():
        compare(config.model_copy(update=changes), quiet=True)
    return pd.read_csv(out / "results.csv")


def describe_runs(fold: Fold) -> list[str]:
    """One line per run: seconds of training and the adaptation that was tuned."""
    lines = []
    for path in sorted((fold.folder / "runs").glob("*/checkpoint.safetensors")):
        meta = load_checkpoint(path).meta
        ways = "; ".join(
            f"{shots}: {how.steps} x {how.optimizer} {how.rate:g}"
            for shots, how in sorted(meta.adaptation.items())
        )
        record, name = meta.provenance, f"{fold.folder.name}/{path.parent.name}"
        trained = "not trained"
        if record["step"]:
            trained = f"best at step {record['step']} ({record['seconds']} s)"
            trained += f", validation mIoU {record['val_miou']:.3f}"
        lines.append(f"- {name}: {trained}; adapts by shots {ways}")
    return lines


def write_result(name: str, results: pd.DataFrame, made: list[Fold]) -> Path:
    """Tables and sentences as Markdown under benchmarks/results."""
    summary, differences = summarise(results), paired_differences(results, "pretrain")
    runs = [line for fold in made for line in describe_runs(fold)]
    regions = per_region(results)
    text = [
        f"# Few-shot comparison: {name}",
        f"`python benchmarks/few_shot.py {name}`, landmeta {landmeta.__version__}, "
        f"torch {torch.__version__}, Python {platform.python_version()}, "
        f"{describe(choose_device('auto'))}, {platform.machine()}. "
        f"{results['task'].nunique()} held-out regions, {results['draw'].nunique()} support "
        f"draws each, tiles of {made[0].taskset.meta.tile_size} px. GPU: none was at hand.",
        *(score_table(summary, measure).markdown() for measure in MEASURES),
        "Paired differences against pretrain over regions:",
        "\n".join(f"- {s}" for s in verdicts(differences, "pretrain")),
        regions,
        "Runs:",
        "\n".join(runs),
    ]
    path = ROOT / f"benchmarks/results/{name}.md"
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


def main() -> None:
    """Run a benchmark to its end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("name", choices=["modis", "dubai"])
    parser.add_argument("--data", type=Path, required=True, help="folder of the raw data sets")
    parser.add_argument("--work", type=Path, required=True, help="folder for runs")
    arguments = parser.parse_args()
    made, tables = [], []
    for fold in folds(arguments.name, arguments.data, arguments.work / arguments.name):
        tables.append(compare_all(arguments.name, fold, train_all(arguments.name, fold)))
        made.append(fold)
        print(f"written to {write_result(arguments.name, pd.concat(tables), made)}", flush=True)


if __name__ == "__main__":
    main()
