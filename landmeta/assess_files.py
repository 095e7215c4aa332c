"""What an assessment found, as files: JSON, CSV, Markdown and a chart."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import landmeta
from landmeta.assess import Assessment
from landmeta.assess_tables import HECTARE, KM2, area_scale, headline, shown_classes, tables
from landmeta.atomic import atomic_folder
from landmeta.estimators.accuracy import Estimate


def as_json(found: Assessment) -> dict[str, Any]:
    """All figures by class name, areas in square metres (or pixels); null where not known."""
    accuracy = found.accuracy
    names = [c.name for c in found.classes]
    by_class = {
        name: {
            "id": found.classes[k].id,
            "mapped_area": _plain(found.mapped[k]),
            "interval_too_narrow": k in found.narrow,
            "users_accuracy": _estimate(accuracy.users[k], found),
            "producers_accuracy": _estimate(accuracy.producers[k], found),
            "f1": _estimate(accuracy.f1[k], found),
            "iou": _estimate(accuracy.iou[k], found),
        }
        | (
            {}
            if found.kind == "labels"
            else {
                "area": _estimate(accuracy.areas[k], found),
                "area_share": _estimate(accuracy.area_shares[k], found),
            }
        )
        for k, name in enumerate(names)
    }
    shares = (
        {}
        if found.kind == "labels"
        else {
            "area_shares": accuracy.shares.tolist(),
            "area_shares_standard_error": [[_plain(v) for v in row] for row in accuracy.shares_se],
        }
    )
    return {
        "landmeta": landmeta.__version__,
        "map": str(found.landmap),
        "reference": str(found.reference),
        "kind": found.kind,
        "design": found.design,
        "design_by": found.source or None,
        "area_unit": found.area_unit,
        "units": found.units,
        "overall_accuracy": _estimate(accuracy.overall, found),
        "classes": by_class,
        "matrix": {"order": names, "counts": accuracy.counts.tolist(), **shares},
        "no_intervals_because": found.why or None,
        "notes": list(found.notes),
        "citations": CITATIONS if found.kind == "sample" else [],
    }


CITATIONS = [
    "Olofsson et al. 2014, doi:10.1016/j.rse.2014.02.015",
    "Stehman 2014, doi:10.1080/01431161.2014.930207",
    "Stehman 1997, doi:10.1016/S0034-4257(96)00176-9 (cluster samples)",
]


def _estimate(estimate: Estimate, found: Assessment) -> dict[str, Any]:
    if found.kind != "sample":
        return {"value": _plain(estimate.value)}
    return {k: v if isinstance(v, bool) else _plain(v) for k, v in asdict(estimate).items()}


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def class_table(found: Assessment) -> pd.DataFrame:
    """One row a class, one column a figure: for spreadsheets."""
    accuracy = found.accuracy
    measures = {
        "users_accuracy": accuracy.users,
        "producers_accuracy": accuracy.producers,
        "f1": accuracy.f1,
        "iou": accuracy.iou,
    }
    if found.kind != "labels":
        measures |= {"area_share": accuracy.area_shares, "area": accuracy.areas}
    rows = []
    for k, land_class in enumerate(found.classes):
        row: dict[str, Any] = {"id": land_class.id, "class": land_class.name}
        row |= _in_units("mapped_area", found.mapped[k], found)
        for name, estimates in measures.items():
            e = estimates[k]
            parts = {"": e.value}
            if found.kind == "sample":
                parts |= {"_se": e.se, "_low": e.low, "_high": e.high}
            for end, value in parts.items():
                if name == "area":
                    row |= _in_units(f"area{end}", value, found)
                else:
                    row[f"{name}{end}"] = value
        if found.kind == "sample":
            row["interval_too_narrow"] = k in found.narrow
        rows.append(row)
    return pd.DataFrame(rows)


def _in_units(name: str, value: float, found: Assessment) -> dict[str, float]:
    if found.area_unit == "pixel":
        return {f"{name}_pixels": value}
    return {f"{name}_ha": value / HECTARE, f"{name}_km2": value / KM2}


def markdown(found: Assessment) -> str:
    """The whole assessment as a page of Markdown."""
    lines = [f"# Accuracy of {found.landmap.name}", ""]
    lines += [f"{line[0].upper()}{line[1:]}." for line in headline(found)]
    for table in tables(found):
        lines += ["", table.markdown()]
    if found.kind == "sample":
        lines += ["", "![Areas with 95 % intervals](areas.png)", "", "Estimators:", ""]
        lines += [f"- {text}" for text in CITATIONS]
    if found.notes:
        lines += ["", "Notes:", "", *(f"- {note}" for note in found.notes)]
    return "\n".join(lines) + "\n"


def write_assessment(found: Assessment, folder: Path, *, overwrite: bool = False) -> None:
    """Write `accuracy.json`, `report.md`, tables as CSV and, unless of mere labels, `areas.png`.

    Raises:
        OutputExists, WriteFailed: as `landmeta.atomic.atomic_folder`.
    """
    names = [c.name for c in found.classes]
    with atomic_folder(folder, overwrite=overwrite) as out:
        text = json.dumps(as_json(found), indent=1, ensure_ascii=False, allow_nan=False)
        (out / "accuracy.json").write_text(text, encoding="utf-8")
        (out / "report.md").write_text(markdown(found), encoding="utf-8")
        class_table(found).to_csv(out / "classes.csv", index=False)
        matrices: dict[str, NDArray[Any]] = {"matrix_counts": found.accuracy.counts}
        if found.kind != "labels":
            matrices["matrix_area_shares"] = found.accuracy.shares
        for name, matrix in matrices.items():
            frame = pd.DataFrame(matrix, index=pd.Index(names, name="map"), columns=names)
            frame.to_csv(out / f"{name}.csv")
        if found.kind != "labels":
            plot_areas(found, out / "areas.png")


def plot_areas(found: Assessment, path: Path) -> None:
    """Bars of the area of each class, with its 95 % interval, beside what the map says."""
    from matplotlib.figure import Figure

    shown = shown_classes(found)
    scale, unit = area_scale(found)
    places = np.arange(len(shown))
    values = np.array([found.accuracy.areas[k].value for k in shown]) / scale
    figure = Figure(figsize=(8, 1.6 + 0.5 * len(shown)), layout="constrained")
    axis = figure.subplots()
    colours = [found.classes[k].color for k in shown]
    axis.barh(places, values, color=colours, edgecolor="#333333", linewidth=0.6, height=0.62)
    for place, k in zip(places, shown, strict=True):
        area = found.accuracy.areas[k]
        if found.kind == "sample" and math.isfinite(area.low):
            ends = [area.low / scale, area.high / scale]
            axis.plot(ends, [place, place], color="black", linewidth=1.4, marker="|", markersize=9)
    mapped = found.mapped[shown] / scale
    axis.plot(mapped, places, "D", color="white", markeredgecolor="black", label="mapped")
    axis.set_yticks(places, [found.classes[k].name for k in shown])
    axis.invert_yaxis()
    told = ", with 95 % interval" if found.kind == "sample" else ""
    axis.set(xlabel=f"area by the reference, {unit}{told}", xlim=(0, None))
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)
    axis.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=130)
