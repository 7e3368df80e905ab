"""The two binary formats of trainers: MosaicML's MDS and Megatron's .bin/.idx."""

import gc
import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from grip_assets.errors import GripError
from grip_assets.export.formats import Format
from grip_assets.extras import missing

BLOCK = 256  # documents per batch
PREFIX = "text_document"  # name of the files, as Megatron's own preprocessing has it


class Mds(Format):
    """MosaicML's MDS, which the library ``streaming`` reads. Each part becomes one shard.

    It is written here because ``streaming`` cannot be installed beside this program: it requires transformers<5 and
    numpy<2.2, and imports torchvision.

    A shard consists of the number of samples n, n + 1 offsets from the file's start (uint32), its description as JSON,
    and the samples. A sample consists of the sizes of its columns of variable size (uint32), and its columns in the
    order of their names.
    """

    name, directory, expands = "mds", True, True

    def write(self, rows: pa.Table, folder: Path) -> dict[str, Any]:
        rows = _flat(rows)
        columns = sorted(rows.column_names)
        kinds = [_kind(rows.schema.field(name).type) for name in columns]
        shard = {
            "column_encodings": kinds,
            "column_names": columns,
            "column_sizes": [None if kind == "str" else 8 for kind in kinds],
            "compression": None,
            "format": "mds",
            "hashes": [],
            "size_limit": None,
            "version": 2,
        }
        size = _shard(rows.select(columns), kinds, json.dumps(shard, sort_keys=True).encode(), folder / "shard.mds")
        return {"shard": shard | {"samples": len(rows), "raw_data": {"bytes": size, "hashes": {}}, "zip_data": None}}

    def assemble(self, parts: list[Path], out: Path) -> None:
        out.mkdir()
        shards = []
        for number, part in enumerate(parts):
            shard = json.loads((part / "part.json").read_text(encoding="utf-8"))["shard"]
            shard["raw_data"]["basename"] = f"shard.{number:05}.mds"
            _place(part / "shard.mds", out / shard["raw_data"]["basename"])
            shards.append(shard)
        (out / "index.json").write_text(json.dumps({"shards": shards, "version": 2}, sort_keys=True), encoding="utf-8")


def _flat(rows: pa.Table) -> pa.Table:
    """The rows, with columns that are neither text nor numbers written as JSON. MDS has no other types."""
    for i, field in enumerate(rows.schema):
        kind = field.type
        if not (pa.types.is_string(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            texts = [None if value is None else json.dumps(value, default=str) for value in rows[i].to_pylist()]
            rows = rows.set_column(i, field.name, pa.array(texts, pa.string()))
    return rows


def _place(file: Path, name: Path) -> None:
    """Link a file to another name, or copy it if the file system has no hard links."""
    try:
        name.hardlink_to(file)
    except OSError:
        shutil.copyfile(file, name)


def _kind(type: pa.DataType) -> str:
    return "str" if pa.types.is_string(type) else "int" if pa.types.is_integer(type) else "float64"


def _shard(rows: pa.Table, kinds: list[str], description: bytes, path: Path) -> int:
    """Write a shard; return its size in bytes."""
    samples = [_sample(values, kinds) for batch in rows.to_batches(BLOCK) for values in _rows(batch)]
    start = 4 * (len(samples) + 2) + len(description)
    ends_N = start + np.cumsum([0, *map(len, samples)])
    if ends_N[-1] >= 2**32:
        raise GripError("An MDS shard must be below 4 GB, but the subset has longer documents. Lower corpus.max_bytes.")
    with path.open("wb") as file:
        file.write(np.uint32(len(samples)).tobytes() + ends_N.astype("<u4").tobytes() + description)
        file.writelines(samples)
    return int(ends_N[-1])


def _rows(batch: pa.RecordBatch) -> Any:
    return zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _sample(values: tuple, kinds: list[str]) -> bytes:
    """One sample. MDS has no null: a missing text is empty, a missing number is 0."""
    data = [_ENCODE[kind](value or ("" if kind == "str" else 0)) for value, kind in zip(values, kinds, strict=True)]
    sizes = [len(d) for d, kind in zip(data, kinds, strict=True) if kind == "str"]
    return np.array(sizes, "<u4").tobytes() + b"".join(data)


_ENCODE: dict[str, Any] = {
    "str": str.encode,
    "int": lambda value: np.array(value, "<i8").tobytes(),
    "float64": lambda value: np.array(value, "<f8").tobytes(),
}


class Megatron(Format):
    """Megatron's .bin/.idx: token ids of each document and the end-of-text token, written by Megatron Core."""

    name, directory, expands = "megatron", True, True

    def __init__(self, root: Path, tokenizer: str | None, counter: str):
        from grip_assets.models.files import content_hash, locate_tokenizer
        from grip_assets.models.tokenizers import open_tokenizer

        setting = "--tokenizer" if tokenizer else "settings/corpus.tokenizer"
        self.tokenizer = tokenizer or counter
        self.library = _megatron()
        self.content = content_hash(locate_tokenizer(self.tokenizer, setting), root)
        self.model = open_tokenizer(self.tokenizer, setting, root)
        self.end = self.model.eos_token_id
        self.dtype = self.library.DType.optimal_dtype(len(self.model))
        if self.end is None:
            raise GripError(
                f"{setting}: the tokenizer '{self.tokenizer}' has no end-of-text token, but Megatron needs one after"
                " each document. Name another tokenizer with --tokenizer, or set eos_token in a tokenizer_config.json"
                " beside it."
            )

    def facts(self) -> dict[str, Any]:
        return {"tokenizer": self.content, "end_of_text": self.end, "dtype": np.dtype(self.dtype).name}

    def write(self, rows: pa.Table, folder: Path) -> dict[str, Any]:
        from grip_assets.models.tokenizers import tokenize

        builder = self._builder(folder)
        n_tokens = 0
        for batch in rows.select(["text"]).to_batches(BLOCK):
            for ids in tokenize(self.model, batch["text"].to_pylist()):
                builder.add_document(np.array([*ids, self.end]), [len(ids) + 1])
                n_tokens += len(ids) + 1
        builder.finalize(str(folder / f"{PREFIX}.idx"))
        return {"tokens": n_tokens}

    def assemble(self, parts: list[Path], out: Path) -> None:
        out.mkdir()
        builder = self._builder(out)
        with _few_to_collect():
            for part in parts:
                builder.add_index(str(part / PREFIX))
        builder.finalize(str(out / f"{PREFIX}.idx"))

    def _builder(self, folder: Path) -> Any:
        return self.library.IndexedDatasetBuilder(str(folder / f"{PREFIX}.bin"), dtype=self.dtype)


@contextmanager
def _few_to_collect() -> Iterator[None]:
    """Garbage is looked for among new objects only. The builder collects it for each part, and to look through all
    that is loaded would take up to a second each time."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _megatron() -> Any:
    """The module that reads and writes Megatron's files. GripError if it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # it warns that Transformer Engine and Apex are missing; only training needs them
            from megatron.core.datasets import indexed_dataset
    except ImportError as error:
        raise missing("export", "--format megatron", error) from None
    return indexed_dataset
