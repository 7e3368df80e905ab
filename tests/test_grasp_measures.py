"""What tools/grasp.py measures for docs/grasp.md, from given tables. Nothing is trained here."""

import json

import polars as pl
import pytest

from grip_assets.errors import GripError
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.catalog import rebuild
from tools import grasp
from tools.evidence import MEASURED, filled

SCORES = {
    "configuration": ["unigram/none/1", "full/none/0.3", "full/unit/0.3", "dsir"],
    "what": ["chosen", "configuration", "configuration", "baseline"],
}


def losses(gain: float) -> pl.DataFrame:
    """Losses that differ by far more between seeds than between selections. Random documents are drawn anew each time."""
    return pl.DataFrame(
        [
            {"strategy": name, "aim": aim, "start": "continued", "seed": seed, "target": target}
            | {"bits_per_byte": 2 + seed - by * (target == aim), "n_docs": 10, "n_tokens": 1000}
            for name, aim, by in (("random", None, 0.0), ("greedy, chosen", "project", gain), ("GRIP", None, 0.0))
            for seed in range(3)
            for target in ("humaneval", "project", "elsewhere")
        ]
    )


def test_a_selection_is_compared_with_random_documents_seed_by_seed_on_every_target():
    found = {(row["strategy"], row["target"]): row for row in grasp.compared(losses(0.1)).iter_rows(named=True)}
    assert len(found) == 9 and {row["seeds"] for row in found.values()} == {3}
    aimed = found["greedy, chosen", "project"]
    assert aimed["difference"] == pytest.approx(-0.1) and aimed["difference_high"] < 0
    assert found["greedy, chosen", "elsewhere"]["words"] == "the same as random"
    assert found["random", "project"]["words"] == ""


def held_out(root, projects: list[str]) -> ArtifactStore:
    """A data folder with documents of these projects held out; each is 100 bytes longer than the one before."""
    texts = [f"{name} {i} " + "x" * (100 * i) for i, name in enumerate(projects)]
    frame = pl.DataFrame({"doc_id": [f"{i:02}" for i in range(len(texts))], "project": projects, "text": texts})
    store = ArtifactStore(root)
    folder = store.root / "held_out.parquet"
    frame.with_columns(n_bytes=pl.col("text").str.len_bytes().cast(pl.Int64)).write_parquet(folder)
    return store


@pytest.fixture
def connected(monkeypatch):
    """``connect`` on a view of a file, in place of a catalog."""
    import contextlib

    import duckdb

    @contextlib.contextmanager
    def connect(root):
        with duckdb.connect() as connection:
            if (root / "held_out.parquet").exists():
                connection.execute(f"CREATE VIEW held_out AS FROM '{root / 'held_out.parquet'}'")
            yield connection

    monkeypatch.setattr(grasp, "connect", connect)


def test_the_largest_folder_of_held_out_projects_is_a_target_and_the_others_are_another(tmp_path, connected):
    held_out(tmp_path, ["a/1", "b/1", "b/2", "c/1"])
    found = {name: path.read_text().splitlines() for name, path in grasp.write_targets(tmp_path).items()}
    assert {json.loads(line)["text"][0] for line in found["project"]} == {"b"}, "312 bytes, and c has 306"
    assert {json.loads(line)["text"][0] for line in found["elsewhere"]} == {"a", "c"}


def test_a_pool_of_one_folder_is_split_by_projects(tmp_path, connected):
    held_out(tmp_path, ["a/1", "a/3", "a/2", "a/3"])
    found = {name: path.read_text().splitlines() for name, path in grasp.write_targets(tmp_path).items()}
    assert {json.loads(line)["text"][:3] for line in found["project"]} == {"a/3"}
    assert {json.loads(line)["text"][:3] for line in found["elsewhere"]} == {"a/1", "a/2"}


@pytest.mark.parametrize("projects", [None, ["a/1", "a/1"]])
def test_without_two_held_out_projects_it_says_how_to_get_them(tmp_path, connected, projects):
    if projects:
        held_out(tmp_path, projects)
    with pytest.raises(GripError, match=r"fewer than two held-out projects.*held_out=0.05"):
        grasp.write_targets(tmp_path)


