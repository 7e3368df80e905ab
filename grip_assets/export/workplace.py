"""The working folder of an export: a hidden folder beside the target. Its name has the key of the export (Export.key).

Each part is committed by one rename, so a killed export leaves its finished parts for the next one. The target appears
by one rename, after all its bytes are on the disk.
"""

import hashlib
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from grip_assets.errors import GripError
from grip_assets.store.locks import if_free
from grip_assets.store.marks import card_beside
from grip_assets.store.writing import put, sync

NAME_BYTES = 200  # longer names of targets are hashed


class Workplace:
    """The folder of one export to one target. Only the process that holds its lock writes into it."""

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
        """Yield an empty folder. If the block ends without an error, it becomes the part and is durable on the disk."""
        draft = self._part(part).with_suffix(".draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        yield draft
        put(draft, self._part(part))

    def target(self) -> Path:
        """Where the file or folder is assembled."""
        return self.folder / "new"

    def card(self) -> Path:
        return self.folder / "card.md"

    def publish(self, directory: bool) -> None:
        """Replace the target by the finished file or folder."""
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


def _prefix(path: Path) -> str:
    """The beginning of the names of hidden folders for ``path``. A name may have at most 255 bytes."""
    name = path.name if len(path.name.encode()) <= NAME_BYTES else hashlib.sha256(path.name.encode()).hexdigest()
    return f".{name}.export-"


def _folders(path: Path) -> list[Path]:
    """The hidden folders that earlier exports to ``path`` left behind."""
    named = re.compile(re.escape(_prefix(path)) + "[0-9a-f]{16}")
    with suppress(OSError):
        found = [other for other in path.parent.iterdir() if named.fullmatch(other.name)]
        return [other for other in found if (other / "lock").is_file() and not other.is_symlink()]
    return []


def left_cards(path: Path) -> list[Path]:
    """Cards of exports that were killed between the rename of the file and that of its card."""
    return [folder / "card.md" for folder in _folders(path)]


@contextmanager
def workplace(path: Path, key: str) -> Iterator[Workplace]:
    """Yield the working folder.

    If the block ends without an error, this folder and those of earlier exports to ``path`` are removed.
    GripError if another process makes the same export, or if the folder cannot be written.
    """
    folder = path.with_name(_prefix(path) + key)
    try:
        folder.mkdir(exist_ok=True)
        with if_free(folder / "lock") as free:
            if not free:
                raise GripError(
                    f"Another process exports to {path}. Wait for it, or end it: the next export continues its work."
                )
            shutil.rmtree(folder / "new", ignore_errors=True)
            (folder / "new").unlink(missing_ok=True)
            yield Workplace(path, folder)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise GripError(f"{path} cannot be written: {error}. The same command continues from there.") from error
    for other in _folders(path):
        _sweep(other)


def _sweep(folder: Path) -> None:
    with if_free(folder / "lock") as free:
        if free:
            shutil.rmtree(folder, ignore_errors=True)
