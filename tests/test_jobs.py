"""Every job runs in a process that was started anew, and gives the same bytes there: so it can go to any machine."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import small
from spawned import Spawned, table_bytes

from grip_assets.engine.inspect import inspect
from grip_assets.engine.make import Chain
from grip_assets.judges.base import Document
from grip_assets.judges.jobs import JudgeDocuments, JudgeRows
from grip_assets.models.files import locate, locate_tokenizer
from grip_assets.models.opening import EncoderFiles, ProxyFiles, TokenizerFiles
from grip_assets.runtime.executors import Local
from grip_assets.settings import GROUPS, Adaptation, Corpus, validate
from grip_assets.sources.jobs import CountTokens, ReadDocuments
from grip_assets.sources.pool import open_pool
from grip_assets.stages import CURATED, STAGES
from grip_assets.stages.claims.length_slopes import EmbedBothWays
from grip_assets.stages.claims.probe_variance import MeasureLosses
from grip_assets.stages.curation.adaptation_deltas import ProbeClusters, ProbedCluster
from grip_assets.stages.curation.corpus import read_rows
from grip_assets.stages.curation.embeddings import EmbedDocuments
from grip_assets.stages.curation.near_duplicates import SignDocuments
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.shards import Shards
from grip_assets.store.tables import RowRange, arrow, ranges, read_range
from grip_assets.training.domain_tokens import DomainTokens, TokeniseDocuments, ready
from grip_assets.training.doremi import TrainProxy, proxy_run
from grip_assets.training.mixtures import (
    KeptModel,
    Scored,
    ScoreMixture,
    TrainMixture,
    kept_models,
    mixture_run,
    to_train,
)
from grip_assets.training.recipe import Shape, TrainingRecipe
from grip_assets.training.runs import Selected, TrainModels, run_on

SHAPE, RECIPE = Shape(300, 32, 1, 2, 32), TrainingRecipe(512, 128, 1e-3, "float32")
SOME = [RowRange(0, 3), RowRange(3, 9, (3, 5, 8))]


@pytest.fixture(scope="module")
def spawned():
    executor = Spawned()
    yield executor
    executor.close()


@pytest.fixture(scope="module")
def tables(tmp_path_factory, pool):
    """Files of a small ``corpus`` in row groups of four, of probe documents, and of what a training needs."""
    from grip_assets.training.small import learn_tokenizer

    folder = tmp_path_factory.mktemp("tables")
    rows = [
        row for rows in read_rows(open_pool(settings(pool)), settings(pool), None, Local()) for row in rows["corpus"]
    ]
    corpus = pl.DataFrame(rows, infer_schema_length=None).head(24)
    corpus.select("doc_id", "text", "language", "n_bytes").write_parquet(folder / "corpus.parquet", row_group_size=4)
    probe = corpus.select("doc_id", "text", "n_bytes", cluster_id=pl.int_range(pl.len()) // 12, n_tokens="n_bytes")
    probe.write_parquet(folder / "probe.parquet", row_group_size=4)
    corpus.select("doc_id", repeats=1, strategy=pl.lit("all")).write_parquet(folder / "selected.parquet")
    items = corpus.head(2).select(item_id="doc_id", prompt=pl.lit("def "), text="text")
    items.write_parquet(folder / "items.parquet")
    tokenizer = learn_tokenizer(corpus["text"], 300)
    pl.DataFrame({"json": [tokenizer.to_str()]}).write_parquet(folder / "tokenizer.parquet")
    return folder


def settings(pool: Path) -> Corpus:
    return Corpus(path=str(pool), benchmarks=["humaneval"])


def reading(models, pool, tables):
    source = open_pool(settings(pool))
    return ReadDocuments(source.reader, settings(pool)), [tuple(source.entries[:9]), tuple(source.entries[9:12])]


def reading_rows(models, pool, tables):
    documents = list(open_pool(settings(pool)).read())
    return ReadDocuments(open_pool(settings(pool)).reader, settings(pool)), [tuple(documents[:9])]


def counting(models, pool, tables):
    tokenizer = TokenizerFiles(locate_tokenizer(str(models / "proxy"), "corpus.tokenizer"))
    corpus = pl.read_parquet(tables / "corpus.parquet").select("text", project="language")
    return CountTokens(tokenizer, 0.5, 0), [arrow(corpus.head(7)), arrow(corpus.tail(3))]


def embedding(models, pool, tables):
    return EmbedDocuments(str(tables / "corpus.parquet"), encoder(models), 1), SOME


def embedding_both_ways(models, pool, tables):
    return EmbedBothWays(str(tables / "corpus.parquet"), replace(encoder(models), at_most=16)), SOME


def losses(models, pool, tables):
    return MeasureLosses(str(tables / "corpus.parquet"), proxy(models)), SOME


def probing(models, pool, tables, **how):
    probe = Adaptation(proxy=str(models / "proxy"), tokens_per_cluster=200, window=32, **how)
    return ProbeClusters(str(tables / "probe.parquet"), probe, proxy(models)), clusters(tables)


def probing_by_steps(models, pool, tables):
    return probing(models, pool, tables, form="steps", epochs=2, seeds=2)


def probing_by_counts(models, pool, tables):
    tokenizer = TokenizerFiles(locate_tokenizer(str(models / "proxy"), "corpus.tokenizer"))
    return ProbeClusters(str(tables / "probe.parquet"), Adaptation(proxy="unigram"), tokenizer), clusters(tables)


def judging(models, pool, tables):
    corpus = pl.read_parquet(tables / "corpus.parquet").head(3)
    return JudgeDocuments(), [tuple(Document(*row) for row in corpus.select("doc_id", "text", "language").rows())]


def judging_rows(models, pool, tables):
    return JudgeRows(corpus=str(tables / "corpus.parquet")), SOME


def training(models, pool, tables):
    selected = Selected(str(tables / "selected.parquet"), (("strategy", "all"),))
    files = [str(tables / f"{name}.parquet") for name in ("corpus", "tokenizer", "items")]
    return TrainModels(*files, SHAPE, RECIPE), [run_on(selected, selected.frame(), seed) for seed in (0, 1)]


def by_domain(tables) -> DomainTokens:
    """The tokens of three domains of eight documents each."""
    documents = pl.read_parquet(tables / "selected.parquet").select("doc_id", held_out=pl.lit(False))
    documents = documents.with_columns(domain=pl.int_range(pl.len(), dtype=pl.Int32) % 3)
    files = [str(tables / f"{name}.parquet") for name in ("corpus", "tokenizer")]
    return ready(ArtifactStore(tables), "mixture_runs", files[0], documents, files[1], 512, 0, Local())


def tokenising(models, pool, tables):
    return TokeniseDocuments(str(tables / "corpus.parquet"), str(tables / "tokenizer.parquet")), SOME


def training_mixtures(models, pool, tables):
    tokens = by_domain(tables)
    weights = ((0.2, 0.3, 0.5), (1.0, 0.0, 0.0))
    runs = [mixture_run(np.array(w), tokens.windows_D(32), 0, SHAPE, RECIPE) for w in weights]
    return TrainMixture(tokens, SHAPE, RECIPE), runs


def kept(models, pool, tables) -> KeptModel:
    job, (run, _) = training_mixtures(models, pool, tables)
    shards = Shards(ArtifactStore(tables), "mixture_runs", "trained")
    placed = shards.ready([run.key], lambda missing: to_train(job, [run], missing), Local())
    return kept_models([run.key], placed)[run.key]


def signing(models, pool, tables):
    return SignDocuments(str(tables / "corpus.parquet"), "words", 5, 16, 0), SOME


def scoring_mixtures(models, pool, tables):
    items = pl.read_parquet(tables / "items.parquet").with_columns(target=pl.lit("a"), in_pool=pl.lit(0.0))
    items.write_parquet(tables / "targets.parquet")
    files = [str(tables / f"{name}.parquet") for name in ("targets", "tokenizer")]
    return ScoreMixture(*files, SHAPE, RECIPE), [Scored(kept(models, pool, tables), (("key", "a"),))]


def training_proxies(models, pool, tables):
    tokens = by_domain(tables)
    run = proxy_run(kept(models, pool, tables), tokens.windows_D(32), 1, SHAPE, RECIPE)
    return TrainProxy(tokens, SHAPE, RECIPE, 1.0, 1e-3), [run]


def encoder(models) -> EncoderFiles:
    return EncoderFiles(locate(str(models / "encoder")), "mean", None, None, "float32")


def proxy(models) -> ProxyFiles:
    return ProxyFiles(locate(str(models / "proxy")))


def clusters(tables) -> list[ProbedCluster]:
    rows = pl.read_parquet(tables / "probe.parquet").with_row_index("row")
    return [ProbedCluster.of(part) for part in rows.partition_by("cluster_id", maintain_order=True)]


JOBS = [
    reading,
    reading_rows,
    counting,
    embedding,
    embedding_both_ways,
    losses,
    probing,
    probing_by_steps,
    probing_by_counts,
    judging,
    judging_rows,
    training,
    tokenising,
    signing,
    training_mixtures,
    scoring_mixtures,
    training_proxies,
]


@pytest.mark.parametrize("made", JOBS, ids=lambda made: made.__name__)
def test_a_job_gives_the_same_bytes_in_a_process_started_anew(made, models, pool, tables, spawned):
    job, shards = made(models, pool, tables)
    here, there = list(Local(2).map(job, shards)), list(spawned.map(job, shards))
    assert all(map(len, here))
    assert list(map(comparable, here)) == list(map(comparable, there))


def chain_made(root: Path, changes: dict, executor) -> ArtifactStore:
    """The small pool curated without Dagster, up to the subset, by an executor."""
    store, versions = ArtifactStore(root), {}
    values = {group: validate(group, changes.get(group, {})) for group in GROUPS}
    chain = Chain(STAGES, store, print, "run", inspect, executor)
    for stage in (stage for stage in CURATED.values() if stage.group == "curation"):
        inputs = {name: versions[name] for name in stage.inputs if name in versions}
        versions[stage.name] = chain.make(stage, values, inputs).version
    return store


@pytest.mark.slow
def test_a_chain_in_processes_started_anew_has_the_same_names_and_bytes(models, pool, tmp_path, spawned):
    changes = small(models, pool)
    here, there = chain_made(tmp_path / "a", changes, Local()), chain_made(tmp_path / "b", changes, spawned)
    assert {"ReadDocuments", "EmbedDocuments", "Assign", "ProbeClusters", "JudgeDocuments"} <= spawned.jobs
    files = sorted(file.relative_to(here.root) for file in here.root.glob("[!.]*/[!.]*/*/*.parquet"))
    assert len({file.parts[0] for file in files}) == len(list(tmp_path.glob("b/[!.]*"))) >= 11
    for file in files:
        assert (here.root / file).read_bytes() == (there.root / file).read_bytes(), file


def comparable(table) -> bytes:
    """Without the one column that is a time."""
    return table_bytes(table.drop_columns("seconds") if "seconds" in table.column_names else table)


def test_a_job_and_its_shards_are_small(models, pool, tables):
    """What is sent names files; it holds no model and no table. Texts are sent only where there is no file of them."""
    for made in (embedding, embedding_both_ways, losses, probing, judging_rows, training):
        job, shards = made(models, pool, tables)
        assert len(pickle.dumps((job, shards[0]))) < 4096, made.__name__


def test_rows_of_a_range_are_those_rows_whatever_the_row_groups(tables):
    whole = pl.read_parquet(tables / "corpus.parquet")
    for wanted in (RowRange(0, 24), RowRange(3, 5), RowRange(2, 23, (2, 3, 11, 22))):
        rows = wanted.only or range(wanted.start, wanted.stop)
        found = read_range(str(tables / "corpus.parquet"), ["doc_id", "text"], wanted)
        assert pl.DataFrame(found)["doc_id"].to_list() == whole["doc_id"].gather(list(rows)).to_list()


def test_ranges_hold_each_chosen_row_once_and_no_more_than_they_may():
    sizes = np.array([5, 5, 100, 1, 1, 1, 1])
    chosen = np.array([True, False, True, True, True, True, True])
    found = ranges(sizes, 3, 10, chosen)
    assert [list(r.only or range(r.start, r.stop)) for r in found] == [[0], [2], [3, 4, 5], [6]]


def test_what_is_kept_is_not_run_again_and_comes_back_in_order(tmp_path, models, pool, tables):
    from grip_assets.runtime.executors import ToDo

    job, _ = judging_rows(models, pool, tables)
    corpus = pl.read_parquet(tables / "corpus.parquet").head(9)
    keys = corpus.select(key=pl.format("{}:{}", "doc_id", "language"))["key"]
    asked = []

    def todo(missing):
        asked.append(missing.to_list())
        rows = [i for i, key in enumerate(keys) if key in set(missing)]
        return ToDo(job, [RowRange(i, i + 1) for i in rows], "judging", len(missing), "documents")

    shards = Shards(ArtifactStore(tmp_path), "stage", "how")
    shards.completed(keys[3:5], todo, Local())
    found = shards.completed(keys.reverse(), todo, Local())
    assert asked == [keys[3:5].to_list(), [k for k in keys.reverse() if k not in set(keys[3:5])]]
    assert found["key"].to_pylist() == keys.reverse().to_list()
