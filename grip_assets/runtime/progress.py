"""Progress of long work as log lines: amount done, speed, time left. There are no terminal control codes, so the lines
read well in a terminal, in a file and in the Dagster event log."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Item = TypeVar("Item")
_advance: ContextVar[Callable[[float], None] | None] = ContextVar("advance", default=None)


def worked(amount: float) -> None:
    """A job calls this with the work that it has just done, in its own unit. ``reported_to`` passes it on."""
    if (advance := _advance.get()) is not None:
        advance(amount)


@contextmanager
def reported_to(advance: Callable[[float], None]) -> Iterator[None]:
    """While the block runs, calls of ``worked`` in this thread go to ``advance``."""
    before = _advance.set(advance)
    try:
        yield
    finally:
        _advance.reset(before)


class Progress:
    """Log ``label: done/total unit, rate, time left`` at most every ``every`` seconds.

    The rate is that of the work after the first amount: before it, models and libraries are loaded. It is left out
    until it was measured for as long as the first amount took. Do not count reused items in ``total``; otherwise the
    time left is too long.
    """

    def __init__(self, label: str, total: float, unit: str, log: Callable[[str], None], every: float = 5.0):
        self.label, self.total, self.unit, self.log, self.every = label, total, unit, log, every
        self.lock = threading.Lock()
        self.done, self.started, self.last = 0.0, time.monotonic(), time.monotonic()
        self.first: tuple[float, float] | None = None  # the time of the first amount, and the amount

    def advance(self, amount: float) -> None:
        """Safe to call from several threads."""
        with self.lock:
            self.done += amount
            now = time.monotonic()
            self.first = self.first or ((now, amount) if amount else None)
            due = now - self.last >= self.every
            self.last = now if due else self.last
        if due:
            self.log(self.line(now))

    def each(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items, and advance by one for each."""
        for item in items:
            self.advance(1)
            yield item

    def line(self, now: float) -> str:
        said = f"{self.label}: {self.done:,.0f} of {self.total:,.0f} {self.unit} ({self.done / max(self.total, 1):.0%})"
        rate = self._rate(now)
        if rate is None:
            return said
        speed = f"{rate:,.0f}/s" if rate >= 1 else f"{60 * rate:,.1f}/min"
        return f"{said}, {speed}, {duration(max(self.total - self.done, 0.0) / rate)} left"

    def _rate(self, now: float) -> float | None:
        """Units a second, or None if it is not known yet."""
        if self.first is None:
            return None
        at, amount = self.first
        measured, more = now - at, self.done - amount
        return more / measured if more and measured >= max(at - self.started, 1e-9) else None

    def finish(self) -> None:
        seconds = time.monotonic() - self.started
        self.log(f"{self.label}: {self.done:,.0f} {self.unit} in {duration(seconds)}")


@contextmanager
def waiting(what: str, log: Callable[[str], None], every: float = 5.0) -> Iterator[None]:
    """Log ``what``, and every few seconds the time that it has taken. For work that reports no progress itself."""
    ended, started = threading.Event(), time.monotonic()

    def say() -> None:
        while not ended.wait(every):
            log(f"{what}: {duration(time.monotonic() - started)} so far")

    log(what)
    speaker = threading.Thread(target=say, daemon=True)
    speaker.start()
    try:
        yield
    finally:
        ended.set()
        speaker.join()


def duration(seconds: float) -> str:
    """``7 s``, ``3 min 20 s``, ``2 h 5 min``."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"
