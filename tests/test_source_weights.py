"""Weights of sources: a source with weight 2 has about twice its share, and without weights nothing changes."""

import numpy as np
import polars as pl
import pytest

from grip_assets.engine.stage import Settings
from grip_assets.errors import GripError
from grip_assets.settings import GROUPS, hashed_values, validate
from grip_assets.stages import STAGES
from grip_assets.stages.curation import source_weights
from grip_assets.stages.curation.subset import subset_under

N = 4000


def source(name: str, **more) -> dict:
    return {"name": name, "path": f"/pools/{name}", **more}


def settings_of(*sources: dict, **more) -> Settings:
    values = {"corpus": {"sources": list(sources)}, "near_duplicates": {"threshold": 0}, **more}
    return {group: validate(group, values.get(group, {})) for group in GROUPS}


def documents_of(cluster_N: np.ndarray, pool_N: np.ndarray) -> pl.DataFrame:
    """Documents of 10 tokens, in the order of clusters."""
    order = np.argsort(cluster_N, kind="stable")
    return pl.DataFrame(
        {
            "doc_id": [f"{i:032x}" for i in range(len(cluster_N))],
            "cluster_id": pl.Series(cluster_N[order], dtype=pl.Int32),
            "n_tokens": 10,
            "density": 1.0,
            "pool": pool_N[order],
            "role": "select",
        }
    )


def share_of(name: str, documents: pl.DataFrame, settings: Settings, tmp_path) -> float:
    """The source's share of the tokens of the subset."""
    documents.write_parquet(tmp_path / "clusters.parquet")
    sizes = documents.group_by("cluster_id").agg(n_docs=pl.len().cast(pl.Int64), n_tokens=pl.sum("n_tokens"))
    ids = sizes["cluster_id"].unique().sort()
    measured = {
        "sigma_k": sizes.with_columns(sigma=pl.lit(0.5)).sort("cluster_id"),
        "cluster_quality": STAGES["quality_scores"].table("cluster_quality").empty(),
        "adaptation_deltas": STAGES["adaptation_deltas"].table("adaptation_deltas").empty(),
        "centroids": pl.DataFrame({"cluster_id": ids, "value": pl.Series([None] * len(ids), dtype=pl.String)}),
        **source_weights.of_clusters(str(tmp_path / "clusters.parquet"), settings),
    }
    found = subset_under(settings, source_weights.weighted(documents, settings), measured)
    assert abs((found.repeats_N * 10).sum() - found.budgets["total"][0]) <= 10, "the budget is met"
    taken = documents.with_columns(repeats=pl.Series(found.repeats_N))
    return float(taken.filter(pl.col("pool") == name)["repeats"].sum() / taken["repeats"].sum())


PROPORTIONAL = {"budget": {"base": "proportional", "replay": "none", "total": 0.1}}


@pytest.mark.parametrize("mixed", [False, True], ids=["a cluster for each source", "sources mixed in each cluster"])
@pytest.mark.parametrize("rule", ["draw", "random"])
def test_a_source_with_weight_3_has_three_times_the_chance_of_one_with_weight_1(tmp_path, mixed, rule):
    rng = np.random.default_rng(0)
    pool_N = np.where(np.arange(N) % 4 == 0, "web", "code")  # a quarter is web
    cluster_N = rng.integers(0, 5, N) if mixed else (pool_N == "web").astype(int)
    documents = documents_of(cluster_N, pool_N)
    more = PROPORTIONAL | {"selection": {"rule": rule, "weight": "uniform"} if rule == "draw" else {"rule": rule}}
    plain = share_of("web", documents, settings_of(source("web"), source("code"), **more), tmp_path)
    found = share_of("web", documents, settings_of(source("web", weight=3), source("code"), **more), tmp_path)
    assert plain == pytest.approx(0.25, abs=0.04)
    # 3 * 1 / (3 * 1 + 3): the shares 1 : 3 of the pool, times the weights 3 : 1
    assert found == pytest.approx(0.5, abs=0.001 if not mixed and rule == "draw" else 0.05)


def test_only_the_ratio_of_weights_matters_and_a_source_that_is_used_up_leaves_its_rest_to_others(tmp_path):
    pool_N = np.where(np.arange(N) % 4 == 0, "web", "code")
    documents = documents_of((pool_N == "web").astype(int), pool_N)
    one, same = (
        share_of(
            "web", documents, settings_of(source("web", weight=w), source("code", weight=v), **PROPORTIONAL), tmp_path
        )
        for w, v in ((2, 1), (10, 5))
    )
    assert one == same
    most = settings_of(source("web", weight=1e6), source("code"), budget=PROPORTIONAL["budget"] | {"total": 0.5})
    assert share_of("web", documents, most, tmp_path) == pytest.approx(0.5), (
        "all of web, which is a quarter of the pool"
    )


def test_without_weights_every_recipe_is_what_it_was(tmp_path):
    off, on = settings_of(source("a"), source("b", weight=1)), settings_of(source("a"), source("b", weight=2))
    assert all("weight" not in value for value in hashed_values(off["corpus"])["sources"])
    assert source_weights.facts(off) == {} and source_weights.facts(on) == {"source_weights": {"a": 1.0, "b": 2.0}}
    inputs = dict.fromkeys(STAGES, "v")
    for name in ("embeddings", "partition", "clusters", "sigma_k", "probe_set"):
        stage = STAGES[name]
        if name not in ("embeddings", "partition"):  # whose models are not here
            assert stage.recipe(off, inputs, tmp_path) == stage.recipe(on, inputs, tmp_path), "no weight is measured"
    for name in ("budgets", "subset"):
        assert STAGES[name].recipe(off, inputs, tmp_path) != STAGES[name].recipe(on, inputs, tmp_path)


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ([source("a", weight=2, role="keep"), source("b")], "has a weight and the role keep"),
        ([source("a", weight=0)], "greater than 0"),
        ([source("a", weight=float("inf"))], "finite"),
        ([source("a", cap=10)], "Give it a weight"),
    ],
)
def test_a_weight_that_means_nothing_is_refused(sources, said):
    with pytest.raises(GripError, match=said):
        validate("corpus", {"sources": sources})
