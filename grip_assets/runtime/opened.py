"""The cache of things that jobs have opened in this process: models, tokenizers, decoded parts of tables.

A job has only paths, and opens them here. Each thing is opened once, by one thread, while the others wait. It stays
open while any job is mapped (``while_used``). When the last one has ended, it is closed and dropped.
"""

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

Thing = TypeVar("Thing")

_lock = threading.Lock()
_users = 0
_things: dict[Hashable, "_Thing"] = {}


class _Thing:
    """``close``: called when it is dropped; None if there is nothing to close."""

    def __init__(self, close: Callable[[Any], None] | None):
        self.lock, self.close = threading.Lock(), close
        self.value: Any = None
        self.is_open = False


@contextmanager
def while_used() -> Iterator[None]:
    """While the block runs, nothing is dropped. The last block that ends drops everything."""
    global _users
    with _lock:
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            dropped = [] if _users else [_things.pop(name) for name in list(_things)]
        for thing in dropped:
            _close(thing)


def get(name: Hashable, open: Callable[[], Thing], close: Callable[[Thing], None] | None = None) -> Thing:
    """The thing of this name; opened now if it is not open yet. If ``open`` raises, the next call tries again."""
    with _lock:
        thing = _things.setdefault(name, _Thing(close))
    with thing.lock:
        if not thing.is_open:
            thing.value = open()
            thing.is_open = True
        return thing.value


def recent(kind: str, name: Hashable, open: Callable[[], Thing], most: int) -> Thing:
    """As ``get``, but only the ``most`` recently used things of one ``kind`` stay open."""
    key = (kind, name)
    found = get(key, open)
    with _lock:
        if key in _things:
            _things[key] = _things.pop(key)  # to the end, since things are dropped from the front
        of_kind = [k for k in _things if isinstance(k, tuple) and k[0] == kind]
        for old in of_kind[: max(len(of_kind) - most, 0)]:
            del _things[old]
    return found


def close(name: Hashable) -> None:
    """Close and drop the thing of this name, if there is one, even if it is in use."""
    with _lock:
        thing = _things.pop(name, None)
    if thing is not None:
        _close(thing)


def _close(thing: _Thing) -> None:
    if thing.is_open and thing.close is not None:
        thing.close(thing.value)
