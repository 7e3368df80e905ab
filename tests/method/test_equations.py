"""G2 to G7 in SQL against slow float64 references, and the acceptance checks 1 to 3 of the specification."""

import numpy as np
import polars as pl
import pytest

from grip_assets.store.query import query

N_K = np.array([120, 40, 300, 75, 900])
TOKENS = np.array([9_000, 90_000, 20_000, 3_000, 50_000])
SIGMA = np.array([0.5, 0.9, 0.3, 0.7, 0.6])
QUALITY = np.array([0.8, 0.35, 0.55, 0.41, 0.6])
ERROR = np.array([0.3, 0.02, 0.01, 0.05, 0.1])
DELTA = np.array([1.2, 0.4, 2.2, 0.9, -0.1])
DEFAULTS = {
    "total": 1000, "unit": "documents", "tau": 0.5, "temperature": 1.0, "use_sigma": True, "use_quality": True,
    "quality_scale": "unit", "replay": "loss", "alpha": 2.0, "gate": 0.4, "gate_quantile": None, "direction": "deficit",
    "quality_bound": 0.0,
    "norm_weights": "uniform", "delta": "absolute",
}  # fmt: skip


def budgets(order=None, n=N_K, tokens=TOKENS, sigma=SIGMA, quality=QUALITY, drop=DELTA, **changes):
    ids = np.arange(len(n)) if order is None else np.asarray(order)
    tables = {
        "sigma_k": pl.DataFrame({"cluster_id": ids, "n_docs": n, "n_tokens": tokens, "sigma": sigma}),
        "cluster_quality": pl.DataFrame({"cluster_id": ids, "quality": quality, "standard_error": ERROR}),
        "adaptation_deltas": pl.DataFrame(
            {"cluster_id": ids, "delta": pl.Series(drop), "relative_delta": pl.Series(drop) / 10}
        ),
    }
    parameters = DEFAULTS | changes
    tables["shares"] = query("equations/neyman", tables, **parameters)
    return query("equations/budgets", tables, **parameters)


def reference(size, sigma, quality, delta, total, tau, temperature, alpha, gate):
    """Equations 5, 7 and 8 of the paper, one cluster at a time."""
    weight = [(n * s) ** tau * np.exp(q / temperature) for n, s, q in zip(size, sigma, quality, strict=True)]
    base = [total * w / sum(weight) for w in weight]
    drops = [max(d, 0.0) for d in delta]
    norm = sum(drops) / len(drops)
    r = [1 + alpha * np.exp(-d / norm) * (q > gate) for d, q in zip(drops, quality, strict=True)]
    utility = [b * x for b, x in zip(base, r, strict=True)]
    return np.array(base), np.array(r), np.array([total * u / sum(utility) for u in utility])


@pytest.mark.parametrize("unit", ["documents", "tokens"])
@pytest.mark.parametrize(
    "tau, temperature, alpha, gate", [(0.5, 1.0, 2.0, 0.4), (1.3, 0.05, 0.7, 0.5), (0.0, 9.0, 5.0, 0.0)]
)
def test_budgets_agree_with_the_paper(unit, tau, temperature, alpha, gate):
    size = TOKENS if unit == "tokens" else N_K
    base, r, n = reference(size, SIGMA, QUALITY, DELTA, 1000, tau, temperature, alpha, gate)
    got = budgets(unit=unit, tau=tau, temperature=temperature, alpha=alpha, gate=gate)
    np.testing.assert_allclose(got["base_budget"], base, rtol=1e-12)
    np.testing.assert_allclose(got["replay_multiplier"], r, rtol=1e-12)
    np.testing.assert_allclose(got["budget"], n, rtol=1e-12)
    assert got["budget"].sum() == pytest.approx(1000, rel=1e-12)


