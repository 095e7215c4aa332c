"""One self-contained HTML page of a map: swipe it over its image, areas, accuracy, how it was made.

The page needs nothing beside it and no network: pictures are in it, in a size for screens.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landmeta import pages
from landmeta.atomic import write_text
from landmeta.errors import UnreadableFile
from landmeta.imagery import open_raster
from landmeta.landmap import Content, LandMap, content, open_map
from landmeta.map_pictures import (
    confidence_picture,
    image_picture,
    map_picture,
    outlines,
    picture_size,
    reliability_picture,
    to_data,
)

HECTARE, KM2 = 1e4, 1e6


@dataclass(frozen=True)
class Row:
    """A class in the table.

    Attributes:
        share: of the mapped pixels' area, 0-1; `mapped`: that area in words.
        estimated: area with interval in words, or "" without a probability sample.
        users, producers: accuracies with intervals in words, or "".
    """

    name: str
    color: str
    share: float
    mapped: str
    estimated: str
    users: str
    producers: str


def write_map_report(
    out: Path,
    landmap: Path,
    image: Path,
    *,
    names: list[str] | None = None,
    confidence: Path | None = None,
    assessment: Path | None = None,
    labels: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Write the page.

    Args:
        out: HTML file to write.
        landmap: map of classes.
        image: what was mapped; brought to the map's grid for the picture.
        names: of the image's bands, if it does not say so itself, to find red, green and blue.
        confidence: map of percentages on the map's grid.
        assessment: folder that `landmeta assess --out` wrote.
        labels: polygons and points the model was adapted to.
        overwrite: replace `out`.

    Raises:
        SourceNotFound, UnreadableFile, UnknownClass, EmptyRegion: as `landmeta.landmap`.
        SizeMismatch: the confidence is on another grid.
        OutputExists, WriteFailed: nothing half written is left.
    """
    land = open_map(landmap)
    held = content(land)
    size = picture_size(land.grid)
    found = None if assessment is None else _read_assessment(assessment)
    record = _record(landmap)
    page = pages.render(
        "map_report.html",
        title=landmap.stem.replace("_", " "),
        width=size[1],
        height=size[0],
        image=to_data(image_picture(image, land.grid, size, names)),
        map=to_data(map_picture(land, size)),
        confidence=""
        if confidence is None
        else to_data(confidence_picture(confidence, land.grid, size)),
        outlines=[] if labels is None else outlines(labels, land, size),
        rows=_rows(land, held, found),
        facts=_facts(land, held, image, found),
        found=found,
        held_out=record.get("held_out"),
        reliability=reliability_picture(record.get("held_out")),
        record=json.dumps(record, indent=1, ensure_ascii=False) if record else "",
        notes=[*land.notes, land.area.note, *([] if found is None else found["notes"])],
    )
    write_text(out, page, overwrite=overwrite)


def _read_assessment(folder: Path) -> dict[str, Any]:
    path = folder / "accuracy.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found["classes"], found["kind"], found["notes"]
    except (OSError, ValueError, KeyError) as error:
        raise UnreadableFile(
            f"is no assessment: {error}",
            remedy="give the folder that 'landmeta assess MAP --out FOLDER' wrote",
            path=path,
        ) from error
    return found


def _record(landmap: Path) -> dict[str, Any]:
    """What the map's tags say of how it was made."""
    with open_raster(landmap) as dataset:
        tags = dataset.tags()
    record: dict[str, Any] = {
        name.removeprefix("landmeta_"): value
        for name, value in tags.items()
        if name.startswith("landmeta_") and name != "landmeta_classes"
    }
    with suppress(ValueError):  # another program's words: the other tags still tell something
        record |= json.loads(record.pop("provenance", "{}"))
    return record


def _rows(land: LandMap, held: Content, found: Mapping[str, Any] | None) -> list[Row]:
    total, unit = held.areas.sum(), _Unit.for_map(land, held)
    rows = []
    for index, known in enumerate(land.legend.classes):
        judged = {} if found is None else found["classes"].get(known.name, {})
        rows.append(
            Row(
                name=known.name,
                color=known.color,
                share=float(held.areas[index] / total),
                mapped=unit.words(held.areas[index]),
                estimated=_words(judged.get("area"), unit.words),
                users=_words(judged.get("users_accuracy"), _percent),
                producers=_words(judged.get("producers_accuracy"), _percent),
            )
        )
    return rows


@dataclass(frozen=True)
class _Unit:
    """In what areas are told, one for the whole page."""

    name: str
    size: float
    digits: int

    @classmethod
    def for_map(cls, land: LandMap, held: Content) -> _Unit:
        if land.area.unit == "pixel":
            return cls("pixels", 1, 0)
        total = held.areas.sum()
        return cls("km²", KM2, 0) if total >= 1000 * KM2 else cls("ha", HECTARE, 1)

    def words(self, value: float) -> str:
        return f"{value / self.size:,.{self.digits}f} {self.name}"


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _words(estimate: Mapping[str, Any] | None, words: Callable[[float], str]) -> str:
    """An estimate of an assessment with its interval, as far as it has them."""
    if not estimate or estimate.get("value") is None:
        return ""
    text = words(estimate["value"])
    if estimate.get("low") is None:
        return text
    return f"{text} ({words(estimate['low'])} to {words(estimate['high'])})"


def _facts(
    land: LandMap, held: Content, image: Path, found: Mapping[str, Any] | None
) -> dict[str, str]:
    grid = land.grid
    facts = {
        "map": land.path.name,
        "image": image.name,
        "size": f"{grid.width} × {grid.height} pixels",
        "coordinates": "none" if grid.crs is None else str(grid.crs),
        "mapped": _Unit.for_map(land, held).words(held.areas.sum()),
    }
    if found is not None:
        facts["overall accuracy"] = _words(found["overall_accuracy"], _percent)
        kinds = {
            "sample": f"a probability sample ({found['design']}), {found['units']} units",
            "census": "a reference that covers the map",
        }
        facts["judged by"] = kinds.get(
            found["kind"], "labels that are no probability sample: no intervals, no areas"
        )
    return facts
