"""Readers of pools: one file per format, all of them in ``READERS``. ../recognition.py chooses the format.

To add a format, write a subclass of ``base.Reader`` in a file of its own, and name it here and in ``READERS``.
"""

from grip_assets.sources.readers.base import Files, Reader
from grip_assets.sources.readers.delimited import Csv
from grip_assets.sources.readers.environment import Environment
from grip_assets.sources.readers.folder import Folder
from grip_assets.sources.readers.huggingface import HuggingFace
from grip_assets.sources.readers.ipc import ArrowIpc
from grip_assets.sources.readers.jsonl import Jsonl
from grip_assets.sources.readers.parquet import Parquet
from grip_assets.sources.readers.warc import Warc
from grip_assets.sources.readers.webdataset import WebDataset
from grip_assets.sources.readers.wet import Wet

__all__ = ["READERS", "Files", "Reader"]
READERS: dict[str, type[Reader]] = {
    reader.name: reader
    for reader in (Folder, Jsonl, Parquet, HuggingFace, ArrowIpc, Csv, Warc, Wet, WebDataset, Environment)
}
