import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from data_prep.prepare import prepare
from data_prep.rasters import rasters
from landmeta.leakage.looks import BITS, alike, cells, hamming_pairs, look
from landmeta.leakage.proof import read_proof
from landmeta.legend import read_legend
from tests.landmeta.leakage.tiles import write
from tests.real import real_data

TILE = 64


def scene(seed, sigma=2.0):
    """RGB 0-255, shape (3, row, col), of blotches about `sigma` pixels wide."""
    noise = np.random.default_rng(seed).normal(size=(3, TILE, TILE))
    smooth = gaussian_filter(noise[:1] + 0.3 * noise, (0, sigma, sigma), mode="wrap")
    return np.clip(120 + 40 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def jpeg(image, quality=60, scale=1.0):
    picture = Image.fromarray(image.transpose(1, 2, 0))
    side = round(scale * image.shape[1])
    held = io.BytesIO()
    picture.resize((side, side), Image.Resampling.BICUBIC).save(held, "JPEG", quality=quality)
    held.seek(0)
    back = Image.open(held).resize(image.shape[1:], Image.Resampling.BICUBIC)
    return np.asarray(back).transpose(2, 0, 1)


def pairs(folder, images, wanted=lambda i, j: np.ones(len(i), bool)):
    """Pairs that look alike among images."""
    taskset = write(folder, [{"image": image, "source": f"{n}"} for n, image in enumerate(images)])
    found = []
    for part in alike(look(taskset), wanted):
        found += zip(part.first.tolist(), part.second.tolist(), strict=True)
    assert len(set(found)) == len(found)
    return set(found)


COPIES = {
    "as it is": lambda image: image,
    "jpeg": lambda image: jpeg(image, 50),
    "half the size": lambda image: jpeg(image, 85, 0.5),
    "double the size": lambda image: jpeg(image, 75, 2),
    "contrast": lambda image: np.clip(image * 0.8 + 25.0, 0, 255).astype(np.uint8),
    "noise": lambda image: np.clip(
        image + np.random.default_rng(0).normal(0, 6, image.shape), 0, 255
    ).astype(np.uint8),
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_is_found_and_strangers_are_not(tmp_path, how):
    originals = [scene(n) for n in range(40)]
    copies = [COPIES[how](image) for image in originals[:10]]
    assert pairs(tmp_path / "set", originals + copies) == {(n, 40 + n) for n in range(10)}


def test_sea_fog_and_shores_are_no_copies_of_each_other(tmp_path):
    rng = np.random.default_rng(1)
    ramp = np.linspace(0, 1, TILE)
    row, col = np.indices((TILE, TILE)) / TILE
    sea = [np.full((3, TILE, TILE), 30.0) + rng.normal(0, 1.5, (3, TILE, TILE)) for _ in range(8)]
    slopes = [30 + 40 * (ramp[None, :] * a + ramp[:, None] * (1 - a)) for a in rng.uniform(0, 1, 8)]
    slopes = [
        np.broadcast_to(s, (3, TILE, TILE)) + rng.normal(0, 1.5, (3, TILE, TILE)) for s in slopes
    ]
    same = [np.full((3, TILE, TILE), 30.0)] * 4
    shores = []
    for _ in range(8):  # half land, half water, a straight line in between
        angle, place = rng.uniform(0, 6.3), rng.uniform(-0.2, 0.2)
        land = (row - 0.5) * np.cos(angle) + (col - 0.5) * np.sin(angle) > place
        shores.append(np.where(land, 160.0, 30.0) + rng.normal(0, 8, (3, TILE, TILE)))
    plain = [np.clip(i, 0, 255).astype(np.uint8) for i in [*sea, *slopes, *same, *shores]]
    assert pairs(tmp_path / "set", [scene(n) for n in range(20)] + plain) == set()


def test_sea_painted_in_one_colour_is_no_copy_where_a_band_has_no_data(tmp_path):
    """As in Blue Marble with NDVI, which is missing over sea."""
    sea = np.broadcast_to(np.uint8([2, 5, 0])[:, None, None], (3, TILE, TILE))
    valid = np.ones((3, TILE, TILE), bool)
    valid[2] = False
    tiles = [{"image": scene(n), "source": f"{n}"} for n in range(20)]
    tiles += [{"image": sea, "valid": valid, "source": f"sea {n}"} for n in range(3)]
    looks = look(write(tmp_path / "set", tiles))
    assert looks.plain[20:].all()
    assert not list(alike(looks, lambda i, j: np.ones(len(i), bool)))


def test_plain_tiles_that_are_the_same_pixel_by_pixel_are_copies(tmp_path):
    rng = np.random.default_rng(2)
    sea = (30 + rng.normal(0, 1.5, (3, TILE, TILE))).astype(np.uint8)
    images = [scene(n) for n in range(20)] + [sea, sea]
    assert pairs(tmp_path / "set", images) == {(20, 21)}


def test_only_wanted_pairs_are_told(tmp_path):
    images = [scene(0), scene(0), scene(0)]
    assert pairs(tmp_path / "set", images, lambda i, j: (i == 0) & (j == 2)) == {(0, 2)}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 400), st.integers(0, 10))
