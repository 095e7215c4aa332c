"""Fixtures that several test modules share; each is made once a session and never changed."""

import pytest
from hypothesis import settings

from landmeta.train import train
from tests.tiny import tiny_config, tiny_taskset

# Nothing here is timed: a busy machine must not fail a test.
settings.register_profile("landmeta", deadline=None)
settings.load_profile("landmeta")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The tiny task set."""
    return tiny_taskset(tmp_path_factory.mktemp("tiny") / "taskset")


@pytest.fixture(scope="session")
def checkpoints(tiny, tmp_path_factory):
    """One trained checkpoint of each method on the tiny task set."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        method: train(tiny_config(tiny, folder / method, method), quiet=True)
        for method in ("maml", "fomaml", "pretrain", "scratch")
    }
