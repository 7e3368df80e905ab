"""Decodes bytes: by a byte order mark, else as UTF-8, else as the file declares, else as charset-normalizer finds.

Old source files are mostly ASCII with a few other letters. That is too little to tell all encodings apart by
statistics. So there are few candidates, the most common first, and only lines with such letters are examined. A text
that was decoded from another encoding than UTF-8 is marked with it, so that nobody takes a guess for a fact. A text
that is UTF-8 but for a few broken bytes is rejected, and not read in another encoding.
"""

import codecs
import re
from collections.abc import Sequence

BOMS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
WESTERN = ("cp1252", "cp1250", "iso8859_2")  # a letter or two between ASCII letters
OTHERS = ("gb18030", "cp1251", "cp932", "euc_jp", "big5", "euc_kr", "koi8_r", "cp1253")  # whole words of other letters
LOOKED_AT = 50_000  # bytes
BETTER = 0.02  # by so much the coherence of a candidate must exceed that of the most common one
HIGH = re.compile(rb"[\x80-\xff]+")
SAYS = re.compile(rb"(?:coding|charset)\s*[:=]\s*[\"']?([-\w.]+)", re.I)  # Python, Ruby, Emacs, XML, HTML
KINDS = re.compile(r"(iso8859|cp\d|koi8|euc|shift|gb|big5|mac|tis)")  # Python has others that are no character sets


def bom(data: bytes) -> str | None:
    """The encoding that a byte order mark names. UTF-8's mark is left to ``decode``."""
    return next((name for mark, name in BOMS.items() if data.startswith(mark)), None)


def decode(data: bytes) -> tuple[str, str | None]:
    """The text, and its encoding if that is not UTF-8. Raises UnicodeDecodeError (of UTF-8) if no encoding fits."""
    marked = bom(data)
    if marked:
        return data.decode(marked), marked
    try:
        return data.decode("utf-8-sig"), None
    except UnicodeDecodeError:
        name = _encoding(data)
        if name is None:
            raise
    return data.decode(name), name


def _encoding(data: bytes) -> str | None:
    if _broken_utf8(data):
        return None
    said = _said(data)
    if said and _decodes(data, said):
        return said
    lines = b"\n".join(line for line in data.splitlines() if HIGH.search(line))[:LOOKED_AT]
    runs = [len(run) for run in HIGH.findall(lines)]
    groups = [WESTERN, OTHERS]
    if sum(n for n in runs if n > 2) > sum(runs) / 2:
        groups.reverse()
    for candidates in groups:
        name = _likeliest(lines, candidates)
        if name and _decodes(data, name):
            return "latin_1" if name == "cp1252" and not re.search(rb"[\x80-\x9f]", data) else name
    return None


def _said(data: bytes) -> str | None:
    """The encoding that a file declares in its first bytes. None if it declares none that Python knows."""
    found = SAYS.search(data[:1024])
    try:
        name = codecs.lookup(found[1].decode()).name.replace("-", "_") if found else ""
    except LookupError:
        return None
    return name if KINDS.match(name) else None


def _likeliest(data: bytes, candidates: Sequence[str]) -> str | None:
    from charset_normalizer import from_bytes

    matches = from_bytes(data, cp_isolation=list(candidates), preemptive_behaviour=False)
    found = {name: m for m in matches for name in m.could_be_from_charset if name in candidates}
    if not found:
        return None
    chaos = min(m.chaos for m in found.values())
    clean = [name for name in candidates if name in found and found[name].chaos <= chaos]
    best = max(clean, key=lambda name: found[name].coherence)
    return best if found[best].coherence > found[clean[0]].coherence + BETTER else clean[0]


def _broken_utf8(data: bytes) -> bool:
    """Whether most of the letters beyond ASCII are valid UTF-8."""
    text = data[: LOOKED_AT * 4].decode("utf-8", errors="replace")
    broken = text.count("\ufffd")
    return sum(c > "\x7f" for c in text) - broken > broken


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
