"""What a mixture is without its domains: the mean embedding of what it reads [C23].

Two partitions of a pool share no weights. But a mixture of either has a mean embedding. So losses that were measured on
mixtures of an earlier partition (settings/mixing.evidence) say something about those of a new one. The regression on
mean embeddings is in method/mixing/regress.py. Shapes: n mixtures, D domains, V numbers of a vector, T targets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from grip_assets.errors import GripError
from grip_assets.settings import Mixing, digest, field_names
from grip_assets.stages.curation.predicted import COPIED
from grip_assets.stages.mixing.learning import Given, swarm_of
from grip_assets.stages.mixing.objective import Objective
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.tables import blocks, matrix, width

RUNS = "mixture_runs"
PARTITION = ("clusters", "mixture_domains")
TRAINED_ALIKE = (*field_names(Mixing, "model"), *field_names(Mixing, "training"))
BLOCK = 4_096  # vectors that are read at once


@dataclass(frozen=True)
class Evidence:
    """Mixtures that were trained: their shares, their losses, and the mean embeddings of their domains."""

    weights_nD: np.ndarray
    loss_nT: np.ndarray
    mean_DV: np.ndarray

    @property
    def mean_nV(self) -> np.ndarray:
        return self.weights_nD @ self.mean_DV


def mean_embeddings(vectors: str, documents: pl.DataFrame) -> np.ndarray:
    """The mean vector of each domain's tokens, float64 (D, V).

    ``vectors``: glob of a table with doc_id and embedding. ``documents``: doc_id, domain, n_tokens. A document without
    a vector does not count. GripError if a domain has none with one.
    """
    n_domains = int(documents["domain"].max()) + 1  # type: ignore[arg-type]
    sum_DV, tokens_D = np.zeros((n_domains, width(vectors))), np.zeros(n_domains)
    for table in blocks(vectors, ["doc_id", "embedding"], BLOCK):
        read = pl.DataFrame(table.select(["doc_id"])).join(documents, on="doc_id", how="left", maintain_order="left")
        domain_B, tokens_B = read["domain"].fill_null(0).to_numpy(), read["n_tokens"].fill_null(0).to_numpy()
        part_DB = np.zeros((n_domains, len(read)))
        part_DB[domain_B, np.arange(len(read))] = tokens_B
        with threadpool_limits(1):  # the same sum on any number of threads
            sum_DV += part_DB @ matrix(table["embedding"]).astype(np.float64)
        tokens_D += part_DB.sum(axis=1)
    if not tokens_D.all():
        raise GripError(
            f"Domain {int(np.argmin(tokens_D))} has no document with a vector, so its mixtures have no mean embedding."
            " Choose another settings/mixing.regressor, or raise settings/embedding.sample."
        )
    return sum_DV / tokens_D[:, None]


def of_this_partition(given: Given) -> np.ndarray:
    """The mean embeddings of the domains that are mixed now, float64 (D, V)."""
    work = given.work
    tokens = work.frame("clusters").select("doc_id", "n_tokens")
    return mean_embeddings(work.files("cluster_embeddings"), _read(work.frame("mixture_documents"), tokens))


def _read(documents: pl.DataFrame, tokens: pl.DataFrame) -> pl.DataFrame:
    """doc_id, domain and n_tokens of the documents that trainings may read."""
    return documents.filter(~pl.col("held_out")).join(tokens, on="doc_id").select("doc_id", "domain", "n_tokens")


def earlier(given: Given) -> list[Evidence]:
    """What the artifacts that settings/mixing.evidence names have measured of the objective.

    GripError if one is not there, or cannot be compared: another encoder, other models, or other texts.
    """
    return [_of_artifact(given, version) for version in given.mixing.evidence]


def kept(store: ArtifactStore, versions: Sequence[str]) -> list[tuple[str, str]]:
    """The artifacts that the evidence consists of, as (stage, version)."""
    above = [store.ancestors(RUNS, version) for version in versions]
    return [(name, found[name]["version"]) for found in above for name in (*PARTITION, RUNS)]


def _of_artifact(given: Given, version: str) -> Evidence:
    store = given.work.store
    if version not in (there := _swarms(store)):
        raise GripError(
            f"settings/mixing.evidence names {version}, and there is no such {RUNS} by regmix. There are:"
            f" {', '.join(there) or 'none'}."
        )
    above = store.ancestors(RUNS, version)
    _comparable(given, version, above)
    mixtures, losses = (_table(store, above, RUNS, name) for name in ("mixtures", "mixture_losses"))
    documents = _table(store, above, "mixture_domains", "mixture_documents")
    tokens = _table(store, above, "clusters", "clusters").select("doc_id", "n_tokens")
    vectors = store.parquet("clusters", above["clusters"]["version"], "cluster_embeddings")
    weights_nD, loss_nT = swarm_of(mixtures, losses, given.objective)
    return Evidence(weights_nD, loss_nT, mean_embeddings(vectors, _read(documents, tokens)))


def _swarms(store: ArtifactStore) -> list[str]:
    """Versions of mixture_runs whose mixtures are a swarm, the newest first."""
    made = [m for m in store.ever_made(RUNS) if store.has(RUNS, m["version"]) and "unused" not in m]
    swarms = [m for m in made if m["settings"].get("mixing", {}).get("method") == "regmix"]
    return [m["version"] for m in sorted(swarms, key=lambda m: (-m["computed_at"], m["version"]))]


def _table(store: ArtifactStore, above: Mapping[str, Mapping[str, Any]], stage: str, table: str) -> pl.DataFrame:
    return pl.read_parquet(store.parquet(stage, above[stage]["version"], table))


def _comparable(given: Given, version: str, above: Mapping[str, Mapping[str, Any]]) -> None:
    """GripError, with what differs, unless losses and vectors of the artifact mean the same as those of now."""
    store = given.work.store
    now = store.ancestors(RUNS, given.work.inputs[RUNS])
    why = _removed(store, above) or _other_models(above, now) or _other_texts(given.objective, store, above, now)
    if why:
        raise GripError(
            f"settings/mixing.evidence names {version}, which cannot be compared with the mixtures of now: {why}. Leave"
            " it out, or change that back."
        )


def _removed(store: ArtifactStore, above: Mapping[str, Mapping[str, Any]]) -> str:
    gone = [name for name in PARTITION if not store.has(name, above[name]["version"])]
    return f"the {gone[0]} that it was made from was removed" if gone else ""


def _other_models(above: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]) -> str:
    for stage, group, names in ((RUNS, "mixing", TRAINED_ALIKE), ("embeddings", "embedding", ("model", "column"))):
        then_values, now_values = (found[stage]["settings"].get(group, {}) for found in (above, now))
        for name in names:
            if then_values.get(name) != now_values.get(name):
                return f"{group}.{name} was {then_values.get(name)} and is {now_values.get(name)}"
    return ""


def _other_texts(
    objective: Objective,
    store: ArtifactStore,
    above: Mapping[str, Mapping[str, Any]],
    now: Mapping[str, Mapping[str, Any]],
) -> str:
    """Why the objective is another loss there; "" if the models predicted the same texts as the same tokens."""
    if any(target.startswith("domain:") for target in objective.targets):
        return "mixing.objective is a loss over its own domains (target and benchmarks are the same for all)"
    then_items, now_items = (_items(store, found, objective) for found in (above, now))
    if then_items != now_items:
        return f"the texts of {objective.name} are others"
    then_json, now_json = (_table(store, f, "mixture_domains", "mixture_tokenizer")["json"][0] for f in (above, now))
    return "" if then_json == now_json else "its tokenizer is another"


def _items(store: ArtifactStore, found: Mapping[str, Mapping[str, Any]], objective: Objective) -> str:
    items = _table(store, found, "mixture_domains", "mixture_items")
    used = items.filter(pl.col("target").is_in(objective.targets) & (pl.col("in_pool") <= COPIED))
    return digest(used.sort("target", "item_id").select("target", "item_id", "prompt", "text").rows())
