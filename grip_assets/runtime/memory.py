"""Memory limits, and how a computation retries with smaller blocks after running out of memory.

Blocks that fit a processor's cache have a fixed size. Memory that grows with the machine or with the pool (shards in
flight, the sample for a fit, one cluster's vectors, DuckDB) stays within the limit, or ``need`` refuses it by name.
"""

import os
from collections.abc import Callable
from pathlib import Path

from grip_assets.errors import GripError
from grip_assets.runtime import variables

CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")

ran_out: list[str] = []
"""Sentences about work that ran out of memory and went on. The engine clears it before each stage."""


def limit_bytes() -> int:
    """Memory that a computation may use, in bytes: ``GRIP_MEMORY`` (``4GB``, ``80%``), by default half of the memory of
    the machine or container."""
    stated = variables.value("GRIP_MEMORY") or 0.5
    return stated if isinstance(stated, int) else int(stated * _machine())


def _machine() -> int:
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in map(Path, CGROUPS):
        text = file.read_text(encoding="utf-8").strip() if file.exists() else ""
        limits += [int(text)] if text.isdigit() else []
    return min(limits)


def need(n_bytes: int, what: str, remedy: str) -> None:
    """GripError if ``n_bytes`` do not fit into the memory limit. ``what`` and ``remedy`` are parts of its sentence."""
    if n_bytes > limit_bytes():
        raise GripError(
            f"{what} takes {n_bytes / 2**30:,.1f} GB, and the memory limit is {limit_bytes() / 2**30:,.1f} GB."
            f" {remedy}, or raise GRIP_MEMORY."
        )


def in_blocks(n: int, size: int, work: Callable[[int, int], None], what: str) -> None:
    """Call ``work(start, stop)`` over n items in blocks of ``size``.

    If a block runs out of memory, it and all later ones are halved. If a block of one item does, the error is raised.
    ``work`` must be safe to repeat.
    """
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
    """Whether memory ran out. numpy raises MemoryError; torch's RuntimeError is recognised by its name or words."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in str(error)
    )
