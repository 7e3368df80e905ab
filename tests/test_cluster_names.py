"""The names of clusters: one label everywhere, never that of another clustering, and nothing that a name says is done."""

import json
import re
import unicodedata

import named
import polars as pl
import pytest
from test_report import IMAGE, LINK, NUL, RTL, SCRIPT, Seen, without_plotly

from grip_assets.engine.in_force import Run
from grip_assets.export import export
from grip_assets.export.card import table
from grip_assets.orchestration.metadata import labelled, markdown_table
from grip_assets.report import compare, pictures
from grip_assets.report.page.build import build
from grip_assets.report.terminal.explain import as_data, explain
from grip_assets.report.terminal.summary import as_data as summary_data
from grip_assets.report.terminal.summary import summary
from grip_assets.store import cluster_names
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.cluster_names import LONGEST, LONGEST_DESCRIPTION, NONE, ClusterNames, cut
from grip_assets.store.cluster_names import named as names_of

RUN = Run("run", [], [], [])
ESCAPE = "\x1b[31mred\x1b[0m\x07"
HOSTILE = [
    IMAGE,
    SCRIPT,
    LINK,
    ESCAPE + RTL + NUL,
    "x" * 5000,
    r"$\frac{$ %{x} {{ 7*7 }} | `code` [a](https://evil.example)",
]


def called(*names: str) -> ClusterNames:
    return ClusterNames(names_of({"cluster_id": c, "name": name} for c, name in enumerate(names)))


def is_inert(text: str) -> bool:
    return not [c for c in text if unicodedata.category(c)[0] == "C" and c != "\n"]


def test_a_label_is_the_number_and_the_name_and_without_a_name_the_number():
    names = called("pandas tests", "")
    assert names.label(0) == names.axis(0) == "0 pandas tests"
    assert names.label(0, 7) == "0 pandas…" and names.label(1) == "1" and NONE.label(7) == "7"
    assert names.axis(1) == "c1", "a number alone would be a place on the axis"
    assert names.said(0)["name"] == "pandas tests" and names.said(1)["name"] is None


def test_a_name_is_one_short_line_without_invisible_characters():
    assert cut(f"a\n\tb{RTL}{NUL}  c\u200b") == "a b c"
    for text in HOSTILE:
        shown = called(text).label(0)
        assert is_inert(shown) and len(shown) <= LONGEST + 2 and "\n" not in shown
    assert cut(None) == "" and not called(NUL, "\n"), "a name of nothing is no name"


def published(store: ArtifactStore, stage: str, version: str, when: float, inputs: dict, **tables: pl.DataFrame) -> str:
    manifest = {"version": version, "inputs": inputs, "computed_at": when, "settings": {}, "stage": stage}
    with store.publish(stage, manifest) as draft:
        for name, rows in tables.items():
            draft.write(name, rows)
    return version


def test_names_of_another_clustering_are_never_shown(tmp_path):
    store, rows = (
        ArtifactStore(tmp_path),
        pl.DataFrame({"cluster_id": [3], "value": [None]}, {"cluster_id": pl.Int32, "value": pl.String}),
    )
    one, other = (published(store, "clusters", c * 16, 0.0, {}, centroids=rows) for c in "ab")
    for version, when, name in (("1" * 16, 1.0, "words"), ("2" * 16, 2.0, "llm")):
        said = pl.DataFrame({"cluster_id": [3], "name": [name]}, {"cluster_id": pl.Int32, "name": pl.String})
        published(store, "taxonomy", version, when, {"clusters": one}, taxonomy=said)
    assert cluster_names.of_clusters(store, one, "1" * 16).label(3) == "3 words", "the one in force is first"
    assert cluster_names.of_clusters(store, one).label(3) == "3 llm", "then the latest"
    assert cluster_names.of_clusters(store, other, "1" * 16).label(3) == "3"
    assert cluster_names.of_artifact(store, "taxonomy", "1" * 16).label(3) == "3 llm"
    assert cluster_names.of_inputs(store, {"taxonomy": "1" * 16}).label(3) == "3 llm"
    assert not cluster_names.of_clusters(store, None) and not cluster_names.of_inputs(store, {})


