"""reading: JSON lines, with and without counting tokens, and a web archive, against the readers a user would use.

Our reader also hashes each document and looks for benchmarks and copies. The others only parse. ``quality`` is 1.0 if
both find the same number of documents, or of tokens.
"""

import gzip
import json
import tempfile
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from typing import Any

import polars as pl

from grip_assets.bench import Result, interleaved
from grip_assets.models.opening import TokenizerFiles
from grip_assets.runtime import opened
from grip_assets.runtime.executors import Local
from grip_assets.settings import Corpus
from grip_assets.sources.documents import RawDocument
from grip_assets.sources.listing import Entry, list_files
from grip_assets.sources.pool import open_pool
from grip_assets.sources.readers.warc import Warc
from grip_assets.stages.curation.corpus import read_rows
from grip_assets.store.artifacts import data_root

LINES = 200  # per document: files are cut into pieces, since most rows of pools are short
TOKENIZER = "SmolLM2-135M"
MB = 1_000_000


def reading(quick: bool) -> Iterator[Result]:
    from grip_assets.models.tokenizers import located  # transformers

    tokenizer = TokenizerFiles(located(TOKENIZER, "the bench", data_root()), "the bench")
    with opened.while_used(), tempfile.TemporaryDirectory() as folder:
        inner = tokenizer.open().backend_tokenizer
        inner.encode_special_tokens = True
        pool = Path(folder) / "pool.jsonl"
        mb = _write(pool, (3 if quick else 60) * MB) / MB
        for against, theirs in _readers(pool).items():
            same = float(len(list(_ours(pool, None, []))) == len(theirs()))
            taken = interleaved(lambda: list(_ours(pool, None, ["humaneval"])), theirs, 3)
            speed = f"{mb / taken.ours_s:.0f} / {mb / taken.theirs_s:.0f} MB/s"
            note = f"no tokens counted, {speed}; ours names, screens and finds copies"
            yield taken.result("reading", against, same, note)
        yield from _archives(Path(folder), _polars(pool))
        found: dict[str, int] = {}

        def counted() -> None:  # with an empty store of counted words; theirs counts every document
            opened.close(("counter", tokenizer))
            found["ours"] = sum(row["n_tokens"] for row in _ours(pool, tokenizer, []))

        def counted_whole() -> None:
            texts = _polars(pool)
            batches = (texts[start : start + 1024] for start in range(0, len(texts), 1024))
            encoded = (e for batch in batches for e in inner.encode_batch_fast(batch, add_special_tokens=False))
            found["theirs"] = sum(map(len, encoded))

        tokenizer.counter()(["compiles"])
        taken = interleaved(counted, counted_whole, 1 if quick else 2)
        speed = f"{mb / taken.ours_s:.1f} / {mb / taken.theirs_s:.1f} MB/s"
        same = float(found["ours"] == found["theirs"])
        yield taken.result(
            "reading", "polars and tokenizers", same, f"tokens counted, {speed}; quality: the same number"
        )


def _archives(folder: Path, texts: list[str]) -> Iterator[Result]:
    """Pages of a web archive: ours finds and decodes them; warcio does too. Texts are taken out by the same library.

    First only the records are read, without texts.
    """
    try:
        from resiliparse.extract.html2text import extract_plain_text
        from warcio.archiveiterator import ArchiveIterator
    except ModuleNotFoundError:
        return
    path = folder / "pages.warc.gz"
    mb = _write_archive(path, texts) / MB

    def ours() -> int:
        return sum(isinstance(d, RawDocument) for d in open_pool(Corpus(path=str(path))).read())

    def theirs() -> int:
        n = 0
        with path.open("rb") as file:
            for record in ArchiveIterator(file):
                if record.rec_type == "response":
                    html = record.content_stream().read().decode(errors="replace")
                    n += bool(extract_plain_text(html, main_content=True, alt_texts=False).strip())
        return n

    yield from _records(path, mb)
    same = float(ours() == theirs())
    taken = interleaved(ours, theirs, 3)
    speed = f"{mb / taken.ours_s:.1f} / {mb / taken.theirs_s:.1f} MB/s unpacked"
    yield taken.result("reading", "warcio", same, f"a web archive, {speed}; both extract by resiliparse")


