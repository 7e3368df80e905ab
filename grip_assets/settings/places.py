"""Paths in settings: relative to where they are said, stored whole, since a run may have another working folder."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grip_assets.models.files import PACKAGED

PATHS = {
    ("corpus", "path"),
    ("evaluation", "target"),
    ("quality", "gold"),
    ("adaptation", "checkpoints"),
    ("budget", "weights"),
}
PATH_OR_NAME = {  # a name of a model (or rubric) where there is no such file
    ("corpus", "tokenizer"),
    ("embedding", "model"),
    ("adaptation", "proxy"),
    ("evaluation", "other_proxy"),
    ("evaluation", "other_encoder"),
    ("quality", "rubric"),
}
NAMES = {*PACKAGED, "code", "prose"}


def placed(changes: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The changes by group, with the paths of this machine whole. URLs stay as they are."""
    return {g: {name: _placed(g, name, value) for name, value in values.items()} for g, values in changes.items()}


def _placed(group: str, name: str, value: Any) -> Any:
    if not isinstance(value, str) or not value or "://" in value:
        return value
    if (group, name) in PATHS:
        return whole(value)
    is_path = (group, name) in PATH_OR_NAME and value not in NAMES
    return whole(value) if is_path and (value.startswith("~") or Path(value).exists()) else value


def whole(path: str) -> str:
    """Links are kept: the name by which somebody calls a file may say what it is."""
    return os.path.abspath(Path(path).expanduser())  # noqa: PTH100  (Path.resolve would follow links)
