"""How the files of a source are read: bands, resampling, class column, warping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.images import Image, image_of, stack_of
from data_prep.labels import LabelFile, is_vector_name, labels_of
from data_prep.pairs import Pair
from landmeta.errors import ConfigError
from landmeta.imagery import Bands
from landmeta.legend import Legend
from landmeta.location import Location
from landmeta.naming import legend_of
from landmeta.vectors import read_shapes
from landmeta.warping import ResamplingName


@dataclass(frozen=True)
class Reading:
    """How images and labels are to be read.

    Attributes:
        bands: which to take, by name; names for all where the files have none; or names with their
            places in the file.
        resampling: brings the files of one image, if their pixels differ, to the smallest.
        label_band: of label files of several bands, the one that holds ids, from 1.
        class_column, layer: of vector files.
        warp: bring label rasters on other grids to the image's, by nearest neighbour.
    """

    bands: Bands | None = None
    resampling: ResamplingName | None = None
    label_band: int | None = None
    class_column: str | None = None
    layer: str | None = None
    warp: bool = False

    def image(self, pair: Pair) -> Image:
        """The image of a pair. Errors as of `image_of` and `stack_of`."""
        if not pair.bands:
            return image_of(pair.image, self.bands)
        if isinstance(self.bands, Mapping):
            raise ConfigError(
                "an image of several files has bands with names, not places",
                remedy="name the bands that are wanted without '=': " + ", ".join(dict(pair.bands)),
            )
        return stack_of(pair.image, dict(pair.bands), self.bands, self.resampling)

    def labels(self, path: Location) -> LabelFile:
        """The labels in a file. Errors as of `labels_of`."""
        vector = is_vector_name(path)
        return labels_of(
            path,
            band=None if vector else self.label_band,
            column=self.class_column if vector else None,
            layer=self.layer if vector else None,
            warp=self.warp,
        )


def least_labelled(labels: Sequence[Location]) -> float:
    """Share of a tile that must be labelled, unless somebody says: shapes may be few and small."""
    return 0.0 if all(map(is_vector_name, labels)) else 0.05


def legend_of_shapes(labels: Sequence[Location], reading: Reading) -> tuple[Legend, str]:
    """The classes that vector files name, and a note that says so.

    Raises:
        ConfigError: a file is a raster; or too many different names.
        SourceNotFound, UnreadableFile, EmptyRegion: as `landmeta.vectors.read_shapes`.
    """
    names: list[str] = []
    for path in dict.fromkeys(labels):
        if not is_vector_name(path):
            raise ConfigError(
                "label rasters need a legend",
                remedy="say what their ids or colours mean: --legend legend.yaml",
                path=path,
            )
        shapes = read_shapes(Path(path), reading.class_column, None, layer=reading.layer)
        names += shapes.legend.names
    legend = legend_of(names)
    return legend, f"the legend was made of the names of classes: {', '.join(legend.names)}"
