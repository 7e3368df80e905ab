"""Runs jobs on a Ray cluster: that of ``GRIP_RAY_ADDRESS``, or one that is started on this machine.

A worker is an actor: a process that runs one shard at a time, on one core or on a share of a GPU. It loads the model of
a job once. The driver hands out shards, and yields their tables in the order of the shards. Each shard depends on the
job and itself only, so a shard whose worker was lost is run again by another, with the same result.

What a worker does is in remote.py. Starting and ending workers is in pool.py.
"""

import os
import pickle
import time
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import pyarrow as pa

from grip_assets.errors import GripError, Unfinished
from grip_assets.runtime import device, memory, opened
from grip_assets.runtime.executors import pool as pools
from grip_assets.runtime.executors.base import Advance, Job, Log, Opens, Shard, Stops, silent, uncounted
from grip_assets.runtime.executors.pool import Hired, Pool
from grip_assets.runtime.executors.remote import Answer, Failure, News, as_table, not_here
from grip_assets.runtime.notices import warn_once
from grip_assets.runtime.progress import waiting

TRIES = 3  # workers that a shard may end, before it is an error
AHEAD = 2  # shards that a worker has at a time if they are quick: one runs, one comes next
QUICK = 1.0  # seconds that a quick shard takes
LONGEST_PATH = 4096
ROOM = 4  # shards for each worker that are held at a time, those included that wait for their turn
ALONE = 30.0  # seconds without a worker, after which the log says so
ASK = 1.0  # seconds between two questions for progress


@dataclass(frozen=True)
class Ray:
    """``address``: that of a cluster; None: a cluster of this machine, which ends with this process."""

    address: str | None = None

    def map(
        self,
        job: Job[Shard],
        shards: Iterable[Shard],
        bytes_each: int = 0,
        log: Log = silent,
        advance: Advance = uncounted,
    ) -> Generator[pa.Table, None, None]:
        pools.connect(self.address)
        mapping = Mapping(pools.pool_for(wants_gpu(job)), job, iter(shards), bytes_each, log, advance)
        with opened.while_used():  # what the caller has opened is dropped afterwards, as with the local executor
            mapping.pool.join(mapping)
            try:
                yield from mapping.tables()
            finally:
                mapping.pool.leave(mapping)


