"""The report on clusters: intruders and names, over planted clusters of real texts."""

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from conftest import TOPICS
from defaults import without_near_copies

from grip_assets.bench.endpoint import FakeEndpoint, serving
from grip_assets.engine.inspect import inspect
from grip_assets.engine.make import Chain
from grip_assets.engine.plan import Step
from grip_assets.method.partition.finish import directions
from grip_assets.report.page import coherence
from grip_assets.report.page.context import Context, missing
from grip_assets.report.pictures import of_stage
from grip_assets.report.terminal.spending import spending
from grip_assets.settings import validate
from grip_assets.stages import STAGES
from grip_assets.stages.reports.name_accuracy import candidates, compared, held_out
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.cluster_names import ClusterNames, named
from grip_assets.store.tables import vectors

EACH = 40
NONE = pl.Series(dtype=pl.String)


class Planted:
    """Four clusters, one topic each unless ``shuffled``, with influences that are the number of the document."""

    def __init__(self, root, shuffled: bool = False, named_by: str = "words"):
        self.store, self.log = ArtifactStore(root), list[str]()
        texts = [TOPICS[t].format(i=i, j=i * 7) * (1 + i % 4) for t in TOPICS for i in range(EACH)]
        ids, topic_N = [f"{i:032x}" for i in range(4 * EACH)], np.repeat(np.arange(4, dtype=np.int32), EACH)
        label_N = np.random.default_rng(0).permutation(topic_N) if shuffled else topic_N
        x_ND = directions(np.eye(4, 8)[topic_N] + np.random.default_rng(1).normal(size=(len(ids), 8))).astype(
            np.float16
        )
        self.ids = ids
        order = np.lexsort((ids, label_N))
        documents = pl.DataFrame({"doc_id": ids, "cluster_id": label_N}, schema_overrides={"cluster_id": pl.Int32})[
            order
        ]
        terms = {name: np.arange(len(ids), dtype=float) for name in ("influence", "log_density")}
        influence = documents.with_columns(
            **{n: pl.Series(v) for n, v in terms.items()},
            log_gamma=0.0,
            rank=pl.int_range(1, EACH + 1).over("cluster_id"),
        )
        self.plant("corpus", {}, corpus=pl.DataFrame({"doc_id": ids, "text": texts}))
        embedded = pa.table({"doc_id": documents["doc_id"].to_list(), "embedding": vectors(x_ND[order])})
        centroids = pl.DataFrame({"cluster_id": range(4), "centroid": np.eye(4, 8)})
        self.plant(
            "clusters", {"corpus": "planted"}, clusters=documents, cluster_embeddings=embedded, centroids=centroids
        )
        names = documents.select("cluster_id").unique().sort("cluster_id")
        names = names.with_columns(
            name=pl.lit("a name"),
            words=pl.Series([["parse"], ["matrix", "rows"], ["session"], ["table"]]),
            named_by=pl.lit(named_by),
            description=pl.lit("about it"),
        )
        self.plant("taxonomy", {"corpus": "planted", "clusters": "planted"}, influence=influence, taxonomy=names)

    def plant(self, stage, inputs, **tables):
        manifest = {
            "version": "planted",
            "stage": stage,
            "inputs": inputs,
            "computed_at": 0,
            "seconds": 0,
            "run_id": "",
        }
        with self.store.publish(stage, manifest) as draft:
            for name, table in tables.items():
                draft.write(name, table)

    def report(self, run="run", **taxonomy):
        settings = without_near_copies()
        settings["taxonomy"] = validate("taxonomy", taxonomy)
        stage = STAGES["cluster_report"]
        inputs = dict.fromkeys(stage.inputs, "planted")
        made = Chain(STAGES, self.store, self.log.append, run, inspect).make(stage, settings, inputs)
        tables = {t: pl.read_parquet(self.store.parquet(stage.name, made.version, t)) for t in stage.table_names}
        return made, tables


@pytest.fixture
def endpoint(monkeypatch):
    fake = FakeEndpoint()
    with serving(fake) as url:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
        monkeypatch.setenv("GRIP_JUDGE_BACKOFF", "0.01")
        yield fake


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    planted = Planted(tmp_path_factory.mktemp("real"))
    return planted, *planted.report(trials=10, held_out_docs=80, top=3, sample=4)


def failed(made):
    return {c["name"] for c in made.manifest["checks"] if c["violations"]}


def test_clusters_of_one_topic_each_are_told_apart_by_texts_and_by_names(real):
    _, made, tables = real
    assert failed(made) == set()
    found = tables["intruders"]
    assert found["cluster_id"].to_list() == [0, 1, 2, 3] and set(found["judged_by"]) == {"words"}
    assert (found["trials"] == 10).all() and (found["n_docs"] == EACH).all()
    (overall,) = tables["intruders_overall"].to_dicts()
    assert overall["accuracy"] > 0.9 and overall["coverage"] == 1 and overall["chance"] == pytest.approx(1 / 6)
    names = tables["name_accuracy"]
    assert names["representatives"].to_list() == ["gis", "centre", "confidence", "random", "in_force"]
    assert (names["accuracy"] > 0.9).all() and (names["n"] == 80).all() and (names["chance"] == 0.25).all()
    metrics = made.manifest["metrics"]
    assert metrics["intruders_found"] == overall["accuracy"] and metrics["name_accuracy_gis"] == names["accuracy"][0]


