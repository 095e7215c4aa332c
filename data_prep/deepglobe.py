"""DeepGlobe land cover: satellite images with masks, grouped into pseudo-regions.

Demir et al. 2018, doi:10.1109/CVPRW.2018.00031. Images have 0.5 m pixels and no georeference.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

from data_prep.cutting import grid_notes, pair_source, readable_pairs, size_notes
from data_prep.deepglobe_layouts import find_layout
from data_prep.pairs import Pair
from data_prep.regions.clustering import Method
from data_prep.regions.features import STATISTICS
from data_prep.regions.grouping import GroupingOptions, Kind, group_images
from data_prep.regions.pictures import Pictures
from data_prep.source import Source
from data_prep.splits import assign_splits
from landmeta.imagery import colours_to_labels, read_colours, unreadable
from landmeta.legend import DEEPGLOBE, Labels, Legend
from landmeta.taskset import TaskSetMeta

GSD = 0.5


def deepglobe(
    root: Path,
    *,
    tile: int,
    split: Kind = "clustered",
    features: str = STATISTICS,
    weights: Path | None = None,
    cluster: Method = "kmeans",
    k: int | None = None,
    least: int | None = None,
    min_labelled: float = 0.05,
    val: Iterable[str] | float = 0.15,
    test: Iterable[str] | float = 0.2,
    seed: int = 0,
    workers: int = 1,
    quiet: bool = True,
) -> Source:
    """Cut DeepGlobe's images into tiles, one task a pseudo-region.

    All tiles of an image belong to one region. With `clustered`, a region is a group of images
    that look alike, so that regions differ in their terrain; with `random`, images are dealt out
    into regions of the clusters' sizes, so that regions do not differ: the two experiments of
    Rußwurm et al. 2020 (arXiv:2004.13390). Which features and how many clusters
    they used is not published. Beside the tiles, the folder `regions` shows what was grouped.

    Args:
        root: folder of DeepGlobe; see `deepglobe_layouts.find_layout`.
        tile: side of a tile in pixels.
        split: how images are grouped into regions.
        features: `statistics`, or a network; see `regions.features.find_extractor`.
        weights: file of that network's weights.
        cluster: `kmeans`, `agglomerative` or `mixture`; see `regions.clustering.partition`.
        k: number of clusters; chosen from 5 to 20 by silhouette and stability without it.
        least: images of the smallest region; a tenth of the mean, but 2, without it.
        min_labelled: least share of labelled pixels of a tile.
        val: names of the regions for validation (`cluster_01`, `random_01`, …), or a share.
        test: same for the final test. Shares draw the same numbers in both splits.
        seed: of the grouping and of the draw of shares.
        workers: threads that look at the images; how many changes nothing in the result.
        quiet: no progress bar while the images are looked at.

    Raises:
        SourceNotFound: no folder, no image with a mask, or no weights.
        UnreadableFile: no image with its mask can be read (single ones are set aside), or the
            weights are damaged.
        UnsafeFile, CheckpointMismatch: of the weights, see `regions.features.find_extractor`.
        MissingBands: an image is not of three colours.
        SizeMismatch: a mask is of another size than its image.
        ConfigError: `k` does not fit the number of images, or a region does not exist.
        EmptyRegion: all images of a region are smaller than a tile.
    """
    root = Path(root)
    layout = find_layout(root)
    options = GroupingOptions(split, features, weights, cluster, k, least, seed)
    options.check(len(layout.images))
    found = [
        Pair(i, m, region="", season="") for i, m in zip(layout.images, layout.masks, strict=True)
    ]
    found, headers, unreadable = readable_pairs(found, ("R", "G", "B"))
    grouping = group_images(headers, options, workers=workers, quiet=quiet)
    headers = [headers[place] for place in grouping.images]
    pairs = [
        replace(found[place], region=region)
        for place, region in zip(grouping.images, grouping.regions, strict=True)
    ]
    meta = TaskSetMeta(
        source="deepglobe",
        bands=headers[0].bands,
        legend=DEEPGLOBE,
        gsd=GSD,
        tile_size=tile,
        dtype="uint8",
        options={"layout": layout.name, "min_labelled": min_labelled} | grouping.record(),
        notes=[
            *layout.notes,
            *grouping.notes,
            *grid_notes(headers),
            *size_notes(pairs, headers, tile),
        ],
    )
    source = pair_source(
        root,
        pairs,
        headers,
        meta,
        assign_splits(grouping.regions, val=val, test=test, seed=seed),
        min_labelled=min_labelled,
        read=read_mask,
        unreadable=unreadable + grouping.unreadable,
    )
    return replace(source, finish=Pictures(root, grouping))


def read_mask(dataset: rasterio.DatasetReader, legend: Legend, window: Window) -> Labels:
    """Class indices of a mask, whose channels mean 0 below 128 and 255 from there on."""
    found = read_colours(dataset, window)
    path = Path(dataset.name)
    if found is None:
        raise unreadable(path, ValueError("a DeepGlobe mask has three bands of colours"))
    rgb, visible = found
    pure = np.where(rgb < 128, np.uint8(0), np.uint8(255))
    return colours_to_labels(pure, visible, legend, path)
