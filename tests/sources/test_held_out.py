"""Projects set aside for evaluation stay out of the pool, and so do the problems of benchmarks."""

import json
import random

import polars as pl
import pytest

from grip_assets.engine.inspect import inspect
from grip_assets.engine.make import Chain
from grip_assets.errors import GripError
from grip_assets.method.sampling import keyed_uniform
from grip_assets.settings import GROUPS, validate
from grip_assets.sources import benchmarks
from grip_assets.sources.benchmarks import problems
from grip_assets.sources.steps.contamination import TELLING, Index, N, containment, index, ngrams, telling, words
from grip_assets.stages import STAGES
from grip_assets.store.artifacts import ArtifactStore


@pytest.fixture
def corpus(tmp_path, models):
    """Makes the corpus of a folder; its tables by name, after its checks."""
    store = ArtifactStore(tmp_path / "data")

    def read(path, **settings):
        values = {group: validate(group, {}) for group in GROUPS}
        values["corpus"] = validate("corpus", {"path": str(path), "tokenizer": str(models / "proxy"), **settings})
        made = Chain(STAGES, store, lambda line: None, "run", inspect).make(STAGES["corpus"], values, {})
        assert [c for c in made.manifest["checks"] if c["violations"] and c["name"] != "few_rejected"] == []
        tables = {t: pl.read_parquet(store.parquet("corpus", made.version, t)) for t in STAGES["corpus"].table_names}
        return tables | {"made": made}

    return read


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def tree(folder, projects):
    return write(folder, {f"set/{p}/{f}.py": f"{p}_{f} = {f!r}\n" for p in projects for f in ("a", "b", "sub/c")})


def test_a_held_out_project_never_enters_the_pool(tmp_path, corpus):
    projects = [f"p{i:02}" for i in range(40)]
    tables = corpus(tree(tmp_path / "pool", projects), held_out=0.3)
    held, kept = set(tables["held_out"]["project"]), {s.rsplit("/", 1)[0] for s in tables["corpus"]["source"]}
    named = [f"set/{p}" for p in projects]
    assert held == {n for n, u in zip(named, keyed_uniform(0, "held_out", named), strict=True) if u < 0.3}
    assert 4 < len(held) < 20 and not {k.removesuffix("/sub") for k in kept} & held
    assert tables["held_out"].height == 3 * len(held) and tables["corpus"].height == 3 * (40 - len(held))
    intake = dict(tables["intake"].iter_rows())
    assert intake == {"listed": 120, "read": 120, "kept": 120 - 3 * len(held), "held_out": 3 * len(held), "rejected": 0}


def test_adding_a_project_moves_no_other(tmp_path, corpus):
    before = corpus(tree(tmp_path / "pool", ["b", "c", "d", "e", "f", "g"]), held_out=0.5)
    after = corpus(tree(tmp_path / "pool", ["a", "z"]), held_out=0.5)
    for table in ("corpus", "held_out"):
        assert set(before[table]["source"]) <= set(after[table]["source"])
    assert before["held_out"].height and before["made"].version != after["made"].version


def test_a_text_is_never_on_both_sides_whichever_is_read_first(tmp_path, corpus):
    names = [f"p{i:02}" for i in range(12)]
    out = [n for n in names if keyed_uniform(0, "held_out", [f"set/{n}"])[0] < 0.5]
    pairs = [(a, b) for a in names for b in names if a < b and (a in out) != (b in out)]
    first_out, first_in = next(p for p in pairs if p[0] in out), next(p for p in pairs if p[1] in out)
    for n, (first, second) in enumerate((first_out, first_in)):
        pool = write(tmp_path / str(n), {f"set/{p}/same.py": "same = 1\n" for p in (first, second)})
        write(pool, {f"set/{p}/own.py": f"own = {p!r}\n" for p in (first, second)})
        tables = corpus(pool, held_out=0.5)
        (duplicate,) = tables["rejected"].rows(named=True)
        assert duplicate["source"] == f"set/{second}/same.py" and duplicate["reason"] == "duplicate"
        assert (f"set/{first}/same.py" in tables["held_out"]["source"]) == (first in out)


