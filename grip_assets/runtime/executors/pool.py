"""The driver's side of workers on a Ray cluster: connecting, starting, counting and ending them.

What a worker does is in remote.py, how shards are handed out in ray.py.
"""

import atexit
import itertools
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grip_assets.errors import GripError, Unfinished
from grip_assets.extras import missing
from grip_assets.runtime import threads, variables
from grip_assets.runtime.executors.remote import OURS, About, Given, Place, Worker, versions
from grip_assets.runtime.folders import stated_data
from grip_assets.runtime.memory import limit_bytes

if TYPE_CHECKING:
    from grip_assets.runtime.executors.ray import Mapping

SENT = (
    "GRIP_CACHE",
    "GRIP_DEVICE",
    "GRIP_MEMORY",
    "GRIP_SCREEN",
    "HF_HUB_OFFLINE",
)  # no key, no address with a password
STARTS = 3  # attempts to start a worker, if none has started meanwhile
PATIENCE = 10.0  # seconds until a head node that does not answer is an error
IDLE = 60.0  # seconds after which workers that have nothing to do are ended
LOOK = 5.0  # seconds between two looks at the size of the cluster
FOLDER = "grip-ray-"  # and the process that has started the cluster
LONGEST_FOLDER = 18  # letters: Ray's sockets are in it, and their addresses may have 107
OBJECTS = (100 << 20, 2 << 30)  # least and most bytes that a cluster on this machine has for shards and results


