"""Maps functions that share memory with their caller over the threads of this process.

Work that may go to another process is a job of an executor: see runtime/executors.

Each shard runs on one thread, so a result never depends on the number of workers. Kernels of torch and BLAS that split
a product over threads may sum in another order.
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
    """Number of cores that this process may use, or ``GRIP_WORKERS``. It is in no version."""
    return variables.value("GRIP_WORKERS") or len(os.sched_getaffinity(0))


def each(
    function: Callable[[Shard], Result],
    shards: Iterable[Shard],
    workers: int | None = None,
    bytes_each: int = 0,
) -> Generator[Result, None, None]:
    """Yield ``function(shard)`` in the order of ``shards``.

    At most ``2 * workers`` shards are in flight, and no more than fit into half of the memory limit at ``bytes_each``.
    ``function`` must release the GIL in its heavy part (torch, numba, tokenizers and hashlib do). The first exception
    is raised when its shard's turn comes; shards that were not started are then dropped.
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
