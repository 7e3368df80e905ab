"""Loading from files by transformers: without its noise, with errors that name the setting, unpacked once."""

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
    """Without transformers' loading bars and reports, which say nothing to a user of a packaged model."""
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
    """The folder ``name`` of the cache, made aside and put there by one rename."""
    kept = cached(f"models/{name}")
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        said = f"unpacking {what} of {files.name} into {kept.parent}, once on this machine, some 15 s"
        with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".unpacking-") as aside, waiting(said, log):
            unpack(Path(aside) / "made")
            put_once(Path(aside) / "made", kept)
    return ModelFiles(files.name, kept)
