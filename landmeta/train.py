"""Training: outer Adam over a learner's gradient, validated on held-out regions, resumable.

The folder of a run::

    config.json             the configuration as run
    log.jsonl               loss, gradient norm, validation scores, one line each
    tuning.csv              how well each way to adapt did on the validation regions
    state.safetensors       parameters, Adam's moments and the step: what --resume goes on from
    checkpoint.safetensors  the best parameters so far by validation mIoU
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

import landmeta
from landmeta.adaptation import adapt_params
from landmeta.atomic import refuse_existing, write_failed, write_text
from landmeta.checkpoint import (
    NO_ADAPTATION,
    Adaptation,
    CheckpointMeta,
    load_checkpoint,
    read_tensors,
    save_checkpoint,
    write_tensors,
)
from landmeta.config import TrainConfig
from landmeta.device import choose_device, describe
from landmeta.episodes import EpisodeSampler, check_tiles
from landmeta.errors import CheckpointMismatch, ConfigError, TrainingDiverged, WriteFailed
from landmeta.evaluate import confusion_on, read_episode
from landmeta.learners import META_METHODS, Learner, MetaLearner, Work, make_learner
from landmeta.losses import segmentation_loss, to_batch
from landmeta.meta.inner import Loss
from landmeta.model import Params, SegmentationNet, build_net, trainable
from landmeta.runlog import RunLog
from landmeta.scores import scores
from landmeta.taskset import TaskSet
from landmeta.tune import best, candidates, tune


def train(config: TrainConfig, *, resume: bool = False, quiet: bool = False) -> Path:
    """Run a training to its end and return the path of its best checkpoint.

    Raises:
        OutputExists: the run's folder exists and `resume` is False.
        ConfigError, TooFewTiles, EmptyRegion: the task set cannot give what the config asks.
        CheckpointMismatch: `init` or the state to resume was made for something else.
        TrainingDiverged: loss or gradient became NaN or infinite.
        WriteFailed: the disk is full or not writable; what is there can be resumed.
    """
    taskset = TaskSet(config.taskset)
    if not resume:
        remedy = "go on with it by --resume, or name another folder as 'out'"
        refuse_existing(config.out, overwrite=False, remedy=remedy)
    device = choose_device(config.device)
    run = _Run(config, taskset, _network(config, taskset), device)
    with _resumable(config.out):
        config.out.mkdir(parents=True, exist_ok=True)
        if resume:
            _check_same_config(config)
            run.restore()
        text = config.model_dump_json(indent=2) + "\n"
        write_text(config.out / "config.json", text, overwrite=True)
        run.go(quiet)
        run.finish(quiet)
    return run.checkpoint_path


@contextmanager
def _resumable(folder: Path) -> Iterator[None]:
    """What stops for want of disk space keeps its whole files, to go on from."""
    try:
        yield
    except (WriteFailed, OSError) as error:
        with suppress(OSError):
            folder.rmdir()  # if nothing is in it yet
        failed = error if isinstance(error, WriteFailed) else write_failed(folder, error)
        raise WriteFailed(
            failed.what,
            remedy="free disk space or make the folder writable, then run the same command with "
            "--resume",
            path=failed.path,
        ) from error


def _check_same_config(config: TrainConfig) -> None:
    """A run resumed with other settings would be neither of the two runs."""
    path = config.out / "config.json"
    if not path.is_file():
        return
    before, now = json.loads(path.read_text(encoding="utf-8")), json.loads(config.model_dump_json())
    changed = [k for k in now if k != "device" and before.get(k) != now[k]]
    if changed:
        raise ConfigError(
            f"cannot be resumed with another {', '.join(changed)}: it was "
            f"{'; '.join(str(before.get(k)) for k in changed)}",
            remedy="put the old values back, or train in a new folder",
            path=path,
        )


def _network(config: TrainConfig, taskset: TaskSet) -> SegmentationNet:
    tile, factor = taskset.meta.tile_size, 2**config.model.depth
    if tile % factor:
        raise ConfigError(
            f"tiles of {tile} px cannot be halved {config.model.depth} times",
            remedy=f"lower model.depth, or prepare tiles of a multiple of {factor} px",
        )
    if config.init is None:
        net = build_net(config.model, len(taskset.bands), len(taskset.legend), config.seed)
        net.set_standardisation(*band_statistics(taskset, config.seed))
        return net
    start = load_checkpoint(config.init)
    start.meta.check_fits(taskset.meta, config.init)
    if start.meta.unet != config.model:
        raise CheckpointMismatch(
            f"holds the network {start.meta.unet}, but the config asks for {config.model}",
            remedy="use the same model section as the run that made it",
            path=config.init,
        )
    return start.net


def band_statistics(taskset: TaskSet, seed: int, most: int = 1000) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each band over valid pixels of the training split, (band,).

    From `most` tiles drawn with `seed`, where there are more.
    """
    ids = taskset.split_ids("train")
    if len(ids) > most:
        ids = np.sort(np.random.default_rng(seed).choice(ids, most, replace=False))
    count = np.zeros(len(taskset.bands))
    total, squares = np.zeros_like(count), np.zeros_like(count)
    for tile in ids.tolist():
        image = taskset.read([tile]).image[0].astype(np.float64)
        count += np.isfinite(image).sum(axis=(1, 2))
        total += np.nansum(image, axis=(1, 2))
        squares += np.nansum(image**2, axis=(1, 2))
    mean = total / np.maximum(count, 1)
    std = np.sqrt(np.maximum(squares / np.maximum(count, 1) - mean**2, 0))
    std[std < 1e-8] = 1.0  # a constant band says nothing; it must not divide by zero
    return torch.tensor(mean, dtype=torch.float32), torch.tensor(std, dtype=torch.float32)


