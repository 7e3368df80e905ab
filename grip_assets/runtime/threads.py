"""Kernels over shared memory, on the threads of this process.

Work that may go to another process is a job of an executor: runtime/executors.

The unit of work is one shard on one thread, so a result never depends on the number of workers: torch and
BLAS kernels that split one product over threads may sum in another order, kernels on one thread do not.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from grip_assets.runtime import variables
from grip_assets.runtime.memory import limit_bytes

Shard = TypeVar("Shard")
Result = TypeVar("Result")


def default_workers() -> int:
    """Cores this process may use; ``GRIP_WORKERS`` overrides it. Never part of a version."""
    return variables.value("GRIP_WORKERS") or len(os.sched_getaffinity(0))


def each(
    function: Callable[[Shard], Result],
    shards: Iterable[Shard],
    workers: int | None = None,
    bytes_each: int = 0,
) -> Generator[Result, None, None]:
    """Yield ``function(shard)`` in the order of ``shards``, with at most ``2 * workers`` shards in flight, and no more
    than fit a half of the memory budget at ``bytes_each``.

    ``function`` must release the GIL in its heavy part (torch, numba, tokenizers and hashlib do). The first
    exception is raised at its shard's turn; shards not yet started are then dropped.
    """
    workers = workers or default_workers()
    in_flight = 2 * workers
    if bytes_each:
        in_flight = max(min(in_flight, limit_bytes() // 2 // bytes_each), 1)
    with ThreadPoolExecutor(workers) as pool:
        pending: deque = deque()
        try:
            for shard in shards:
                pending.append(pool.submit(function, shard))
                if len(pending) >= in_flight:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
