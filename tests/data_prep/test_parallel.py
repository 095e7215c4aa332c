"""Several threads read: the result is that of one thread, and a failure ends them all."""

import shutil
import threading
import time

import numpy as np
import pandas as pd
import pytest

from data_prep import scenes
from data_prep.deepglobe import deepglobe
from data_prep.parallel import in_order
from data_prep.prepare import prepare
from data_prep.rasters import rasters
from data_prep.sen12ms import sen12ms
from landmeta.errors import UnreadableFile, WriteFailed
from landmeta.legend import LandClass, Legend
from tests.data.deepglobe import write_deepglobe
from tests.data.rasters import write_tree
from tests.data.sen12ms import tree
from tests.disk import no_file_above

LEGEND = Legend(
    classes=tuple(
        LandClass(id=i, name=n, color=c)
        for i, n, c in [(1, "A", "#ff0000"), (2, "B", "#00ff00"), (3, "C", "#0000ff")]
    )
)
SOURCES = {
    "sen12ms": lambda root: sen12ms(root, tile=16),
    "deepglobe clustered": lambda root: deepglobe(root, tile=32, k=3),
    "deepglobe random": lambda root: deepglobe(root, tile=32, k=3, split="random"),
    "rasters": lambda root: rasters(
        root,
        images="{region}/{name}_img.tif",
        labels="{region}/{name}_lab.tif",
        legend=LEGEND,
        tile=16,
    ),
}
IMAGES = {"sen12ms": "*_s2_*.tif", "deepglobe": "*_sat.jpg", "rasters": "*_img.tif"}


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    root = tmp_path_factory.mktemp("raw")
    tree(root / "sen12ms", seed=3)
    write_deepglobe(root / "deepglobe")
    write_tree(root / "rasters", images=4)
    return root


def make(raw, name):
    return SOURCES[name](raw / name.split()[0])


def prepare_threads():
    return [t.name for t in threading.enumerate() if t.name.startswith(("prepare", "shards"))]


@pytest.mark.parametrize("name", SOURCES)
def test_the_number_of_threads_changes_nothing(raw, tmp_path, monkeypatch, name):
    monkeypatch.setattr(scenes, "PART", 5_000)  # an image of several parts
    one, *others = (
        prepare(make(raw, name), tmp_path / f"{n}", workers=n, quiet=True) for n in (1, 2, 5)
    )
    assert len(one) > 20
    for other in others:
        pd.testing.assert_frame_equal(pd.DataFrame(other.table), pd.DataFrame(one.table))
        assert other.meta == one.meta
        for file in one.folder.rglob("*"):
            if file.is_file() and "zarr" in file.as_posix():
                again = other.folder / file.relative_to(one.folder)
                assert again.read_bytes() == file.read_bytes()
        ids = np.arange(len(one))
        np.testing.assert_array_equal(other.read(ids).image, one.read(ids).image)
        np.testing.assert_array_equal(other.read(ids).label, one.read(ids).label)
    assert not prepare_threads()


@pytest.mark.parametrize("name", SOURCES)
def test_an_unreadable_file_is_named_whichever_thread_meets_it(raw, tmp_path, name):
    kind = name.split()[0]
    root = shutil.copytree(raw / kind, tmp_path / "raw")
    images = sorted(root.rglob(IMAGES[kind]))
    broken = images[len(images) // 2]
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size * 3 // 5])
    messages = set()
    for workers in (1, 2, 5):
        with pytest.raises(UnreadableFile) as caught:
            prepare(SOURCES[name](root), tmp_path / "out", workers=workers, quiet=True)
        messages.add(str(caught.value))
        assert caught.value.remedy
        assert [p.name for p in tmp_path.iterdir()] == ["raw"]
        assert not prepare_threads()
    assert len(messages) == 1
    assert str(broken) in messages.pop()


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("size", [0, 1_000, 20_000])
def test_a_background_write_that_fails_is_told(raw, tmp_path, workers, size):
    source = make(raw, "sen12ms")
    with no_file_above(size), pytest.raises(WriteFailed) as caught:
        prepare(source, tmp_path / "out", workers=workers, quiet=True)
    assert str(tmp_path / "out") in str(caught.value)
    assert "File too large" in str(caught.value)
    assert not list(tmp_path.iterdir())
    assert not prepare_threads()


def test_results_come_in_the_order_of_the_items_and_no_more_are_made_ahead_than_the_bound():
    workers, started, lock = 3, [], threading.Lock()

    def work(item):
        with lock:
            started.append(item)
        time.sleep(0.002 * (item % 3))  # the clock's order is another
        return item

    for used, result in enumerate(in_order(work, range(40), workers)):
        assert result == used
        if used in (0, 10, 20):
            time.sleep(0.05)  # a slow consumer: time for all that may start
            assert len(started) == used + 1 + 2 * workers
    assert sorted(started) == list(range(40))


@pytest.mark.parametrize("ended_by", ["worker", "consumer"])
def test_no_thread_goes_on_after_a_failure(ended_by):
    started = []

    def work(item):
        started.append(item)
        time.sleep(0.005)
        if ended_by == "worker" and item == 5:
            raise ValueError("five")
        return item

    results = in_order(work, range(1000), 2)
    if ended_by == "worker":
        with pytest.raises(ValueError, match="five"):
            list(results)
    else:
        assert next(results) == 0
        results.close()
    assert not prepare_threads()
    count = len(started)
    assert count <= 5 + 1 + 2 * 2
    time.sleep(0.03)
    assert len(started) == count
