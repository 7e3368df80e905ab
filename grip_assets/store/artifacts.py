"""Immutable artifacts at ``<root>/<stage>/<version>/``: written aside, synced, then published by one rename.

An artifact is a folder of tables (``<table>/part-00000.parquet`` ...) and a ``manifest.json`` with its settings, inputs
and run. Its version is a recipe, which is known before the artifact is computed (engine/stage.py). So one look tells
whether it exists, a crash leaves nothing half-made, and two runs that make the same artifact cannot clash.
"""

import glob
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from grip_assets.errors import GripError
from grip_assets.runtime.folders import REPOSITORY as REPOSITORY
from grip_assets.runtime.folders import data_root as data_root
from grip_assets.runtime.notices import warn_once
from grip_assets.store.locks import if_free, locked
from grip_assets.store.tables import TableWriter, arrow
from grip_assets.store.writing import put_text, sync, sync_one

VERSION = re.compile(r"[0-9a-f]{16}")


class Draft:
    """An artifact in the making. Nothing of it is visible before it is published."""

    def __init__(self, folder: Path):
        self.folder = folder

    def writer(self, table: str, schema: pa.Schema) -> TableWriter:
        """A writer for a table that is larger than memory: ``with draft.writer(...) as w: w.write(batch)``."""
        (self.folder / table).mkdir()
        return TableWriter(self.folder / table / "part-00000.parquet", schema)

    def write(self, table: str, frame: pl.DataFrame | pa.Table) -> None:
        self.write_blocks(table, [arrow(frame) if isinstance(frame, pl.DataFrame) else frame])

    def write_blocks(self, table: str, blocks: Iterable[pa.Table]) -> None:
        """Write blocks one after the other. The first one decides the schema; there must be at least one."""
        rest = iter(blocks)
        first = next(rest)
        with self.writer(table, first.schema) as writer:
            for block in chain([first], rest):
                writer.write(block)

    def parquet(self, table: str) -> str:
        return parquet_files(self.folder / table)


