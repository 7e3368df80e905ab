"""A large pool is read fast: in batches, on several threads, with words that were counted before; and all is as before."""

import json
import random
import shutil

import numpy as np
import polars as pl
import pytest
from tokenizers import Tokenizer, pre_tokenizers

from grip_assets.engine.make import Chain
from grip_assets.errors import GripError
from grip_assets.judges.base import Document
from grip_assets.judges.column import ColumnJudge
from grip_assets.models import counting
from grip_assets.models.counting import WholeTexts, Words, tokens_counter
from grip_assets.settings import GROUPS, validate
from grip_assets.sources import jobs
from grip_assets.sources.benchmarks import problems
from grip_assets.sources.steps.contamination import index
from grip_assets.stages import STAGES
from grip_assets.store import parts
from grip_assets.store.artifacts import ArtifactStore

ODD = [
    "", " ", "\n", "'", "''s", " 's", "don't we'll I'M it's'", "a  b   c\t\td \n e", "  x", "x  ", "1234 5 67a8b", "\r\n\r\n  if", "é ñ 漢字 \u3000 仮名",
    "\u00a0\u2009 x", "e\u0301a\u0301", "\U0001f600\U0001f600 \U0001f600", "½²Ⅷ 1½", "٣٤٥ مرحبا", "\ufeff\u200b \u2028\u2029 z", "<|end|> a<|end|>b", "x" * 5000, "-" * 300 + " " * 300, "\x1c\x1d\x1e\x1f \x85 a",
]  # fmt: skip


@pytest.fixture(scope="module")
def texts():
    """The source of the library that is tested with, and what a keyboard gives: 3 MB."""
    from pathlib import Path

    draw = random.Random(0)
    letters = "aaeeiioorstlnm \n\t'.,_0123(){}é漢½\u00a0\u3000\u0301"
    typed = ["".join(draw.choices(letters, k=draw.randrange(400))) for _ in range(300)]
    source = [file.read_text() for file in sorted(Path(json.__file__).parents[1].glob("*.py"))[:60]]
    return [*ODD, *typed, *source]


@pytest.fixture(scope="module")
def tokenizer(models):
    return lambda: Tokenizer.from_file(str(models / "proxy" / "tokenizer.json"))


@pytest.mark.parametrize("digits", [False, True])
def test_every_count_is_the_tokenizers_own(tokenizer, texts, digits):
    whole, inner = tokenizer(), tokenizer()
    if digits:
        for each in (whole, inner):
            steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
            each.pre_tokenizer = pre_tokenizers.Sequence(steps)
    whole.encode_special_tokens = True
    counter = tokens_counter(inner)
    assert isinstance(counter, Words)
    wanted = [len(whole.encode(text, add_special_tokens=False)) for text in texts]
    assert counter(texts) == wanted and counter(texts) == wanted and counter(texts[::-1]) == wanted[::-1]
    for text in ODD:
        cut = [len(word) for word, _ in inner.pre_tokenizer.pre_tokenize_str(text)]
        assert [len(word) for word in counter.cut(text)] == cut


def test_counts_stay_right_when_words_are_forgotten(tokenizer, texts, monkeypatch):
    monkeypatch.setattr(counting, "MOST_WORDS", 500)
    counter, whole = tokens_counter(tokenizer()), WholeTexts(tokenizer())
    whole.inner.encode_special_tokens = True
    for start in range(0, len(texts), 20):
        assert counter(texts[start : start + 20]) == whole(texts[start : start + 20])


def test_a_tokenizer_of_another_kind_counts_whole_texts(tokenizer, texts):
    def prefix(inner):
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)

    def cut_by_spaces(inner):
        inner.pre_tokenizer = pre_tokenizers.Whitespace()

    def plain_word(inner):
        inner.add_tokens(["def parse"])

    def truncated(inner):
        inner.enable_truncation(7)

    for change in (prefix, cut_by_spaces, plain_word):
        inner = tokenizer()
        change(inner)
        counter = tokens_counter(inner)
        assert isinstance(counter, WholeTexts)
        assert counter(texts[:200]) == [len(inner.encode(text, add_special_tokens=False)) for text in texts[:200]]
    inner = tokenizer()
    truncated(inner)
    assert tokens_counter(inner)(["x" * 5000])[0] > 7


