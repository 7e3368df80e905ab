"""The object store behind a data folder: ``GRIP_DATA=s3://bucket/folder``.

The object store is the store of record. The data folder on this machine is a cache of it, with the same layout, so all
that reads files reads local ones. A table or a folder of shards is fetched whole when it is asked for, and appears by
one rename. If the cache is larger than ``GRIP_DATA_CACHE_SIZE``, what was used longest ago is removed from it, but
nothing that a process uses at the moment.

A folder in the object store is committed by its ``manifest.json``, which is written last, and only if there is none.
It names each file with its size, its SHA-256 and its object. The objects of one writer have names that no other writer
uses, so two writers of the same artifact do not disturb each other, and what a killed writer leaves is never read.
What this machine needs for itself is in the data folder only: the catalog, the page, locks, and scratch folders.
"""

import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grip_assets.errors import GripError
from grip_assets.runtime import elsewhere, folders, variables
from grip_assets.store.locks import if_free, shared
from grip_assets.store.places import NotThere, Place
from grip_assets.store.scratch import scratch
from grip_assets.store.writing import put, put_once, put_text, sync

MANIFEST = "manifest.json"
CACHE_SIZE = 50 << 30  # bytes, if GRIP_DATA_CACHE_SIZE is not set


def behind(root: Path) -> "Behind | None":
    """The object store behind the data folder ``root``; None if the folder is itself the store."""
    address = folders.data_address()
    return Behind(Place(address), root) if address and root == folders.data_root() else None


def bring_path(path: str) -> None:
    """Fetch what a path or a glob in the data folder names, if an object store is behind it. A worker calls this for
    files that only the driver has seen."""
    address, root = folders.data_address(), folders.data_root()
    fixed = re.sub(r"\[(.)\]", r"\1", path)  # glob.escape writes [*] for a star
    if address and fixed.startswith(f"{root}/"):
        Behind(Place(address), root).bring_inside(Path(fixed))


elsewhere.FETCHERS.append(bring_path)


