"""Where an export goes: a file or folder, a pipe or device, standard output, or a URL.

A file that was not made by an export is replaced only with ``force``. The pool and the data folder are never replaced.
Links are followed, so that the checks look at the file that would be replaced.
"""

import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import fsspec

from grip_assets.errors import GripError
from grip_assets.export.workplace import left_cards
from grip_assets.runtime.credentials import without_credentials
from grip_assets.sources.readers.environment import roots
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.marks import (
    CARD,
    MANIFEST,
    added,
    card_beside,
    changed,
    names,
    read_card,
    somebodys_card,
    somebodys_file,
)

COPY = 1 << 20
STREAMS = ("/dev/", "/proc/")
ENDED = (OSError, ValueError)  # errors for a bad path; ValueError: a zero byte in it


@dataclass(frozen=True)
class Held:
    """What an export must not replace: the data folder, and the pools that were read into it."""

    data: Path
    pools: tuple[str, ...]


def held(connection: duckdb.DuckDBPyConnection, data: Path) -> Held:
    """The data folder, and the pools: of all artifacts, of the settings, and this machine's installed source code."""
    made = [manifest["settings"]["corpus"] for manifest in ArtifactStore(data).manifests("corpus")]
    query = """SELECT name, value FROM settings WHERE "group" = 'corpus' AND name IN ('path', 'sources')"""
    now = {name: json.loads(value) for name, value in connection.execute(query).fetchall()}
    pools = {path for values in (*made, now) for path in _paths(values)}
    return Held(data, tuple(sorted(pools | {str(root) for root in roots().values()})))


def _paths(corpus: Mapping[str, Any]) -> Iterator[str]:
    """The path of a pool, or those of its sources."""
    found = [corpus.get("path"), *(source["path"] for source in corpus.get("sources") or [])]
    return (path for path in found if path)


class Target:
    """``name``: the name of the file or folder, whose ending says the format. ``shown``: its name in messages."""

    name: str
    shown: str
    default = "parquet"  # format of a name without an ending

    def names(self) -> list[str]:
        """The names whose endings say the format."""
        return [self.name]

    def refuse(self, directory: bool, held: Held, force: bool) -> None:
        """GripError if the target cannot be written, or if it must not be replaced."""

    def advice(self, held: Held) -> str | None:
        """A note for the user before the target is written, if any."""
        return None

    @contextmanager
    def place(self) -> Iterator[Path]:
        """Yield the local path to write to. For a stream or URL this is in a temporary folder; see ``deliver``."""
        with tempfile.TemporaryDirectory(prefix="grip-export-") as folder:
            yield Path(folder) / (self.name or "export")

    def deliver(self, local: Path, directory: bool) -> None:
        """Send the file or folder at ``place()`` to the target."""


