"""Sources of features, without a chain: what they return, what is computed again, and what they refuse."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from three_domains import text_of

from grip_assets.errors import GripError
from grip_assets.method.attribution.sketching import CountSketch
from grip_assets.runtime.executors import Local
from grip_assets.settings import Attribution
from grip_assets.stages.attribution.sources import SOURCES
from grip_assets.stages.attribution.sources.base import Asked
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.training.recipe import Shape
from grip_assets.training.runs import tokenizer_in
from grip_assets.training.small import encode, learn_tokenizer, new_model, packed

SHAPE = {"vocabulary": 300, "hidden": 16, "layers": 1, "heads": 2, "context": 16}
N = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tables corpus, attribution_tokenizer and reference. Every fourth document is cut to a token or two."""
    root = tmp_path_factory.mktemp("tables")
    texts = [text_of(i % 3, i) if i % 4 else text_of(i % 3, i)[:2] for i in range(N)]
    corpus = pl.DataFrame({"doc_id": [f"d{i:02}" for i in range(N)], "text": texts, "n_tokens": range(10, 10 + N)})
    corpus.with_columns(n_bytes=pl.col("text").str.len_bytes()).write_parquet(root / "corpus.parquet", row_group_size=5)
    tokenizer = learn_tokenizer(texts, 300)
    pl.DataFrame({"json": [tokenizer.to_str()]}).write_parquet(root / "attribution_tokenizer.parquet")
    model = new_model(Shape(**SHAPE | {"vocabulary": tokenizer.get_vocab_size()}), 0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(10 if weight.dim() > 1 else 1)
    write_reference(root, model)
    return root


def write_reference(root, model):
    pl.DataFrame({"name": "a model", "model": [packed(model)]}).write_parquet(root / "reference.parquet")


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path)


def asked(folder, store, source, n=N, workers=1, **values):
    settings = Attribution(**SHAPE | {"source": source} | values)
    work = SimpleNamespace(
        store=store,
        settings={"attribution": settings},
        executor=Local(workers),
        log=lambda line: None,
        inputs={"reference_model": "0" * 16},
        files=lambda table: str(folder / f"{table}.parquet"),
    )
    corpus = pl.read_parquet(folder / "corpus.parquet").head(n)
    documents = corpus.select("doc_id", "n_tokens").with_columns(cluster_id=pl.lit(0, pl.Int32)).reverse()
    items = pl.DataFrame(
        {"item_id": [f"i{i}" for i in range(4)], "target": ["numbers", "words"] * 2, "prompt": ["x "] * 4,
         "text": [text_of(i % 2, 100 + i)[:40] for i in range(4)]}
    )  # fmt: skip
    return Asked(work, settings, source, documents, items)


def measured(*how, **values):
    it = asked(*how, **values)
    found = SOURCES[it.source](it)
    return found, found.read(0, len(it.documents))


# ------------------------------------------------------------------------------------------------------ token counts


def slow_chi_squared(folder, texts, pool):
    tokenizer = tokenizer_in(str(folder / "attribution_tokenizer.parquet"))

    def shares(some):
        ids = np.concatenate(encode(tokenizer, list(some)))
        return np.bincount(ids, minlength=tokenizer.get_vocab_size()) / len(ids)

    q = shares(pool)
    return np.array([(shares(text) - q) / np.sqrt(q + 1e-4) for text in texts])


def test_counts_are_exact_where_the_vocabulary_fits(folder, store):
    it = asked(folder, store, "unigram", dim=512)
    found, rows = measured(folder, store, "unigram", dim=512)
    texts = pl.read_parquet(folder / "corpus.parquet")["text"]
    width = found.width
    expected = slow_chi_squared(folder, [[text] for text in texts.reverse()], texts)
    np.testing.assert_allclose(rows.feature_BK[:, :width], expected, atol=1e-5)
    assert not rows.feature_BK[:, width:].any() and found.sketch == "exact"
    np.testing.assert_allclose(rows.norm_B, np.linalg.norm(expected, axis=1), rtol=1e-5)
    words = it.items.filter(target="words")["text"]
    np.testing.assert_allclose(
        found.targets["words"].feature_K[:width], slow_chi_squared(folder, [words], texts)[0], atol=1e-5
    )
    assert list(found.targets) == ["numbers", "words"] and found.targets["words"].n_items == 2


