"""Workers of a Dask cluster. They read the raw data where this machine does; none writes."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

from data_prep.parallel import Crew, lost
from landmeta.errors import ConfigError

WAIT = 60
"""Seconds for the scheduler to answer, and for its first worker."""


@contextmanager
def cluster(work: Callable[[Any], Any], address: str) -> Iterator[Crew]:
    """The workers that the scheduler at `address` has now.

    Raises:
        ConfigError: Dask is not installed, or there is no scheduler or no worker.
        ProcessLost: the cluster is gone, or the work has killed several of its workers.
    """
    try:
        distributed: Any = importlib.import_module("distributed")
    except ImportError as error:
        raise ConfigError(
            f"a Dask cluster needs the package distributed ({error})",
            remedy="pip install 'landmeta[dask]'",
        ) from error
    client = _client(distributed, address)
    try:
        with client:
            _wait_for_a_worker(client, address)
            shared = client.scatter(work, broadcast=True, hash=False)
            yield Crew(
                "threads on a Dask cluster",
                sum(client.nthreads().values()),
                lambda item: client.submit(_do, shared, item, pure=False),
            )
    except (CancelledError, distributed.KilledWorker, distributed.comm.CommClosedError) as error:
        raise lost(f"the Dask cluster at {address} could not do the work: {error}") from error


def _client(distributed: Any, address: str) -> Any:  # noqa: ANN401
    try:
        return distributed.Client(address, timeout=WAIT, set_as_default=False)
    except (OSError, ValueError) as error:
        problem = f"no Dask scheduler answers at {address!r}: {error}"
    # A client whose constructor failed ends its thread in __del__, under a lock of the class
    # that starting a thread holds as well: collected at such a moment, it would wait for ever.
    gc.collect()
    raise ConfigError(
        problem, remedy="give the address that 'dask scheduler' prints, such as tcp://host:8786"
    )


def _wait_for_a_worker(client: Any, address: str) -> None:  # noqa: ANN401
    try:
        client.wait_for_workers(1, timeout=WAIT)
    except TimeoutError as error:
        raise ConfigError(
            f"the Dask scheduler at {address!r} has no worker",
            remedy=f"start some: dask worker {address}",
        ) from error


def _do(work: Callable[[Any], Any], item: Any) -> Any:  # noqa: ANN401
    return work(item)