def test_the_first_look_overlooks_no_problem(texts):
    looked = index("humaneval")
    solutions = [p.prompt + p.solution for p in problems("humaneval")[:60]]
    odd = [f"Kelvin \u212a İΣ — {s.upper()}" for s in solutions] + [
        s.replace("\n", "\\n").replace(" ", "\u3000") for s in solutions
    ]
    among = [*texts, *solutions, *odd]
    suspected = looked.suspects(among).tolist()
    found = [looked.find(text) is not None for text in among]
    assert all(suspect for suspect, is_found in zip(suspected, found, strict=True) if is_found)
    assert sum(found) > 120 and sum(suspected) < sum(found) + len(texts) // 10


ROWS = [
    {"text": f"def f{i}(x):\n    return x + {i * i}\n" * (1 + i % 7), "repo": f"r{i % 9}", "score": i % 5}
    for i in range(900)
]


def made(store, models, path, **settings):
    values = {group: validate(group, {}) for group in GROUPS}
    values["corpus"] = validate("corpus", {"path": str(path), "tokenizer": str(models / "proxy"), **settings})
    found = Chain(STAGES, store, lambda line: None).make(STAGES["corpus"], values, {})
    return store.folder("corpus", found.version)


def write(folder, name, rows):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def files(folder):
    return {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*.parquet"))}


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(parts, "SMALLEST", 8_000)
    monkeypatch.setattr(jobs, "BATCH", 50)


def test_the_same_bytes_on_one_thread_and_on_four(tmp_path, models, monkeypatch, small_parts):
    pool = write(tmp_path / "pool", "a.jsonl", [*ROWS, *ROWS[:50], {"no": "text"}])
    found = []
    for workers in (1, 4):
        monkeypatch.setenv("GRIP_WORKERS", str(workers))
        found.append(made(ArtifactStore(tmp_path / str(workers)), models, pool, held_out=0.2, project_field="repo"))
    one, four = map(files, found)
    assert one.keys() == four.keys() and len(one) > 8
    assert all(one[name].read_bytes() == four[name].read_bytes() for name in one)
    assert found[0].name == found[1].name
    duplicates = pl.read_parquet(found[0] / "rejected" / "*.parquet").filter(reason="duplicate")
    assert len(duplicates) > 40 and duplicates["stands_for"].null_count() == 0


def test_the_version_does_not_depend_on_the_size_of_batches(tmp_path, models, monkeypatch):
    pool = write(tmp_path / "pool", "a.jsonl", ROWS)
    first = made(ArtifactStore(tmp_path / "1"), models, pool, held_out=0.2)
    monkeypatch.setattr(jobs, "BATCH", 7)
    assert made(ArtifactStore(tmp_path / "2"), models, pool, held_out=0.2).name == first.name


def test_a_new_file_stores_what_is_new(tmp_path, models, small_parts):
    store = ArtifactStore(tmp_path / "data")
    pool = tmp_path / "pool"
    for number in range(8):
        write(pool, f"{number}0.jsonl", ROWS[number * 100 : (number + 1) * 100])
    before = made(store, models, pool)
    kept = {p.stat().st_ino for p in files(before).values()}
    write(pool, "35.jsonl", [*ROWS[800:], ROWS[0]])  # in the middle, with a copy of what is read before it
    after = made(store, models, pool)
    texts = {name: p for name, p in files(after).items() if name.startswith("corpus/")}
    new = [p for p in texts.values() if p.stat().st_ino not in kept]
    whole = sum(p.stat().st_size for p in texts.values())
    fresh = made(ArtifactStore(tmp_path / "anew"), models, pool)
    assert (
        len(texts) > 5 and sum(p.stat().st_size for p in new) < 0.45 * whole and after.name == fresh.name != before.name
    )
    for table in ("corpus", "rejected", "held_out", "intake"):
        assert pl.read_parquet(after / table / "*.parquet").equals(pl.read_parquet(fresh / table / "*.parquet"))
    assert pl.read_parquet(after / "corpus" / "*.parquet")["text"].to_list() == [
        row["text"] for row in [*ROWS[:400], *ROWS[800:], *ROWS[400:800]]
    ]
    shutil.rmtree(before)  # what it shared stays
    assert pl.read_parquet(after / "corpus" / "*.parquet").height == 900


def test_a_damaged_part_of_another_version_is_not_shared(tmp_path, models, small_parts):
    store, pool = ArtifactStore(tmp_path / "data"), write(tmp_path / "pool", "a.jsonl", ROWS[:300])
    first = made(store, models, pool)
    for file in files(first / "corpus").values():
        file.write_bytes(b"")
    write(pool, "b.jsonl", ROWS[300:400])
    assert pl.read_parquet(made(store, models, pool) / "corpus" / "*.parquet").height == 400


def test_parts_of_a_pool_are_few(monkeypatch):
    assert parts.part_size(10**6) == parts.part_size(3 * 10**10) == 8 << 20
    for size in (10**11, 10**13):
        assert size / parts.MOST_PARTS / 2 < parts.part_size(size) <= 2 * size / parts.MOST_PARTS


@pytest.fixture
def own(tmp_path):
    """A pool of two topics whose rows bring a score and a vector."""
    from conftest import TOPICS

    rng = np.random.default_rng(0)
    rows = []
    for number, topic in enumerate(TOPICS):
        for i in range(30):
            vector = np.eye(8)[number] * 3 + 0.2 * rng.normal(size=8)
            score = number + i / 100
            rows.append(
                {"text": TOPICS[topic].format(i=i, j=i * 7), "edu": score, "vec": vector.tolist(), "id": f"{topic}{i}"}
            )
    return rows


def test_the_pools_own_scores_and_vectors_run_the_chain(tmp_path, new_lab, models, own):
    own[5]["edu"] = None
    bad = [
        {"text": "zeros = 0\n", "vec": [0.0] * 8, "edu": 1, "id": "zeros"},
        {"text": "short = 1\n", "vec": [1.0], "edu": 1, "id": "short"},
    ]
    bad.append({"text": "none = 1\n", "edu": 1, "id": "none"})
    write(tmp_path / "pool", "p.jsonl", [*own, *bad])
    lab = new_lab(
        path=tmp_path / "pool",
        corpus={"keep": ["edu"], "id_field": "id"},
        embedding={"model": "column", "column": "vec", "pooling": None},
        quality={"judge": "column", "column": "edu", "max_failed": 0.5},
        probe={"fraction": 1.0},
    )
    rejected = dict(lab.sql("SELECT source, detail FROM rejected").iter_rows())
    assert rejected.keys() == {"zeros", "short", "none"}
    assert (
        "a vector of zeros in 'vec'" in rejected["zeros"]
        and "a vector of 1 numbers; that of the first document has 8" in rejected["short"]
    )
    stored = dict(lab.sql("SELECT source, embedding FROM embeddings JOIN corpus USING (doc_id)").iter_rows())
    for row in own:
        unit = np.array(row["vec"]) / np.linalg.norm(row["vec"])
        assert np.abs(np.array(stored[row["id"]], float) - unit).max() < 1e-3
    scores = lab.sql("SELECT source, score, status, reason, judge FROM quality_scores JOIN corpus USING (doc_id)")
    failed = scores.filter(pl.col("status") == "failed")
    assert failed["source"].to_list() == [own[5]["id"]] and failed["reason"].to_list() == ["no number in 'edu'"]
    ranked = sorted(row["edu"] for row in own if row["edu"] is not None)
    wanted = {row["id"]: (ranked.index(row["edu"]) + 0.5) / len(ranked) for row in own if row["edu"] is not None}
    found = {s: score for s, score in scores.select("source", "score").iter_rows() if score is not None}
    assert found == pytest.approx(wanted) and lab.sql("FROM subset").height


def test_a_range_makes_a_value_a_score(tmp_path, models, own):
    folder = made(
        ArtifactStore(tmp_path / "data"), models, write(tmp_path / "pool", "p.jsonl", own), keep=["edu"], id_field="id"
    )
    corpus = pl.read_parquet(folder / "corpus" / "*.parquet")
    judge = ColumnJudge(str(folder / "corpus" / "*.parquet"), "edu", [1.0, 2.0])
    found = {v.doc_id: v.score for v in judge.judge(Document(doc, "", None) for doc in corpus["doc_id"])}
    wanted = {row["id"]: min(max(row["edu"] - 1, 0), 1) for row in own}
    assert [found[doc] for doc in corpus["doc_id"]] == pytest.approx([wanted[source] for source in corpus["source"]])


def test_a_column_that_is_not_there_is_named(tmp_path, models, own):
    pl.DataFrame(own).write_parquet(tmp_path / "p.parquet")
    store = ArtifactStore(tmp_path / "data")
    folder = made(store, models, tmp_path / "p.parquet", keep=["id"])
    with pytest.raises(GripError, match="no document keeps a number in it. Add 'edu' to settings/corpus.keep"):
        ColumnJudge(str(folder / "corpus" / "*.parquet"), "edu", [])
    with pytest.raises(GripError, match="settings/quality.column is not set"):
        ColumnJudge(str(folder / "corpus" / "*.parquet"), None, [])
    with pytest.raises(GripError, match="settings/quality.column_range cannot be .* the first below the second"):
        validate("quality", {"column_range": [1, 1]})
