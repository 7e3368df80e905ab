"""A pool of several named sources: counts, roles, caps, and what a new source reads."""

import gzip
import json

import pytest

from grip_assets.errors import GripError, UsageMistake
from grip_assets.settings import Corpus, counted_values, hashed_values, validate
from grip_assets.settings.assignments import read_assignments
from grip_assets.settings.places import placed
from grip_assets.settings.sources import read_pool_file
from grip_assets.sources.documents import RawDocument
from grip_assets.sources.pools import open_pools
from tests.archives import page, warc


def put(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def corpus(*sources, **more):
    found = validate("corpus", {"sources": list(sources), **more})
    assert isinstance(found, Corpus)
    return found


def test_a_pool_at_one_path_has_the_recipe_that_it_always_had():
    assert not {"sources", "extractor"} & hashed_values(Corpus(path="/pool")).keys()


def test_each_source_has_its_own_reader_and_columns_and_what_is_kept_is_read_first(tmp_path):
    one = put(tmp_path / "a.jsonl", [{"body": "x\n", "url": "u1"}])
    two = put(tmp_path / "b.jsonl", [{"text": "y\n", "id": "i1"}])
    (tmp_path / "c.warc.gz").write_bytes(warc([page(0)]))
    pools = open_pools(
        corpus(
            {"name": "a", "path": one, "text_field": "body", "id_field": "url"},
            {"name": "b", "path": two, "role": "keep", "id_field": "id"},
            {"name": "c", "path": str(tmp_path / "c.warc.gz")},
            held_out=0.5,
        )
    )
    assert [part.source.name for part in pools.parts] == ["b", "a", "c"]
    assert [part.pool.reader.name for part in pools.parts] == ["jsonl", "jsonl", "warc"]
    assert [d.source for part in pools.parts for d in part.pool.read() if isinstance(d, RawDocument)] == [
        "i1", "u1", "c.warc.gz:1",
    ]  # fmt: skip
    assert [part.settings.held_out for part in pools.parts] == [0.0, 0.5, 0.5]
    assert any(note.startswith("c: read as warc") for note in pools.notes)


def test_a_source_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(GripError, match=r"The source 'web' \(settings/corpus.sources\).*is not there"):
        open_pools(corpus({"name": "web", "path": str(tmp_path / "nowhere")}))


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ([{"name": "a", "path": "/p"}, {"name": "a", "path": "/q"}], "two sources are named 'a'"),
        ([{"name": "a", "path": "/p", "role": "keep"}], "nothing to select from"),
        ([{"name": "a", "path": "/p", "cap": 5}], "has a cap and the role select"),
        ([{"name": "a b", "path": "/p"}], "the name of a source"),
        ([{"name": "a", "path": "s3://user:secret@bucket/p"}], "holds a password"),
        ([{"name": "a", "path": "/p", "rolle": "keep"}], "Extra inputs are not permitted"),
    ],
)
def test_sources_that_make_no_sense_are_refused(sources, said):
    with pytest.raises(UsageMistake, match=said):
        validate("corpus", {"sources": sources})


def test_one_path_and_sources_together_are_refused():
    with pytest.raises(UsageMistake, match="corpus.path names a pool too"):
        validate("corpus", {"path": "/x", "sources": [{"name": "a", "path": "/p"}]})


def test_a_file_lists_sources_with_paths_relative_to_it(tmp_path):
    file = tmp_path / "pool.yaml"
    file.write_text("sources:\n- {name: a, path: data/a}\n- {name: b, path: s3://x/b, role: keep, cap: 2M}\n")
    found = read_pool_file(str(file))
    assert found == [
        {"name": "a", "path": str(tmp_path / "data/a")}, {"name": "b", "path": "s3://x/b", "role": "keep", "cap": "2M"},
    ]  # fmt: skip
    assert corpus(*found).sources[1].cap == 2_000_000
    assert read_assignments([f"corpus.sources={file}"]) == {"corpus": {"sources": found}}
    typed = read_assignments(["corpus.sources=[{name: a, path: rel}]"])
    assert placed(typed)["corpus"]["sources"][0]["path"].endswith("/rel")
    assert counted_values(corpus(*found))["sources"][0]["role"] == "select"
    for bad, said in (("a: 1\n", "lists no sources"), ("- [", "is no YAML"), (None, "cannot be read")):
        other = tmp_path / "bad.yaml"
        other.unlink(missing_ok=True)
        if bad:
            other.write_text(bad)
        with pytest.raises(UsageMistake, match=said):
            read_pool_file(str(other))


