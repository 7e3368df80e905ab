"""Locks between processes. The kernel frees them when their holder ends, however it ends.

``flock`` and not a file that exists or not: a killed process leaves no lock behind. On NFS the kernel of Linux makes it
a lock of byte ranges, which other machines respect.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the lock of ``file``, which is made where it is not there; wait for whoever holds it."""
    with file.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def if_free(file: Path, make: bool = True) -> Iterator[bool]:
    """Yield whether nobody else holds the lock of ``file``; while the block runs, this process does.

    ``make``: make the file where it is not there; otherwise FileNotFoundError.
    """
    with file.open("a" if make else "r") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
