"""Jobs on the threads of this process. Their kernels (torch, numba, tokenizers, hashlib) release the interpreter."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from grip_assets.runtime import threads
from grip_assets.runtime.executors.base import Job, Shard


@dataclass(frozen=True)
class Local:
    """``workers``: threads; None: the cores that this process may use (``GRIP_WORKERS``)."""

    workers: int | None = None

    def map(self, job: Job[Shard], shards: Iterable[Shard], bytes_each: int = 0) -> Iterator[pa.Table]:
        yield from threads.each(job.run, shards, self.workers, bytes_each)
