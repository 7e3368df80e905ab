"""A pool that cannot be used says why before anything costly, and shows what it rejected."""

import json
from types import SimpleNamespace

import polars as pl
import pytest
from defaults import without_near_copies

from grip_assets.engine.inspect import inspect
from grip_assets.engine.make import Chain
from grip_assets.errors import GripError
from grip_assets.settings import GROUPS, validate
from grip_assets.settings.changes import read_profile
from grip_assets.stages import STAGES
from grip_assets.stages.curation.partition import enough_documents
from grip_assets.store.artifacts import ArtifactStore


@pytest.fixture
def corpus(tmp_path, models):
    """Makes the corpus of a path; its tables by name, and what was said."""
    store = ArtifactStore(tmp_path / "data")

    def read(path, k=None, **settings):
        values = {group: validate(group, {}) for group in GROUPS}
        values["corpus"] = validate("corpus", {"path": str(path), "tokenizer": str(models / "proxy"), **settings})
        values["clustering"] = validate("clustering", {"k": k})
        said: list[str] = []
        made = Chain(STAGES, store, said.append, "run", inspect).make(STAGES["corpus"], values, {})
        tables = {t: pl.read_parquet(store.parquet("corpus", made.version, t)) for t in STAGES["corpus"].table_names}
        return tables | {"said": said, "made": made}

    return read


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" if isinstance(row, dict) else row + "\n" for row in rows))
    return path


def test_where_all_is_rejected_the_reasons_examples_and_remedy_are_said_and_the_table_is_there(corpus, tmp_path):
    pool = lines(tmp_path / "p.jsonl", [*({"body": f"text {i}", "url": "u"} for i in range(5)), "no json"])
    with pytest.raises(GripError) as caught:
        corpus(pool)
    said = str(caught.value)
    assert "all 6 were rejected (5 missing field, 1 bad json)" in said
    assert "p.jsonl:1: missing field, no text in 'text'" in said and "the row has: body, url" in said
    assert said.count("\n  p.jsonl:") == 3 and "Set settings/corpus.text_field" in said
    rejected = tmp_path / "data" / "rejected.parquet"
    assert str(rejected) in said and pl.read_parquet(rejected).height == 6
    assert corpus(pool, text_field="body")["corpus"].height == 5 and not rejected.exists()


@pytest.mark.parametrize(
    "content, remedy",
    [
        ("größe ".encode() * 9 + b"\xff", "Convert them to UTF-8"),
        (b"\0" * 99, "holds no text: 99 zero bytes"),
        (b" \n", "there is no text where they point"),
        (b"x = 1\n" * 9, "Raise settings/corpus.max_bytes"),
    ],
)
def test_what_would_read_them_follows_the_reason(corpus, tmp_path, content, remedy):
    (tmp_path / "pool").mkdir()
    for name in "ab":
        (tmp_path / "pool" / f"{name}.py").write_bytes(content)
    with pytest.raises(GripError, match=remedy):
        corpus(tmp_path / "pool", max_bytes=50 if content[:1] == b"x" else 1000)


def test_what_was_left_out_and_decoded_is_in_the_intake_and_in_the_log(corpus, tmp_path):
    pool = tmp_path / "pool"
    pool.mkdir()
    for name in ("a.py", "b.py", "c.pod", ".hidden.py"):
        (pool / name).write_text(f"# {name}\n")
    (pool / "old.py").write_bytes("# größe\n".encode("latin-1"))
    tables = corpus(pool)
    intake = dict(tables["intake"].iter_rows())
    assert intake == {
        "listed": 4, "read": 4, "kept": 3, "held_out": 0, "rejected": 1, "decoded": 1, "unknown_kind": 1,
    }  # fmt: skip
    assert dict(tables["corpus"].select("source", "decoded_from").iter_rows())["old.py"] == "latin_1"
    assert "left out, neither text nor source code: 1 file (.pod 1)" in tables["said"]
    assert any("hidden: 1 (.hidden.py)" in line for line in tables["said"])
    assert tables["rejected"]["source"].to_list() == ["c.pod"]


def test_other_columns_to_keep_are_another_corpus(corpus, tmp_path):
    pool = lines(tmp_path / "p.jsonl", [{"text": f"text {i}", "n": i} for i in range(3)])
    without, with_n = corpus(pool), corpus(pool, keep=["n"])
    assert without["corpus"]["kept"].to_list() == [None] * 3
    assert [json.loads(kept) for kept in with_n["corpus"]["kept"]] == [{"n": i} for i in range(3)]
    assert without["made"].version != with_n["made"].version


def work(k):
    said: list[str] = []
    settings = {"clustering": validate("clustering", {"k": k}), "embedding": validate("embedding", {})}
    return SimpleNamespace(settings=settings, log=said.append, said=said)


def test_a_profiles_k_follows_a_small_pool_and_the_users_is_refused(corpus, tmp_path):
    of_profile = read_profile("quickstart")["clustering"]["k"]
    asked = work(of_profile)
    assert enough_documents(3, asked) == 3 and "k is lowered to 3" in asked.said[0]
    assert enough_documents(1000, work(of_profile)) == of_profile and enough_documents(3, work(None)) is None
    with pytest.raises(GripError, match="settings/clustering.k is 7, and the corpus has only 3 documents. Lower k"):
        enough_documents(3, work(7))
    (tmp_path / "pool").mkdir()
    for name in "abc":
        (tmp_path / "pool" / f"{name}.py").write_text(f"{name} = 1\n")
    with pytest.raises(GripError, match="clustering.k is 7, and the corpus has only 3"):  # before it is read
        corpus(tmp_path / "pool", k=7)


def test_a_pool_too_small_to_curate_says_so_at_once(corpus, tmp_path):
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "a.py").write_text("x = 1\n")
    with pytest.raises(GripError, match="The pool has 1 document.*nothing to choose between"):
        corpus(tmp_path / "pool")


def test_a_pool_of_equal_documents_stops_before_they_are_embedded(corpus, tmp_path):
    found = corpus(lines(tmp_path / "p.jsonl", [{"text": "same"}] * 20))
    assert found["corpus"].height == 1
    store, values = ArtifactStore(tmp_path / "data"), without_near_copies()
    values["embedding"] = validate("embedding", {"model": str(tmp_path)})  # would fail if it were looked at
    from dataclasses import replace

    stage = replace(STAGES["embeddings"], facts=lambda settings, root: {})
    with pytest.raises(GripError, match="The pool has 1 document, exact copies counted once"):
        Chain(STAGES, store, print).make(stage, values, {"corpus": found["made"].version})
