"""A small tree in DeepGlobe's layout, with biomes that differ in colour and texture."""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

BIOMES = (
    # mean colour, deviation, size of the texture's grain in pixels
    ((60, 100, 50), 10, 6.0),
    ((190, 160, 110), 25, 1.0),
    ((90, 90, 130), 45, 2.5),
)
COLOURS = np.array(
    [(0, 255, 255), (255, 255, 0), (255, 0, 255), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
)


def write_deepglobe(
    root: Path, *, images: int = 12, size: int = 96, unmasked: int = 1, seed: int = 0
) -> dict[str, tuple[int, np.ndarray]]:
    """Write `{id}_sat.jpg` and `{id}_mask.png`; mask values are off by up to 3, as in the original.

    Returns biome and true class index (255 = unknown) by id.
    """
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True, exist_ok=True)
    truth = {}
    for number in range(images + unmasked):
        name = str(1000 + 37 * number)
        biome = number % len(BIOMES)
        mean, deviation, grain = BIOMES[biome]
        fields = _blobs(rng, size, len(COLOURS) + 1)
        texture = ndimage.gaussian_filter(rng.normal(size=(size, size)), grain)
        shade = np.asarray(mean) + texture[..., None] / texture.std() * deviation
        shade = shade + 4 * fields[..., None]
        photo = Image.fromarray(np.clip(shade, 0, 255).astype(np.uint8))
        photo.save(root / f"{name}_sat.jpg", quality=95)
        if number >= images:
            continue
        label = np.where(fields == len(COLOURS), 255, fields).astype(np.uint8)
        colours = np.where(label[..., None] == 255, 0, COLOURS[np.minimum(label, 5)])
        off = rng.integers(0, 4, colours.shape)
        mask = np.where(colours > 0, 255 - off, off).astype(np.uint8)
        Image.fromarray(mask).save(root / f"{name}_mask.png")
        truth[name] = (biome, label)
    return truth


def _blobs(rng: np.random.Generator, size: int, count: int) -> np.ndarray:
    heights = ndimage.gaussian_filter(rng.normal(size=(count, size, size)), (0, 8, 8))
    return heights.argmax(axis=0)
