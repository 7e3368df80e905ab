"""What runs in a worker of a cluster: a process that runs one shard at a time and keeps what its jobs have opened.

This module knows no Ray. The driver's side is in ray.py and pool.py.
"""

import hashlib
import logging
import os
import pickle
import re
import socket
import threading
import traceback
from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

import pyarrow as pa

from grip_assets.errors import Unfinished
from grip_assets.runtime import device, memory, opened
from grip_assets.runtime.elsewhere import is_here
from grip_assets.runtime.executors.base import Job, Opens, Stops
from grip_assets.runtime.folders import PACKAGE
from grip_assets.runtime.progress import reported_to

OURS = "grip-assets"

Place = tuple[int, int]
"""A shard of work: the number of its call of ``map``, and its number in it."""


@dataclass(frozen=True)
class Given:
    """What a worker is started with. ``variables``: of the environment. ``folder``: the driver's working folder.

    ``gpu``: whether the worker may see GPUs.
    """

    variables: Mapping[str, str]
    folder: str
    gpu: bool


@dataclass(frozen=True)
class About:
    """What the driver must know of a worker. ``limit``: bytes that GRIP may use on its machine."""

    machine: str
    process: int
    limit: int
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Failure:
    """An exception of a worker, pickled. ``trace``: its traceback. ``missing``: the file that was not there, or "".

    ``machine``: where it was raised.
    """

    error: bytes
    trace: str
    missing: str
    machine: str


@dataclass
class News:
    """What a worker has to say since it was last asked.

    ``worked``: amounts of progress. ``warnings``: for the log. ``ran_out``: see memory.py. ``devices``: see device.py.
    """

    worked: dict[Place, float] = field(default_factory=lambda: defaultdict(float))
    warnings: list[str] = field(default_factory=list)
    ran_out: list[str] = field(default_factory=list)
    devices: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Answer:
    """What comes back from a worker. ``table``: as a stream of Arrow; None if there is none."""

    table: bytes | None
    failure: Failure | None
    news: News


@cache
def versions() -> dict[str, str]:
    """Versions of the packages that GRIP may use and that are installed. Ours is a digest of the code, since a checkout
    may have been changed."""
    found = {}
    for name in _required():
        with suppress(PackageNotFoundError):
            found[name] = version(name).partition("+")[0]  # torch 2.13.0+cpu and 2.13.0+cu126 may work together
    code = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        code.update(file.relative_to(PACKAGE).as_posix().encode() + b"\0" + file.read_bytes())
    return found | {OURS: f"code {code.hexdigest()[:12]}"}


def _required() -> list[str]:
    try:
        return sorted({re.split(r"[^\w.-]", stated)[0] for stated in requires(OURS) or []} - {OURS})
    except PackageNotFoundError:  # a checkout that is not installed
        return []


class Worker:
    """The actor. ``run`` and ``begin`` wait for each other. ``said`` and ``stop`` may be called meanwhile."""

    def __init__(self, given: Given):
        os.environ.update(given.variables)
        if not given.gpu:
            os.environ |= {"CUDA_VISIBLE_DEVICES": "", "GRIP_DEVICE": device.CPU}
        with suppress(OSError):
            os.chdir(given.folder)
        self.jobs: dict[int, tuple[Job[Any], ExitStack]] = {}
        self.lock, self.news = threading.Lock(), News()
        logging.getLogger("grip_assets").addHandler(_Warnings(self._warn))
        self.until_the_end = ExitStack()
        self.devices = self.until_the_end.enter_context(device.watched())

    def about(self) -> About:
        return About(socket.gethostname(), os.getpid(), memory.limit_bytes(), versions())

    def begin(self, number: int, job: Job[Any], paths: tuple[str, ...]) -> Answer:
        """Open what the job needs. ``paths``: files and folders of the driver's machine, which must be here too."""
        stack = ExitStack()
        stack.enter_context(opened.while_used())
        self.jobs[number] = job, stack
        try:
            for path in paths:
                if not is_here(path):
                    raise Unfinished(not_here(path, socket.gethostname()))
            if isinstance(job, Opens):
                job.open()
        except Exception as error:
            return Answer(None, _failure(error), self.said())
        return Answer(None, None, self.said())

    def run(self, number: int, index: int, shard: Any) -> Answer:
        """Run one shard of the job that was begun as ``number``."""
        job, _ = self.jobs[number]
        try:
            with reported_to(partial(self._worked, (number, index))):
                table = as_bytes(job.run(shard))
        except Exception as error:
            return Answer(None, _failure(error), self.said())
        return Answer(table, None, self.said())

    def end(self, number: int) -> None:
        """Close what the job has opened, unless another job uses it."""
        _, stack = self.jobs.pop(number, (None, ExitStack()))
        stack.close()

    def stop(self, number: int) -> None:
        """End the shard that runs, if the job knows how. The worker is killed afterwards."""
        job, _ = self.jobs.get(number, (None, None))
        if isinstance(job, Stops):
            job.stop()

    def said(self) -> News:
        """The news since the last call."""
        with self.lock:
            news, self.news = self.news, News()
        news.ran_out, memory.ran_out[:] = list(memory.ran_out), []
        news.devices = set(self.devices)
        self.devices.clear()
        return news

    def _worked(self, place: Place, amount: float) -> None:
        with self.lock:
            self.news.worked[place] += amount

    def _warn(self, line: str) -> None:
        with self.lock:
            self.news.warnings.append(line)


class _Warnings(logging.Handler):
    """Hands the warnings of a worker to ``say``."""

    def __init__(self, say: Any):
        super().__init__(logging.WARNING)
        self.say = say

    def emit(self, record: logging.LogRecord) -> None:
        self.say(record.getMessage())


def not_here(path: str, machine: str) -> str:
    return (
        f"{path} is not there on the machine {machine} of the cluster. The data folder, the pool and the"
        " models must be in a folder that all machines share, under the same path (docs/cluster.md)."
    )


def _failure(error: Exception) -> Failure:
    """The exception as it can be sent. One that cannot be pickled becomes a RuntimeError with its name and message."""
    missing = str(error.filename or "") if isinstance(error, FileNotFoundError) else ""
    trace = "".join(traceback.format_exception(error))
    try:
        sent = pickle.dumps(error)
        pickle.loads(sent)
    except Exception:
        sent = pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return Failure(sent, trace, missing, socket.gethostname())


def as_bytes(table: pa.Table) -> bytes:
    """The table as a stream of Arrow. Of a slice only its rows are sent."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def as_table(stream: bytes) -> pa.Table:
    return pa.ipc.open_stream(stream).read_all()
