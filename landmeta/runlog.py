"""What a training run writes down as it goes: JSON lines, and TensorBoard if asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from landmeta.atomic import write_text
from landmeta.errors import ConfigError


class RunLog:
    """Appends one JSON object a line to `log.jsonl` in `folder`; without folder, nothing.

    A resumed run continues after line `resume_step`; what was logged beyond it is dropped, since
    those steps are done again.
    """

    def __init__(self, folder: Path | None, *, resume_step: int, tensorboard: bool) -> None:
        self._file = self._board = None
        if folder is None:
            return
        path = folder / "log.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        kept = [line for line in lines if _step(line) <= resume_step]
        write_text(path, "".join(f"{line}\n" for line in kept), overwrite=True)
        self._file = path.open("a", encoding="utf-8")
        self._board = _summary_writer(folder, resume_step) if tensorboard else None

    def write(self, step: int, **values: Any) -> None:  # noqa: ANN401 - any JSON value
        """Log `values` at `step`."""
        if self._file is None:
            return
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Close the files."""
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()


def _step(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError):  # the last line of a killed run may be cut short
        return 2**62


def _summary_writer(folder: Path, resume_step: int) -> Any:  # noqa: ANN401 - an optional package
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "tensorboard: true, but TensorBoard is not installed",
            remedy="pip install 'landmeta[tensorboard]', or set tensorboard: false",
        ) from error
    return SummaryWriter(folder / "tensorboard", purge_step=resume_step + 1)
