"""Killed at any moment and started again, preparing ends with what it had made undisturbed."""

import json
import subprocess
import sys
from pathlib import Path

from data_prep.prepare import prepare
from data_prep.sen12ms import sen12ms
from tests.data.sen12ms import tree

ROOT = Path(__file__).parents[2]


def content(folder):
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_killed_and_started_again_until_it_is_whole(tmp_path):
    raw = tree(tmp_path / "raw", {"summer": [57, 27, 83, 118], "winter": [57]}, patches=5, seed=1)
    undisturbed = prepare(sen12ms(raw, tile=8), tmp_path / "undisturbed", quiet=True)
    assert len(undisturbed) > 5 * 64
    (tmp_path / "out").mkdir()
    ended = subprocess.run(
        [sys.executable, "-m", "tests.killing", raw, tmp_path / "out/set", "0"],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["killed"] > 5 and found["taken up"] > 0
    expected = content(undisturbed.folder)
    for number in range(found["made"]):
        assert content(tmp_path / f"out/set{number}") == expected
