"""The interfaces of jobs and executors."""

from collections.abc import Callable, Generator, Iterable
from typing import Protocol, TypeVar, runtime_checkable

import pyarrow as pa

Shard = TypeVar("Shard", contravariant=True)
Log = Callable[[str], None]
Advance = Callable[[float], None]


def silent(line: str) -> None:
    """The default log: drops the line."""


def uncounted(amount: float) -> None:
    """The default progress: ignores it."""


class Job(Protocol[Shard]):
    """Work on one shard: a frozen dataclass of plain values and paths that can be pickled.

    ``run`` opens files and models by their paths, and returns one table. The table depends only on the job and the
    shard, not on the process, the thread or the order. A job may keep opened things in the cache of its process
    (runtime/opened.py), never in a field. It reports progress with ``progress.worked``.
    """

    def run(self, shard: Shard) -> pa.Table: ...


@runtime_checkable
class Opens(Protocol):
    """A job that opens something large. An executor calls ``open`` once in each process, before the first shard.

    ``opening``: the log line meanwhile, for example "loading the encoder".
    """

    @property
    def opening(self) -> str: ...

    def open(self) -> object: ...


@runtime_checkable
class Stops(Protocol):
    """A job whose shards may take long. ``stop`` ends those that run in this process, when nobody waits for them."""

    def stop(self) -> None: ...


class Executor(Protocol):
    """Maps a job over shards. A shard is a small picklable value, such as a range of rows or names of documents."""

    def map(
        self,
        job: Job[Shard],
        shards: Iterable[Shard],
        bytes_each: int = 0,
        log: Log = silent,
        advance: Advance = uncounted,
    ) -> Generator[pa.Table, None, None]:
        """Yield ``job.run(shard)`` in the order of ``shards``.

        ``bytes_each``: memory that one shard takes; no more run at a time than fit into the memory budget.
        ``log`` is told what is being opened. ``advance`` is called with 0 when all is opened, and then with how much
        the job has worked, in the job's own unit.
        """
        ...
