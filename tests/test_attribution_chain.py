"""Curations by GRASP, from the pool to the subset: token counts, and models of a few thousand weights."""

import polars as pl
import pytest

from grip_assets.orchestration.event_log import versions_in_force
from grip_assets.settings.changes import merge, read_profile
from grip_assets.stages import CURATED, STAGES
from grip_assets.store.artifacts import ArtifactStore

ATTRIBUTION = {name for name, stage in STAGES.items() if stage.group == "attribution"}
MODELS = {"reference_model", "counterfactuals"}
TINY = {
    "attribution": {
        "items": 40, "passage": 300, "dim": 32, "tokens": 2048, "vocabulary": 320, "hidden": 16, "layers": 1, "heads": 1,
        "context": 16, "batch_tokens": 128, "dtype": "float32", "structured": 8, "random": 4, "check_structured": 8,
        "check_random": 4, "repeated": 4, "trial_tokens": [2500], "candidates": ["unigram", "head"],
    },
}  # fmt: skip

pytestmark = [pytest.mark.slow, pytest.mark.run]


def curated_with(lab, profile, **changes):
    return lab.curate(**merge(read_profile(profile), TINY, changes))


def failed(lab) -> list[str]:
    store, versions = ArtifactStore(lab.data), versions_in_force(lab.instance, STAGES)
    blocking = {(stage.name, check.name) for stage in CURATED.values() for check in stage.checks if check.blocking}
    found = [
        (name, c["name"]) for name in CURATED for c in store.manifest(name, versions[name])["checks"] if c["violations"]
    ]
    return [name for name in found if name in blocking]


def test_token_counts_select_greedily_without_a_model_and_each_setting_touches_what_reads_it(lab):
    computed = curated_with(lab, "grasp_unigram")
    assert ATTRIBUTION - MODELS | {"budgets", "subset"} <= computed and not computed & MODELS and not failed(lab)
    taken = lab.sql("SELECT * FROM subset ORDER BY rank")
    assert taken["rank"].to_list() == list(range(1, len(taken) + 1)) and taken["repeats"].max() == 1
    assert (taken["alignment"] - taken["covered"] - taken["gain"]).min() > -1e-9 and taken["covered"][0] == 0
    assert lab.sql("SELECT rank FROM selection_weights WHERE repeats = 0")["rank"].null_count() > 0
    assert curated_with(lab, "grasp_unigram") == set()
    assert lab.curate(selection={"rounds": 4}) & {*ATTRIBUTION, "budgets", "subset"} <= {"subset"}
    assert lab.curate(attribution={"gamma": 0.0}) & ATTRIBUTION == {"attribution"}
    assert lab.curate(attribution={"target_weights": ["humaneval=2"]}) & ATTRIBUTION == {"attribution"}
    assert "subset" in lab.curate(selection={"scope": "clusters"}) and not failed(lab)
    taken = lab.sql("SELECT s.cluster_id, sum(s.n_tokens) AS tokens FROM subset AS s GROUP BY 1")
    assert len(taken) > 1
    assert lab.curate(selection={"rule": "draw", "weight": "uniform"}) & ATTRIBUTION == set()
    assert lab.sql("SELECT count(rank) FROM subset").item() == 0, "null for other rules"


def test_trials_choose_and_check_and_budgets_by_grasp_share_them(lab):
    computed = curated_with(lab, "grasp")
    assert ATTRIBUTION | {"subset"} <= computed and not failed(lab)
    choice = lab.sql("SELECT * FROM attribution_choice")
    assert choice["chosen"].sum() == 1 and set(choice["source"]) == {"unigram", "head"} and len(choice) == 16
    names = set(lab.sql("SELECT configuration FROM attribution_fidelity")["configuration"])
    assert {"random", "length", "kernelsm", "unigram_ce", "graddot"} <= names
    assert curated_with(lab, "grasp_additive") & ATTRIBUTION == {"attribution"}
    assert lab.sql("SELECT DISTINCT gamma FROM attribution_choice")["gamma"].to_list() == [0]
    assert curated_with(lab, "grasp_budget") & ATTRIBUTION == set(), "attributed before"
    budgets = lab.sql("SELECT base, base_budget, n_tokens, total FROM budgets")
    assert set(budgets["base"]) == {"grasp"} and budgets["base_budget"].sum() == pytest.approx(budgets["total"][0])
    assert (budgets["base_budget"] <= budgets["n_tokens"] * 1.0001).all() and not failed(lab)


def test_grip_explain_says_when_a_documents_turn_came_and_what_was_covered(lab):
    from grip_assets.report.terminal.explain import as_data, explain

    curated_with(lab, "grasp_unigram")
    for wanted, said in (("IS NOT NULL", "greedy      rank"), ("IS NULL", "greedy      not among the")):
        doc = lab.sql(f"SELECT doc_id FROM selection_weights WHERE rank {wanted} ORDER BY doc_id LIMIT 1").item()
        text = explain(lab.data, doc)
        assert said in text and "others had covered" in text
        (row,) = as_data(lab.data, doc)
        assert row["greedy"]["taken"] == lab.sql("SELECT count(*) FROM subset").item() and row["why"]


@pytest.mark.parametrize("combine", ["sum", "maxmin"])
def test_the_cross_entropy_of_token_counts_selects_and_gives_budgets_without_a_model(lab, combine):
    asked = {"source": "cross_entropy", "combine": combine}
    computed = curated_with(lab, "grasp_unigram", attribution=asked)
    assert {"sketches", "subset"} <= computed and not computed & MODELS and not failed(lab)
    taken = lab.sql("SELECT * FROM subset ORDER BY rank")
    assert taken["covered"][0] == pytest.approx(0, abs=1e-9) and taken["alignment"][0] > 0
    assert lab.sql("SELECT prior FROM attribution_aims")["prior"][0] > 0
    assert curated_with(lab, "grasp_unigram", attribution=asked | {"gamma": 0.0}) & ATTRIBUTION == {"attribution"}
    curated_with(lab, "grasp_unigram", attribution=asked, budget={"base": "grasp"}, selection={"scope": "clusters"})
    assert set(lab.sql("SELECT base FROM budgets")["base"]) == {"grasp"} and not failed(lab)


def test_a_strategy_that_attributes_is_what_a_curation_with_its_profile_takes(new_lab):
    lab = new_lab(corpus={"held_out": 0.1, "project_depth": 2}, **TINY)
    before = versions_in_force(lab.instance, CURATED)
    names = ["random", "grasp_unigram"]
    lab.operations.evaluate(lab.instance, {"evaluation": {"strategies": names, "seeds": 2}}, ["strategies"])
    assert versions_in_force(lab.instance, CURATED) == before, "nothing of it comes into force"
    found = lab.sql("SELECT * FROM strategies").filter(strategy="grasp_unigram")
    assert found.filter(seed=0).drop("seed").equals(found.filter(seed=1).drop("seed")), "no luck in it"
    lab.curate(**read_profile("grasp_unigram"))
    taken = lab.sql("SELECT doc_id FROM subset")["doc_id"]
    assert set(taken) == set(found.filter(pl.col("seed") == 0)["doc_id"])