def test_strategies_of_a_target_aim_at_nothing_else_and_differ_from_each_other(tmp_path):
    targets = {name: tmp_path / name for name in ("project", "elsewhere")}
    every = [grasp.by_choice(grasp.QUICK, targets, "project")]
    found = {"source": "head", "normalize": "none"}
    every += grasp.aimed(grasp.QUICK, targets, {"project": tmp_path / "half"}, "project", found)
    changes = [json.dumps(strategy.changes, sort_keys=True, default=str) for strategy in every]
    assert len(set(changes)) == len(every)
    for strategy in every:
        assert strategy.aim == "project" and strategy.changes["budget"]["total"] == grasp.QUICK.total
        if strategy.name != grasp.DSIR:
            assert strategy.changes["attribution"]["target_weights"] == ["humaneval=0", "elsewhere=0"]
    by_name = {strategy.name: strategy.changes for strategy in every}
    free = by_name["greedy, chosen"]["attribution"]
    assert (free["normalize"], free["gamma"]) == ("auto", None), "not what the run before has left in force"
    assert by_name[grasp.DSIR]["evaluation"]["target"].endswith("half")
    assert (
        by_name["additive, chosen"]["attribution"] | {"gamma": 0.0, "source": "head"}
        == by_name["additive, chosen"]["attribution"]
    )


def test_tables_of_another_kind_of_start_stay_when_one_is_measured_again(tmp_path, monkeypatch):
    for start, value in (("scratch", 1.0), ("continued", 2.0), ("continued", 3.0)):
        table = pl.DataFrame({"configuration": ["x"], "mean": [value]})
        monkeypatch.setattr(grasp, "tables_in_force", lambda root, table=table: {"attribution_choice": table})
        grasp.keep(tmp_path, start)
    kept = pl.read_parquet(tmp_path / MEASURED / "grasp_choice.parquet")
    assert dict(kept.select("start", "mean").iter_rows()) == {"scratch": 1.0, "continued": 3.0}


def test_every_table_of_the_page_is_filled_from_what_was_measured(tmp_path):
    rebuild(ArtifactStore(tmp_path), {}, {})
    fidelity = pl.DataFrame(SCORES).join(pl.DataFrame({"target": ["mean of targets", "project"]}), how="cross")
    fidelity = fidelity.join(pl.DataFrame({"kind": ["random", "structured"]}), how="cross").with_columns(
        size=100, spearman=0.5, low=0.3, high=0.7, ceiling=0.9, over_additive=0.1, over_additive_low=-0.1,
        over_additive_high=0.2, seconds=1.0, flops=1e9, bytes=1000, start=pl.lit("continued"),
    )  # fmt: skip
    choice = pl.DataFrame({"configuration": ["unigram/none/1"], "mean": [0.5], "gain": [0.1], "chosen": [True]})
    choice = choice.with_columns(lower_bound=-0.1, upper_bound=0.3, words=pl.lit("the default"), start=pl.lit("x"))
    sources = pl.DataFrame({"source": ["full"], "features": [9], "sketch": ["countsketch"], "seconds": [2.0]})
    tables = {
        "grasp_fidelity": fidelity,
        "grasp_choice": choice,
        "grasp_sketch_sources": sources.with_columns(flops=1e9, bytes=1000),
        "grasp_selection": grasp.compared(losses(0.1)),
    }
    for name, table in tables.items():
        grasp._write(tmp_path, name, table)
    names = ["grasp_fidelity", "grasp_targets", "grasp_choice", "grasp_costs", "grasp_selection"]
    page = "".join(f"<!-- p:{name} -->\n<!-- /p:{name} -->\n" for name in names)
    text, made = filled(page, "p", tmp_path, tmp_path)
    assert made == names
    assert "| unigram/none/1 | chosen | 0.50 (0.30 to 0.70) |" in text and "full/unit" not in text
    assert "-0.100 (-0.100 to -0.100)" in text and "+0.000 (+0.000 to +0.000)" in text


def test_two_strategies_with_the_same_documents_are_two_rows_and_no_training_counts_twice(tmp_path, monkeypatch):
    """The additive score of the chosen source may be that of the token counts."""
    rows = pl.DataFrame({"doc_id": ["a"], "repeats": [1], "n_tokens": [9], "key": ["k"]})
    kept = rows.select(grasp.SELECTED.names()).cast(grasp.SELECTED)
    grasp._write(tmp_path, "grasp_selected", kept)
    monkeypatch.setattr(grasp, "_version", lambda root, stage: "v")
    monkeypatch.setattr(grasp, "digest", lambda values: "k")
    found = [grasp.select(tmp_path, grasp.Strategy(name, "project", {})) for name in ("one", "other")]
    assert [part["strategy"].to_list() for part in found] == [["one"], ["other"]]
    assert all(part["aim"].to_list() == ["project"] for part in found)
