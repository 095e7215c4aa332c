"""Training: outer Adam over a learner's gradient, validated on held-out regions, resumable.

The folder of a run::

    config.json             the configuration as run
    log.jsonl               loss, gradient norm, validation scores, one line each
    tuning.csv              how well each way to adapt did on the validation regions
    state.safetensors       parameters, Adam's moments and the step: what --resume goes on from
    checkpoint.safetensors  the best parameters so far by validation mIoU
    .launch                 under torchrun: which start of it the run belongs to

Under `torchrun` the processes share the tasks of each step, of validation and of tuning, and the
first of them writes. What they end with is what one process ends with, up to rounding.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

import landmeta
from landmeta import distributed
from landmeta.adaptation import NO_ADAPTATION, adapt_params
from landmeta.atomic import refuse_existing, write_failed, write_text
from landmeta.budget import COSTS, PassCounter, cost_of, together
from landmeta.checkpoint import (
    STATE,
    CheckpointMeta,
    load_checkpoint,
    read_tensors,
    save_checkpoint,
    write_tensors,
)
from landmeta.config import TrainConfig
from landmeta.device import choose_device, describe
from landmeta.episodes import EpisodeSampler, check_tiles
from landmeta.errors import (
    CheckpointMismatch,
    ConfigError,
    TooLittleMemory,
    TrainingDiverged,
    WriteFailed,
)
from landmeta.evaluate import confusion_on, read_episode
from landmeta.initial import Start, start_from
from landmeta.leakage.proof import demand_proof
from landmeta.learners import Learner, MetaLearner, Work, make_learner
from landmeta.losses import pinned, to_batch
from landmeta.memory import refuse_what_will_not_fit, room_for_tiles
from landmeta.methods import Method, make_method
from landmeta.model import Params
from landmeta.pace import Pace
from landmeta.relabel import with_legend
from landmeta.runlog import RunLog
from landmeta.scores import scores
from landmeta.taskset import TaskSet
from landmeta.tune import best, candidates, check_candidates, tune, tuning_table

Watch = Callable[[int, float], None]
"""Told the step and the mIoU of each validation, once all is saved; may raise to end the run."""


def train(
    config: TrainConfig,
    *,
    resume: bool = False,
    quiet: bool = False,
    watch: Watch | None = None,
    tuned: bool = True,
) -> Path:
    """Run a training to its end and return the path of its best checkpoint.

    A run that `torchrun` starts again after a process has died goes on by itself.

    Args:
        config: of the run.
        resume: go on with what is in the run's folder.
        quiet: show no progress.
        watch: follows the validations.
        tuned: find at the end how the checkpoint is best adapted (not `scratch`, which is only
            that); otherwise it is adapted as in the training.

    Raises:
        OutputExists: the run's folder exists and `resume` is False.
        LeakyTaskSet: the task set is not proved free of leakage and the config does not allow it.
        ConfigError, TooFewTiles, EmptyRegion: the task set cannot give what the config asks.
        SourceNotFound: the weights to start from are not there or cannot be fetched.
        CheckpointMismatch: `init` or the state to resume was made for something else.
        TooLittleMemory: a step will not fit.
        TrainingDiverged: loss or gradient became NaN or infinite.
        WriteFailed: the disk is full or not writable; what is there can be resumed.
        ProcessLost: of several processes, another has died.
    """
    device = choose_device(config.device)
    with distributed.together(device):
        taskset = TaskSet(config.taskset)
        proof = demand_proof(taskset, allow_leakage=config.allow_leakage)
        resume = resume or _started_by_this_launch(config.out)
        if distributed.is_first() and not resume:
            remedy = "go on with it by --resume, or name another folder as 'out'"
            refuse_existing(config.out, overwrite=False, remedy=remedy)
        run = _Run(config, taskset, *_initial(config, taskset), device, proof)
        with _resumable(config.out):
            if distributed.is_first():
                _open_folder(config, run, resume)
                if config.init != "random" and not quiet and not run.step:
                    Console(markup=False, highlight=False, soft_wrap=True).print(run.start)
            run.start_alike()
            run.go(quiet or not distributed.is_first(), watch)
            if tuned:
                run.finish(quiet or not distributed.is_first())
            distributed.wait_for_all()
    return run.checkpoint_path


LAUNCH = ".launch"
"""File in a run's folder that says which start of torchrun it belongs to."""


