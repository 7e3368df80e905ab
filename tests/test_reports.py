"""What reports on the subset says what a run would show, and touches nothing."""

import json
import shutil

import dagster as dg
import numpy as np
import polars as pl
import pytest

from grip_assets.engine.inspect import inspect
from grip_assets.engine.make import Chain
from grip_assets.method.agreement import overlap, overlap_by_chance
from grip_assets.method.geometry import rao_entropy
from grip_assets.method.projection import tsne
from grip_assets.orchestration.event_log import settings_in_force, versions_in_force
from grip_assets.settings import flat, validate
from grip_assets.stages import STAGES
from grip_assets.stages.curation.budgets import MEASURED
from grip_assets.stages.curation.subset import subset_under
from grip_assets.stages.reports import corpus_map
from grip_assets.store.artifacts import ArtifactStore

pytestmark = pytest.mark.run


def table(lab, name: str, order: str = "doc_id") -> pl.DataFrame:
    return lab.sql(f"SELECT * FROM {name} ORDER BY {order}")


# diversity


def test_diversity_is_the_entropy_of_the_pool_the_subset_and_a_random_draw(lab):
    rows = table(lab, "diversity", "cluster_id NULLS FIRST")
    documents = lab.sql(
        "SELECT * FROM selection_weights JOIN embeddings USING (doc_id) JOIN budgets USING (cluster_id) ORDER BY doc_id"
    )
    for cluster, n_docs, n_selected, corpus, subset, random in rows.rows():
        here = documents if cluster is None else documents.filter(cluster_id=cluster)
        x, repeats = np.stack(here["embedding"].to_numpy()), here["repeats"].to_numpy()
        assert (n_docs, n_selected) == (len(here), (repeats > 0).sum())
        assert corpus == pytest.approx(rao_entropy(x, np.ones(len(x))), abs=1e-6)
        assert (subset is None) == (n_selected == 0)
        if subset is not None:
            assert subset == pytest.approx(rao_entropy(x, repeats), abs=1e-6)
        assert random is None or 0 <= random <= 2
    assert rows["cluster_id"].null_count() == 1 and rows["random"][0] > 0


def test_a_random_draw_of_everything_has_the_entropy_of_the_corpus(lab):
    lab.make("budgets", "subset", budget={"total": 120, "unit": "documents"})
    rows = table(lab, "diversity", "cluster_id NULLS FIRST")
    assert rows["random"].to_numpy() == pytest.approx(rows["corpus"].to_numpy(), abs=1e-12)
    assert rows["subset"].to_numpy() == pytest.approx(rows["corpus"].to_numpy(), abs=1e-12)


# corpus_map


def planted(n: int, k: int, d: int = 32) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(k), n // k)
    x = np.eye(k, d)[labels] + 0.15 * rng.normal(size=(len(labels), d))
    return x / np.linalg.norm(x, axis=1, keepdims=True), labels


def test_planted_clusters_are_apart_on_the_map():
    from sklearn.metrics import silhouette_score
    from sklearn.neighbors import NearestNeighbors

    x, labels = planted(300, 6)
    points = tsne(x)
    nearest = NearestNeighbors(n_neighbors=6).fit(points).kneighbors(points, return_distance=False)[:, 1:]
    assert (labels[nearest] == labels[:, None]).mean() > 0.98
    assert silhouette_score(points, labels) > 0.5
    assert (tsne(x) == points).all(), "the same bits again"


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_few_documents_have_a_map_too(n):
    points = tsne(planted(60, 6)[0][:n])
    assert points.shape == (n, 2) and points.dtype == np.float32 and np.isfinite(points).all()


def test_copies_of_one_document_are_one_point():
    assert (tsne(np.repeat(planted(6, 6)[0][:1], 40, axis=0)) == 0).all()


def test_the_map_holds_a_sample_and_its_vectors_only(lab, monkeypatch):
    before = table(lab, "corpus_map")
    assert before.columns == ["doc_id", "cluster_id", "x", "y"] and len(before) == 120
    seen = []
    monkeypatch.setattr(corpus_map, "DOCUMENTS", 50)
    monkeypatch.setattr(corpus_map, "tsne", lambda x: seen.append(x.shape) or tsne(x))
    lab.make("partition", "clusters", "corpus_map", clustering={"k": 5})
    sample = table(lab, "corpus_map")
    assert seen == [(50, 32)] and len(sample) == 50
    clusters = dict(lab.sql("SELECT doc_id, cluster_id FROM clusters").rows())
    assert all(clusters[doc_id] == cluster_id for doc_id, cluster_id, _, _ in sample.rows())


