"""Waiting and computing are told apart."""

import time

import pytest

from landmeta.pace import Pace


def _slowly(count, seconds):
    for i in range(count):
        time.sleep(seconds)
        yield i


def test_the_share_of_waiting():
    pace = Pace()
    for _ in pace.waiting_for(_slowly(3, 0.06)):
        with pace.computing():
            time.sleep(0.02)
    assert pace.share() == pytest.approx(0.75, abs=0.15)
    assert pace.share() == 0.0  # counted anew


def test_all_items_come():
    assert list(Pace().waiting_for(range(5))) == [0, 1, 2, 3, 4]