def test_without_replay_the_budget_is_the_base():
    for changes in (
        {"alpha": 0.0},
        {"gate": 1.0},
        {"replay": "none"},
        {"delta": "relative", "direction": "deficit", "alpha": 0.0},
    ):
        got = budgets(**changes)
        np.testing.assert_allclose(got["budget"], got["base_budget"], rtol=1e-12)
    equal = budgets(drop=np.full(5, 0.7), gate=0.0)
    np.testing.assert_allclose(equal["budget"], equal["base_budget"], rtol=1e-12)
    nothing = budgets(drop=np.full(5, -1.0))
    assert (nothing["replay_multiplier"] == 1).all()


def test_equal_clusters_are_budgeted_by_size():
    got = budgets(sigma=np.full(5, 0.4), quality=np.full(5, 0.6), tau=1.0, replay="none")
    np.testing.assert_allclose(got["budget"], 1000 * N_K / N_K.sum(), rtol=1e-12)
    random = budgets(tau=1.0, use_sigma=False, use_quality=False, replay="none", unit="tokens")
    np.testing.assert_allclose(random["budget"], 1000 * TOKENS / TOKENS.sum(), rtol=1e-12)


def test_the_multiplier_is_between_1_and_1_plus_alpha_and_falls_with_the_drop():
    rng = np.random.default_rng(1)
    for _ in range(20):
        delta = rng.normal(1, 1, 5)
        r = budgets(drop=delta, gate=0.0)["replay_multiplier"].to_numpy()
        assert (r >= 1).all() and (r <= 3).all()
        order = np.argsort(np.maximum(delta, 0))
        assert (np.diff(r[order]) <= 1e-12).all()
        learnable = budgets(drop=delta, gate=0.0, direction="learnable")["replay_multiplier"].to_numpy()
        assert (np.diff(learnable[order]) >= -1e-12).all()


def test_relabelled_clusters_give_relabelled_budgets():
    order = np.array([3, 0, 4, 1, 2])
    plain, renamed = budgets(), budgets(order=order)
    np.testing.assert_allclose(renamed["budget"].to_numpy()[order], plain["budget"], rtol=1e-12)


def test_only_clusters_above_the_gate_are_replayed():
    assert budgets(gate=0.4)["gate_open"].to_list() == [True, False, True, True, True]
    assert budgets(gate_quantile=0.5)["gate_open"].to_list() == [True, False, False, False, True]


def test_quality_replay_follows_the_distance_to_the_best():
    r = budgets(replay="quality", gate=0.0)["replay_multiplier"].to_numpy()
    gap = QUALITY.max() - QUALITY
    np.testing.assert_allclose(r, 1 + 2 * np.exp(-gap / gap.mean()), rtol=1e-12)


def test_a_cluster_that_was_not_measured_is_not_replayed_and_not_in_the_mean():
    got = budgets(drop=pl.Series([1.0, 2.0, None, 3.0, 2.0]), gate=0.0)
    assert got["replay_multiplier"][2] == 1
    assert got["tau_norm"].to_list() == [2.0] * 5
    assert got["replay_multiplier"][0] == pytest.approx(1 + 2 * np.exp(-0.5))