def test_clusters_of_a_column_are_called_by_its_values_where_no_stage_named_them(tmp_path):
    store = ArtifactStore(tmp_path)
    rows = pl.DataFrame(
        {"cluster_id": [0, 1], "value": ["python", IMAGE]}, {"cluster_id": pl.Int32, "value": pl.String}
    )
    published(store, "clusters", "a" * 16, 0.0, {}, centroids=rows)
    names = cluster_names.of_clusters(store, "a" * 16)
    assert [names.label(c) for c in (0, 1)] == ["0 python", f"1 {IMAGE}"]
    published(store, "clusters", "b" * 16, 0.0, {}, centroids=rows.drop("value"))
    assert not cluster_names.of_clusters(store, "b" * 16), "an earlier version kept no values"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_inert_in_markdown_and_pictures(name):
    names = called(name, "plain")
    for made in (
        table(("cluster",), [(names.label(0),)]),
        markdown_table(labelled([{"cluster_id": 0, "n_docs": 5}, {"cluster_id": None, "n_docs": 6}], names)),
    ):
        assert is_inert(made) and "<img" not in made and "<a " not in made and "<script" not in made
        assert "](" not in made.replace("\\](", "").replace("\\[", ""), "a link"
    for stage, table_name, columns in (
        ("budgets", "budgets", {"replay_multiplier": [1.0, 2.0], "capacity": [3, 4], "allocated": [1, 2]}),
        (
            "quality_scores",
            "cluster_quality",
            {"quality": [0.1, 0.2], "standard_error": [None, 0.1], "n_judged": [1, 2]},
        ),
    ):
        rows = pl.DataFrame({"cluster_id": [0, 1], **columns})
        assert pictures.of_stage(stage, {table_name: rows}, names).startswith(b"\x89PNG")
    assert "$" not in pictures._called(0, names).replace("\\$", "") and len(pictures._called(0, names)) < 80


@pytest.mark.run
@pytest.mark.draws
def test_names_are_wherever_a_cluster_is_shown(lab, monkeypatch):
    """On the page, in the terminal and as data; and the representatives are those of the table influence."""
    names = named.publish(lab.data, monkeypatch, ["pandas tests", "HTTP servers", "tables & rows"])
    far = lab.sql("SELECT cluster_id, arg_min(source, (k.cosine, doc_id)) AS s, arg_min(doc_id, (k.cosine, doc_id)) AS d"
                  " FROM clusters AS k JOIN corpus USING (doc_id) GROUP BY 1 ORDER BY 1")  # fmt: skip
    page, _ = build(lab.data)
    said = summary(lab.data, RUN)
    data = {row["cluster_id"]: row for row in summary_data(lab.data, RUN)["clusters"]}
    for cluster, source, doc in far.iter_rows():
        name = names.about(cluster).name
        assert f"<span>Cluster {cluster}: {name.replace('&', '&amp;')}</span>" in page
        assert f"About {name}.".replace("&", "&amp;") in page and source in page
        assert re.search(rf"^  {cluster} {name} ", said, re.M) and source in said
        assert data[cluster]["name"] == name and data[cluster]["family"] == cluster % 2
        told = explain(lab.data, doc)
        assert f"cluster     {cluster} {name}: " in told and f"typical: {source}" in told
        assert f"of the family family {cluster % 2}" in told and "influence   rank 1 of " in told
        found = as_data(lab.data, doc)[0]
        assert found["influence"]["rank"] == 1 and found["representatives"][0] == source
    assert "1 HTTP servers" in json.dumps(figure(page, "budget-clusters")["data"][0]["y"])
    assert "cluster 1 HTTP servers" in json.dumps(figure(page, "corpus-map")["data"][0]["text"])
    assert "1 HTTP servers" in json.dumps(figure(page, "knob-budgets")["data"][0]["y"])


def figure(page: str, id: str) -> dict:
    return json.loads(re.search(rf'id="{id}-data">(.*?)</script>', page, re.S)[1])


@pytest.mark.run
@pytest.mark.draws
def test_the_areas_of_the_treemap_are_the_tokens_of_the_pool_and_of_the_subset(lab, monkeypatch):
    named.publish(lab.data, monkeypatch, ["pandas tests", "HTTP servers"])
    page, _ = build(lab.data)
    made = figure(page, "families")
    (tree,) = made["data"]
    totals = lab.sql(
        "SELECT (SELECT sum(n_tokens) FROM corpus)::BIGINT AS pool,"
        " (SELECT sum(n_tokens * repeats) FROM subset)::BIGINT AS subset"
    ).row(0)
    assert [choice["name"] for choice in made["choices"]] == ["Before: the pool", "After: the subset"]
    for choice, total in zip(made["choices"], totals, strict=True):
        values = choice["changes"][0]["values"]
        assert values[0] == total > 0
        for inner in set(tree["parents"]) - {""}:
            within = [v for v, parent in zip(values, tree["parents"], strict=True) if parent == inner]
            assert sum(within) == values[tree["ids"].index(inner)], "parts do not fill their rectangle"
        clusters = [v for v, id in zip(values, tree["ids"], strict=True) if id.startswith("cluster ")]
        assert sum(clusters) == total
    assert tree["values"] == made["choices"][0]["changes"][0]["values"]