@pytest.mark.parametrize("dim", [512, 64])
def test_shares_of_tokens_are_exact_or_added_up_in_buckets_and_their_mean_is_the_subsets_unigram(folder, store, dim):
    found, rows = measured(folder, store, "cross_entropy", dim=dim)
    assert found.sketch == ("exact" if dim == 512 else "buckets")
    assert rows.feature_BK.min() >= 0 and rows.feature_BK.sum(axis=1) == pytest.approx(1024)
    tokenizer = tokenizer_in(str(folder / "attribution_tokenizer.parquet"))
    texts = pl.read_parquet(folder / "corpus.parquet")["text"].reverse().to_list()
    ids = encode(tokenizer, texts)
    counts = np.stack([np.bincount(row, minlength=found.width) for row in ids])
    assert rows.n_tokens_B.tolist() == counts.sum(axis=1).tolist()
    if dim == 512:
        share = counts / counts.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(rows.feature_BK[:, : found.width] / 1024, share, atol=1e-6)
    mean = rows.n_tokens_B @ rows.feature_BK / rows.n_tokens_B.sum()
    whole, _ = measured(folder, store, "cross_entropy", dim=dim)
    assert mean.sum() == pytest.approx(1024, rel=1e-5) and whole.new == 0, "nothing is counted twice"
    assert found.targets["words"].feature_K.sum() == pytest.approx(1024, rel=1e-5)
    assert 1 <= found.prior * counts.sum() <= 2**20


def test_the_smoothing_is_the_one_that_predicts_documents_from_their_other_tokens_best():
    from scipy.sparse import csr_matrix

    from grip_assets.method.attribution import unigram

    def slow(counts, q, mu):
        found = 0.0
        for row in counts:
            ids = np.repeat(np.arange(len(row)), row)
            for at, token in enumerate(ids):
                others = np.delete(ids, at)
                found += np.log(((others == token).sum() + mu * q[token]) / (len(others) + mu))
        return found

    r = np.random.default_rng(0)
    for spread, low, high in ((0.5, 1, 16), (20.0, 32, 4096)):  # documents that differ much, and little
        counts = np.stack([r.multinomial(60, r.dirichlet(spread * np.ones(8))) for _ in range(25)])
        q = counts.sum(axis=0) / counts.sum()
        found = unigram.prior((csr_matrix(row[None]) for row in counts), q)
        best = max(unigram.PRIORS, key=lambda mu: slow(counts, q, mu))
        assert found == best and low <= found <= high
    with pytest.raises(GripError, match="No document has two tokens"):
        unigram.prior([csr_matrix(np.eye(1, 8))], q)


@pytest.mark.parametrize("sketch", ["countsketch", "sjlt", "svd"])
def test_counts_of_a_larger_vocabulary_are_sketched(folder, store, sketch):
    whole, exact = measured(folder, store, "unigram", dim=512)
    found, rows = measured(folder, store, "unigram", dim=64, sketch=sketch, seed=3)
    assert found.sketch == sketch and rows.feature_BK.shape == (N, 64)
    np.testing.assert_allclose(rows.norm_B, exact.norm_B, rtol=1e-5)
    if sketch == "countsketch":
        hashed = CountSketch(whole.width, 64, 3, "unigram").apply(exact.feature_BK[:, : whole.width])
        np.testing.assert_allclose(rows.feature_BK, hashed, atol=1e-4)
    if sketch == "svd":
        for name, target in found.targets.items():
            aligned = exact.feature_BK @ whole.targets[name].feature_K
            np.testing.assert_allclose(rows.feature_BK @ target.feature_K, aligned, rtol=1e-3, atol=1e-3)


def test_only_new_documents_are_counted_and_all_see_the_new_pool(folder, store):
    first, before = measured(folder, store, "unigram", n=8, dim=512)
    second, after = measured(folder, store, "unigram", dim=512)
    assert (first.new, second.new) == (8, N - 8)
    _, fresh = measured(folder, ArtifactStore(store.root / "other"), "unigram", dim=512)
    assert np.array_equal(after.feature_BK, fresh.feature_BK)
    assert not np.allclose(after.feature_BK[-8:], before.feature_BK)


# --------------------------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("source", ["full", "blocks", "head", "factored", "hidden"])
def test_features_are_the_same_on_any_number_of_workers_and_in_any_order_of_runs(folder, tmp_path, source, monkeypatch):
    monkeypatch.setattr("grip_assets.stages.attribution.sources.gradients.AT_ONCE", 3)
    one, rows = measured(folder, ArtifactStore(tmp_path / "one"), source, dim=100)
    grown = ArtifactStore(tmp_path / "grown")
    assert measured(folder, grown, source, n=5, dim=100)[0].new == 5
    two, grown_rows = measured(folder, grown, source, dim=100, workers=3)
    assert (one.new, two.new) == (N, N - 5)
    assert np.array_equal(rows.feature_BK, grown_rows.feature_BK) and np.array_equal(rows.norm_B, grown_rows.norm_B)
    assert rows.feature_BK.any(axis=1).all() and (rows.n_tokens_B > 0).all()
    for name, target in one.targets.items():
        assert np.array_equal(target.feature_K, two.targets[name].feature_K) and target.feature_K.any()
    assert one.flops > 0 and one.seconds > 0 and one.n_bytes > 0


