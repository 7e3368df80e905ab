"""Memory limits, and how a computation retries with smaller blocks after running out of memory.

Blocks that fit a processor's cache are of fixed size. What grows with the machine or with the pool (shards in flight,
the sample that centroids are fitted on, one cluster's vectors, DuckDB) keeps within the limit or is refused by name.
"""

import os
from collections.abc import Callable
from pathlib import Path

from grip_assets.errors import GripError
from grip_assets.runtime import variables

CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")

ran_out: list[str] = []
"""What ran out of memory and went on, since the stage that is being made began."""


def limit_bytes() -> int:
    """Memory that a computation may use, in bytes: ``GRIP_MEMORY`` (``4GB``, ``80%``), by default a half of the
    machine's or of the container's."""
    stated = variables.value("GRIP_MEMORY") or 0.5
    return stated if isinstance(stated, int) else int(stated * _machine())


def _machine() -> int:
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in map(Path, CGROUPS):
        text = file.read_text(encoding="utf-8").strip() if file.exists() else ""
        limits += [int(text)] if text.isdigit() else []
    return min(limits)


def need(n_bytes: int, what: str, remedy: str) -> None:
    """GripError where ``what`` does not fit the budget."""
    if n_bytes > limit_bytes():
        raise GripError(
            f"{what} takes {n_bytes / 2**30:,.1f} GB, and the memory budget is {limit_bytes() / 2**30:,.1f} GB."
            f" {remedy}, or raise GRIP_MEMORY."
        )


def in_blocks(n: int, size: int, work: Callable[[int, int], None], what: str) -> None:
    """``work(start, stop)`` over n items in blocks of ``size``; a block that runs out of memory is halved, and so are
    those after it. What one item alone has no memory for is raised. ``work`` must bear being done again."""
    start = 0
    while start < n:
        stop = min(start + size, n)
        try:
            work(start, stop)
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error) or stop - start == 1:
                raise
            size = (stop - start) // 2
            ran_out.append(f"{what}: out of memory, went on with blocks of {size:,}")
        else:
            start = stop


def _out_of_memory(error: Exception) -> bool:
    """numpy raises MemoryError; torch a RuntimeError that is to be known by its name or words."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in str(error)
    )
