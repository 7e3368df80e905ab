"""What the stage subset says of every document and every cluster, on planted pools with extreme lengths."""

import dataclasses

import numpy as np
import polars as pl
import pytest

from grip_assets.bench.chain import MEASURED, Synthetic
from grip_assets.method.selection.base import CLUSTERS, POOL, Selected
from grip_assets.method.selection.draw import Drawn
from grip_assets.report.terminal.explain import why
from grip_assets.settings import Budget, Clustering, Selection
from grip_assets.stages.curation import subset
from grip_assets.store.query import query

N = 400
TABLES = ("subset", "selection_weights", "selection_thresholds", "diversity")
CASES = {
    "tokens": ({"total": 0.2}, {}),
    "tokens, a small budget": ({"total": 3000}, {}),
    "copies": ({"total": 0.9, "overflow": "repeat", "max_repeats": 3}, {}),
    "error": ({"total": 0.05, "overflow": "error"}, {}),
    "documents": ({"total": 0.3, "unit": "documents"}, {}),
    "left out": ({"total": 0.2}, {"max_tokens": 2000}),
    "left out, a small budget": ({"total": 9000}, {"max_tokens": 2000}),
    "left out, no weights": ({"total": 9000}, {"weight": "uniform", "max_tokens": 2000}),
    "left out, a share": ({"total": 9000}, {"max_share": 0.1}),
    "documents, left out": ({"total": 0.3, "unit": "documents"}, {"max_tokens": 500}),
}

ROLE = {"selection_weights": {"role": "VARCHAR"}}  # which only pools of several sources have


