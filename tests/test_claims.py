"""The paper's claims are tested by assets that find what was planted, and that cost what they say."""

import dagster as dg
import numpy as np
import polars as pl
import pytest
from conftest import draw

from grip_assets.definitions import defs
from grip_assets.method.agreement import rank_correlation
from grip_assets.method.sampling import keyed_clusters
from grip_assets.orchestration.event_log import settings_in_force
from grip_assets.settings import Selection, validate
from grip_assets.stages import STAGES
from grip_assets.stages.claims import length_by_beta, length_slopes, probe_variance, sensitivity
from tools.evidence import PAGE, filled

CLAIMS = ("sensitivity", "length_slopes", "length_by_beta", "probe_variance")


def ids(n: int) -> list[str]:
    return [f"{i:032x}" for i in range(n)]


# The sample


def test_a_sample_of_few_clusters_is_a_share_of_each_and_of_many_clusters_some():
    documents = pl.DataFrame({"doc_id": ids(6000), "cluster_id": np.repeat(np.arange(200, dtype=np.int32), 30)})
    some = keyed_clusters(0, "test", documents, 500, 25)
    sizes = some.group_by("cluster_id").len()["len"]
    assert len(sizes) == 20 and (sizes == 25).all()
    assert some.equals(documents.filter(pl.col("doc_id").is_in(some["doc_id"].implode()))), "in their order"
    few = documents.filter(pl.col("cluster_id") < 10)
    assert keyed_clusters(0, "test", few, 100, 5).group_by("cluster_id").len()["len"].to_list() == [10] * 10
    assert keyed_clusters(0, "test", few, 300, 25).equals(few)
    shuffled = keyed_clusters(0, "test", documents.sample(fraction=1, shuffle=True, seed=1), 500, 25)
    assert set(shuffled["doc_id"]) == set(some["doc_id"]), "drawn by hash, in any order"


# length_slopes


def cone(falling: float, n: int = 400, d: int = 16) -> tuple[pl.DataFrame, np.ndarray]:
    """Documents of ten clusters; with ``falling`` above 0 long ones lie nearer to the cluster's centre."""
    rng = np.random.default_rng(0)
    cluster, log = np.arange(n, dtype=np.int32) % 10, rng.uniform(4, 14, n)
    spread = np.exp(-falling * (log - 9))
    x = 3 * rng.normal(size=(10, d))[cluster] + spread[:, None] * rng.normal(size=(n, d))
    documents = pl.DataFrame({"doc_id": ids(n), "cluster_id": cluster, "n_tokens": (2**log).astype(np.int64)})
    return documents, (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float16)


def test_distances_are_those_of_an_exact_search():
    from sklearn.neighbors import NearestNeighbors

    documents, x = cone(0.1)
    measured = length_slopes._distances(documents, x, 5, "cluster")
    for cluster in (0, 7):
        here = np.flatnonzero(documents["cluster_id"].to_numpy() == cluster)
        unit = x[here].astype(np.float64)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        expected = NearestNeighbors(n_neighbors=6).fit(unit).kneighbors(unit)[0][:, 1:].mean(axis=1)
        assert measured.filter(cluster_id=cluster)["distance"].to_numpy() == pytest.approx(expected, abs=1e-5)
    assert length_slopes._distances(documents.head(30), x[:30], 5, "cluster").is_empty(), "three of each cluster"


@pytest.mark.parametrize("neighbourhood", ["cluster", "sample"])
def test_a_cone_of_long_documents_is_found_and_none_is_where_there_is_none(neighbourhood):
    found = length_slopes._slope(length_slopes._distances(*cone(0.1), 5, neighbourhood))
    assert found["high"] < 0 and found["spearman"] < -0.5 and found["n_clusters"] == 10
    found = length_slopes._slope(length_slopes._distances(*cone(0.0), 5, neighbourhood))
    assert found["low"] < 0 < found["high"]


