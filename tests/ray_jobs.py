"""Jobs for the tests of executors. Workers of a cluster import this module, so it is light."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from grip_assets.errors import GripError
from grip_assets.runtime import device, opened
from grip_assets.runtime.notices import warn_once
from grip_assets.runtime.progress import worked


def row(**values) -> pa.Table:
    return pa.table({name: [value] for name, value in values.items()})


@dataclass(frozen=True)
class Square:
    """The square of a number. It works one unit, and says which process ran it, when, and with which GPUs."""

    seconds: float = 0.0

    def run(self, shard: int) -> pa.Table:
        began = time.time()
        time.sleep(self.seconds)
        worked(1)
        where = {"pid": os.getpid(), "gpus": os.environ.get("CUDA_VISIBLE_DEVICES")}
        return row(number=shard, square=shard * shard, began=began, ended=time.time(), **where)


@dataclass(frozen=True)
class Opening:
    """Opens a thing, and says how often this was done by the process that ran the shard."""

    folder: str

    @property
    def opening(self) -> str:
        return "loading the thing"

    def open(self) -> int:
        return opened.get(("thing", self.folder), self._load)

    def _load(self) -> int:
        device.note("a device")
        with (Path(self.folder) / f"opened-{os.getpid()}").open("a") as file:
            file.write("x")
        return os.getpid()

    def run(self, shard: int) -> pa.Table:
        return row(number=shard, opened_by=self.open(), gpus=os.environ.get("CUDA_VISIBLE_DEVICES"))


@dataclass(frozen=True)
class Refuses:
    """Raises an error for one shard."""

    number: int
    unpicklable: bool = False

    def run(self, shard: int) -> pa.Table:
        if shard != self.number:
            return row(number=shard)
        if self.unpicklable:
            raise Odd(1, 2)
        raise GripError(f"shard {shard} is refused. Choose another.")


class Odd(Exception):
    def __init__(self, one: int, two: int):
        super().__init__(f"odd {one + two}")


@dataclass(frozen=True)
class Dies:
    """Kills its own process at one shard: once, or always."""

    folder: str
    number: int
    always: bool = False

    def run(self, shard: int) -> pa.Table:
        worked(1)
        mark = Path(self.folder) / "died"
        if shard == self.number and (self.always or not mark.exists()):
            mark.touch()
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGKILL)
        return row(number=shard, square=shard * shard)


@dataclass(frozen=True)
class Runs:
    """Marks the beginning of each shard by a file, and runs until a file appears."""

    folder: str
    until: str = "go"

    def run(self, shard: int) -> pa.Table:
        (Path(self.folder) / f"began-{shard}-{os.getpid()}").touch()
        while not (Path(self.folder) / self.until).exists():
            time.sleep(0.05)
        return row(number=shard)

    def stop(self) -> None:
        (Path(self.folder) / "stopped").touch()


@dataclass(frozen=True)
class Tells:
    """Warns, says what its environment is, and reads a file."""

    file: str = ""

    def run(self, shard: str) -> pa.Table:
        warn_once(f"about {shard}")
        Path(self.file or __file__).read_bytes()
        return row(value=os.environ.get(shard, ""))
