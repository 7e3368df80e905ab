"""The stage sketches: its tables, what is computed again, and what it refuses. The sources are tested by themselves."""

import numpy as np
import polars as pl
import pytest
from planted_attribution import Folder
from planted_mixing import pool

from grip_assets.errors import GripError
from grip_assets.settings import validate
from grip_assets.stages import STAGES, costs
from grip_assets.stages.costs import Size

AUTO = {"source": "auto", "choose": "bootstrap", "start": "scratch"}
BOTH = AUTO | {"candidates": ["unigram", "head"], "dim": 512}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Folder:
    return sketched(tmp_path_factory.mktemp("sketches"), **BOTH)


def sketched(root, *more, workers=1, **attribution) -> Folder:
    return Folder(root, *more, **attribution).make("reference_model", "sketches", workers=workers)


def of(folder: Folder, source: str) -> np.ndarray:
    """The sketches of a source, float32 (N, K)."""
    return folder.table("sketches").filter(source=source)["sketch"].to_numpy().astype(np.float32)


def test_each_source_has_a_sketch_of_each_document_in_the_order_of_clusters(made):
    assert not made.failed
    table, clusters = made.table("sketches"), pl.read_parquet(made.store.parquet("clusters", "planted", "clusters"))
    assert table["source"].unique(maintain_order=True).to_list() == ["unigram", "head"]
    for _, rows in table.group_by("source", maintain_order=True):
        assert rows["doc_id"].to_list() == clusters["doc_id"].to_list()
        assert rows["cluster_id"].to_list() == clusters["cluster_id"].to_list()
    assert table.schema["sketch"] == pl.Array(pl.Float16, 512) and (table["n_tokens"] > 0).all()


def test_targets_and_costs_of_each_source_are_there(made):
    targets, sources = made.table("target_sketches"), made.table("sketch_sources")
    assert targets.select("source", "target").rows() == [("unigram", "held_out"), ("head", "held_out")]
    assert targets.schema["sketch"] == pl.Array(pl.Float32, 512) and targets["n_items"].n_unique() == 1
    assert dict(sources.select("source", "features").iter_rows()) == {"unigram": 320, "head": 320 * 16}
    assert dict(sources.select("source", "sketch").iter_rows()) == {"unigram": "exact", "head": "countsketch"}
    assert (sources["seconds"] > 0).all() and (sources["bytes"] > 0).all() and (sources["scale"] == 1).all()
    assert made.metrics["documents_sketched_now"] == len(made.table("sketches")) // 2


def test_the_same_bytes_on_any_number_of_workers(made, tmp_path):
    other = sketched(tmp_path, workers=3, **BOTH)
    for name in ("sketches", "target_sketches"):
        assert made.table(name).equals(other.table(name))


def test_another_dimension_counts_nothing_again_and_takes_gradients_again(made):
    folder = Folder.__new__(Folder)
    folder.__dict__ |= made.__dict__ | {"settings": dict(made.settings)}
    folder.turn(dim=400)
    folder.make("reference_model", "sketches")
    assert folder.metrics["documents_sketched_now"] == len(folder.table("sketches")) // 2, "gradients"
    folder.turn(source="unigram", dim=600)
    folder.make("reference_model", "sketches")
    assert folder.metrics["documents_sketched_now"] == 0 and not folder.failed


def test_fisher_whitens_the_sketches_of_gradients_only(made, tmp_path):
    white = sketched(tmp_path, precondition="fisher", **BOTH)
    assert np.array_equal(of(white, "unigram"), of(made, "unigram"))
    plain_NK = of(made, "head").astype(np.float64)
    tokens_N = made.table("sketches").filter(source="head")["n_tokens"].to_numpy()
    fisher_KK = (plain_NK * tokens_N[:, None]).T @ plain_NK / tokens_N.sum()
    fisher_KK += 0.1 * np.trace(fisher_KK) / len(fisher_KK) * np.eye(len(fisher_KK))
    scale = white.table("sketch_sources").filter(source="head")["scale"][0]
    expected_NN = plain_NK @ np.linalg.solve(fisher_KK, plain_NK.T)
    found_NK = of(white, "head") / scale
    assert np.abs(found_NK @ found_NK.T - expected_NN).max() < 0.02 * np.abs(expected_NN).max()


def test_small_numbers_are_scaled_so_that_float16_holds_them(tmp_path):
    table = tmp_path / "own.parquet"
    documents = pool()
    ids = documents["doc_id"].to_list()
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(len(ids) + 1, 3)) * 1e-7).tolist()
    rows = {"doc_id": [*ids, None], "vector": vectors, "target": [None] * len(ids) + ["mine"]}
    pl.DataFrame(rows).write_parquet(table)
    made = sketched(tmp_path / "data", documents, source="column", column=str(table), dim=3)
    scale = made.table("sketch_sources")["scale"][0]
    assert np.log2(scale) == int(np.log2(scale)) > 10
    by_id = dict(zip(ids, vectors, strict=False))
    for doc, sketch in made.table("sketches").select("doc_id", "sketch").iter_rows():
        np.testing.assert_allclose(np.array(sketch, float) / scale, by_id[doc], rtol=2e-3, atol=1e-10)
    np.testing.assert_allclose(np.array(made.table("target_sketches")["sketch"][0]) / scale, vectors[-1], rtol=1e-5)