def test_clusters_of_mixed_topics_fail_both_checks_and_stop_nothing(tmp_path):
    made, tables = Planted(tmp_path, shuffled=True).report(trials=30, held_out_docs=100)
    assert failed(made) == {"intruders_found", "names_tell"}
    (overall,) = tables["intruders_overall"].to_dicts()
    assert overall["low"] <= 1 / 6 <= overall["high"]


def test_the_same_pool_gives_the_same_tables(real, tmp_path):
    _, made, tables = real
    again, same = Planted(tmp_path).report(trials=10, held_out_docs=80, top=3, sample=4)
    assert again.version == made.version and all(tables[name].equals(same[name]) for name in tables)


def test_nothing_asked_is_said_and_does_not_read_as_success(tmp_path):
    planted = Planted(tmp_path)
    made, tables = planted.report(trials=0, held_out_docs=0)
    assert all(table.is_empty() for table in tables.values())
    assert made.manifest["metrics"]["intruder_trials"] == 0 and made.manifest["metrics"]["intruder_coverage"] == 0
    assert any("no intruder test" in line for line in planted.log)
    assert any("names are not tested" in line for line in planted.log)


LLM = {"names": "llm", "model": "a-model", "trials": 2, "held_out_docs": 12, "top": 3, "contrast": 1}
CALLS = 4 * 4 + 4 * 12 + 4 * 2  # names of four kinds, held-out documents of each, trials


def asked(endpoint):
    return sum(endpoint.counts.asked.values())


def test_a_model_is_asked_blindly_and_paid_once(tmp_path, endpoint):
    planted = Planted(tmp_path)
    made, tables = planted.report(**LLM)
    names, overall = tables["name_accuracy"], tables["intruders_overall"]
    assert names.filter(asked="llm")["representatives"].to_list() == ["gis", "centre", "confidence", "random"]
    assert (names.filter(asked="llm")["n"] == 12).all()
    assert overall["judged_by"].to_list() == ["words", "a-model"] and overall["trials"].to_list() == [8, 8]
    assert {"intruders_found_llm", "name_accuracy_gis_llm"} <= made.manifest["metrics"].keys()
    assert asked(endpoint) <= CALLS and made.manifest.get("complete", True)
    before = asked(endpoint)
    again, _ = planted.report(**LLM | {"max_calls": 0, "trials": 2})
    assert asked(endpoint) == before and again.version == made.version
    sent = [str(body) for body in endpoint.counts.bodies.values()]
    assert not any(doc in body for body in sent for doc in planted.ids), "no id"


def test_clusters_that_have_the_values_of_a_column_as_names_get_no_others(tmp_path, endpoint):
    _, tables = Planted(tmp_path, named_by="value").report(**LLM)
    rows = tables["name_accuracy"].filter(asked="llm")
    assert rows["representatives"].to_list() == ["in_force"] and rows["to_random"].is_null().all()
    assert asked(endpoint) <= 12 + 4 * 2 and rows["n"].to_list() == [12]


def test_after_a_cap_the_report_says_what_is_missing_and_the_next_run_goes_on(tmp_path, endpoint):
    planted = Planted(tmp_path)
    _, tables = planted.report(run="first", **LLM, max_calls=40)
    assert asked(endpoint) == 40, "one cap for names and both tests"
    assert any("the cap of 40 calls (taxonomy.max_calls) is reached" in line for line in planted.log)
    some = tables["name_accuracy"].filter(asked="llm")
    assert 0 < some["n"].max() < 12 and some["n"].max() - some["n"].min() <= 4, "all kinds on the same documents"
    _, tables = planted.report(run="second", **LLM, max_calls=CALLS)
    assert asked(endpoint) <= CALLS and (tables["name_accuracy"].filter(asked="llm")["n"] == 12).all()


def test_names_in_force_are_tested_only_where_their_words_were_not_counted(tmp_path):
    planted = Planted(tmp_path)
    _, tables = planted.report(trials=0, held_out_docs=80, top=3, sample=39)
    assert "in_force" not in tables["name_accuracy"]["representatives"]
    assert any("names in force are not tested" in line for line in planted.log)


def test_whoever_always_says_the_largest_cluster_is_right_by_chance():
    cluster_N = np.repeat([0, 1, 2, 3], [90, 5, 3, 2])
    right = {"gis": (cluster_N == 0).astype(float), "random": (cluster_N == 1).astype(float)}
    rows = compared(right, cluster_N, "words", 0.25)
    assert [row["accuracy"] for row in rows] == [0.25, 0.25] and [row["n"] for row in rows] == [100, 100]
    assert rows[0]["to_random"] == 0 and rows[0]["to_random_low"] < 0 < rows[0]["to_random_high"]


