"""What a comparison found, in tables, charts and sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from landmeta.budget import budget_sentence
from landmeta.charts import plot_curve, plot_methods, plot_ranks, plot_scores
from landmeta.curve import curve_sentences, summarise_curve
from landmeta.ranks import Ranking, rank, ranking_sentence
from landmeta.stats import (
    MEASURES,
    overview,
    paired_differences,
    per_region,
    shots_text,
    summarise,
)
from landmeta.tables import (
    Table,
    bootstrap_table,
    cost_table,
    curve_table,
    difference_table,
    region_table,
    score_table,
    training_table,
    way_table,
)


@dataclass(frozen=True)
class Part:
    """A part of the findings: sentences, tables, and charts (files in the comparison's folder)."""

    title: str
    sentences: Sequence[str] = ()
    tables: Sequence[Table] = ()
    charts: Mapping[str, str] = field(default_factory=dict)
    """File name to caption."""

    def markdown(self) -> str:
        """Without the charts."""
        texts = [f"## {self.title}"]
        if self.sentences:
            texts.append("\n".join(f"- {s}" for s in self.sentences))
        return "\n\n".join([*texts, *(table.markdown() for table in self.tables)])


@dataclass(frozen=True)
class Facts:
    """What is known of the methods beside their scores.

    Attributes:
        reference: the method the others are compared with.
        ways: by method and shots, how it is adapted, in words.
        steps: by method, the number of steps it was tuned to with the curve's shots.
        training: by method, what training cost; None: none, or not known.
        refused: what methods could not do, in sentences.
    """

    reference: str
    ways: dict[str, dict[int, str]]
    steps: dict[str, int]
    training: dict[str, dict[str, float] | None]
    refused: list[str]


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        folder: where everything was written.
        results: one row per method, shots, task and draw.
        summary: mean over regions and interval per method, shots and measure.
        differences: paired differences against the reference.
        curve: learning curve, mean over regions per method, step and measure; may be empty.
        rankings: average ranks by mIoU for each number of shots, or why there are none.
        shots: of the tables and charts that show one number only.
        curve_shots: of the learning curve.
        facts: what else is known.
    """

    folder: Path
    results: pd.DataFrame
    summary: pd.DataFrame
    differences: pd.DataFrame
    curve: pd.DataFrame
    rankings: dict[int, Ranking | str]
    shots: int
    curve_shots: int
    facts: Facts

    @property
    def sentences(self) -> list[str]:
        """What may be said first of all."""
        return [*overview(self.differences, self.facts.reference), *self.facts.refused]

    def text(self) -> str:
        """The findings in short: scores and what they allow to say, in Markdown."""
        tables = [score_table(self.summary, measure).markdown() for measure in MEASURES]
        said = [*self.sentences, *self._rank_sentences(), budget_sentence(self.facts.training)]
        return "\n\n".join([*tables, "\n".join(f"- {s}" for s in said)])

    def markdown(self) -> str:
        """All of the findings in Markdown."""
        return "# Which method adapts best\n\n" + "\n\n".join(p.markdown() for p in self.parts())

    def parts(self) -> list[Part]:
        """All parts, in order."""
        reference = self.facts.reference
        parts = [
            Part(
                "Scores",
                self.sentences,
                [score_table(self.summary, m) for m in MEASURES],
                {
                    "methods.png": "mIoU by method and number of labelled tiles.",
                    "scores.png": "Scores against labelled tiles.",
                },
            ),
            Part(
                f"Differences to {reference}",
                [f"Paired by region, against {reference}; see differences.csv for other measures"],
                self._difference_tables(),
            ),
            Part("Ranks", self._rank_sentences(), charts=self._rank_chart()),
        ]
        if not self.curve.empty:
            parts.append(
                Part(
                    "Learning curve",
                    curve_sentences(self.curve, self.facts.steps),
                    [curve_table(self.curve, self.curve_shots)],
                    {"curve.png": "Score against steps of adaptation."},
                )
            )
        costs = [training_table(self.facts.training), cost_table(self.results, self.shots)]
        shots = sorted(self.results["shots"].unique())
        return [
            *parts,
            Part("Costs", [budget_sentence(self.facts.training)], costs),
            Part("Adaptation", (), [way_table(self.facts.ways, shots)]),
            Part("Region by region", (), [region_table(self.results, self.shots)]),
        ]

    def _difference_tables(self) -> list[Table]:
        tables = [difference_table(self.differences, self.facts.reference)]
        if self.differences["boot_low"].notna().any():
            tables.append(bootstrap_table(self.differences))
        return tables

    def _rank_sentences(self) -> list[str]:
        said = [
            found if isinstance(found, str) else ranking_sentence(found, shots_text(shots))
            for shots, found in self.rankings.items()
        ]
        return list(dict.fromkeys(said))  # the same reason need not be given twice

    def _rank_chart(self) -> dict[str, str]:
        if isinstance(self.rankings[self.shots], str):
            return {}
        return {"ranks.png": "Bars join methods whose ranks do not really differ."}

    def write_charts(self) -> None:
        """Write the charts to the folder."""
        plot_scores(self.summary, self.folder / "scores.png")
        plot_methods(self.summary, self.folder / "methods.png")
        ranking = self.rankings[self.shots]
        if isinstance(ranking, Ranking):
            plot_ranks(ranking, shots_text(self.shots), self.folder / "ranks.png")
        if not self.curve.empty:
            steps = self.facts.steps
            plot_curve(self.curve, steps, self.curve_shots, self.folder / "curve.png")


def find(
    folder: Path,
    results: pd.DataFrame,
    curve: pd.DataFrame,
    facts: Facts,
    *,
    shots: int,
    curve_shots: int,
) -> Comparison:
    """Summarise the rows of a comparison.

    Args:
        folder: where it is written.
        results: rows of scores.
        curve: rows of the learning curve; may be empty.
        facts: what else is known of the methods.
        shots: what to show where one number of shots is shown.
        curve_shots: of the learning curve.
    """
    return Comparison(
        folder=folder,
        results=results,
        summary=summarise(results),
        differences=paired_differences(results, facts.reference),
        curve=curve if curve.empty else summarise_curve(curve),
        rankings=rankings(results),
        shots=shots,
        curve_shots=curve_shots,
        facts=facts,
    )


def rankings(results: pd.DataFrame, measure: str = "miou") -> dict[int, Ranking | str]:
    """Ranks over regions for each number of shots, or the reason why there are none."""
    regions = per_region(results)
    found: dict[int, Ranking | str] = {}
    for shots in sorted(results["shots"].unique()):
        part = regions[regions["shots"] == shots]
        order = [str(m) for m in part["method"].unique()]
        table = part.pivot_table(measure, "task", "method", dropna=False)[order]
        try:
            found[int(shots)] = rank(table)
        except ValueError as reason:
            found[int(shots)] = f"No ranks with {shots_text(int(shots))}: {reason}"
    return found
