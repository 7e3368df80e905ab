"""Turns a row of a table into a document: finds its text, its name, its project and its language.

A row that cannot be used is a rejected row. A file that cannot be read to its end is an error, since nobody could tell
what is missing. The formats of tables are in files of their own beside this one.
"""

import datetime
import decimal
import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, ClassVar
from urllib.parse import unquote

import numpy as np
import pyarrow as pa

from grip_assets.errors import GripError
from grip_assets.settings import Corpus
from grip_assets.sources import streams
from grip_assets.sources.documents import RawDocument, Reason, Rejected, from_text, readable
from grip_assets.sources.languages import named
from grip_assets.sources.listing import Entry
from grip_assets.sources.readers.base import Reader

TEXT_FIELDS = ("text", "content", "code")
LANGUAGE_FIELDS = ("language", "lang", "programming_language")
OF_CODE = "programming_language"  # where `pl` is Perl
ALL = "*"
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
COLUMNS_SHOWN = 12


@dataclass(frozen=True)
class RowFormat:
    """How a row becomes a document. Names of columns may be dotted: ``meta.repo`` is a field of a struct."""

    text_field: str | None
    id_field: str | None
    project_field: str | None
    max_bytes: int
    language_field: str | None = None
    keep: tuple[str, ...] = ()
    vector_field: str | None = None

    @classmethod
    def of(cls, settings: Corpus, vector_column: str | None) -> "RowFormat":
        s = settings
        return cls(
            s.text_field, s.id_field, s.project_field, s.max_bytes, s.language_field, tuple(s.keep), vector_column
        )

    @cached_property
    def longest_line(self) -> int:
        """Bytes of the longest JSON line that is held: a text of max_bytes, every byte escaped, and other columns."""
        return 8 * self.max_bytes + (16 << 20)

    def has_text(self, row: Any) -> bool:
        fields = (self.text_field,) if self.text_field else TEXT_FIELDS
        return isinstance(row, dict) and any(isinstance(value_of(row, f), str | bytes) for f in fields)

    def document(self, row: Any, file: str, number: int | str) -> RawDocument | Rejected:
        place = f"{file}:{number}"
        if not isinstance(row, dict):
            return Rejected(place, Reason.BAD_JSON, f"a {type(row).__name__}, not an object")
        for setting, field in (("id_field", self.id_field), ("project_field", self.project_field)):
            if field and value_of(row, field) is None:
                return Rejected(place, Reason.MISSING_FIELD, f"no value in '{field}' (settings/corpus.{setting})")
        if self.id_field:
            place = as_text(value_of(row, self.id_field))
        project = as_text(value_of(row, self.project_field)) if self.project_field else place
        column = self.text_field or next((f for f in TEXT_FIELDS if f in row), "text")
        text = value_of(row, column)
        if isinstance(text, bytes):
            try:
                text = text.decode()
            except UnicodeDecodeError as error:
                return Rejected(place, Reason.INVALID_UTF8, f"at byte {error.start} of '{column}'", len(text))
        if not isinstance(text, str):
            there = f"the row has: {', '.join(map(str, list(row)[:COLUMNS_SHOWN]))}" if row else "the row is empty"
            said = f"no text in '{column}' (settings/corpus.text_field); {there}"
            return Rejected(place, Reason.MISSING_FIELD, readable(said))
        if 4 * len(text) > self.max_bytes and len(text.encode(errors="replace")) > self.max_bytes:
            return Rejected(place, Reason.TOO_LARGE, f"settings/corpus.max_bytes is {self.max_bytes:,}", len(text))
        document = from_text(text, self._language(row), place, project)
        if self.keep and isinstance(document, RawDocument):
            document = replace(document, kept=self._kept(row, column))
        if self.vector_field and isinstance(document, RawDocument):
            return self._with_vector(document, value_of(row, self.vector_field))
        return document

    def _with_vector(self, document: RawDocument, value: Any) -> RawDocument | Rejected:
        try:
            with np.errstate(over="ignore"):
                vector = np.array(value, np.float32)
        except (TypeError, ValueError, OverflowError):
            vector = np.empty(0, np.float32)
        norm = float(np.linalg.norm(vector.astype(float))) if vector.ndim == 1 else 0.0
        if norm > 0 and math.isfinite(norm):
            return replace(document, vector=vector.tobytes())
        what = "a vector of zeros" if vector.size and not vector.any() else "no vector of finite numbers"
        detail = f"{what} in '{self.vector_field}' (settings/embedding.column)"
        return Rejected(document.source, Reason.BAD_VECTOR, detail, document.n_bytes)

    def _language(self, row: Mapping[str, Any]) -> str | None:
        fields = (self.language_field,) if self.language_field else LANGUAGE_FIELDS
        field = next((f for f in fields if value_of(row, f)), None)
        return named(as_text(value_of(row, field)), field == OF_CODE) if field else None

    def _kept(self, row: Mapping[str, Any], text: str) -> str:
        own = (text, self.vector_field)
        names = [name for name in row if name not in own] if ALL in self.keep else list(self.keep)
        return json.dumps({readable(name): plain_value(value_of(row, name)) for name in names}, ensure_ascii=False)

    def must_have(self, names: Collection[str], file: str, partitions: Mapping[str, str | None]) -> None:
        """Raises GripError if a column that a setting names is not among ``names``, or if there is none with text."""
        self._must_have(lambda name: name in names or name in partitions, [*names, *partitions], file)

    def _must_have(self, has: Callable[[str], bool], there: list[str], file: str) -> None:
        for setting in ("text_field", "id_field", "project_field", "language_field"):
            wanted = getattr(self, setting)
            if wanted and not has(wanted):
                raise GripError(_no_column(file, f"column '{wanted}'", there, setting))
        for wanted in self.keep:
            if wanted != ALL and not has(wanted):
                raise GripError(_no_column(file, f"column '{wanted}'", there, "keep"))
        if self.vector_field and not has(self.vector_field):
            raise GripError(_no_column(file, f"column '{self.vector_field}'", there, "column", "embedding"))
        if not self.text_field and not any(f in there for f in TEXT_FIELDS):
            raise GripError(
                _no_column(file, f"column {', '.join(TEXT_FIELDS[:-1])} or {TEXT_FIELDS[-1]}", there, "text_field")
            )

    def columns(self, schema: pa.Schema, file: str, partitions: Mapping[str, str | None]) -> list[str]:
        """The columns of a table to read. Raises GripError if a column that a setting names is missing."""
        there = [*schema.names, *partitions]
        self._must_have(lambda name: has_column(schema, name, partitions), there, file)
        if ALL in self.keep:
            return list(schema.names)
        named = {self.text_field, self.id_field, self.project_field, self.language_field, self.vector_field, *self.keep}
        dotted = [name for name in sorted(filter(None, named)) if name not in there]
        return [c for c in schema.names if c in (*TEXT_FIELDS, *LANGUAGE_FIELDS, *named)] + dotted


