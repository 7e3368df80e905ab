"""Why one document is in or out of the subset, in sentences and numbers."""

import json
from pathlib import Path
from typing import Any

import duckdb

from grip_assets.errors import GripError
from grip_assets.report.page.inert import visible
from grip_assets.report.terminal import greedy, mixing
from grip_assets.stages.curation.subset import LIMIT
from grip_assets.store import cluster_names
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.catalog import connect
from grip_assets.store.cluster_names import ClusterNames
from grip_assets.store.query import sql_text

TYPICAL = 3  # documents of the cluster that are named


def explain(root: Path, doc: str) -> str:
    """Say why a document is in or out.

    ``doc``: document id, source, or the end of a source after a slash. GripError if the pool has no such document, or
    more than one.
    """
    rows, rejected = find(root, doc)
    return "\n\n".join([_document(row) for row in rows] + [_rejected(row) for row in rejected])


def as_data(root: Path, doc: str) -> list[dict[str, Any]]:
    """The same as data: ``verdict`` (in, out, rejected, held out or near copy), ``why``, and every number."""
    rows, rejected = find(root, doc)
    said = [{"verdict": "in" if row["repeats"] else "out", "why": why(row), **row} for row in rows]
    as_verdict = ("held out", "near copy")
    return said + [{"verdict": r["reason"] if r["reason"] in as_verdict else "rejected", **r} for r in rejected]


