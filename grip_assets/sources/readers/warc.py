"""warc: web archives. Each page is a document, whose text an extractor takes out of the HTML.

Documents are the pages of ``response`` and ``resource`` records. Records of other types (requests, notes on the crawl)
are no documents, and neither are answers without a page: they have another status than 200, or are of another type than
text. The text that a crawler took out of a page (WET) is read in wet.py. A row has the columns text, url, host, date,
language (as the page declares it), content_type and record_id, so settings such as corpus.id_field=url work.

A record that is cut off or broken is a rejected row with its place. Reading goes on at the next record, which is looked
for behind it, so a damaged record costs itself and no more.
"""

import re
from collections.abc import Generator, Iterator
from typing import Any, ClassVar
from urllib.parse import urlsplit

from grip_assets.errors import GripError
from grip_assets.extras import missing, must_have
from grip_assets.settings import Corpus
from grip_assets.sources import streams
from grip_assets.sources.documents import RawDocument, Reason, Rejected, readable
from grip_assets.sources.encodings import decode
from grip_assets.sources.languages import short_code
from grip_assets.sources.listing import Entry
from grip_assets.sources.readers.base import pack
from grip_assets.sources.readers.html import text_of
from grip_assets.sources.readers.rows import TableReader, no_right, unreadable

HTML = ("text/html", "application/xhtml+xml")
STARTS = {  # what a record begins with, by the first bytes of the file
    streams.GZIP: re.compile(rb"\x1f\x8b\x08"),
    streams.ZSTD: re.compile(rb"\x28\xb5\x2f\xfd"),
    b"WARC/": re.compile(rb"(?<=\n)WARC/\d\.\d\r\n"),
}
LANG = re.compile(rb"<html\b[^>]*?\blang\s*=\s*[\"']?([A-Za-z]{2,3}(?:-[A-Za-z0-9]+)*)", re.I)
SEARCHED = 1 << 20  # bytes that are looked through at once for the next record


class Warc(TableReader):
    name = "warc"
    endings = pack(".warc", ".gz", ".zst")
    magic: ClassVar[tuple[bytes, ...]] = (b"WARC/",)
    described = "web archives (.warc, also .gz, .zst)"
    types: ClassVar[tuple[str, ...]] = ("response", "resource", "conversion")

    def __init__(self, settings: Corpus, vector_column: str | None = None):
        super().__init__(settings, vector_column)
        self.extractor = settings.extractor

    def read(self, entry: Entry) -> Iterator[RawDocument | Rejected]:
        must_have("web", f"settings/corpus.format {self.name}", "fastwarc", "resiliparse")
        number = 0
        try:
            for row in self._rows(entry):
                number += 1
                if isinstance(row, Rejected):
                    yield Rejected(f"{entry.name}:{number}", row.reason, row.detail, row.n_bytes)
                else:
                    yield self.rows.document(row, entry.name, number)
        except PermissionError as error:
            yield no_right(entry, error)
        except OSError as error:
            raise unreadable(entry, error) from error

    def _rows(self, entry: Entry) -> Iterator[dict[str, Any] | Rejected]:
        """Rows and rejections of the records, in the order of the file."""
        with entry.open() as file:
            start = next((re for mark, re in STARTS.items() if _begins(file, mark)), None)
            if start is None:
                raise GripError(
                    f"{entry.name} {streams.real_reason(entry) or 'is no web archive: it does not begin with WARC/'}."
                    " Nothing of the pool was kept."
                )
            at, broken = 0, False
            while at < entry.size:
                near, message = yield from self._from(file, at)
                if not message:
                    return
                if near is not None or not broken:  # else the search has found what is no record
                    detail = f"a record near byte {at if near is None else near:,} cannot be read: {message}"
                    yield Rejected(entry.name, Reason.BAD_RECORD, detail)
                broken = True
                at = _next_record(file, start, (at if near is None else near) + 1, entry.size)

    def _from(self, file: Any, at: int) -> Generator[dict[str, Any] | Rejected, None, tuple[int | None, str]]:
        """The records from byte ``at`` on. Returns the place of the last one (None: there was none), and why no more
        can be read; "" at the end of the file."""
        from fastwarc.warc import ArchiveIterator

        file.seek(at)
        near = None
        try:
            for record in ArchiveIterator(file, parse_http=False, fsspec_args=False):
                near = record.stream_pos
                row = self._row(record, near)
                if row is not None:
                    yield row
        except PermissionError:
            raise
        except OSError as error:
            return near, str(error)[:100] or type(error).__name__
        return near, ""

    def _row(self, record: Any, place: int) -> dict[str, Any] | Rejected | None:
        """The row of a record. None if its type is not that of a document."""
        kind = str(record.headers.get("WARC-Type") or "").lower()
        if kind not in self.types:
            return None
        size, most = record.content_length, self.rows.longest_line
        at = f"the record at byte {place:,}"
        if size > most:
            return Rejected("", Reason.TOO_LARGE, f"{at} has {size:,} bytes", size)
        content = record.reader.read()
        if len(content) < size:
            return Rejected("", Reason.BAD_RECORD, f"{at} is cut off: {len(content):,} of {size:,} bytes", len(content))
        url = readable(record.headers.get("WARC-Target-URI") or "")
        page = _page(content, record.headers, kind, most)
        if isinstance(page, str):
            reason = Reason.UNKNOWN_KIND if page.startswith("no page") else Reason.BAD_RECORD
            return Rejected("", reason, f"{at}, {url[:200]}: {page}", len(content))
        body, content_type, charset = page
        try:
            text, language = self._text(body, content_type, charset, record.headers)
        except ValueError as error:
            return Rejected("", Reason.BAD_RECORD, f"{at}, {url[:200]}: {error}", len(content))
        except UnicodeDecodeError as error:
            return Rejected("", Reason.INVALID_UTF8, f"{at}, {url[:200]}: at byte {error.start}", len(content))
        return {
            "text": text,
            "url": url,
            "host": (_host(url) or None),
            "date": record.record_date.isoformat() if record.record_date else None,
            "language": language,
            "content_type": content_type or None,
            "record_id": record.record_id or None,
        }

    def _text(self, body: bytes, content_type: str, charset: str | None, headers: Any) -> tuple[str, str | None]:
        if content_type in HTML:
            said = LANG.search(body[:8192])
            language = said[1].decode().lower() if said else None
            return text_of(_html(body, charset), self.extractor), language
        languages = (headers.get("WARC-Identified-Content-Language") or "").split(",")
        return decode(body)[0], short_code(languages[0].strip()) or None


