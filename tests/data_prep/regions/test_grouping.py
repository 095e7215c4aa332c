import warnings

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from sklearn.metrics import adjusted_rand_score

from data_prep.regions.grouping import GroupingOptions, group_images
from data_prep.synthetic import write_deepglobe
from landmeta.errors import ConfigError, UnreadableFile
from landmeta.imagery import read_header
from tests.data.deepglobe import write_deepglobe as write_biomes
from tests.data.rasters import write_raster
from tests.real import real_data

TERRAINS = 5


# What the rasters of tests lack.
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Headers of images of five kinds of country, and the kind of each."""
    root = tmp_path_factory.mktemp("raw") / "world"
    write_deepglobe(root, images=8 * TERRAINS, terrains=TERRAINS, size=192)
    headers = [read_header(path) for path in sorted(root.glob("*_sat.jpg"))]
    return headers, [i % TERRAINS for i in range(len(headers))]


@pytest.fixture(scope="module")
def biomes(tmp_path_factory):
    root = tmp_path_factory.mktemp("raw")
    write_biomes(root, images=12, size=48, unmasked=0)
    return [read_header(path) for path in sorted(root.glob("*_sat.jpg"))]


def chance(truth, regions):
    """Highest agreement of 200 random dealings of the same regions."""
    rng = np.random.default_rng(0)
    return max(adjusted_rand_score(truth, rng.permutation(regions)) for _ in range(200))


@pytest.mark.parametrize("method", ["kmeans", "agglomerative", "mixture"])
def test_statistics_find_the_terrain(world, method):
    headers, truth = world
    found = group_images(headers, GroupingOptions(method=method, k=TERRAINS), workers=2)
    assert adjusted_rand_score(truth, found.regions) > chance(truth, found.regions) + 0.05


def test_a_network_even_of_random_weights_finds_more_than_chance(world, tmp_path):
    headers, truth = world
    save_file(_seeded().state_dict(), tmp_path / "weights.safetensors")
    options = GroupingOptions(
        features="mobilenet_v3_small", weights=tmp_path / "weights.safetensors", k=TERRAINS
    )
    one, other = (group_images(headers, options, workers=workers) for workers in (1, 3))
    assert one.regions == other.regions and np.array_equal(one.points, other.points)
    assert adjusted_rand_score(truth, one.regions) > chance(truth, one.regions)
    record = one.record()
    assert record["weights"]["file"] == "weights.safetensors"
    assert len(record["weights"]["sha256"]) == 64


def _seeded():
    torch.manual_seed(0)
    return torchvision.models.mobilenet_v3_small()


def test_areas_of_a_real_city_are_told_apart():
    folders = sorted(real_data("dubai_hitl").glob("*/images"))
    images = [path for folder in folders for path in sorted(folder.glob("*.jpg"))[:5]]
    areas = [path.parts[-3] for path in images]
    options = GroupingOptions(method="agglomerative", k=5)
    found = group_images([read_header(path) for path in images], options, workers=2)
    assert adjusted_rand_score(areas, found.regions) > chance(areas, found.regions) + 0.05


def test_random_regions_have_the_sizes_of_the_clusters(world):
    headers, _ = world
    clustered, dealt = (
        group_images(headers, GroupingOptions(split, k=4, seed=3))
        for split in ("clustered", "random")
    )
    assert np.array_equal(clustered.clusters, dealt.clusters)
    assert set(clustered.regions) == {f"cluster_{n:02d}" for n in (1, 2, 3, 4)}
    as_random = [name.replace("cluster", "random") for name in clustered.regions]
    assert sorted(as_random) == sorted(dealt.regions)
    assert adjusted_rand_score(clustered.clusters, dealt.regions) < 0.2
    other = group_images(headers, GroupingOptions("random", k=4, seed=4))
    assert other.regions != dealt.regions


def test_the_number_of_workers_changes_nothing(biomes):
    options = GroupingOptions(seed=1)
    one, *others = (group_images(biomes, options, workers=workers) for workers in (1, 2, 5))
    for other in others:
        assert other.regions == one.regions and other.record() == one.record()
        assert np.array_equal(other.points, one.points)


def test_the_choice_is_told(biomes):
    found = group_images(biomes, GroupingOptions())
    assert found.chosen.k == 3 and [c.k for c in found.candidates] == [3]
    text = found.notes[0]
    assert "3 regions are clusters" in text and "kmeans on statistics" in text
    assert f"silhouette {found.chosen.silhouette:.2f}" in text
    assert found.record()["regions"] == 3 and found.record()["k"] is None


def test_how_many_are_tried():
    def tried(images):
        return GroupingOptions()._tried(images)

    assert tried(803) == list(range(5, 21)) and tried(96) == list(range(5, 13))
    assert tried(48) == [3, 4, 5, 6] and tried(8) == [3]
    assert GroupingOptions(k=2)._tried(803) == [2]


def test_clusters_too_small_for_the_user_are_merged(world):
    found = group_images(world[0], GroupingOptions(k=8, least=6))
    assert np.bincount(found.clusters).min() >= 6
    assert any("(the least is 6)" in note for note in found.notes)
    assert len(set(found.regions)) == found.record()["regions"] < 8


def test_overlapping_and_unstable_clusters_are_called_so(tmp_path):
    rng = np.random.default_rng(0)
    headers = [
        read_header(
            write_raster(
                tmp_path / f"{i:02d}.tif", rng.integers(0, 255, (3, 24, 24)).astype(np.uint8)
            )
        )
        for i in range(24)
    ]
    notes = group_images(headers, GroupingOptions(k=5)).notes
    assert any("overlap much" in note for note in notes)
    assert any("would make other clusters" in note for note in notes)
    assert len(group_images(headers, GroupingOptions("random", k=5)).notes) < len(notes)


def copies(tmp_path, different, count):
    rng = np.random.default_rng(0)
    kinds = [rng.integers(0, 255, (3, 24, 24)).astype(np.uint8) for _ in range(different)]
    return [
        read_header(write_raster(tmp_path / f"{i}.tif", kinds[i % different])) for i in range(count)
    ]


@pytest.mark.parametrize("split", ["clustered", "random"])
def test_images_that_are_all_alike(tmp_path, split):
    with pytest.raises(ConfigError, match="all 8 images look the same"):
        group_images(copies(tmp_path, 1, 8), GroupingOptions(split))


def test_fewer_different_images_than_regions(tmp_path):
    headers = copies(tmp_path, 3, 12)
    with pytest.raises(ConfigError, match="4 regions of 12 images of which only 3 look") as caught:
        group_images(headers, GroupingOptions(k=4))
    assert "at most 3" in caught.value.remedy
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = group_images(headers, GroupingOptions(k=3))
    assert adjusted_rand_score([i % 3 for i in range(12)], found.regions) == 1


@pytest.mark.parametrize(
    "options, text",
    [
        ({"split": "season"}, "no split 'season'"),
        ({"method": "dbscan"}, "no way to cluster 'dbscan'"),
        ({"k": 7}, "7 regions of 12 images"),
        ({"k": 1}, "1 regions"),
    ],
)
def test_impossible_options(biomes, options, text):
    with pytest.raises(ConfigError, match=text) as caught:
        group_images(biomes, GroupingOptions(**options))
    assert caught.value.remedy


def test_too_few_images(biomes):
    with pytest.raises(ConfigError, match="3 images are too few"):
        group_images(biomes[:3], GroupingOptions())


def test_an_image_that_cannot_be_read_is_set_aside(tmp_path):
    write_biomes(tmp_path, images=9, size=48, unmasked=0)
    paths = sorted(tmp_path.glob("*_sat.jpg"))
    headers = [read_header(path) for path in paths]
    paths[4].write_bytes(paths[4].read_bytes()[:900])
    found = group_images(headers, GroupingOptions(k=3), workers=2)
    assert found.images == [0, 1, 2, 3, 5, 6, 7, 8] and len(found.regions) == 8
    assert [bad.file for bad in found.unreadable] == [str(paths[4])]
    for path in paths:
        path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(UnreadableFile, match="9 of 9 images"):
        group_images(headers, GroupingOptions(k=3))
