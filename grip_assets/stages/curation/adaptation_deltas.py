"""adaptation_deltas: how far the proxy's loss falls on each cluster [G5, A1, A4 to A7, A30 to A33].

A cluster is one shard, named by its documents. Beside the drop, two more measurements are made in any form:
- The drops of two halves of the documents. Do they rank the clusters alike, or is the ranking luck of the draw?
- The drop of a unigram. Does counting tokens rank the clusters alike, without a language model?

The mathematics is in training/closed_form.py and training/adaptation.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Settings, Stage, Work
from grip_assets.errors import GripError
from grip_assets.method.agreement import rank_correlation, spearman_brown
from grip_assets.method.statistics import known, minus
from grip_assets.models.files import UNIGRAM, content_hash, locate
from grip_assets.models.opening import ProxyFiles, TokenizerFiles
from grip_assets.runtime.executors import ToDo
from grip_assets.runtime.progress import worked
from grip_assets.settings import Adaptation, Corpus, digest, field_names, hashed_values
from grip_assets.stages.curation.needed import no_drops
from grip_assets.store.query import query
from grip_assets.store.shards import Shards
from grip_assets.store.tables import RowRange, arrow, range_of, read_range
from grip_assets.training.closed_form import Measured, Passages, measured

if TYPE_CHECKING:
    from grip_assets.models.proxy import Proxy

LUCK = 0.5  # as in sql/checks/adaptation_deltas__more_than_luck.sql: below it, the ranking is mostly luck
BYTES_A_STATE = 32  # per number of a hidden state: float32, and several sums in float64
Documents = list[tuple[str, list[int]]]
Advance = Callable[[float], None]
BESIDE = ("first_half_delta", "second_half_delta", "unigram_delta")


def facts(settings: Settings, root: Path) -> dict[str, Any]:
    """Content of the proxy or, for a unigram, of the tokenizer."""
    adaptation = Adaptation.of(settings)
    if adaptation.proxy == UNIGRAM:
        name, setting = Corpus.of(settings).tokenizer, "settings/corpus.tokenizer"
    else:
        name, setting = adaptation.proxy, "settings/adaptation.proxy"
    return {"proxy": content_hash(locate(name, setting), root)}


def compute(work: Work) -> dict[str, Any]:
    files = work.files("adaptation_documents")
    rows = pl.scan_parquet(files).drop("text").collect().with_row_index("row")
    clusters = [ProbedCluster.of(part) for part in rows.partition_by("cluster_id", maintain_order=True)]
    fresh = 0

    def to_probe(missing: pl.Series) -> ToDo:
        nonlocal fresh
        fresh = len(missing)
        wanted = set(missing)
        return _to_probe(work, files, [cluster for cluster in clusters if cluster.key in wanted])

    shards = Shards(work.store, stage.name, _how(work))
    keys = [cluster.key for cluster in clusters]
    placed = shards.ready(keys, to_probe, work.executor, work.log, optional=True)
    if not len(placed.at):
        raise GripError(
            "No document of the probe has two tokens or more, so a proxy has nothing to predict. Name a pool with"
            " longer documents in settings/corpus.path."
        )
    columns = {"cluster_id": [c.cluster_id for c in clusters], "key": [c.key for c in clusters]}
    names = pl.DataFrame(columns, {"cluster_id": pl.Int32, "key": pl.String})
    curves = names.join(pl.DataFrame(placed.read()), on="key", maintain_order="left_right")
    return {"clusters_probed_now": fresh} | _written(work, curves)


def _written(work: Work, curves: pl.DataFrame) -> dict[str, Any]:
    """Write the tables of the stage, and return its metrics."""
    work.draft.write("loss_curves", curves.select("cluster_id", "seed", "step", "loss", "train_loss"))
    beside = curves.unique("cluster_id", keep="first", maintain_order=True).select("cluster_id", *BESIDE)
    deltas = query("equations/adaptation_deltas", {"curves": curves})
    deltas = deltas.join(beside, on="cluster_id", maintain_order="left")
    work.draft.write("adaptation_deltas", deltas)
    agreement = _agreement(deltas)
    work.draft.write("probe_agreement", pl.DataFrame([agreement], stage.schema("probe_agreement")))
    work.log(how_sure(agreement["draw_to_draw"], agreement["with_unigram"]))
    return {
        "mean_delta": deltas["delta"].mean(),
        "mean_relative_delta": deltas["relative_delta"].mean(),
        "probe_tokens": int(deltas["n_tokens"].sum()),
        "draw_to_draw": agreement["draw_to_draw"],
        "rank_correlation_with_unigram": agreement["with_unigram"],
    }


def _how(work: Work) -> str:
    """Digest of what a shard depends on beside its documents. Settings that the form does not use are left out."""
    settings = Adaptation.of(work.settings)
    used = hashed_values(settings, stage.reads["adaptation"], applying=True)
    unigram = settings.proxy == UNIGRAM
    return digest([stage.code_version, used | {"proxy": unigram}, facts(work.settings, work.store.root)])


def _agreement(deltas: pl.DataFrame) -> dict[str, Any]:
    """The table ``probe_agreement``: how well two halves, and drop and unigram, rank the clusters alike [A32, A33]."""
    both = deltas.drop_nulls(BESIDE[:2])
    halves = rank_correlation(*(both[name].to_numpy() for name in BESIDE[:2]))
    unigram = rank_correlation(deltas["delta"].to_numpy(), deltas["unigram_delta"].to_numpy())
    return {
        "n_clusters": len(both),
        "halves_correlation": known(halves),
        "draw_to_draw": known(spearman_brown(halves)),
        "with_unigram": known(unigram),
    }


def how_sure(draw_to_draw: float | None, with_unigram: float | None) -> str:
    """The result of ``probe_agreement`` in a sentence, for a reader who does not know the paper."""
    if draw_to_draw is None:
        return "too few clusters or documents to tell how much of the drops is luck"
    sure = f"rank correlation of the drops between two draws of documents: {minus(draw_to_draw)} (1: the same, 0: luck)"
    if draw_to_draw < LUCK:
        sure += "; replay follows noise: raise probe.min_for_adaptation, or set budget.replay=none"
    beside = f"; with counts of tokens, without a model: {minus(with_unigram)}" if with_unigram is not None else ""
    return sure + beside


@dataclass(frozen=True)
class ProbedCluster:
    """A shard of work: the documents of a cluster, as rows of ``adaptation_documents``.

    ``key``: digest of their ids and of what is skipped of them, if anything is. ``n_tokens``: their tokens, counted by
    settings/corpus.tokenizer.
    """

    key: str
    cluster_id: int
    rows: RowRange
    n_tokens: int

    @classmethod
    def of(cls, part: pl.DataFrame) -> "ProbedCluster":
        skips = "n_skipped" in part.columns and (part["n_skipped"] > 0).any()
        key = digest(part.select("doc_id", "n_skipped").rows() if skips else part["doc_id"].to_list())
        return cls(key, part["cluster_id"][0], range_of(part["row"].to_numpy()), int(part["n_tokens"].sum()))


@dataclass(frozen=True)
class ProbeClusters:
    """The job: the loss curves of one cluster. Its unit of progress is a token or, with form=steps, a token step.

    ``reader``: a language model, or a tokenizer whose tokens are counted instead.
    """

    documents: str
    settings: Adaptation
    reader: ProxyFiles | TokenizerFiles

    @property
    def opening(self) -> str:
        what = "proxy" if isinstance(self.reader, ProxyFiles) else "tokenizer"
        return f"loading the {what} {Path(self.reader.files.name).name}"

    def open(self) -> "_Probe":
        s = self.settings
        if isinstance(self.reader, ProxyFiles):
            proxy = self.reader.open()
            return _Probe(s, proxy.tokenize, proxy.vocabulary, min(s.window, proxy.context), proxy)
        from grip_assets.models.tokenizers import tokenize  # transformers

        tokenizer = self.reader.open()
        return _Probe(s, partial(tokenize, tokenizer), len(tokenizer), s.window, None)

    def run(self, shard: ProbedCluster) -> pa.Table:
        """The loss curves as a table; it has no rows if the documents have nothing to predict."""
        probe = self.open()
        rows = read_range(self.documents, ["doc_id", "text"], shard.rows)
        texts = zip(rows["doc_id"].to_pylist(), rows["text"].to_pylist(), strict=True)
        curves = probe.curves([(doc, probe.tokenize(text)) for doc, text in texts], worked)
        if curves is None:
            return pa.table({"key": pa.array([], pa.large_string())})
        return arrow(curves.select(pl.lit(shard.key).alias("key"), pl.all(), n_docs=len(rows)))


@dataclass(frozen=True)
class _Probe:
    """Measures clusters, with a proxy or, if ``proxy`` is None, with counts of a tokenizer's tokens."""

    settings: Adaptation
    tokenize: Callable[[str], list[int]]
    vocabulary: int
    window: int
    proxy: "Proxy | None"

    @property
    def stepwise(self) -> bool:
        return _stepwise(self.settings)

    def curves(self, documents: Documents, advance: Advance) -> pl.DataFrame | None:
        """Rows of ``loss_curves``, with the columns ``BESIDE`` of ``adaptation_deltas``.

        None if there is nothing to predict, since all documents have a single token. Such a cluster is not replayed.
        """
        from grip_assets.training.adaptation import hidden_states, passages

        s = self.settings
        folds = s.folds if s.evaluate == "held_out" else 0
        read = passages(documents, self.window, s.tokens_per_cluster, folds, s.seed)
        if read is None:
            return None
        count = (lambda n: None) if self.stepwise else advance
        hidden_TH = hidden_states(self.proxy, read.windows, count) if self.proxy else None
        found = self._measured(read, hidden_TH)
        if self.proxy is not None and self.stepwise:
            rows = self._steps(self.proxy, documents, advance)
        else:
            rows = self._one_step(read, found)
        halves: list[float | None] = [*found.halves] or [None, None]
        unigram = self._measured(read, None).drop.held_out
        beside = dict(zip(BESIDE, [*halves, unigram], strict=True))
        return rows.with_columns(pl.lit(value, pl.Float64).alias(name) for name, value in beside.items())

    def _measured(self, read: Passages, hidden_TH: np.ndarray | None) -> Measured:
        s = self.settings
        found = measured(read, hidden_TH, self.vocabulary, s.folds, s.seed, s.evaluate == "held_out")
        return found if hidden_TH is None else found.times(s.learning_rate)

    def _one_step(self, read: Passages, found: Measured) -> pl.DataFrame:
        """The losses before and after AdamW's first step."""
        start = log(self.vocabulary)
        losses = [start, start - found.drop.held_out]
        if not losses[1] > 0:
            raise GripError(
                f"settings/adaptation.learning_rate is {self.settings.learning_rate:g}, and the first step would lower"
                " the loss below zero. Lower it. With form=closed it scales all drops by the same factor."
            )
        return pl.DataFrame(
            {
                "seed": [self.settings.seed] * 2,
                "step": [0, 1],
                "loss": losses,
                "train_loss": [start, start - found.drop.trained],
                "n_tokens": [sum(map(len, read.windows))] * 2,
            }
        )

    def _steps(self, proxy: "Proxy", documents: Documents, advance: Advance) -> pl.DataFrame:
        from grip_assets.training.adaptation import adapt, probe_batch

        s = self.settings
        held_out = s.evaluate == "held_out"
        batch = probe_batch(documents, self.window, s.tokens_per_cluster, held_out, s.seed)
        tokens = sum(map(len, batch.train)) + sum(map(len, batch.evaluate)) * held_out
        how = (s.reset_depth, s.learning_rate, s.epochs, s.init_std)
        seeds = range(s.seed, s.seed + s.seeds)
        found = [adapt(proxy, batch, *how, seed, s.micro_batch, partial(advance, tokens)) for seed in seeds]
        return pl.concat(
            pl.DataFrame(
                {
                    "seed": seed,
                    "step": range(s.epochs + 1),
                    "loss": curve.evaluate,
                    "train_loss": curve.train,
                    "n_tokens": [tokens] * (s.epochs + 1),
                }
            )
            for seed, curve in zip(seeds, found, strict=True)
        )


