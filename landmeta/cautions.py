"""What the reader of estimates has to know before believing their intervals."""

from __future__ import annotations

import numpy as np

from landmeta.estimators.accuracy import Accuracy
from landmeta.legend import Legend

FEW = 20
"""Units below which the normal approximation of an interval is poor."""


def cautions(accuracy: Accuracy, legend: Legend) -> list[str]:
    """Sentences on what makes intervals rough, or keeps them from being given."""
    names = legend.names
    notes = []
    mapped, truth = accuracy.counts.sum(axis=1), accuracy.counts.sum(axis=0)
    few = [f"{name} ({n})" for name, n in zip(names, mapped, strict=True) if 0 < n < FEW]
    if few:
        notes.append(
            f"fewer than {FEW} places were mapped as {', '.join(few)}: intervals of these classes "
            "are rough"
        )
    unseen = [name for name, n in zip(names, truth, strict=True) if not n]
    if unseen:
        notes.append(
            f"no place turned out to be {', '.join(unseen)}: this sample says nothing about where "
            "or how much of it there is beyond the map"
        )
    shown = [*accuracy.users, *accuracy.producers, accuracy.overall]
    if any(e.se == 0 and np.isnan(e.low) and np.isfinite(e.value) for e in shown):
        notes.append(
            "where all places agree, the formulas give a standard error of 0, which would be no "
            "honest interval; none is given"
        )
    if any(e.exact for e in shown):
        notes.append("* all places agree: interval by the exact binomial (Clopper and Pearson)")
    if any(np.isnan(e.se) and np.isfinite(e.value) for e in shown):
        notes.append(
            "a stratum with fewer than 2 interpreted places has no variance: intervals that need "
            "it are not given; interpret at least two places of each"
        )
    return notes
