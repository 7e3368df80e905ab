"""Paths in settings. A user writes them relative to the working folder, and they are stored absolute, since a run may
have another working folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grip_assets.models.files import PACKAGED
from grip_assets.settings.paths import whole
from grip_assets.settings.sources import placed_source

PATHS = {
    ("corpus", "path"),
    ("evaluation", "target"),
    ("mixing", "target_set"),
    ("attribution", "column"),
    ("quality", "gold"),
    ("adaptation", "checkpoints"),
    ("budget", "weights"),
}
SOURCES = ("corpus", "sources")
NAMED_PATHS = {("attribution", "target_sets"), ("corpus", "test_sets"), ("evaluation", "targets")}  # lists of NAME=PATH
PATH_OR_NAME = {  # a path if there is such a file, otherwise the name of a model or rubric
    ("corpus", "tokenizer"),
    ("embedding", "model"),
    ("adaptation", "proxy"),
    ("attribution", "reference"),
    ("evaluation", "other_proxy"),
    ("evaluation", "other_encoder"),
    ("quality", "rubric"),
}
NAMES = {*PACKAGED, "code", "prose", "proxy"}


def placed(changes: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The changes by group, with local paths made absolute. URLs stay as they are."""
    return {g: {name: _placed(g, name, value) for name, value in values.items()} for g, values in changes.items()}


def _placed(group: str, name: str, value: Any) -> Any:
    if (group, name) == SOURCES and isinstance(value, list):
        return [placed_source(item, Path()) if isinstance(item, dict) else item for item in value]
    if (group, name) in NAMED_PATHS and isinstance(value, list):
        return [_named_path(text) for text in value]
    if not isinstance(value, str) or not value or "://" in value:
        return value
    if (group, name) in PATHS:
        return whole(value)
    is_path = (group, name) in PATH_OR_NAME and value not in NAMES
    return whole(value) if is_path and (value.startswith("~") or Path(value).exists()) else value


def _named_path(text: Any) -> Any:
    """NAME=PATH with the whole path. Anything else is left for the validation of settings."""
    if not isinstance(text, str) or "://" in text:
        return text
    name, found, path = text.partition("=")
    return f"{name}={whole(path.strip())}" if found and path.strip() else text
