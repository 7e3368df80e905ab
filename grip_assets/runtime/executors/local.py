"""Runs jobs on the threads of this process. Their kernels (torch, numba, tokenizers, hashlib) release the GIL."""

from collections.abc import Generator, Iterable
from dataclasses import dataclass

import pyarrow as pa

from grip_assets.runtime import opened, threads
from grip_assets.runtime.executors.base import Advance, Job, Log, Opens, Shard, Stops, silent, uncounted
from grip_assets.runtime.progress import reported_to, waiting


@dataclass(frozen=True)
class Local:
    """``workers``: number of threads; None: as many as the cores that this process may use (or ``GRIP_WORKERS``)."""

    workers: int | None = None

    def map(
        self,
        job: Job[Shard],
        shards: Iterable[Shard],
        bytes_each: int = 0,
        log: Log = silent,
        advance: Advance = uncounted,
    ) -> Generator[pa.Table, None, None]:
        def run(shard: Shard) -> pa.Table:
            with reported_to(advance):
                return job.run(shard)

        with opened.while_used():
            if isinstance(job, Opens):
                with waiting(job.opening, log):
                    job.open()
            advance(0)
            tables = threads.each(run, shards, self.workers, bytes_each)
            try:
                for table in tables:  # noqa: UP028 (`yield from` would wait for the threads before the job is stopped)
                    yield table
            except BaseException:
                if isinstance(job, Stops):
                    job.stop()
                raise
            finally:
                tables.close()
