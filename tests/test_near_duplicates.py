"""The stage near_duplicates over planted copies: what it finds, what it keeps, and what a change makes it do again."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from conftest import write_pool
from dagster._config import PostProcessingError

from grip_assets.engine.in_force import Run
from grip_assets.engine.inspect import inspect
from grip_assets.engine.make import Chain
from grip_assets.engine.stage import Made, Work
from grip_assets.errors import GripError
from grip_assets.export import export
from grip_assets.orchestration.settings_assets import fields
from grip_assets.report.page import near_copies
from grip_assets.report.page.context import Context
from grip_assets.report.terminal import explain, summary
from grip_assets.report.terminal.forecast import as_text
from grip_assets.settings import GROUPS, validate
from grip_assets.settings.changes import profiles, read_profile
from grip_assets.stages import STAGES, costs
from grip_assets.stages.curation import near_duplicates
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.query import sql_text
from grip_assets.store.tables import parts

WORDS = [f"{a}{b}" for a in "bcdfghjklmnpqrstvwz" for b in ("an", "ero", "il", "ust", "ope", "aim", "eld", "ink")]


def text_of(rng: np.random.Generator, n: int = 300) -> list[str]:
    return rng.choice(WORDS, n).tolist()


def edited(rng: np.random.Generator, words: list[str], share: float) -> list[str]:
    """The same words, of which this share is replaced by others."""
    return [f"x{rng.integers(1 << 40)}" if rng.random() < share else word for word in words]


def corpus_of(texts: list[str], **columns: list) -> pl.DataFrame:
    ids = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    sizes = [len(text.encode()) for text in texts]
    return pl.DataFrame(
        {"doc_id": ids, "text": texts, "language": None, "source": [f"{i}.txt" for i in range(len(texts))]}
        | {"n_bytes": sizes, "n_tokens": [size // 4 for size in sizes], "decoded_from": None, "kept": None}
        | columns,
        schema_overrides=dict.fromkeys(("language", "decoded_from", "kept"), pl.String),
    )


@dataclass
class Folder:
    """A data folder with planted versions of the corpus."""

    root: Path

    def __post_init__(self):
        self.store, self.said = ArtifactStore(self.root), list[str]()

    def plant(self, corpus: pl.DataFrame, version: str = "planted", held_out: pl.DataFrame | None = None) -> None:
        manifest = {"version": version, "stage": "corpus", "inputs": {}, "computed_at": 0, "seconds": 0, "run_id": ""}
        with self.store.publish("corpus", manifest | {"settings": {}, "metrics": {"tokens": 0}}) as draft:
            draft.write("corpus", corpus)
            draft.write("held_out", corpus.head(0) if held_out is None else held_out)

    def make(self, corpus: str = "planted", held_out: float = 0, passes: bool = True, **values) -> Made:
        settings = settings_with(**values) | {"corpus": validate("corpus", {"held_out": held_out})}
        chain = Chain(STAGES, self.store, self.said.append, "run", inspect)
        made = chain.make(STAGES["near_duplicates"], settings, {"corpus": corpus})
        assert not passes or not [check for check in made.manifest["checks"] if check["violations"]]
        return made

    def signed(self) -> int:
        """The number of signatures that are kept."""
        return sum(pl.scan_parquet(f).select(pl.len()).collect().item() for f in self.root.rglob(".shards/*/*.parquet"))

    def table(self, made: Made, table: str = "near_duplicates") -> pl.DataFrame:
        return pl.read_parquet(self.store.parquet("near_duplicates", made.version, table))


def settings_with(**values) -> dict:
    return {group: validate(group, values if group == "near_duplicates" else {}) for group in GROUPS}


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture(scope="module")
def pool() -> pl.DataFrame:
    """200 documents, and two copies of 60 of them, with 1%, 5% or 20% of the words changed."""
    rng = np.random.default_rng(0)
    originals = [text_of(rng) for _ in range(200)]
    texts = [" ".join(words) for words in originals]
    for i in range(60):
        texts += [" ".join(edited(rng, originals[i], (0.01, 0.05, 0.2)[i % 3])) for _ in range(2)]
    return corpus_of(texts).unique("doc_id", keep="first", maintain_order=True)


@pytest.fixture(scope="module")
def similarities(pool) -> np.ndarray:
    """The Jaccard similarity of every pair of other documents, from the sets of words themselves."""
    words = [text.split() for text in pool["text"]]
    sets = [{tuple(w[i : i + 5]) for i in range(len(w) - 4)} for w in words]
    inverse: dict[tuple, list[int]] = {}
    for number, shingles in enumerate(sets):
        for shingle in shingles:
            inverse.setdefault(shingle, []).append(number)
    common = np.zeros((len(sets), len(sets)))
    for numbers in inverse.values():
        if len(numbers) > 1:
            common[np.ix_(numbers, numbers)] += 1
    sizes = np.array([len(shingles) for shingles in sets])
    np.fill_diagonal(common, 0)
    return common / (sizes[:, None] + sizes[None] - common)


@pytest.mark.parametrize(("threshold", "least"), [(0.8, 30), (0.5, 60)])
def test_planted_copies_are_found_and_nothing_else(folder, pool, similarities, threshold, least):
    """A copy with 1% of its words changed has a similarity of about 0.9; with 5%, of 0.63."""
    folder.plant(pool)
    out = folder.table(folder.make(threshold=threshold)).filter(pl.col("doc_id") != pl.col("stands_for"))
    order = pool.with_row_index().sort("n_bytes", "doc_id", descending=[True, False])["index"].to_list()
    stands: list[int] = []
    for row in order:  # the rule, with every pair compared
        if not any(similarities[row, other] >= threshold for other in stands):
            stands.append(row)
    wanted = set(range(len(pool))) - set(stands)
    rows = {doc: row for row, doc in enumerate(pool["doc_id"])}
    left_out = {rows[doc] for doc in out["doc_id"]}
    assert len(wanted) >= least and len(left_out & wanted) >= 0.97 * len(wanted), "recall"
    assert left_out <= wanted, "precision: what is left out is a near copy"
    for doc, by, similarity in out.rows():
        assert similarity == pytest.approx(similarities[rows[doc], rows[by]]) and similarity >= threshold


def test_copies_with_a_fifth_of_the_words_changed_are_other_documents(folder, pool):
    folder.plant(pool)
    out = folder.table(folder.make()).filter(pl.col("doc_id") != pl.col("stands_for"))["doc_id"]
    far = [row for row in range(200, len(pool)) if pool["text"][row].count("x") > 30]
    assert far and not set(out) & {pool["doc_id"][row] for row in far}


def test_the_order_of_the_pool_and_the_threads_make_no_difference(folder, pool, monkeypatch):
    corpus = pool
    monkeypatch.setattr(near_duplicates, "AT_ONCE", 17)
    monkeypatch.setattr(near_duplicates, "BLOCK", 50)
    folder.plant(corpus)
    folder.plant(corpus.sample(fraction=1, shuffle=True, seed=1), "shuffled")
    monkeypatch.setenv("GRIP_WORKERS", "1")
    one = folder.table(folder.make()).sort("doc_id")
    monkeypatch.setenv("GRIP_WORKERS", "3")
    other = Folder(folder.root.parent / "other")
    other.plant(corpus)
    assert other.make().version == folder.make().version
    assert folder.table(folder.make("shuffled")).sort("doc_id").equals(one)


def test_what_follows_reads_only_documents_that_stand_for_themselves(folder, pool):
    folder.plant(pool)
    made = folder.make()
    kept = folder.table(made).filter(pl.col("doc_id") == pl.col("stands_for"))["doc_id"]
    work = Work.__new__(Work)
    work.stage, work.store = STAGES["embeddings"], folder.store
    work.owners = {"corpus": "corpus", "near_duplicates": "near_duplicates"}
    work.inputs = {"corpus": "planted", "near_duplicates": made.version}
    assert pl.read_parquet(work.files("corpus")).equals(pool.filter(pl.col("doc_id").is_in(kept.implode())))
    assert work.version_of("corpus") == made.version
    work.inputs = {"corpus": "planted"}
    assert pl.read_parquet(work.files("corpus")).equals(pool) and work.version_of("corpus") == "planted"
    metrics = made.manifest["metrics"]
    assert metrics["documents"] + metrics["near_copies"] == len(pool)
    assert metrics["tokens"] + metrics["tokens_left_out"] == pool["n_tokens"].sum()


def test_a_near_copy_of_a_held_out_document_is_left_out_and_so_no_model_trains_on_it(folder):
    rng = np.random.default_rng(11)
    held = [text_of(rng) for _ in range(3)]
    copy, twin = edited(rng, held[0], 0.01), edited(rng, held[0], 0.012)
    other = [" ".join(text_of(rng)) for _ in range(8)]
    corpus = corpus_of([" ".join(copy) + " and more of it", " ".join(twin), *other])
    folder.plant(corpus, held_out=corpus_of([" ".join(words) for words in held]))
    made = folder.make(held_out=0.1)
    by = dict(folder.table(made).select("doc_id", "stands_for").iter_rows())
    held_id, (copy_id, twin_id, *others) = corpus_of([" ".join(held[0])])["doc_id"][0], corpus["doc_id"].to_list()
    assert by[copy_id] == by[twin_id] == held_id, "though the copy is longer, and though the two are like each other"
    assert all(by[doc] == doc for doc in others) and len(by) == len(corpus), "the table has the corpus and no more"
    assert folder.table(made, "distinct_documents")["doc_id"].to_list() == others
    metrics = made.manifest["metrics"]
    assert metrics["near_copies_of_held_out"] == metrics["near_copies"] == 2 and metrics["documents"] == len(other)
    assert metrics["documents_with_copies"] == 0 and "2 documents are near copies of held-out ones" in str(folder.said)
    folder.plant(corpus[:2], "all", corpus_of([" ".join(held[0])]))
    with pytest.raises(GripError, match="Every document of the pool is a near copy of a held-out one"):
        folder.make("all", held_out=0.1)


@pytest.fixture
def background(folder) -> SimpleNamespace:
    """A pool with two sources. Of the background, one document is a near copy of a held-out one, which the pool has a
    copy of too."""
    rng = np.random.default_rng(12)
    held = text_of(rng)
    kept = [" ".join(edited(rng, held, 0.01)), *(" ".join(text_of(rng)) for _ in range(2))]
    near = [f"{text} and two more" for text in kept[:2]]
    texts = [*kept, *near, " ".join(text_of(rng))]
    roles = {"pool": ["general"] * 3 + ["code"] * 3, "role": ["keep"] * 3 + ["select"] * 3}
    corpus, held_out = corpus_of(texts, **roles), corpus_of([" ".join(held)], pool=["code"], role=["select"])
    folder.plant(corpus, held_out=held_out)
    return SimpleNamespace(ids=corpus["doc_id"].to_list(), held=held_out["doc_id"][0])


def outcomes(made: Made) -> dict[str, int]:
    return {check["name"]: check["violations"] for check in made.manifest["checks"]}


def test_a_document_that_is_kept_stays_though_it_is_like_a_held_out_one_and_a_check_counts_it(folder, background):
    made = folder.make(held_out=0.1, passes=False)
    by = {row["doc_id"]: row for row in folder.table(made).iter_rows(named=True)}
    first, other, third, of_first, of_other, rest = background.ids
    assert all(by[doc]["stands_for"] == doc for doc in (first, other, third, rest))
    assert by[of_first]["stands_for"] in (first, background.held) and by[of_other]["stands_for"] == other
    assert {doc for doc, row in by.items() if row["like_held_out"]} == {first}
    assert by[first]["like_held_out"] == background.held and made.manifest["metrics"]["background_like_held_out"] == 1
    assert {name: n for name, n in outcomes(made).items() if n} == {"background_apart": 1}
    (warning,) = (line for line in folder.said if line.startswith("warning: 1 documents of sources that are kept"))
    assert "settings/near_duplicates.drop_background=true" in warning
    (check,) = (check for check in STAGES["near_duplicates"].checks if check.name == "background_apart")
    assert not check.blocking and "near_duplicates.drop_background=true" in check.description


def test_the_setting_that_the_check_names_leaves_out_such_documents_and_no_other_of_the_background(folder, background):
    made = folder.make(held_out=0.1, drop_background=True)
    by = dict(folder.table(made).select("doc_id", "stands_for").iter_rows())
    first, other, third, of_first, of_other, rest = background.ids
    assert by[first] == by[of_first] == background.held and by[of_other] == other
    assert folder.table(made, "distinct_documents")["doc_id"].to_list() == [other, third, rest]
    assert "like_held_out" not in folder.table(made).columns and not outcomes(made)["background_apart"]


def test_without_a_kept_source_nothing_is_another_recipe_and_no_column_is_there(folder, pool, tmp_path):
    stage = STAGES["near_duplicates"]
    sources = [{"name": "a", "path": "a"}, {"name": "b", "path": "b"}]
    both = {"keep": [sources[0], sources[1] | {"role": "keep"}], "select": sources}
    found = {
        role: stage.facts(settings_with() | {"corpus": validate("corpus", {"held_out": 0.1, "sources": of})}, tmp_path)
        for role, of in both.items()
    }
    assert found == {"keep": {"held_out": "compared", "background": "compared"}, "select": {"held_out": "compared"}}
    folder.plant(pool[:40], held_out=pool[40:50])
    assert "like_held_out" not in folder.table(folder.make(held_out=0.1)).columns


def test_without_held_out_documents_the_recipe_and_the_version_are_what_they_were(folder, pool, tmp_path):
    stage, off, on = (
        STAGES["near_duplicates"],
        settings_with(),
        settings_with() | {"corpus": validate("corpus", {"held_out": 0.1})},
    )
    without = replace(stage, facts=lambda settings, root: {})
    assert stage.recipe(off, {"corpus": "v"}, tmp_path) == without.recipe(off, {"corpus": "v"}, tmp_path)
    assert stage.recipe(on, {"corpus": "v"}, tmp_path) != without.recipe(on, {"corpus": "v"}, tmp_path)
    folder.plant(pool)
    assert folder.make().version == folder.make(held_out=0.1).version, "nothing is held out, so nothing follows anew"


def test_every_stage_that_reads_the_corpus_reads_the_rest_of_it():
    for name, stage in STAGES.items():
        reads = "corpus" in stage.inputs and name != "near_duplicates"
        assert (stage.narrowed_by is STAGES["near_duplicates"]) == reads == ("near_duplicates" in stage.inputs)


def test_with_threshold_0_no_recipe_is_another_one(tmp_path):
    off = settings_with(threshold=0)
    for stage in STAGES.values():
        inputs = {name: "a version" for name in stage.inputs}
        assert "near_duplicates" not in stage.inputs_under(off)
        if stage.narrowed_by and stage.name in ("embeddings", "clusters"):
            without = replace(stage, inputs=stage.inputs[:-1], narrowed_by=None)
            assert stage.recipe(off, inputs, tmp_path) == without.recipe(off, inputs, tmp_path)
            assert stage.recipe(settings_with(), inputs, tmp_path) != without.recipe(off, inputs, tmp_path)


def test_a_changed_threshold_or_band_signs_nothing_and_a_changed_shingle_all(folder, pool):
    folder.plant(pool)
    n = len(pool)

    def signed(**values) -> int:
        before = folder.signed()
        folder.make(**values)
        return folder.signed() - before

    assert signed() == n
    assert (
        signed(threshold=0.7) == signed(bands=30) == signed(recall=0.9) == signed(representative="oldest_source") == 0
    )
    assert signed(shingle=4) == signed(unit="characters") == signed(seed=1) == signed(permutations=60) == n


def test_new_documents_are_compared_with_old_ones_that_are_not_signed_again(folder, pool):
    corpus = pool
    folder.plant(corpus[:200], "before")
    assert folder.make("before").manifest["metrics"]["near_copies"] == 0
    folder.plant(corpus, "after")
    metrics = folder.make("after").manifest["metrics"]
    assert metrics["documents_signed_now"] == len(corpus) - 200 and metrics["near_copies"] > 30


def test_a_setting_that_leaves_out_the_same_documents_changes_no_version(folder, pool):
    """So nothing that follows is made again."""
    folder.plant(pool)
    assert folder.make().version == folder.make(threshold=0.800001).version != folder.make(threshold=0.99).version


def test_texts_at_the_edges(folder):
    long = " ".join(text_of(np.random.default_rng(3)))
    texts = [long, long.replace(" ", "\n\t "), "one two", "One, two!", "two one", "?!", "...", " \n "]
    folder.plant(corpus_of(texts))
    by = folder.table(folder.make())
    rows = {doc: row for row, doc in enumerate(by["doc_id"])}
    assert [rows[doc] for doc in by["stands_for"]] == [1, 1, 3, 3, 4, 5, 6, 7], "of the same words, the longest text"
    assert by["similarity"].to_list() == [1.0] * 8


def test_a_pool_without_near_copies_is_not_stored_again(folder):
    rng = np.random.default_rng(5)
    folder.plant(corpus_of([" ".join(text_of(rng)) for _ in range(20)]))
    made = folder.make()
    here, there = (
        parts(folder.store.parquet("corpus", "planted", "corpus")),
        parts(folder.store.parquet("near_duplicates", made.version, "distinct_documents")),
    )
    assert [file.stat().st_ino for file in here] == [file.stat().st_ino for file in there]


def test_the_rule_says_who_stands(folder):
    rng = np.random.default_rng(7)
    words = text_of(rng)
    texts = [" ".join(words[:-n] if n else words) for n in (2, 0, 4)]
    others = [" ".join(text_of(rng)) for _ in range(3)]
    stars = ['{"stars": 1}', '{"stars": 5}', '{"stars": "9"}', None, None, None]
    folder.plant(corpus_of(texts + others, kept=stars))
    ids = corpus_of(texts)["doc_id"].to_list()

    def who(**values) -> int:
        found = folder.table(folder.make(**values)).filter(pl.col("doc_id").is_in(ids))
        return ids.index(found["stands_for"].unique().item())

    assert who() == 1 and who(representative="oldest_source") == 1, "one source: the longest"
    assert who(representative="best_score", score="stars") == 2
    with pytest.raises(GripError, match="no document has a number"):
        who(representative="best_score", score="forks")
    with pytest.raises(GripError, match="names no column"):
        who(representative="best_score")


def test_the_source_that_is_named_first_stands_and_then_the_longest(tmp_path):
    corpus = corpus_of(["a b", "a b c", "a"], pool=["new", "old", "new"])
    corpus.write_parquet(tmp_path / "corpus.parquet")
    work = SimpleNamespace(files=lambda table: str(tmp_path / "*.parquet"))
    settings = settings_with(representative="oldest_source")["near_duplicates"]
    assert near_duplicates.order_of(work, settings, corpus).place_N.tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"threshold": 1.5}, "threshold cannot be 1.5"),
        ({"permutations": 120, "bands": 7}, "does not divide permutations, 120. Set one of 1, 2, 3"),
        ({"shingle": 0}, "shingle cannot be 0"),
        ({"representative": "newest"}, "representative cannot be 'newest'"),
    ],
)
def test_settings_that_cannot_be_are_refused_with_what_to_do(folder, values, said):
    folder.plant(corpus_of(["a b c d e f"]))
    with pytest.raises(GripError, match=said):
        folder.make(**values)


DRIVER = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
import test_near_duplicates as tests
from grip_assets.stages.curation import near_duplicates
from grip_assets.store import shards

near_duplicates.AT_ONCE, shards.SHARD_SECONDS, left, write = 40, 0, [2], shards.Shards.write

def store(self, table):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, table)

shards.Shards.write = store
tests.Folder(tests.Path(sys.argv[1])).make()
"""