# knobs


def test_nothing_turned_is_the_subset_in_force(lab):
    documents = lab.sql("SELECT * FROM selection_weights")
    measured = {name: table(lab, name, "ALL") for name in MEASURED}
    same = subset_under(settings_in_force(lab.instance), documents, measured)
    assert (same.repeats_N == documents["repeats"].to_numpy()).all()
    assert same.budgets.equals(lab.sql("SELECT * FROM budgets"))


def test_every_knob_does_what_a_run_with_it_then_does(lab):
    rows = table(lab, "knobs", "knob, factor")
    assert rows.columns == list(STAGES["knobs"].schema("knobs")) and len(rows) == 8
    assert rows.filter(pl.col("overlap") < 1)["knob"].n_unique() >= 3, "the test turns something"
    as_runs_do(lab, rows)


@pytest.mark.slow
def test_knobs_count_copies(lab):
    lab.curate(budget={"total": 160, "unit": "documents", "overflow": "repeat", "max_repeats": 3})
    as_runs_do(lab, table(lab, "knobs", "knob, factor").filter(factor=2.0, knob="budget.tau"))


def as_runs_do(lab, rows: pl.DataFrame) -> None:
    before, moved = table(lab, "selection_weights"), table(lab, "knob_budgets", "knob, factor, cluster_id")
    tokens, now = before["n_tokens"].to_numpy(), before["repeats"].to_numpy()
    for row in rows.rows(named=True):
        group, _, name = row["knob"].partition(".")
        budgets, then = run_with(lab, group, name, row["value"])
        assert row["documents"] == (then > 0).sum(), row
        assert row["documents_in"] == ((then > 0) & (now == 0)).sum()
        assert row["documents_out"] == ((now > 0) & (then == 0)).sum()
        assert row["overlap"] == overlap(tokens, now, then)
        assert row["mean_tokens"] == pytest.approx((tokens * then).sum() / then.sum())
        turned = moved.filter(knob=row["knob"], factor=row["factor"])
        assert turned["allocated"].to_list() == budgets["allocated"].to_list()
    computed = lab.curate(**{group: {name: row["value"]}})
    assert "subset" not in computed and "knobs" in computed, "the run meant here is the one of `curate`"
    assert (table(lab, "selection_weights")["repeats"].to_numpy() == then).all()


def run_with(lab, group: str, name: str, value: float) -> tuple[pl.DataFrame, np.ndarray]:
    """Budgets, and copies of each document by id, as the stages make them with this setting."""
    settings = settings_in_force(lab.instance)
    settings[group] = validate(group, settings[group].model_dump() | {name: value})
    store, versions = ArtifactStore(lab.data), versions_in_force(lab.instance, STAGES)
    for stage in (STAGES["budgets"], STAGES["subset"]):
        inputs = {i: versions[i] for i in stage.inputs}
        versions[stage.name] = Chain(STAGES, store, print, "", inspect).make(stage, settings, inputs).version
    budgets = pl.read_parquet(store.parquet("budgets", versions["budgets"], "budgets"))
    weights = pl.read_parquet(store.parquet("subset", versions["subset"], "selection_weights")).sort("doc_id")
    return budgets, weights["repeats"].to_numpy()


