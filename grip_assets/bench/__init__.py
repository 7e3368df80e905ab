"""Measurements that anyone can repeat: ours against what a user would pick instead, same data, same run.

A bench is a function that gives results; ``BENCHES`` names them. Both sides are run in turn, several times, and the
median of each is compared: machines are shared, so that only the ratio means something.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """``ratio``: theirs / ours in seconds, above 1 where ours is faster; ``quality``: what matters as much as time, and
    ``note`` says what it is."""

    stage: str
    against: str
    ratio: float
    ours_s: float
    theirs_s: float
    quality: float
    note: str
    peak_mb: float | None = None


def interleaved(ours: Callable[[], object], theirs: Callable[[], object], times: int) -> tuple[float, float]:
    """Median seconds of both, run in turn."""
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(times):
        for run, seconds in zip((ours, theirs), taken, strict=True):
            started = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - started)
    return statistics.median(taken[0]), statistics.median(taken[1])


def benches() -> dict[str, Callable[[bool], Iterator[Result]]]:
    """Every bench by the name of its stage."""
    from grip_assets.bench import judge

    return {"judge": judge.bench}