@dataclass(frozen=True)
class Behind:
    """``place``: the object store. ``root``: the data folder on this machine."""

    place: Place
    root: Path

    def name(self, path: Path) -> str:
        """The name of a file or folder of the data folder in the object store."""
        return path.relative_to(self.root).as_posix()

    # ------------------------------------------------------------------------------------------------ small objects

    def text(self, name: str) -> str | None:
        """The text of an object; None if there is none."""
        try:
            return self.place.read(name).decode(errors="replace")
        except NotThere:
            return None

    def set_text(self, name: str, text: str) -> None:
        self.place.write(name, text.encode())

    # --------------------------------------------------------------------------------------- folders with a manifest

    def manifest(self, name: str, fresh: bool = False) -> dict[str, Any]:
        """The manifest of a folder: the copy on this machine, or the object if there is none or ``fresh`` is asked for.

        NotThere if there is none, ValueError if it is no manifest.
        """
        file = self.root / name / MANIFEST
        if not fresh:
            with suppress(OSError, ValueError):
                return _as_manifest(file.read_text(encoding="utf-8"))
        text = self.place.read(f"{name}/{MANIFEST}").decode(errors="replace")
        found = _as_manifest(text)
        if ".shards" not in file.parts:  # a folder of shards is here whole or not at all
            with scratch(self.root) as aside:
                put_text(text, file, aside / "file")
        return found

    def damage(self, name: str, there: Mapping[str, int] | None = None) -> str:
        """The damage of a folder, in words, by a listing of its objects; "" if it is whole, or if there are none."""
        there = self.place.sizes(name) if there is None else there
        if MANIFEST not in there:
            return "manifest.json is not there" if there else ""
        why = ""
        for fresh in (False, True):  # another writer may have written it anew since the copy here was made
            try:
                why = _lacks(self._files(self.manifest(name, fresh), there), there)
            except NotThere:
                return ""
            except ValueError:
                why = "manifest.json is empty or cut short"
            if not why:
                break
        return why

    def has(self, name: str) -> bool:
        """Whether a folder is committed and whole."""
        there = self.place.sizes(name)
        return MANIFEST in there and not self.damage(name, there)

    def commit(self, made: Path, name: str, manifest: Mapping[str, Any]) -> bool:
        """Upload a finished folder, then its manifest. Returns False if another writer was first with the same thing.

        A folder that is there and is damaged is replaced.
        """
        writer = uuid.uuid4().hex[:12]
        inside = sorted(file for file in made.rglob("*") if file.is_file() and file.name != MANIFEST)
        files = {file.relative_to(made).as_posix(): _identity(file) for file in inside}
        named = {rel: {"object": f"{writer}/{rel}", **said} for rel, said in files.items()}
        self.place.upload({f"{name}/{said['object']}": made / rel for rel, said in named.items()})
        text = json.dumps({**manifest, "files": named}, indent=1)
        if not self._commit(name, text.encode()):
            self.place.remove(f"{name}/{said['object']}" for said in named.values())
            return False
        (made / MANIFEST).write_text(text, encoding="utf-8")
        return True

    def _commit(self, name: str, text: bytes) -> bool:
        """Write the manifest, which makes the folder visible. Only one that is damaged is replaced."""
        if self.place.write_new(f"{name}/{MANIFEST}", text):
            return True
        if self.has(name):
            return False
        self.place.write(f"{name}/{MANIFEST}", text)
        return True

    def keep_copy(self, made: Path, target: Path) -> None:
        """Move a committed folder into the cache. An older copy there goes."""
        sync(made)
        with scratch(self.root) as aside:
            with suppress(FileNotFoundError):
                target.rename(aside / "old")
            put_once(made, target)
        self.evict()

    def remove(self, name: str) -> None:
        """Remove a folder: its manifest first, so that it is never visible half-removed."""
        self.place.remove([f"{name}/{MANIFEST}"])
        self.place.remove(f"{name}/{rest}" for rest in self.place.sizes(name))
        self._drop(self.root / name)

    def _files(self, manifest: Mapping[str, Any], there: Mapping[str, int]) -> dict[str, dict[str, Any]]:
        """The files of a folder: ``object`` and ``bytes`` of each. A data folder that was copied into the object store
        names none; its files are its objects."""
        if "files" in manifest:
            return dict(manifest["files"])
        return {rest: {"object": rest, "bytes": size} for rest, size in there.items() if rest != MANIFEST}

    # ---------------------------------------------------------------------------------------------------- the cache

    def bring_table(self, folder: Path) -> None:
        """Fetch one folder of a committed folder, such as a table of an artifact, unless it is here."""
        pin(self.root, folder)
        if not folder.exists():
            self._bring(self.name(folder.parent), folder.name, folder)

    def bring(self, folder: Path) -> None:
        """Fetch all of a folder of shards that is not here: a committed folder, or objects that each stand alone."""
        pin(self.root, folder)
        name = self.name(folder)
        there = self.place.sizes(name)
        if MANIFEST in there:
            if not folder.exists():
                self._bring(name, "", folder)
            return
        lacking = {rest: folder / rest for rest, size in there.items() if _size(folder / rest) != size}
        with scratch(self.root) as aside:
            self.place.download({f"{name}/{rest}": aside / rest for rest in lacking})
            for rest, file in lacking.items():
                put(aside / rest, file)
        if lacking:
            self.evict()

    def bring_inside(self, path: Path) -> None:
        """Fetch the table or the folder of shards that a path is in, or is."""
        rest = path.relative_to(self.root).parts
        if len(rest) > 2 and rest[1] == ".shards":
            self.bring(self.root.joinpath(*rest[:3]))
        elif len(rest) > 2 and not rest[0].startswith("."):
            self.bring_table(self.root.joinpath(*rest[:3]))

    def bring_file(self, file: Path) -> None:
        """Fetch a file beside the tables of an artifact, such as its picture. If there is none, nothing happens."""
        if file.exists():
            return
        with suppress(NotThere, ValueError), scratch(self.root) as aside:
            said = self._files(self.manifest(self.name(file.parent)), {}).get(file.name)
            if said:
                self.place.download({f"{self.name(file.parent)}/{said['object']}": aside / "file"})
                put(aside / "file", file)

    def _bring(self, name: str, sub: str, target: Path) -> None:
        for fresh in (False, True):
            try:
                manifest = self.manifest(name, fresh)
                there = {} if "files" in manifest else self.place.sizes(name)
                files = self._files(manifest, there)
                wanted = {rel: said for rel, said in files.items() if not sub or rel.startswith(f"{sub}/")}
                self._fetch(name, sub, wanted, target)
                return
            except (NotThere, ValueError) as error:
                if fresh and isinstance(error, NotThere):
                    return  # the caller says what is missing
                if fresh:
                    raise GripError(f"{self.place.url(name)} is damaged: {error}.") from None

    def _fetch(self, name: str, sub: str, wanted: Mapping[str, Mapping[str, Any]], target: Path) -> None:
        if not wanted:
            return
        with scratch(self.root) as aside:
            self.place.download({f"{name}/{said['object']}": aside / "got" / rel for rel, said in wanted.items()})
            for rel, said in wanted.items():
                got = _identity(aside / "got" / rel)
                if any(got[key] != said[key] for key in got if key in said):
                    raise ValueError(f"{rel} has other bytes than its manifest says")
            put_once(aside / "got" / sub if sub else aside / "got", target)
        self.evict()

    def files_of(self, folder: Path) -> list[Path]:
        """The files of a table in the order of their names, whether they are here or not."""
        name = self.name(folder.parent)
        manifest = self.manifest(name)
        there = {} if "files" in manifest else self.place.sizes(name)
        inside = [rel for rel in self._files(manifest, there) if rel.startswith(f"{folder.name}/")]
        return sorted(folder.parent / rel for rel in inside if rel.endswith(".parquet"))

    def bytes_of(self, folder: Path) -> int:
        """The bytes of a table, by the manifest of its artifact; 0 if there is none."""
        with suppress(NotThere, ValueError):
            return int(self.manifest(self.name(folder.parent))["tables"][folder.name]["bytes"])
        return 0

    def address_of(self, file: Path) -> str | None:
        """The address of a file of a table in the object store; None if no manifest names it."""
        stage, version, *rest = file.relative_to(self.root).parts
        with suppress(NotThere, ValueError):
            manifest = self.manifest(f"{stage}/{version}")
            said = manifest.get("files", {}).get("/".join(rest), {"object": "/".join(rest)})
            return self.place.url(f"{stage}/{version}/{said['object']}")
        return None

    def evict(self) -> None:
        """Make the cache as small as GRIP_DATA_CACHE_SIZE says, as far as no process uses what is in it."""
        limit = variables.value("GRIP_DATA_CACHE_SIZE") or CACHE_SIZE
        held = sorted(_cached(self.root), key=lambda unit: unit.used)
        too_much = sum(unit.n_bytes for unit in held) - limit
        for unit in held:
            if too_much <= 0:
                return
            if self._drop(unit.folder):
                too_much -= unit.n_bytes

    def _drop(self, folder: Path) -> bool:
        """Remove a folder from the cache, by one rename, unless a process uses it."""
        with ExitStack() as stack:
            if not stack.enter_context(if_free(_pin(self.root, folder))):
                return False
            aside = stack.enter_context(scratch(self.root))
            with suppress(FileNotFoundError):
                folder.rename(aside / "dropped")
        return True


