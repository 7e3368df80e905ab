"""Loads model files with transformers: without its progress bars, and with errors that name the setting.

Files are found in files.py. A GGUF is unpacked once per machine.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import transformers

from grip_assets.errors import GripError
from grip_assets.models.files import ModelFiles, cached
from grip_assets.runtime.executors import Log
from grip_assets.runtime.progress import waiting
from grip_assets.store.writing import put_once


@contextmanager
def quiet() -> Iterator[None]:
    """Switch off transformers' progress bars and reports while the block runs."""
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(level)
        transformers.logging.enable_progress_bar()


def from_pretrained(kind: Any, files: ModelFiles, setting: str, **options: Any) -> Any:
    local = {"local_files_only": True} if files.folder else {}
    try:
        with quiet():
            return kind.from_pretrained(files.source(), **local, **options)
    except (OSError, ValueError) as error:
        raise GripError(f"{setting} '{files.name}' cannot be loaded: {error}") from error


def unpacked(files: ModelFiles, name: str, what: str, unpack: Callable[[Path], None], log: Log) -> ModelFiles:
    """The folder ``name`` in the user's cache. If it is missing, ``unpack`` fills it, and one rename puts it there."""
    kept = cached(f"models/{name}")
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        label = f"unpacking {what} of {files.name} into {kept.parent}, once on this machine, some 15 s"
        with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".unpacking-") as aside, waiting(label, log):
            unpack(Path(aside) / "made")
            put_once(Path(aside) / "made", kept)
    return ModelFiles(files.name, kept)