def test_the_sketch_of_a_target_is_the_gradient_of_the_loss_of_all_its_tokens(folder, store):
    """Items weigh by their tokens, as they do in the bits per byte that are measured."""
    found, _ = measured(folder, store, "blocks", dim=5000)
    it = asked(folder, store, "blocks")
    tokenizer = tokenizer_in(str(folder / "attribution_tokenizer.parquet"))
    from grip_assets.training.small import unpacked

    model = unpacked(
        pl.read_parquet(folder / "reference.parquet")["model"][0],
        Shape(**SHAPE | {"vocabulary": tokenizer.get_vocab_size()}),
    ).double()
    total, n = 0, 0
    for prompt, text in it.items.filter(target="words").select("prompt", "text").iter_rows():
        (before,), (after,) = encode(tokenizer, [prompt]), encode(tokenizer, [text])
        ids = torch.tensor([[0, *before, *after]])
        assert len(ids[0]) <= SHAPE["context"] + 1, "one window"
        nats = torch.nn.functional.cross_entropy(model(input_ids=ids[:, :-1]).logits[0], ids[0, 1:], reduction="none")
        total, n = total + nats[len(before) :].sum(), n + len(after)
    chosen = [weight for name, weight in model.named_parameters() if ".layers." in name]
    slow = torch.cat([part.flatten() for part in torch.autograd.grad(total / n, chosen)]).numpy()
    np.testing.assert_allclose(found.targets["words"].feature_K[: len(slow)], slow, rtol=1e-3, atol=1e-5)
    assert found.sketch == "exact" and found.width == len(slow)


def test_the_directions_of_the_targets_keep_alignments_exact(folder, store):
    whole, exact = measured(folder, store, "blocks", dim=5000)
    found, rows = measured(folder, store, "blocks", dim=520, sketch="svd")
    assert found.sketch == "svd" and 520 < whole.width < 8 * 520
    for name, target in found.targets.items():
        aligned = exact.feature_BK @ whole.targets[name].feature_K
        np.testing.assert_allclose(rows.feature_BK @ target.feature_K, aligned, rtol=1e-3, atol=1e-4)


def test_scaled_gradients_are_others_and_repeat_themselves(folder, store, tmp_path):
    _, plain = measured(folder, store, "blocks", dim=5000)
    _, scaled = measured(folder, store, "blocks", dim=5000, precondition="adam_diag")
    again = measured(folder, ArtifactStore(tmp_path / "again"), "blocks", dim=5000, precondition="adam_diag")[1]
    assert np.array_equal(scaled.feature_BK, again.feature_BK)
    root = np.sqrt((plain.feature_BK.astype(float) ** 2).mean(0))
    width = measured(folder, store, "blocks", dim=5000)[0].width
    expected = plain.feature_BK[:, :width] / np.sqrt(root[:width] + 0.1 * root[:width].mean())
    np.testing.assert_allclose(scaled.feature_BK[:, :width], expected, rtol=1e-3, atol=1e-5)


def test_a_killed_run_loses_one_shard(folder, store, monkeypatch):
    from grip_assets.stages.attribution.sources import gradients

    monkeypatch.setattr(gradients, "AT_ONCE", 2)
    monkeypatch.setattr("grip_assets.store.shards.SHARD_SECONDS", 0.0)
    run, ran = gradients.Sketching.run, []

    def breaks(self, shard):
        if not isinstance(shard, tuple):
            ran.append(shard)
            if len(ran) == 4:
                raise KeyboardInterrupt
        return run(self, shard)

    monkeypatch.setattr(gradients.Sketching, "run", breaks)
    with pytest.raises(KeyboardInterrupt):
        measured(folder, store, "hidden")
    monkeypatch.setattr(gradients.Sketching, "run", run)
    assert measured(folder, store, "hidden")[0].new == N - 6


