"""What every base budget promises, whoever wrote it; and the file of weights."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given as for_all
from hypothesis import settings as limits
from hypothesis import strategies as st

from grip_assets.errors import GripError
from grip_assets.method.budget.base import Domains, checked
from grip_assets.method.budget.registry import BUDGETS, base_shares
from grip_assets.settings import GROUPS, Budget, choices
from grip_assets.stages import CURATED
from grip_assets.stages.curation.budgets import budgets_under, facts
from grip_assets.stages.curation.weights_file import read_weights

K = 7


def measured(seed: int, values: bool = False) -> dict[str, pl.DataFrame]:
    """K clusters as the stages before ``budgets`` measure them."""
    rng = np.random.default_rng(seed)
    ids = pl.Series("cluster_id", range(K), pl.Int32)
    n_docs = rng.integers(1, 400, K)
    sigma = pl.DataFrame([ids]).with_columns(
        n_docs=pl.Series(n_docs), n_tokens=pl.Series(n_docs * rng.integers(20, 2000, K)), sigma=rng.uniform(0, 1, K)
    )
    quality = pl.DataFrame([ids]).with_columns(quality=rng.uniform(0, 1, K), standard_error=rng.uniform(0, 0.1, K))
    drops = rng.normal(0.3, 0.3, K)
    deltas = pl.DataFrame([ids]).with_columns(delta=drops, relative_delta=drops / 10)
    centroids = pl.DataFrame([ids]).with_columns(value=pl.Series([f"v{k}" for k in range(K)] if values else [None] * K))
    vectors = np.random.default_rng([seed, 1]).normal(size=(K, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    centroids = centroids.with_columns(centroid=pl.Series(vectors.tolist(), dtype=pl.Array(pl.Float32, 5)))
    mixture = pl.DataFrame([ids]).with_columns(weight=rng.dirichlet(np.ones(K)))
    sketched = np.random.default_rng([seed, 2])
    means = pl.DataFrame([ids]).with_columns(sketch=pl.Series(sketched.normal(size=(K, 6)).astype(np.float32)))
    aims = pl.DataFrame({
        "target": ["a", "b"], "weight": [1.0, 2.0], "scale": [0.5, 0.7], "gamma": [1.0, 1.0], "combine": ["sum"] * 2, "source": ["full"] * 2,
        "sketch": sketched.normal(0.5, 1, (2, 6)).astype(np.float32),
    })  # fmt: skip
    return {
        "sigma_k": sigma, "cluster_quality": quality, "adaptation_deltas": deltas, "centroids": centroids,
        "mixture": mixture, "attribution_clusters": means, "attribution_aims": aims,
    }  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    file = tmp_path_factory.mktemp("weights") / "weights.json"
    file.write_text("{" + ", ".join(f'"{k}": {k % 3 + 0.5}' for k in range(K)) + "}")
    return str(file)


def test_every_choice_of_the_setting_is_in_the_registry():
    assert set(choices(Budget.model_fields["base"].annotation)) == set(BUDGETS)


@pytest.mark.parametrize("unit", ["tokens", "documents"])
@pytest.mark.parametrize("replay", ["none", "quality", "loss"])
@pytest.mark.parametrize("base", BUDGETS)
def test_budgets_are_exact_within_caps_and_follow_their_clusters(base, replay, unit, weights):
    for seed in range(4):
        settings = Budget(base=base, replay=replay, unit=unit, total=[0.02, 0.3, 0.8, 1.0][seed], weights=weights)
        tables = measured(seed)
        made = budgets_under(tables, settings, "relative")
        assert made["base"].unique().to_list() == [base]
        assert (made["base_budget"] >= 0).all()
        assert made["base_budget"].sum() == pytest.approx(made["total"][0]) == pytest.approx(made["budget"].sum())
        assert made["allocated"].sum() == made["total"][0], "exact"
        assert (made["allocated"] <= made["capacity"]).all() and (made["allocated"] >= 0).all()
        assert made["capacity"].to_list() == made["n_tokens" if unit == "tokens" else "n_docs"].to_list()
        if replay == "none":
            assert made["replay_multiplier"].to_list() == [1] * K and made["utility"].equals(made["base_budget"])


@pytest.mark.parametrize("base", BUDGETS)
def test_another_order_of_the_clusters_gives_each_the_same_budget(base, weights):
    settings = Budget(base=base, total=0.3, weights=weights)
    tables = measured(5)
    order = np.random.default_rng(1).permutation(K)
    mixed = {name: table[order] if "cluster_id" in table.columns else table for name, table in tables.items()}
    kept = ["cluster_id", "base_budget", "allocated"]
    one, other = (budgets_under(t, settings, "relative").select(kept).sort("cluster_id") for t in (tables, mixed))
    assert one["allocated"].equals(other["allocated"])
    assert one["base_budget"].to_list() == pytest.approx(other["base_budget"].to_list(), rel=1e-12)


@limits(max_examples=200, deadline=None)
@for_all(st.lists(st.floats(0, 1e300), min_size=1, max_size=20))
def test_shares_of_any_sizes_and_weights_are_shares(numbers):
    domains = Domains(np.arange(len(numbers)), np.array(numbers), weights={str(i): w for i, w in enumerate(numbers)})
    shares = {"proportional": base_shares("proportional", domains)}
    if sum(numbers) > 0:
        shares["given"] = base_shares("given", domains)
    for share_K in shares.values():
        assert (share_K >= 0).all() and share_K.sum() == pytest.approx(1) and len(share_K) == len(numbers)


def test_learned_weights_are_the_budgets_and_those_of_other_clusters_are_refused():
    tables = measured(3)
    made = budgets_under(tables, Budget(base="mixture", replay="none", total=0.1), "relative")
    assert (made["base_budget"] / made["total"]).to_list() == pytest.approx(tables["mixture"]["weight"].to_list())
    for none in (tables["mixture"].head(3), tables["mixture"].head(0)):
        with pytest.raises(GripError, match="clusters have no weight in the table mixture"):
            budgets_under(tables | {"mixture": none}, Budget(base="mixture"), "relative")


def test_grasp_fits_the_targets_better_than_the_sizes_do_and_takes_no_more_than_there_is():
    tables = measured(3)
    made = budgets_under(tables, Budget(base="grasp", replay="none", total=0.4), "relative")
    aims, size_K = tables["attribution_aims"], tables["sigma_k"]["n_tokens"].to_numpy()
    goal_F = aims["weight"].to_numpy() @ aims["sketch"].to_numpy()
    penalty = float(aims["weight"].to_numpy() @ aims["scale"].to_numpy())

    def utility(share_K):
        v_F = share_K @ tables["attribution_clusters"]["sketch"].to_numpy()
        return goal_F @ v_F - penalty / 2 * v_F @ v_F

    share_K = (made["base_budget"] / made["total"]).to_numpy()
    assert utility(share_K) > utility(size_K / size_K.sum()) + 0.01
    assert (share_K * made["total"][0] <= size_K + 1e-6).all(), "so that nothing is left to share out"
    assert made["allocated"].to_list() == pytest.approx((share_K * made["total"][0]).tolist(), abs=1)
    fair = budgets_under(
        tables | {"attribution_aims": aims.with_columns(combine=pl.lit("maxmin"))},
        Budget(base="grasp", replay="none", total=0.4),
        "relative",
    )

    def worst(made):
        v_F = (made["base_budget"] / made["total"]).to_numpy() @ tables["attribution_clusters"]["sketch"].to_numpy()
        each = aims["sketch"].to_numpy() @ v_F - aims["scale"].to_numpy() / 2 * (v_F @ v_F)
        return (each / aims["weight"].to_numpy()).min()

    assert worst(fair) > worst(made) + 1e-3, "maxmin is not the weighted sum"
    for missing in (
        {"attribution_clusters": tables["attribution_clusters"].head(2)},
        {"attribution_aims": aims.head(0)},
    ):
        with pytest.raises(GripError, match="clusters have no sketch in the table attribution_clusters"):
            budgets_under(tables | missing, Budget(base="grasp"), "relative")


def test_shares_that_are_none_are_refused():
    for wrong in ([-0.1, 1.1], [np.nan, 1.0], [0.2, 0.2]):
        with pytest.raises(GripError, match="returned shares"):
            checked(np.array(wrong), "mine")


def test_proportional_gives_every_cluster_its_share_of_the_pool_and_needs_no_probe():
    tables = measured(2)
    tables |= {name: tables[name].head(0) for name in ("cluster_quality", "adaptation_deltas")}
    made = budgets_under(tables, Budget(base="proportional", replay="none", total=0.5), "relative")
    assert made["budget"].to_list() == pytest.approx((made["n_tokens"] / 2).to_list(), abs=1)
    with pytest.raises(GripError, match="need adaptation_deltas. The settings in force do not"):
        budgets_under(tables | {"cluster_quality": measured(2)["cluster_quality"]}, Budget(replay="loss"), "relative")


def test_settings_of_neyman_change_nothing_of_another_base():
    plain, turned = Budget(base="proportional"), Budget(base="proportional", tau=2.0, use_sigma=False, temperature=9.0)
    assert plain.effective() == turned.effective()
    assert budgets_under(measured(3), plain, "relative").equals(budgets_under(measured(3), turned, "relative"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("w.json", '{"v0": 1, "v1": 2.5, "v2": 0, "v3": 1e-1, "v4": 1, "v5": 1, "v6": 1}'),
        ("w.yaml", "v0: 1\nv1: 2.5\nv2: 0\nv3: 1e-1\nv4: 1\nv5: 1\nv6: 1\n"),
        ("w.csv", "value,weight\nv0,1\nv1,2.5\nv2,0\nv3,0.1\nv4,1\nv5,1\nv6,1\n"),
    ],
)
def test_weights_are_given_by_the_values_of_the_column_in_three_formats(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    settings = Budget(base="given", weights=str(tmp_path / name), replay="none", total=0.1)
    made = budgets_under(measured(0, values=True), settings, "relative")
    share = made["base_budget"] / made["total"]
    assert share.to_list() == pytest.approx([w / 6.6 for w in (1, 2.5, 0, 0.1, 1, 1, 1)])
    assert made["allocated"][2] == 0, "a weight of 0 leaves a cluster out"


def test_weights_may_name_the_ids_of_clusters_that_have_values(weights):
    made = budgets_under(measured(0, values=True), Budget(base="given", weights=weights, replay="none"), "relative")
    assert (made["base_budget"] / made["total"])[0] == pytest.approx(0.5 / sum(k % 3 + 0.5 for k in range(K)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"0": 1, "1": 2}', "no weight for '2', '3', '4', '5', '6'"),
        ('{"0":1,"1":1,"2":1,"3":1,"4":1,"5":1,"6":1,"x":1}', "weights for 'x', which no cluster is called"),
        ('{"0":1,"1":1,"2":1,"3":1,"4":1,"5":1,"6":-1}', "the weight of '6' is not a number of at least 0"),
        ('{"0":0,"1":0,"2":0,"3":0,"4":0,"5":0,"6":0}', "all weights are 0"),
        ('{"0": "much"}', "the weight of '0' is 'much', which is not a number"),
        ('{"0": 1, "0": 2}', "'0' is there twice"),
        ("[1, 2]", "not a mapping of names to weights"),
        ("{", "cannot be read as JSON or YAML"),
        ("", "not a mapping of names to weights"),
        ("{}", "it has no weights"),
    ],
)
def test_weights_that_are_wrong_are_refused_with_the_name_and_what_to_do(tmp_path, text, said):
    (tmp_path / "w.json").write_text(text)
    with pytest.raises(GripError, match=said):
        budgets_under(measured(0), Budget(base="given", weights=str(tmp_path / "w.json")), "relative")


def test_a_file_of_weights_that_is_not_there_is_refused_before_anything_is_computed(tmp_path):
    for settings, said in (
        (Budget(base="given"), "Add --set budget.weights=FILE"),
        (Budget(base="given", weights=str(tmp_path / "none.csv")), "cannot be read"),
    ):
        with pytest.raises(GripError, match=said):
            facts({"budget": settings}, tmp_path)


def test_the_content_of_the_weights_is_in_the_recipe_and_their_path_decides_nothing_else(tmp_path):
    (tmp_path / "w.yaml").write_text("a: 1\n")
    settings = {"budget": Budget(base="given", weights=str(tmp_path / "w.yaml"))}
    before = facts(settings, tmp_path)
    (tmp_path / "w.yaml").write_text("a: 2\n")
    assert facts(settings, tmp_path) != before and facts({"budget": Budget()}, tmp_path) == {}
    assert read_weights(settings["budget"]) == {"a": 2.0}


@pytest.mark.parametrize(
    ("values", "unused"),
    [
        ({}, []),
        ({"replay": "none"}, ["adaptation_deltas", "rounds"]),
        ({"base": "proportional"}, []),
        ({"base": "mixture"}, []),
        ({"base": "grasp"}, []),
        ({"replay": "quality", "base": "given"}, ["adaptation_deltas", "rounds"]),
        (
            {"base": "proportional", "replay": "none"},
            ["probe_set", "quality_scores", "adaptation_deltas", "judge_report", "rounds"],
        ),
        (
            {"use_quality": False, "replay": "none"},
            ["probe_set", "quality_scores", "adaptation_deltas", "judge_report", "rounds"],
        ),
    ],
)
def test_what_the_budget_does_not_read_is_not_measured(values, unused):
    settings = {group: schema() for group, schema in GROUPS.items()}
    settings["budget"] = Budget(**{"replay": "loss"} | values)
    reasons = {name: CURATED[name].why_unused(settings) for name in CURATED}
    learned = {"mixture": "mixing", "grasp": "attribution"}
    groups = {group for base, group in learned.items() if settings["budget"].base != base}
    other = {name for name, stage in CURATED.items() if stage.group in groups}
    assert {name for name, reason in reasons.items() if "settings/budget." in reason} == {*unused, *other}


def by_hand(name: str, sizes: list[float], **fields) -> np.ndarray:
    return base_shares(name, Domains(np.arange(len(sizes)), np.array(sizes, np.float64), **fields))


def test_uniform_and_tempered_as_computed_by_hand():
    assert by_hand("uniform", [1, 10, 100]).tolist() == pytest.approx([1 / 3] * 3)
    assert by_hand("tempered", [1, 4, 25], exponent=0.5).tolist() == pytest.approx([1 / 8, 2 / 8, 5 / 8])
    assert by_hand("tempered", [1, 4, 25], exponent=1.0).tolist() == pytest.approx([1 / 30, 4 / 30, 25 / 30])
    assert by_hand("tempered", [1, 4, 25], exponent=0.0).tolist() == pytest.approx([1 / 3] * 3)


def unimax_of_the_paper(size_K, total, max_epochs):
    """Algorithm 1 of UniMax, as it is written."""
    share_K, left = np.zeros(len(size_K)), total
    for rank, k in enumerate(np.argsort(size_K, kind="stable")):
        share_K[k] = min(left / (len(size_K) - rank), max_epochs * size_K[k])
        left -= share_K[k]
    return share_K / share_K.sum()


def test_unimax_is_uniform_up_to_its_epochs_as_in_the_paper():
    assert by_hand("unimax", [1, 10, 100], total=30.0, max_epochs=4).tolist() == pytest.approx(
        [4 / 30, 13 / 30, 13 / 30]
    )
    rng = np.random.default_rng(0)
    for _ in range(100):
        sizes, epochs = rng.lognormal(0, 2, 9), rng.uniform(0.5, 5)
        total = rng.uniform(0.01, 1.2) * sizes.sum() * epochs
        found = by_hand("unimax", list(sizes), total=total, max_epochs=epochs)
        assert found == pytest.approx(unimax_of_the_paper(sizes, total, epochs), rel=1e-9)


def chameleon_of_the_authors(vectors, ridge, temperature):
    """Leverage scores with an explicit inverse, as the authors' program computes them, in our two scales."""
    k = len(vectors)
    centring = np.eye(k) - 1 / k
    gram = centring @ vectors @ vectors.T @ centring
    gram = gram / (np.trace(gram) / k)
    scores = np.diag(gram @ np.linalg.inv(gram + ridge * k * np.eye(k)))
    logits = 1 / (scores / scores.mean()) / temperature
    return np.exp(logits) / np.exp(logits).sum()


