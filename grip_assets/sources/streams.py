"""Unpacks compressed files, and reads the rows of JSON in them.

The first bytes of a file decide how it is unpacked, and not its name. A gzip file under another name is unpacked. A
file that is only named .gz is read as it is. A line is not held if it is much longer than a document may be.
"""

import codecs
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, Any

from grip_assets.errors import GripError
from grip_assets.sources.documents import is_zero, only_zeros
from grip_assets.sources.encodings import bom
from grip_assets.sources.listing import Entry

GZIP, ZSTD, BZIP, XZ = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\0"
HEAD = 65_536
LARGEST_WINDOW = 31  # log2 of bytes: zstd --long=31
POINTER = b"version https://git-lfs"
BLOCK = 1 << 20


def damage() -> tuple[type[Exception], ...]:
    """The exceptions that the libraries raise if a file is cut or broken."""
    from backports.zstd import ZstdError

    return (OSError, EOFError, UnicodeDecodeError, zlib.error, lzma.LZMAError, ZstdError)


@contextmanager
def plain(entry: Entry) -> Iterator[io.BufferedReader]:
    """The file's bytes, unpacked. UTF-16 and UTF-32 with a byte order mark become UTF-8."""
    with ExitStack() as stack:
        raw = stack.enter_context(entry.open())
        start = raw.read(len(XZ))
        raw.seek(0)
        stream = stack.enter_context(_unpacked(raw, start))
        buffered = io.BufferedReader(stream, BLOCK)  # type: ignore[arg-type]
        mark = bom(buffered.peek(4)[:4])
        if mark:
            buffered = io.BufferedReader(_Recoded(buffered, mark), BLOCK)  # type: ignore[type-var]
        yield buffered


def _unpacked(raw: IO[bytes], start: bytes) -> Any:
    if start.startswith(GZIP):
        return gzip.open(raw)
    if start.startswith(ZSTD):
        from backports import zstd

        return zstd.open(raw, options={zstd.DecompressionParameter.window_log_max: LARGEST_WINDOW})
    if start.startswith(XZ):
        return lzma.open(raw)
    if start.startswith(BZIP):
        import bz2

        return bz2.open(raw)
    return raw


class _Recoded(io.RawIOBase):
    """UTF-16 and UTF-32 as UTF-8."""

    def __init__(self, stream: IO[bytes], encoding: str):
        self.stream, self.decoder, self.rest = stream, codecs.getincrementaldecoder(encoding)("replace"), b""

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        while not self.rest and (block := self.stream.read(BLOCK)):
            self.rest = self.decoder.decode(block).encode()
        n = min(len(into), len(self.rest))
        into[:n], self.rest = self.rest[:n], self.rest[n:]
        return n


def head(entry: Entry) -> bytes:
    """The first 64 KiB, unpacked. Empty if they cannot be read; the reader reports that later."""
    try:
        with plain(entry) as stream:
            return stream.read(HEAD)
    except damage():
        return b""


def real_reason(entry: Entry) -> str | None:
    """Why a file is not what its name says, if its first bytes show it. None otherwise."""
    if not entry.size:
        return "is empty (0 bytes)"
    start = head(entry)
    if start.startswith(POINTER):
        return "is a pointer of Git LFS and not the file itself: run `git lfs pull` in its folder"
    if start and is_zero(start):
        return only_zeros(_zeros(entry))
    if start.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        return "is a web page, such as an error or a login: download the file again"
    return None


def _zeros(entry: Entry) -> int:
    """How many zero bytes a file begins with."""
    if entry.is_hole():
        return entry.size
    n = 0
    with plain(entry) as stream:
        while (block := stream.read(BLOCK)) and is_zero(block):
            n += len(block)
    return n + len(block) - len(block.lstrip(b"\0"))


@dataclass(frozen=True)
class TooLong:
    """A line that is not held. ``n_bytes``: its length. ``zeros``: whether all its bytes are zero."""

    n_bytes: int
    zeros: bool


def lines(stream: io.BufferedReader, longest: int) -> Iterator[bytes | TooLong]:
    """The lines of a file, empty ones too. A line of more than ``longest`` bytes is a TooLong."""
    while line := stream.readline(longest):
        if len(line) < longest or line.endswith(b"\n"):
            yield line
            continue
        n, zeros = len(line), is_zero(line)
        while not line.endswith(b"\n") and (line := stream.readline(BLOCK)):
            n, zeros = n + len(line), zeros and is_zero(line.rstrip(b"\n"))
        yield TooLong(n, zeros)


def kind_of_json(start: bytes) -> tuple[str | None, Any]:
    """How a file that begins with ``start`` holds rows, and its first row.

    'lines', 'array' (of objects), 'row' (one line that is an object), 'value' (one value over several lines), None (no
    JSON).
    """
    text = start.removeprefix(codecs.BOM_UTF8).decode(errors="replace").lstrip()
    if text.startswith("[") and text[1:].lstrip().startswith(("{", "]")):
        return "array", _first_of(text[1:].lstrip())
    if not text.startswith(("{", "[")):
        return None, None
    line, ends, rest = text.partition("\n")
    try:
        first = json.loads(line)
    except (ValueError, RecursionError):
        return ("value", None) if ends or len(start) < HEAD else ("lines", _first_of(text))
    return ("lines" if rest.strip() else "row"), first


def _first_of(text: str) -> Any:
    """The first value. None if it is cut off or broken."""
    try:
        return json.JSONDecoder().raw_decode(text)[0]
    except (ValueError, RecursionError):
        return None


def array(stream: io.BufferedReader, name: str) -> Iterator[Any]:
    """The items of a JSON array, one after the other. Raises GripError if it is broken or does not end."""
    decoder, text = json.JSONDecoder(), codecs.getincrementaldecoder("utf-8-sig")()
    buffer, at, items, over = "", 0, 0, False
    while True:
        at = _past(buffer, at)
        if items == 0 and buffer[at : at + 1] == "[":
            at, items = at + 1, 1
            continue
        if buffer[at : at + 1] == "]":
            return
        try:
            if at >= len(buffer):
                raise ValueError("it does not end")
            value, end = decoder.raw_decode(buffer, at)
            if end >= len(buffer) and not over:
                raise ValueError("a number may go on")
        except (ValueError, RecursionError) as error:
            block = stream.read(max(BLOCK, len(buffer) - at))
            if not block:
                if over:
                    said = f"item {items:,} of the array: {str(error)[:100]}"
                    raise GripError(f"{name} is broken JSON ({said}). Nothing of the pool was kept.") from None
                over = True
            buffer, at = buffer[at:] + text.decode(block, final=not block), 0
            continue
        yield value
        at, items = end, items + 1


def _past(text: str, at: int) -> int:
    """Past white space and commas."""
    while at < len(text) and text[at] in " \t\r\n,\ufeff":
        at += 1
    return at
