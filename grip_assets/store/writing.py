"""Write aside, then rename: what is being written is never seen, and what is seen is whole, also after a power cut.

Where to write aside: ``ArtifactStore.scratch`` for a data folder; elsewhere a folder beside the target, on the same
file system, since a rename cannot cross from one to another.
"""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Bring a file, or a folder with all that is in it, to the disk."""
    inside = path.rglob("*") if path.is_dir() else ()
    for each in [*inside, path]:
        sync_one(each)


def sync_one(path: Path) -> None:
    """Bring one file, or the names in one folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def put(made: Path, target: Path) -> None:
    """Move a finished file or folder to its place, durable when this returns. A file that lies there is replaced.

    OSError where a folder lies there that is not empty.
    """
    sync(made)
    target.parent.mkdir(parents=True, exist_ok=True)
    made.replace(target)
    sync_one(target.parent)


def put_text(text: str, target: Path, aside: Path) -> None:
    """Write a small file by way of ``aside``, a path that nobody else writes to."""
    aside.write_text(text, encoding="utf-8", newline="\n")
    put(aside, target)


def put_once(made: Path, target: Path) -> None:
    """Move a finished folder to its place, where whoever makes it makes the same: if one is there, that one stays."""
    try:
        put(made, target)
    except OSError:
        if not target.exists():
            raise
