"""The asset adaptation_deltas on the small pool: what it writes, what it needs no model for, what it does not do again."""

import math

import polars as pl
import pytest

from grip_assets.method.agreement import rank_correlation, spearman_brown


@pytest.mark.run
def test_the_probe_says_how_sure_it_is_and_needs_no_model_for_a_unigram(lab, monkeypatch):
    deltas, curves = lab.sql("SELECT * FROM adaptation_deltas"), lab.sql("SELECT * FROM loss_curves")
    assert curves.filter(step=0)["loss"].to_list() == [math.log(400)] * len(deltas), "at W = 0 the loss is ln V"
    assert deltas["delta"].to_list() == pytest.approx((deltas["loss_initial"] - deltas["loss_final"]).to_list())
    agreement = lab.sql("SELECT * FROM probe_agreement").row(0, named=True)
    both = deltas.drop_nulls(["first_half_delta", "second_half_delta"])
    halves = rank_correlation(both["first_half_delta"], both["second_half_delta"])
    assert agreement["n_clusters"] == len(both) >= 3
    assert agreement["draw_to_draw"] == pytest.approx(spearman_brown(halves))
    assert agreement["with_unigram"] == pytest.approx(rank_correlation(deltas["delta"], deltas["unigram_delta"]))
    read = lab.sql("SELECT cluster_id, count(*) AS n FROM adaptation_documents GROUP BY ALL")
    sizes = lab.sql("SELECT cluster_id, n_docs FROM sigma_k")
    assert (read.join(sizes, on="cluster_id").select(pl.col("n") == pl.min_horizontal("n_docs", 40))).to_series().all()
    judged = lab.sql("SELECT doc_id FROM probe_set")
    assert len(judged) < read["n"].sum() and len(lab.sql("SELECT * FROM quality_scores")) == len(judged)

    stages = ("adaptation_deltas", "budgets")
    assert lab.make(*stages, adaptation={"epochs": 7, "init_std": 0.5}) == set(), "the closed form has no steps"

    monkeypatch.setattr("grip_assets.models.proxy.load_proxy", None)
    lab.make(*stages, adaptation={"proxy": "unigram"})
    unigram = lab.sql("SELECT * FROM adaptation_deltas")
    assert unigram["delta"].to_list() == pytest.approx(unigram["unigram_delta"].to_list())
    assert unigram["delta"].to_list() == pytest.approx(deltas["unigram_delta"].to_list()), "of the same tokens"
    assert lab.sql("SELECT with_unigram FROM probe_agreement").item() == pytest.approx(1)
