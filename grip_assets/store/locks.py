"""Locks between processes. The kernel frees a lock when its holder ends, even if that is killed.

That is why ``flock`` is used, and not the existence of a file. On NFS, Linux makes it a lock of byte ranges, which
other machines respect.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Wait for the lock of ``file``, and hold it while the block runs. The file is made if it is missing."""
    with file.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def if_free(file: Path, make: bool = True) -> Iterator[bool]:
    """Take the lock of ``file`` if nobody holds it, and hold it while the block runs. Yields whether it was free.

    ``make``: make a missing file; otherwise FileNotFoundError.
    """
    with file.open("a" if make else "r") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextmanager
def shared(file: Path) -> Iterator[None]:
    """Hold the lock of ``file`` together with others that share it. Who waits for it alone waits for all of them."""
    with file.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield
