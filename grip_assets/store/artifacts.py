"""Immutable artifacts at ``<root>/<stage>/<version>/``: written aside, synced, then published by one rename.

An artifact is a folder of tables (``<table>/part-00000.parquet`` ...) and a ``manifest.json`` with its settings, inputs
and run. Its version is a recipe, which is known before the artifact is computed (engine/stage.py). So one look tells
whether it exists, a crash leaves nothing half-made, and two runs that make the same artifact cannot clash.

If the data folder is the cache of an object store, that store decides what exists: see behind.py.
"""

import glob
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from grip_assets.errors import GripError
from grip_assets.runtime.folders import REPOSITORY as REPOSITORY
from grip_assets.runtime.folders import data_root as data_root
from grip_assets.runtime.notices import warn_once
from grip_assets.store.behind import MANIFEST, Behind, behind
from grip_assets.store.places import NotThere
from grip_assets.store.scratch import scratch
from grip_assets.store.tables import TableWriter, arrow
from grip_assets.store.writing import put, put_once, put_text, sync, sync_one

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
    """All artifacts of one data folder. ``behind``: the object store whose cache the folder is; None if it is none."""

    def __init__(self, root: Path, in_place: Behind | None = None):
        self.root = root
        self.behind = in_place or behind(root)
        self.shards_used: set[str] = set()  # folders of shards that were opened, for the manifest

    def folder(self, stage: str, version: str) -> Path:
        return self.root / stage / version

    def has(self, stage: str, version: str) -> bool:
        """Whether the artifact exists and is not damaged."""
        if self.behind:
            return self.behind.has(f"{stage}/{version}")
        folder = self.folder(stage, version)
        return folder.is_dir() and not damage(folder)

    def damaged(self, stage: str, version: str) -> str:
        """The damage of an artifact's files, for example after a power cut; "" if it has none, or does not exist."""
        if self.behind:
            return self.behind.damage(f"{stage}/{version}")
        folder = self.folder(stage, version)
        return damage(folder) if folder.is_dir() else ""

    def manifest(self, stage: str, version: str) -> dict[str, Any]:
        """The manifest of an artifact, even if its folder was removed or is damaged. GripError if there is none."""
        if self.behind:
            with suppress(FileNotFoundError, ValueError):
                return self.behind.manifest(f"{stage}/{version}")
            self._bring_kept(stage, version)
        for file in (self.folder(stage, version) / MANIFEST, self._kept(stage, version)):
            with suppress(FileNotFoundError, ValueError):
                return read_manifest(file)
        raise GripError(
            f"{self.shown(self.folder(stage, version))} is not there, though a run recorded it. Materialize {stage}"
            " again: it is computed from its inputs and gets the same name."
        )

    def own_manifest(self, stage: str, version: str) -> dict[str, Any]:
        """The manifest in the artifact's folder. FileNotFoundError, or ValueError if the file is not a manifest."""
        if self.behind:
            return self.behind.manifest(f"{stage}/{version}")
        return read_manifest(self.folder(stage, version) / MANIFEST)

    def knows(self, stage: str, version: str) -> bool:
        """Whether there is a manifest of this artifact. Its folder may be gone."""
        if self.has(stage, version):
            return True
        self._bring_kept(stage, version)
        return _is_manifest(self._kept(stage, version))

    def keep(self, manifest: dict[str, Any]) -> None:
        """Store a copy of the manifest outside of the artifact's folder, so that it survives a removal."""
        file = self._kept(manifest["stage"], manifest["version"])
        if not _is_manifest(file):
            text = json.dumps(manifest, indent=1)
            if self.behind:
                self.behind.set_text(self.behind.name(file), text)
            self.replace(file, text)

    def _bring_kept(self, stage: str, version: str) -> None:
        file = self._kept(stage, version)
        if self.behind and not file.exists() and (text := self.behind.text(self.behind.name(file))):
            self.replace(file, text)

    def _kept(self, stage: str, version: str) -> Path:
        return self.root / ".manifests" / stage / f"{version}.json"

    def ever_made(self, stage: str) -> Iterator[dict[str, Any]]:
        """Manifests of all artifacts that a stage ever made, even of removed ones, in the order of their names."""
        if self.behind:
            kept = {name.removesuffix(".json") for name in self.behind.place.sizes(f".manifests/{stage}")}
            there = {manifest["version"] for manifest in self.manifests(stage)}
        else:
            kept = {file.stem for file in (self.root / ".manifests" / stage).glob("*.json") if _is_manifest(file)}
            there = {folder.name for folder in self.folders(stage) if _is_manifest(folder / MANIFEST)}
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
        """The files of a table, as a glob for DuckDB or polars. The order of their names is the order of the rows.

        They are fetched if an object store is behind the data folder."""
        if self.behind:
            self.behind.bring_table(self.folder(stage, version) / table)
        return parquet_files(self.folder(stage, version) / table)

    def glob(self, stage: str, version: str, table: str) -> str:
        """As ``parquet``, for readers that call ``tables.parts``, which fetches what is not here."""
        return parquet_files(self.folder(stage, version) / table)

    def folders(self, stage: str = "[!.]*") -> list[Path]:
        """Folders of all artifacts (or of one stage), even damaged ones, in the order of their names."""
        if self.behind:
            return sorted(self.root / stage / version for stage, version in self._listed(stage))
        found = self.root.glob(f"{stage}/[!.]*")
        return sorted(f for f in found if (f / "manifest.json").exists() or (VERSION.fullmatch(f.name) and f.is_dir()))

    def _listed(self, stage: str = "[!.]*") -> dict[tuple[str, str], dict[str, int]]:
        """Bytes of each object of all artifacts (or of one stage) in the object store behind."""
        assert self.behind is not None
        above = "" if "*" in stage else f"{stage}/"
        found: dict[tuple[str, str], dict[str, int]] = {}
        for name, size in self.behind.place.sizes(above.rstrip("/")).items():
            of_stage, _, rest = f"{above}{name}".partition("/")
            version, _, file = rest.partition("/")
            if file and not of_stage.startswith(".") and not version.startswith("."):
                found.setdefault((of_stage, version), {})[file] = size
        return found

    def manifests(self, stage: str = "[!.]*") -> Iterator[dict[str, Any]]:
        """Manifests of all artifacts (or of one stage), in the order of their names. Damaged ones are left out, with a
        warning."""
        if self.behind:
            yield from self._manifests_behind(self.behind, stage)
            return
        for folder in self.folders(stage):
            if why := damage(folder):
                warn_once(f"{folder} is damaged and left out: {why}. A run that needs it makes it again.")
            else:
                yield read_manifest(folder / MANIFEST)

    def _manifests_behind(self, store: Behind, stage: str) -> Iterator[dict[str, Any]]:
        """As ``manifests``. What a writer has not committed yet is left out without a word."""
        for (of_stage, version), there in sorted(self._listed(stage).items()):
            name = f"{of_stage}/{version}"
            if MANIFEST not in there:
                continue
            if why := store.damage(name, there):
                warn_once(
                    f"{store.place.url(name)} is damaged and left out: {why}. A run that needs it makes it again."
                )
            else:
                with suppress(NotThere):  # removed since
                    yield store.manifest(name)

    def shown(self, path: Path) -> str:
        """A path in the data folder as people name it: its address, if an object store is behind it."""
        return self.behind.place.url(self.behind.name(path)) if self.behind else str(path)

    def alias(self, stage: str, recipe: str) -> str | None:
        """The version that ``recipe`` led to, for a stage that is named by its content.

        None if it was not made yet, or if the file is empty after a power cut.
        """
        if self.behind:
            return self.behind.text(f"{stage}/.aliases/{recipe}") or None
        try:
            noted = (self.root / stage / ".aliases" / recipe).read_text(encoding="utf-8")
        except (FileNotFoundError, UnicodeDecodeError):
            return None
        return noted or None

    def set_alias(self, stage: str, recipe: str, version: str) -> None:
        if self.behind:
            self.behind.set_text(f"{stage}/.aliases/{recipe}", version)
        else:
            self.replace(self.root / stage / ".aliases" / recipe, version)

    def replace(self, file: Path, text: str) -> None:
        """Write a small file of this machine completely or not at all, even in a power cut."""
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
            final = self.folder(stage, manifest["version"])
            final.parent.mkdir(parents=True, exist_ok=True)
            if self.behind:
                self.keep({"stage": stage, **manifest})
                if self.behind.commit(folder, self.behind.name(final), manifest):
                    self.behind.keep_copy(folder, final)
                return
            (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
            sync(folder)
            self.keep({"stage": stage, **manifest})
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
        if self.behind:
            self.behind.remove(self.behind.name(folder))
            return
        with self.scratch() as scratch:
            folder.rename(scratch / "discarded")

    def scratch(self) -> AbstractContextManager[Path]:
        """A temporary folder on the same file system, which is removed after the block (scratch.py)."""
        return scratch(self.root)

    def bring_file(self, file: Path) -> None:
        """Fetch a file beside the tables of an artifact, if it is not here and an object store has it."""
        if self.behind:
            self.behind.bring_file(file)

    # ------------------------------------------------------------------------------------------------------ shards

    def bring(self, folder: Path) -> None:
        """Fetch what is lacking here of a folder of shards, if an object store is behind the data folder."""
        if self.behind:
            self.behind.bring(folder)

    def put(self, made: Path, file: Path) -> None:
        """Move a finished shard to its place; durable when this returns."""
        if self.behind:
            self.behind.place.upload({self.behind.name(file): made})
        put(made, file)

    def put_folder(self, made: Path, folder: Path) -> None:
        """Move a finished folder to its place among the shards. If there is one already, that one stays."""
        if self.behind and not self.behind.commit(made, self.behind.name(folder), {}):
            self.behind.bring(folder)
        else:
            put_once(made, folder)

    def shard_folders(self) -> list[Path]:
        """All folders of shards, of all stages."""
        if self.behind:
            names = (name.split("/") for name in self.behind.place.sizes(""))
            found = {tuple(name[:3]) for name in names if len(name) > 3 and name[1] == ".shards"}
            return sorted(self.root.joinpath(*name) for name in found if not name[0].startswith("."))
        return sorted(self.root.glob("[!.]*/.shards/*"))

    def remove_shard(self, file: Path) -> None:
        """Remove a shard that cannot be read."""
        if self.behind:
            self.behind.place.remove([self.behind.name(file)])
        with suppress(FileNotFoundError):
            file.unlink()

    def bytes_of(self, folder: Path) -> int:
        """Bytes that removing a folder frees. A file with several hard links (a part that versions share) does not
        count."""
        if self.behind:
            return sum(self.behind.place.sizes(self.behind.name(folder)).values())
        found = [file.stat() for file in folder.rglob("*") if file.is_file()]
        return sum(stat.st_size for stat in found if stat.st_nlink == 1)


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
        tables = read_manifest(folder / MANIFEST)["tables"]
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