def test_an_artifact_of_an_older_stage_is_used_without_the_tables_it_lacks(lab):
    (folder,) = (lab.data / "subset").glob("[!.]*/")
    shutil.rmtree(folder / "diversity")
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["tables"]["diversity"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    lab.change("selection", beta=0.5)
    assert "diversity" not in set(lab.sql("SHOW TABLES")["name"]) and len(table(lab, "subset"))


def test_a_knob_stays_in_its_range_and_may_have_no_effect(lab):
    changes = {"budget": {"tau": 3.0, "alpha": 0.0}, "selection": {"weight": "uniform"}}
    lab.make("budgets", "densities", "subset", "knobs", **changes)
    rows = {(r["knob"], r["factor"]): r for r in table(lab, "knobs", "knob, factor").rows(named=True)}
    assert rows["budget.tau", 2.0]["value"] == 4.0
    assert rows["budget.alpha", 2.0]["value"] == 0.0 and rows["budget.alpha", 2.0]["overlap"] == 1
    assert rows["selection.beta", 0.5]["overlap"] == 1 == rows["selection.beta", 2.0]["overlap"]
    assert rows["budget.tau", 0.5]["symbol"] == "τ"


def test_a_value_that_overflow_refuses_has_a_row_without_numbers(lab):
    fullest = lab.sql("SELECT max(allocated / capacity) AS share FROM budgets")["share"][0]
    assert fullest < 1, "no cluster is at its capacity, so shares rise with the total"
    stages = ("budgets", "subset", "knobs")
    lab.make(*stages, budget={"overflow": "error", "total": 0.25 / fullest * 0.98})
    rows = table(lab, "knobs", "knob, factor")
    refused = rows.filter(pl.col("documents").is_null())
    assert 0 < len(refused) < len(rows) and refused["overlap"].null_count() == len(refused)
    assert lab.make(*stages) == set()


def test_a_report_on_a_subset_of_other_settings_is_refused(lab):
    result = lab.materialize("knobs", raise_on_error=False, selection={"beta": 0.8})
    (error,) = [e.step_failure_data.error for e in result.all_events if e.is_step_failure]
    assert "subset was not made with those in force. Materialize subset first" in error.cause.message


# stability


@pytest.mark.slow
def test_other_seeds_are_compared_once_and_nothing_in_force_changes(lab, monkeypatch):
    assert table(lab, "stability", "seed")["varied"].to_list() == ["draw"] * 3, "what costs nothing"
    lab.change("reports", stability_seeds=3)
    before = lab.operations.status(lab.instance)
    settings = flat(settings_in_force(lab.instance))
    subset = table(lab, "subset")
    drawn = table(lab, "stability", "seed").select("overlap", "documents_in", "budget_correlation")
    assert lab.materialize("stability").success
    rows = table(lab, "stability", "varied, seed")
    assert rows.filter(varied="draw").select(drawn.columns).equals(drawn)
    assert rows["varied"].to_list() == ["clustering"] * 3 + ["draw"] * 3 + ["probe"] * 3
    assert rows["seed"].to_list() == [2, 4, 6, 1, 2, 3, 1, 2, 3], "two initialisations each"
    assert rows["overlap"].is_between(0, 1).all() and (rows["overlap"] < 1).any()
    draw = rows.filter(varied="draw")
    assert (draw["budget_correlation"] == 1).all() and (draw["quality_correlation"] > 1 - 1e-9).all()
    assert (draw["documents_in"] > 0).all() and (draw["overlap"] < rows.filter(varied="probe")["overlap"].min()).all()

    after = lab.operations.status(lab.instance)
    others = [[a for a in status if a.asset not in ("stability", "report")] for status in (before, after)]
    assert others[0] == others[1]
    assert flat(settings_in_force(lab.instance)) == settings
    assert table(lab, "subset").equals(subset) and lab.curate() == set()

    # Again, after the report alone is lost: every chain that it compares is there.
    made = {path for path in lab.data.glob("[!.]*/[!.]*/manifest.json")}
    report = (
        lab.data
        / "stability"
        / lab.instance.get_latest_materialization_event(dg.AssetKey("stability")).asset_materialization.tags[
            "dagster/data_version"
        ]
    )
    report.rename(lab.home / "lost")
    for stage in STAGES.values():
        if stage.name != "stability":
            object.__setattr__(stage, "compute", _not_again(stage))
    try:
        assert lab.materialize("stability").success
    finally:
        for stage in STAGES.values():
            object.__setattr__(stage, "compute", getattr(stage.compute, "real", stage.compute))
    assert {path for path in lab.data.glob("[!.]*/[!.]*/manifest.json")} == made
    assert table(lab, "stability", "varied, seed").equals(rows)
    computed = lab.curate(clustering={"seed": 2})
    assert "clusters" not in computed and "subset" not in computed, "what other seeds give is there, checks and all"


def _not_again(stage):
    def compute(work):
        raise AssertionError(f"{stage.name} is computed again")

    compute.real = stage.compute
    return compute


def test_overlap_counts_tokens_and_copies():
    tokens, one, other = np.array([10, 1, 5]), np.array([2, 1, 0]), np.array([1, 1, 1])
    assert overlap(tokens, one, other) == 11 / 26
    assert overlap(tokens, one, one) == 1 and overlap(tokens, 0 * one, 0 * one) == 1


@pytest.mark.parametrize("p, q", [(0.25, 0.25), (0.1, 0.6), (1.0, 0.5), (2.3, 1.4)])
def test_overlap_by_chance_is_that_of_uniform_draws(p, q):
    rng = np.random.default_rng(0)
    n = 200_000
    one, other = (np.floor(m) + (rng.uniform(size=n) < m - np.floor(m)) for m in (p, q))
    assert overlap_by_chance(p, q) == pytest.approx(overlap(np.ones(n, int), one, other), abs=0.005)
    if max(p, q) <= 1:
        assert overlap_by_chance(p, q) == pytest.approx(p * q / (p + q - p * q))