def _started_by_this_launch(folder: Path) -> bool:
    """Whether torchrun starts us again and the run in `folder` is its own, not an older one."""
    path = folder / LAUNCH
    return (
        distributed.restarted()
        and path.is_file()
        and path.read_text(encoding="utf-8") == distributed.launch()
    )


def _open_folder(config: TrainConfig, run: _Run, resume: bool) -> None:
    """Make the folder of the run, or take up what is in it."""
    config.out.mkdir(parents=True, exist_ok=True)
    if resume:
        _check_same_config(config)
        run.restore()
    if distributed.launch():
        write_text(config.out / LAUNCH, distributed.launch(), overwrite=True)
    text = config.model_dump_json(indent=2) + "\n"
    write_text(config.out / "config.json", text, overwrite=True)


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
    free = ("device", "allow_leakage")
    changed = [k for k in now if k not in free and before.get(k) != now[k]]
    if changed:
        raise ConfigError(
            f"cannot be resumed with another {', '.join(changed)}: it was "
            f"{'; '.join(str(before.get(k)) for k in changed)}",
            remedy="put the old values back, or train in a new folder",
            path=path,
        )


def _initial(config: TrainConfig, taskset: TaskSet) -> tuple[Method, Start]:
    """The method, standardised for the data, and θ before the first step."""
    tile, factor = taskset.meta.tile_size, 2**config.model.depth
    if tile % factor:
        raise ConfigError(
            f"tiles of {tile} px cannot be halved {config.model.depth} times",
            remedy=f"lower model.depth, or prepare tiles of a multiple of {factor} px",
        )
    bands, classes = len(taskset.bands), len(taskset.legend)
    method = make_method(config.settings(), config.model, bands, classes, config.seed)
    start = start_from(config.init, method, config.model, taskset.meta)
    if not start.standardised and distributed.is_first():  # the others get it from there
        method.net.set_standardisation(*band_statistics(taskset, config.seed))
    return method, start


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
        self,
        config: TrainConfig,
        taskset: TaskSet,
        method: Method,
        start: Start,
        device: torch.device,
        proof: Mapping[str, Any],
    ) -> None:
        self.config, self.taskset, self.device = config, taskset, device
        self.proof = proof
        self.start = start.note
        self.method = method
        method.to(device)
        self.learner: Learner = make_learner(config, taskset, method, device)
        self.params: Params = {
            name: p.detach().to(device).clone().requires_grad_() for name, p in start.params.items()
        }
        self.optimizer = torch.optim.Adam(list(self.params.values()), lr=config.outer.rate)
        for p in self.params.values():  # as Adam would do in its first step
            self.optimizer.state[p] = {
                "step": torch.tensor(0.0),
                "exp_avg": torch.zeros_like(p),
                "exp_avg_sq": torch.zeros_like(p),
            }
        self.step = 0
        self.seconds = 0.0
        self.best = _Best()
        wanted = config.validation
        self.validation = EpisodeSampler(
            taskset, "val", shots=wanted.shots, queries=wanted.queries, seed=config.seed
        )
        for task in self.validation.tasks:  # said now, not when hours of training are over
            check_tiles(taskset, task, max(config.tune.shots) + 1)
        check_candidates(method, self.params, config.tune, len(taskset.legend))
        self.counter = PassCounter()
        self.cost_before = cost_of(start.provenance) or dict.fromkeys(COSTS, 0.0)
        bands = len(taskset.bands)
        need = refuse_what_will_not_fit(config, method, self.params, bands, taskset.meta.tile_size)
        taskset.keep_in_memory(room_for_tiles(need, device))
        self.checkpoint_path = config.out / "checkpoint.safetensors"
        self.state_path = config.out / STATE

    # ---- the loop -----------------------------------------------------------------------------

    def go(self, quiet: bool, watch: Watch | None = None) -> None:
        """Train to the last step."""
        config = self.config
        first_only = config.out if distributed.is_first() else None
        log = RunLog(first_only, resume_step=self.step, tensorboard=config.tensorboard)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
        )
        started, before = time.perf_counter(), self.seconds
        pace = Pace()
        unit = "episodes" if self.method.episodic else "tiles"
        miou = math.nan
        try:
            with Progress(*columns, disable=quiet or self.config.method == "scratch") as progress:
                bar = progress.add_task(
                    config.method,
                    total=config.outer.steps,
                    completed=self.step,
                    status="",
                )
                first = self.step
                for work in pace.waiting_for(self._works()):
                    with pace.computing():
                        loss, norm = self._outer_step(work)
                    self.step += 1
                    self.seconds = before + time.perf_counter() - started
                    log.write(self.step, loss=loss, gradient_norm=norm)
                    if self.step % config.validation.every == 0 or self.step == config.outer.steps:
                        self._log_difference_error(log, work)
                        miou = self._validate_and_save(log, pace.share())
                        if watch is not None:
                            watch(self.step, miou)
                    rate = (self.step - first) * self.learner.items / (self.seconds - before)
                    status = f"loss {loss:.3f}  val mIoU {miou:.3f}  {rate:.1f} {unit}/s"
                    progress.update(bar, advance=1, status=status)
        finally:
            log.close()

    def _progress(self) -> float:
        """Share of the training that is done."""
        return self.step / self.config.outer.steps

    def _works(self) -> Iterator[Work]:
        """The tiles of each remaining step, read one step ahead in the background."""
        last = 0 if self.config.method == "scratch" else self.config.outer.steps
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(self._read, self.step) if self.step < last else None
            while ahead is not None:
                work, following = ahead.result(), self.step + 1
                ahead = pool.submit(self._read, following) if following < last else None
                yield work

    def _read(self, step: int) -> Work:
        work = self.learner.load(step)
        if self.device.type != "cuda":
            return work
        return [w._replace(support=pinned(w.support), query=pinned(w.query)) for w in work]

    def _outer_step(self, work: Work) -> tuple[float, float]:
        outer = self.config.outer
        try:
            with self.counter.counting(self.method.net):
                loss, grads = self.learner.gradient(self.params, work, self._progress())
        except torch.OutOfMemoryError as error:
            raise TooLittleMemory(
                f"step {self.step + 1} on {describe(self.device)}: {str(error).splitlines()[0]}",
                remedy="lower episodes.shots, episodes.queries or batch, take a smaller network "
                "or prepare smaller tiles",
            ) from error
        loss, grads = distributed.mean(loss, grads, self.learner.weight(work))
        own = self.method.own(self.params)
        for name, p in self.params.items():  # Adam passes over those without
            p.grad = None if name in own else grads[name]
        norm = float(torch.nn.utils.clip_grad_norm_(self.params.values(), outer.clip))
        value = float(loss)
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise self._diverged(value, norm)
        with torch.no_grad():
            factor = self.method.own_step(self.params, grads, self._last_direction)
        cosine = 0.5 * (1 + math.cos(math.pi * self.step / outer.steps))
        for group in self.optimizer.param_groups:
            group["lr"] = outer.rate * (0.01 + 0.99 * cosine) * factor
        self.optimizer.step()
        return value, norm

    def _last_direction(self) -> Params:
        """Adam's last step for rate 1, uphill: m̂ / (√v̂ + ε); zeros before the first."""
        (group,) = self.optimizer.param_groups
        (first, second), eps = group["betas"], group["eps"]
        found = {}
        for name, p in self.params.items():
            moments, done = self.optimizer.state[p], max(self.step, 1)
            mean = moments["exp_avg"] / (1 - first**done)
            found[name] = mean / ((moments["exp_avg_sq"] / (1 - second**done)).sqrt() + eps)
        return found

    def _diverged(self, loss: float, norm: float) -> TrainingDiverged:
        config, best = self.config, self.best.step
        rates = f"lower outer.rate ({config.outer.rate:g})"
        if self.method.episodic:
            rates = (
                f"lower inner.rate ({config.inner.rate:g}) or outer.rate ({config.outer.rate:g})"
            )
        kept = f"the best checkpoint so far (step {best}) is kept" if best else "none was saved yet"
        return TrainingDiverged(
            f"step {self.step + 1}: loss {loss}, gradient norm {norm}",
            remedy=f"{rates}, then train again in a new folder; {kept}",
            path=config.out,
        )

    # ---- validation and saving ----------------------------------------------------------------

    def validate(self) -> tuple[float, float]:
        """Mean over validation regions of mIoU and accuracy on query tiles.

        After the inner loop for a meta-learned network, as it is for a pretrained one.
        """
        how = self.method.trained() or NO_ADAPTATION
        classes = len(self.taskset.legend)
        draws = [(t, d) for t in self.validation.tasks for d in range(self.config.validation.draws)]
        results = np.zeros((len(draws), 2))
        for row in distributed.own(range(len(draws))):
            read = read_episode(self.taskset, self.validation.draw(*draws[row]))
            key = self.validation.draw_key(*draws[row])
            tiles = with_legend(*read, classes, self.config.relabel, key)
            batch = to_batch(tiles.support, self.device)
            adapted = adapt_params(self.method, self.params, batch, how, tiles.classes)
            confusion = confusion_on(self.method, adapted, tiles.query, tiles.classes, self.device)
            found = scores(confusion)
            results[row] = found.miou, found.accuracy
        distributed.add([torch.from_numpy(results)])
        miou, accuracy = np.nanmean(results, axis=0).tolist()
        return miou, accuracy

    def _log_difference_error(self, log: RunLog, work: Work) -> None:
        if isinstance(self.learner, MetaLearner):
            error = self.learner.difference_error(self.params, work, self._progress())
            if error is not None:
                log.write(self.step, meta_gradient_error=error)

    def _validate_and_save(self, log: RunLog, waiting_share: float) -> float:
        miou, accuracy = self.validate()
        log.write(
            self.step,
            val_miou=miou,
            val_accuracy=accuracy,
            seconds=self.seconds,
            waiting_share=round(waiting_share, 4),
            **self.method.monitor(self.params),
        )
        if miou > self.best.score:
            self.best = _Best(miou, self.step)
            self._save_checkpoint()
        self._save_state()
        return miou

    def _save_checkpoint(self) -> None:
        if distributed.is_first():
            record = self._record()
            save_checkpoint(self.checkpoint_path, self.method, self.params, record, overwrite=True)

    def finish(self, quiet: bool) -> None:
        """Find how the best checkpoint is best adapted with each number of shots; store it there.

        From scratch there is nothing to train: the random network is the checkpoint.
        """
        if self.config.method == "scratch":
            self._save_checkpoint()
        params, config = self._best_params(), self.config.tune
        trials = tune(
            self.method,
            params,
            self.taskset,
            config,
            relabel=self.config.relabel,
            seed=self.config.seed + 1,
            device=self.device,
        )
        count = len(config.shots) * sum(len(steps) for _, steps in candidates(config, self.method))
        with Progress(disable=quiet) as progress:
            done = list(progress.track(trials, total=count, description="tuning the adaptation"))
        if not distributed.is_first():
            return
        write_text(self.config.out / "tuning.csv", tuning_table(done), overwrite=True)
        trained = load_checkpoint(self.checkpoint_path)
        provenance = trained.meta.provenance | {"cost": self._cost()}
        changes = {"adaptation": best(done), "provenance": provenance}
        meta = trained.meta.model_copy(update=changes)
        save_checkpoint(self.checkpoint_path, trained.method, trained.params, meta, overwrite=True)

    def _cost(self) -> dict[str, float]:
        """Of the whole training, past the best step too, and of what it was started from."""
        own = {
            "steps": self.step,
            "images": self.step * self.learner.images,
            "passes": self.counter.passes * distributed.size(),
            "seconds": round(self.seconds, 1),
        }
        return together(own, self.cost_before)

    def _best_params(self) -> Params:
        """The checkpoint's parameters. The first process alone is sure to see its file."""
        params = {k: p.detach().clone().requires_grad_() for k, p in self.params.items()}
        if distributed.is_first():
            saved = load_checkpoint(self.checkpoint_path).params
            with torch.no_grad():
                for name, p in params.items():
                    p.copy_(saved[name])
        distributed.follow_first(list(params.values()))
        return params

    def _record(self) -> CheckpointMeta:
        config, data = self.config, self.taskset.meta
        return CheckpointMeta(
            kind="meta",
            settings=config.settings(),
            unet=config.model,
            bands=data.bands,
            legend=data.legend,
            gsd=data.gsd,
            tile_size=data.tile_size,
            adaptation={self.config.validation.shots: self.method.trained() or NO_ADAPTATION},
            provenance={
                "taskset": data.source,
                "training_regions": data.splits.get("train", []),
                "leakage": self.proof,
                "config": json.loads(config.model_dump_json()),
                "start": self.start,
                "step": self.step,
                "val_miou": self.best.score,
                "seconds": round(self.seconds, 1),
                "images_seen": self.step * self.learner.images,
                "device": describe(self.device),
                "processes": distributed.size(),
                "versions": {"landmeta": landmeta.__version__, "torch": torch.__version__},
            },
        )

    def _save_state(self) -> None:
        if not distributed.is_first():
            return
        tensors = {f"param/{k}": p for k, p in self.params.items()}
        tensors |= {f"buffer/{k}": b for k, b in self.method.kept_buffers().items()}
        for name, p in self.params.items():
            moments = self.optimizer.state[p]
            tensors[f"exp_avg/{name}"] = moments["exp_avg"]
            tensors[f"exp_avg_sq/{name}"] = moments["exp_avg_sq"]
        record = {
            "step": self.step,
            "seconds": self.seconds,
            "best_score": self.best.score,
            "best_step": self.best.step,
            "passes": self.counter.passes,
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
                for name, buffer in self.method.kept_buffers().items():
                    buffer.copy_(tensors[f"buffer/{name}"])
                for name, p in self.params.items():
                    p.copy_(tensors[f"param/{name}"])
                    moments = self.optimizer.state[p]
                    moments["step"].fill_(record["step"])
                    for moment in ("exp_avg", "exp_avg_sq"):
                        moments[moment].copy_(tensors[f"{moment}/{name}"])
        except (KeyError, RuntimeError) as error:
            raise CheckpointMismatch(
                f"is the state of another network: {error}",
                remedy="resume with the same model section, or train in a new folder",
                path=self.state_path,
            ) from error
        self.step, self.seconds = record["step"], record["seconds"]
        self.best = _Best(record["best_score"], record["best_step"])
        self.counter.passes = record["passes"]

    def start_alike(self) -> None:
        """Make every process start where the first one does."""
        numbers = (self.step, self.seconds, self.best.score, self.best.step)
        where = torch.tensor(numbers, dtype=torch.float64)
        moments = [t for state in self.optimizer.state.values() for t in state.values()]
        distributed.follow_first(
            [where, *self.params.values(), *self.method.net.buffers(), *moments]
        )
        step, self.seconds, score, best_step = where.tolist()
        self.step, self.best = int(step), _Best(score, int(best_step))