def _records(path: Path, mb: float) -> Iterator[Result]:
    """The bodies of all responses, by our reader's own way through an archive and by warcio's."""
    from warcio.archiveiterator import ArchiveIterator

    (entry,) = list_files(str(path))

    def ours() -> int:
        return Bodies(Corpus(path=str(path))).n_bytes(entry)

    def theirs() -> int:
        with path.open("rb") as file:
            return sum(len(r.content_stream().read()) for r in ArchiveIterator(file) if r.rec_type == "response")

    same = float(ours() == theirs())
    taken = interleaved(ours, theirs, 3)
    speed = f"{mb / taken.ours_s:.1f} / {mb / taken.theirs_s:.1f} MB/s unpacked"
    yield taken.result("reading", "warcio, records alone", same, f"a web archive without taking out texts, {speed}")


class Bodies(Warc):
    """The reader of web archives, which takes out no text."""

    def n_bytes(self, entry: Entry) -> int:
        """The bytes of the bodies of all pages."""
        self.read_so_far = 0
        for _ in self._rows(entry):
            pass
        return self.read_so_far

    def _text(self, body: bytes, content_type: str, charset: str | None, headers: Any) -> tuple[str, str | None]:
        self.read_so_far += len(body)
        return "", None


def _page(number: int, text: str) -> bytes:
    """A page as sites have them: scripts, a menu, links, a side bar, a list of comments, and the text in paragraphs."""
    links = "".join(f'<li class="item"><a href="/topic/{i}" title="Topic {i}">Topic {i}</a></li>' for i in range(40))
    script = "".join(f"window.dataLayer.push({{event:'e{i}',page:{number}}});" for i in range(60))
    style = "".join(f".c{i}{{margin:{i}px;color:#3{i:02}}}" for i in range(60))
    body = "".join(f"<p>{escape(part)}</p>" for part in text.split("\n\n"))
    comments = "".join(f'<div class="comment"><b>user{i}</b><p>I agree, {i} times.</p></div>' for i in range(10))
    return (
        f"<!DOCTYPE html><html><head><meta charset='utf-8'><title>Page {number}</title><style>{style}</style>"
        f"<script>{script}</script></head><body><nav><ul>{links}</ul></nav><div id='main'><article><h1>Page</h1>"
        f"{body}</article></div><aside><ul>{links}</ul></aside><section id='comments'>{comments}</section>"
        "<footer><a href='/imprint'>Imprint</a></footer></body></html>"
    ).encode()


def _write_archive(path: Path, texts: list[str]) -> int:
    """Write a page for each text. Returns the bytes of the pages."""
    n_bytes = 0
    with path.open("wb") as file:
        for number, text in enumerate(texts):
            answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + _page(number, text)
            head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://bench/{number}\r\n"
            head += f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(answer)}\r\n\r\n"
            file.write(gzip.compress(head.encode() + answer + b"\r\n\r\n", 6))
            n_bytes += len(answer)
    return n_bytes


def _write(path: Path, n_bytes: int) -> int:
    """Write distinct pieces of this machine's files as JSON lines, about ``n_bytes`` in total."""
    pool = open_pool(Corpus(max_bytes=300_000))
    seen: set[str] = set()
    with path.open("w", encoding="utf-8") as file:
        for document in pool.read():
            lines = document.text.splitlines(keepends=True) if isinstance(document, RawDocument) else []
            for start in range(0, len(lines), LINES):
                text = "".join(lines[start : start + LINES])
                if text.strip() and text not in seen:
                    seen.add(text)
                    file.write(json.dumps({"text": text, "language": "code"}) + "\n")
            if file.tell() >= n_bytes:
                break
    return path.stat().st_size


def _ours(pool: Path, tokenizer: TokenizerFiles | None, benchmarks: list[Any]) -> Iterator[dict[str, Any]]:
    """Rows of the table ``corpus``."""
    settings = Corpus(path=str(pool), benchmarks=benchmarks)
    for rows in read_rows(open_pool(settings), settings, tokenizer, Local()):
        yield from rows["corpus"]


def _polars(pool: Path) -> list[str]:
    with pool.open("rb") as opened:  # a path would be read as a glob
        return pl.read_ndjson(opened)["text"].to_list()


def _readers(pool: Path) -> dict[str, Callable[[], list]]:
    """The installed readers of JSON lines, by name."""
    readers: dict[str, Callable[[], list]] = {"polars": lambda: _polars(pool)}
    try:
        from datatrove.pipeline.readers import JsonlReader
    except ModuleNotFoundError:
        return readers
    return readers | {"datatrove": lambda: list(JsonlReader(str(pool.parent), glob_pattern=pool.name).run())}
