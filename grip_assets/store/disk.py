"""Recognises a full disk by the various errors that libraries raise for it, and reports it in one sentence."""

import errno
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from grip_assets.errors import Unfinished

FULL = (errno.ENOSPC, errno.EDQUOT)
WORDS = ("no space left on device", "disk is full", "disk quota exceeded")  # DuckDB, Arrow and SQLite have words only
LITTLE = 1 << 20


class DiskFull(Unfinished):
    """The disk is full. Nothing that was computed is lost."""


def is_full(error: BaseException | None, folders: Iterable[Path] = ()) -> bool:
    """Whether this error, or one of its causes, says that a disk is full.

    SQLite may say "disk I/O error" instead. That counts if one of ``folders`` has no room.
    """
    no_room = any(shutil.disk_usage(existing(folder)).free < LITTLE for folder in folders)
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        said = str(error).lower()
        if getattr(error, "errno", None) in FULL or any(words in said for words in WORDS):
            return True
        if no_room and "disk i/o error" in said:
            return True
        error = error.__cause__ or error.__context__
    return False


def full(folders: list[Path], needed: int | None = None) -> DiskFull:
    """The error, about the folder with the least room.

    ``needed``: about how many bytes are needed, if that is known.
    """
    there = [existing(folder) for folder in [*folders, Path(tempfile.gettempdir())]]
    folder = min(there, key=lambda f: shutil.disk_usage(f).free)
    usage = shutil.disk_usage(folder)
    needs = f" About {size(needed)} are needed." if needed else ""
    return DiskFull(
        f"The disk of {folder} is full: {size(usage.free)} of {size(usage.total)} are free.{needs} Nothing that was"
        " computed is lost. Make room (`grip clean` lists what can go), and the same command goes on."
    )


def too_small(folder: Path, stage: str, needed: int) -> DiskFull:
    """The error of a stage that was not begun, because it needs more bytes than are free."""
    usage = shutil.disk_usage(existing(folder))
    return DiskFull(
        f"The disk of {folder} is too small for {stage}: about {size(needed)} are needed, and {size(usage.free)} of"
        f" {size(usage.total)} are free. {stage} was not begun, and nothing that was computed is lost. Make room (`grip"
        " clean` lists what can go), and the same command goes on."
    )


def existing(folder: Path) -> Path:
    return next(f for f in (folder, *folder.parents) if f.exists())


@contextmanager
def room(folder: Path, needed: Callable[[], int | None] = lambda: None) -> Iterator[None]:
    """Turn errors of a full disk in this block into DiskFull. All other errors pass unchanged."""
    try:
        yield
    except DiskFull:
        raise
    except Exception as error:
        if not is_full(error, [folder]):
            raise
        raise full([folder], needed()) from error


def size(n_bytes: float) -> str:
    """A number of bytes as text, for example ``3.2 GB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:,.0f} {unit}" if unit == "bytes" or n_bytes >= 100 else f"{n_bytes:,.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:,.1f} TB"
