"""The card of an exported data set: Markdown with the front matter that the Hub reads, made from the lineage.

File names, titles and paths come from other people, so they are escaped: they contain no Markdown and no HTML.
Credentials, such as a password in a URL or a signed query, are left out.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import duckdb
import yaml

from grip_assets.export.formats import Format
from grip_assets.export.lineage import Lineage
from grip_assets.runtime.credentials import without_credentials
from grip_assets.settings import GROUPS, trait
from grip_assets.store.attributed import Attributed
from grip_assets.store.cluster_names import ClusterNames
from grip_assets.store.learned_mixture import Mixture
from grip_assets.store.query import sql_text

MOVED = 5  # clusters listed in each direction
LANGUAGES = 20
WEIGHTS = 30  # domains listed with their learned weights
SHOWN = 200  # characters of a name
SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B", "n>10B")
JUDGES = {
    "static": "Quality was judged by static analysis, which sees form and not truth: well-formatted nonsense scores"
    " well. It can rank clusters; it cannot judge single documents.",
    "llm": "Quality was judged by a language model, which can be wrong, and can be talked into high scores.",
    "column": "Quality is a column of the pool. How its numbers were made is not known.",
}
FIRST = (
    " Documents were taken greedily, each for what it adds to those that were taken before. The column rank is the"
    " order, gain what a token of the document added, alignment what it would add to nothing, and covered how much"
    " of that earlier documents had covered."
)
LIMITS = (
    "The licences of the documents are those of their sources. They were not checked.",
    "Personal data and secrets in the documents were neither looked for nor removed.",
)


def card(
    connection: duckdb.DuckDBPyConnection,
    lineage: Lineage,
    manifest: Mapping[str, Any],
    kind: type[Format],
    name: str,
) -> str:
    """The card of the export that ``manifest`` describes. The same export always gets the same card."""
    totals = _rows(connection, "questions/totals")[0]
    settings = list(lineage.settings())
    values = {f"{group}.{setting}": value for group, setting, value in settings}
    title = without_credentials(totals["title"] or f"subset {lineage.version}")
    parts = [
        _front_matter(title, manifest["rows"], kind, name),
        f"# {plain(title)}",
        "Documents for pre-training, picked out of a larger pool by GRIP"
        " ([arXiv:2603.00031](https://arxiv.org/abs/2603.00031)).",
        "## Source\n\n" + table(("", ""), _source(totals, values, manifest)),
        "## Figures\n\n" + table(("", "pool", "subset"), _figures(totals, lineage)),
        "Share of the tokens by language:\n\n"
        + table(("language", "pool", "subset", "documents"), _languages(connection)),
        *_clusters(connection, totals["unit"], lineage.names),
        *_mixture(lineage.mixture),
        *_attributed(connection, lineage),
        "## Settings\n\nAll values that the subset was made with.\n\n"
        + table(("setting", "symbol", "value"), ((f"{g}.{n}", _symbol(g, n), _value(v)) for g, n, v in settings)),
        "## Versions\n\n"
        + table(("asset", "version", "computed (UTC)", "code", "run"), map(_version, lineage.manifests.values())),
        f"Made with grip-assets {version('grip-assets')}.",
        "## Limits\n\n"
        + "\n".join(f"- {line}" for line in (JUDGES[values["quality.judge"]], _copies(values), *LIMITS)),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(title: str, rows: int, kind: type[Format], name: str) -> str:
    size = SIZES[min(max(len(str(rows)) - 3, 0), len(SIZES) - 1)]
    fields: dict[str, Any] = {
        "pretty_name": title,
        "license": "other",
        "size_categories": [size],
        "task_categories": ["text-generation"],
        "tags": ["grip", "data-selection", "pre-training"],
    }
    files = kind.split or (None if kind.directory else name)
    if files:
        data = [{"split": "train", "path": files}]
        fields["configs"] = [{"config_name": "default", "data_files": data}]
    return f"---\n{yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)}---"


def _source(totals: Mapping[str, Any], values: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[tuple]:
    order = "by cluster" if manifest["shuffle"] is None else f"shuffled, seed {manifest['shuffle']}"
    expanded = "a document is written once for each of its repeats"
    rows = [
        ("pool", _pool(values)),
        ("read", f"{totals['read']:,} documents of {totals['listed']:,}"),
        ("rejected", f"{totals['rejected']:,} documents, {totals['duplicates']:,} of them exact duplicates"),
        *([("near copies left out", f"{totals['near_copies']:,} documents")] if totals["near_copies"] else []),
        ("budget", f"{totals['budget']:,} {totals['unit']}"),
        *_background(totals),
        ("format", manifest["format"]),
        ("rows", f"{manifest['rows']:,}, {order}"),
        ("replay", expanded if manifest["expand"] else "the column repeats says how often to train on a document"),
        ("tokens are counted by", values["corpus.tokenizer"]),
    ]
    if manifest["tokenizer"]:
        rows.append(
            ("token ids", f"{manifest['tokens']:,} of {manifest['tokenizer']}, with one end token per document")
        )
    return rows


def _copies(values: Mapping[str, Any]) -> str:
    """Which copies were removed. Without ``near_duplicates`` in the lineage, near copies were not looked for."""
    if not (threshold := values.get("near_duplicates.threshold")):
        return "Exact duplicates were removed; near-duplicates were not."
    of = f"{values['near_duplicates.shingle']} {values['near_duplicates.unit']}"
    return (
        f"Exact duplicates were removed, and near-duplicates: documents that share at least {threshold:.0%} of their"
        f" shingles of {of} with one that stands for them. A few may have been missed. Texts that say the same in other"
        " words were not looked for."
    )


def _pool(values: Mapping[str, Any]) -> str:
    sources = [
        f"{source['name']} ({source['role']}): {source['path']}" for source in values.get("corpus.sources") or []
    ]
    return "; ".join(sources) or values["corpus.path"] or "the source code installed on the machine"


def _background(totals: Mapping[str, Any]) -> list[tuple]:
    n, tokens = totals["documents_of_background"], totals["tokens_of_background"]
    return [("kept beside the budget", f"{n:,} documents with {tokens:,} tokens")] if n else []


def _figures(totals: Mapping[str, Any], lineage: Lineage) -> list[tuple]:
    metrics = lineage.manifests["subset"]["metrics"]
    return [
        ("documents", f"{totals['documents']:,}", f"{totals['documents_selected']:,}"),
        ("tokens, with repeats", f"{totals['tokens']:,}", f"{totals['tokens_selected']:,}"),
        (
            "diversity: Rao's entropy, within clusters",
            *(metrics[f"diversity_of_the_{of}"] for of in ("corpus", "subset")),
        ),
    ]


def _languages(connection: duckdb.DuckDBPyConnection) -> list[tuple]:
    rows = _rows(connection, "questions/share_by_language")[:LANGUAGES]
    return [(r["language"], f"{r['pool_share']:.1%}", f"{r['subset_share']:.1%}", f"{r['n_selected']:,}") for r in rows]


def _clusters(connection: duckdb.DuckDBPyConnection, unit: str, names: ClusterNames) -> list[str]:
    shares = _rows(connection, "questions/share_by_cluster")
    described = names.described(connection)
    heads = ("cluster", "pool", "subset", "quality Q_k", "loss drop", "replay r_k", "language", "typical document")

    def row(s: Mapping[str, Any]) -> tuple:
        about = described[s["cluster_id"]]
        shown = (s["quality"], s["delta"], s["replay_multiplier"], about["language"], about["typical"])
        return (names.label(s["cluster_id"]), f"{s['pool_share']:.1%}", f"{s['subset_share']:.1%}", *shown)

    moved = {
        "grew": [s for s in shares if s["gain"] > 0][:MOVED],
        "shrank": [s for s in reversed(shares) if s["gain"] < 0][:MOVED],
    }
    return [
        f"Clusters whose share of the {unit} {how} most:\n\n{table(heads, map(row, rows))}"
        for how, rows in moved.items()
        if rows
    ]


def _mixture(found: Mixture | None) -> list[str]:
    """The learned weights of the domains, the largest first. Nothing if none were learned."""
    if found is None:
        return []

    def row(of: Mapping[str, Any]) -> tuple:
        interval = None if of["low"] is None else f"{of['low']:.1%} to {of['high']:.1%}"
        return (found.label(of["domain"]), f"{of['natural_share']:.1%}", f"{of['weight']:.1%}", interval)

    rows = found.weights.sort("weight", "domain", descending=[True, False]).head(WEIGHTS).to_dicts()
    more = len(found.weights) - len(rows)
    heads = ("domain", "natural share", "weight", "95%")
    parts = [f"Budgets follow weights that {found.method} learned from the losses of small models.", plain(found.words)]
    return [
        "## Learned weights\n\n" + " ".join(filter(None, parts)),
        table(heads, map(row, rows)) + (f"\n\nAnd {more:,} domains with smaller weights." if more > 0 else ""),
    ]


def _attributed(connection: duckdb.DuckDBPyConnection, lineage: Lineage) -> list[str]:
    """Why documents are in, if the selection is greedy: the score, how well it predicts, and the first documents."""
    found = lineage.attributed
    if found is None:
        return []
    score = plain(found.label(found.chosen["configuration"]))
    said = f"Subsets are scored by {score}, a reconstruction of GRASP, of which only the abstract is public."
    parts = ["## Scores\n\n" + said + (FIRST if (rows := _rows(connection, "questions/first_taken")) else "")]
    if found.measured:
        heads = ("score", "target", "trials", "Spearman", "95%", "noise ceiling")
        parts.append("How well it predicts training:\n\n" + table(heads, map(_fidelity, _of_chosen(found))))
    if rows:
        columns = ("rank", "document", "gain", "alignment", "covered")
        taken = ((r["rank"], r["source"], r["gain"], r["alignment"], r["covered"]) for r in rows)
        parts.append("The documents that were taken first:\n\n" + table(columns, taken))
    return parts


def _of_chosen(found: Attributed) -> Iterable[tuple[str, Mapping[str, Any]]]:
    own = found.chosen["configuration"]
    return ((found.label(own), row) for row in found.fidelity.filter(configuration=own).iter_rows(named=True))


def _fidelity(of: tuple[str, Mapping[str, Any]]) -> tuple:
    name, row = of
    interval = None if row["low"] is None else f"{row['low']:.2f} to {row['high']:.2f}"
    trials = f"{row['n']} {row['kind']}, {row['size']:,} tokens"
    return (name, row["target"], trials, row["spearman"], interval, row["ceiling"])


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _symbol(group: str, name: str) -> str:
    field = GROUPS[group].model_fields.get(name)
    return trait(field, "symbol") if field else ""


def _version(manifest: Mapping[str, Any]) -> tuple:
    when = datetime.fromtimestamp(manifest["computed_at"], UTC).strftime("%Y-%m-%d %H:%M")
    return manifest["stage"], manifest["version"], when, manifest["code_version"], manifest["run_id"]


def _rows(connection: duckdb.DuckDBPyConnection, name: str) -> list[dict[str, Any]]:
    return connection.sql(sql_text(name)).pl().to_dicts()


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [heads, ["---"] * len(heads), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return plain(f"{value:.4g}" if isinstance(value, float) else str(value))


def plain(text: str) -> str:
    """The text, escaped for one line of Markdown: without markup, HTML and links."""
    shown = without_credentials(text)
    shown = shown if len(shown) <= SHOWN else shown[:SHOWN] + "…"
    shown = "".join(" " if c.isspace() else "\ufffd" if unicodedata.category(c)[0] == "C" else c for c in shown)
    shown = re.sub(r"[\\`*_\[\]#!|~@$^]|:(?=/)|(?<=www)\.", r"\\\g<0>", shown)
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
