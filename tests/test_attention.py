"""What a person is told to look at, and that what is reported as drawn was drawn."""

import dagster as dg
import pytest

from grip_assets.report import attention
from grip_assets.report.attention import Facts, Finding
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.catalog import connect

TOTALS = {
    "unit": "tokens",
    "budget": 1000,
    "tokens_selected": 1000,
    "documents_selected": 10,
    "documents": 100,
    "documents_with_windows_left_out": 0,
}


def facts(answers=None, **metrics) -> Facts:
    known = {
        "questions/totals": [TOTALS],
        "questions/share_by_cluster": [],
        "questions/share_by_language": [],
        "questions/longest": [],
        **(answers or {}),
    }
    manifests = {
        "corpus": {"metrics": {}, "checks": [], "tables": {"corpus": {"rows": 100}}},
        "clusters": {"metrics": {"clusters": 8, "clusters_before_merging": 8}, "checks": []},
        "densities": {"metrics": {}, "checks": []},
        "subset": {"metrics": {}, "checks": []},
    }
    for stage, values in metrics.items():
        manifests[stage] |= values
    return Facts(known.__getitem__, manifests)


def said(found: Facts) -> dict[str, Finding]:
    return {finding.key: finding for look in attention.LOOKS for finding in look(found)}


def test_nothing_is_said_of_a_subset_that_is_as_it_should_be():
    rows = [{"cluster_id": 0, "allocated": 1000, "drawn": 990}]
    languages = [{"language": "Go", "pool_share": 1.0, "subset_share": 1.0}]
    assert said(facts({"questions/share_by_cluster": rows, "share_by_language": languages})) == {}


def test_a_subset_below_its_budget_is_the_first_thing_said():
    found = facts({"questions/totals": [TOTALS | {"tokens_selected": 300}], "share_by_cluster": [
        {"cluster_id": 0, "allocated": 1000, "drawn": 300}]})  # fmt: skip
    assert next(iter(said(found))) == "short" and "300 of the 1,000 tokens" in said(found)["short"].text


def test_an_empty_subset_is_a_sentence():
    found = facts({"questions/totals": [TOTALS | {"tokens_selected": None, "documents_selected": 0}]})
    assert "0 of the 1,000 tokens" in said(found)["short"].text


def test_clusters_far_from_their_budget_are_named_the_farthest_first():
    rows = [{"cluster_id": c, "allocated": 100, "drawn": d} for c, d in enumerate([100, 49, 51, 150, 151, 400])]
    found = said(facts({"questions/share_by_cluster": rows}))["budgets"]
    assert found.text.startswith("3 clusters") and found.details[0] == "cluster 5: 400 of 100"


def test_a_language_that_lost_more_than_half_is_named_and_a_tiny_one_is_not():
    rows = [
        {"language": "JavaScript", "pool_share": 0.235, "subset_share": 0.0},
        {"language": "Go", "pool_share": 0.5, "subset_share": 0.26},
        {"language": "Tcl", "pool_share": 0.001, "subset_share": None},
    ]
    assert said(facts({"questions/share_by_language": rows}))["languages"].details == ("JavaScript: 23.5% → 0.0%",)


def test_merged_clusters_and_warnings_of_checks_are_said():
    found = said(
        facts(
            clusters={"metrics": {"clusters": 3, "clusters_before_merging": 32}},
            densities={"metrics": {"documents_with_a_near_copy": 20}},
            subset={"checks": [{"name": "x", "violations": 2}]},
        )
    )
    assert "Of 32 clusters, 3 are left" in found["merged"].text
    assert "hardly differs from a random draw" in found["merged"].text
    assert "20 documents (20% of the pool)" in found["copies"].text
    assert found["checks"].details == ("subset: expected: x (2 exceptions)",)


def test_names_of_files_cannot_write_on_the_terminal_or_in_markdown():
    rows = [{"source": "\x1b[2Ja<b>|[x](y).js", "cluster_id": 0, "n_tokens": 9, "repeats": 1, "share": 0.1}] * 10
    found = [finding for finding in said(facts({"questions/longest": rows})).values()]
    assert "\x1b" not in "\n".join(attention.as_text(found)) and "[U+001B]" in attention.as_text(found)[2]
    assert "<b>" not in attention.as_markdown(found) and "[x](y)" not in attention.as_markdown(found)


@pytest.mark.run
def test_shares_of_the_subset_are_those_drawn(lab, capsys):
    from grip_assets.report.page.build import build
    from grip_assets.store.query import sql_text

    drawn = lab.sql("SELECT cluster_id, sum(n_tokens * repeats)::BIGINT AS n FROM subset GROUP BY 1 ORDER BY 1")
    shares = lab.sql(sql_text("questions/share_by_cluster")).sort("cluster_id")
    assert shares.filter(shares["drawn"] > 0)["drawn"].to_list() == drawn["n"].to_list()
    assert shares["subset_share"].sum() == pytest.approx(1) and shares["pool_share"].sum() == pytest.approx(1)
    with connect(lab.data) as connection:
        found = attention.findings(connection, ArtifactStore(lab.data))
    assert "longest" in {finding.key for finding in found}
    page, _ = build(lab.data)
    assert all(f'id="look-{finding.key}"' in page for finding in found)
    report = lab.instance.get_latest_materialization_event(dg.AssetKey("report")).asset_materialization
    assert found[0].text[:20] in report.metadata["look_at_this"].md_str
