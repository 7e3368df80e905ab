"""Trainings on mixtures of domains: what they read, what is kept of them, and that all of it repeats itself."""

# ruff: noqa: F811 (fixtures of three_domains)

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from three_domains import CONTEXT, MOST, NAMES, RECIPE, SHAPE, corpus, made, run_of, store, text_of, tokens  # noqa: F401

from grip_assets.errors import GripError
from grip_assets.runtime.executors import Local
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.shards import Shards
from grip_assets.training import domain_tokens, mixtures
from grip_assets.training.recipe import pace


def test_tokens_come_back_as_texts_in_a_keyed_order_without_held_out_documents(tokens, corpus):
    from grip_assets.training.runs import tokenizer_in

    tokenizer = tokenizer_in(str(corpus / "tokenizer.parquet"))
    for d in range(3):
        windows = tokens.windows(d, CONTEXT)
        joined = np.append(windows[:, :-1].ravel(), windows[-1, -1])
        texts = tokenizer.decode(joined.tolist(), skip_special_tokens=False).split("<|end|>")[1:-1]
        names = {text_of(d, i): i for i in range(24)}
        order = [names[text] for text in texts]
        assert len(order) > 3 and not {0, 1} & set(order) and order != sorted(order)
    assert tokens._tokens.dtype == np.uint16
    assert (tokens.tokens_D <= MOST + 1).all()


def test_documents_of_each_domain_fill_it_and_no_more_is_kept(store, corpus, tokens):
    """As a slow loop would: each document's tokens after END, in their order, cut when the domain is full."""
    whole = made(store, corpus, most=100_000)
    for d in range(3):
        kept, all_of_it = (t._tokens[t._start_D[d] : t._start_D[d] + t.tokens_D[d]] for t in (tokens, whole))
        assert (all_of_it == 0).sum() == 23, "22 documents, and END at both ends"
        assert len(kept) == min(MOST + 1, len(all_of_it)) and (kept == all_of_it[: len(kept)]).all()


def test_tokens_are_named_by_their_content_and_made_once(store, corpus, tokens, monkeypatch):
    documents = pl.read_parquet(corpus / "documents.parquet")
    assert made(store, corpus, documents=documents.reverse()).folder == tokens.folder
    assert tokens.folder.name in store.shards_used, "so that `grip clean` knows it"
    monkeypatch.setattr(store, "put_folder", None)  # it would raise
    assert made(store, corpus).folder == tokens.folder
    monkeypatch.undo()
    fewer = documents.filter(pl.col("doc_id") != "0-05")
    names = {t.folder.name for t in (tokens, made(store, corpus, documents=fewer), made(store, corpus, seed=1))}
    assert len(names) == 3
    assert not list((store.root / ".scratch").glob("*"))


def test_tokens_are_the_same_on_any_number_of_workers_and_after_a_wrong_guess(corpus, tokens, tmp_path, monkeypatch):
    monkeypatch.setattr(domain_tokens, "BYTES_A_TOKEN", 0.3)  # too few documents are read at first
    monkeypatch.setattr(domain_tokens, "AT_ONCE", 3)
    again = made(ArtifactStore(tmp_path), corpus, workers=3)
    assert again.folder.name == tokens.folder.name
    for name in (domain_tokens.TOKENS, domain_tokens.COUNTS):
        assert (again.folder / name).read_bytes() == (tokens.folder / name).read_bytes()


def test_a_large_vocabulary_takes_four_bytes():
    assert domain_tokens.type_of(1 << 16) is np.uint16 and domain_tokens.type_of((1 << 16) + 1) is np.uint32


def test_a_domain_smaller_than_a_window_is_named_before_any_training(store, corpus):
    documents = pl.read_parquet(corpus / "documents.parquet")
    one = (pl.col("domain") != 1) | (pl.col("doc_id") == "1-07") | pl.col("held_out")
    tokens = made(store, corpus, documents=documents.filter(one))
    domain_tokens.must_fill_windows(tokens, 8, NAMES)
    with pytest.raises(GripError, match=r"domain 'words' \(.*has fewer.*mixing\.context.*min_cluster_docs"):
        domain_tokens.must_fill_windows(tokens, 300, NAMES)
    none = documents.with_columns(held_out=pl.col("held_out") | (pl.col("domain") > 0))
    tokens = made(store, corpus, documents=none)
    assert len(tokens.tokens_D) == 3 and tokens.windows(2, CONTEXT).shape == (0, CONTEXT + 1)
    with pytest.raises(GripError, match=r"domains 'words' \(1 tokens\), 'brackets' \(1 tokens\) have fewer"):
        domain_tokens.must_fill_windows(tokens, 8, NAMES)