def test_chameleon_gives_more_to_clusters_that_are_like_the_others():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(7, 32))
    found = by_hand("chameleon", [1.0] * 7, centroid_KV=vectors, ridge=0.3, leverage_temperature=0.7)
    assert found == pytest.approx(chameleon_of_the_authors(vectors, 0.3, 0.7), rel=1e-9)
    near = np.eye(4)[0] + 0.1 * rng.normal(size=(5, 4))
    odd = by_hand("chameleon", [1.0] * 6, centroid_KV=np.vstack([near, np.eye(4)[1]]))
    assert odd.argmin() == 5, "the one unlike the others"
    same = by_hand("chameleon", [1.0] * 3, centroid_KV=np.ones((3, 4)))
    assert same.tolist() == pytest.approx([1 / 3] * 3)
    unknown = by_hand("chameleon", [1.0] * 3, centroid_KV=np.array([[1.0, 0], [0, 1], [np.nan, np.nan]]))
    assert unknown.tolist() == pytest.approx([1 / 3] * 3), "no centroid: the mean leverage"


@pytest.mark.parametrize("base", ["uniform", "tempered", "unimax", "chameleon"])
def test_a_cheap_mixer_needs_no_probe(base):
    tables = measured(2)
    tables |= {name: tables[name].head(0) for name in ("cluster_quality", "adaptation_deltas")}
    made = budgets_under(tables, Budget(base=base, replay="none", total=0.5), "relative")
    assert made["allocated"].sum() == made["total"][0]
