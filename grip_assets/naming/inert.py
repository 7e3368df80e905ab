"""What a name may contain: letters and digits of any script, spaces and a few marks, nothing that any reader obeys.

A name is shown in terminals, pages, Markdown, spreadsheets and prompts, and its words come from documents. So no name
has markup, an address, a control, a text direction, a formula or a quote, whoever made it. It is safe before any
escaping.
"""

import re
import unicodedata

NAME, SENTENCE = 40, 200  # most characters of a name, and of a description
STACKED = 2  # marks on one letter, as Vietnamese and Hindi need; more would paint over other lines

_QUOTES = re.compile("['\u2018\u2019\u02bc`\u00b4]")
_MARKS = re.compile(
    r"(?<=\w)[+#]+(?![\w+#])"  # c++, c#
    r"|(?<=\w)[,:;](?= )|(?<=\))[,:;](?= )"  # between words only, so no address has a colon
    r"|(?<=\w)-(?=\w)"
    r"|(?<=\d)\.(?=\d)"
    r"|\((?=[^()]+\))|(?<!\()\)"
)
_END = re.compile(r"(?<=[^\W\d])[.?!](?= |$)")


def name(text: str, most: int = NAME) -> str:
    """``text`` on one line with what a name may contain, and cut after a word; "" if nothing is left."""
    return _settled(text, False, most)


def sentence(text: str, most: int = SENTENCE) -> str:
    """As ``name``, but full stops, question and exclamation marks may end a sentence."""
    return _settled(text, True, most)


def is_name(text: str) -> bool:
    """Whether the text is a name that ``name`` leaves as it is."""
    return bool(text) and name(text) == text


def _settled(text: str, sentence: bool, most: int) -> str:
    """What is left when nothing more is taken out: what stands beside a mark decides whether the mark stays."""
    while (shorter := _cut(_kept(text, sentence), most)) != text:
        text = shorter
    return text


def _kept(text: str, sentence: bool) -> str:
    line = " ".join(_letters(_QUOTES.sub("", unicodedata.normalize("NFKC", text))).split())
    marks = {found.start() + i for found in _MARKS.finditer(line) for i in range(len(found[0]))}
    marks |= {found.start() for found in _END.finditer(line)} if sentence else set()
    plain = "".join(c if _is_letter(c) or c == " " or i in marks else " " for i, c in enumerate(line))
    return _paired(" ".join(plain.split()))


def _letters(text: str) -> str:
    """Without characters that are neither printable nor spaces, and without marks that are stacked too high."""
    kept, stacked = [], STACKED  # a mark at the beginning has no letter
    for c in text:
        is_mark = unicodedata.category(c) in ("Mn", "Mc")
        stacked = stacked + 1 if is_mark else 0 if _is_letter(c) else STACKED
        if c.isspace() or (c.isprintable() and not (is_mark and stacked > STACKED)):
            kept.append(c)
    return "".join(kept)


def _is_letter(c: str) -> bool:
    return unicodedata.category(c) in ("Lu", "Ll", "Lt", "Lo", "Lm", "Mn", "Mc", "Nd")


def _paired(text: str) -> str:
    """Without brackets that have no partner, and without marks at the ends."""
    kept, depth = [], 0
    for i, c in enumerate(text):
        opens, closes = c == "(" and ")" in text[i:], c == ")" and depth > 0
        depth += opens - closes
        kept.append(c if opens or closes or c not in "()" else "")
    return " ".join("".join(kept).split()).lstrip(" ,:;-+#.?!").rstrip(" ,:;-")


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    shorter = text[: most + 1].rpartition(" ")[0] or text[:most]
    return _paired(shorter)
