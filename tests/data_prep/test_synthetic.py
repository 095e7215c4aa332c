import errno
import hashlib

import numpy as np
import pytest
import rasterio
from PIL import Image
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score

from data_prep import synthetic
from data_prep.sen12ms_splits import FEWSHOT
from data_prep.synthetic import make_region, write_deepglobe, write_sen12ms
from data_prep.synthetic_world import BIOMES
from landmeta.errors import ConfigError, OutputExists, WriteFailed
from landmeta.legend import DEEPGLOBE
from tests.data.sen12ms import patch
from tests.real import real_data

SIMPLIFIED = np.array([0, 1, 1, 1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 6, 8, 9, 10])


def digests(root):
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*.*"))
        if path.is_file()
    }


def pixels(path):
    with rasterio.open(path) as file:
        return file.read()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Eighteen regions: each biome twice, as many different ids of the few-shot split."""
    return write_sen12ms(tmp_path_factory.mktemp("world") / "raw", scenes=18, size=128, seed=1)


def test_layout_names_and_types_are_those_of_sen12ms(world):
    files = sorted(p.relative_to(world).as_posix() for p in world.rglob("*.tif"))
    assert len(files) == 18 * 4 * 3
    assert "ROIs1868_summer/s2_57/ROIs1868_summer_s2_57_p4.tif" in files
    for modality, count, dtype in (("s1", 2, "float32"), ("s2", 13, "uint16"), ("lc", 4, "uint16")):
        with rasterio.open(patch(world, modality, "summer", 57)) as file:
            assert (file.count, set(file.dtypes), file.shape) == (count, {dtype}, (128, 128))
            assert file.res == (10, 10)
            assert 32601 <= file.crs.to_epsg() <= 32760
    ids = {int(p.name.split("_")[1]) for p in world.glob("*/s2_*")}
    assert {split: len(ids & set(of)) for split, of in FEWSHOT.items()} == {
        "train": 10, "val": 4, "test": 4
    }  # fmt: skip


def test_regions_lie_in_their_zone_and_at_their_latitude(world):
    zones = set()
    for path in world.glob("*/s2_*/*_p1.tif"):
        with rasterio.open(path) as file:
            west, south, east, north = rasterio.warp.transform_bounds(
                file.crs, "EPSG:4326", *file.bounds
            )
            epsg = file.crs.to_epsg()
        biome = make_region(1, int(path.parent.name.split("_")[1]), 1.0).biome
        assert biome.latitudes[0] - 1 < south < north < biome.latitudes[1] + 1.5
        assert epsg // 100 == (326 if north > 0.5 else 327 if south < -0.5 else epsg // 100)
        central = (epsg % 100) * 6 - 183
        assert central - 3.1 < west < east < central + 3.6
        zones.add(epsg)
    assert len(zones) > 9


def test_neighbouring_patches_overlap_by_half_and_agree_there(world):
    for modality in ("s1", "s2", "lc"):
        one, right, below = (pixels(patch(world, modality, "summer", 57, p)) for p in (1, 2, 3))
        np.testing.assert_array_equal(one[:, :, 64:], right[:, :, :64])
        np.testing.assert_array_equal(one[:, 64:], below[:, :64])
    with (
        rasterio.open(patch(world, "s2", "summer", 57, 1)) as one,
        rasterio.open(patch(world, "s2", "summer", 57, 4)) as last,
    ):
        assert one.xy(64, 64) == last.xy(0, 0)


def test_all_biomes_and_simplified_classes_occur(world):
    numbers = [int(p.name.split("_")[1]) for p in world.glob("*/lc_*")]
    biomes = [make_region(1, n, 1.0).biome.name for n in numbers]
    assert sorted(biomes) == sorted([b.name for b in BIOMES] * 2)
    igbp = np.concatenate([pixels(p)[0].ravel() for p in world.glob("*/lc_*/*.tif")])
    share = np.bincount(SIMPLIFIED[igbp], minlength=11) / igbp.size
    assert share[0] == 0
    assert (share[1:] > 0.004).all()
    assert share.max() < 0.4


def test_lccs_bands_agree_with_igbp(world):
    lc = np.concatenate([pixels(p).reshape(4, -1) for p in world.glob("*/lc_*/*.tif")], axis=1)
    igbp, cover, use, water = lc
    for kind, code in ((17, 3), (15, 2), (16, 1)):
        for layer in (cover, use, water):
            np.testing.assert_array_equal(igbp == kind, layer == code)
    assert set(np.unique(use[igbp == 13])) == {9}
    assert set(np.unique(use[igbp == 12])) == {36}
    assert set(np.unique(water[igbp <= 5])) == {10}
    assert set(np.unique(cover[igbp <= 5])) <= set(range(11, 17))


def test_gaps_are_zeros_in_all_of_s2_and_nan_in_s1_and_rare(world):
    s2 = np.stack([pixels(p) for p in world.glob("*/s2_*/*.tif")])
    s1 = np.stack([pixels(p) for p in world.glob("*/s1_*/*.tif")])
    zero = (s2 == 0).all(axis=1)
    assert ((s2 == 0).any(axis=1) == zero).all()
    assert 0 < zero.mean() < 0.03
    assert 0 < np.isnan(s1).mean() < 0.03
    assert s2.max() <= 28000
    assert np.nanmin(s1) >= -40


def test_values_are_as_large_as_in_real_sentinel_patches(world):
    names = ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]
    real = []
    for folder in real_data("ben_s1s2").glob("*/*"):
        if (folder / "B01.tif").is_file():
            bands = [np.nanmean(pixels(folder / f"{n}.tif")) for n in (*names, "VV", "VH")]
            real.append(bands)
    typical = np.median(real, axis=0)
    bands = [1, 2, 3, 4, 5, 6, 7, 8, 11, 12]
    made = []
    for path in world.glob("*/s2_*/*_p1.tif"):
        s2 = pixels(path)[bands].astype(float)
        s1 = pixels(patch(world, "s1", "summer", int(path.parent.name.split("_")[1])))
        made.append([*s2.mean(axis=(1, 2)), *np.nanmean(s1, axis=(1, 2))])
    ours = np.median(made, axis=0)
    # SEN12MS is not corrected for the air, BigEarthNet is: blue light is brighter in the former.
    air = np.array([600, 350, 200, 150, 100, 100, 0, 0, 0, 0])
    ratio = ours[:10] / (typical[:10] + air)
    assert (ratio > 0.5).all()
    assert (ratio < 2).all()
    np.testing.assert_allclose(ours[10:], typical[10:], atol=4)


def test_same_seed_same_bytes_other_seed_other_bytes(tmp_path):
    def make(name, **how):
        how = {"scenes": {"fall": [3], "winter": [3]}, "patches": 2, "size": 32, "seed": 4} | how
        return digests(write_sen12ms(tmp_path / name, **how))

    first = make("a")
    assert first == make("b")
    other = make("c", seed=5)
    assert other.keys() == first.keys()
    assert not set(other.values()) & set(first.values())
    # A scene does not depend on what other scenes are made.
    more = make("d", scenes={"fall": [8, 3], "summer": [3]})
    assert {k: v for k, v in more.items() if "fall_" in k and "_3_" in k} == {
        k: v for k, v in first.items() if "fall" in k
    }
    assert len({v for k, v in first.items() if "_s2_" in k}) == 4


def test_seasons_of_a_region_lie_apart_in_one_zone(tmp_path):
    root = write_sen12ms(
        tmp_path / "raw", scenes=1, seasons=("spring", "winter"), patches=1, size=32
    )
    bounds = []
    for season in ("spring", "winter"):
        with rasterio.open(patch(root, "s2", season, 57)) as file:
            bounds.append((file.crs.to_epsg(), *file.bounds))
    assert bounds[0][0] == bounds[1][0]
    assert abs(bounds[0][2] - bounds[1][2]) > 10_000


def forest_accuracy(root, regions):
    """Mean accuracy in the regions of a forest from other regions, and of one from the region.

    Both are tested on the right halves of scenes; the own one is trained on the left half.
    """
    rng = np.random.default_rng(0)
    halves = {}
    for folder in sorted(root.glob("*/s2_*")):
        number = int(folder.name.split("_")[1])
        s2, s1, lc = (pixels(patch(root, m, "summer", number)) for m in ("s2", "s1", "lc"))
        x = np.concatenate([s2, s1])
        y = SIMPLIFIED[lc[0]]
        seen = np.isfinite(x).all(axis=0) & (s2 != 0).any(axis=0)
        half = x.shape[2] // 2
        halves[number] = []
        for side in (np.s_[:, :half], np.s_[:, half:]):
            inside = np.zeros_like(seen)
            inside[side] = seen[side]
            chosen = rng.permutation(np.flatnonzero(inside))[:800]
            halves[number].append((x.reshape(15, -1).T[chosen], y.ravel()[chosen]))
    others, own = [], []
    for number in regions:
        left, right = halves[number]
        rest = [(x[:60], y[:60]) for n, both in halves.items() if n != number for x, y in both]
        pools = [tuple(map(np.concatenate, zip(*rest, strict=True))), left]
        for scores, (x, y) in zip((others, own), pools, strict=True):
            forest = RandomForestClassifier(25, min_samples_leaf=3, random_state=0).fit(x, y)
            scores.append(accuracy_score(right[1], forest.predict(right[0])))
    return float(np.mean(others)), float(np.mean(own))


def test_regions_differ_by_as_much_as_asked_for(tmp_path):
    gaps = {}
    for shift in (0.0, 1.0):
        root = write_sen12ms(
            tmp_path / str(shift), scenes=27, patches=1, size=160, shift=shift, seed=2
        )
        regions = sorted(int(p.name.split("_")[1]) for p in root.glob("*/s2_*"))[::3]
        others, own = forest_accuracy(root, regions)
        print(f"shift {shift:g}: accuracy from other regions {others:.3f}, own {own:.3f}")
        assert 0.6 < own < 0.95
        gaps[shift] = own - others
    assert abs(gaps[0.0]) < 0.08
    assert gaps[1.0] > 0.1


def test_deepglobe_layout_and_masks_that_need_binarising(tmp_path):
    root = write_deepglobe(tmp_path / "raw", images=10, size=96, seed=1)
    photos, masks = sorted(root.glob("*_sat.jpg")), sorted(root.glob("*_mask.png"))
    assert len(list(root.iterdir())) == 20
    assert [p.name.split("_")[0] for p in photos] == [p.name.split("_")[0] for p in masks]
    known = {c.rgb for c in DEEPGLOBE.classes} | {(0, 0, 0)}
    found, blurred = set(), 0
    for photo, mask in zip(photos, masks, strict=True):
        with Image.open(photo) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (96, 96))
            assert 30 < np.asarray(image).mean() < 220
        with Image.open(mask) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", (96, 96))
            colours = np.asarray(image)
        blurred += ((colours > 0) & (colours < 255)).any(axis=-1).sum()
        binary = np.where(colours >= 128, 255, 0).reshape(-1, 3)
        found |= set(map(tuple, np.unique(binary, axis=0).tolist()))
    assert found <= known
    assert len(found) >= 5
    assert blurred > 0


def test_deepglobe_same_seed_same_bytes(tmp_path):
    one, two, three = (
        digests(write_deepglobe(tmp_path / name, images=2, size=48, seed=seed))
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert one == two
    assert not set(one.values()) & set(three.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scenes": 0}, "0 regions"),
        ({"scenes": 126}, "126 regions"),
        ({"scenes": {}}, "no scenes"),
        ({"scenes": {"autumn": [1]}}, "autumn"),
        ({"seasons": ()}, "no scenes"),
        ({"patches": 0}, "0 patches"),
        ({"size": 31}, "31 pixels"),
        ({"shift": -1.0}, "shift -1"),
    ],
)
def test_wrong_arguments(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        write_sen12ms(tmp_path / "raw", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [{"images": 0}, {"size": 8}, {"shift": -1.0}, {"terrains": 0}])
def test_wrong_arguments_of_deepglobe(tmp_path, options):
    with pytest.raises(ConfigError, match="cannot be made"):
        write_deepglobe(tmp_path / "raw", **options)


@pytest.mark.parametrize(
    "write",
    [
        lambda root, **how: write_sen12ms(root, scenes={"fall": [1]}, patches=1, size=16, **how),
        lambda root, **how: write_deepglobe(root, images=1, size=32, **how),
    ],
)
def test_an_existing_tree_is_replaced_only_if_asked(tmp_path, write):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "mine.txt").write_text("keep")
    with pytest.raises(OutputExists):
        write(tmp_path / "raw")
    assert (tmp_path / "raw" / "mine.txt").read_text() == "keep"
    write(tmp_path / "raw", overwrite=True)
    assert not (tmp_path / "raw" / "mine.txt").exists()


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    real, written = synthetic.write_tif, []

    def full(path, *rest):
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        real(path, *rest)

    monkeypatch.setattr(synthetic, "write_tif", full)
    with pytest.raises(WriteFailed, match="No space left"):
        write_sen12ms(tmp_path / "raw", scenes={"fall": [1]}, patches=2, size=16)
    assert list(tmp_path.iterdir()) == []