def test_the_planted_slope_is_in_its_interval():
    """Clusters with a level of their own, and a distance that falls by 0.03 a doubling."""
    rng = np.random.default_rng(0)
    log = rng.uniform(4, 14, 300)
    y = 0.8 - 0.03 * log + 0.05 * rng.normal(size=20)[np.arange(300) % 20] + 0.02 * rng.normal(size=300)
    measured = pl.DataFrame(
        {"cluster_id": np.arange(300) % 20, "n_tokens": np.round(2**log).astype(np.int64), "distance": y}
    )
    found = length_slopes._slope(measured)
    assert found["low"] < -0.03 < found["high"] and found["high"] - found["low"] < 0.01
    bands = list(length_slopes._bands(measured))
    assert [band["length_band"] for band in bands] == [2**i for i in range(4, 14)]
    assert sum(band["n"] for band in bands) == 300
    assert all(band["low"] < band["mean_distance"] < band["high"] for band in bands)


# length_by_beta


def drawn(power: float, monkeypatch) -> tuple[dict, list, dict]:
    """Draws from clusters whose density is a power of the length: β = power undoes it."""
    monkeypatch.setattr(length_by_beta, "DRAWS", 8)
    rng = np.random.default_rng(0)
    tokens = np.sort(np.exp(rng.normal(6, 1.2, 2000))).astype(np.int64) + 1
    cluster = np.arange(2000) % 4
    documents = pl.DataFrame(
        {
            "doc_id": ids(2000),
            "cluster_id": cluster.astype(np.int32),
            "n_tokens": tokens,
            "density": 3 * (tokens / tokens.mean()) ** power,
        }
    ).sort("cluster_id", "doc_id")
    sizes = documents.group_by("cluster_id", maintain_order=True).agg(n_docs=pl.len(), capacity=pl.sum("n_tokens"))
    budgets = sizes.with_columns(
        allocated=(0.2 * pl.col("capacity")).cast(pl.Int64),
        utility=pl.col("capacity").cast(pl.Float64),
        unit=pl.lit("tokens"),
        n_tokens="capacity",
    )
    selection = validate("selection", {"clip_quantile": 1.0, "rho_floor": 0.0})
    betas = [0.0, 0.2, 0.4, 0.6, 0.8]
    lengths = length_by_beta.Lengths(documents["n_tokens"].to_numpy())
    return length_by_beta.draws(budgets, documents, lengths, selection, betas), betas, lengths.described(np.ones(2000))


def test_the_beta_that_undoes_a_planted_density_is_found(monkeypatch):
    found, betas, pool = drawn(0.4, monkeypatch)
    rows = {(row["target"], row["by"]): row for row in length_by_beta.matches(found, betas, pool)}
    assert rows["random", "mean_log2_tokens"]["matched_beta"] == pytest.approx(0.4, abs=0.02)
    assert rows["random", "wasserstein"]["matched_beta"] == pytest.approx(0.4, abs=0.06)
    assert rows["pool", "mean_log2_tokens"]["low"] < 0.4 < rows["pool", "mean_log2_tokens"]["high"]
    shares = [np.mean([d["long_share"] for d in found[beta]]) for beta in (*betas, None)]
    assert shares[:-1] == sorted(shares[:-1]) and shares[0] < 0.85 * shares[-1], "long documents are left out at 0"
    assert shares[2] == pytest.approx(shares[-1], rel=0.05)


def test_a_pool_whose_short_documents_are_dense_needs_no_length_term(monkeypatch):
    found, betas, pool = drawn(-0.3, monkeypatch)
    rows = {(row["target"], row["by"]): row for row in length_by_beta.matches(found, betas, pool)}
    assert all(row["matched_beta"] == 0 and row["draws"] == 8 for row in rows.values())


