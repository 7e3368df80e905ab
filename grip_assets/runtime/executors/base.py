"""What a job and an executor are."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

import pyarrow as pa

Shard = TypeVar("Shard", contravariant=True)


class Job(Protocol[Shard]):
    """Work on one shard: a frozen dataclass of plain values and paths, which survives ``pickle``.

    ``run`` opens what it needs (files, models) by the paths it holds, and returns one table. The table depends on the
    job and the shard only: not on the process, the thread or the order. A job may keep what it has opened in a cache
    of its process, and never in a field.
    """

    def run(self, shard: Shard) -> pa.Table: ...


class Executor(Protocol):
    """Maps a job over shards. A shard is a small picklable value: rows from and to, or the names of documents."""

    def map(self, job: Job[Shard], shards: Iterable[Shard], bytes_each: int = 0) -> Iterator[pa.Table]:
        """Yield ``job.run(shard)`` in the order of ``shards``.

        ``bytes_each``: memory that one shard takes; no more run at a time than fit into the memory budget.
        """
        ...