def test_the_same_pairs_of_hashes_as_a_loop_over_all(seed, count, flips):
    rng = np.random.default_rng(seed)
    roots = rng.integers(0, 2**64, 12, dtype=np.uint64)
    hashes = roots[rng.integers(0, 12, count)]
    for _ in range(flips):
        hashes = hashes ^ (np.uint64(1) << rng.integers(0, 64, count, dtype=np.uint64))
    found = [
        (i, j)
        for first, second in hamming_pairs(hashes)
        for i, j in zip(first.tolist(), second.tolist(), strict=True)
    ]
    values = hashes.tolist()
    expected = {
        (i, j)
        for i in range(count)
        for j in range(i + 1, count)
        if (values[i] ^ values[j]).bit_count() <= BITS
    }
    assert len(found) == len(set(found))
    assert set(found) == expected


@pytest.mark.parametrize("size", [8, 16, 40, 64, 100])
def test_cells_are_means_of_areas(size):
    image = np.random.default_rng(size).normal(size=(size, size)).astype(np.float32)
    exact = Image.fromarray(image).resize((size * 16, size * 16), Image.Resampling.NEAREST)
    expected = np.asarray(exact).reshape(16, size, 16, size).mean(axis=(1, 3))
    np.testing.assert_allclose(cells(image), expected, atol=1e-5)


def test_missing_pixels_are_taken_to_be_like_the_others():
    image = np.full((2, 32, 32), 5.0)
    image[0, :9] = np.nan
    image[1] = np.nan
    np.testing.assert_allclose(cells(image)[0], 5)
    assert np.isnan(cells(image)[1]).all()


def test_real_aerial_images_hold_no_copies_but_those_that_are_made(tmp_path):
    raw = real_data("dubai_hitl")
    root = tmp_path / "raw"
    for area in ("Tile 2", "Tile 3"):
        for kind in ("images", "masks"):
            (root / area / kind).mkdir(parents=True)
            for path in sorted((raw / area / kind).iterdir())[:4]:
                (root / area / kind / path.name).symlink_to(path)
    (root / "copies" / "images").mkdir(parents=True)
    (root / "copies" / "masks").symlink_to(raw / "Tile 3" / "masks")
    for path in sorted((raw / "Tile 3" / "images").iterdir())[:4]:
        picture = Image.open(path)
        picture.save(root / "copies" / "images" / path.name, quality=60)
    legend = read_legend(Path("configs/legends/dubai.yaml"))
    source = rasters(
        root, images="{region}/images/{name}.jpg", labels="{region}/masks/{name}.png",
        legend=legend, tile=128, val=[], test=["copies"],
    )  # fmt: skip
    taskset = prepare(source, tmp_path / "set", quiet=True)
    table, looks, found = taskset.table, look(taskset), set()
    for part in alike(looks, lambda i, j: np.ones(len(i), bool)):
        found |= set(zip(part.first.tolist(), part.second.tolist(), strict=True))
    names = zip(table["region"], table["source"], table["window"], strict=True)
    tiles = {(of, Path(file).name, *window): i for i, (of, file, window) in enumerate(names)}
    copies = {
        tuple(sorted((tiles["Tile 3", *rest], i)))
        for (region, *rest), i in tiles.items()
        if region == "copies"
    }
    seen = {pair for pair in copies if not looks.plain[list(pair)].any()}
    assert found <= copies
    assert len(seen) > 50
    assert len(found & seen) > 0.9 * len(seen)
    proof = read_proof(taskset.folder)
    assert proof.checks[1].found == len(found)
