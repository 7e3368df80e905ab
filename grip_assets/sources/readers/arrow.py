"""Turns rows of Arrow batches into Python values, for Parquet and Arrow files."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

BATCH = 256  # rows that are Python values at the same time


def dicts(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Rows of a batch as Python values. A string that is not UTF-8 becomes bytes, a time in nanoseconds text."""
    columns = [values(column) for column in batch.columns]
    return (dict(zip(batch.schema.names, row, strict=True)) for row in zip(*columns, strict=True))


def is_read(column: str, wanted: list[str]) -> bool:
    """Whether a column, or a field of it, is among those ``wanted``."""
    return column in wanted or any(name.startswith(f"{column}.") for name in wanted)


def values(column: pa.Array) -> list[Any]:
    try:
        if not _too_fine(column.type):
            return column.to_pylist()
    except UnicodeDecodeError:
        pass
    if pa.types.is_struct(column.type):
        inner = [values(column.field(i)) for i in range(column.type.num_fields)]
        names = [field.name for field in column.type]
        rows = zip(column.is_valid().to_pylist(), *inner, strict=True)
        return [dict(zip(names, row, strict=True)) if valid else None for valid, *row in rows]
    if _is_text(column.type):
        return [_text_or_bytes(value) for value in column.cast(pa.large_binary()).to_pylist()]
    if pa.types.is_dictionary(column.type):
        return values(column.dictionary_decode())
    return _as_strings(column)


def _as_strings(column: pa.Array) -> list[Any]:
    try:
        return column.cast(pa.string()).to_pylist()
    except pa.ArrowException:  # a nested type with such values inside
        return [str(value) if value.is_valid else None for value in column]


def _too_fine(kind: pa.DataType) -> bool:
    """Whether a type has nanoseconds, at any depth. Python's times have none."""
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind) or pa.types.is_time64(kind):
        return kind.unit == "ns"
    return any(_too_fine(kind.field(i).type) for i in range(kind.num_fields))


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _text_or_bytes(value: bytes | None) -> str | bytes | None:
    try:
        return value if value is None else value.decode()
    except UnicodeDecodeError:
        return value
