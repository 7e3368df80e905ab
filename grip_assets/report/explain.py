"""Why one document is in or out of the subset, in sentences and numbers."""

import json
from pathlib import Path
from typing import Any

from grip_assets.errors import GripError
from grip_assets.store.catalog import connect
from grip_assets.store.query import sql_text


def explain(root: Path, doc: str) -> str:
    """``doc``: document id or source. GripError where the pool has no such document."""
    rows, rejected = find(root, doc)
    return "\n\n".join([_document(row) for row in rows] + [_rejected(row) for row in rejected])


def as_data(root: Path, doc: str) -> list[dict[str, Any]]:
    """The same as rows: ``verdict`` (in, out, rejected or held out), ``why``, and every number."""
    rows, rejected = find(root, doc)
    said = [{"verdict": "in" if row["repeats"] else "out", "why": _why(row), **row} for row in rows]
    return said + [{"verdict": "held out" if r["reason"] == "held out" else "rejected", **r} for r in rejected]


def find(root: Path, doc: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of the corpus, and rows that were rejected or set aside."""
    with connect(root) as connection:
        rows = connection.sql(sql_text("explain"), params={"doc": doc}).pl().to_dicts()
        rejected = connection.sql(sql_text("explain_rejected"), params={"doc": doc}).pl().to_dicts()
        if not rows and not rejected:
            near = connection.execute(
                "SELECT source FROM corpus ORDER BY jaro_winkler_similarity(source, $doc) DESC, source LIMIT 3",
                {"doc": doc},
            ).fetchall()
            raise GripError(f"The pool has no document '{doc}'. The nearest names: {', '.join(n for (n,) in near)}")
    return rows, [row for row in rejected if row["source"] == doc or not rows]


def _rejected(row: dict[str, Any]) -> str:
    stands = f"\n  {row['stands_for_source']} ({row['stands_for']}) stands for it" if row["stands_for"] else ""
    how = "set aside" if row["reason"] == "held out" else "rejected"
    return f"{row['source']} is out: {how} before anything was computed ({row['reason']}: {row['detail']}){stands}"


def _document(d: dict[str, Any]) -> str:
    copies = f", {d['repeats']} times" if d["repeats"] > 1 else ""
    verdict = f"IN the subset{copies}" if d["repeats"] else "OUT of the subset"
    delta = f"{d['delta']:.4f}" if d["delta"] is not None else "not measured"
    lines = [
        f"{d['source']} ({d['doc_id']}) is {verdict}: {_why(d)}",
        f"  document    {d['language'] or 'unknown language'}, {d['n_bytes']:,} bytes, {d['n_tokens']:,} tokens",
        f"  cluster     {d['cluster_id']}: {d['n_docs']:,} documents; cosine to its centre {d['cosine']:.3f}",
        f"              σ_k {d['sigma']:.3f}   Q_k {d['quality']:.3f}   δ_k {delta}   r_k {d['replay_multiplier']:.3f}",
        f"  budget      base {d['base_budget']:,.0f}, after replay {d['budget']:,.0f},"
        f" allocated {d['allocated']:,} of {d['capacity']:,} {d['unit']}",
        f"  weight      1/ρ × (ℓ/ℓ_avg)^β: ρ {d['density']:.4f}, length weight {d['length_weight']:.3f},"
        f" weight {d['selection_weight']:.4f}",
        f"  draw        key {d['key']:.4f}; the last key drawn in this cluster is {_number(d['threshold'])}",
    ]
    if d["status"] == "ok":
        lines.append(f"  judged      by {d['judge']}: score {_number(d['score'])}, {_shown(json.loads(d['parts']))}")
    elif d["status"]:
        lines.append(f"  judged      by {d['judge']}: failed, {d['reason']}")
    return "\n".join(lines)


def _why(d: dict[str, Any]) -> str:
    if d["threshold"] is None:
        return "its cluster was given no budget"
    if d["repeats"]:
        return "its key is at or above the threshold of its cluster"
    return "its key is below the threshold of its cluster, where the budget ends"


def _shown(parts: dict[str, Any]) -> str:
    """What the judge saw of the document."""
    if "shown" not in parts:
        return f"read as {parts['read_as']}"
    seen = sum(end - start for start, end in parts["shown"])
    return f"shown {seen:,} of {parts['n_chars']:,} characters"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"
