"""One job at a time, watched and cancelled."""

import threading

import pytest

from landmeta.errors import EmptyRegion
from landmeta.studio.jobs import Busy, Jobs


def test_a_job_tells_how_far_it_is_and_how_it_ended():
    jobs, seen, go_on = Jobs(), threading.Event(), threading.Event()

    def work(job):
        job.tell("half way", 0.5)
        seen.set()
        go_on.wait(10)
        return "all well"

    assert jobs.start(work).number == 1
    assert seen.wait(10)
    half = jobs.progress
    assert (half.stage, half.words, half.share) == ("running", "half way", 0.5)
    with pytest.raises(Busy, match="half way"):
        jobs.start(work)
    go_on.set()
    jobs.wait()
    assert (jobs.progress.stage, jobs.progress.words) == ("done", "all well")
    jobs.start(lambda job: "again")
    jobs.wait()
    assert jobs.progress.number == 2


def test_a_cancelled_job_stops_at_the_next_thing_it_tells():
    jobs, told, done = Jobs(), threading.Event(), []

    def work(job):
        told.wait(10)
        job.tell("more")
        done.append("what comes after")
        return ""

    jobs.start(work)
    jobs.cancel()
    told.set()
    jobs.wait()
    assert jobs.progress.stage == "cancelled"
    assert not done
    jobs.start(lambda job: "not cancelled")
    jobs.wait()
    assert jobs.progress.stage == "done"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (EmptyRegion("nothing is drawn", remedy="draw"), "nothing is drawn\nRemedy: draw"),
        (ZeroDivisionError("oh"), "ZeroDivisionError: oh"),
    ],
)
def test_what_goes_wrong_is_told(error, words):
    def work(job):
        raise error

    jobs = Jobs()
    jobs.start(work)
    jobs.wait()
    assert (jobs.progress.stage, jobs.progress.words) == ("failed", words)
