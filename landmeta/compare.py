"""Which method adapts best to regions that none has seen: same draws, same query tiles for all."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from landmeta.adaptation import adapt_params
from landmeta.atomic import atomic_folder, refuse_existing
from landmeta.checkpoint import Checkpoint, load_checkpoint
from landmeta.config import CompareConfig
from landmeta.device import choose_device
from landmeta.episodes import Episode, EpisodeSampler
from landmeta.errors import CheckpointMismatch, ConfigError
from landmeta.evaluate import read_episode
from landmeta.legend import IGNORE, Labels
from landmeta.losses import predict_classes, to_batch
from landmeta.model import Params
from landmeta.pictures import plot_region, plot_scores
from landmeta.relabel import numbering, present, with_table
from landmeta.report import write_report
from landmeta.scores import Scores, confusion_matrix, scores
from landmeta.stats import MEASURES, paired_differences, summarise, verdicts
from landmeta.tables import score_table
from landmeta.taskset import TaskSet, Tiles


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        folder: where everything was written.
        results: one row per method, shots, task and draw.
        summary: mean over regions and interval per method, shots and measure.
        differences: paired differences against the reference.
        sentences: what may be said.
    """

    folder: Path
    results: pd.DataFrame
    summary: pd.DataFrame
    differences: pd.DataFrame
    sentences: list[str]

    def text(self) -> str:
        """Tables and sentences in Markdown."""
        tables = [score_table(self.summary, measure).markdown() for measure in MEASURES]
        return "\n\n".join([*tables, "\n".join(f"- {s}" for s in self.sentences)])


@dataclass(frozen=True)
class _Method:
    name: str
    checkpoint: Checkpoint
    device: torch.device

    def classes(self, support: Tiles) -> Labels:
        """Indices of the classes it can map: of an open legend, those that are labelled."""
        if self.checkpoint.meta.open_legend:
            return present(support.label)
        return np.arange(len(self.checkpoint.meta.legend), dtype=np.uint8)

    def adapt(self, support: Tiles) -> Params:
        made, how = self.checkpoint, self.checkpoint.meta.adaptation_for(len(support))
        classes = self.classes(support)
        batch = to_batch(with_table(support, numbering(classes)), self.device)
        labelled = batch if len(support) else None
        return adapt_params(made.method, made.params, labelled, how, len(classes))

    def maps(self, params: Params, support: Tiles, query: Tiles) -> Labels:
        image = to_batch(query, self.device).image
        predicted = predict_classes(self.checkpoint.method.logits, params, image)
        found: Labels = self.classes(support)[predicted.cpu().numpy()]
        return found


def compare(config: CompareConfig, *, quiet: bool = False) -> Comparison:
    """Adapt every method to every region of the split with every number of shots and draw.

    Writes to `config.out`: results.csv (tidy), summary.csv, differences.csv, findings.md,
    scores.png, one regions/NAME.png each, and report.html with all of it.

    Raises:
        OutputExists: `config.out` exists.
        ConfigError: the reference is not among the checkpoints.
        CheckpointMismatch: a checkpoint was made for other bands or classes.
        TooFewTiles: a region has fewer tiles than the most shots plus one.
    """
    refuse_existing(config.out, overwrite=False, remedy="name another folder as 'out'")
    if config.reference not in config.checkpoints:
        raise ConfigError(
            f"the reference {config.reference!r} is none of {', '.join(config.checkpoints)}",
            remedy="name one of the checkpoints as reference",
        )
    taskset = TaskSet(config.taskset)
    device = choose_device(config.device)
    methods = [_load(name, path, taskset, device) for name, path in config.checkpoints.items()]
    sampler = EpisodeSampler(
        taskset,
        config.split,
        shots=max(1, *config.shots),
        queries=config.queries,
        seed=config.seed,
    )
    with atomic_folder(config.out) as folder:
        (folder / "regions").mkdir()
        results = _run(config, taskset, sampler, methods, folder, quiet)
        summary = summarise(results)
        differences = paired_differences(results, config.reference)
        sentences = verdicts(differences, config.reference)
        results.to_csv(folder / "results.csv", index=False)
        summary.to_csv(folder / "summary.csv", index=False)
        differences.to_csv(folder / "differences.csv", index=False)
        found = Comparison(config.out, results, summary, differences, sentences)
        (folder / "findings.md").write_text(found.text() + "\n", encoding="utf-8")
        (folder / "config.json").write_text(config.model_dump_json(indent=2), encoding="utf-8")
        plot_scores(summary, folder / "scores.png")
        write_report(
            folder / "report.html",
            replace(found, folder=folder),
            title="Which method adapts best",
            facts={"task set": str(config.taskset), "support draws": str(config.draws)},
        )
    return found


