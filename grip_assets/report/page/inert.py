"""Texts of documents and file names must have no effect on the page: no markup, no script, no reversed text direction.

There are three places and three ways to escape. The template escapes HTML. ``json_text`` escapes JSON in a script
element. ``label`` escapes labels of plotly, which interprets some tags itself. Each first makes invisible characters
visible.
"""

import html
import json
import re
import textwrap
from typing import Any

# Controls; zero width and direction marks; line separators; byte order mark; noncharacters; tag characters.
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff"
    "\U000e0000-\U000e007f]"
)
IN_SCRIPT = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def visible(text: str) -> str:
    """The text, with each invisible character or direction mark replaced by its code, such as [U+202E]."""
    return UNSEEN.sub(lambda found: f"[U+{ord(found[0]):04X}]", text)


def label(text: str, width: int = 70, lines: int = 6) -> str:
    """The text as a label of plotly: tags escaped, long lines broken, at most ``lines`` lines."""
    cut = [line[i : i + width] for line in visible(text).split("\n") for i in range(0, max(len(line), 1), width)]
    shown = [line.replace("\t", "  ").rstrip() for line in cut if line.strip()]
    more = ["…"] if len(shown) > lines else []
    return "<br>".join(html.escape(line, quote=True) for line in shown[:lines] + more)


def wrapped(text: str, width: int, lines: int = 2) -> str:
    """The text as a label of plotly, broken between words into at most ``lines`` lines."""
    found = textwrap.wrap(visible(text), width, max_lines=lines, placeholder="…")
    return "<br>".join(html.escape(line, quote=True) for line in found)


def json_text(value: Any) -> str:
    """JSON that cannot end the script element around it. Numbers that are not finite become null."""
    text = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return re.sub("[<>&\u2028\u2029]", lambda found: IN_SCRIPT[found[0]], text)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None
    return visible(value) if isinstance(value, str) else value