def domain_windows(tokens, run):
    """What a run reads, as (domain, first token) in order."""
    at = mixtures.reading(tokens, run, CONTEXT)
    return list(zip(tokens.domain_of(at).tolist(), at.tolist(), strict=True))


def test_a_mixture_is_achieved_to_one_window_all_along_the_training(tokens):
    weights = np.array([0.61, 0.07, 0.32])
    run = run_of(weights, tokens)
    read = [d for d, _ in domain_windows(tokens, run)]
    n = len(read)
    assert n == np.prod(pace(SHAPE, RECIPE)) == sum(run.windows)
    assert np.abs(np.array(run.windows) - weights * n).max() < 1
    assert np.bincount(read).tolist() == list(run.windows)
    for stop in range(1, n + 1):
        share = np.bincount(read[:stop], minlength=3) / stop
        assert np.abs(share - weights).max() <= 2 / stop


def test_a_mixture_with_more_of_a_domain_reads_the_windows_of_one_with_less(tokens):
    less, more = (set(domain_windows(tokens, run_of(w, tokens))) for w in ([0.2, 0.4, 0.4], [0.5, 0.25, 0.25]))
    of = lambda read, d: {at for domain, at in read if domain == d}  # noqa: E731
    assert of(less, 0) < of(more, 0) and of(more, 1) < of(less, 1) and of(more, 2) < of(less, 2)


def test_a_domain_is_repeated_only_when_its_windows_are_used_up(tokens):
    run = run_of([0.5, 0.5, 0], tokens, limits=[10, 1000, 1])
    read = domain_windows(tokens, run)
    assert all(d != 2 for d, _ in read)
    first, second = ([at for domain, at in read if domain == d] for d in (0, 1))
    assert len(first) == 32 and len(set(first)) == 10
    for epoch in range(3):
        assert len(set(first[epoch * 10 : epoch * 10 + 10])) == 10
    assert first[:10] != first[10:20], "each epoch has its own order"
    assert len(set(second)) == 32


def test_a_run_is_named_by_what_it_reads(tokens):
    run = run_of([0.5, 0.3, 0.2], tokens)
    assert run_of([0.5 + 1e-12, 0.3, 0.2], tokens).key == run.key
    assert run_of([0.5, 0.3, 0.2], tokens, limits=[40, 50, 60]).key == run.key, "limits that are not reached"
    others = [run_of([0.5, 0.3, 0.2], tokens, limits=[10, 50, 60]), run_of([0.5, 0.3, 0.2], tokens, seed=1)]
    assert len({run.key, *(other.key for other in others)}) == 3


def test_a_trained_mixture_says_what_was_read(tokens):
    row = mixtures.TrainMixture(tokens, SHAPE, RECIPE).run(run_of([0.5, 0.3, 0.2], tokens)).to_pylist()[0]
    assert row["failed"] is None and row["achieved"] == [0.5, 0.296875, 0.203125]
    assert len(row["curve"]) == 8 and row["curve"][-1] < row["curve"][0]


def test_a_diverged_training_is_a_row_and_the_others_go_on(store, tokens):
    job = mixtures.TrainMixture(tokens, SHAPE, replace(RECIPE, learning_rate=1e12))
    shards = Shards(store, "mixture_runs", "diverged")
    runs = [run_of(w, tokens) for w in ([0.5, 0.3, 0.2], [0.2, 0.3, 0.5])]
    found = shards.completed([r.key for r in runs], lambda missing: mixtures.to_train(job, runs, missing), Local(1))
    for row in found.to_pylist():
        assert "settings/mixing.learning_rate" in row["failed"] and row["model"] is None and row["achieved"] is None


def test_a_finite_loss_far_above_guessing_has_diverged_too():
    guess = math.log(300)
    assert mixtures.worse_than_guessing([guess + 0.3, guess + 0.9], 300) is None, "a training of few steps"
    assert "settings/mixing.learning_rate" in mixtures.worse_than_guessing([guess, guess - 1, guess + 1.1], 300)


def test_wrong_heads_name_the_setting_of_the_mixing(tokens):
    with pytest.raises(GripError, match=r"mixing\.heads"):
        mixtures.TrainMixture(tokens, replace(SHAPE, heads=3), RECIPE).run(run_of([0.5, 0.3, 0.2], tokens))