def _stepwise(settings: Adaptation) -> bool:
    return settings.form == "steps" and settings.proxy != UNIGRAM


def _to_probe(work: Work, files: str, clusters: list[ProbedCluster]) -> ToDo:
    settings = Adaptation.of(work.settings)
    reader = _reader(work, settings)
    cap = settings.tokens_per_cluster
    tokens = [c.n_tokens if cap is None else min(c.n_tokens, cap) for c in clusters]
    passes, unit = (settings.passes, "token steps") if _stepwise(settings) else (1, "tokens")
    states = reader.hidden() if isinstance(reader, ProxyFiles) else 1
    job = ProbeClusters(files, settings, reader)
    return ToDo(job, clusters, "probing", sum(tokens) * passes, unit, max(tokens) * BYTES_A_STATE * states)


def _reader(work: Work, settings: Adaptation) -> ProxyFiles | TokenizerFiles:
    root, log = work.store.root, work.log
    if settings.proxy == UNIGRAM:
        from grip_assets.models.tokenizers import located  # transformers

        setting = "settings/corpus.tokenizer"
        return TokenizerFiles(located(Corpus.of(work.settings).tokenizer, setting, root, log), setting)
    from grip_assets.models.proxy import converted  # torch

    return ProxyFiles(converted(locate(settings.proxy, "settings/adaptation.proxy"), root, log))