class Local(Target):
    def __init__(self, given: str):
        self.shown = given
        try:
            self.path = Path(given).expanduser().absolute()
            self.real = self.path.resolve()
        except (*ENDED, RuntimeError) as error:
            raise GripError(f"{given} cannot be written: {error}. Name another place.") from None
        self.name = self.path.name

    def names(self) -> list[str]:
        return [self.name, self.real.name]

    def advice(self, held: Held) -> str | None:
        pool = next((p for p in _local(held.pools) if _is_below(self.real, p)), None)
        return (
            f"{self.real} lies in the pool {pool}. Its card marks it, so it will not be read as a document"
            if pool
            else None
        )

    @contextmanager
    def place(self) -> Iterator[Path]:
        yield self.real

    def refuse(self, directory: bool, held: Held, force: bool) -> None:
        try:
            self._refuse_kind(directory)
            somebodys = self._somebodys(directory)
            self._refuse_held(held, somebodys)
        except ENDED as error:
            raise GripError(f"{self.real} cannot be written: {error}. Name another place.") from None
        if somebodys and not (force and somebodys.forced):
            advice = ", or add --force" if somebodys.forced else ""
            kind = "folder" if directory else "file"
            raise GripError(f"{somebodys.file} {somebodys.why}, and is not replaced. Name another {kind}{advice}.")

    def _refuse_kind(self, directory: bool) -> None:
        path = self.real
        if not path.parent.is_dir():
            raise GripError(f"{path} cannot be written: there is no folder {path.parent}. Make it first.")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise GripError(f"{path} cannot be written: you may not write in {path.parent}. Name another folder.")
        if path.is_dir() and not directory:
            raise GripError(f"{path} cannot be written: it is a folder. Name a file in a folder that exists.")
        if path.exists() and not path.is_dir() and not path.is_file():
            raise GripError(f"{path} is neither a file nor a folder, so it is not written to. Name another place.")

    def _refuse_held(self, held: Held, somebodys: "Somebodys | None") -> None:
        path = self.real
        if held.data.exists() and (_is_below(path, held.data) or _is_below(held.data, path)):
            raise GripError(f"{path} would overwrite the data folder {held.data}. Name a place outside of it.")
        for pool in _local(held.pools):
            if pool.exists() and (_is_below(pool, path) or (somebodys and _is_below(path, pool))):
                raise GripError(f"{path} belongs to the pool {pool}, which is never replaced. Name another place.")

    def _somebodys(self, directory: bool) -> "Somebodys | None":
        """The file at this path that was not made by an export, or was changed since. None if there is no such file."""
        path = self.real
        if directory:
            return _in_folder(path) if path.exists() else None
        card = card_beside(path)
        if path.exists() and (why := somebodys_file(path, [card, *left_cards(path)])):
            return Somebodys(path, why, True)
        if card.exists() and (why := somebodys_card(card)):
            return Somebodys(card, why, True)
        return None


@dataclass(frozen=True)
class Somebodys:
    """A file of the user at the target. ``why``: end of the message; ``forced``: whether ``force`` replaces it."""

    file: Path
    why: str
    forced: bool


def _in_folder(path: Path) -> Somebodys | None:
    if path.is_dir() and not any(path.iterdir()):
        return None
    if not path.is_dir() or not (path / MANIFEST).is_file():
        return Somebodys(path, "was not made by an export", False)
    if mine := added(path):
        more = f" ({len(mine) - 1:,} more are there)" if mine[1:] else ""
        return Somebodys(path / mine[0], f"was not made by an export{more}", False)
    if mine := changed(path):
        return Somebodys(path / mine[0], "was changed after an export made it", True)
    return None


def _local(pools: tuple[str, ...]) -> list[Path]:
    return [Path(pool).expanduser() for pool in pools if "://" not in pool]


def _is_below(inner: Path, outer: Path) -> bool:
    """Whether ``inner`` is ``outer`` or lies in it, also through links. False if ``outer`` does not exist."""
    if not outer.exists():
        return False
    return any(place.exists() and place.samefile(outer) for place in (inner, *inner.parents))


class Stream(Target):
    """A pipe, a character device, or standard output if ``path`` is None. It gets no card."""

    default = "jsonl"

    def __init__(self, path: Path | None):
        self.path = path
        self.shown = "standard output" if path is None else str(path)
        self.name = "" if path is None or str(path).startswith(STREAMS) else path.name

    def refuse(self, directory: bool, held: Held, force: bool) -> None:
        if directory:
            raise GripError(f"{self.shown} takes one file, and this format is a folder. Choose jsonl or parquet.")

    def deliver(self, local: Path, directory: bool) -> None:
        try:
            with local.open("rb") as made:
                if self.path is None:
                    shutil.copyfileobj(made, sys.stdout.buffer, COPY)
                    sys.stdout.buffer.flush()
                    return
                with self.path.open("wb") as out:
                    shutil.copyfileobj(made, out, COPY)
        except BrokenPipeError:
            raise GripError(f"The reader of {self.shown} stopped before everything was written.") from None
        except ENDED as error:
            raise GripError(f"{self.shown} cannot be written: {error}.") from None


