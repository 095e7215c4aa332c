"""Facts about the project itself that would otherwise drift apart."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from landmeta.config import CompareConfig, SearchConfig, TrainConfig, read_config
from landmeta.legend import read_legend

ROOT = Path(__file__).resolve().parents[1]


def test_every_direct_dependency_is_pinned_to_a_version_it_allows():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    texts = [*project["dependencies"], *(text for extra in extras for text in extra)]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    pinned = {pin.name.lower(): str(pin.specifier).removeprefix("==") for pin in pins}
    for wanted in map(Requirement, texts):
        assert wanted.name.lower() in pinned, f"{wanted.name} is not in constraints.txt"
        assert wanted.specifier.contains(pinned[wanted.name.lower()]), wanted


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("**/*.yaml")), ids=lambda p: p.stem)
def test_every_example_is_read_and_its_network_can_be_built(path):
    if path.parent.name == "legends":
        assert len(read_legend(path)) > 1
    elif path.stem == "compare":
        config = read_config(path, CompareConfig)
        assert config.reference in config.checkpoints
    elif path.stem == "search":
        search = read_config(path, SearchConfig)
        assert read_config(ROOT / search.train, TrainConfig, search.changes)
    else:
        settings = read_config(path, TrainConfig)
        assert len(settings.model.decoder_channels) == settings.model.depth
        assert settings.out.parts[:2] == ("runs", path.parent.name)
