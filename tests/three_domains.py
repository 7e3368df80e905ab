"""A pool of three domains that differ as much as grammars can, and a model so small that it learns one in a moment.

It is for tests of trainings on mixtures. ``store``, ``corpus`` and ``tokens`` are fixtures.
"""

import numpy as np
import polars as pl
import pytest

from grip_assets.runtime.executors import Local
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.training import domain_tokens, mixtures
from grip_assets.training.recipe import Shape, TrainingRecipe

NAMES = ["numbers", "words", "brackets"]
SHAPE = Shape(vocabulary=300, hidden=16, layers=1, heads=2, context=16)
RECIPE = TrainingRecipe(tokens=1024, batch_tokens=128, learning_rate=3e-3, dtype="float32")
MOST = 1024
CONTEXT = SHAPE.context


def text_of(domain, i):
    random = np.random.default_rng([domain, i])
    if domain == 0:
        return " ".join(map(str, random.integers(0, 50, 40)))
    if domain == 1:
        return " ".join(random.choice(["alpha", "beta", "gamma", "delta"], 40))
    return "".join(random.choice(["(a)", "[b]", "{c}"], 60))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return ArtifactStore(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def corpus(store):
    """The tables corpus, tokenizer, documents and items, in a folder, with three domains of 24 documents."""
    from grip_assets.training.small import learn_tokenizer

    rows = [(f"{d}-{i:02}", text_of(d, i), d, i < 2) for i in range(24) for d in range(3)]
    names = {"doc_id": pl.String, "text": pl.String, "domain": pl.Int32, "held_out": pl.Boolean}
    frame = pl.DataFrame(rows, names, orient="row").with_columns(pl.col("text").str.len_bytes().alias("n_bytes"))
    folder = store.root
    frame.write_parquet(folder / "corpus.parquet", row_group_size=7)
    frame.select("doc_id", "domain", "held_out").write_parquet(folder / "documents.parquet")
    items = frame.filter("held_out").select(
        item_id="doc_id", target=pl.format("domain:{}", "domain"), prompt=pl.lit(""), text="text", in_pool=pl.lit(0.0)
    )
    items.write_parquet(folder / "items.parquet")
    tokenizer = learn_tokenizer(frame["text"], 300)
    pl.DataFrame({"json": [tokenizer.to_str()]}).write_parquet(folder / "tokenizer.parquet")
    return folder


def made(store, corpus, most=MOST, seed=0, workers=1, documents=None, stage="mixture_runs"):
    documents = pl.read_parquet(corpus / "documents.parquet") if documents is None else documents
    files = str(corpus / "corpus.parquet"), documents, str(corpus / "tokenizer.parquet")
    return domain_tokens.ready(store, stage, *files, most, seed, Local(workers))


@pytest.fixture(scope="module")
def tokens(store, corpus):
    return made(store, corpus)


def run_of(weights, tokens, seed=0, limits=None, recipe=RECIPE):
    limits = tokens.windows_D(CONTEXT) if limits is None else np.array(limits)
    return mixtures.mixture_run(np.array(weights), limits, seed, SHAPE, recipe)
