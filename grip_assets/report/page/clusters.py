"""The section Clusters: what is in each cluster, its measurements, and its share of the budget and the subset."""

from collections import defaultdict
from typing import Any

from grip_assets.report.page import student
from grip_assets.report.page.context import Context
from grip_assets.report.page.parts import Column, Section, Special, Table, say
from grip_assets.store.cluster_names import Name

DRAWN = ("n_selected", "drawn", "pool_share", "budget_share", "subset_share", "gain", "ratio")
CARDS = 200  # the clusters whose share changed most; the table has all
REPRESENTATIVES = 3
COLUMNS = [
    Column("about", "About"),
    Column("family_name", "Family"),
    Column("n_docs", "Documents", ",d"),
    Column("n_tokens", "Tokens", ",d"),
    Column("sigma", "σ_k", ".3f", "spread of the embeddings"),
    Column("quality", "Q_k", ".3f", "quality, 0 to 1"),
    Column("standard_error", "± SE", ".3f", "standard error of Q_k"),
    Column("delta", "δ_k", ".4f", "drop of the loss"),
    Column("delta_spread", "± spread", ".3f", "over seeds"),
    Column("replay_multiplier", "r_k", ".2f", "replay multiplier"),
    Column("base_budget", "Base budget", ",.0f"),
    Column("allocated", "Budget", ",d"),
    Column("drawn", "Drawn", ",d", "tokens or documents in the subset, as the budget counts"),
    Column("ratio", "Change of share", ".2f", "share of the subset over share of the pool"),
    Column("share_selected", "Selected", ".1%", "share of its documents"),
]
SORTS = [
    ("gain", "Gain in points of share"),
    ("ratio", "Change of share, times"),
    ("n_docs", "Documents"),
    ("quality", "Quality"),
    ("delta", "Adaptation delta"),
    ("sigma", "Spread σ"),
    ("replay_multiplier", "Replay multiplier"),
    ("share_selected", "Share selected"),
    ("cluster_id", "Number"),
]


def section(context: Context) -> Section:
    needed = context.lacks("corpus", "clusters", "cluster_quality", "adaptation_deltas", "budgets", "subset")
    if needed:
        return Section("clusters", "Clusters", needed)
    shares = context.ask("questions/share_by_cluster").select("cluster_id", *DRAWN)
    table = context.ask("report/clusters").join(shares, on="cluster_id")
    rows = table.sort("gain", "cluster_id", descending=[True, False]).to_dicts()
    languages = defaultdict(list)
    for row in context.ask("report/languages_of_clusters", most=3).iter_rows(named=True):
        languages[row["cluster_id"]].append(row)
    shown = sorted(rows, key=lambda r: (-abs(r["gain"]), r["cluster_id"]))[:CARDS]
    chosen = [r["cluster_id"] for r in shown]
    near = context.names.representatives(context.connection, REPRESENTATIVES, chosen)
    heads = context.heads(near["doc_id"], 280)
    typical = defaultdict(list)
    for row in near.iter_rows(named=True):
        typical[row["cluster_id"]].append(heads[row["doc_id"]])
    for row in rows:
        row["languages"] = languages[row["cluster_id"]]
        row["share_selected"] = row["n_selected"] / row["n_docs"]
        first = typical[row["cluster_id"]][:1]
        about = row["languages"][0]["language"]
        row["about"] = f"{about}: {_name(first[0]['source'])}" if first else about
        row |= {"named": context.names.about(row["cluster_id"]), **context.names.said(row["cluster_id"])}
    ids = {r["cluster_id"] for r in shown}
    cards = [_card(r, typical[r["cluster_id"]]) for r in rows if r["cluster_id"] in ids]
    grown = sum(r["gain"] > 0 for r in rows)
    intro = say(
        "{grown} of {n} clusters have a larger share of the subset than of the pool. Quality is the mean of the judged"
        " probe documents, with one standard error. δ is how far the loss of a proxy falls, with its spread over seeds."
        " σ is how far apart the documents are.{seeds}{left}",
        grown=grown,
        n=len(rows),
        seeds=" The proxy was run with one seed, so its spread is not known." if not _spread(rows) else "",
        left=f" There are cards for the {CARDS} clusters whose share changed most; the table has all."
        if len(rows) > CARDS
        else "",
    )
    return Section(
        "clusters",
        "Clusters",
        [
            intro,
            *student.blocks(context),
            Special("cards", {"cards": cards, "sorts": SORTS}),
            Table("All clusters", _columns(context), rows, folded=True),
        ],
    )


def _columns(context: Context) -> list[Column]:
    known = any(name.family_name for name in context.names.names.values())
    return [context.cluster_column(), *(c for c in COLUMNS if known or c.name != "family_name")]


def _spread(rows: list[dict[str, Any]]) -> bool:
    return any(row["delta_spread"] is not None for row in rows)


def _name(source: str) -> str:
    return source if len(source) <= 48 else "…" + source[-47:]


def _words(name: Name) -> list[str]:
    return [name.name, name.description, *name.words, name.family_name]


def _card(row: dict[str, Any], documents: list[dict[str, Any]]) -> dict[str, Any]:
    top = max(row["pool_share"], row["budget_share"], row["subset_share"], 1e-12)
    return row | {
        "documents": documents,
        "find": "\n".join(
            [*_words(row["named"]), *(str(n["language"]) for n in row["languages"]), *(d["source"] for d in documents)]
        ),
        "sort": {name: "" if row[name] is None else repr(row[name]) for name, _ in SORTS},
        "bars": [
            ("pool", row["pool_share"], row["pool_share"] / top),
            ("budget", row["budget_share"], row["budget_share"] / top),
            ("subset", row["subset_share"], row["subset_share"] / top),
        ],
    }
