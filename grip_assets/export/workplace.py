"""Where an export is made: a hidden folder beside its target, named by what is exported.

Parts are committed one by one, each by one rename; a killed export leaves them for the next one. The target appears by
one rename, when all of it is on the disk.
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

NAME_BYTES = 200  # of a target's name that its hidden folder repeats


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
        put(draft, self._part(part))

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


def _prefix(path: Path) -> str:
    """How the hidden folders of exports to ``path`` begin; a name may have 255 bytes."""
    name = path.name if len(path.name.encode()) <= NAME_BYTES else hashlib.sha256(path.name.encode()).hexdigest()
    return f".{name}.export-"


def _folders(path: Path) -> list[Path]:
    """The hidden folders that exports to ``path`` left."""
    named = re.compile(re.escape(_prefix(path)) + "[0-9a-f]{16}")
    with suppress(OSError):
        found = [other for other in path.parent.iterdir() if named.fullmatch(other.name)]
        return [other for other in found if (other / "lock").is_file() and not other.is_symlink()]
    return []


def left_cards(path: Path) -> list[Path]:
    """Cards of an export that was killed after its file was in place, and before its card was."""
    return [folder / "card.md" for folder in _folders(path)]


@contextmanager
def workplace(path: Path, key: str) -> Iterator[Workplace]:
    """The folder to work in; it goes when the block ends well, with those that other exports of ``path`` left.

    GripError where another process makes the same export.
    """
    folder = path.with_name(_prefix(path) + key)
    try:
        folder.mkdir(exist_ok=True)
        with if_free(folder / "lock") as free:
            if not free:
                raise GripError(
                    f"Another process exports to {path}. Wait for it, or end it: the next one goes on from there."
                )
            shutil.rmtree(folder / "new", ignore_errors=True)
            (folder / "new").unlink(missing_ok=True)
            yield Workplace(path, folder)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise GripError(f"{path} cannot be written: {error}. The same command goes on from there.") from error
    for other in _folders(path):
        _sweep(other)


def _sweep(folder: Path) -> None:
    with if_free(folder / "lock") as free:
        if free:
            shutil.rmtree(folder, ignore_errors=True)
