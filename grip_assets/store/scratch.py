"""Temporary folders inside a data folder, from which a finished file or folder is moved to its place by one rename."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from grip_assets.store.locks import if_free, locked


@contextmanager
def scratch(data: Path) -> Iterator[Path]:
    """A temporary folder on the same file system as ``data``. It is removed after the block.

    Its owner holds a lock, so the folder of a killed process is recognised, and removed by the next call.
    """
    root = data / ".scratch"
    root.mkdir(parents=True, exist_ok=True)
    _sweep(root)
    folder = root / uuid.uuid4().hex
    with _held(folder.with_suffix(".lock")):
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _held(file: Path) -> Iterator[None]:
    with locked(file):
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


def _sweep(root: Path) -> None:
    for lock in root.glob("*.lock"):
        with suppress(FileNotFoundError), if_free(lock, make=False) as free:
            if free:
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink(missing_ok=True)