def lengths() -> np.ndarray:
    """Lognormal, two documents without tokens, and three with more than all others together."""
    found = np.random.default_rng(1).lognormal(6, 1.8, N).astype(np.int64) + 1
    found[[5, 6]] = 0
    found[[10, 200, 390]] = found.sum() * np.array([1, 2, 8])
    return found


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A planted pool up to its budgets."""
    pool = Synthetic(tmp_path_factory.mktemp("pool"), N, lengths_N=lengths())
    pool.settings["clustering"] = Clustering(k=8, min_cluster_docs=10, iterations=5, seeds=1)
    for stage in MEASURED[:-3]:
        pool.run(stage)
    return pool


def drawn(pool: Synthetic, budget: dict, selection: dict) -> dict[str, pl.DataFrame]:
    """All tables of the pool under these settings; drawn once."""
    key = repr((pool.store.root, budget, selection))
    if key not in DRAWN:
        DRAWN[key] = _drawn(pool, budget, selection)
    return DRAWN[key]


DRAWN: dict[str, dict[str, pl.DataFrame]] = {}


def _drawn(pool: Synthetic, budget: dict, selection: dict) -> dict[str, pl.DataFrame]:
    pool.settings |= {"budget": Budget(**budget), "selection": Selection(**selection)}
    for stage in MEASURED[-3:]:
        pool.run(stage)
    owners = dict.fromkeys(TABLES, "subset") | {name: name for name in ("corpus", "clusters", "budgets")}
    owners |= {"centroids": "clusters"}
    files = {table: pool.store.parquet(stage, pool.versions[stage], table) for table, stage in owners.items()}
    tables = {table: pl.read_parquet(file) for table, file in files.items()}
    tables["corpus"] = tables["corpus"].with_columns(n_bytes=pl.lit(0), source=pl.col("doc_id"))
    judged = {name: pl.String for name in ("doc_id", "judge", "status", "reason", "parts")} | {"score": pl.Float64}
    return tables | {"quality_scores": pl.DataFrame(schema=judged)}


@pytest.mark.parametrize("case", CASES)
def test_explain_says_of_every_document_what_the_tables_say(measured, case):
    tables = drawn(measured, *CASES[case])
    assert query("checks/subset__within_budgets", tables, ROLE).is_empty()
    clusters = {row["cluster_id"]: row for row in tables["selection_thresholds"].to_dicts()}
    unit, said = tables["budgets"]["unit"][0], set()
    explained = {row["doc_id"]: row for row in query("commands/explain", tables, doc=None).to_dicts()}
    assert len(explained) == N
    not_taken = {
        cluster: [
            row["n_tokens"] for row in tables["selection_weights"].filter(cluster_id=cluster, repeats=0).to_dicts()
        ]
        for cluster in clusters
    }
    for row in tables["selection_weights"].to_dicts():
        found = explained[row["doc_id"]]
        cluster, reason = clusters[row["cluster_id"]], why(found)
        budget = max(cluster["allocated"], cluster["granted"])
        size = row["n_tokens"] if unit == "tokens" else 1
        too_long = cluster["max_tokens"] is not None and row["n_tokens"] > cluster["max_tokens"]
        said.add(reason.split(":")[0])
        assert ("was left out of the draw" in reason) == too_long
        assert ("was passed over" in reason) == (not too_long and 0 < budget < size)
        assert ("given no budget" in reason) == (not too_long and budget == 0)
        if "below the threshold" in reason:
            assert row["repeats"] == 0 and row["key"] < cluster["threshold"]
        elif "at or above the threshold" in reason:
            assert row["repeats"] > 0 and row["key"] >= cluster["threshold"]
        elif "all of its documents are taken" in reason:
            assert row["repeats"] > 0
            others = not_taken[row["cluster_id"]]
            assert not any(n <= min(budget, cluster["max_tokens"] or budget) for n in others) or (
                unit == "documents" and all(n > cluster["max_tokens"] for n in others)
            )
        else:
            assert row["repeats"] == 0 and any(
                words in reason for words in ("left out", "passed over", "given no budget")
            )
    assert len(said) > 1
    for cluster in clusters.values():
        here = tables["selection_weights"].filter(pl.col("cluster_id") == cluster["cluster_id"])
        longer = here.filter(pl.col("n_tokens") > (cluster["max_tokens"] or np.inf))
        assert (cluster["left_out"], cluster["left_out_tokens"]) == (len(longer), longer["n_tokens"].sum())


def test_no_document_is_more_than_its_share_of_the_budget(measured):
    tables = drawn(measured, {"total": 9000}, {"max_share": 0.1})
    subset_, thresholds = tables["subset"], tables["selection_thresholds"]
    assert thresholds["max_tokens"].unique().to_list() == [900]
    assert 0 < subset_["n_tokens"].max() <= 900 < drawn(measured, {"total": 9000}, {})["subset"]["n_tokens"].max()
    both = drawn(measured, {"total": 9000}, {"max_share": 0.1, "max_tokens": 500})
    assert both["selection_thresholds"]["max_tokens"].unique().to_list() == [500]
    counted = drawn(measured, {"total": 0.3, "unit": "documents"}, {"max_share": 0.1})
    assert counted["selection_thresholds"]["max_tokens"].null_count() == 8, "a share of documents limits nothing"


def test_where_no_document_fits_the_subset_is_short_and_says_so(measured):
    tables = drawn(measured, {"total": 0.14}, {})
    total = tables["selection_thresholds"].sum().to_dicts()[0]
    assert total["granted"] < total["allocated"] and abs(total["drawn"] - total["granted"]) < 1
    said = subset._short(tables["selection_thresholds"], tables["budgets"])
    assert f"the subset has {total['drawn']:,} tokens of a budget of {total['allocated']:,}" in said
    assert f"{total['passed_over']:,} documents of {total['passed_over_tokens']:,} tokens together are longer" in said
    assert not query("checks/subset__budget_met", tables).is_empty()
    metrics = measured.store.manifest("subset", measured.versions["subset"])["metrics"]
    assert metrics["tokens_short"] == total["allocated"] - total["drawn"] > 0
    assert metrics["documents_passed_over"] == total["passed_over"] > 0


def test_the_check_sees_a_cluster_that_is_empty_and_one_that_inherits(measured):
    tables = drawn(measured, {"total": 0.02}, {})
    assert query("checks/subset__within_budgets", tables, ROLE).is_empty()
    weights, thresholds = tables["selection_weights"], tables["selection_thresholds"]
    emptied = thresholds.filter(pl.col("drawn") > 0)["cluster_id"][0]
    here = pl.col("cluster_id") == emptied
    wrong = weights.with_columns(repeats=pl.when(here).then(0).otherwise("repeats"))
    assert len(query("checks/subset__within_budgets", tables | {"selection_weights": wrong}, ROLE)) > 0
    said = thresholds.with_columns(drawn=pl.when(here).then(0).otherwise("drawn"))
    found = query(
        "checks/subset__within_budgets", tables | {"selection_weights": wrong, "selection_thresholds": said}, ROLE
    )
    assert emptied in found["cluster_id"].to_list()


def test_documents_of_the_background_are_in_no_budget_and_move_no_sum_to_another_cluster():
    """Three clusters; the second has the background only. The table of budgets does not count the background."""
    documents = pl.DataFrame(
        {
            "cluster_id": [0, 0, 0, 1, 1, 2, 2],
            "role": ["keep", "select", "select", "keep", "keep", "keep", "select"],
            "n_tokens": [100, 10, 90, 200, 300, 400, 50],
            "repeats": [1, 1, 0, 1, 1, 1, 1],
        }
    )
    budgets = pl.DataFrame(
        {"cluster_id": [0, 1, 2], "n_docs": [2, 0, 1], "unit": ["tokens"] * 3, "allocated": [60] * 3}
    )
    assert subset.sizes_of(documents).tolist() == [3, 2, 2]
    zero_K, false_K = np.zeros(3, np.int64), np.zeros(3, bool)
    drawn = Drawn(np.zeros(7, np.int64), zero_K, zero_K, zero_K, zero_K, false_K, np.full(3, np.nan))
    by_cluster = Selected(np.zeros(7), drawn, np.full(3, 60), CLUSTERS, np.ones(7), np.ones(7))
    thresholds = subset.thresholds_of(by_cluster, budgets, documents, 80)
    assert thresholds["left_out"].to_list() == [1, 0, 0] and thresholds["left_out_tokens"].to_list() == [90, 0, 0]
    whole = dataclasses.replace(by_cluster, budgets=POOL)
    assert subset._followed(whole, budgets, documents)["allocated"].to_list() == [10, 0, 50]


def test_the_reports_draw_as_the_stage_does(measured):
    for budget, selection in CASES.values():
        tables = drawn(measured, budget, selection)
        again = subset.drawn_under(tables["budgets"], tables["selection_weights"], Selection(**selection))
        assert (again == tables["selection_weights"]["repeats"].to_numpy()).all()


def test_the_end_of_a_name_finds_the_document_before_likeness_does():
    names = pl.DataFrame({"source": ["a/b/graphiql.min.js", "graphiql.min.jsx", "x/util.py", "y/util.py", "notes.md"]})
    tables = {"corpus": names, "rejected": names.clear(), "held_out": names.clear()}

    def nearest(doc: str) -> list[tuple[str, bool]]:
        return query("commands/explain_nearest", tables, doc=doc).rows()

    assert nearest("graphiql.min.js") == [("a/b/graphiql.min.js", True)]
    assert nearest("./b/graphiql.min.js") == [("a/b/graphiql.min.js", True)]
    assert nearest("util.py") == [("x/util.py", True), ("y/util.py", True)]
    assert [ends for _, ends in nearest("utils.py")] == [False] * 3
