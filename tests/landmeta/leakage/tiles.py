"""Task sets of given tiles, to put leaks into."""

from pathlib import Path

import numpy as np
from affine import Affine

from landmeta.legend import Legend
from landmeta.taskset import Band, SourceTile, TaskSet, TaskSetMeta, write_taskset

SIZE = 64
LEGEND = Legend.model_validate(
    {
        "classes": [
            {"id": 1, "name": "Land", "color": "#009900"},
            {"id": 2, "name": "Sea", "color": "#0000ff"},
        ]
    }
)


def tile(number: int, **more) -> SourceTile:
    """A tile of noise; `x`, `y` in metres and `crs` give it a place."""
    size = more["image"].shape[-1] if "image" in more else SIZE
    crs = more.get("crs")
    place = Affine(10, 0, more.get("x", 0), 0, -10, more.get("y", 5_000_000)) if crs else None
    noise = np.random.default_rng(number + 1000).integers(0, 255, (3, size, size), np.uint8)
    return SourceTile(
        image=more.get("image", noise),
        label=np.zeros((size, size), np.uint8),
        valid=more.get("valid", np.ones((3, size, size), bool)),
        region=more.get("region", "a"),
        season=more.get("season", ""),
        split=more.get("split", "train"),
        source=more.get("source", f"{number}.tif"),
        window=more.get("window", (0, 0, size, size)),
        crs=crs,
        transform=place,
    )


def write(folder: Path, tiles: list[dict]) -> TaskSet:
    """A task set of tiles without a proof."""
    made = [tile(number, **one) for number, one in enumerate(tiles)]
    meta = TaskSetMeta(
        source="made up",
        bands=tuple(Band(name=n) for n in "RGB"),
        legend=LEGEND,
        tile_size=made[0].image.shape[-1],
        dtype="uint8",
    )
    return write_taskset(folder, meta, made)