def test_lengths_are_described_as_counted_by_hand():
    lengths = length_by_beta.Lengths(np.array([8, 1, 2, 4, 16]))
    found = lengths.described(np.array([1, 0, 0, 0, 2]))  # of 1, 2, 4, 8, 16
    assert (found["documents"], found["mean_tokens"]) == (3, 11) and found["mean_log2_tokens"] == pytest.approx(8 / 3)
    assert found["long_share"] == 2 / 3 and found["short_share"] == 1 / 3
    assert found["long_tokens_share"] == 32 / 33
    assert lengths.distance(np.array([1, 0, 0, 0, 0]), np.array([0, 0, 0, 0, 1])) == 4


# probe_variance


def population(spreads: list[float], sigma: list[float], each: int = 200) -> probe_variance.Population:
    rng = np.random.default_rng(0)
    return probe_variance.Population("score", [rng.normal(5, s, each) for s in spreads], np.array(sigma))


def test_neyman_is_the_optimum_where_the_embeddings_know_the_spread_and_worse_where_they_mislead():
    spreads = [4.0, 4.0, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2]
    probe = validate("probe", {"fraction": 0.05, "min_per_cluster": 2})
    rows = {r["allocation"]: r for r in probe_variance.compared(population(spreads, spreads), probe, 2)}
    assert {r["probe_size"] for r in rows.values()} == {80}
    assert rows["neyman"]["high"] < 0.5 and rows["proportional"]["ratio_to_proportional"] == 1
    assert rows["neyman"]["expected_variance"] == pytest.approx(rows["optimum"]["expected_variance"], rel=0.05)
    assert rows["neyman"]["low"] < rows["neyman"]["expected_ratio"] < rows["neyman"]["high"]
    assert rows["uniform"]["expected_ratio"] == pytest.approx(1), "clusters of one size"
    assert all(abs(r["bias"]) < 4 * np.sqrt(r["variance"] / r["draws"]) for r in rows.values())
    assert rows["neyman"]["spread_correlation"] > 0.5
    misled = {r["allocation"]: r for r in probe_variance.compared(population(spreads, spreads[::-1]), probe, 2)}
    assert misled["neyman"]["low"] > 1.5 and misled["optimum"]["expected_ratio"] < 0.5


def test_where_floors_take_all_nothing_is_left_to_allocate():
    probe = validate("probe", {"fraction": 0.01})
    rows = list(probe_variance.compared(population([1.0, 2.0, 3.0], [3.0, 2.0, 1.0], 100), probe, 8))
    assert {r["probe_size"] for r in rows} == {24} and {r["at_floor"] for r in rows[:-1]} == {3}
    assert [r["ratio_to_proportional"] for r in rows[:-1]] == [1] * 4


def test_strata_that_differ_in_their_means_are_worth_their_trouble():
    rng = np.random.default_rng(0)
    values = [rng.normal(10 * k, 1, 200) for k in range(5)]
    probe = validate("probe", {"fraction": 0.1})
    rows = list(probe_variance.compared(probe_variance.Population("loss", values, np.ones(5)), probe, 8))
    assert rows[-1]["allocation"] == "no clusters" and rows[-1]["low"] > 20


# sensitivity


def test_variants_turn_one_thing_each_and_stay_within_the_proxy():
    now = validate("adaptation", {"seeds": 2})
    names = [v.name for v in sensitivity.variants(now, 30, "other/model")]
    assert names == [
        "in force", "seed + 1", "seed + 2", "form steps", "absolute drop",
        "loss on what it trains on",
        "reset depth 1", "reset depth 2", "reset depth 4", "reset depth 4, seed + 1", "reset depth 4, seed + 2",
        "proxy unigram", "proxy model",
    ]  # fmt: skip
    steps = [v.name for v in sensitivity.variants(validate("adaptation", {"form": "steps"}), 30, "other/model")]
    assert steps[3:7] == ["after 1 step", "after 3 steps", "after 30 steps", "form closed"]
    seeds = [v.settings.seed for v in sensitivity.variants(now, 30, "other/model") if v.name.startswith("seed")]
    assert seeds == [2, 4], "no initialisation twice"
    assert [v.settings.reset_depth for v in sensitivity.variants(now, 2, "other/model")][-3] == 2
    some = [*sensitivity.variants(now, 30, "other/model")]
    assert {v.settings.form for v in some if v.settings.reset_depth} == {"steps"}, "only the head has a closed form"
    deep = validate(
        "adaptation", {"form": "steps", "reset_depth": 4, "epochs": 2, "evaluate": "train", "delta": "absolute"}
    )
    names = [v.name for v in sensitivity.variants(deep, 4, "other/model")]
    assert "relative drop" in names and "loss held out" in names and "after 3 steps" not in names
    assert names[-5:-2] == ["reset depth 0", "reset depth 1", "reset depth 2"], "the deepest is in force"