def test_a_kill_loses_at_most_a_shard_of_signatures(folder, pool):
    folder.plant(pool)
    words = [sys.executable, "-c", DRIVER, str(folder.root), str(Path(__file__).parent)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run(words, env=env, capture_output=True, text=True, timeout=200)
    assert killed.returncode == -9, killed.stderr[-2000:]
    assert not list(folder.root.glob("near_duplicates/[!.]*"))
    assert folder.make().manifest["metrics"]["documents_signed_now"] == len(pool) - 80


def test_the_plan_says_what_the_settings_find():
    assert costs._notes(settings_with(threshold=0)) == ()
    (note,) = costs._notes(settings_with())
    assert note.startswith("near_duplicates finds 99.8% of the pairs with similarity 0.8")
    forecast = costs.Forecast(
        [costs.Cost("near_duplicates", "compute", "", None, 1.0, 1, "guess")] * 3, None, 9, (note,)
    )
    assert note in list(as_text(forecast))


def test_a_near_copy_is_explained():
    row = {
        "source": "a.py",
        "reason": "near copy",
        "detail": "Jaccard 0.93",
        "stands_for": "12",
        "stands_for_source": "b",
        "of_held_out": False,
    }
    assert explain._rejected(row) == "a.py is out: near copy of b (12), which stands for it (Jaccard 0.93)"
    said = explain._rejected(row | {"of_held_out": True})
    assert said == "a.py is out: near copy of b (12), which is held out for the evaluation (Jaccard 0.93)"


@pytest.mark.run
def test_a_curation_reads_no_near_copy_and_says_which_document_stands_for_it(new_lab, pool_with_copies):
    lab = new_lab(path=pool_with_copies, near_duplicates={"threshold": 0.8})
    copies = lab.sql("SELECT doc_id, stands_for FROM near_duplicates WHERE doc_id <> stands_for")
    left_out = set(copies["doc_id"])
    n = len(left_out)
    assert set(lab.sql("SELECT doc_id FROM corpus WHERE source LIKE 'copies/%'")["doc_id"]) <= left_out | set(
        copies["stands_for"]
    )
    assert n >= 4
    for table in ("embeddings", "clusters", "selection_weights", "densities"):
        ids = set(lab.sql(f"SELECT doc_id FROM {table}")["doc_id"])
        assert not ids & left_out and len(ids) == len(lab.sql("FROM corpus")) - n
    (totals,) = lab.sql(sql_text("questions/totals")).to_dicts()
    assert totals["near_copies"] == n and totals["documents"] == lab.sql("FROM corpus").height - n
    of = "SELECT c.source, b.source FROM near_duplicates JOIN corpus AS c USING (doc_id) JOIN corpus AS b"
    copy, by = lab.sql(f"{of} ON b.doc_id = stands_for WHERE c.doc_id <> b.doc_id ORDER BY 1 LIMIT 1").row(0)
    said = explain.explain(lab.data, copy)
    assert f"{copy} is out: near copy of {by} (" in said and "which stands for it (Jaccard " in said
    (data,) = explain.as_data(lab.data, copy)
    assert data["verdict"] == "near copy"
    told = summary.summary(lab.data, Run("", [], []))
    assert f"copies    {n} near copies are left out;" in told
    with Context(lab.data) as context:
        words, table = near_copies.blocks(context)
    assert f"{n} near copies" in words.text and len(table.rows) >= 1
    export(lab.data, lab.home / "out.jsonl", "jsonl")
    exported = {json.loads(line)["doc_id"] for line in (lab.home / "out.jsonl").open()}
    assert exported and not exported & left_out
    assert "and near-duplicates: documents that share at least 80%" in (lab.home / "out.jsonl.card.md").read_text()


@pytest.fixture
def pool_with_copies(tmp_path) -> Path:
    """The small pool, and near copies of four of its documents."""
    root = tmp_path / "pool"
    root.mkdir()
    write_pool(root)
    (root / "copies").mkdir()
    for number in range(4):
        text = (root / "table" / f"table_{5 * number + 4:02}.py").read_text()
        (root / "copies" / f"table_{number:02}.py").write_text(text + "# the end\n")
    return root


def test_the_form_refuses_a_threshold_out_of_range_before_the_run_starts():
    kind = fields("near_duplicates")["threshold"].config_type
    assert kind.post_process(0.7) == 0.7
    with pytest.raises(PostProcessingError, match="threshold cannot be 1.5"):
        kind.post_process(1.5)
    known = fields("near_duplicates")
    assert set(known) == set(GROUPS["near_duplicates"].model_fields)
    assert "Applies unless near_duplicates.threshold=0" in known["shingle"].description


def test_profiles_look_for_near_copies_but_for_the_papers():
    found = {name: read_profile(name).get("near_duplicates", {}).get("threshold") for name in profiles()}
    said = {name: threshold for name, threshold in found.items() if threshold is not None}
    looking = {
        "robust",
        "quickstart",
        "evaluate_cpu",
        "evaluate_gpu",
        "evaluate_short",
        "evaluate_10m",
        "evaluate_long",
    }
    assert said == dict.fromkeys(looking, 0.8) | {"paper": 0}
