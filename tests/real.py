"""Where the real labelled imagery lies, if this machine has it."""

import os
from pathlib import Path

import pytest

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"


def real_data(name: str) -> Path:
    """Folder of one real data set; skips the test, with the reason, where it is absent."""
    folder = Path(os.environ.get("LANDMETA_DATA", _BESIDE)) / name
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set LANDMETA_DATA to where it is")
    return folder