@pytest.mark.parametrize("center", ["unit", "mean"])
def test_sigma_is_the_distance_to_the_centre(center):
    """Against G2 computed from the vectors themselves."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 8)) + 0.7
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    labels = np.arange(60) % 3
    rows, want = [], []
    for k in range(3):
        members = x[labels == k]
        mean = members.mean(0)
        unit = mean / np.linalg.norm(mean)
        centre = unit if center == "unit" else mean
        want.append(np.sqrt((np.linalg.norm(members - centre, axis=1) ** 2).mean()))
        rows += [
            {"doc_id": f"{k}.{i}", "cluster_id": k, "cosine": float(e @ unit), "n_tokens": 5}
            for i, e in enumerate(members)
        ]
    got = query("equations/sigma_k", {"clusters": pl.DataFrame(rows)}, center=center)
    np.testing.assert_allclose(got["sigma"], want, rtol=1e-12)
    assert got["n_docs"].to_list() == [20, 20, 20] and got["n_tokens"].to_list() == [100, 100, 100]


def test_the_probe_target_is_proportional_to_size_times_spread():
    table = pl.DataFrame({"cluster_id": range(5), "n_docs": N_K, "sigma": SIGMA})
    got = query("equations/probe_allocation", {"sigma_k": table}, total=50)
    np.testing.assert_allclose(got["target"], 50 * N_K * SIGMA / (N_K * SIGMA).sum(), rtol=1e-12)
    flat = query("equations/probe_allocation", {"sigma_k": table.with_columns(sigma=pl.lit(0.0))}, total=50)
    np.testing.assert_allclose(flat["target"], 50 * N_K / N_K.sum(), rtol=1e-12)


def test_quality_is_drawn_towards_the_mean_and_failures_do_not_count():
    scores = pl.DataFrame(
        {
            "cluster_id": [0, 0, 0, 1, 1, 2],
            "score": [0.2, 0.4, 0.6, 0.9, 0.7, None],
            "status": ["ok", "ok", "ok", "ok", "ok", "failed"],
        }
    )
    allocation = pl.DataFrame({"cluster_id": [0, 1, 2]})
    tables = {"quality_scores": scores, "probe_allocation": allocation}
    overall = np.mean([0.2, 0.4, 0.6, 0.9, 0.7])
    got = query("equations/cluster_quality", tables, shrinkage=4.0, min_judged=3)
    want = [(3 * 0.4 + 4 * overall) / 7, (2 * 0.8 + 4 * overall) / 6, overall]
    np.testing.assert_allclose(got["quality"], want, rtol=1e-12)
    assert got["n_judged"].to_list() == [3, 2, 0]
    pooled = (2 * 0.04 + 1 * 0.02) / 3
    everything = np.std([0.2, 0.4, 0.6, 0.9, 0.7], ddof=1)
    np.testing.assert_allclose(got["standard_error"], [0.2 / np.sqrt(3), np.sqrt(0.02 / 2), everything])
    np.testing.assert_allclose(got["score_variance"], [0.04, (0.02 + 4 * pooled) / 5, pooled])
    assert got["status"].to_list() == ["ok", "too few judged", "too few judged"]
    assert got["n_asked"].to_list() == [3, 2, 1]
    np.testing.assert_allclose(
        query("equations/cluster_quality", tables, shrinkage=0.0, min_judged=3)["quality"],
        [0.4, 0.8, overall],
        rtol=1e-12,
    )


def test_the_error_of_one_score_is_that_inside_the_other_clusters():
    scores = pl.DataFrame({"cluster_id": [0, 0, 1], "score": [0.2, 0.6, 0.9], "status": "ok"})
    tables = {"quality_scores": scores, "probe_allocation": pl.DataFrame({"cluster_id": [0, 1]})}
    got = query("equations/cluster_quality", tables, shrinkage=4.0, min_judged=2)
    np.testing.assert_allclose(got["standard_error"], [np.sqrt(0.08 / 2), np.sqrt(0.08)])
    one = pl.DataFrame({"cluster_id": [0], "score": [0.5], "status": "ok"})
    alone = query("equations/cluster_quality", tables | {"quality_scores": one}, shrinkage=4.0, min_judged=2)
    assert alone["standard_error"].is_null().all(), "one score says nothing about a spread"


def test_a_lower_confidence_bound_takes_what_is_uncertain_out_of_the_budget():
    bound = QUALITY - 2 * ERROR
    plain, careful = budgets(), budgets(quality_bound=2.0)
    np.testing.assert_allclose(careful["quality_used"], np.maximum(bound, 0), rtol=1e-12)
    assert careful["quality"].to_list() == plain["quality"].to_list() == QUALITY.tolist()
    assert careful.drop("quality", "quality_used").equals(
        budgets(quality=np.maximum(bound, 0)).drop("quality", "quality_used")
    )
    assert careful["budget"][0] < plain["budget"][0], "the best cluster by its mean is the least certain one"
    np.testing.assert_allclose(plain["quality_used"], QUALITY)