def find(root: Path, doc: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of the corpus, and rows of documents that were rejected or set aside."""
    with connect(root) as connection:
        rows, rejected = _found(connection, doc)
        if not rows and not rejected:
            doc = _ends_in(connection, doc)
            rows, rejected = _found(connection, doc)
        names = cluster_names.in_force(connection, root)
        rows = [row | _about(connection, ArtifactStore(root), names, row) for row in rows]
    return rows, [row for row in rejected if row["source"] == doc or not rows]


def _about(
    connection: duckdb.DuckDBPyConnection, store: ArtifactStore, names: ClusterNames, row: dict[str, Any]
) -> dict[str, Any]:
    """The document's cluster in words: label, name, family, typical documents; the document's influence in it; the
    learned weight of its domain; and its turn in a greedy selection."""
    cluster = row["cluster_id"]
    typical = names.representatives(connection, TYPICAL, [cluster])["doc_id"].to_list()
    heads = connection.sql(sql_text("report/heads"), params={"ids": typical, "chars": 0}).pl()
    sources = dict(heads.select("doc_id", "source").iter_rows())
    return {
        "label": names.label(cluster),
        **names.said(cluster),
        "description": names.about(cluster).description or None,
        "representatives": [sources[doc] for doc in typical],
        "influence": names.influence_of(row["doc_id"]),
        "mixture": mixing.of_document(connection, store, names, row["doc_id"]),
        "greedy": greedy.of_document(connection, row["doc_id"]),
    }


def _found(connection: duckdb.DuckDBPyConnection, doc: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of the document in the corpus, and rows of its rejection."""
    found = [
        connection.sql(sql_text(name), params={"doc": doc}).pl()
        for name in ("commands/explain", "commands/explain_rejected")
    ]
    return found[0].to_dicts(), found[1].to_dicts()


def _ends_in(connection: duckdb.DuckDBPyConnection, doc: str) -> str:
    """The one source that ends in ``doc``. GripError with the nearest names if there is none, or more than one."""
    near = connection.sql(sql_text("commands/explain_nearest"), params={"doc": doc}).fetchall()
    ends = [source for source, ends_so in near if ends_so]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise GripError(f"More than one document of the pool ends in '{doc}'. Name one: {', '.join(ends)}")
    names = ", ".join(source for source, _ in near)
    raise GripError(f"The pool has no document '{doc}'. The nearest names: {names}")


def _rejected(row: dict[str, Any]) -> str:
    kept = f"\n  {row['stands_for_source']} ({row['stands_for']}) is kept instead" if row["stands_for"] else ""
    if row["reason"] == "near copy":
        by = f"{row['stands_for_source']} ({row['stands_for']})"
        what = "which is held out for the evaluation" if row["of_held_out"] else "which stands for it"
        return f"{row['source']} is out: near copy of {by}, {what} ({row['detail']})"
    how = "set aside" if row["reason"] == "held out" else "rejected"
    return f"{row['source']} is out: {how} before anything was computed ({row['reason']}: {row['detail']}){kept}"


def _document(d: dict[str, Any]) -> str:
    copies = f", {d['repeats']} times" if d["repeats"] > 1 else ""
    verdict = f"IN the subset{copies}" if d["repeats"] else "OUT of the subset"
    delta = f"{d['delta']:.4f}" if d["delta"] is not None else "not measured"
    quality = f"{d['quality']:.3f}" if d["quality"] is not None else "not measured"
    lines = [
        f"{d['source']} ({d['doc_id']}) is {verdict}: {why(d)}",
        f"  document    {d['language'] or 'unknown language'}, {d['n_bytes']:,} bytes, {d['n_tokens']:,} tokens",
        f"  cluster     {visible(d['label'])}: {d['n_docs']:,} documents; {_place(d['cosine'])}",
        f"              σ_k {d['sigma']:.3f}   Q_k {quality}   δ_k {delta}   r_k {d['replay_multiplier']:.3f}",
        *_words(d),
        *mixing.lines_of_document(d["mixture"]),
        f"  budget      base {d['base_budget']:,.0f}, after replay {d['budget']:,.0f},"
        f" allocated {d['allocated']:,} of {d['whole' if d['of_the_pool'] else 'capacity']:,} {d['unit']}"
        + (" for the whole pool" if d["of_the_pool"] else ""),
        f"              after sharing what other clusters could not use: {d['granted']:,}; drawn {d['drawn']:,}",
        *_draw(d),
    ]
    if d["status"] == "ok":
        lines.append(f"  judged      by {d['judge']}: score {_number(d['score'])}, {_shown(json.loads(d['parts']))}")
    elif d["status"]:
        lines.append(f"  judged      by {d['judge']}: failed, {d['reason']}")
    return "\n".join(lines)


def _words(d: dict[str, Any]) -> list[str]:
    """What the cluster is about (description, family, typical documents), and the influence of the document in it."""
    lines = [f"              {visible(d['description'])}"] if d["description"] else []
    lines += [f"              of the family {visible(d['family_name'])}"] if d["family_name"] else []
    lines += [f"              typical: {', '.join(map(visible, d['representatives']))}"] if d["representatives"] else []
    if found := d["influence"]:
        lines.append(
            f"  influence   rank {found['rank']:,} of {found['ranked']:,} in its cluster ({found['influence']:+.3f})"
        )
    return lines


def _place(cosine: float | None) -> str:
    """How near the document is to the centre of its cluster. Without a vector that is not known."""
    return "it has no vector (embedding.sample)" if cosine is None else f"cosine to its centre {cosine:.3f}"


def _draw(d: dict[str, Any]) -> list[str]:
    """The document's key. If keys are compared within a cluster, also the weight that the key is made from."""
    if d.get("greedy"):
        return greedy.lines(d["greedy"])
    where = "of the pool" if d["of_the_pool"] else "in this cluster"
    weight = (
        f"  weight      1/ρ × (ℓ/ℓ_avg)^β: ρ {d['density']:.4f}, length weight {d['length_weight']:.3f},"
        f" weight {d['selection_weight']:.4f}"
    )
    key = f"  draw        key {d['key']:.4f}; the last key drawn {where} is {_number(d['threshold'])}"
    return [key] if d["of_the_pool"] else [weight, key]


def why(d: dict[str, Any]) -> str:
    """The reason. ``d``: a row of sql/commands/explain.sql, and ``greedy``."""
    if d.get("greedy") and _was_considered(d):
        return greedy.why(d["greedy"])
    if d["of_the_pool"]:
        return _why_of_the_pool(d)
    size = d["n_tokens"] if d["unit"] == "tokens" else 1
    budget, unit = max(d["allocated"], d["granted"]), d["unit"]
    if d["max_tokens"] is not None and d["n_tokens"] > d["max_tokens"]:
        return f"it was left out of the draw: {_too_long(d)}"
    if not d["repeats"] and budget == 0:
        return "its cluster was given no budget"
    if not d["repeats"] and size > budget:
        return f"it was passed over: it has {size:,} {unit}, and the whole budget of its cluster is {budget:,}"
    if not d["repeats"]:
        return "its key is below the threshold of its cluster, where the budget ends"
    if d["exhausted"]:
        rest = f", but for {d['passed_over']:,} that are longer than its budget" if d["passed_over"] else ""
        return f"its cluster is exhausted: all of its documents are taken{rest}"
    if d["drawn"] >= d["whole"]:
        return "the budget of its cluster is at least the whole cluster, so all of its documents are taken"
    return "its key is at or above the threshold of its cluster"


def _too_long(d: dict[str, Any]) -> str:
    return f"it has {d['n_tokens']:,} tokens, and {LIMIT} allows {d['max_tokens']:,}"


def _was_considered(d: dict[str, Any]) -> bool:
    """Whether the document may be taken, and is no longer than the budget."""
    size = d["n_tokens"] if d["unit"] == "tokens" else 1
    too_long = d["max_tokens"] is not None and d["n_tokens"] > d["max_tokens"]
    return not too_long and (bool(d["repeats"]) or size <= max(d["allocated"], d["granted"]))


def _why_of_the_pool(d: dict[str, Any]) -> str:
    """The reason if the selection uses one budget for the whole pool and not those of clusters."""
    if d["max_tokens"] is not None and d["n_tokens"] > d["max_tokens"]:
        return f"it was left out: {_too_long(d)}"
    if d["threshold"] is None:
        return f"the selection {'took' if d['repeats'] else 'did not take'} it of its part of the pool"
    if d["exhausted"]:
        return "all documents that fit the budget are taken" if d["repeats"] else "it is longer than the whole budget"
    return f"its key is {'at or above' if d['key'] >= d['threshold'] else 'below'} the threshold of the pool"


def _shown(parts: dict[str, Any]) -> str:
    """What the judge saw of the document."""
    if "shown" not in parts:
        return f"read as {parts['read_as']}"
    seen = sum(end - start for start, end in parts["shown"])
    return f"shown {seen:,} of {parts['n_chars']:,} characters"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"
