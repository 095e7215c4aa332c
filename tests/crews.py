"""Work for processes: what they are given must be in a module that they can import."""

import os
import signal
import sys
import time
from contextlib import closing
from pathlib import Path

from data_prep.parallel import processes, results
from landmeta.errors import UnknownClass


def square(number):
    time.sleep(0.002 * (number % 3))  # the clock's order is another
    return os.getpid(), number**2


def refuse_seven(number):
    if number == 7:
        raise UnknownClass("holds 7", remedy="count otherwise", path="numbers.txt")
    return number


def die_at_seven(number):
    if number == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def tell_and_wait(folder):
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600)


if __name__ == "__main__":  # a parent to be killed
    with (
        processes(tell_and_wait, 2) as crew,
        closing(results(crew, [sys.argv[1]] * 2)) as waiting,
    ):
        list(waiting)
