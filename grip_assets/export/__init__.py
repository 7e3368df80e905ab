"""The subset's documents in the format that a trainer reads, with a card that says where they come from.

An export is written part by part beside its target, and resumed part by part. The target appears by one rename.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.compute as pc

from grip_assets.errors import GripError
from grip_assets.export.card import card
from grip_assets.export.formats import Format, HuggingFace, Jsonl, JsonlGzip, JsonlZstd, Parquet
from grip_assets.export.lineage import Lineage, lineage
from grip_assets.export.rows import Rows
from grip_assets.export.trainers import Mds, Megatron
from grip_assets.export.workplace import MANIFEST, Workplace, refuse_other, workplace
from grip_assets.progress import Progress
from grip_assets.settings import digest
from grip_assets.store.catalog import connect

VERSION = 1  # goes up when the same export has other bytes
FORMATS: dict[str, type[Format]] = {
    kind.name: kind for kind in (Parquet, Jsonl, JsonlGzip, JsonlZstd, HuggingFace, Mds, Megatron)
}
PART_BYTES = 64 << 20  # of text; MosaicML's default size of a shard


@dataclass(frozen=True)
class Export:
    """What is written: everything that the bytes depend on beside the subset."""

    format: str
    expand: bool = False
    shuffle: int | None = None
    tokenizer: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def key(self, subset: str) -> str:
        return digest([VERSION, subset, PART_BYTES, asdict(self)])


def export(
    root: Path,
    path: Path,
    format: str | None = None,
    tokenizer: str | None = None,
    expand: bool = False,
    shuffle: int | None = None,
    log: Callable[[str], None] = print,
) -> int:
    """Write the subset to ``path``; return the number of documents written, repeats counted where they are rows.

    GripError for a format, a path or a tokenizer that cannot be used, and for a subset that is not there or was made
    from tables that are no longer in force.
    """
    kind = FORMATS[_format(path, format)]
    path = path.absolute()
    refuse_other(path, kind.directory)
    with connect(root) as connection:
        made_from = lineage(connection, root)
        writer = kind(root, tokenizer, made_from.tokenizer)
        what = Export(kind.name, expand or kind.expands, shuffle, writer.tokenizer, writer.facts())
        with workplace(path, what.key(made_from.version)) as work:
            rows = Rows(connection, made_from.corpus, what.expand, shuffle, PART_BYTES, work.folder / "spilled")
            counts = _write_parts(rows, writer, work, log)
            log(f"exporting: putting {what.format} together, parts: {len(work.parts()):,}")
            writer.assemble(work.parts(), work.target())
            manifest = {"grip_export": VERSION, "subset": made_from.version, **asdict(what), **counts}
            _describe(connection, kind, made_from, manifest, path, work)
            work.publish(kind.directory)
    return counts["rows"]


def _format(path: Path, format: str | None) -> str:
    """The format named, or the one that the path's suffix says; GripError where there is none, or they differ."""
    said = next((n for n, kind in FORMATS.items() if kind.suffix and path.name.lower().endswith(kind.suffix)), None)
    if format is not None and format not in FORMATS:
        raise GripError(f"There is no export format '{format}'. Choose one of: {', '.join(FORMATS)}.")
    if format and said and format != said:
        raise GripError(f"{path.name} is named like {said}, and --format is {format}. Change one of them.")
    return format or said or "parquet"


def _write_parts(rows: Rows, writer: Format, work: Workplace, log: Callable[[str], None]) -> dict[str, int]:
    """Write the parts that are not there yet; return the totals of all."""
    missing = [part for part in rows.sizes if not work.has(part)]
    if there := len(rows.sizes) - len(missing):
        log(f"exporting: {there:,} of {len(rows.sizes):,} parts are there from an export that was stopped")
    progress = Progress("exporting", sum(rows.sizes[part] for part in missing), "documents", log)
    for part, table in rows.of(missing):
        with work.part(part) as folder:
            note = {"rows": len(table), "tokens": pc.sum(pc.multiply(table["n_tokens"], table["repeats"])).as_py()}
            (folder / "part.json").write_text(json.dumps(note | writer.write(table, folder)))
        progress.advance(len(table))
    progress.finish()
    notes = [json.loads((part / "part.json").read_text()) for part in work.parts()]
    return {name: sum(note[name] for note in notes) for name in ("rows", "tokens")}


def _describe(
    connection: duckdb.DuckDBPyConnection,
    kind: type[Format],
    made_from: Lineage,
    manifest: dict[str, Any],
    path: Path,
    work: Workplace,
) -> None:
    text = card(connection, made_from, manifest, kind, path.name)
    if kind.directory:
        (work.target() / "README.md").write_text(text)
        (work.target() / MANIFEST).write_text(json.dumps(manifest, indent=1))
    else:
        work.card().write_text(text)
