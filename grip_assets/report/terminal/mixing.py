"""Lines about learned weights: in the summary of a curation, and about the domain of a document in `grip explain`."""

from collections.abc import Iterator
from typing import Any

import duckdb
import polars as pl

from grip_assets.report import mixing
from grip_assets.report.mixing import DOMAINS, share
from grip_assets.report.page.inert import visible
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.cluster_names import ClusterNames
from grip_assets.store.learned_mixture import Mixture, in_force

MOVED = 3  # domains named in each direction


def as_lines(found: Mixture | None) -> Iterator[str]:
    """How the weights were learned, which domains went up and down, and what to make of it. Nothing if none were."""
    if found is None:
        return
    up, down = mixing.up_and_down(found, MOVED)
    what = f"{len(found.weights):,} {DOMAINS[found.settings['domains']]}"
    yield f"Weights of {what}, learned by {found.method}; share before → after:"
    yield f"  up:   {visible('; '.join(up)) or 'none'}"
    yield f"  down: {visible('; '.join(down)) or 'none'}"
    yield f"  {mixing.how_sure(found.weights)}"
    if found.words:
        yield f"  {visible(found.words)}"
    yield ""


def as_data(found: Mixture | None) -> dict[str, Any] | None:
    """The same as data: method, words, and each domain with its label, weight, interval and natural share."""
    if found is None:
        return None
    domains = [row | {"label": found.label(row["domain"])} for row in found.weights.to_dicts()]
    return {"method": found.settings.get("method"), "domains_are": found.settings["domains"], "words": found.words,
            "domains": domains}  # fmt: skip


def of_document(
    connection: duckdb.DuckDBPyConnection, store: ArtifactStore, names: ClusterNames, doc_id: str
) -> dict[str, Any] | None:
    """The domain of a document, its learned weight, and why it has this weight. None if no weights were learned."""
    found = in_force(connection, store, names)
    if found is None:
        return None
    placed = connection.execute("SELECT domain, held_out FROM mixture_documents WHERE doc_id = ?", [doc_id]).fetchall()
    if not placed:
        return None
    domain, held_out = placed[0]
    row = found.weights.filter(domain=domain).row(0, named=True)
    value = reasons(connection, found).get(domain)
    return {
        "domain": found.label(domain),
        "held_out": held_out,
        "method": found.method,
        **{name: row[name] for name in ("weight", "natural_share", "low", "high", "most")},
        "because": None if value is None else mixing.reason(found, value),
    }


def reasons(connection: duckdb.DuckDBPyConnection, found: Mixture) -> dict[int, float]:
    """What the weight of each domain follows; see ``mixing.reasons``."""
    tables = {
        name: connection.table(name).pl() for name in ("mixtures", "mixture_losses", "mixture_steps", "mixture_domains")
    }
    gains = pl.DataFrame(schema={"domain": pl.Int32, "value": pl.Float64})
    if found.settings.get("method") == "perf":
        objective = found.settings.get("objective", "held_out")
        value = mixing.objectives(tables["mixture_losses"], objective, tables["mixture_domains"], "mixture_id")
        gains = mixing.upsampled(tables["mixtures"], value)
    return mixing.reasons(found, tables["mixture_steps"], gains)


def lines_of_document(d: dict[str, Any] | None) -> list[str]:
    """Lines for `grip explain`. ``d``: from ``of_document``."""
    if d is None:
        return []
    interval = "" if d["low"] is None else f", 95% {share(d['low'])} to {share(d['high'])}"
    lines = [
        f"  mixture     domain {visible(d['domain'])}: weight {share(d['weight'])}{interval}, natural share"
        f" {share(d['natural_share'])}; learned by {d['method']}"
    ]
    if d["because"]:
        lines.append(f"              {d['because']}")
    if d["held_out"]:
        lines.append("              the trainings did not read this document: losses were measured on it")
    return lines