def test_sources_with_other_targets_cannot_be_compared(tmp_path):
    table, ids = tmp_path / "own.parquet", pool()["doc_id"].to_list()
    rows = {"doc_id": [*ids, None], "vector": [[1.0]] * (len(ids) + 1), "target": [None] * len(ids) + ["cats"]}
    pl.DataFrame(rows).write_parquet(table)
    with pytest.raises(GripError, match="The targets of the source column are cats, and those of unigram are held_out"):
        sketched(tmp_path / "data", **AUTO, candidates=["unigram", "column"], column=str(table))


def test_the_users_table_is_part_of_the_recipe(tmp_path):
    table = tmp_path / "own.parquet"
    stage, settings = (
        STAGES["sketches"],
        {"attribution": validate("attribution", {"source": "column", "column": str(table)})},
    )
    with pytest.raises(GripError, match="it cannot be read"):
        stage.facts(settings, tmp_path)
    pl.DataFrame({"a": [1]}).write_parquet(table)
    before = stage.facts(settings, tmp_path)
    pl.DataFrame({"a": [2]}).write_parquet(table)
    assert stage.facts(settings, tmp_path) != before


@pytest.mark.parametrize(
    ("source", "left_out"), [("unigram", {"reference_model", "embedding"}), ("head", {"embedding"})]
)
def test_a_source_reads_only_what_it_needs(made, source, left_out):
    settings = made.settings | {"attribution": validate("attribution", {"source": source})}
    stage = STAGES["sketches"]
    not_read = {*left_out, "near_duplicates"} & set(stage.inputs)
    assert set(stage.inputs) - set(stage.inputs_under(settings)) == not_read
    assert ("embedding" in stage.reads_under(settings)) == ("embedding" not in left_out)


def test_gradients_are_forecast_by_their_tokens_and_the_weights_of_the_reference():
    def seconds(tokens, **values):
        settings = {"attribution": validate("attribution", values)}
        rate = costs._rate(STAGES["sketches"], settings)
        return rate.fixed + rate.each * Size(10, tokens, 0, True).tokens

    assert seconds(10**6, source="full") > 3 * seconds(10**6, source="unigram")
    assert seconds(10**7, source="full") > 5 * seconds(10**6, source="full")
    assert seconds(10**6, source="head") < seconds(10**6, source="full") / 2
    assert seconds(10**6, source="full", hidden=512, heads=4) > 4 * seconds(10**6, source="full")
    assert seconds(10**6, source="full", reference="proxy") > 50 * seconds(10**6, source="full")


OTHERS = {
    "sketch": "sjlt", "dim": 300, "seed": 1, "source": "hidden", "precondition": "fisher", "candidates": ["unigram"],
    "items": 30, "tokens": 5000, "context": 32, "gamma": 0.5, "structured": 5, "combine": "maxmin", "normalize": "unit",
    "target_weights": ["humaneval=2"], "passage": 200, "batch_tokens": 320, "device": "cuda",
}  # fmt: skip
READ = {"sketch", "dim", "seed", "source"}


@pytest.mark.parametrize(
    ("now", "read"),
    [
        ({"source": "unigram"}, READ),
        ({"source": "full"}, READ | {"precondition"}),
        ({"source": "auto"}, READ | {"precondition", "candidates"}),
    ],
)
def test_a_field_makes_sketches_again_exactly_if_they_read_it(made, tmp_path, now, read):
    """What reference and targets read makes them again by its own stages."""
    stage, inputs = STAGES["sketches"], {name: "0" * 16 for name in STAGES["sketches"].inputs}

    def recipe(**values):
        settings = made.settings | {"attribution": validate("attribution", now | values)}
        return stage.recipe(settings, inputs, tmp_path)

    assert {name for name, value in OTHERS.items() if recipe(**{name: value}) != recipe()} == read


def test_another_reference_touches_no_token_counts(made, tmp_path):
    stage = STAGES["sketches"]
    for source, changes in [("unigram", False), ("head", True)]:
        settings = made.settings | {"attribution": validate("attribution", {"source": source})}
        inputs = dict.fromkeys(stage.inputs, "0" * 16)
        other = inputs | {"reference_model": "1" * 16}
        assert (stage.recipe(settings, inputs, tmp_path) != stage.recipe(settings, other, tmp_path)) == changes


def test_gradients_are_taken_at_a_model_that_settings_name(models, tmp_path):
    made = sketched(tmp_path, source="head", reference=str(models / "proxy"), dim=64)
    assert not made.failed
    row = made.table("sketch_sources").row(0, named=True)
    assert (row["features"], row["sketch"]) == (400 * 32, "countsketch")
    assert np.linalg.norm(of(made, "head"), axis=1).min() > 0 and made.metrics["documents_sketched_now"] == 114