@pytest.mark.run
@pytest.mark.draws
def test_a_page_without_names_still_builds(lab, monkeypatch):
    """As in a data folder of an earlier version, or where a run stopped before the names were made."""
    monkeypatch.setattr(cluster_names, "_taxonomies", lambda store: [])
    page, _ = build(lab.data)
    seen = Seen(without_plotly(page))
    assert "families-data" not in seen.ids and "corpus-map-data" in seen.ids
    assert "<span>Cluster 0</span>" in page and '"c0"' in page and "materialize the asset <code>taxonomy</code>" in page
    assert re.search(r"^  0 +\d", summary(lab.data, RUN), re.M)
    (doc,) = lab.sql("SELECT doc_id FROM clusters LIMIT 1").row(0)
    told, found = explain(lab.data, doc), as_data(lab.data, doc)[0]
    assert re.search(r"cluster     \d+: \d", told) and "typical: " in told and "influence" not in told
    assert found["name"] is None and found["influence"] is None and found["representatives"]


@pytest.mark.run
@pytest.mark.draws
def test_a_hostile_name_does_nothing_on_the_page_in_the_terminal_or_in_a_card(lab, monkeypatch, tmp_path):
    named.publish(lab.data, monkeypatch, HOSTILE)
    page, _ = build(lab.data)
    text = without_plotly(page)
    seen = Seen(text)
    assert not {tag for tag, _ in seen.tags} & {"img", "iframe", "object", "embed"}
    assert not [a for _, a in seen.tags if any(name.startswith("on") for name in a)]
    assert not [a for tag, a in seen.tags if tag == "a" and not a["href"].startswith("#")]
    assert sum(tag == "script" and not a for tag, a in seen.tags) == 1, "ours, and no other beside plotly"
    assert "x" * LONGEST_DESCRIPTION not in text and RTL not in text and "\x1b" not in text
    allowed = re.compile(r"<(/?b|br)>")
    for id in ("families", "corpus-map", "budget-clusters", "diversity-clusters", "fig2-distance", "fig5-clusters"):
        found = texts(figure(page, id)["data"])
        assert not [s for s in found if "x" * LONGEST in s or "<" in allowed.sub("", s)]
    (doc,) = lab.sql("SELECT doc_id FROM clusters WHERE cluster_id = 3 LIMIT 1").row(0)
    assert is_inert(summary(lab.data, RUN)) and is_inert(explain(lab.data, doc))
    export(lab.data, tmp_path / "out.jsonl")
    card = (tmp_path / "out.jsonl.card.md").read_text().rpartition("\n<!-- grip-export ")[0]
    assert is_inert(card) and "| 0 &lt;img src=x" in card and "<img" not in card and "<script" not in card
    assert "](https://evil" not in card and "x" * (LONGEST + 1) not in card


def texts(value) -> list[str]:
    """All texts in a figure but the templates, which are ours."""
    if isinstance(value, dict):
        return [text for name, inner in value.items() if "template" not in name for text in texts(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in texts(inner)]
    return [value] if isinstance(value, str) else []


def test_a_comparison_names_the_clusters_whose_budget_moved():
    row = {"label": "3 pandas tests", "first": 10, "second": 20, "change": 10, "share_first": 0.1, "share_second": 0.2}
    assert "  cluster 3 pandas tests            10 →           20" in "\n".join(compare._budget_lines([row]))
    hostile = compare._budget_lines([row | {"label": f"3 {RTL}{ESCAPE}"}])
    assert is_inert("\n".join(hostile))


@pytest.mark.run
def test_a_summary_of_one_cluster_has_no_gain_and_no_loss(lab):
    lab.curate(clustering={"min_cluster_docs": 1000})
    said = summary(lab.data, RUN)
    assert "clusters  1," in said and said.count("\n  none") == 2
