"""adaptation_deltas: how far the proxy's loss falls on each cluster [G5, A1, A4 to A7]. A cluster is one shard."""

from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from grip_assets.errors import GripError
from grip_assets.models.files import content_hash, locate
from grip_assets.parallel import map_shards
from grip_assets.progress import Progress
from grip_assets.recompute import Settings, Stage, Work
from grip_assets.settings import Adaptation, digest, hashed_values
from grip_assets.store.query import query
from grip_assets.store.shards import Shards

READS = tuple(name for name in Adaptation.model_fields if name != "delta")  # the form is chosen in budgets


def facts(settings: Settings, root: Path) -> dict[str, Any]:
    proxy = locate(Adaptation.of(settings).proxy, "settings/adaptation.proxy")
    return {"proxy": content_hash(proxy, root)}


def compute(work: Work) -> dict[str, Any]:
    settings = Adaptation.of(work.settings)
    how = digest(
        [
            stage.code_version,
            hashed_values(settings, READS) | {"proxy": None},
            facts(work.settings, work.store.root),
        ]
    )
    shards = Shards(work.store, "adaptation_deltas", how)
    clusters = {
        rows["cluster_id"][0]: rows
        for rows in work.frame("probe_documents").partition_by("cluster_id", maintain_order=True)
    }
    key_of = {cluster: digest(rows["doc_id"].to_list()) for cluster, rows in clusters.items()}
    have = shards.index()
    missing = {cluster: rows for cluster, rows in clusters.items() if key_of[cluster] not in have}
    if missing:
        _probe(work, settings, shards, {key_of[cluster]: rows for cluster, rows in missing.items()})
    index = shards.index()
    probed = [key for key in dict.fromkeys(key_of.values()) if key in index]
    if not probed:
        raise GripError("No cluster has probe documents of two tokens, so nothing can be learned from them.")
    table = shards.read(probed, index)
    names = pl.DataFrame(
        {"cluster_id": list(key_of), "key": list(key_of.values())}, schema_overrides={"cluster_id": pl.Int32}
    )
    curves = names.join(pl.DataFrame(table), on="key", maintain_order="left_right")
    work.draft.write("loss_curves", curves.select("cluster_id", "seed", "step", "loss", "train_loss"))
    deltas = query("adaptation_deltas", {"curves": curves})
    work.draft.write("adaptation_deltas", deltas)
    return {
        "clusters_probed_now": len(missing),
        "mean_delta": deltas["delta"].mean(),
        "mean_relative_delta": deltas["relative_delta"].mean(),
        "probe_tokens": int(deltas["n_tokens"].sum()),
    }


def _probe(work: Work, settings: Adaptation, shards: Shards, clusters: dict[str, pl.DataFrame]) -> None:
    import torch

    from grip_assets.method.adaptation import Batch, adapt, probe_batch
    from grip_assets.models.proxy import load_proxy

    torch.set_num_threads(1)
    proxy = load_proxy(settings.proxy, work.store.root)
    held_out = settings.evaluate == "held_out"
    window = min(settings.window, proxy.context)

    def batch(rows: pl.DataFrame) -> Batch:
        documents = [(doc, proxy.tokenize(text)) for doc, text in rows.select("doc_id", "text").iter_rows()]
        return probe_batch(documents, window, settings.tokens_per_cluster, held_out, settings.seed)

    # Documents of one token predict nothing: a cluster of them is not measured, and not replayed.
    batches = {key: b for key, rows in clusters.items() if (b := batch(rows)).train and b.evaluate}
    tokens = {
        key: sum(len(w) for w in b.train) + sum(len(w) for w in b.evaluate) * held_out for key, b in batches.items()
    }
    progress = Progress("probing", sum(tokens.values()) * settings.epochs * settings.seeds, "token steps", work.log)

    def probed(key: str) -> pl.DataFrame:
        curves = [
            adapt(
                proxy,
                batches[key],
                settings.reset_depth,
                settings.learning_rate,
                settings.epochs,
                settings.init_std,
                seed,
                settings.micro_batch,
                partial(progress.advance, tokens[key]),
            )
            for seed in range(settings.seed, settings.seed + settings.seeds)
        ]
        steps = range(settings.epochs + 1)
        return pl.concat(
            pl.DataFrame(
                {
                    "key": key,
                    "seed": settings.seed + i,
                    "step": steps,
                    "loss": c.evaluate,
                    "train_loss": c.train,
                }
            ).with_columns(n_tokens=pl.lit(tokens[key]), n_docs=pl.lit(len(clusters[key])))
            for i, c in enumerate(curves)
        )

    for rows in map_shards(probed, batches):
        shards.write(rows.to_arrow(compat_level=pl.CompatLevel.oldest()))
    progress.finish()


stage = Stage(
    name="adaptation_deltas",
    code_version="2",
    compute=compute,
    description="How much a small model still learns from each cluster: how far the loss of a proxy with a reset head"
    " falls on the cluster's probe, ΔL_k = L(θ_init; C_k) − L(θ_n; C_k) [paper eq. 6]. `loss_curves` has every step"
    " and seed.",
    tables=("adaptation_deltas", "loss_curves"),
    inputs=("probe_set",),
    reads={"adaptation": READS},
    facts=facts,
)