@dataclass
class _Best:
    score: float = -math.inf
    step: int = 0


class _Run:
    """The state of one training run."""

    def __init__(
        self, config: TrainConfig, taskset: TaskSet, net: SegmentationNet, device: torch.device
    ) -> None:
        self.config, self.taskset, self.device = config, taskset, device
        self.net = net.to(device)
        self.loss: Loss = segmentation_loss(self.net)
        self.learner: Learner = make_learner(config, taskset, self.loss, device)
        self.params: Params = trainable(self.net)
        self.optimizer = torch.optim.Adam(list(self.params.values()), lr=config.outer.rate)
        self.step = 0
        self.seconds = 0.0
        self.best = _Best()
        wanted = config.validation
        self.validation = EpisodeSampler(
            taskset, "val", shots=wanted.shots, queries=wanted.queries, seed=config.seed
        )
        for task in self.validation.tasks:  # said now, not when hours of training are over
            check_tiles(taskset, task, max(config.tune.shots) + 1)
        self.checkpoint_path = config.out / "checkpoint.safetensors"
        self.state_path = config.out / "state.safetensors"

    # ---- the loop -----------------------------------------------------------------------------

    def go(self, quiet: bool) -> None:
        config = self.config
        log = RunLog(config.out, resume_step=self.step, tensorboard=config.tensorboard)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
        )
        started, before = time.perf_counter(), self.seconds
        unit = "episodes" if config.method in META_METHODS else "tiles"
        miou = math.nan
        try:
            with Progress(*columns, disable=quiet or self.config.method == "scratch") as progress:
                bar = progress.add_task(
                    f"{config.method} on {describe(self.device)}",
                    total=config.outer.steps,
                    completed=self.step,
                    status="",
                )
                first = self.step
                for work in self._works():
                    loss, norm = self._outer_step(work)
                    self.step += 1
                    self.seconds = before + time.perf_counter() - started
                    log.write(self.step, loss=loss, gradient_norm=norm)
                    if self.step % config.validation.every == 0 or self.step == config.outer.steps:
                        self._log_difference_error(log, work)
                        miou = self._validate_and_save(log)
                    rate = (self.step - first) * self.learner.items / (self.seconds - before)
                    status = f"loss {loss:.3f}  val mIoU {miou:.3f}  {rate:.1f} {unit}/s"
                    progress.update(bar, advance=1, status=status)
        finally:
            log.close()

    def _works(self) -> Iterator[Work]:
        """The tiles of each remaining step, read one step ahead in the background."""
        last = 0 if self.config.method == "scratch" else self.config.outer.steps
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(self.learner.load, self.step) if self.step < last else None
            while ahead is not None:
                work, following = ahead.result(), self.step + 1
                ahead = pool.submit(self.learner.load, following) if following < last else None
                yield work

    def _outer_step(self, work: Work) -> tuple[float, float]:
        outer = self.config.outer
        loss, grads = self.learner.gradient(self.params, work)
        for name, p in self.params.items():
            p.grad = grads[name]
        norm = float(torch.nn.utils.clip_grad_norm_(self.params.values(), outer.clip))
        value = float(loss)
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise TrainingDiverged(
                f"step {self.step + 1}: loss {value}, gradient norm {norm}",
                remedy="lower inner.rate or outer.rate, then train again; the best checkpoint "
                f"so far (step {self.best.step}) is kept",
                path=self.config.out,
            )
        cosine = 0.5 * (1 + math.cos(math.pi * self.step / outer.steps))
        for group in self.optimizer.param_groups:
            group["lr"] = outer.rate * (0.01 + 0.99 * cosine)
        self.optimizer.step()
        return value, norm

    # ---- validation and saving ----------------------------------------------------------------

    def _trained_adaptation(self) -> Adaptation | None:
        """The inner loop the network is meta-trained with, if it is."""
        if self.config.method not in META_METHODS:
            return None
        return Adaptation(rate=self.config.inner.rate, steps=self.config.inner.steps)

    def validate(self) -> tuple[float, float]:
        """Mean over validation regions of mIoU and accuracy on query tiles.

        After the inner loop for a meta-learned network, as it is for a pretrained one.
        """
        how = self._trained_adaptation() or NO_ADAPTATION
        results = []
        for task in self.validation.tasks:
            for draw in range(self.config.validation.draws):
                episode = self.validation.draw(task, draw)
                support, query = read_episode(self.taskset, episode)
                adapted = adapt_params(self.loss, self.params, to_batch(support, self.device), how)
                classes = len(self.taskset.legend)
                results.append(scores(confusion_on(self.net, adapted, query, classes, self.device)))
        return (
            float(np.nanmean([s.miou for s in results])),
            float(np.nanmean([s.accuracy for s in results])),
        )

    def _log_difference_error(self, log: RunLog, work: Work) -> None:
        if isinstance(self.learner, MetaLearner):
            error = self.learner.difference_error(self.params, work)
            if error is not None:
                log.write(self.step, meta_gradient_error=error)

    def _validate_and_save(self, log: RunLog) -> float:
        miou, accuracy = self.validate()
        log.write(self.step, val_miou=miou, val_accuracy=accuracy, seconds=self.seconds)
        if miou > self.best.score:
            self.best = _Best(miou, self.step)
            self._save_checkpoint()
        self._save_state()
        return miou

    def _save_checkpoint(self) -> None:
        save_checkpoint(self.checkpoint_path, self.net, self.params, self._record(), overwrite=True)

    def finish(self, quiet: bool) -> None:
        """Find how the best checkpoint is best adapted with each number of shots; store it there.

        From scratch there is nothing to train: the random network is the checkpoint.
        """
        if self.config.method == "scratch":
            self._save_checkpoint()
        trained = load_checkpoint(self.checkpoint_path)
        on_device = trained.to(self.device)
        config = self.config.tune
        trials = tune(
            on_device.net,
            segmentation_loss(on_device.net),
            on_device.params,
            self.taskset,
            config,
            trained=self._trained_adaptation(),
            seed=self.config.seed + 1,
            device=self.device,
        )
        count = len(config.shots) * sum(
            len(steps) for _, steps in candidates(config, self._trained_adaptation())
        )
        with Progress(disable=quiet) as progress:
            done = list(progress.track(trials, total=count, description="tuning the adaptation"))
        rows = [
            f"{t.shots},{t.how.optimizer},{t.how.rate},{t.how.steps},{t.miou:.4f}" for t in done
        ]
        table = "\n".join(["shots,optimizer,rate,steps,val_miou", *rows])
        write_text(self.config.out / "tuning.csv", table + "\n", overwrite=True)
        meta = trained.meta.model_copy(update={"adaptation": best(done)})
        save_checkpoint(self.checkpoint_path, trained.net, trained.params, meta, overwrite=True)

    def _record(self) -> CheckpointMeta:
        config, data = self.config, self.taskset.meta
        return CheckpointMeta(
            kind="meta",
            method=config.method,
            unet=config.model,
            bands=data.bands,
            legend=data.legend,
            gsd=data.gsd,
            tile_size=data.tile_size,
            adaptation={self.config.validation.shots: self._trained_adaptation() or NO_ADAPTATION},
            provenance={
                "taskset": data.source,
                "training_regions": data.splits.get("train", []),
                "config": json.loads(config.model_dump_json()),
                "step": self.step,
                "val_miou": self.best.score,
                "seconds": round(self.seconds, 1),
                "images_seen": self.step * self.learner.images,
                "device": describe(self.device),
                "versions": {"landmeta": landmeta.__version__, "torch": torch.__version__},
            },
        )

    def _save_state(self) -> None:
        tensors = {f"param/{k}": p for k, p in self.params.items()}
        tensors |= {f"buffer/{k}": b for k, b in self.net.named_buffers()}
        for name, p in self.params.items():
            moments = self.optimizer.state[p]
            tensors[f"exp_avg/{name}"] = moments["exp_avg"]
            tensors[f"exp_avg_sq/{name}"] = moments["exp_avg_sq"]
        record = {
            "step": self.step,
            "seconds": self.seconds,
            "best_score": self.best.score,
            "best_step": self.best.step,
        }
        write_tensors(self.state_path, tensors, {"landmeta": json.dumps(record)}, overwrite=True)

    def restore(self) -> None:
        """Go on from the saved state; from the beginning if none was saved yet."""
        if not self.state_path.is_file():
            return
        tensors, metadata = read_tensors(self.state_path)
        try:
            record = json.loads(metadata["landmeta"])
            with torch.no_grad():
                for name, buffer in self.net.named_buffers():
                    buffer.copy_(tensors[f"buffer/{name}"])
                for name, p in self.params.items():
                    p.copy_(tensors[f"param/{name}"])
                    self.optimizer.state[p] = {
                        "step": torch.tensor(float(record["step"])),
                        "exp_avg": tensors[f"exp_avg/{name}"].to(p.device),
                        "exp_avg_sq": tensors[f"exp_avg_sq/{name}"].to(p.device),
                    }
        except (KeyError, RuntimeError) as error:
            raise CheckpointMismatch(
                f"is the state of another network: {error}",
                remedy="resume with the same model section, or train in a new folder",
                path=self.state_path,
            ) from error
        self.step, self.seconds = record["step"], record["seconds"]
        self.best = _Best(record["best_score"], record["best_step"])
