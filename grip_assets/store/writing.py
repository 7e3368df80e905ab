"""Write files aside, then rename them. So a file that is visible is complete, even after a power cut.

The place aside must be on the same file system, since a rename cannot cross file systems: use ``ArtifactStore.scratch``
in a data folder, and a folder beside the target elsewhere.
"""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Flush a file, or a folder with all its content, to the disk."""
    inside = path.rglob("*") if path.is_dir() else ()
    for each in [*inside, path]:
        sync_one(each)


def sync_one(path: Path) -> None:
    """Flush one file, or the names in one folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def put(made: Path, target: Path) -> None:
    """Move a finished file or folder to its place; durable when this returns. An existing file is replaced.

    OSError if there is a folder that is not empty.
    """
    sync(made)
    target.parent.mkdir(parents=True, exist_ok=True)
    made.replace(target)
    sync_one(target.parent)


def put_text(text: str, target: Path, aside: Path) -> None:
    """Write a small file: first to ``aside``, a path to which nobody else writes, then to its place."""
    aside.write_text(text, encoding="utf-8", newline="\n")
    put(aside, target)


def put_once(made: Path, target: Path) -> None:
    """Move a finished folder to its place. If there is one already, that one stays: its content is the same."""
    try:
        put(made, target)
    except OSError:
        if not target.exists():
            raise
