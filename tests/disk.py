"""A disk that fills."""

import resource
from contextlib import contextmanager


@contextmanager
def no_file_above(size: int):
    """As on a disk that fills: no file of this process can grow beyond `size` bytes."""
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))
