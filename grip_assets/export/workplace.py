"""Where an export is made: a hidden folder beside its target, named by what is exported.

Parts are committed one by one, each by one rename; a killed export leaves them for the next one. The target appears by
one rename, when all of it is on the disk.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from grip_assets.errors import GripError
from grip_assets.store.artifacts import sync

MANIFEST = "grip_export.json"  # by it a folder is known to be an export, which may be replaced


class Workplace:
    """The folder of one export of one target. Only its owner, who holds its lock, writes in it."""

    def __init__(self, path: Path, folder: Path):
        self.path, self.folder = path, folder

    def has(self, part: int) -> bool:
        return self._part(part).exists()

    def parts(self) -> list[Path]:
        """The folders of all finished parts, in order."""
        return sorted((self.folder / "parts").glob("[0-9]*.part"))

    def _part(self, part: int) -> Path:
        return self.folder / "parts" / f"{part:08}.part"

    @contextmanager
    def part(self, part: int) -> Iterator[Path]:
        """Yield an empty folder; when the block ends well it is the part, durable when this returns."""
        draft = self._part(part).with_suffix(".draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        yield draft
        sync(draft)
        draft.rename(self._part(part))

    def target(self) -> Path:
        """Where the finished file or folder is put together."""
        return self.folder / "new"

    def card(self) -> Path:
        return self.folder / "card.md"

    def publish(self, directory: bool) -> None:
        """Put what is finished in the place of what was there."""
        sync(self.target())
        if not directory:
            sync(self.card())
            self.target().replace(self.path)
            self.card().replace(card_beside(self.path))
            return
        if self.path.exists():
            shutil.rmtree(self.folder / "old", ignore_errors=True)
            self.path.rename(self.folder / "old")
        self.target().rename(self.path)


def card_beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.card.md")


def refuse_other(path: Path, directory: bool) -> None:
    """GripError where the target is nothing that an export may write or replace."""
    if not path.parent.is_dir():
        raise GripError(f"{path} cannot be written: there is no folder {path.parent}. Make it first.")
    if not directory and path.is_dir():
        raise GripError(f"{path} cannot be written: it is a folder. Name a file in a folder that exists.")
    if not directory or not path.exists() or (path / MANIFEST).exists():
        return
    if not path.is_dir() or any(path.iterdir()):
        raise GripError(f"{path} was not made by an export, and is not replaced. Name a folder that is new or empty.")


@contextmanager
def workplace(path: Path, key: str) -> Iterator[Workplace]:
    """The folder to work in; it goes when the block ends well, with those that other exports of ``path`` left.

    GripError where another process makes the same export.
    """
    prefix = f".{path.name}.export-"
    folder = path.with_name(prefix + key)
    folder.mkdir(exist_ok=True)
    with _lock(folder) as free:
        if not free:
            raise GripError(
                f"Another process exports to {path}. Wait for it, or end it: the next one goes on from there."
            )
        shutil.rmtree(folder / "new", ignore_errors=True)
        (folder / "new").unlink(missing_ok=True)
        try:
            yield Workplace(path, folder)
        except OSError as error:
            raise GripError(f"{path} cannot be written: {error}. The same command goes on from there.") from error
        shutil.rmtree(folder, ignore_errors=True)
    for other in path.parent.iterdir():
        if other.name.startswith(prefix):
            _sweep(other)


def _sweep(folder: Path) -> None:
    with _lock(folder) as free:
        if free:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Whether nobody else holds the folder; while the block runs, this process does."""
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(handle)
