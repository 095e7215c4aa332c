"""How good a contender is that has adapted: figures of its maps of query tiles."""

from __future__ import annotations

import time
from dataclasses import asdict

from landmeta.calibration import expected_calibration_error
from landmeta.contenders import Adapted, Contender
from landmeta.errors import CannotAdapt, ConfigError
from landmeta.legend import Labels
from landmeta.scores import confusion_matrix, scores, tile_accuracy
from landmeta.stats import MEASURES
from landmeta.taskset import Tiles

COSTS = ("adapt_seconds", "predict_seconds", "adapted_parameters")
"""Seconds of adapting; seconds of predicting a tile; numbers that adapting has set."""


def figures(adapted: Adapted, query: Tiles, classes: int) -> tuple[dict[str, float], Labels]:
    """All `MEASURES` and seconds per predicted tile; and the map, (tile, row, col)."""
    started = time.perf_counter()
    made = adapted.predict(query.image)
    seconds = time.perf_counter() - started
    found = asdict(scores(confusion_matrix(query.label, made.classes, classes)))
    found["tile_accuracy"] = tile_accuracy(query.label, made.classes, classes)
    found["ece"] = expected_calibration_error(query.label, made.classes, made.confidence)
    return found | {"predict_seconds": seconds / len(query)}, made.classes


def judge(
    contender: Contender, support: Tiles, query: Tiles, classes: int, seed: int
) -> tuple[dict[str, float], Labels]:
    """Adapt and score. Figures are those of `figures` and what adapting cost.

    Raises:
        CannotAdapt, ConfigError: the method cannot do that.
    """
    started = time.perf_counter()
    adapted = contender.adapt(support, classes, seed)
    seconds = time.perf_counter() - started
    found, made = figures(adapted, query, classes)
    return found | {"adapt_seconds": seconds, "adapted_parameters": adapted.parameters}, made


NOTHING = dict.fromkeys((*MEASURES, *COSTS), float("nan"))
"""The figures of a method that cannot do what is asked."""


class Refusals:
    """What methods could not do, and why."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], list[int]] = {}

    def note(self, name: str, shots: int, error: CannotAdapt | ConfigError) -> None:
        """Remember one."""
        self._found.setdefault((name, error.what), []).append(shots)

    def sentences(self, cases: int) -> list[str]:
        """One for each reason; `cases` is the number of regions and draws for each shots."""
        said = []
        for (name, why), shots in self._found.items():
            counts = {s: shots.count(s) for s in sorted(set(shots))}
            parts = [
                f"{s} shot{'' if s == 1 else 's'}"
                + ("" if n == cases else f" ({n} of {cases} draws)")
                for s, n in counts.items()
            ]
            said.append(f"{name} has no scores with {', '.join(parts)}: {why}")
        return said
