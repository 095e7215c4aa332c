"""Search for the network that a method learns best with, over the settings of a U-Net.

After Auto-Meta (Kim et al. 2018, arXiv:1806.06927), which searches over cells. Each trial is a
short training. A sampler (TPE; Bergstra et al. 2011, NeurIPS 24) proposes settings by what earlier
ones scored on the validation regions, and trials that fall behind at the same step are ended early
(asynchronous successive halving; Li et al. 2020, arXiv:1810.05934).

The folder of a search::

    search.json         the configuration as searched
    trials/000/         the run of a trial, as training leaves it
    trials/000.json     what came of it: what --resume goes on from
    trials.csv          all trials
    best.yaml           the training with the best network, ready for `landmeta train`
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
import yaml
from pydantic import ValidationError
from rich.console import Console

from landmeta.atomic import refuse_existing, write_text
from landmeta.checkpoint import STATE
from landmeta.config import Choices, SearchConfig, TrainConfig, read_config
from landmeta.errors import ConfigError, TooLittleMemory, TrainingDiverged
from landmeta.methods.settings import Count, Section
from landmeta.taskset import TaskSet
from landmeta.train import train

if TYPE_CHECKING:
    import optuna

Settings = dict[str, int | str]
"""One of each of the choices, by name."""


class Result(Section):
    """What came of a trial."""

    number: Count
    settings: Settings
    state: Literal["complete", "pruned", "infeasible"]
    reason: str = ""
    """Why it is infeasible."""
    scores: tuple[tuple[int, float], ...] = ()
    """Step and mIoU of each validation."""
    seconds: float

    @property
    def steps(self) -> int:
        """Outer steps until the last validation."""
        return self.scores[-1][0] if self.scores else 0

    @property
    def miou(self) -> float:
        """Of the best validation, whose checkpoint is kept; NaN if there was none."""
        return max((score for _, score in self.scores), default=math.nan)


def search(config: SearchConfig, *, resume: bool = False, quiet: bool = False) -> Path:
    """Try networks, and return the path of a training configuration with the best.

    Nothing but the validation regions decides. The same seed proposes the same settings, as long
    as trials score the same; a resumed search proposes those of before again, and takes their
    results from the folder.

    Raises:
        ConfigError: Optuna is missing, the training cannot be searched over, or the search to
            resume was another; or none of the networks could be trained.
        OutputExists: the folder exists and `resume` is False.
        LandmetaError: what makes every training impossible, such as a task set that is not there.
    """
    _check_optuna()
    base = _base(config)
    if not resume:
        remedy = "go on with it by --resume, or name another folder as 'out'"
        refuse_existing(config.out, overwrite=False, remedy=remedy)
    _open_folder(config, base)
    study = _study(config, base)
    found: list[Result] = []
    console = Console(markup=False, highlight=False, soft_wrap=True, quiet=quiet)
    for number in range(min(config.trials, _size(config.choices))):
        trial = _ask(study, config, found)
        result = _read(config, number, trial.params) if resume else None
        if result is None:
            result = _try(config, base, number, trial)
        else:
            _look_again(trial, result)
        _tell(study, trial, result)
        found.append(result)
        write_text(_record(config, number), result.model_dump_json(indent=2), overwrite=True)
        write_text(config.out / "trials.csv", trials_table(found), overwrite=True)
        console.print(_line(result))
    return _write_best(config, base, found)


def network(settings: Settings) -> dict[str, object]:
    """The model section that stands for one of each of the `Choices`.

    Decoder blocks double in channels from one to the next deeper: width 16 at depth 4 is
    (128, 64, 32, 16).
    """
    depth, width = int(settings["depth"]), int(settings["width"])
    channels = [width * 2**block for block in reversed(range(depth))]
    kept = {name: value for name, value in settings.items() if name != "width"}
    return kept | {"decoder_channels": channels}


def trials_table(results: list[Result]) -> str:
    """All trials as CSV."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    names = list(Choices.model_fields)
    rows.writerow(["number", *names, "state", "steps", "val_miou", "seconds", "reason"])
    for r in results:
        score = f"{r.miou:.4f}" if r.scores else ""
        values = [r.settings[name] for name in names]
        rows.writerow([r.number, *values, r.state, r.steps, score, f"{r.seconds:.1f}", r.reason])
    return text.getvalue()