TABLES = (
    Table(
        "adaptation_deltas",
        (
            Column("cluster_id", pl.Int32, "Cluster.", ("adaptation_documents.cluster_id",)),
            Column(
                "loss_initial", pl.Float64, "Loss per token L(θ_init; C_k), in nats.", ("adaptation_documents.text",)
            ),
            Column("loss_final", pl.Float64, "Loss per token after the last step.", ("adaptation_documents.text",)),
            Column("delta", pl.Float64, "Drop of the loss, ΔL_k, in nats per token.", ("adaptation_documents.text",)),
            Column(
                "relative_delta",
                pl.Float64,
                "Drop as a share of the initial loss, δ_k.",
                ("adaptation_documents.text",),
            ),
            Column(
                "delta_spread", pl.Float64, "Standard deviation of the drop over seeds.", ("adaptation_documents.text",)
            ),
            Column("n_tokens", pl.Int64, "Tokens of the cluster's probe batch.", ("adaptation_documents.text",)),
            Column("n_docs", pl.Int32, "Documents of the cluster's probe batch.", ("adaptation_documents.doc_id",)),
            Column(
                "first_half_delta",
                pl.Float64,
                "Drop on half of the documents, in closed form. Null with fewer than four documents.",
                ("adaptation_documents.text",),
            ),
            Column("second_half_delta", pl.Float64, "Drop on the other half.", ("adaptation_documents.text",)),
            Column(
                "unigram_delta",
                pl.Float64,
                "Drop from ln V, V tokens in the vocabulary, to the cross entropy under a unigram, in nats per token.",
                ("adaptation_documents.text",),
            ),
        ),
    ),
    Table(
        "loss_curves",
        (
            Column("cluster_id", pl.Int32, "Cluster.", ("adaptation_documents.cluster_id",)),
            Column("seed", pl.Int64, "Seed of the initialisation."),
            Column("step", pl.Int64, "Number of steps taken."),
            Column(
                "loss",
                pl.Float64,
                "Loss per token on the documents of adaptation.evaluate, in nats. The drop is measured with it.",
                ("adaptation_documents.text",),
            ),
            Column(
                "train_loss",
                pl.Float64,
                "Loss per token on the documents that the proxy learns from, in nats.",
                ("adaptation_documents.text",),
            ),
        ),
    ),
    Table(
        "probe_agreement",
        (
            Column(
                "n_clusters",
                pl.Int64,
                "Number of clusters that have a drop of each half.",
                ("adaptation_documents.cluster_id",),
            ),
            Column(
                "halves_correlation",
                pl.Float64,
                "Spearman's rank correlation over clusters between the drops of the two halves.",
                ("adaptation_documents.text",),
            ),
            Column(
                "draw_to_draw",
                pl.Float64,
                "Rank correlation to expect between two whole draws, by the Spearman-Brown formula. Below 0.5 replay"
                " follows noise.",
                ("adaptation_documents.text",),
            ),
            Column(
                "with_unigram",
                pl.Float64,
                "Spearman's rank correlation over clusters between drop and unigram_delta.",
                ("adaptation_documents.text",),
            ),
        ),
    ),
)
CHECKS = (
    Check("finite", True, "Losses and drops are finite, and losses are positive."),
    Check("learned", False, "The loss of every cluster fell."),
    Check(
        "more_than_luck",
        False,
        "Drops from two draws of documents have a rank correlation of at least 0.5. Below it, drops are mostly noise:"
        " set budget.replay=none.",
    ),
)

stage = Stage(
    name="adaptation_deltas",
    code_version="3",
    compute=compute,
    description="How fast a small model learns each cluster: how far the loss of a proxy with a new head falls on the"
    " cluster's probe documents, ΔL_k = L(θ_init; C_k) − L(θ_n; C_k) [paper eq. 6]. `loss_curves` has every step and"
    " seed. `probe_agreement` says whether the ranking of the clusters is more than luck.",
    tables=TABLES,
    checks=CHECKS,
    expensive=True,
    inputs=("probe_set",),
    reads={
        "adaptation": field_names(Adaptation, but=["delta"]),  # only the stage budgets reads it
        "corpus": ("tokenizer",),
    },
    facts=facts,
    unused=no_drops,
    unused_by=("budget",),
)
