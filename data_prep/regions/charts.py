"""Charts of regions: class shares, places of the images, numbers of clusters that were tried."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from landmeta.legend import Legend

_MARKERS = ("o", "s", "^", "D", "v", "P")


def plot_classes(pixels: pd.DataFrame, images: pd.Series[int], legend: Legend, path: Path) -> None:
    """Class shares as one bar a region, and one of all.

    Args:
        pixels: of each region (row) and class (column).
        images: number of each region.
        legend: of the classes.
        path: PNG to write.
    """
    shown = pd.concat([pixels.sort_index(), pixels.sum().to_frame("all").T])
    shares = shown.div(shown.sum(axis=1), axis=0)
    figure = Figure(figsize=(10, 1.6 + 0.32 * len(shown)), layout="constrained")
    axis = figure.subplots()
    counts = images.to_dict() | {"all": int(images.sum())}
    heights = np.arange(len(shown))[::-1]
    left = np.zeros(len(shown))
    for land in legend.classes:
        share = shares[land.name].to_numpy()
        axis.barh(
            heights, share, left=left, color=land.color, edgecolor="#404040", linewidth=0.5,
            label=land.name,
        )  # fmt: skip
        left += share
    axis.set_yticks(heights, [f"{region} ({counts[region]})" for region in shown.index])
    axis.set(xlim=(0, 1), xlabel="share of the labelled pixels", ylabel="region (images)")
    figure.legend(loc="outside upper center", ncols=min(6, len(legend.classes)), frameon=False)
    figure.savefig(path, dpi=110)


def plot_points(table: pd.DataFrame, axes: tuple[str, str], title: str, path: Path) -> None:
    """A dot for each image, coloured by region.

    Args:
        table: columns `region` and those of the places.
        axes: names of the columns of the horizontal and vertical place.
        title: of the chart.
        path: PNG to write.
    """
    first, second = axes
    figure = Figure(figsize=(10, 7.5), layout="constrained")
    axis = figure.subplots()
    for number, (region, part) in enumerate(table.groupby("region")):
        lap, place = divmod(number, 10)
        axis.scatter(
            part[first], part[second], s=26, color=f"C{place}",
            marker=_MARKERS[lap % len(_MARKERS)], edgecolor="white", linewidth=0.4,
            label=f"{region} ({len(part)})",
        )  # fmt: skip
    axis.set(title=title, xlabel=first, ylabel=second)
    axis.set_aspect("equal", adjustable="datalim")
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=110)


def plot_choice(choice: pd.DataFrame, path: Path) -> None:
    """Silhouette, stability and their product against the number of clusters."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axis = figure.subplots()
    for name, style in (("silhouette", "o-"), ("stability", "s-"), ("score", "D--")):
        label = "silhouette × stability" if name == "score" else name
        axis.plot(choice["k"], choice[name], style, markersize=4, label=label)
    chosen = int(choice.loc[choice["chosen"], "k"].iloc[0])
    axis.axvline(chosen, color="#888888", linewidth=1, linestyle=":")
    axis.set(xlabel="number of clusters", title=f"{chosen} clusters were chosen")
    axis.set_xticks(choice["k"])
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    figure.savefig(path, dpi=110)
