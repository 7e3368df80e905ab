"""How a process finds a file that is not on this machine yet. Packages above this one say where they look for it."""

import os
from collections.abc import Callable

FETCHERS: list[Callable[[str], None]] = []
"""Each takes a path and fetches its file or folder, if it knows from where."""


def is_here(path: str) -> bool:
    """Whether a file or folder is on this machine, or was fetched now."""
    for fetch in FETCHERS:
        if not os.path.exists(path):  # noqa: PTH110 (a glob of a table is no path)
            fetch(path)
    return os.path.exists(path)  # noqa: PTH110