# On the small pool


@pytest.fixture
def other_proxy(models, tmp_path):
    """A narrower Llama under the same tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    AutoTokenizer.from_pretrained(models / "proxy").save_pretrained(tmp_path / "other")
    config = LlamaConfig(
        vocab_size=400, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path / "other")
    return tmp_path / "other"


def materialize(lab, *stages: str) -> dict[str, bool]:
    """As the job ``evaluate`` does; whether each was reused."""
    result = lab.materialize(*stages, tags={"grip/evaluate": "asked for"})
    evaluations = {e.check_name: e for e in result.get_asset_check_evaluations()}
    assert not [e for e in evaluations.values() if not e.passed and e.severity == dg.AssetCheckSeverity.ERROR]
    made = [e.step_materialization_data.materialization for e in result.get_asset_materialization_events()]
    seen = [e.asset_observation_data.asset_observation for e in result.get_asset_observation_events()]
    return {said.asset_key.to_user_string(): said.metadata["reused"].value for said in [*made, *seen]}


def table(lab, name: str) -> pl.DataFrame:
    return lab.sql(f"SELECT * FROM {name}")


@pytest.mark.run
def test_the_claims_are_tested_on_a_pool_once(lab, models, other_proxy, monkeypatch, tmp_path):
    monkeypatch.setattr(length_slopes, "SAMPLE", 100)
    monkeypatch.setattr(probe_variance, "SAMPLE", 100)
    monkeypatch.setattr(probe_variance, "DRAWS", 40)
    monkeypatch.setattr(length_by_beta, "DRAWS", 4)
    monkeypatch.setattr(sensitivity, "DEPTHS", (0, 4))
    monkeypatch.setattr(sensitivity, "FURTHER_SEEDS", 1)
    draw(True)
    lab.change("evaluation", other_encoder=str(models / "proxy"), other_proxy=str(other_proxy))
    assert materialize(lab, *CLAIMS) == dict.fromkeys(CLAIMS, False)
    for stage in CLAIMS:
        for name in STAGES[stage].table_names:
            assert len(table(lab, name)), name
        assert list((lab.data / stage).glob("*/picture.png"))
    slopes = table(lab, "length_slopes")
    assert slopes["from_tokens"].unique().sort().to_list() == [0, 256]
    assert slopes.filter(from_tokens=0).group_by("encoder", "reading").len().sort("encoder", "reading")[
        "len"
    ].to_list() == [3, 2, 2, 2]
    the_drops_are_those_of_runs(lab)
    lengths_are_those_of_the_subset(lab)
    _, made = filled(PAGE.read_text(), "default", lab.data, tmp_path)
    known = {name.removesuffix("_picture") for name in made}
    assert {*CLAIMS, "length_match", "quality_correlation", "pool", "contamination"} <= known
    assert materialize(lab, *CLAIMS) == dict.fromkeys(CLAIMS, True)
    draw(False)
    assert lab.curate() == set(), "what was made to compare is no round, and changes nothing"

    # Other seeds of the bootstrap and the like cost nothing: what is slow is kept by document and by cluster.
    slow = ("adapt", "grip_assets.training.adaptation"), ("load_encoder", "grip_assets.models.encoder")
    for name, module in slow:
        monkeypatch.setattr(f"{module}.{name}", None)
    for stage in CLAIMS:
        for artifact in (lab.data / stage).glob("[!.]*"):
            artifact.rename(lab.home / f"lost_{stage}")
    assert materialize(lab, *CLAIMS) == dict.fromkeys(CLAIMS, False)


def the_drops_are_those_of_runs(lab) -> None:
    rows, deltas = table(lab, "sensitivity"), table(lab, "sensitivity_deltas")
    now = lab.sql("SELECT * FROM adaptation_deltas ORDER BY cluster_id")
    first = rows.row(0, named=True)
    assert (first["variant"], first["spearman"], first["n_clusters"]) == ("in force", pytest.approx(1), len(now))
    assert deltas.filter(variant="in force").sort("cluster_id")["delta"].to_list() == now["relative_delta"].to_list()
    absolute = deltas.filter(variant="absolute drop").sort("cluster_id")["delta"]
    assert absolute.to_list() == now["delta"].to_list()
    free = rows.filter(pl.col("tokens") == 0)["variant"].to_list()
    assert free == ["absolute drop"] and rows.filter(tokens=0)["seconds"].to_list() == [0]
    row = rows.filter(variant="reset depth 4").row(0, named=True)
    both = now.join(deltas.filter(variant="reset depth 4"), on="cluster_id", suffix="_then")
    assert row["spearman"] == pytest.approx(rank_correlation(both["relative_delta"], both["delta_then"]))
    assert rows["proxy"][-1] == "other" and rows["variant"][-1] == "proxy other"
    n = len(rows)
    assert len(table(lab, "sensitivity_pairs")) == n * (n - 1) // 2 and len(table(lab, "quality_correlation")) == n


def lengths_are_those_of_the_subset(lab) -> None:
    """The first draw, with the β in force, is the subset in force."""
    rows = table(lab, "length_by_beta")
    assert rows["beta"].null_count() == 1 and len(rows) == 1 + len(length_by_beta.BETAS)
    pool = lab.sql("SELECT avg(n_tokens) FROM corpus").item()
    assert rows["mean_tokens_pool"].to_numpy() == pytest.approx(pool)
    documents, selection = lab.sql("SELECT * FROM selection_weights"), Selection.of(settings_in_force(lab.instance))
    lengths = length_by_beta.Lengths(documents["n_tokens"].to_numpy())
    drawn = length_by_beta.draws(
        table(lab, "budgets").sort("cluster_id"), documents, lengths, selection, [selection.beta]
    )
    mean = lab.sql("SELECT sum(n_tokens * repeats) / sum(repeats) FROM subset").item()
    assert drawn[selection.beta][0]["mean_tokens"] == pytest.approx(mean)


@pytest.mark.run
def test_uniform_weights_in_force_know_no_density_and_it_is_measured(lab):
    lab.make("densities", "subset", selection={"weight": "uniform"})
    materialize(lab, "length_by_beta")
    rows = table(lab, "length_by_beta")
    random, first = rows.filter(pl.col("beta").is_null()), rows.filter(beta=0.0)
    assert random["mean_tokens"][0] != first["mean_tokens"][0]


@pytest.mark.slow
@pytest.mark.run
def test_without_another_proxy_one_is_trained_once(lab, monkeypatch):
    small = {
        "tokens": 2000,
        "vocabulary": 300,
        "hidden": 16,
        "heads": 2,
        "layers": 1,
        "context": 32,
        "batch_tokens": 64,
    }
    lab.change("evaluation", **small)
    materialize(lab, "sensitivity")
    (trained,) = (lab.data / ".models").glob("trained-here-*")
    assert set(table(lab, "sensitivity")["proxy"]) == {"proxy", "unigram", trained.name}
    monkeypatch.setattr("grip_assets.training.small.train", None)
    lab.curate(quality={"shrinkage": 1.0})
    materialize(lab, "sensitivity")


@pytest.mark.run
def test_an_evaluation_is_made_when_it_is_asked_for(lab):
    result = dg.evaluate_automation_conditions(defs, lab.instance)
    assert not {r.key.to_user_string() for r in result.results if r.true_subset.size}
