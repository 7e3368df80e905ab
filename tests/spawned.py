"""An executor for tests: each shard of work is pickled into a process that was started anew, and its table comes back as
bytes. What a job holds in a field, or expects of its caller's process, is missing there.
"""

import multiprocessing
import pickle
from collections.abc import Generator, Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pyarrow as pa

from grip_assets.runtime import opened
from grip_assets.runtime.executors import Advance, Job, Log, silent, uncounted
from grip_assets.runtime.progress import reported_to


def table_bytes(table: pa.Table) -> bytes:
    """The table as a stream of Arrow, one batch, so that equal tables are equal bytes."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        for batch in table.combine_chunks().to_batches():
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def run_pickled(job_and_shard: bytes) -> tuple[bytes, float]:
    """What happens in the other process: the table as bytes, and how much the job said it worked."""
    job, shard = pickle.loads(job_and_shard)
    amounts: list[float] = []
    with opened.while_used(), reported_to(amounts.append):
        return table_bytes(job.run(shard)), sum(amounts)


class Spawned:
    """Processes by ``spawn``, never ``fork``: nothing of this one is there but the files."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.processes = ProcessPoolExecutor(1, mp_context=context)
        self.jobs: set[str] = set()  # names of the kinds of jobs that ran

    def map(
        self,
        job: Job[Any],
        shards: Iterable[Any],
        bytes_each: int = 0,
        log: Log = silent,
        advance: Advance = uncounted,
    ) -> Generator[pa.Table, None, None]:
        self.jobs.add(type(job).__name__)
        advance(0)
        for shard in shards:
            table, amount = self.processes.submit(run_pickled, pickle.dumps((job, shard))).result()
            advance(amount)
            yield pa.ipc.open_stream(table).read_all()

    def close(self) -> None:
        self.processes.shutdown()