class Remote(Target):
    """A URL. fsspec writes it when the whole export is made. An existing file is compared by size only, since a hash
    would read all of it."""

    def __init__(self, url: str):
        self.shown = without_credentials(url)
        with self._told():
            self.fs, self.path = fsspec.core.url_to_fs(url)
        self.name = self.path.rstrip("/").rpartition("/")[2]

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn any error of a driver into a GripError of one sentence."""
        try:
            yield
        except GripError:
            raise
        except ImportError as error:
            raise GripError(f"{self.shown} needs a driver that is not installed: {error}. Install it.") from None
        except Exception as error:
            said = without_credentials(" ".join(str(error).split()))[:200] or type(error).__name__
            raise GripError(f"{self.shown} cannot be written: {said}.") from None

    def refuse(self, directory: bool, held: Held, force: bool) -> None:
        with self._told():
            there = self.fs.exists(self.path)
            for pool in (self._there(pool) for pool in held.pools if "://" in pool):
                inside = pool is not None and f"{self.path}/".startswith(f"{pool}/")
                if pool and (f"{pool}/".startswith(f"{self.path}/") or (there and inside)):
                    raise GripError(f"{self.shown} belongs to the pool, which is never replaced. Name another place.")
            if there and (why := self._somebodys(directory)) and not (force and not directory):
                advice = "" if directory else ", or add --force"
                raise GripError(f"{self.shown} {why}, and is not replaced. Name another place{advice}.")

    def _there(self, url: str) -> str | None:
        """The path of a URL in this file system. None if the URL is in another file system."""
        same = set(url.partition("://")[:1]) <= {self.fs.protocol, *self.fs.protocol}
        return self.fs._strip_protocol(url).rstrip("/") if same else None

    def _somebodys(self, directory: bool) -> str | None:
        if not directory:
            card = f"{self.path}{CARD}"
            mark = read_card(self.fs.cat_file(card).decode(errors="replace")) if self.fs.exists(card) else None
            if mark is None or mark["file"] != self.name:
                return "was not made by an export"
            return None if self.fs.size(self.path) == mark["bytes"] else "was changed after an export made it"
        if not self.fs.exists(f"{self.path}/{MANIFEST}"):
            return "was not made by an export"
        written = json.loads(self.fs.cat_file(f"{self.path}/{MANIFEST}")).get("files", {})
        there = {file[len(self.path) :].lstrip("/") for file in self.fs.find(self.path)} - {MANIFEST}
        mine = sorted(there - written.keys())
        return f"holds {mine[0]}, which no export wrote" if mine else None

    def deliver(self, local: Path, directory: bool) -> None:
        with self._told():
            if directory:
                if self.fs.exists(self.path):
                    self.fs.rm(self.path, recursive=True)
                for name in [n for n in names(local) if n != MANIFEST] + [MANIFEST]:
                    self._put(local / name, f"{self.path}/{name}")
            else:
                self._put(local, self.path)
                self._put(card_beside(local), f"{self.path}{CARD}")

    def _put(self, file: Path, path: str) -> None:
        with suppress(Exception):  # buckets have no folders
            self.fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        self.fs.put_file(str(file), path)


def target_of(given: str) -> Target:
    """The target of a name that a user typed. GripError if it cannot be a target."""
    if given == "-":
        return Stream(None)
    if given.startswith(("file://", "local://")):
        given = fsspec.filesystem("file")._strip_protocol(given)
    elif "://" in given or "::" in given:
        return Remote(given)
    if given.startswith(STREAMS) or _is_stream(given):
        return Stream(Path(given).expanduser())
    return Local(given)


def _is_stream(given: str) -> bool:
    try:
        kind = Path(given).expanduser().stat().st_mode
    except (*ENDED, RuntimeError):
        return False
    return stat.S_ISFIFO(kind) or stat.S_ISCHR(kind)