def test_a_file_that_lies_higher_is_a_project_of_its_own(tmp_path, corpus):
    tables = corpus(write(tmp_path / "pool", {f"f{i:02}.py": f"x = {i}\n" for i in range(30)}), held_out=0.4)
    assert tables["held_out"]["project"].to_list() == tables["held_out"]["source"].to_list() != []
    tables = corpus(tree(tmp_path / "deep", ["a", "b", "c", "d"]), held_out=0.5, project_depth=3)
    assert set(tables["held_out"]["project"]) <= {f"set/{p}/{f}" for p in "abcd" for f in ("a.py", "b.py", "sub")}


def test_rows_are_held_out_by_the_column_of_their_project(tmp_path, corpus):
    rows = [{"text": f"x = {i}\n", "repo": f"owner/r{i % 10}"} for i in range(50)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(r) + "\n" for r in [*rows, {"text": "y = 1\n"}]))
    tables = corpus(tmp_path / "p.jsonl", held_out=0.3, project_field="repo")
    assert tables["rejected"]["detail"].to_list() == ["no value in 'repo' (settings/corpus.project_field)"]
    assert set(tables["held_out"].group_by("project").len()["len"]) == {5}
    tables = corpus(tmp_path / "p.jsonl", held_out=0.3)
    assert tables["held_out"]["project"].to_list() == tables["held_out"]["source"].to_list() != []
    pl.DataFrame(rows).write_parquet(tmp_path / "p.parquet")
    with pytest.raises(GripError, match="has no column 'owner'.*settings/corpus.project_field"):
        corpus(tmp_path / "p.parquet", project_field="owner")


def test_a_pool_that_is_held_out_as_a_whole_is_an_error_that_says_what_to_do(tmp_path, corpus):
    name = next(f"p{i}" for i in range(99) if keyed_uniform(0, "held_out", [f"set/p{i}"])[0] < 0.5)
    with pytest.raises(GripError, match="raise settings/corpus.project_depth"):
        corpus(tree(tmp_path / "pool", [name]), held_out=0.5)


def test_a_solution_in_the_pool_is_rejected_with_the_name_of_the_problem(tmp_path, corpus):
    found = {p.entry_point: p for p in problems("humaneval")}
    long, close = found["match_parens"], found["has_close_elements"]
    body = long.solution.replace("\n", "\n    ")
    files = {
        "set/a/solution.py": f"def elsewhere(lst):\n{body}\n",
        "set/b/copy.py": f"def elsewhere(lst):\n{body}\n",
        "set/c/row.json": json.dumps({"prompt": close.prompt}),
        "set/d/java.java": "/** " + " ".join(close.prompt.split()[12:32]) + " */ class A {}",
        "set/e/own.py": "def add(x, y):\n    return x + y\n",
    }
    tables = corpus(write(tmp_path / "pool", files), held_out=0.5)
    assert dict(tables["rejected"].select("source", "detail").iter_rows()) == {
        "set/a/solution.py": f"humaneval: {long.id}, exact",
        "set/b/copy.py": f"humaneval: {long.id}, exact",
        "set/c/row.json": f"humaneval: {close.id}, 13-gram",
        "set/d/java.java": f"humaneval: {close.id}, 13-gram",
    }
    assert set(tables["rejected"]["reason"]) == {"contaminated"} and None not in tables["rejected"]["doc_id"]
    assert tables["contamination"].rows() == [("humaneval", "exact", 1, 2), ("humaneval", "13-gram", 1, 2)]
    assert tables["made"].manifest["metrics"]["documents_contaminated"] == 4
    untouched = corpus(tmp_path / "pool", benchmarks=[])
    assert untouched["contamination"].height == 0 and untouched["corpus"].height == 4


