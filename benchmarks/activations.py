"""Whether smooth layers cost accuracy: SiLU with average pooling against ReLU with max-pooling.

    python benchmarks/activations.py --taskset TASKSET --work WORK [--seeds 3]

Pretrains with the settings of configs/modis/pretrain.yaml and scores the validation regions at the
end of training; the learning rate of each network is the better one of two, by the same scores.
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
NETWORKS = {
    "smooth": {"activation": "silu", "pooling": "average"},
    "kinked": {"activation": "relu", "pooling": "max"},
}
RATES = (2e-3, 1e-3)


def run(config: TrainConfig, name: str, rate: float, seed: int, work: Path) -> dict[str, object]:
    """Train once and read the last validation scores."""
    out = work / f"{name}_{rate:g}_{seed}"
    settings = config.model_copy(
        update={
            "out": out,
            "seed": seed,
            "model": config.model.model_copy(update=NETWORKS[name]),
            "outer": config.outer.model_copy(update={"rate": rate}),
            "validation": config.validation.model_copy(update={"every": config.outer.steps}),
            "tune": config.tune.model_copy(update={"shots": (1,), "draws": 1, "steps": (0,)}),
        }
    )
    if not (out / "tuning.csv").is_file():
        train(settings, resume=out.exists(), quiet=True)
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    last = next(line for line in reversed(lines) if "val_miou" in line)
    return {"network": name, "rate": rate, "seed": seed, **last}


def main() -> None:
    """Train all, print and write benchmarks/results/activations.md."""
    parser = argparse.ArgumentParser(description="Smooth against kinked networks.")
    parser.add_argument("--taskset", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    config = read_config(ROOT / "configs/modis/pretrain.yaml", TrainConfig)
    config = config.model_copy(update={"taskset": chosen.taskset})
    rows = []
    for seed in range(chosen.seeds):
        for name in NETWORKS:
            for rate in RATES:
                rows.append(run(config, name, rate, seed, chosen.work))
                print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    means = table.groupby(["network", "rate"])["val_miou"].mean()
    best = {name: table[table["rate"] == means[name].idxmax()] for name in NETWORKS}
    kept = {n: t[t["network"] == n].set_index("seed") for n, t in best.items()}
    lines = [
        "# Smooth layers against kinked ones",
        "",
        f"`python benchmarks/activations.py`, {describe(choose_device('auto'))}; "
        f"configs/modis/pretrain.yaml, {config.outer.steps} steps, {chosen.seeds} seeds. "
        "Scores of the validation regions without adaptation, at the end of training.",
        "",
        "| network | rate | seed | val mIoU | val accuracy |",
        "|---|---|---|---|---|",
        *(
            f"| {r['network']} | {r['rate']:g} | {r['seed']} | {r['val_miou']:.4f} | "
            f"{r['val_accuracy']:.4f} |"
            for r in rows
        ),
    ]
    for measure in ("val_miou", "val_accuracy"):
        gain = kept["smooth"][measure] - kept["kinked"][measure]
        mean, low, high = mean_interval(gain.to_numpy(np.float64))
        lines += ["", f"smooth minus kinked, {measure}: {mean:+.4f} ({low:+.4f} to {high:+.4f})"]
    page = "\n".join(lines) + "\n"
    (ROOT / "benchmarks/results/activations.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
