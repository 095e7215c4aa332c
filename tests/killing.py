"""Preparing that is killed: `python -m tests.killing ROOT OUT SEED`.

Again and again a task set is made at OUT by processes that are killed with SIGKILL, each at a
moment or at a step that is drawn at random, until one comes to its end; a step is whenever it
touches the file system to write. Each set is moved to OUT0, OUT1, …. Prints what it did as JSON.
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import data_prep.prepare as preparing
from data_prep.sen12ms import sen12ms

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate"}


def start(root: Path, out: Path, last_step: int | None) -> int:
    """Begin in a process of its own, which kills itself at a step; its id."""
    if child := os.fork():
        return child
    steps = 0

    def count(event, arguments):
        nonlocal steps
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE
        if (event in CHANGES or writes) and str(out.parent) in str(arguments[0]):
            steps += 1
            if steps == last_step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    try:
        preparing.prepare(sen12ms(root, tile=8), out, workers=2, quiet=True)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def lines(out: Path) -> int:
    """Of the journal."""
    journal = out.with_name(f".{out.name}.preparing") / "journal.jsonl"
    return len(journal.read_bytes().splitlines()) if journal.exists() else 0


def main() -> None:
    """Make several."""
    root, out, rng = Path(sys.argv[1]), Path(sys.argv[2]), random.Random(int(sys.argv[3]))
    preparing.SAFE_EVERY = 0.0
    found = {"killed": 0, "taken up": 0, "made": 0}
    began = time.monotonic()
    while found["made"] < 3 or time.monotonic() - began < 8:
        patience = 0.05
        while not out.exists():
            found["taken up"] += lines(out) > 0
            by_step = rng.random() < 0.7
            child = start(root, out, rng.randrange(1, 150) if by_step else None)
            if not by_step:
                time.sleep(rng.uniform(0, patience))
                os.kill(child, signal.SIGKILL)
                patience *= 2
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            if code not in (0, -signal.SIGKILL):
                sys.exit(code)
            found["killed"] += code != 0
        out.rename(out.with_name(f"{out.name}{found['made']}"))
        found["made"] += 1
    print(json.dumps(found))


if __name__ == "__main__":
    main()
