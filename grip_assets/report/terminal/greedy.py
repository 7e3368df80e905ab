"""Lines of `grip explain` about a greedy selection: a document's alignment, what was covered, its gain and its rank.

For the source cross_entropy these are against an average token of the pool: see ``CrossEntropy`` in
method/attribution/objective.py.
"""

from typing import Any

import duckdb

from grip_assets.store.query import sql_text


def of_document(connection: duckdb.DuckDBPyConnection, doc_id: str) -> dict[str, Any] | None:
    """The document's turn, and the last that was taken. None if the selection in force is not greedy."""
    rule = connection.execute("SELECT value FROM settings WHERE \"group\" = 'selection' AND name = 'rule'").fetchall()
    columns = [row[0] for row in connection.execute("DESCRIBE selection_weights").fetchall()]
    if rule != [('"greedy"',)] or "rank" not in columns:
        return None
    found = connection.sql(sql_text("commands/explain_greedy"), params={"doc": doc_id}).pl().to_dicts()
    if not found or found[0]["gain"] is None:
        return None
    sources = connection.execute("SELECT source FROM attribution_choice WHERE chosen").fetchall()
    return found[0] | {"source": sources[0][0] if sources else None}


def why(d: dict[str, Any]) -> str:
    """The reason. ``d``: from ``of_document``."""
    if d["rank"] is not None:
        return f"it was number {d['rank']:,} of {d['taken']:,} that were taken, by what it adds to those before"
    if d["alignment"] <= 0:
        if _of_tokens(d):
            return "its tokens predict the targets no better than those of an average document of the pool"
        return "its features point away from the targets"
    if d["end_gain"] is None:
        return "the budget of its cluster ended before its turn came"
    if d["gain"] >= d["end_gain"]:
        return "it did not fit into what was left of the budget when its turn came"
    if d["alignment"] > d["end_gain"]:
        return "what it has was covered by documents that were taken before, so others added more"
    return f"it would add less than the documents that were taken at the end of the budget{_where(d)}"


def lines(d: dict[str, Any] | None) -> list[str]:
    """Lines for a document. ``d``: from ``of_document``."""
    if d is None:
        return []
    turn = f"rank {d['rank']:,} of {d['taken']:,}" if d["rank"] is not None else f"not among the {d['taken']:,} taken"
    when = "when its turn came" if d["rank"] is not None else "at the end"
    known = d["end_gain"] is not None
    end = f"; at the end of the budget{_where(d)} documents had {d['end_gain']:+.4g}" if known else ""
    share = f" ({d['covered'] / d['alignment']:.0%} of it)" if d["alignment"] > 0 else ""
    found = [
        f"  greedy      {turn}; gain {d['gain']:+.4g} for each token {when}{end}",
        f"              alignment {d['alignment']:+.4g}, of which others had covered {d['covered']:+.4g}{share}",
    ]
    if _of_tokens(d):
        found.append("              by cross-entropy, against an average token of the pool, which has 0")
    return found


def _of_tokens(d: dict[str, Any]) -> bool:
    """Whether documents are scored by how well their tokens predict the targets."""
    return d["source"] == "cross_entropy"


def _where(d: dict[str, Any]) -> str:
    return " of its cluster" if d["of_the_cluster"] else ""
