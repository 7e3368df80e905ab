"""Web archives for tests, written byte by byte: WARC with pages, WET with texts."""

import gzip

HEAD = "WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-{number:012}>\r\nWARC-Date: 2024-05-01T10:00:00Z\r\n"


def page(number, language="en", status="200 OK", kind="text/html; charset=utf-8", encoding="", body=None, text=None):
    """(url, HTTP response) of a page whose main text begins with its number."""
    text = (
        text
        or f"Page {number} tells of trees, of their leaves, and of the birds that live in them. It goes on for a while, über alles."
    )
    body = body or f"<nav><a href='/'>menu</a></nav><article><p>{text}</p></article><footer>foot</footer>"
    html = f'<!DOCTYPE html><html lang="{language}"><head><title>T</title></head><body>{body}</body></html>'.encode()
    more = f"Content-Encoding: {encoding}\r\n" if encoding else ""
    html = gzip.compress(html, mtime=0) if encoding == "gzip" else html
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{more}Content-Length: {len(html)}\r\n\r\n"
    return f"http://site{number}.org/{number}", head.encode() + html


def record(kind, number, content, **headers):
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items() if value)
    head = HEAD.format(kind=kind, number=number) + more + f"Content-Length: {len(content)}\r\n\r\n"
    return head.encode() + content + b"\r\n\r\n"


def warc(pages, gz=True, requests=False):
    """Responses, each as a record (and a member of gzip) of its own. ``requests``: with the records that crawlers add."""
    parts = [record("warcinfo", 0, b"software: a test\r\n", Content_Type="application/warc-fields")] if requests else []
    for number, (url, answer) in enumerate(pages):
        if requests:
            parts.append(record("request", number, b"GET / HTTP/1.1\r\n\r\n", WARC_Target_URI=url, Content_Type="application/http; msgtype=request"))  # fmt: skip
        parts.append(record("response", number, answer, WARC_Target_URI=url, Content_Type="application/http; msgtype=response"))  # fmt: skip
    return b"".join(gzip.compress(part, mtime=0) if gz else part for part in parts)


def wet(texts, languages=None, gz=True):
    languages = languages or ["eng"] * len(texts)
    parts = [record("warcinfo", 0, b"software: a test\r\n", Content_Type="application/warc-fields")]
    for number, (text, language) in enumerate(zip(texts, languages, strict=True)):
        url = f"http://site{number}.org/w{number}"
        parts.append(record("conversion", number, text.encode(), WARC_Target_URI=url, WARC_Identified_Content_Language=language, Content_Type="text/plain"))  # fmt: skip
    return b"".join(gzip.compress(part, mtime=0) if gz else part for part in parts)