@pytest.fixture(scope="module")
def trained(store, tokens):
    """Three runs, and the places of their rows."""
    runs = [run_of(w, tokens, seed) for w, seed in (([0.5, 0.3, 0.2], 0), ([1, 0, 0], 0), ([0.5, 0.3, 0.2], 1))]
    job = mixtures.TrainMixture(tokens, SHAPE, RECIPE)
    shards, keys = Shards(store, "mixture_runs", "some"), [run.key for run in runs]
    return runs, shards.ready(keys, lambda missing: mixtures.to_train(job, runs, missing), Local(1))


def scoring(corpus):
    return mixtures.ScoreMixture(str(corpus / "items.parquet"), str(corpus / "tokenizer.parquet"), SHAPE, RECIPE)


def test_two_workers_train_the_same_bits(tokens, trained):
    runs, placed = trained
    tables = list(Local(2).map(mixtures.TrainMixture(tokens, SHAPE, RECIPE), runs))
    assert [table.to_pylist()[0] for table in tables] == placed.read().to_pylist()
    assert placed.read(columns=["key", "failed"]).column_names == ["key", "failed"]


def test_a_kept_model_scores_as_right_after_its_training(tokens, corpus, trained):
    from grip_assets.training import small
    from grip_assets.training.runs import tokenizer_in

    runs, placed = trained
    kept = mixtures.kept_models([run.key for run in runs], placed)
    reader = mixtures.Reader.of(tokens, CONTEXT)
    model = small.new_model(SHAPE, runs[0].seed)
    steps, per_step = pace(SHAPE, RECIPE)
    small.loop(model, reader.batches(mixtures.reading(tokens, runs[0], CONTEXT), per_step), RECIPE, steps)
    job = scoring(corpus)
    items = mixtures.targets_in(job.items, tokenizer_in(job.tokenizer), 1.0)
    for target in ("domain:0", "domain:2"):
        right_after = small.bits(model, list(items[target].values()), SHAPE, RECIPE)
        found = job.run(mixtures.Scored(kept[runs[0].key], (("k", target),))).to_pydict()
        assert found["bits"] == right_after.tolist() and found["item_id"] == list(items[target])
        assert set(found["key"]) == {"k"}


def test_another_target_is_scored_without_a_training_and_changes_no_bit(store, corpus, trained):
    runs, placed = trained
    kept, job = mixtures.kept_models([run.key for run in runs], placed), scoring(corpus)
    wanted = {
        mixtures.score_key(run.key, target, "items"): (run.key, target)
        for run in runs
        for target in ("domain:0", "domain:1", "domain:2")
    }
    shards, asked = Shards(store, "mixture_runs", "scores"), []

    def to_score(missing):
        asked.append(len(missing))
        return mixtures.to_score(job, kept, wanted, missing)

    first = [key for key, (_, target) in wanted.items() if target != "domain:1"]
    before = pl.DataFrame(shards.completed(first, to_score, Local(1)))
    after = pl.DataFrame(shards.completed(list(wanted), to_score, Local(2)))
    assert asked == [6, 3] and len(after) == 18
    assert before.sort("key", "item_id").equals(after.filter(pl.col("key").is_in(first)).sort("key", "item_id"))
    alone = pl.concat([pl.DataFrame(pl.from_arrow(t)) for t in job_tables(job, kept, wanted)])
    assert alone.sort("key", "item_id").equals(after.sort("key", "item_id"))


def job_tables(job, kept, wanted):
    yield from (job.run(mixtures.Scored(kept[run], ((key, target),))) for key, (run, target) in wanted.items())


def test_items_that_are_copied_in_the_pool_are_not_scored(corpus, trained, tmp_path):
    runs, placed = trained
    kept, job = mixtures.kept_models([run.key for run in runs], placed), scoring(corpus)
    items = pl.read_parquet(job.items)
    items.with_columns(in_pool=pl.when(pl.col("item_id") == "0-01").then(0.5).otherwise(0.1)).write_parquet(
        tmp_path / "items.parquet"
    )
    fewer = replace(job, items=str(tmp_path / "items.parquet"), copied=0.3)
    found = fewer.run(mixtures.Scored(kept[runs[0].key], (("k", "domain:0"),)))
    assert found["item_id"].to_pylist() == ["0-00"]


def test_a_model_knows_the_domain_it_was_trained_on(corpus, trained):
    runs, placed = trained
    kept, job = mixtures.kept_models([run.key for run in runs], placed), scoring(corpus)
    mixed, numbers = (
        pl.DataFrame(job.run(mixtures.Scored(kept[runs[i].key], (("0", "domain:0"), ("1", "domain:1")))))
        for i in (0, 1)
    )
    bits = [frame.group_by("key").agg(pl.sum("bits")).sort("key")["bits"] for frame in (mixed, numbers)]
    assert bits[1][0] < bits[0][0] and bits[1][1] > bits[0][1]
