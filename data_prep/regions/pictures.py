"""What was grouped, to look at: written into the folder `regions` of a task set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from data_prep.regions.charts import plot_choice, plot_classes, plot_points
from data_prep.regions.grouping import Grouping
from data_prep.regions.sheets import contact_sheet
from data_prep.regions.statistics import Features
from landmeta.taskset import TaskSet

FOLDER = "regions"
_MANY = 5000
"""t-SNE of more images takes minutes: it is of so many of them, evenly spaced."""


@dataclass(frozen=True)
class Pictures:
    """Writes what was grouped into the folder `regions` of a task set.

    ::

        regions.csv          image, region, cluster, place in the plots; `landmeta prepare rasters
                             --table` can read it
        choice.csv, .png     the numbers of clusters that were tried
        <region>.png         contact sheet of a region's images, most typical of it first
        classes.png          class shares of the regions
        pca.png, tsne.png    the images by their features, coloured by region

    Attributes:
        root: folder that images are named relative to.
        grouping: of the images.
    """

    root: Path
    grouping: Grouping

    def __call__(self, taskset: TaskSet) -> None:
        """Write the files."""
        out = taskset.folder / FOLDER
        out.mkdir(exist_ok=True)
        table = self._table()
        table.to_csv(out / "regions.csv", index=False)
        choice = self._choice()
        choice.to_csv(out / "choice.csv", index=False)
        if len(choice) > 1:
            plot_choice(choice, out / "choice.png")
        for region in sorted(set(self.grouping.regions)):
            self._sheet(region, out / f"{region}.png")
        pixels = np.stack(taskset.table["class_pixels"].to_numpy())
        classes = pd.DataFrame(pixels, columns=list(taskset.legend.names))
        classes = classes.groupby(taskset.table["region"].to_numpy()).sum()
        counts = table["region"].value_counts()
        plot_classes(classes, counts, taskset.legend, out / "classes.png")
        names = f"{self.grouping.options.features}, {self.grouping.options.split} regions"
        plot_points(table, ("pc1", "pc2"), f"PCA of {names}", out / "pca.png")
        plot_points(table.dropna(), ("tsne1", "tsne2"), f"t-SNE of {names}", out / "tsne.png")

    def _table(self) -> pd.DataFrame:
        grouping = self.grouping
        points = np.zeros((len(grouping.images), 2))
        points[:, : grouping.points.shape[1]] = grouping.points[:, :2]
        neighbours = neighbourhood(grouping.points, seed=grouping.options.seed)
        return pd.DataFrame(
            {
                "path": [self._name(image) for image in grouping.images],
                "region": grouping.regions,
                "cluster": grouping.clusters + 1,
                "pc1": points[:, 0].round(6),
                "pc2": points[:, 1].round(6),
                "tsne1": neighbours[:, 0].round(4),
                "tsne2": neighbours[:, 1].round(4),
            }
        )

    def _choice(self) -> pd.DataFrame:
        return pd.DataFrame(
            [
                {
                    "k": c.k,
                    "silhouette": round(c.silhouette, 4),
                    "stability": round(c.stability, 4),
                    "score": round(c.score, 4),
                    "smallest": c.smallest,
                    "chosen": c is self.grouping.chosen,
                }
                for c in self.grouping.candidates
            ]
        )

    def _sheet(self, region: str, path: Path) -> None:
        places = [i for i, name in enumerate(self.grouping.regions) if name == region]
        points = self.grouping.points[places]
        distances = np.linalg.norm(points - points.mean(axis=0), axis=1)
        order = [places[i] for i in np.argsort(distances, kind="stable")]
        images = [self.grouping.images[place] for place in order]
        names = [self._name(image).rpartition(".")[0] for image in images]
        contact_sheet(self.grouping.looks, images, names, region).save(path)

    def _name(self, image: int) -> str:
        return Path(self.grouping.looks.headers[image].path).relative_to(self.root).as_posix()


def neighbourhood(points: Features, *, seed: int) -> Features:
    """Places in the plane that keep who is near whom, by t-SNE; shape (image, 2).

    NaN for those left out of very many. van der Maaten and Hinton 2008, JMLR 9:2579-2605.
    """
    some = np.unique(np.linspace(0, len(points) - 1, _MANY).astype(int))
    found = np.full((len(points), 2), np.nan)
    with threadpool_limits(1):  # the order in which several add up is the clock's
        found[some] = TSNE(
            perplexity=min(30.0, (len(some) - 1) / 3), init="random", random_state=seed
        ).fit_transform(points[some])
    return found