class Mapping:
    """One call of ``map``.

    ``held``: shards that were taken and have no result yet. ``todo``: those of them that no worker has. ``done``:
    results that wait for their turn. ``counted``: the progress that a shard has reported.
    """

    def __init__(
        self, pool: Pool, job: Job[Any], shards: Iterator[Any], bytes_each: int, log: Log, advance: Advance
    ) -> None:
        self.pool, self.job, self.shards, self.bytes_each = pool, job, shards, bytes_each
        self.log, self.advance = log, advance
        self.number, self.stops = next(pools.NUMBERS), isinstance(job, Stops)
        self.events: SimpleQueue[Any] = SimpleQueue()
        self.sent_job, self.paths = pools.ray_module().put(job), tuple(paths_of(job))
        self.begun: set[Hired] = set()
        self.held: dict[int, Any] = {}
        self.todo: list[int] = []
        self.done: dict[int, Answer] = {}
        self.tries: Counter[int] = Counter()
        self.counted: defaultdict[int, float] = defaultdict(float)
        self.taken, self.turn, self.ended, self.is_open = 0, 0, False, False
        self.sent: dict[int, float] = {}
        self.quick, self.asked, self.alone = False, time.monotonic(), time.monotonic()

    def tables(self) -> Iterator[pa.Table]:
        """The tables in the order of the shards."""
        if not self._take():
            self.advance(0)
            return
        self._open()
        while True:
            self._hand_out()
            if self.turn in self.done:
                answer = self.done.pop(self.turn)
                self.turn += 1
                if answer.failure:
                    raise self._error(answer.failure)
                assert answer.table is not None
                yield as_table(answer.table)
            elif self.ended and not self.held:
                return
            else:
                self._wait()

    def _open(self) -> None:
        """Wait until a worker has opened what the job needs. Meanwhile the log says so."""
        what = self.job.opening if isinstance(self.job, Opens) else "starting workers on the cluster"
        if isinstance(self.job, Opens) or not self.pool.workers:
            with waiting(what, self.log):
                while not self.is_open:
                    self._hand_out()
                    self._wait()
        self.advance(0)

    def _take(self) -> bool:
        """Take the next shard, if there is one and there is room for it."""
        room = ROOM * self.pool.slots()
        if self.ended or len(self.held) + len(self.done) >= room:
            return False
        try:
            self.held[self.taken] = next(self.shards)
        except StopIteration:
            self.ended = True
            return False
        self.todo.append(self.taken)
        self.taken += 1
        return True

    def _hand_out(self) -> None:
        """Give each worker something to do, as far as there are shards and memory."""
        while True:
            while self.todo and (worker := self._free()):
                self._send(worker, self.todo.pop(0))
            if self.todo:
                self.pool.grow(len(self.todo))
            if not self._take():
                return

    def _free(self) -> Hired | None:
        """The worker with the fewest shards, if it may have one more."""
        most = AHEAD if self.quick else 1
        with self.pool.lock:
            found = [w for w in self.pool.workers if w.about and len(w.queue) < most and self._fits(w)]
            return min(found, key=lambda worker: len(worker.queue), default=None)

    def _fits(self, worker: Hired) -> bool:
        if not self.bytes_each or worker.about is None:
            return True
        most = max(worker.about.limit // 2 // self.bytes_each, 1)
        return self.pool.machine_load(worker.about.machine, self.number) < most

    def _send(self, worker: Hired, index: int) -> None:
        shard = self.held[index]
        if worker not in self.begun:
            paths = (*self.paths, *paths_of(shard, ("path",)))
            self.begun.add(worker)
            begun = worker.actor.begin.remote(self.number, self.sent_job, paths)
            begun.future().add_done_callback(partial(self._has_begun, worker))
        with self.pool.lock:
            worker.queue.append((self.number, index))
        self.sent[index] = time.monotonic()
        came = worker.actor.run.remote(self.number, index, shard)
        came.future().add_done_callback(partial(self._came, worker, index))

    def _has_begun(self, worker: Hired, future: Any) -> None:
        """Called by a thread of Ray."""
        self.events.put(("begun", worker, future))

    def _came(self, worker: Hired, index: int, future: Any) -> None:
        """Called by a thread of Ray. The first shard of the queue is the one that ran."""
        with self.pool.lock:
            if future.exception() is not None and worker.suspect is None:
                worker.suspect = worker.queue[0]
            worker.queue.remove((self.number, index))
        self.events.put(("came", worker, index, future))

    def _wait(self) -> None:
        """Wait for the next event. The wait is Python's own, so that a signal's handler runs at once."""
        self._ask()
        try:
            kind, *more = self.events.get(timeout=ASK)
        except Empty:
            self._say_if_there_is_no_worker()
            return
        if kind == "begun":
            self._see_begun(*more)
        elif kind == "came":
            self._see_result(*more)
        elif kind == "news":
            self._see_news(*more)
        elif kind == "broken":
            raise more[0]

    def _say_if_there_is_no_worker(self) -> None:
        if any(worker.about for worker in self.pool.workers):
            self.alone = time.monotonic()
        elif time.monotonic() - self.alone >= ALONE:
            self.alone = time.monotonic()
            self.log("waiting for a worker: the cluster has no free core, or no node")

    def _see_begun(self, worker: Hired, future: Any) -> None:
        if future.exception() is not None:
            self._lost(worker, future.exception())
            return
        self._tell(future.result().news)
        if failure := future.result().failure:
            raise self._error(failure)
        self.is_open = True

    def _see_result(self, worker: Hired, index: int, future: Any) -> None:
        error = future.exception()
        if error is None:
            self.done[index] = future.result()
            self._tell(self.done[index].news)
            del self.held[index]
            self.quick = time.monotonic() - self.sent.pop(index) < QUICK
            return
        self._lost(worker, error)
        if worker.suspect == (self.number, index) and not worker.ended:
            self.tries[index] += 1
            if self.tries[index] >= TRIES:
                raise self._always_ends_its_worker(index, error)
        self.advance(-self.counted.pop(index, 0.0))
        self.todo = sorted([*self.todo, index])

    def _lost(self, worker: Hired, error: BaseException) -> None:
        """Forget a worker that does not answer. Any other error is a fault of ours, and raised."""
        errors = pools.ray_module().exceptions
        if isinstance(error, errors.RayTaskError) or not isinstance(error, errors.RayError):
            raise error
        self.begun.discard(worker)
        if self.pool.lose(worker) and worker.about:
            self.log(f"a worker on {worker.about.machine} was lost, and its shards are run again")

    def _always_ends_its_worker(self, index: int, error: BaseException) -> GripError:
        why = "there was no memory left" if "memory" in str(error).lower() else "its process ended, or its machine"
        shown = ascii(self.held[index])
        shown = shown if len(shown) <= 200 else f"{shown[:200]}..."
        return Unfinished(
            f"The worker that ran shard {index} of {type(self.job).__name__} was lost {TRIES} times ({why}). The shard:"
            f" {shown}. What is finished is kept. If it is memory, use larger machines, or fewer workers"
            " (GRIP_WORKERS)."
        )

    def _ask(self) -> None:
        """Ask the workers of this mapping for their news, now and then."""
        if time.monotonic() - self.asked < ASK:
            return
        self.asked = time.monotonic()
        self.pool.slots()
        for worker in self.begun:
            if not worker.asked and not worker.lost:
                worker.asked = True
                said = worker.actor.said.options(concurrency_group="control").remote()
                said.future().add_done_callback(partial(self._said, worker))

    def _said(self, worker: Hired, future: Any) -> None:
        """Called by a thread of Ray."""
        worker.asked = False
        self.events.put(("news", future))

    def _see_news(self, future: Any) -> None:
        if future.exception() is None:  # the result of a shard says whether its worker is lost
            self._tell(future.result())

    def _tell(self, news: News) -> None:
        """Pass on what a worker has said. It may be about the shards of another mapping."""
        for (number, index), amount in news.worked.items():
            if mapping := self.pool.mappings.get(number):
                mapping.counted[index] += amount
                mapping.advance(amount)
        for line in news.warnings:
            warn_once(line)
        memory.ran_out.extend(news.ran_out)
        for used in news.devices:
            device.note(used)

    def _error(self, failure: Failure) -> BaseException:
        """The exception of a worker, as it would have been raised here."""
        if failure.missing and Path(failure.missing).exists():
            return Unfinished(not_here(failure.missing, failure.machine))
        error = pickle.loads(failure.error)
        error.add_note(f"In a worker:\n{failure.trace}")
        return error


def wants_gpu(job: Job[Any]) -> bool:
    """Whether the job can use a GPU: it opens a model, or its settings name the device."""
    return isinstance(job, Opens) or any(value == device.CUDA for name, value in _values(job) if name == "device")


def paths_of(value: Any, names: tuple[str, ...] = ()) -> Iterator[str]:
    """The absolute paths in the fields of a job or a shard that exist on this machine; of a glob its folder.

    ``names``: look only into fields of these names. Of a shard of many items only the first is looked at.
    """
    for name, text in _values(value[:1] if isinstance(value, tuple) else value):
        if not isinstance(text, str | Path) or (names and name not in names):
            continue
        fixed, is_glob, _ = str(text).partition("*")
        path = os.path.dirname(fixed) if is_glob else fixed  # noqa: PTH120 (a text is no path until it is known)
        if path[:1] == "/" and len(path) < LONGEST_PATH and "\0" not in path and os.path.exists(path):  # noqa: PTH110
            yield path


def _values(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The plain values in the fields of a dataclass, with the names of their fields. Tuples are looked into."""
    if is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _values(getattr(value, field.name), field.name)
    elif isinstance(value, tuple):
        for item in value[:16]:
            yield from _values(item, name)
    else:
        yield name, value
