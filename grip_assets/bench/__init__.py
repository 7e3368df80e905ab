"""Benchmarks that anyone can repeat: our code against the libraries that a user would use instead, on the same data.

A bench is a function that yields results. ``BENCHES`` names its module. Both sides run in turn, several times, and
their medians are compared. Machines are shared, so only the ratio is meaningful. Every bench runs in its own process,
so that it leaves no threads and no memory to the next.
"""

import ctypes
import gc
import importlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from grip_assets.errors import GripError

BENCHES = {
    "reading": "reading",
    "kmeans": "geometry",
    "gem": "geometry",
    "assignment": "geometry",
    "density": "geometry",
    "draw": "geometry",
    "greedy": "greedy",
    "embedding": "models",
    "probe": "models",
    "sketches": "attribution",
    "judge": "judge",
    "chain": "chain",
    "near_duplicates": "near_copies",
    "recompute": "operation",
    "ray": "cluster",
}


@dataclass(frozen=True)
class Result:
    """One comparison.

    ``ratio``: their seconds / our seconds, above 1 where ours is faster. ``quality``: a number that matters as much as
    time; ``note`` says which. ``peak_mb``, ``their_peak_mb``: peak memory above that before the run, in MB.
    """

    stage: str
    against: str
    ratio: float
    ours_s: float
    theirs_s: float
    quality: float
    note: str
    peak_mb: float | None = None
    their_peak_mb: float | None = None


@dataclass(frozen=True)
class Taken:
    """Median seconds of both sides, and their peak memory in MB."""

    ours_s: float
    theirs_s: float
    peak_mb: float
    their_peak_mb: float

    def result(self, stage: str, against: str, quality: float, note: str) -> Result:
        ratio = self.theirs_s / self.ours_s
        return Result(
            stage, against, ratio, self.ours_s, self.theirs_s, quality, note, self.peak_mb, self.their_peak_mb
        )


def interleaved(ours: Callable[[], object], theirs: Callable[[], object], times: int) -> Taken:
    """Run both sides in turn, ``times`` times each."""
    taken: tuple[list[float], list[float]] = ([], [])
    peaks: tuple[list[float], list[float]] = ([], [])
    for _ in range(times):
        for run, seconds, peak in zip((ours, theirs), taken, peaks, strict=True):
            with Peak() as memory:
                started = time.perf_counter()
                run()
                seconds.append(time.perf_counter() - started)
            peak.append(memory.mb)
    return Taken(*map(statistics.median, taken), *map(max, peaks))


class Peak:
    """Peak memory of this process during the block, above that before it, in MB. Only Linux can reset the peak."""

    mb = 0.0

    def __enter__(self) -> "Peak":
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
        self.before = _status("VmRSS")
        return self

    def __exit__(self, *error: object) -> None:
        self.mb = (_status("VmHWM") - self.before) / 1024


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))


def bench(stage: str, quick: bool) -> Iterator[Result]:
    """Run the bench of a stage in its own process, and yield each result as soon as it is there."""
    words = [sys.executable, "-m", "grip_assets.bench", stage, *(["--quick"] if quick else [])]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield Result(**json.loads(line))
    if process.returncode:
        raise GripError(f"The bench of {stage} did not finish; the lines above say why.")


def run_here(stage: str, quick: bool) -> Iterator[Result]:
    module = importlib.import_module(f"grip_assets.bench.{BENCHES[stage]}")
    yield from getattr(module, stage)(quick)
