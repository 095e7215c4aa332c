"""Trainings run by several processes: `torchrun -m tests.together CONFIG.json …`.

With `LANDMETA_TEST_KILL=RANK` that process is killed in step 6 of its first start.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import torch

import landmeta.train as training
from landmeta import distributed
from landmeta.config import TrainConfig

ROOT = Path(__file__).parents[1]


def torchrun(*words: object, processes: int = 2, **environment: str) -> subprocess.CompletedProcess:
    """Run `torchrun` with these words and wait for its end."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(processes), *map(str, words)]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def _die_in_step_six() -> None:
    step = training._Run._outer_step

    def killed(run, work):
        if run.step == 5:  # after the state of step 4 was saved
            os.kill(os.getpid(), signal.SIGKILL)
        return step(run, work)

    training._Run._outer_step = killed


def main() -> None:
    """Train each configuration."""
    if os.environ.get("LANDMETA_TEST_KILL") == os.environ["RANK"] and not distributed.restarted():
        _die_in_step_six()
    with distributed.together(torch.device("cpu")):
        for path in sys.argv[1:]:
            config = TrainConfig.model_validate_json(Path(path).read_text(encoding="utf-8"))
            training.train(config, quiet=True)
    names = [(task / "comm").read_text() for task in Path("/proc/self/task").glob("*")]
    assert not [name for name in names if "gloo" in name], "the group's threads outlive it"


if __name__ == "__main__":
    main()
