"""DeepGlobe land cover: `{id}_sat.jpg` with `{id}_mask.png`, grouped into pseudo-regions.

Demir et al. 2018, doi:10.1109/CVPRW.2018.00031. Images have 0.5 m pixels and no georeference.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import rasterio
from rasterio.windows import Window

from data_prep.cutting import grid_notes, pair_source, readable_pairs, size_notes
from data_prep.pairs import Pair
from data_prep.parallel import in_order
from data_prep.quarantine import Attempt, sort_out
from data_prep.regions import Features, cluster_images, image_features
from data_prep.source import Source
from data_prep.splits import assign_splits
from landmeta.errors import ConfigError, SourceNotFound
from landmeta.imagery import (
    Header,
    colours_to_labels,
    read_colours,
    read_thumbnail,
    unreadable,
)
from landmeta.legend import DEEPGLOBE, Labels, Legend
from landmeta.taskset import TaskSetMeta

GSD = 0.5
K_CLUSTERS = range(5, 21)
"""Numbers of clusters to choose from: enough tasks to meta-learn from and to hold some out."""
K_RANDOM = 10
_LOOK_AT = 612
"""Images are grouped by how they look at a quarter of their 2448 pixels."""


def deepglobe(
    root: Path,
    *,
    tile: int,
    k: int | None = None,
    split: Literal["clustered", "random"] = "clustered",
    min_labelled: float = 0.05,
    val: Iterable[str] | float = 0.15,
    test: Iterable[str] | float = 0.2,
    seed: int = 0,
    workers: int = 1,
) -> Source:
    """Cut DeepGlobe's images into tiles, one task a pseudo-region.

    All tiles of an image belong to one region. With `clustered`, a region is a group of images
    that look alike, so that regions differ in their terrain; with `random`, images are dealt out,
    so that regions do not differ.

    Args:
        root: folder of the images, or of folders of images.
        tile: side of a tile in pixels.
        k: number of regions; chosen by silhouette from 5 to 20, or 10 random ones.
        split: how images are grouped into regions.
        min_labelled: least share of labelled pixels of a tile.
        val: names of the regions for validation (`cluster_01`, `random_01`, …), or a share.
        test: same for the final test.
        seed: of the grouping and of the draw of shares.
        workers: threads that look at the images; how many changes nothing in the result.

    Raises:
        SourceNotFound: no folder, or no image with a mask.
        UnreadableFile: no image with its mask can be read; single ones are set aside.
        MissingBands: an image is not of three colours.
        SizeMismatch: a mask is of another size than its image.
        ConfigError: `k` does not fit the number of images, or a region does not exist.
        EmptyRegion: all images of a region are smaller than a tile.
    """
    root = Path(root)
    if split not in ("clustered", "random"):
        raise ConfigError(f"no split {split!r}", remedy="choose 'clustered' or 'random'")
    images, notes = _labelled_images(root)
    if k is not None and not 2 <= k <= len(images) // 2:
        raise ConfigError(
            f"cannot make {k} regions of {len(images)} images",
            remedy="choose k from 2 to half the number of images",
        )
    pairs = [Pair(image, _mask(image), region="", season="") for image in images]
    pairs, headers, unreadable = readable_pairs(pairs, ("R", "G", "B"))
    meta = TaskSetMeta(
        source="deepglobe",
        bands=headers[0].bands,
        legend=DEEPGLOBE,
        gsd=GSD,
        tile_size=tile,
        dtype="uint8",
        options={"split": split, "k": k, "min_labelled": min_labelled, "seed": seed},
        notes=notes + grid_notes(headers),
    )
    if split == "random":
        regions = _dealt(len(pairs), k or min(K_RANDOM, max(1, len(pairs) // 2)), seed)
    else:
        looked = list(zip(pairs, headers, strict=True))
        looked, features, more = sort_out(looked, in_order(Attempt(_features), looked, workers))
        pairs, headers = [pair for pair, _ in looked], [header for _, header in looked]
        unreadable += more
        clusters = cluster_images(np.stack(features), k or K_CLUSTERS, seed=seed)
        meta.notes += clusters.notes
        meta.options["silhouette"] = clusters.silhouette
        regions = [f"cluster_{number + 1:02d}" for number in clusters.of]
    pairs = [replace(pair, region=region) for pair, region in zip(pairs, regions, strict=True)]
    meta.notes += size_notes(pairs, headers, tile)
    splits = assign_splits(regions, val=val, test=test, seed=seed)
    return pair_source(
        root,
        pairs,
        headers,
        meta,
        splits,
        min_labelled=min_labelled,
        read=read_mask,
        unreadable=unreadable,
    )


def _features(looked: tuple[Pair, Header]) -> Features:
    return image_features(read_thumbnail(looked[0].image, _LOOK_AT))


def _mask(image: Path) -> Path:
    return image.with_name(image.name.removesuffix("_sat.jpg") + "_mask.png")


def _labelled_images(root: Path) -> tuple[list[Path], list[str]]:
    """Images with masks in `root` and the folders in it; a note on how many have none."""
    if not root.is_dir():
        raise SourceNotFound("is no folder", remedy="name the folder of the images", path=root)
    images = sorted([*root.glob("*_sat.jpg"), *root.glob("*/*_sat.jpg")])
    labelled = [image for image in images if _mask(image).is_file()]
    if not labelled:
        raise SourceNotFound(
            f"holds {len(images)} images named …_sat.jpg, none with its …_mask.png beside it",
            remedy="unpack DeepGlobe's training part there: only it has masks",
            path=root,
        )
    left = len(images) - len(labelled)
    return labelled, [f"{left} images have no mask and were left out"] if left else []


def _dealt(images: int, k: int, seed: int) -> list[str]:
    """Deal images out to `k` regions of equal size (give or take one)."""
    numbers = np.random.default_rng(seed).permutation(np.arange(images) % k)
    return [f"random_{number + 1:02d}" for number in numbers]


def read_mask(dataset: rasterio.DatasetReader, legend: Legend, window: Window) -> Labels:
    """Class indices of a mask, whose channels mean 0 below 128 and 255 from there on."""
    found = read_colours(dataset, window)
    path = Path(dataset.name)
    if found is None:
        raise unreadable(path, ValueError("a DeepGlobe mask has three bands of colours"))
    rgb, visible = found
    pure = np.where(rgb < 128, np.uint8(0), np.uint8(255))
    return colours_to_labels(pure, visible, legend, path)