@cache
def ray_module() -> Any:
    """Ray, imported late: a run without it neither has nor needs the package. It reads these variables then."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    try:
        import ray
    except ImportError as error:
        raise missing("ray", "GRIP_EXECUTOR=ray", error) from None
    return ray


def connect(address: str | None) -> None:
    """Connect this process to the cluster at ``address``, or start one on this machine. Once in a process."""
    if not address:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # then Ray listens on the loopback only
    ray = ray_module()
    if ray.is_initialized():
        return
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # GRIP says itself what its user should know
    sys.modules["ray._private.worker"]._worker_logs_enabled = False  # type: ignore[attr-defined]
    with _own_signals():
        if address:
            _join(ray, address)
        else:
            _start(ray)


def _join(ray: Any, address: str) -> None:
    try:
        if address != "auto":  # Ray would try for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except Exception as error:  # Ray raises many kinds
        raise Unfinished(
            f"GRIP_RAY_ADDRESS is '{address}', and no Ray cluster answers there for this machine:"
            f" {_first_line(error)} This machine must be a node of the cluster: run"
            f" `ray start --address={address} --num-cpus=0` on it first (docs/cluster.md)."
        ) from None


def _start(ray: Any) -> None:
    """Start a cluster of this machine, which ends with this process."""
    usual = tempfile.gettempdir()
    above = Path(usual if len(usual) < LONGEST_FOLDER else "/tmp")
    _sweep(above)
    folder = tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-", dir=above)
    _folders.append(folder)
    atexit.register(shut_down)
    try:
        ray.init(
            address="local",
            num_cpus=threads.default_workers(),
            object_store_memory=min(max(limit_bytes() // 8, OBJECTS[0]), OBJECTS[1]),
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            _node_ip_address="127.0.0.1",
            _temp_dir=folder,
        )
    except Exception as error:
        raise Unfinished(
            f"GRIP_EXECUTOR is 'ray', and Ray did not start on this machine: {_first_line(error)} Its logs are in"
            f" {folder}. If the machine is busy, try again; GRIP_EXECUTOR=in_process works without Ray."
        ) from None


def _sweep(above: Path) -> None:
    """Remove what killed processes have left: the logs and sockets of their clusters."""
    for folder in above.glob(f"{FOLDER}*-*"):
        owner = folder.name.removeprefix(FOLDER).partition("-")[0]
        if owner.isdecimal() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's handlers of signals, if it has any: Ray sets its own, and Dagster could not cancel a run.

    Without a handler that of Ray stays. It raises SystemExit, so workers and cluster are ended in order.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            if handler not in (None, signal.SIG_DFL):
                signal.signal(number, handler)


def _first_line(error: BaseException) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line if line.endswith(".") else f"{line}."


@dataclass(eq=False)
class Hired:
    """A worker as the driver knows it. ``queue``: its shards, the first of which is running or comes next.

    ``about``: None until it has started. ``suspect``: the shard that ran when it was lost. ``ended``: by the driver.
    """

    actor: Any
    queue: deque[Place]
    about: About | None = None
    lost: bool = False
    ended: bool = False
    suspect: Place | None = None
    asked: bool = False


class Pool:
    """The workers of one kind, with or without a GPU. Mappings that run at the same time share them.

    Workers are started when there is work for them, and end when nothing was mapped for ``IDLE`` seconds. Those of a
    process that was killed are ended by Ray.
    """

    def __init__(self, gpu_share: float, most: int | None):
        self.gpu_share, self.most = gpu_share, most
        self.lock = threading.RLock()
        self.workers: list[Hired] = []
        self.mappings: dict[int, Mapping] = {}
        self.failed_starts = 0
        self._slots, self._looked = 0, -LOOK
        self._idle: threading.Timer | None = None

    def join(self, mapping: "Mapping") -> None:
        with self.lock:
            self.mappings[mapping.number] = mapping
            if self._idle:
                self._idle.cancel()
                self._idle = None

    def leave(self, mapping: "Mapping") -> None:
        """Forget a mapping. Workers that still have shards of it are killed: nobody waits for them any more."""
        with self.lock:
            del self.mappings[mapping.number]
            busy = [w for w in self.workers if any(number == mapping.number for number, _ in w.queue)]
            free = [w for w in mapping.begun if w in self.workers and w not in busy]
            for worker in busy:
                worker.ended = True
                self._drop(worker)
            if not self.mappings:
                self._idle = threading.Timer(IDLE, self.end)
                self._idle.daemon = True
                self._idle.start()
        if mapping.stops:
            _stop(busy, mapping.number)
        for worker in busy:
            _kill(worker)
        for worker in free:
            with suppress(Exception):
                worker.actor.end.remote(mapping.number)

    def end(self) -> None:
        """End all workers, if no mapping is left."""
        with self.lock:
            if self.mappings:
                return
            workers, self.workers = self.workers, []
        for worker in workers:
            worker.ended = True
            _kill(worker)

    @cached_property
    def _actor(self) -> Any:
        kind = {"num_gpus": self.gpu_share, "num_cpus": 0} if self.gpu_share else {"num_cpus": 1}
        return ray_module().remote(concurrency_groups={"control": 1}, max_restarts=0, **kind)(Worker)

    def slots(self) -> int:
        """How many workers to have: ``most``, or as many as the cluster has room for now, at least one.

        What a cluster has no room for waits, so that a cluster that can grow does.
        """
        if self.most and not self.gpu_share:
            return self.most
        now = time.monotonic()
        if now - self._looked >= LOOK:
            self._looked, resources = now, ray_module().cluster_resources()
            room = resources.get("GPU", 0) / self.gpu_share if self.gpu_share else resources.get("CPU", 0)
            self._slots = max(int(room + 1e-6), 1)
        return min(self._slots, self.most or self._slots)

    def grow(self, wanted: int) -> None:
        """Start workers, until ``wanted`` are on their way or the cluster is full."""
        with self.lock:
            starting = sum(worker.about is None for worker in self.workers)
            for _ in range(min(self.slots() - len(self.workers), wanted - starting)):
                self._start()

    def _start(self) -> None:
        worker = Hired(self._actor.remote(_given(bool(self.gpu_share))), deque())
        self.workers.append(worker)
        worker.actor.about.remote().future().add_done_callback(lambda future: self._started(worker, future))

    def _started(self, worker: Hired, future: Any) -> None:
        """Called by a thread of Ray when a worker has started, or could not."""
        error = future.exception()
        with self.lock:
            if error is None:
                worker.about, self.failed_starts = future.result(), 0
                problem = _differs(worker.about)
            else:
                self._drop(worker)
                self.failed_starts += not worker.ended
                problem = _did_not_start(error) if self.failed_starts >= STARTS else None
            for mapping in list(self.mappings.values()):
                mapping.events.put(("broken", problem) if problem else ("ready",))

    def lose(self, worker: Hired) -> bool:
        """Forget a worker that is gone, and make sure that its process is. False if that was known before."""
        with self.lock:
            if worker.lost:
                return False
            worker.lost = True
            self._drop(worker)
            self._looked = -LOOK  # a node may be gone
        _kill(worker)
        return not worker.ended

    def _drop(self, worker: Hired) -> None:
        with suppress(ValueError):
            self.workers.remove(worker)

    def machine_load(self, machine: str, number: int) -> int:
        """How many shards of a mapping are with workers of this machine."""
        here = (w for w in self.workers if w.about and w.about.machine == machine)
        return sum(of == number for worker in here for of, _ in worker.queue)


def _stop(workers: list[Hired], number: int) -> None:
    """Let the job end its shards in its own way, for example the processes that it has started."""
    ray = ray_module()
    with suppress(Exception):
        said = [w.actor.stop.options(concurrency_group="control").remote(number) for w in workers if w.about]
        ray.wait(said, num_returns=len(said), timeout=5)


def _kill(worker: Hired) -> None:
    with suppress(Exception):
        ray_module().kill(worker.actor, no_restart=True)


def _given(gpu: bool) -> Given:
    stated = {name: os.environ[name] for name in SENT if os.environ.get(name)} | stated_data()
    one = dict.fromkeys(("GRIP_WORKERS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return Given(stated | one, str(Path.cwd()), gpu)


def _differs(about: About) -> GripError | None:
    """The error if a worker has other versions than the driver: its results could differ.

    A package that only one of them has is no error: a job that needs it says so.
    """
    ours, theirs = versions(), about.versions
    other = [name for name in ours if theirs.get(name, ours[name]) != ours[name]]
    if not other:
        return None
    said = ", ".join(f"{name}: {theirs[name]} there, {ours[name]} here" for name in other[:3])
    return Unfinished(
        f"The machine {about.machine} of the cluster has other versions than this one ({said}), and results could"
        f" differ. Install the same {OURS} and constraints.txt on all machines of the cluster (docs/cluster.md)."
    )


def _did_not_start(error: BaseException) -> GripError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = next((line for line in reversed(lines) if "Error" in line), lines[0] if lines else type(error).__name__)
    return Unfinished(
        f"A worker did not start on the Ray cluster, {STARTS} times: {said[:300]} All machines of the cluster need the"
        f" same {OURS} (docs/cluster.md)."
    )


_folders: list[str] = []  # of clusters that this process has started
_pools: dict[tuple[float, int | None], Pool] = {}
NUMBERS = itertools.count()


def pool_for(gpu: bool) -> Pool:
    """The pool of workers of this process, with a GPU if the job can use one and the cluster has one."""
    share, asked = variables.value("GRIP_RAY_GPU_SHARE") or 0.5, variables.value("GRIP_DEVICE")
    has_gpu = gpu and asked != "cpu" and ray_module().cluster_resources().get("GPU", 0) > 0
    if gpu and asked == "cuda" and not has_gpu:
        raise Unfinished("GRIP_DEVICE is 'cuda', and no node of the Ray cluster has a GPU. Set it to auto or cpu.")
    key = (share if has_gpu else 0.0, variables.value("GRIP_WORKERS"))
    return _pools.setdefault(key, Pool(*key))


def end_workers() -> None:
    """End the workers of this process. The next map starts others."""
    for pool in _pools.values():
        pool.end()
    _pools.clear()


def shut_down() -> None:
    """End the workers of this process and leave the cluster. A cluster that this process started ends, and its logs and
    sockets are removed. A process that skips the handlers of ``atexit`` calls this itself."""
    end_workers()
    ray_module().shutdown()
    while _folders:
        shutil.rmtree(_folders.pop(), ignore_errors=True)
