"""One long piece of work at a time, in a thread of its own, that can be watched and cancelled."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from landmeta.errors import LandmetaError

Stage = Literal["idle", "running", "done", "failed", "cancelled"]
Work = Callable[["Job"], str]


class Cancelled(Exception):
    """The person has changed their mind."""


@dataclass(frozen=True)
class Progress:
    """How far the work is.

    Attributes:
        number: of the job, from 1; 0 before the first.
        stage: what became of it.
        words: what it is doing, or how it ended.
        share: of what it is doing, 0 to 1; None where that is not known.
    """

    number: int = 0
    stage: Stage = "idle"
    words: str = ""
    share: float | None = None


class Job:
    """What the work sees: a place to tell how far it is, which raises once it is cancelled."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def tell(self, words: str, share: float | None = None) -> None:
        """Say what is being done.

        Raises:
            Cancelled: the person has cancelled the job.
        """
        self._jobs._tell(words, share)


class Busy(LandmetaError):
    """Another job is running."""


class Jobs:
    """The place where jobs run, one after another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._progress = Progress()
        self._cancelled = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def progress(self) -> Progress:
        """Of the running job or the last one."""
        with self._lock:
            return self._progress

    def start(self, work: Work) -> Progress:
        """Begin `work`; its return value says how it ended.

        Raises:
            Busy: another job is running.
        """
        with self._lock:
            if self._progress.stage == "running":
                raise Busy(
                    f"still busy: {self._progress.words}",
                    remedy="wait until it is done, or cancel it",
                )
            self._progress = Progress(self._progress.number + 1, "running", "starting")
            self._cancelled.clear()
            self._thread = threading.Thread(target=self._run, args=(work,), name="studio job")
            self._thread.start()
            return self._progress

    def cancel(self) -> None:
        """Ask the running job to stop; it does at the next thing it tells."""
        self._cancelled.set()

    def wait(self) -> None:
        """Return when no job is running."""
        if self._thread is not None:
            self._thread.join()

    def _tell(self, words: str, share: float | None) -> None:
        if self._cancelled.is_set():
            raise Cancelled
        with self._lock:
            self._progress = replace(self._progress, words=words, share=share)

    def _run(self, work: Work) -> None:
        stage: Stage = "done"
        try:
            words = work(Job(self))
        except Cancelled:
            stage, words = "cancelled", "cancelled; nothing has changed"
        except LandmetaError as error:
            stage, words = "failed", str(error)
        except Exception as error:  # a thread's errors would be seen by nobody
            logging.getLogger(__name__).exception("a job of the studio failed")
            stage, words = "failed", f"{type(error).__name__}: {error}"
        with self._lock:
            self._progress = replace(self._progress, stage=stage, words=words, share=None)