def _load(name: str, path: Path, taskset: TaskSet, device: torch.device) -> _Method:
    checkpoint = load_checkpoint(path)
    try:
        checkpoint.meta.check_fits(taskset.meta, path)
    except CheckpointMismatch as error:
        raise CheckpointMismatch(
            f"{name!r} {error.what}", remedy=error.remedy, path=path
        ) from error
    return _Method(name, checkpoint.to(device), device)


def _run(
    config: CompareConfig,
    taskset: TaskSet,
    sampler: EpisodeSampler,
    methods: list[_Method],
    folder: Path,
    quiet: bool,
) -> pd.DataFrame:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[status]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    rows = []
    picture_shots = min(config.shots, key=lambda s: abs(s - config.picture_shots))
    with Progress(*columns, disable=quiet) as progress:
        total = len(sampler.tasks) * config.draws
        bar = progress.add_task("comparing", total=total, status="")
        for task in sampler.tasks:
            for draw in range(config.draws):
                progress.update(bar, status=f"{task}, draw {draw + 1}")
                episode = sampler.draw(task, draw)
                support, query = read_episode(taskset, episode)
                maps: dict[str, Labels] = {}
                for shots in config.shots:
                    for method in methods:
                        row, predicted = _judge(method, support, query, shots, taskset)
                        rows.append({"task": task, "draw": draw, **row})
                        if shots == picture_shots:
                            maps[method.name] = predicted
                if draw == 0:
                    path = folder / "regions" / f"{task.replace('/', '_')}.png"
                    _picture(taskset, episode, query, maps, picture_shots, path)
                progress.advance(bar)
    return pd.DataFrame(rows)


def _judge(
    method: _Method, support: Tiles, query: Tiles, shots: int, taskset: TaskSet
) -> tuple[dict[str, object], Labels]:
    first = Tiles(support.image[:shots], support.label[:shots])
    started = time.perf_counter()
    if len(method.classes(first)):
        adapted = method.adapt(first)
        seconds = time.perf_counter() - started
        predicted = method.maps(adapted, first, query)
        found = scores(confusion_matrix(query.label, predicted, len(taskset.legend)))
    else:  # an open legend and nothing labelled: there is no class to map
        seconds, predicted = math.nan, np.full_like(query.label, IGNORE)
        found = Scores(math.nan, math.nan, math.nan)
    row = {"method": method.name, "shots": shots, **asdict(found), "adapt_seconds": seconds}
    return row, predicted


def _picture(
    taskset: TaskSet,
    episode: Episode,
    query: Tiles,
    maps: dict[str, Labels],
    shots: int,
    path: Path,
) -> None:
    """The three query tiles with the most classes."""
    variety = [len(np.unique(label)) for label in query.label]
    chosen = np.argsort(variety, kind="stable")[::-1][:3]
    title = f"{episode.task}, adapted with {shots} labelled tiles"
    plot_region(
        query.image[chosen],
        query.label[chosen],
        {name: labels[chosen] for name, labels in maps.items()},
        bands=taskset.bands,
        legend=taskset.legend,
        title=title,
        path=path,
    )
