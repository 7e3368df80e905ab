"""The text of a web page: what settings/corpus.extractor names takes it out of the HTML.

The extractors' time grows faster than linearly with how deep tags are nested. So a page that nests them deeper than any
browser would follow is refused.
"""

import re
from itertools import accumulate

from grip_assets.extras import missing

DEEPEST = 1000  # browsers stop at 512
SHALLOW = {  # tags without an end, or whose end is implied by the next one
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr",
    "p", "li", "dt", "dd", "option", "html", "head", "body", "path", "use",
}  # fmt: skip
TAGS = re.compile(rf"<(/?)(?!(?:{'|'.join(sorted(SHALLOW))})(?![a-z0-9-]))[a-z]", re.IGNORECASE | re.ASCII)


def text_of(html: str, extractor: str) -> str:
    """The main text of a page; "" if there is none. ValueError if it is nested too deep."""
    if _most_opened(html) > DEEPEST and _depth(html) > DEEPEST:
        raise ValueError(f"its tags are nested more than {DEEPEST:,} deep")
    html = html.replace("\0", "")
    return _by_trafilatura(html) if extractor == "trafilatura" else _by_resiliparse(html)


def _most_opened(html: str) -> int:
    """At least the depth, and found in a hundredth of its time. It settles most pages."""
    return html.count("<") - html.count("</")


def _depth(html: str) -> int:
    """How many tags are open at most. An end without a beginning closes nothing."""
    steps = [-1 if slash else 1 for slash in TAGS.findall(html)]
    heights = list(accumulate(steps))
    lowest = accumulate(heights, min, initial=0)
    next(lowest)
    return max((height - low for height, low in zip(heights, lowest, strict=True)), default=0)


def _by_resiliparse(html: str) -> str:
    try:
        from resiliparse.extract.html2text import extract_plain_text
    except ImportError as error:
        raise missing("web", "settings/corpus.extractor resiliparse", error) from None
    return str(extract_plain_text(html, main_content=True, alt_texts=False))


def _by_trafilatura(html: str) -> str:
    try:
        from trafilatura import extract
    except ImportError as error:
        raise missing("web", "settings/corpus.extractor trafilatura", error) from None
    return extract(html, include_comments=False, deduplicate=False) or ""