@dataclass(frozen=True)
class _Unit:
    """A table or a folder of shards in the cache. ``used``: when it was last asked for, by the time of its folder."""

    folder: Path
    n_bytes: int = field(compare=False)
    used: float = field(compare=False)


def _cached(root: Path) -> Iterator[_Unit]:
    for folder in (*root.glob("[!.]*/[!.]*/*/"), *root.glob("[!.]*/.shards/*/")):
        with suppress(FileNotFoundError):
            n_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            yield _Unit(folder, n_bytes, folder.stat().st_mtime)


# ------------------------------------------------------------------------------------------------------ what is in use

_pins: dict[Path, ExitStack] = {}
_depth = 0


def _pin(root: Path, folder: Path) -> Path:
    pins = root / ".pins"
    pins.mkdir(parents=True, exist_ok=True)
    return pins / hashlib.sha256(str(folder).encode()).hexdigest()[:32]


def pin(root: Path, folder: Path) -> None:
    """Keep a folder in the cache until ``in_use`` ends, or this process."""
    file = _pin(root, folder)
    if file not in _pins:
        _pins[file] = ExitStack()
        _pins[file].enter_context(shared(file))
    with suppress(FileNotFoundError):
        os.utime(folder)


@contextmanager
def in_use() -> Iterator[None]:
    """When the outermost of these blocks ends, what this process has fetched may leave the cache again."""
    global _depth
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if not _depth:
            while _pins:
                _pins.popitem()[1].close()


def _as_manifest(text: str) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict) or not found.keys() & {"tables", "files"}:
        raise ValueError("no manifest")
    return found


def _identity(file: Path) -> dict[str, Any]:
    with file.open("rb") as opened:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(opened, "sha256").hexdigest()}


def _lacks(files: Mapping[str, Mapping[str, Any]], there: Mapping[str, int]) -> str:
    for rel, said in files.items():
        size = there.get(said["object"], 0)
        if size != said["bytes"]:
            return f"{rel} has {size:,} of {said['bytes']:,} bytes"
    return ""


def _size(file: Path) -> int | None:
    return file.stat().st_size if file.exists() else None