def test_a_sketch_that_is_wider_than_the_gradient_is_the_gradient(folder, store):
    found, rows = measured(folder, store, "hidden", dim=64)
    assert (found.width, found.sketch) == (16, "exact")
    assert rows.feature_BK[:, :16].any() and not rows.feature_BK[:, 16:].any()


def test_a_gradient_that_is_not_finite_names_the_document(folder, store, tmp_path):
    for name in ("corpus", "attribution_tokenizer"):
        (tmp_path / f"{name}.parquet").write_bytes((folder / f"{name}.parquet").read_bytes())
    tokenizer = tokenizer_in(str(folder / "attribution_tokenizer.parquet"))
    model = new_model(Shape(**SHAPE | {"vocabulary": tokenizer.get_vocab_size()}), 0)
    with torch.no_grad():
        model.model.norm.weight[0] = float("inf")
    write_reference(tmp_path, model)
    with pytest.raises(GripError, match="The gradient of item i0 is not finite"):
        measured(tmp_path, store, "head")


# ------------------------------------------------------------------------------------------------ vectors of the user's


def table(path, **columns):
    pl.DataFrame(columns).write_parquet(path)
    return str(path)


def own(n=N, width=3):
    return {"doc_id": [f"d{i:02}" for i in range(n)], "vector": np.eye(n, width).tolist()}


def test_a_users_table_gives_documents_and_targets(folder, store, tmp_path):
    ids, vectors = own()["doc_id"], own()["vector"]
    path = table(
        tmp_path / "t.parquet",
        name=["?"] * (N + 2),
        doc_id=[*ids, None, None],
        vector=[*vectors, [1.0, 0.0, 3.0], [3.0, 0.0, 1.0]],
        target=[None] * N + ["cats"] * 2,
    )
    found, rows = measured(folder, store, "column", column=path, dim=4)
    assert np.array_equal(rows.feature_BK[:, :3], np.array(vectors)[::-1])
    assert found.targets["cats"].feature_K.tolist() == [2, 0, 2, 0] and found.targets["cats"].n_items == 2
    assert rows.n_tokens_B.tolist() == list(range(10 + N - 1, 9, -1))


def test_items_in_a_users_table_shape_their_targets(folder, store, tmp_path):
    path = table(
        tmp_path / "t.parquet",
        doc_id=[*own()["doc_id"], "i1", "i3"],
        vector=[*own()["vector"], [0.0, 0.0, 2.0], [0.0, 0.0, 4.0]],
    )
    found, _ = measured(folder, store, "column", column=path, dim=3)
    assert found.targets["words"].feature_K.tolist() == [0, 0, 3] and list(found.targets) == ["words"]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"vector": [[1.0]]}, "no column doc_id"),
        ({"doc_id": ["d00"]}, "no column of lists"),
        ({"doc_id": ["d00"], "a": [[1.0]], "b": [[1.0]]}, "2 columns of lists"),
        ({"doc_id": ["d00"], "a": [["x"]]}, "must be of numbers"),
        ({"doc_id": ["d00", "d01"], "a": [[1.0], [1.0, 2.0]]}, "different lengths"),
        ({"doc_id": ["d00", "d01"], "a": [[1.0], None]}, "different lengths, or none"),
        (own(), "no vector of a target"),
        (own(N - 1) | {"target": [None] * (N - 2) + ["t"]}, "2 of 12 documents have no vector there"),
        ({"doc_id": ["d00", "d00", "x"], "a": [[1.0]] * 3, "target": [None, None, "t"]}, "d00 is there twice"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(folder, store, tmp_path, columns, says):
    with pytest.raises(GripError, match=says) as error:
        measured(folder, store, "column", column=table(tmp_path / "t.parquet", **columns))
    assert "settings/attribution.column" in str(error.value)


def test_a_number_that_is_not_finite_names_its_document(folder, store, tmp_path):
    vectors = own()["vector"]
    vectors[4][1] = float("nan")
    columns = {"doc_id": [*own()["doc_id"], "t"], "vector": [*vectors, [1.0, 1.0, 1.0]], "target": [None] * N + ["t"]}
    with pytest.raises(GripError, match="the vector of document d04 has a number that is not finite"):
        measured(folder, store, "column", column=table(tmp_path / "t.parquet", **columns))


def test_a_table_that_is_missing_or_no_parquet_is_named(folder, store, tmp_path):
    (tmp_path / "text.parquet").write_text("no")
    for path, says in [
        (None, "names no table"),
        (tmp_path / "no", "cannot be read"),
        (tmp_path / "text.parquet", "as Parquet"),
    ]:
        with pytest.raises(GripError, match=says):
            measured(folder, store, "column", column=path and str(path))