def value_of(row: Mapping[str, Any], name: str) -> Any:
    """The value of a column, or of a field of a struct. None if there is none."""
    if name in row or "." not in name:
        return row.get(name)
    first, _, rest = name.partition(".")
    inner = row.get(first)
    return value_of(inner, rest) if isinstance(inner, dict) else None


def has_column(schema: pa.Schema, name: str, partitions: Mapping[str, Any] = {}) -> bool:
    if name in schema.names or name in partitions:
        return True
    first, _, rest = name.partition(".")
    if not rest or first not in schema.names:
        return False
    inner = schema.field(first).type
    return pa.types.is_struct(inner) and has_column(pa.schema(list(inner)), rest)


def as_text(value: Any) -> str:
    """A value of any type as text, to name a document, a project or a language."""
    if isinstance(value, str):
        return readable(value)
    if isinstance(value, bytes):
        try:
            return readable(value.decode())
        except UnicodeDecodeError:
            return value.hex()
    if isinstance(value, dict | list):
        return json.dumps(plain_value(value), sort_keys=True, ensure_ascii=False)
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return readable(str(value))


def plain_value(value: Any) -> Any:
    """A value that JSON can hold. A number that is not finite becomes null."""
    if isinstance(value, dict):
        return {readable(str(key)): plain_value(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value if value is None or isinstance(value, bool | int) else as_text(value)


def partitions_of(name: str) -> dict[str, str | None]:
    """Columns that the names of folders give: ``language=go/part-0.parquet`` has a column language."""
    parts = [part.partition("=") for part in PurePosixPath(name).parts[:-1]]
    return {unquote(key): None if value == NO_VALUE else unquote(value) for key, is_one, value in parts if is_one}


def _no_column(file: str, what: str, there: list[str], setting: str, group: str = "corpus") -> str:
    return f"{file} has no {what}. It has: {', '.join(there)}. Set settings/{group}.{setting}."


class TableReader(Reader):
    """A reader whose files are tables: ``rows`` says how their rows become documents."""

    file_is_document: ClassVar[bool] = False

    def __init__(self, settings: Corpus, vector_column: str | None = None):
        super().__init__(settings, vector_column)
        self.rows = RowFormat.of(settings, vector_column)


def unreadable(entry: Entry, error: Exception) -> GripError:
    reason = streams.real_reason(entry)
    if reason:
        return GripError(f"{entry.name} {reason}. Nothing of the pool was kept.")
    return GripError(
        f"{entry.name} cannot be read to its end ({type(error).__name__}: {str(error)[:120]})."
        " It is truncated or damaged: get it again, or take it out of the pool. Nothing of the pool was kept."
    )


def no_right(entry: Entry, error: OSError) -> Rejected:
    return Rejected(entry.name, Reason.UNREADABLE, error.strerror or "Permission denied", entry.size)