def test_a_plan_counts_the_questions_about_clusters(tmp_path):
    planted = Planted(tmp_path)
    settings = without_near_copies() | {"taxonomy": validate("taxonomy", LLM)}
    steps = [Step(name, "reuse", "", None, "planted") for name in ("corpus", "clusters", "taxonomy")]
    (line, *_) = spending(settings, [*steps, Step("cluster_report", "compute", "", None, None)], planted.store)
    assert line.startswith("cluster_report: at most 68 calls to a-model") and CALLS == 68 + 4, (
        "names of one kind are there"
    )
    assert spending(settings, steps, planted.store) == []


def test_no_held_out_document_is_a_representative_and_each_cluster_has_as_many():
    members = pl.DataFrame({"doc_id": [f"d{i:03}" for i in range(200)], "cluster_id": [0] * 150 + [1] * 40 + [2] * 10})
    used = members["doc_id"].gather_every(3)
    asked = held_out(members, used, NONE, 30, seed=0)
    assert not set(asked["doc_id"]) & set(used)
    assert asked["cluster_id"].value_counts(sort=True)["count"].to_list() == [10, 10, 7], "or all that it has"
    few = held_out(members, used, NONE, 2, seed=0)
    assert len(few) == 2 and few["cluster_id"].n_unique() == 2
    assert held_out(members.reverse(), used, NONE, 30, seed=0).equals(asked)


def test_each_kind_of_representatives_has_its_own_order():
    n = 60
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=n) for name in ("influence", "log_density", "log_gamma")}
    table = pl.DataFrame({"doc_id": [f"d{i:02}" for i in range(n)], "cluster_id": [0] * 40 + [1] * 20, **columns})
    for kind, column in {"gis": "influence", "centre": "log_density", "confidence": "log_gamma"}.items():
        first = candidates(table, kind, 5, seed=0).filter(cluster_id=1)["doc_id"].to_list()
        assert first == table.filter(cluster_id=1).sort(column, descending=True)["doc_id"].head(5).to_list()
    random = candidates(table, "random", 5, seed=0)
    assert random.equals(candidates(table.reverse(), "random", 5, seed=0))
    assert not random.equals(candidates(table, "random", 5, seed=1))


class Page(Context):
    """What a section may read, from the tables of a report alone. ``names``: of the clusters."""

    def __init__(self, tables, names=None):
        self.tables, self.names = tables, ClusterNames(named(names or []))

    def lacks(self, *tables):
        return [missing("cluster_report")] if any(t not in self.tables for t in tables) else []

    def table(self, name, order):
        return duckdb.from_arrow(self.tables[name].to_arrow()).order(order).pl()


def words(section):
    return " ".join(block.text for block in section.blocks if block.kind == "prose")


def test_the_section_says_both_results_with_intervals_names_and_chance(real):
    _, _, tables = real
    names = [{"cluster_id": k, "name": f"{topic} <b>"} for k, topic in enumerate(TOPICS)]
    section = coherence.section(Page(tables, names))
    assert [block.title for block in section.blocks if block.kind == "figure"] == [
        "Intruders found, by cluster",
        "Accuracy of names",
    ]
    said = words(section)
    assert "by chance 17%" in said and "by chance 25.0%" in said and "100% of the documents" in said
    first = next(block for block in section.blocks if block.kind == "figure")
    assert any("matrix" in str(label) for label in first.data[0]["y"]) and "<b>" not in str(first.data)


def test_the_section_names_the_weak_clusters_and_what_is_not_measured(real):
    _, _, tables = real
    weak = tables["intruders"].with_columns(low=pl.when(cluster_id=2).then(0.1).otherwise("low"))
    section = coherence.section(Page(tables | {"intruders": weak}, [{"cluster_id": 2, "name": "<server>"}]))
    assert "Not told from chance: 2 &lt;server&gt;." in words(section)
    empty = {name: table.clear() for name, table in tables.items()}
    assert "No cluster was tested" in words(coherence.section(Page(empty)))
    assert "not tested" in words(coherence.section(Page(empty)))
    assert "cluster_report" in words(coherence.section(Page({})))


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.01, 0.2, "are better than"), (-0.2, -0.01, "are worse than"), (-0.1, 0.2, "no measurably better"), (None, None, "cannot be compared")],
)  # fmt: skip
def test_the_verdict_on_influence_follows_the_interval(real, low, high, verdict):
    _, _, tables = real
    changed = {"to_random": 0.05, "to_random_low": low, "to_random_high": high}
    rows = tables["name_accuracy"].with_columns(**{n: pl.lit(v, pl.Float64) for n, v in changed.items()})
    assert verdict in words(coherence.section(Page(tables | {"name_accuracy": rows})))


def test_the_picture_is_drawn_with_a_model_and_without_any_row(real, tmp_path):
    _, _, tables = real
    more = tables["intruders"].with_columns(judged_by=pl.lit("a-model"))
    for number, found in enumerate(
        [tables | {"intruders": pl.concat([tables["intruders"], more])}, {n: t.clear() for n, t in tables.items()}]
    ):
        files = {name: str(tmp_path / f"{number}-{name}.parquet") for name in found}
        for name, table in found.items():
            table.write_parquet(files[name])
        assert of_stage("cluster_report", files).startswith(b"\x89PNG")
