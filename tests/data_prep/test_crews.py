"""Processes and a Dask cluster do what threads do: the same results in the same order."""

import gc
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest

import data_prep.cluster
import data_prep.prepare as preparing
from data_prep.cluster import cluster
from data_prep.deepglobe import deepglobe
from data_prep.parallel import processes, results
from data_prep.prepare import prepare
from data_prep.sen12ms import sen12ms
from landmeta.errors import ConfigError, LandmetaError, ProcessLost, UnknownClass, UnreadableFile
from tests import crews
from tests.data.deepglobe import write_deepglobe
from tests.data.sen12ms import patch, tree
from tests.data_prep.test_killed import content

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    root = tmp_path_factory.mktemp("raw")
    tree(root / "sen12ms", seed=3)
    write_deepglobe(root / "deepglobe")
    return root


@pytest.fixture(scope="module")
def scheduler():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0",
            protocol="tcp",
        ) as local,
    ):  # fmt: skip
        yield local.scheduler_address


def sources(raw):
    return [
        sen12ms(raw / "sen12ms", tile=16),
        deepglobe(raw / "deepglobe", tile=32, k=3, split="random"),
    ]


def test_processes_answer_in_order():
    with processes(crews.square, 2) as crew:
        found = list(results(crew, range(40)))
    assert [square for _, square in found] == [n**2 for n in range(40)]
    assert os.getpid() not in {process for process, _ in found}


def test_an_error_comes_out_of_a_process_as_it_was():
    with pytest.raises(UnknownClass) as caught, processes(crews.refuse_seven, 2) as crew:
        list(results(crew, range(40)))
    assert caught.value.remedy == "count otherwise"
    assert caught.value.path == Path("numbers.txt")
    assert str(caught.value).startswith("numbers.txt: holds 7")


def test_a_process_that_dies_is_told():
    with pytest.raises(ProcessLost, match="died") as caught, processes(crews.die_at_seven, 2) as c:
        list(results(c, range(40)))
    assert "same command" in caught.value.remedy


def test_processes_end_with_a_parent_that_was_killed(tmp_path):
    parent = subprocess.Popen([sys.executable, "-m", "tests.crews", tmp_path], cwd=ROOT)
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
    parent.kill()
    parent.wait()
    children = [int(path.name) for path in tmp_path.iterdir()]
    wait_until(lambda: not any(alive(child) for child in children))


def wait_until(done, most=60):
    end = time.monotonic() + most
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(process):
    try:  # its parent may be one that never asks how it ended
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_who_does_the_work_changes_nothing(raw, tmp_path, scheduler, monkeypatch):
    kinds = []
    for number, source in enumerate(sources(raw)):
        expected = content(prepare(source, tmp_path / f"threads{number}", quiet=True).folder)
        how = {"dask": {"dask": scheduler}, "processes": {"workers": 3}}
        for kind, options in how.items():
            monkeypatch.setattr(preparing, "PROCESSES_FROM", 0)
            out = tmp_path / f"{kind}{number}"
            assert content(prepare(source, out, **options, quiet=True).folder) == expected
            kinds.append(kind)
            monkeypatch.undo()
    assert len(kinds) == 4


def test_on_a_cluster_errors_are_those_of_threads(tmp_path, scheduler):
    root = tree(tmp_path / "raw", seed=3)
    source = sen12ms(root, tile=16)
    broken = patch(root, "s1", "summer", 57)
    broken.write_bytes(broken.read_bytes()[:500])
    messages = []
    for how in ({}, {"dask": scheduler}):
        with pytest.raises(UnreadableFile) as caught:
            prepare(source, tmp_path / "out", quiet=True, **how)
        messages.append(str(caught.value))
        assert [p.name for p in tmp_path.iterdir()] == ["raw"]
    assert messages[0] == messages[1]
    assert str(broken) in messages[0]


def test_a_cluster_is_not_given_paths_of_this_folder(raw, tmp_path, scheduler, monkeypatch):
    monkeypatch.chdir(raw)
    with pytest.raises(ConfigError, match=r"s2_63_p1\.tif") as caught:
        prepare(sen12ms("sen12ms", tile=16), tmp_path / "out", dask=scheduler, quiet=True)
    assert "absolute" in caught.value.remedy


def test_no_cluster_there(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(data_prep.cluster, "WAIT", 0.5)

    def clients():
        return sum(type(thing) is distributed.Client for thing in gc.get_objects())

    gc.collect()
    before = clients()
    for address in ("tcp://127.0.0.1:9", "nonsense"):
        with pytest.raises(ConfigError, match="scheduler") as caught, cluster(abs, address):
            pass
        assert address in str(caught.value)
        del caught
        assert clients() == before  # collected later, one can block another for ever
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError) as caught, cluster(abs, "tcp://127.0.0.1:9"):
        pass
    assert "landmeta[dask]" in caught.value.remedy


def test_a_cluster_without_workers(monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(data_prep.cluster, "WAIT", 5)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0", protocol="tcp") as empty,
        pytest.raises(ConfigError, match="no worker"),
        cluster(abs, empty.scheduler_address),
    ):
        pass


def test_a_cluster_that_goes_away_is_told():
    distributed = pytest.importorskip("distributed")
    local = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0", protocol="tcp"
    )

    def numbers():
        for number in range(200):
            if number == 20:
                local.close()
            yield number

    with pytest.raises(ProcessLost), cluster(crews.square, local.scheduler_address) as crew:
        list(results(crew, numbers()))


@pytest.mark.parametrize("error", LandmetaError.__subclasses__())
def test_every_error_can_be_handed_over(error):
    made = error("is wrong", remedy="right it", path="a.tif")
    again = pickle.loads(pickle.dumps(made))
    assert type(again) is error
    assert (str(again), again.remedy, again.path) == (str(made), made.remedy, made.path)
