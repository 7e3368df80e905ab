"""Reads the file of settings/budget.weights: a weight for each cluster.

A cluster is named by its id, or by its value if the partition is by a column. budgets.py uses the weights.
"""

import csv
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from grip_assets.errors import GripError
from grip_assets.settings import Budget

FORMATS = "It takes JSON or YAML ({name: weight, ...}) or CSV (name,weight in each line)."


def content_of(settings: Budget) -> str:
    """Digest of the file's content, for the recipe. GripError if the file is missing."""
    return hashlib.sha256(_bytes(settings)).hexdigest()[:16]


def read_weights(settings: Budget) -> dict[str, float]:
    """Name of a cluster to its weight, in the order of the file. GripError if the file is missing or malformed."""
    text = _bytes(settings).decode("utf-8-sig", errors="replace")
    csv_file = Path(str(settings.weights)).suffix.lower() == ".csv"
    weights: dict[str, float] = {}
    for name, weight in _csv_pairs(text, settings) if csv_file else _mapping(text, settings):
        if name in weights:
            raise _wrong(settings, f"'{name}' is there twice")
        weights[name] = _number(settings, name, weight)
    if not weights:
        raise _wrong(settings, "it has no weights")
    return weights


def _bytes(settings: Budget) -> bytes:
    if settings.weights is None:
        raise GripError(
            "settings/budget.base is 'given', and settings/budget.weights names no file. Add --set"
            f" budget.weights=FILE. {FORMATS}"
        )
    try:
        return Path(settings.weights).read_bytes()
    except OSError as error:
        raise _wrong(settings, f"it cannot be read ({error.strerror})") from None


def _mapping(text: str, settings: Budget) -> Iterable[tuple[str, Any]]:
    """JSON is tried first: YAML reads JSON too, but takes numbers such as 1e-3 for text."""
    try:
        found = json.loads(text, object_pairs_hook=list)
        pairs = found if isinstance(found, list) and all(isinstance(pair, tuple) for pair in found) else None
    except ValueError:
        pairs = _yaml_pairs(text, settings)
    if pairs is None:
        raise _wrong(settings, "it is not a mapping of names to weights")
    return ((str(name), weight) for name, weight in pairs)


def _yaml_pairs(text: str, settings: Budget) -> list[tuple[str, Any]] | None:
    """Names as they are written, so that 'no' and 007 stay names. A key that is there twice is returned twice."""
    try:
        node = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError:
        raise _wrong(settings, "it cannot be read as JSON or YAML") from None
    if not isinstance(node, yaml.MappingNode):
        return None
    return [(key.value, value.value) for key, value in node.value]


def _csv_pairs(text: str, settings: Budget) -> Iterable[tuple[str, Any]]:
    """Rows of two columns. If the second column of the first line is not a number, that line is the header."""
    rows = [row for row in csv.reader(text.splitlines()) if row]
    for i, row in enumerate(rows):
        if len(row) != 2:
            raise _wrong(settings, f"line {i + 1} has {len(row)} columns, not two")
        if i == 0 and not _is_number(row[1]):
            continue
        yield row[0].strip(), row[1]


def _number(settings: Budget, name: str, weight: Any) -> float:
    if isinstance(weight, bool) or not _is_number(weight):
        raise _wrong(settings, f"the weight of '{name}' is {weight!r}, which is not a number")
    return float(weight)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _wrong(settings: Budget, what: str) -> GripError:
    return GripError(f"settings/budget.weights, {settings.weights}: {what}. {FORMATS}")