def best(results: list[Result]) -> Result | None:
    """The trial with the best score of those that came to their end, of equals the first."""
    complete = [r for r in results if r.state == "complete" and math.isfinite(r.miou)]
    return max(complete, key=lambda r: r.miou, default=None)


# ---- before the first trial ---------------------------------------------------------------------


def _check_optuna() -> None:
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(
            "a search needs Optuna, which is not installed",
            remedy="pip install 'landmeta[search]'",
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def _base(config: SearchConfig) -> TrainConfig:
    """The training that the network is searched for."""
    base = read_config(config.train, TrainConfig, config.changes)
    if base.method == "scratch":
        raise ConfigError(
            "method scratch trains nothing that could be compared",
            remedy="choose another by changes: [method=maml]",
            path=config.train,
        )
    if isinstance(base.init, Path):
        raise ConfigError(
            f"init: {base.init} holds the weights of one network, and others are to be tried",
            remedy="start them all alike by changes: [init=random] or [init=pretrained]",
            path=config.train,
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "a search trains one network after the other in one process",
            remedy="start it without torchrun",
        )
    TaskSet(base.taskset)  # said now if it is not there
    return base


def _open_folder(config: SearchConfig, base: TrainConfig) -> None:
    """Make the folder of the search, or check that what is in it is the same search."""
    path = config.out / "search.json"
    training = json.loads(base.model_dump_json(exclude={"device"}))
    now = json.loads(config.model_dump_json(exclude={"changes"})) | {"training": training}
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        changed = [name for name in now if before.get(name) != now[name]]
        if changed:
            raise ConfigError(
                f"cannot be resumed with another {', '.join(changed)}: it was "
                f"{'; '.join(str(before.get(name)) for name in changed)}",
                remedy="put the old values back, or search in a new folder",
                path=path,
            )
    write_text(path, json.dumps(now, indent=2) + "\n", overwrite=True)


def _size(choices: Choices) -> int:
    """Number of different networks."""
    return math.prod(len(set(getattr(choices, name))) for name in Choices.model_fields)


def _study(config: SearchConfig, base: TrainConfig) -> optuna.Study:
    from optuna import create_study
    from optuna.pruners import SuccessiveHalvingPruner
    from optuna.samplers import TPESampler

    drawn = min(10, -(-config.trials // 2))  # at random, before there is something to go by
    return create_study(
        direction="maximize",
        sampler=TPESampler(seed=config.seed, n_startup_trials=drawn),
        pruner=SuccessiveHalvingPruner(
            min_resource=config.every or base.validation.every,
            reduction_factor=config.reduction,
        ),
    )


# ---- one trial ----------------------------------------------------------------------------------


def _ask(study: optuna.Study, config: SearchConfig, found: list[Result]) -> optuna.Trial:
    """The next trial, with settings that have not been tried."""
    from optuna.distributions import BaseDistribution, CategoricalDistribution
    from optuna.trial import TrialState

    choices = {n: list(dict.fromkeys(getattr(config.choices, n))) for n in Choices.model_fields}
    space: dict[str, BaseDistribution] = {
        name: CategoricalDistribution(values) for name, values in choices.items()
    }
    tried = [result.settings for result in found]
    trial = study.ask(space)
    if trial.params in tried:  # the outcome is known; draw another instead
        study.tell(trial, state=TrialState.FAIL)
        rng = np.random.default_rng([config.seed, len(found)])
        while (drawn := {n: v[rng.integers(len(v))] for n, v in choices.items()}) in tried:
            pass
        study.enqueue_trial(drawn)
        trial = study.ask(space)
    return trial


class _FellBehind(Exception):
    """Ends a training from within."""


def _try(config: SearchConfig, base: TrainConfig, number: int, trial: optuna.Trial) -> Result:
    """Train with the settings of a trial, as long as it keeps up."""
    scores: list[tuple[int, float]] = []
    started = time.perf_counter()
    folder = _record(config, number).with_suffix("")
    shutil.rmtree(folder, ignore_errors=True)  # of a search that was interrupted

    def watch(step: int, miou: float) -> None:
        scores.append((step, miou))
        trial.report(miou, step)
        if trial.should_prune() and step < run.outer.steps:
            raise _FellBehind

    state: Literal["complete", "pruned", "infeasible"] = "complete"
    reason = ""
    try:
        run = _run(config, base, trial.params, folder)
        train(run, quiet=True, watch=watch, tuned=False)
    except _FellBehind:
        state = "pruned"
    except ValidationError as error:
        state, reason = "infeasible", "; ".join(e["msg"] for e in error.errors())
    except (ConfigError, TooLittleMemory, TrainingDiverged) as error:
        state, reason = "infeasible", error.what
    except torch.OutOfMemoryError as error:  # of a validation
        state, reason = "infeasible", str(error).splitlines()[0]
    (folder / STATE).unlink(missing_ok=True)  # nothing goes on from it
    return Result(
        number=number,
        settings=trial.params,
        state=state,
        reason=reason,
        scores=tuple(scores),
        seconds=round(time.perf_counter() - started, 1),
    )


def _run(config: SearchConfig, base: TrainConfig, settings: Settings, out: Path) -> TrainConfig:
    """The training with another network, as short as a trial."""
    changed = base.model_dump() | {"out": out}
    changed["model"] |= network(settings)
    changed["outer"]["steps"] = config.steps or base.outer.steps
    changed["validation"]["every"] = config.every or base.validation.every
    return TrainConfig.model_validate(changed)


def _look_again(trial: optuna.Trial, result: Result) -> None:
    """Report the scores of a result that was read; the pruner keeps those it is asked about."""
    for step, miou in result.scores:
        trial.report(miou, step)
        trial.should_prune()


def _tell(study: optuna.Study, trial: optuna.Trial, result: Result) -> None:
    from optuna.trial import TrialState

    if result.state == "complete":
        study.tell(trial, result.miou)
    else:  # the sampler puts those last that never scored
        study.tell(trial, state=TrialState.PRUNED)


def _record(config: SearchConfig, number: int) -> Path:
    return config.out / "trials" / f"{number:03d}.json"


def _read(config: SearchConfig, number: int, settings: Settings) -> Result | None:
    """The result of a trial of the search that is resumed, if it came so far."""
    path = _record(config, number)
    if not path.is_file():
        return None
    result = Result.model_validate_json(path.read_text(encoding="utf-8"))
    return result if result.settings == settings else None


def _line(result: Result) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in result.settings.items())
    outcome = result.reason or f"val mIoU {result.miou:.3f} after {result.steps} steps"
    took = f"{result.seconds:.0f} s"
    return f"trial {result.number} ({settings}): {result.state}, {outcome}, {took}"


# ---- after the last -----------------------------------------------------------------------------


def _write_best(config: SearchConfig, base: TrainConfig, found: list[Result]) -> Path:
    """The training with the network of the best trial: all it sets, and nothing it leaves out."""
    chosen = best(found)
    if chosen is None:
        raise ConfigError(
            f"none of {len(found)} networks could be trained; the first: {found[0].reason}",
            remedy="see trials.csv there for what each lacks, and change the training or choices",
            path=config.out,
        )
    wanted = json.loads(base.model_dump_json(exclude_unset=True))
    model = wanted.pop("model", {}) | network(chosen.settings)
    wanted |= {"out": str(config.out / "best"), "model": model}
    text = yaml.safe_dump(wanted, sort_keys=False, default_flow_style=None)
    head = (
        f"# Best of {len(found)} networks (trial {chosen.number}, val mIoU {chosen.miou:.3f} in "
        f"{chosen.steps} steps).\n# landmeta train {config.out / 'best.yaml'}\n"
    )
    path = config.out / "best.yaml"
    write_text(path, head + text, overwrite=True)
    return path
