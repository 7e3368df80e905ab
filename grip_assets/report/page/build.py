"""Joins the sections into one HTML file that needs no server and no network.

The file contains everything: plotly's script, our script, the style and the data. Its content security policy allows
only the two scripts, by their hashes, and no connection. So a script in a document could not run even if it were not
escaped.
"""

import base64
import hashlib
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from grip_assets.report.page import (
    attribution,
    balance,
    budget,
    clusters,
    coherence,
    corpus_map,
    curves,
    diversity,
    evaluation,
    lengths,
    mixing,
    overview,
    rounds,
    runs,
    scores,
    stability,
)
from grip_assets.report.page.context import Context
from grip_assets.report.page.inert import json_text, visible
from grip_assets.report.page.palette import DARK, LIGHT, css
from grip_assets.report.page.parts import Section

HERE = Path(__file__).parent
SHORT = {
    "overview": "Overview",
    "map": "Map",
    "clusters": "Clusters",
    "coherence": "Checks",
    "lengths": "Length",
    "scores": "Quality",
    "curves": "Loss",
    "mixing": "Mixing",
    "attribution": "Attribution",
    "budget": "Budget",
    "stability": "Stability",
    "balance": "Balance",
    "evaluation": "Does it help?",
    "runs": "Compare",
    "diversity": "Diversity",
    "rounds": "Rounds",
}
# The sections for decisions come first; the paper's figures follow.
SECTIONS = (
    overview,
    corpus_map,
    clusters,
    coherence,
    balance,
    mixing,
    attribution,
    budget,
    evaluation,
    runs,
    diversity,
    stability,
    lengths,
    scores,
    curves,
    rounds,
)


def build(root: Path, digest: str = "") -> tuple[str, list[Section]]:
    """The HTML of the data folder ``root``, and its sections. The same tables give the same text."""
    with Context(root) as context:
        sections = [module.section(context) for module in SECTIONS]
        title = overview.title(context)
    return render(sections, title, digest), sections


def render(sections: list[Section], title: str, digest: str) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["json"] = lambda value: Markup(json_text(value))
    plotly, ours = _plotly(), (HERE / "page.js").read_text(encoding="utf-8")
    values: dict[str, Any] = {
        "sections": sections,
        "short": SHORT,
        "title": title,
        "digest": digest,
        "style": Markup(f":root {{ {css(LIGHT)} }}\n{(HERE / 'page.css').read_text(encoding='utf-8')}"),
        "dark": Markup(css(DARK)),
        "scripts": [Markup(plotly), Markup(ours)],
        "hashes": [_hash(plotly), _hash(ours)],
        "palette": LIGHT,
    }
    return environment.get_template("page.html.j2").render(values)


def _shown(value: Any) -> Any:
    """A value for the template: our own markup unchanged, other texts with invisible characters made visible."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    text = get_plotlyjs()
    if "</script" in text.lower() or "\r" in text:  # the element would end early, or the hash would be wrong
        raise ValueError("this plotly.min.js cannot be put into a script element unchanged")
    return text


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