def test_the_command_line_takes_a_file_of_sources(tmp_path):
    from grip_assets.cli import _changes

    (tmp_path / "pool.yaml").write_text("- {name: a, path: data}\n")
    found = _changes([str(tmp_path / "pool.yaml")], None, None)
    assert found == {"corpus": {"path": None, "sources": [{"name": "a", "path": str(tmp_path / "data")}]}}
    with pytest.raises(UsageMistake, match="corpus.sources name a pool each"):
        _changes([str(tmp_path)], None, [f"corpus.sources={tmp_path / 'pool.yaml'}"])


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("mbpp.jsonl", {"text": "PROMPT", "code": "CODE", "task_id": 601, "test_setup_code": "", "test_list": ["TEST"], "challenge_test_list": []}),
        ("sanitized-mbpp.json", {"source_file": "Questions V2.ipynb", "task_id": 2, "prompt": "PROMPT", "code": "CODE", "test_imports": [], "test_list": ["TEST"]}),
        ("HumanEvalPlus.jsonl.gz", {"task_id": "HumanEval/0", "prompt": "PROMPT", "entry_point": "f", "canonical_solution": "CODE", "contract": "", "base_input": [[[1.0, 2.0], 0.3]], "plus_input": [[[], 2.0]], "atol": 0}),
        ("MbppPlus.jsonl.gz", {"task_id": "Mbpp/2", "prompt": "PROMPT", "entry_point": "f", "canonical_solution": "CODE", "base_input": [[[3, 4], [5]]], "plus_input": [], "assertion": "TEST"}),
    ],
)  # fmt: skip
def test_the_files_of_benchmarks_are_test_sets_as_their_publishers_ship_them(tmp_path, name, row):
    """The layouts, with problems of our own."""
    from grip_assets.sources.documents import Reason
    from grip_assets.sources.steps import in_any_order, steps_of

    said = {
        "PROMPT": "Write a function to find the pairs of trees that stand nearest to each other along a winding river",
        "CODE": "def nearest_pairs(trees, river):\n    ordered = sorted(trees, key=lambda tree: river.place_of(tree))\n    return list(zip(ordered, ordered[1:]))\n",
        "TEST": "assert nearest_pairs([oak, ash, elm, lime, birch], winding_river) == [(oak, elm), (elm, lime), (lime, ash)]",
    }
    text = json.dumps(row)
    for word, means in said.items():
        text = text.replace(f'"{word}"', json.dumps(means))
    content = (f"[{text}]" if name.endswith(".json") else text + "\n").encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    texts = [f"# {means}\n" for word, means in said.items() if f'"{word}"' in json.dumps(row)]
    texts += ["x = 1\n"]
    documents = [RawDocument(t, None, str(i), len(t), str(i)) for i, t in enumerate(texts)]
    found = in_any_order(steps_of(corpus(benchmarks=[], test_sets=[f"b={tmp_path / name}"])), documents)
    assert [getattr(d, "reason", None) for d in found] == [Reason.CONTAMINATED] * (len(texts) - 1) + [None]


def test_a_users_test_set_is_kept_out_by_the_rules_of_benchmarks(tmp_path):
    from grip_assets.sources.documents import Reason
    from grip_assets.sources.steps import in_any_order, steps_of

    text = "Write a function that returns the largest common prefix of two lists of words given in any order at all"
    code = "def common(first, second):\n    return [one for one, other in zip(first, second) if one == other and len(one) > longest]\n"
    put(
        tmp_path / "mine.jsonl",
        [{"task_id": 1, "prompt": text, "solution": code}, {"prompt": "short", "solution": "x"}],
    )
    settings = corpus(benchmarks=[], test_sets=[f"mine={tmp_path / 'mine.jsonl'}"])
    documents = [
        RawDocument(t, None, name, len(t), name)
        for name, t in (("a", f"# {text}\n"), ("b", f"x = 1\n{code}"), ("c", "x = 1\n"), ("d", text[: len(text) // 2]))
    ]
    found = in_any_order(steps_of(settings), documents)
    assert [getattr(d, "reason", None) for d in found] == [Reason.CONTAMINATED, Reason.CONTAMINATED, None, None]
    assert found[0].detail == "mine: mine.jsonl:1, exact"
    assert "test_sets" not in hashed_values(Corpus())
    for wrong, said in ((["x"], "write NAME=PATH"), (["humaneval=/x"], "the name of a benchmark")):
        with pytest.raises(UsageMistake, match=said):
            validate("corpus", {"test_sets": wrong})
    put(tmp_path / "empty.jsonl", [{"n": 1}])
    with pytest.raises(GripError, match="no text could be read there"):
        steps_of(corpus(benchmarks=[], test_sets=[f"e={tmp_path / 'empty.jsonl'}"]))
