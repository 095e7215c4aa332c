"""Finding how a network is best adapted, on the validation regions only.

Every method gets the same search, so that each is compared in its strongest honest form.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch

from landmeta import distributed
from landmeta.adaptation import Adaptation, moving_stages, trajectory
from landmeta.config import RelabelConfig, TuneConfig
from landmeta.episodes import EpisodeSampler
from landmeta.evaluate import confusion_on
from landmeta.losses import to_batch
from landmeta.methods.base import Method
from landmeta.model import Params
from landmeta.relabel import with_legend
from landmeta.scores import scores
from landmeta.taskset import TaskSet


@dataclass(frozen=True)
class Trial:
    """One candidate with so many shots: mean mIoU over validation regions and draws."""

    shots: int
    how: Adaptation
    miou: float


def candidates(config: TuneConfig, method: Method) -> list[tuple[Adaptation, list[int]]]:
    """Ways to adapt, each with the numbers of steps to look at, ascending."""
    trained, most = method.trained(), method.most_steps
    steps = sorted(set(config.steps))
    found: list[tuple[Adaptation, list[int]]] = []
    rates = [("sgd", rate) for rate in config.sgd_rates]
    rates += [("adam", rate) for rate in config.adam_rates]
    for (optimizer, rate), prior in product(rates, config.priors):
        base = {"optimizer": optimizer, "rate": rate, "prior": prior, "steps": steps[-1]}
        for layers in config.layers:
            chosen = {"all": None}.get(layers, (layers,)) if isinstance(layers, str) else layers
            found.append((Adaptation.model_validate(base | {"layers": chosen}), steps))
        for shares in config.unfreezing:  # a path of its own for each number of steps
            for count in filter(None, steps):
                way = base | {"unfreeze": shares, "steps": count}
                found.append((Adaptation.model_validate(way), [count]))
    if trained is not None and "all" in config.layers:
        own = sorted({trained.steps, *(s for s in steps if s)} if trained.steps else {0})
        own = [s for s in own if most is None or s <= most]
        found = [(trained, own)] + [(h, s) for h, s in found if not _same(h, trained)]
    return found


def _same(first: Adaptation, second: Adaptation) -> bool:
    return first.model_copy(update={"steps": second.steps}) == second


def check_candidates(method: Method, params: Params, config: TuneConfig, classes: int) -> None:
    """Find out before the training whether the search can be made after it.

    Raises:
        ConfigError: the method has none of the layers that a candidate names.
    """
    with torch.no_grad():
        start = method.start(params, None, classes)
    for how, _ in candidates(config, method):
        if how.optimizer != "trained":
            moving_stages(method, start, how)


def tune(
    method: Method,
    params: Params,
    taskset: TaskSet,
    config: TuneConfig,
    *,
    relabel: RelabelConfig | None = None,
    seed: int,
    device: torch.device,
) -> Iterator[Trial]:
    """Yield every trial: all candidates, each number of shots, all validation regions.

    Args:
        method: what adapts.
        params: θ.
        taskset: its validation split is used, nothing else.
        config: the search.
        relabel: how episodes get legends of their own; None if they have the task set's.
        seed: of the support draws.
        device: where to compute.

    Raises:
        TooFewTiles: a validation region has fewer tiles than the most shots plus one.
    """
    sampler = EpisodeSampler(
        taskset, "val", shots=max(config.shots), queries=config.queries, seed=seed
    )
    draws = [(t, d) for t in sampler.tasks for d in range(config.draws)]
    episodes = [sampler.draw(*draw) for draw in draws]
    classes = len(taskset.legend)
    for shots in config.shots:
        for how, steps in candidates(config, method):
            results = np.zeros((len(episodes), len(steps)))
            for row in distributed.own(range(len(episodes))):
                episode, key = episodes[row], sampler.draw_key(*draws[row])
                first, query = taskset.read(episode.support[:shots]), taskset.read(episode.query)
                tiles = with_legend(first, query, classes, relabel, key)
                support = to_batch(tiles.support, device)
                path = trajectory(method, params, support, how, steps, tiles.classes)
                for column, (_, adapted) in enumerate(path):
                    confusion = confusion_on(method, adapted, tiles.query, tiles.classes, device)
                    results[row, column] = scores(confusion).miou
            distributed.add([torch.from_numpy(results)])
            for count, miou in zip(steps, np.nanmean(results, axis=0), strict=True):
                chosen = how.model_copy(update={"steps": count})
                yield Trial(shots, chosen, float(miou))


def best(trials: list[Trial]) -> dict[int, Adaptation]:
    """The best candidate of each number of shots; on a tie the one with the fewest steps."""
    chosen = {}
    for shots in sorted({t.shots for t in trials}):
        of_shots = [t for t in trials if t.shots == shots]
        chosen[shots] = max(of_shots, key=lambda t: (t.miou, -t.how.steps)).how
    return chosen


def tuning_table(trials: list[Trial]) -> str:
    """All trials as CSV."""
    lines = ["shots,optimizer,rate,steps,layers,unfreeze,prior,val_miou"]
    for trial in trials:
        how = trial.how
        layers, shares = " ".join(how.layers or ("all",)), " ".join(map(str, how.unfreeze or ()))
        way = f"{how.optimizer},{how.rate},{how.steps},{layers},{shares},{how.prior}"
        lines.append(f"{trial.shots},{way},{trial.miou:.4f}")
    return "\n".join(lines) + "\n"
