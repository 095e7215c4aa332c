"""Whether differences of gradients train MAML as well as exact second derivatives: whole trainings.

    python benchmarks/hvp_training.py --taskset TASKSET --init CHECKPOINT --work WORK [--seeds 3]

Trains MAML with each product and seed from the same pretrained network, with the settings of
configs/modis/maml.yaml, and prints validation scores after the inner loop at the end of training,
their spread over seeds, and paired differences from the exact product.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

from landmeta.config import TrainConfig, read_config
from landmeta.device import choose_device, describe
from landmeta.stats import mean_interval
from landmeta.train import train

ROOT = Path(__file__).resolve().parents[1]
PRODUCTS = ("exact", "central", "forward")


def run(config: TrainConfig, hvp: str, seed: int, work: Path) -> dict[str, object]:
    """Train once and read the log."""
    out = work / f"{hvp}_{seed}"
    settings = config.model_copy(
        update={
            "out": out,
            "seed": seed,
            "inner": config.inner.model_copy(update={"hvp": hvp}),
            "tune": config.tune.model_copy(update={"shots": (5,), "draws": 1, "steps": (0, 3)}),
        }
    )
    if not (out / "tuning.csv").is_file():
        train(settings, resume=out.exists(), quiet=True)
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    scored = [line for line in lines if "val_miou" in line]
    errors = [line["meta_gradient_error"] for line in lines if "meta_gradient_error" in line]
    return {
        "hvp": hvp,
        "seed": seed,
        "val_miou": scored[-1]["val_miou"],
        "val_accuracy": scored[-1]["val_accuracy"],
        "train_loss": float(np.mean([line["loss"] for line in lines if "loss" in line][-50:])),
        "seconds": scored[-1]["seconds"],
        "largest_error": max(errors, default=0.0),
    }


def main() -> None:
    """Train all, print and write benchmarks/results/hvp_training.md."""
    parser = argparse.ArgumentParser(description="Whole trainings by each Hessian-vector product.")
    parser.add_argument("--taskset", type=Path, required=True)
    parser.add_argument("--init", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    config = read_config(ROOT / "configs/modis/maml.yaml", TrainConfig)
    config = config.model_copy(update={"taskset": chosen.taskset, "init": chosen.init})
    rows = []
    for seed in range(chosen.seeds):
        for hvp in PRODUCTS:
            rows.append(run(config, hvp, seed, chosen.work))
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    exact = table[table["hvp"] == "exact"].set_index("seed")
    text = [
        "# Whole trainings of MAML by each Hessian-vector product",
        f"`python benchmarks/hvp_training.py`, {describe(choose_device('auto'))}; "
        f"configs/modis/maml.yaml, {config.outer.steps} outer steps, K = {config.inner.steps}, "
        f"{chosen.seeds} seeds. Largest error: of the meta-gradient against the exact one, at any "
        "validation.",
        "| product | seed | val mIoU | val accuracy | last 50 losses | seconds | largest error |",
        "|---|---|---|---|---|---|---|",
    ]
    lines = [
        f"| {r['hvp']} | {r['seed']} | {r['val_miou']:.4f} | {r['val_accuracy']:.4f} | "
        f"{r['train_loss']:.4f} | {r['seconds']:.0f} | {r['largest_error']:.1e} |"
        for r in rows
    ]
    for hvp in PRODUCTS[1:]:
        gain = table[table["hvp"] == hvp].set_index("seed")["val_miou"] - exact["val_miou"]
        mean, low, high = mean_interval(gain.to_numpy(np.float64))
        lines.append("")
        lines.append(f"{hvp} minus exact: {mean:+.4f} mIoU ({low:+.4f} to {high:+.4f} over seeds)")
    page = "\n\n".join(text[:2]) + "\n\n" + "\n".join([*text[2:], *lines]) + "\n"
    (ROOT / "benchmarks/results/hvp_training.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
