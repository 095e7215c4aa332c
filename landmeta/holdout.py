"""Choosing how to adapt on labels that are held out, and what they say of the result.

Whole groups of labelled pixels are held out in turn, see `landmeta.groups`. The chosen way is then
used with all labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from landmeta.adaptation import Adaptation, trajectory
from landmeta.config import TuneConfig
from landmeta.estimate import FOREST_SHARES, Found, Judged, Sample, conclude
from landmeta.forest import features_at, grow, some_pixels
from landmeta.groups import Cells, GroupMap, deal, without
from landmeta.legend import IGNORE, Labels
from landmeta.meta.inner import Batch
from landmeta.methods import Method
from landmeta.model import Params
from landmeta.tune import candidates

FEWEST_GROUPS = 4
"""Groups that are needed to hold any out; two classes must have two each."""
PARTS = 5
MANY_GROUPS = 20
"""From so many on, dealing them once is enough."""
PIXELS = 400
"""Pixels of a group that are looked at, at most."""
FACTORS = (1 / 3, 1.0, 3.0)
SHARES = (0.25, 0.5, 1.0, 2.0)
"""Rates and steps that are tried, in those that the checkpoint was tuned to."""

Progress = Callable[[float], object]
"""Is told the share that is done."""


def enough(cells: Cells) -> bool:
    """Whether any group can be held out."""
    twice = sum(count >= 2 for count in cells.groups_of().values())
    return twice >= 2 and len(np.unique(cells.group)) >= FEWEST_GROUPS


def ways(method: Method, tuned: Adaptation, fixed: bool) -> list[tuple[Adaptation, list[int]]]:
    """Ways to adapt, each with the numbers of steps to look at; the first is the tuned one.

    Args:
        method: that adapts.
        tuned: as the checkpoint says.
        fixed: whether there is nothing to choose.
    """
    tuned = tuned.model_copy(update={"early_stopping": False})
    first = [(tuned, [tuned.steps])]
    if fixed or tuned.unfreeze is not None:
        return first
    steps = sorted({0, *(max(1, round(share * (tuned.steps or 10))) for share in SHARES)})
    rates = [tuned.rate * factor for factor in FACTORS]
    own = tuned.optimizer if tuned.steps and tuned.optimizer != "trained" else None
    config = TuneConfig(
        sgd_rates=tuple(rates) if own == "sgd" else (),
        adam_rates=tuple(rates) if own == "adam" else (1e-3,) if own is None else (),
        steps=tuple(steps),
        layers=("all" if tuned.layers is None else tuned.layers,),
        priors=(tuned.prior,),
    )
    return first + candidates(config, method)


def search(
    method: Method,
    params: Params,
    support: Batch,
    groups: GroupMap,
    cells: Cells,
    tuned: Adaptation,
    classes: int,
    *,
    fixed: bool = False,
    forest: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Found | None:
    """Hold groups out in turn, adapt to the others in several ways, and choose the best of them.

    Ways are compared by the share of right pixels, each group counting alike within a class and
    each class alike. The tuned way is left only for one that is better by more than the standard
    error of the difference over groups: few groups say little.

    Args:
        method: that adapts.
        params: θ.
        support: all labelled tiles.
        groups: (tile, row, col), see `landmeta.groups`.
        cells: their count.
        tuned: the checkpoint's way.
        classes: of the legend.
        fixed: judge the tuned way alone.
        forest: share of a random forest in the votes; None to choose it as well.
        seed: of how groups are dealt, and of the forest.
        progress: is told how far it is.

    Returns:
        None with too few groups: there must be four, and two classes that have two each.
    """
    if not enough(cells):
        return None
    count = len(np.unique(cells.group))
    repeats = 1 if count >= MANY_GROUPS else 2
    parts = [
        part for again in range(repeats) for part in deal(cells, min(PARTS, count), seed + again)
    ]
    if not parts:  # groups of several classes each, none of which can be spared
        return None
    label = support.label.cpu().numpy().astype(np.uint8)
    chosen = _some_pixels(groups, label, seed)
    trees = _Forests.of(support, label, chosen, classes, seed)
    tries = ways(method, tuned, fixed)
    judged: list[Judged] = []
    sample: list[tuple[NDArray[np.int64], ...]] = []
    voted: list[NDArray[np.float64]] = []
    for number, part in enumerate(parts):
        kept, held = without(label, groups, part)
        held = np.where(chosen, held, np.uint8(IGNORE))
        seen = held != IGNORE
        sample.append(
            (
                held[seen].astype(np.int64),
                groups[seen].astype(np.int64),
                np.full(int(seen.sum()), number),
            )
        )
        voted.append(trees.votes(kept, held))
        each = iter(judged) if number else None
        for place, (how, logits) in enumerate(
            _follow(method, params, support, kept, held, tries, classes)
        ):
            if each is None:
                judged.append(Judged(how, [logits]))
            else:
                next(each).logits.append(logits)
            if progress is not None:
                progress((number + (place + 1) / sum(len(s) for _, s in tries)) / len(parts))
    truth, group, of = (np.concatenate(column) for column in zip(*sample, strict=True))
    return conclude(
        judged,
        Sample(truth, group, of),
        len(parts) // repeats,
        repeats,
        np.concatenate(voted),
        FOREST_SHARES if forest is None else (forest,),
    )


@dataclass(frozen=True)
class _Forests:
    """Random forests that learn from some of the labels.

    Attributes:
        places: ascending, of pixels in the flat labels.
        features: of the pixels, (place, feature).
        learns: of which a forest may learn.
        classes: of the legend.
        seed: of the trees.
    """

    places: NDArray[np.int64]
    features: NDArray[np.float32]
    learns: NDArray[np.bool_]
    classes: int
    seed: int

    @classmethod
    def of(
        cls, support: Batch, label: Labels, judged: NDArray[np.bool_], classes: int, seed: int
    ) -> _Forests:
        learned = some_pixels(label, seed)
        places = np.union1d(learned, np.flatnonzero(judged))
        features = features_at(support.image.cpu().numpy(), places)
        return cls(places, features, np.isin(places, learned), classes, seed)

    def votes(self, kept: Labels, held: Labels) -> NDArray[np.float64]:
        """Probabilities (pixel, class) at the pixels `held`, learned from those `kept`."""
        here, there = kept.ravel()[self.places], held.ravel()[self.places] != IGNORE
        learn = self.learns & (here != IGNORE)
        forest = grow(self.features[learn], here[learn], self.classes, self.seed)
        return forest.probabilities(self.features[there])


def _some_pixels(groups: GroupMap, label: Labels, seed: int) -> NDArray[np.bool_]:
    """At most `PIXELS` of each group, drawn at random."""
    order = np.random.default_rng(seed).permutation(groups.size)
    flat = np.where(label == IGNORE, -1, groups).ravel()[order]
    by_group = np.argsort(flat, kind="stable")
    sorted_groups = flat[by_group]
    first = np.searchsorted(sorted_groups, sorted_groups)
    early = (np.arange(len(flat)) - first < PIXELS) & (sorted_groups >= 0)
    chosen = np.zeros(groups.size, bool)
    chosen[order[by_group[early]]] = True
    return chosen.reshape(groups.shape)


def _follow(
    method: Method,
    params: Params,
    support: Batch,
    kept: Labels,
    held: Labels,
    tries: Sequence[tuple[Adaptation, list[int]]],
    classes: int,
) -> Iterator[tuple[Adaptation, NDArray[np.float32]]]:
    """Logits at the pixels `held`, (pixel, class), of each way and number of steps."""
    used, judging = ((x != IGNORE).any(axis=(1, 2)) for x in (kept, held))
    device = support.image.device
    batch = Batch(support.image[used], torch.from_numpy(kept[used]).to(device).long())
    images, seen = support.image[judging], torch.from_numpy(held[judging] != IGNORE).to(device)
    for how, steps in tries:
        for step, phi in trajectory(method, params, batch, how, steps, classes):
            with torch.no_grad():
                logits = torch.cat(
                    [
                        method.logits(phi, image).movedim(1, -1)[where]
                        for image, where in zip(
                            *(torch.split(x, 8) for x in (images, seen)), strict=True
                        )
                    ]
                )
            finite = torch.nan_to_num(logits, nan=0.0, posinf=1e4, neginf=-1e4)
            yield how.model_copy(update={"steps": step}), finite.cpu().numpy()
