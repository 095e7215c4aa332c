"""What the reader of SEN12MS can be asked for, and what does not go together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from data_prep.sen12ms_tasks import SplitName
from landmeta.errors import ConfigError
from landmeta.legend import Legend, find_legend

LABEL_BANDS = ("igbp", "lccs-lc", "lccs-lu", "lccs-hydro")
"""The bands of a label file, in order; each is also the name of its legend."""
LEGENDS = {
    "igbp-simplified": 0,
    "igbp-simplified-no-savanna": 0,
    **{name: place for place, name in enumerate(LABEL_BANDS)},
}
"""Built-in legends of SEN12MS and the band of a label file that each explains, from 0."""


@dataclass(frozen=True)
class Places:
    """A map whose polygons are the regions: the file, and the column of their names."""

    file: Path
    column: str


def choose_labels(legend: str, band: str | None) -> tuple[Legend, int]:
    """The legend, and the place of the band it explains, from 0."""
    if band is not None and band not in LABEL_BANDS:
        raise ConfigError(
            f"there is no label band {band!r}", remedy=f"choose {', '.join(LABEL_BANDS)}"
        )
    if legend in LEGENDS:
        if band not in (None, LABEL_BANDS[LEGENDS[legend]]):
            raise ConfigError(
                f"the legend {legend} does not explain the label band {band}",
                remedy="leave the band out: a built-in legend has its own",
            )
        return find_legend(legend), LEGENDS[legend]
    if not Path(legend).exists():
        raise ConfigError(
            "is neither a legend of SEN12MS nor a file",
            remedy=f"choose {', '.join(LEGENDS)}, or name a file",
            path=legend,
        )
    return find_legend(legend), LABEL_BANDS.index(band or "igbp")


def choose_split(split: SplitName | None, places: Places | None, *, named: bool) -> SplitName:
    """The split, if it goes with places and with regions that are named for it."""
    if split not in (None, "fewshot", "official", "drawn"):
        raise ConfigError(
            f"split {split!r} is not possible", remedy="choose fewshot, official or drawn"
        )
    if places is not None and split in ("fewshot", "official"):
        raise ConfigError(
            f"the {split} split is one of scene ids, not of places",
            remedy="leave --split out, and name or draw places with --val and --test",
        )
    chosen: SplitName = split or ("fewshot" if places is None else "drawn")
    if named and chosen != "drawn":
        raise ConfigError(
            f"regions for validation or testing are named, but the {chosen} split has its own",
            remedy="add --split drawn, or leave --val and --test out",
        )
    return chosen


def check_numbers(tile: int, limit: int | None) -> None:
    """Refuse a tile or a limit that is too small."""
    for what, wrong, remedy in (
        (f"tile {tile}", tile < 8, "choose a tile of at least 8 pixels"),
        (f"limit {limit}", limit is not None and limit < 1, "choose at least 1 tile per task"),
    ):
        if wrong:
            raise ConfigError(f"{what} is not possible", remedy=remedy)
