"""Mapping on a Dask cluster: a chunk of a map is a task; the results are kept where it was asked.

Workers open the rasters and the model by their paths, which therefore have to lead to the same
files on every machine.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from threading import Lock
from typing import Any

import landmeta
from landmeta.errors import ConfigError, LandmetaError, ProcessLost
from landmeta.mapping import Classifier, Job, mapped
from landmeta.unfinished import chunk_in_memory

AHEAD = 2
"""Tasks sent off for each thread of the cluster: enough that none waits for work, and so few that
their results find room here."""

_ONE_AT_A_TIME = Lock()
"""Networks lend their parameters to a call, so that two threads cannot use one at once."""


def map_on_cluster(
    address: str,
    classifier: Classifier,
    job: Job,
    chunks: Sequence[int],
    keep: Callable[[int, bytes], None],
) -> None:
    """Map chunks on a cluster.

    Args:
        address: of its scheduler, such as tcp://10.0.0.1:8786.
        classifier: what to map with; has to be picklable.
        job: what to map.
        chunks: which.
        keep: is given the number and the bytes of each, in the order in which they come.

    Raises:
        ConfigError: Dask is not installed, or there is no such cluster, or it runs another version
            of landmeta.
        ProcessLost: the cluster was lost.
        LandmetaError: what a worker found wrong, as `landmeta.predict.predict`.
    """
    with _client(address) as client:
        from distributed import as_completed

        content = pickle.dumps(classifier)
        waiting = iter(chunks)
        threads = sum(client.nthreads().values())

        def send(number: int) -> Any:  # noqa: ANN401 - a future of Dask's, which has no types
            return client.submit(_chunk, content, job, number, pure=False)

        try:
            coming = as_completed([send(n) for n in islice(waiting, AHEAD * max(1, threads))])
            for future in coming:
                keep(*future.result())
                for number in islice(waiting, 1):
                    coming.add(send(number))
        except (LandmetaError, OSError):
            raise
        except Exception as error:
            raise ProcessLost(
                f"the Dask cluster at {address} could not go on: {type(error).__name__}: {error}",
                remedy="see the workers' logs, then run the same command: what is done is kept",
            ) from error


@contextmanager
def _client(address: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError as error:
        raise ConfigError(
            f"--dask {address}, but Dask is not installed",
            remedy="pip install 'landmeta[dask]'",
        ) from error
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"there is no Dask scheduler at {address}: {error}",
            remedy="give the address that 'dask scheduler' prints, such as tcp://10.0.0.1:8786",
        ) from error
    with client:
        others = {v for v in client.run(_version).values() if v != landmeta.__version__}
        if others:
            raise ConfigError(
                f"the Dask workers at {address} run landmeta {', '.join(sorted(others))}, this is "
                f"{landmeta.__version__}",
                remedy="install the same version everywhere",
            )
        yield client


def _version() -> str:
    return landmeta.__version__


def _chunk(content: bytes, job: Job, number: int) -> tuple[int, bytes]:
    """On a worker: the number of a chunk and its bytes."""
    with _ONE_AT_A_TIME:
        classifier = _unpacked(content)
        with job.open(classifier) as image:
            rows = mapped(classifier, image, job, range(number, number + 1))
            return number, chunk_in_memory(make() for _, make in rows)


@lru_cache(maxsize=1)
def _unpacked(content: bytes) -> Classifier:
    """The classifier, unpacked once for all tasks of a worker."""
    classifier: Classifier = pickle.loads(content)
    return classifier