def test_a_generic_line_is_not_contamination():
    humaneval = index("humaneval")
    lines = [
        "return x + y", "return sorted(l)", "return n ** 3", "def add(x, y):\n    return x + y\n",
        "from typing import List, Tuple, Optional, Dict, Any, Set\n", "0123456789abcdef",
        "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 'a', 'b', 'c', 'd', 'e', 'f']", "for i in range(n):\n    for j in range(i + 1, n):\n",
    ]  # fmt: skip
    assert [line for line in lines if humaneval.find(line)] == []


def test_every_problem_is_found_in_a_copy_of_itself():
    humaneval = index("humaneval")
    unseen = [p.id for p in problems("humaneval") if p.id not in (humaneval.find(p.prompt + p.solution).problems)]
    assert unseen == []


def test_the_rule_agrees_with_a_slow_reading_of_it():
    rng = random.Random(0)
    known = [f"{a}{b}" for a in "abc" for b in "xyz"] + list("012ij")
    texts = [(f"p{i}", " ".join(rng.choices(known, k=rng.randint(5, 40)))) for i in range(6)]
    quick = Index("planted", texts)

    def runs(text):
        said = words(text)
        all_runs = {tuple(said[i : i + N]) for i in range(len(said) - N + 1)}
        return {r for r in all_runs if len({w for w in r if w.isalpha() and len(w) > 1}) >= TELLING}

    hits = 0
    for _ in range(2000):
        _, text = rng.choice(texts)
        start, length = rng.randint(0, 20), rng.randint(8, 20)
        inside = text.split()[start : start + length]
        document = [*rng.choices([*known, "other"], k=rng.randint(0, 30)), *inside, *rng.choices([*known, "other"], k=rng.randint(0, 30))]  # fmt: skip
        document = rng.choice([" ", "\n", "(", ", ", "\\n"]).join(document).upper()
        slow = [p for p, text in texts if runs(text) & runs(document)]
        found = quick.find(document)
        assert (found.problems if found else []) == slow
        hits += bool(slow)
    assert 400 < hits < 1900


def test_containment_is_the_share_of_a_passage_that_one_document_has():
    rng = random.Random(1)
    known = [a + b + c for a in "bcdf" for b in "aeiou" for c in "lmn"]
    passages = [" ".join(rng.choices(known, k=60)) for _ in range(4)]
    halves = passages[0].split()
    documents = [
        "before " + passages[1] + " after",
        " ".join(halves[:30]),
        " ".join(halves[15:40]),
        passages[2].replace(halves[0], "x"),
        "other words that nobody knows " * 5,
    ]

    def runs(text):
        return {r for r in ngrams(words(text)) if telling(r)}

    slow = [max(len(runs(p) & runs(d)) for d in documents) / len(runs(p)) for p in passages]
    assert containment([*passages, "too short"], documents) == [*slow, 0]
    assert slow[1] == 1 and 0 < slow[0] < 0.5 and slow[3] == 0


def test_problems_are_those_of_the_package():
    found = problems("humaneval")
    assert len(found) == 164 and found[0].id == "HumanEval/0" and found[0].entry_point == "has_close_elements"
    scope: dict = {}
    exec(found[0].prompt + found[0].solution + found[0].test, scope)
    scope["check"](scope[found[0].entry_point])


def test_a_benchmark_whose_package_is_missing_is_an_error_that_names_it(monkeypatch, tmp_path, corpus):
    monkeypatch.setitem(benchmarks.FILES, "humaneval", ("no_such_package", "data.gz", "no-such==1"))
    benchmarks.content_hash.cache_clear()
    with pytest.raises(GripError, match="settings/corpus.benchmarks has 'humaneval'.*pip install no-such==1"):
        corpus(tree(tmp_path / "pool", ["a"]))
    benchmarks.content_hash.cache_clear()