class ArtifactStore:
    """All artifacts of one data folder."""

    def __init__(self, root: Path):
        self.root = root
        self.shards_used: set[str] = set()  # folders of shards that were opened, for the manifest

    def folder(self, stage: str, version: str) -> Path:
        return self.root / stage / version

    def has(self, stage: str, version: str) -> bool:
        """Whether the artifact exists and is not damaged."""
        folder = self.folder(stage, version)
        return folder.is_dir() and not damage(folder)

    def damaged(self, stage: str, version: str) -> str:
        """The damage of an artifact's files, for example after a power cut; "" if it has none, or does not exist."""
        folder = self.folder(stage, version)
        return damage(folder) if folder.is_dir() else ""

    def manifest(self, stage: str, version: str) -> dict[str, Any]:
        """The manifest of an artifact, even if its folder was removed or is damaged. GripError if there is none."""
        for file in (self.folder(stage, version) / "manifest.json", self._kept(stage, version)):
            with suppress(FileNotFoundError, ValueError):
                return read_manifest(file)
        raise GripError(
            f"{self.folder(stage, version)} is not there, though a run recorded it. Materialize {stage} again:"
            f" it is computed from its inputs and gets the same name."
        )

    def knows(self, stage: str, version: str) -> bool:
        """Whether there is a manifest of this artifact. Its folder may be gone."""
        return self.has(stage, version) or _is_manifest(self._kept(stage, version))

    def keep(self, manifest: dict[str, Any]) -> None:
        """Store a copy of the manifest outside of the artifact's folder, so that it survives a removal."""
        file = self._kept(manifest["stage"], manifest["version"])
        if not _is_manifest(file):
            self.replace(file, json.dumps(manifest, indent=1))

    def _kept(self, stage: str, version: str) -> Path:
        return self.root / ".manifests" / stage / f"{version}.json"

    def ever_made(self, stage: str) -> Iterator[dict[str, Any]]:
        """Manifests of all artifacts that a stage ever made, even of removed ones, in the order of their names."""
        kept = {file.stem for file in (self.root / ".manifests" / stage).glob("*.json") if _is_manifest(file)}
        there = {folder.name for folder in self.folders(stage) if _is_manifest(folder / "manifest.json")}
        yield from (self.manifest(stage, version) for version in sorted(kept | there))

    def ancestors(self, stage: str, version: str) -> dict[str, dict[str, Any]]:
        """Stage to manifest, for an artifact and all that it was made from. Inputs come before their readers."""
        found: dict[str, dict[str, Any]] = {}
        seen: set[tuple[str, str]] = set()

        def visit(name: str, made_from: str) -> None:
            seen.add((name, made_from))
            manifest = self.manifest(name, made_from)
            for parent, parent_version in manifest["inputs"].items():
                if (parent, parent_version) not in seen:  # two inputs often have the same ancestors
                    visit(parent, parent_version)
            found[name] = manifest

        visit(stage, version)
        return found

    def parquet(self, stage: str, version: str, table: str) -> str:
        """The files of a table, as a glob for DuckDB or polars. The order of their names is the order of the rows."""
        return parquet_files(self.folder(stage, version) / table)

    def folders(self, stage: str = "[!.]*") -> list[Path]:
        """Folders of all artifacts (or of one stage), even damaged ones, in the order of their names."""
        found = self.root.glob(f"{stage}/[!.]*")
        return sorted(f for f in found if (f / "manifest.json").exists() or (VERSION.fullmatch(f.name) and f.is_dir()))

    def manifests(self, stage: str = "[!.]*") -> Iterator[dict[str, Any]]:
        """Manifests of all artifacts (or of one stage), in the order of their names. Damaged ones are left out, with a
        warning."""
        for folder in self.folders(stage):
            if why := damage(folder):
                warn_once(f"{folder} is damaged and left out: {why}. A run that needs it makes it again.")
            else:
                yield read_manifest(folder / "manifest.json")

    def alias(self, stage: str, recipe: str) -> str | None:
        """The version that ``recipe`` led to, for a stage that is named by its content.

        None if it was not made yet, or if the file is empty after a power cut.
        """
        try:
            noted = (self.root / stage / ".aliases" / recipe).read_text(encoding="utf-8")
        except (FileNotFoundError, UnicodeDecodeError):
            return None
        return noted or None

    def set_alias(self, stage: str, recipe: str, version: str) -> None:
        self.replace(self.root / stage / ".aliases" / recipe, version)

    def replace(self, file: Path, text: str) -> None:
        """Write a small file completely or not at all, even in a power cut."""
        with self.scratch() as scratch:
            put_text(text, file, scratch / "file")

    @contextmanager
    def publish(self, stage: str, manifest: dict[str, Any]) -> Iterator[Draft]:
        """Yield a draft. If the block ends without an error, it becomes the artifact; otherwise it is removed.

        The block may add to ``manifest``, which is written last. Its ``version`` is the artifact's name.
        """
        with self.scratch() as folder:
            yield Draft(folder)
            manifest["tables"] = {t.name: describe(t) for t in sorted(folder.iterdir()) if t.is_dir()}
            (folder / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
            sync(folder)
            self.keep({"stage": stage, **manifest})
            final = self.folder(stage, manifest["version"])
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                folder.rename(final)
            except OSError:
                if self.has(stage, manifest["version"]):  # another run was first with the same thing
                    return
                if not final.is_dir():
                    raise
                self.discard(final)  # damaged: its place is for the whole one
                folder.rename(final)
            sync_one(final.parent)

    def discard(self, folder: Path) -> None:
        """Remove a folder. One rename hides it first, so it is never visible half-removed."""
        with self.scratch() as scratch:
            folder.rename(scratch / "discarded")

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A temporary folder on the same file system. It is removed after the block.

        Its owner holds a lock, so the folder of a killed process is recognised, and removed by the next call.
        """
        root = self.root / ".scratch"
        root.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        folder = root / uuid.uuid4().hex
        with _held(folder.with_suffix(".lock")):
            folder.mkdir()
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)


def parquet_files(folder: Path) -> str:
    """A glob of the Parquet files of a folder, whatever characters are in its path."""
    return str(Path(glob.escape(str(folder))) / "*.parquet")


def read_manifest(file: Path) -> dict[str, Any]:
    """Read a manifest. FileNotFoundError, or ValueError if the file is not a manifest."""
    manifest = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(manifest, dict) or "tables" not in manifest:
        raise ValueError("no manifest")
    return manifest


def main_table(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Rows, bytes and columns of the stage's first table. In older manifests that has the stage's name."""
    return manifest["tables"][manifest.get("main", manifest["stage"])]


def _is_manifest(file: Path) -> bool:
    try:
        return bool(read_manifest(file))
    except (FileNotFoundError, ValueError):
        return False


def damage(folder: Path) -> str:
    """The damage of an artifact, in words: a missing manifest, or missing files or bytes of a table; "" if none.

    Only sizes and the last bytes of each file are checked, which a power cut leaves wrong; not every byte.
    """
    try:
        tables = read_manifest(folder / "manifest.json")["tables"]
    except FileNotFoundError:
        return "manifest.json is not there"
    except ValueError:
        return "manifest.json is empty or cut short"
    for table, said in tables.items():
        parts = sorted((folder / table).glob("*.parquet"))
        size = sum(part.stat().st_size for part in parts)
        if size != said["bytes"]:
            return f"table {table} has {size:,} of {said['bytes']:,} bytes"
        if not all(map(_ends_as_parquet, parts)):
            return f"table {table} is not Parquet to its end"
    return ""


def _ends_as_parquet(file: Path) -> bool:
    with file.open("rb") as handle:
        handle.seek(-4, os.SEEK_END)
        return handle.read() == b"PAR1"


def describe(table: Path) -> dict[str, Any]:
    """Rows, bytes and columns of a table's files, from their footers."""
    import pyarrow.parquet as pq

    parts = [pq.ParquetFile(part) for part in sorted(table.glob("*.parquet"))]
    return {
        "rows": sum(p.metadata.num_rows for p in parts),
        "bytes": sum(part.stat().st_size for part in table.glob("*.parquet")),
        "columns": {field.name: str(field.type) for field in parts[0].schema_arrow},
    }


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
