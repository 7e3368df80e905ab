"""Lines of `grip explain` about a greedy selection: a document's alignment, what was covered, its gain and its rank."""

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
    return found[0] if found and found[0]["gain"] is not None else None


def why(d: dict[str, Any]) -> str:
    """The reason. ``d``: from ``of_document``."""
    if d["rank"] is not None:
        return f"it was number {d['rank']:,} of {d['taken']:,} that were taken, by what it adds to those before"
    if d["alignment"] <= 0:
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
    return [
        f"  greedy      {turn}; gain {d['gain']:+.4g} for each token {when}{end}",
        f"              alignment {d['alignment']:+.4g}, of which others had covered {d['covered']:+.4g}{share}",
    ]


def _where(d: dict[str, Any]) -> str:
    return " of its cluster" if d["of_the_cluster"] else ""
