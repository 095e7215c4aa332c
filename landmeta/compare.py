"""Which method adapts best to regions that none has seen: same draws, same query tiles for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from landmeta.atomic import atomic_folder, refuse_existing
from landmeta.budget import cost_of
from landmeta.config import CompareConfig
from landmeta.contenders import Contender, Network, contenders
from landmeta.curve import follow
from landmeta.device import choose_device, describe
from landmeta.episodes import Episode, EpisodeSampler
from landmeta.errors import CannotAdapt, ConfigError
from landmeta.evaluate import read_episode
from landmeta.findings import Comparison, Facts, find
from landmeta.judge import NOTHING, Refusals, judge
from landmeta.leakage.proof import demand_proof, proof_text
from landmeta.legend import IGNORE, Labels
from landmeta.pictures import plot_region
from landmeta.report import write_report
from landmeta.taskset import TaskSet, Tiles
from landmeta.tune import tuning_table

MANY = 6
"""Of more methods than this, the picture of a region shows one tile, and else three."""


def compare(config: CompareConfig, *, quiet: bool = False) -> Comparison:
    """Adapt every method to every region of the split with every number of shots and draw.

    Writes to `config.out`: results.csv and results.parquet (tidy), summary.csv, differences.csv,
    curve.csv (if asked for), tuning_NAME.csv (of a variant with its own search), findings.md,
    charts (scores, methods, ranks and curve.png), one regions/NAME.png each, and report.html with
    all of it. What a method cannot do is NaN, with a sentence that says why.

    Raises:
        OutputExists: `config.out` exists.
        LeakyTaskSet: the task set is not proved free of leakage and the config does not allow it.
        ConfigError: the reference is not among the methods.
        CheckpointMismatch: a checkpoint was made for other bands or classes.
        TooFewTiles: a region has fewer tiles than the most shots plus one.
    """
    refuse_existing(config.out, overwrite=False, remedy="name another folder as 'out'")
    names = [*config.checkpoints, *config.variants, *config.baselines]
    if config.reference not in names:
        raise ConfigError(
            f"the reference {config.reference!r} is none of {', '.join(names)}",
            remedy="name one of the checkpoints, variants or baselines as reference",
        )
    taskset = TaskSet(config.taskset)
    proof = demand_proof(taskset, allow_leakage=config.allow_leakage)
    device = choose_device(config.device)
    most = max(1, *config.shots, config.curve_shots if config.curve else 0)
    sampler = EpisodeSampler(
        taskset, config.split, shots=most, queries=config.queries, seed=config.seed
    )
    taking_part, tried = contenders(config, taskset, device)
    with atomic_folder(config.out) as folder:
        (folder / "regions").mkdir()
        for name, trials in tried.items():
            (folder / f"tuning_{_file(name)}.csv").write_text(tuning_table(trials))
        rows = _run(config, taskset, sampler, taking_part, folder, quiet)
        found = find(
            folder,
            pd.DataFrame(rows.scores),
            pd.DataFrame(rows.curve),
            _facts(config, taking_part, rows.refusals, len(sampler.tasks) * config.draws),
            shots=_picture_shots(config),
            curve_shots=config.curve_shots,
        )
        _write(found, config, pd.DataFrame(rows.curve), device, proof)
    return replace(found, folder=config.out)


def _write(
    found: Comparison,
    config: CompareConfig,
    curve: pd.DataFrame,
    device: torch.device,
    proof: Mapping[str, Any],
) -> None:
    folder = found.folder
    found.results.to_csv(folder / "results.csv", index=False)
    found.results.to_parquet(folder / "results.parquet", index=False)
    found.summary.to_csv(folder / "summary.csv", index=False)
    found.differences.to_csv(folder / "differences.csv", index=False)
    if not curve.empty:
        curve.to_csv(folder / "curve.csv", index=False)
    (folder / "findings.md").write_text(found.markdown() + "\n", encoding="utf-8")
    (folder / "config.json").write_text(config.model_dump_json(indent=2), encoding="utf-8")
    found.write_charts()
    write_report(
        folder / "report.html",
        found,
        title="Which method adapts best",
        facts={
            "task set": str(config.taskset),
            "regions": f"{found.results['task'].nunique()} of the {config.split} split",
            "support draws": str(config.draws),
            "device": describe(device),
            "proof against leakage": proof_text(proof),
        },
    )


def _facts(
    config: CompareConfig, taking_part: list[Contender], refusals: Refusals, cases: int
) -> Facts:
    networks = [c for c in taking_part if isinstance(c, Network)]
    ways = {c.name: {s: c.how(s).text() for s in config.shots} for c in networks}
    costs = {c.name: cost_of(c.checkpoint.meta.provenance) for c in networks}
    learned = {s: "learned anew" if s else "–" for s in config.shots}
    for name in config.baselines:
        ways[name], costs[name] = learned, None
    return Facts(
        reference=config.reference,
        ways=ways,
        steps={c.name: c.how(config.curve_shots).steps for c in networks},
        training=costs,
        refused=refusals.sentences(cases),
    )


def _picture_shots(config: CompareConfig) -> int:
    return min(config.shots, key=lambda s: abs(s - config.picture_shots))


@dataclass
class _Rows:
    scores: list[dict[str, Any]] = field(default_factory=list)
    curve: list[dict[str, Any]] = field(default_factory=list)
    refusals: Refusals = field(default_factory=Refusals)


def _run(
    config: CompareConfig,
    taskset: TaskSet,
    sampler: EpisodeSampler,
    taking_part: list[Contender],
    folder: Path,
    quiet: bool,
) -> _Rows:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[status]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    rows = _Rows()
    with Progress(*columns, disable=quiet) as progress:
        total = len(sampler.tasks) * config.draws
        bar = progress.add_task("comparing", total=total, status="")
        for task in sampler.tasks:
            for draw in range(config.draws):
                progress.update(bar, status=f"{task}, draw {draw + 1}")
                episode = sampler.draw(task, draw)
                maps = _judge_all(config, taskset, episode, draw, taking_part, rows)
                if draw == 0:
                    path = folder / "regions" / f"{_file(task)}.png"
                    _picture(taskset, episode, maps, _picture_shots(config), path)
                progress.advance(bar)
    return rows


def _judge_all(
    config: CompareConfig,
    taskset: TaskSet,
    episode: Episode,
    draw: int,
    taking_part: list[Contender],
    rows: _Rows,
) -> dict[str, Labels]:
    """Add the rows of one draw; return the maps with the picture's shots."""
    support, query = read_episode(taskset, episode)
    where = {"task": episode.task, "draw": draw}
    seed, classes = config.seed + draw, len(taskset.legend)
    maps: dict[str, Labels] = {}
    for shots in config.shots:
        few = Tiles(support.image[:shots], support.label[:shots])
        for contender in taking_part:
            made = np.full_like(query.label, IGNORE)
            found = NOTHING
            try:
                found, made = judge(contender, few, query, classes, seed)
            except (CannotAdapt, ConfigError) as error:
                rows.refusals.note(contender.name, shots, error)
            rows.scores.append({**where, "method": contender.name, "shots": shots, **found})
            if shots == _picture_shots(config):
                maps[contender.name] = made
    if config.curve:
        shots = config.curve_shots
        few = Tiles(support.image[:shots], support.label[:shots])
        for contender in taking_part:
            try:
                path = follow(contender, few, query, classes, config.curve, seed)
            except (CannotAdapt, ConfigError) as error:
                rows.refusals.note(f"{contender.name} (learning curve)", shots, error)
                continue
            rows.curve += [where | row for row in path]
    return maps


def _picture(
    taskset: TaskSet, episode: Episode, maps: dict[str, Labels], shots: int, path: Path
) -> None:
    """The query tiles with the most classes."""
    query = taskset.read(episode.query)
    variety = [len(np.unique(label)) for label in query.label]
    chosen = np.argsort(variety, kind="stable")[::-1][: 3 if len(maps) <= MANY else 1]
    plot_region(
        query.image[chosen],
        query.label[chosen],
        {name: labels[chosen] for name, labels in maps.items()},
        bands=taskset.bands,
        legend=taskset.legend,
        title=f"{episode.task}, adapted with {shots} labelled tiles",
        path=path,
    )


def _file(name: str) -> str:
    """A name that may stand in a file name."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
