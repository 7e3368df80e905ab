"""A job together with its shards and the words for its progress."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from grip_assets.runtime.executors.base import Executor, Job, Log
from grip_assets.runtime.progress import Progress


@dataclass(frozen=True)
class ToDo:
    """``label``, ``total`` and ``unit``: see ``Progress``. The job counts in this unit.

    ``bytes_each``: memory that one shard takes; 0 if that is too little to matter.
    """

    job: Job[Any]
    shards: Iterable[Any]
    label: str
    total: float
    unit: str
    bytes_each: int = 0

    def tables(self, executor: Executor, log: Log) -> Iterator[pa.Table]:
        """The tables in the order of the shards, as they come."""
        progress: list[Progress] = []

        def advance(amount: float) -> None:
            if not progress:  # the clock starts when everything is opened
                progress.append(Progress(self.label, self.total, self.unit, log))
            progress[0].advance(amount)

        yield from executor.map(self.job, self.shards, self.bytes_each, log, advance)
        if progress:
            progress[0].finish()