def _begins(file: Any, mark: bytes) -> bool:
    file.seek(0)
    return file.read(len(mark)) == mark


def _next_record(file: Any, start: re.Pattern[bytes], at: int, size: int) -> int:
    """Where the next record may begin, from byte ``at`` on. ``size`` if there is none."""
    overlap = 16
    while at < size:
        file.seek(max(at - 1, 0))
        block = file.read(SEARCHED + overlap)
        found = start.search(block, min(at, 1))
        if found:
            return max(at - 1, 0) + found.start()
        at += SEARCHED
    return size


def _page(content: bytes, headers: Any, kind: str, most: int) -> tuple[bytes, str, str | None] | str:
    """Body, type and character set of a record. A sentence if there is no page of text in it, or none can be read."""
    if kind != "response":
        content_type = (headers.get("Content-Type") or "text/plain").partition(";")[0].strip().lower()
        return (content, content_type, None) if _is_text(content_type) else f"no page: {content_type}"
    from fastwarc.warc import WarcRecord

    answer = WarcRecord()
    answer.set_bytes_content(content)
    answer.is_http = True
    try:
        answer.parse_http(auto_decode="all")
        if answer.http_headers is None or answer.http_headers.status_code is None:
            return "its HTTP header cannot be read"
        if answer.http_headers.status_code != 200:
            return f"no page: HTTP status {answer.http_headers.status_code}"
        content_type = (answer.http_content_type or "text/html").lower()
        if not _is_text(content_type):
            return f"no page: {readable(content_type)[:100]}"
        body = answer.reader.read(most)
        return (body, content_type, answer.http_charset) if len(body) < most else "it unpacks to too many bytes"
    except (OSError, ValueError) as error:
        return f"its body cannot be unpacked ({str(error)[:100]})"


def _is_text(content_type: str) -> bool:
    return content_type.startswith("text/") or content_type in (*HTML, "application/json", "application/xml")


def _html(body: bytes, charset: str | None) -> str:
    """HTML as text: by the declared character set, else by what its bytes look like."""
    try:
        from resiliparse.parse.encoding import bytes_to_str, detect_encoding
    except ImportError as error:
        raise missing("web", "settings/corpus.format warc", error) from None
    if charset:
        try:
            return body.decode(charset)
        except (LookupError, UnicodeDecodeError):
            pass
    return str(bytes_to_str(body, detect_encoding(body, from_html_meta=True) or "utf-8"))


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
