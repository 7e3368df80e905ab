"""GEM: the acceptance checks of E1 to E13 on small planted mixtures, against a plain EM, and with bad input."""

import tracemalloc

import numpy as np
import polars as pl
import pytest
from planted import planted
from scipy.special import logsumexp
from sklearn.metrics import adjusted_rand_score

from grip_assets.bench.data import mixture as mixture_of
from grip_assets.errors import GripError
from grip_assets.method.partition import estep, gem, lloyd, mixture, posterior, vmf
from grip_assets.method.partition.estep import Balance, Weights
from grip_assets.method.partition.mixture import Components, Options
from grip_assets.method.partition.registry import read
from grip_assets.method.screening import encode, products
from grip_assets.settings import Clustering
from grip_assets.store.query import query

MODES = ["dual", "mirror", "l2"]
FREE = Options(kappa="free", seeds=1)


def drawn(sizes, d=16, kappa=40.0, seed=0, shift=0.0):
    """Rows of von Mises-Fisher distributions around random directions, with their labels. ``shift``: how far all
    directions are pulled towards one."""
    rng = np.random.default_rng(seed)
    mu_KD = rng.normal(size=(len(sizes), d)) + shift * rng.normal(size=d)
    mu_KD /= np.linalg.norm(mu_KD, axis=1, keepdims=True)
    label_N = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    x_ND = np.array([_one(mu_KD[k], kappa, rng) for k in label_N])
    return x_ND.astype(np.float32), label_N, mu_KD


def _one(mu_D, kappa, rng):
    """Wood's rejection sampling: the cosine, then a direction around mu."""
    d = len(mu_D)
    b = (d - 1) / (2 * kappa + np.sqrt(4 * kappa**2 + (d - 1) ** 2))
    x0 = (1 - b) / (1 + b)
    c = kappa * x0 + (d - 1) * np.log(1 - x0**2)
    while True:
        z = rng.beta((d - 1) / 2, (d - 1) / 2)
        w = (1 - (1 + b) * z) / (1 - (1 - b) * z)
        if kappa * w + (d - 1) * np.log(1 - x0 * w) - c >= np.log(rng.uniform()):
            break
    v = rng.normal(size=d)
    v -= (v @ mu_D) * mu_D
    return w * mu_D + np.sqrt(1 - w * w) * v / np.linalg.norm(v)


@pytest.fixture(scope="module")
def small():
    return lloyd.prepare(drawn([300, 200, 120, 60, 20], seed=1)[0])


@pytest.fixture(scope="module")
def five():
    """Components of some fit, and their logits."""
    x, _, mu = drawn([300, 200, 120, 60, 20], seed=1)
    rng = np.random.default_rng(0)
    near = mu + 0.2 * rng.normal(size=mu.shape)
    theta = Components(mixture.unit(near), np.array([30.0, 20, 25, 40, 15]), np.full(5, -np.log(5)))
    rows = lloyd.prepare(x)
    return rows, theta, theta.logits(1.0, rows.codes.format)


def log_joint(x_ND, theta):
    """l_ik in float64, written down as in E1."""
    return (
        theta.kappa_K * (x_ND.astype(np.float64) @ theta.mu_KD.T)
        + vmf.log_norm(theta.kappa_K, x_ND.shape[1])
        + theta.log_prior_K
    )


def gamma_of(weights, rows):
    """Gamma of a softmax of linear logits, float64 (N, K)."""
    pairs = posterior.kept(rows.x_ND, rows.codes, weights.linear)
    return posterior.dense(pairs, len(weights.linear.bias_K))


def free_energy(gamma_NK, l_NK, balance, target=None):
    """F of E3, from its definition."""
    pi = gamma_NK.mean(0)
    u = 1 / len(pi) if target is None else target
    entropy = -(gamma_NK * np.log(np.maximum(gamma_NK, 1e-300))).sum(1).mean()
    return (gamma_NK * l_NK).sum(1).mean() + entropy - balance / 2 * ((pi - u) ** 2).sum()


# A plain EM in float64: the reference


def plain_em(x_ND, theta, balance, temperature, iterations):
    """Free kappa, uniform prior. The E-step descends D(v) by damped fixed-point steps of small size."""
    x64, objective = x_ND.astype(np.float64), []
    k, v = len(theta.kappa_K), np.zeros(len(theta.kappa_K))
    while True:
        l_NK = log_joint(x_ND, theta) / temperature
        for _ in range(150):
            log_gamma = l_NK + v - logsumexp(l_NK + v, axis=1, keepdims=True)
            new = -balance / temperature * (np.exp(log_gamma).mean(0) - 1 / k)
            v = v + (new - v) / (1 + balance / temperature)
        gamma = np.exp(log_gamma)
        objective.append(temperature * free_energy(gamma, l_NK, balance / temperature))
        if len(objective) > iterations:
            return gamma, objective
        r_KD, n_K = gamma.T @ x64, gamma.sum(0)
        length = np.linalg.norm(r_KD, axis=1)
        kappa = vmf.concentration(length / n_K, x_ND.shape[1])
        theta = Components(r_KD / length[:, None], kappa, theta.log_prior_K)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_fast_fit_is_a_plain_em_in_float64(small, temperature):
    options = Options(kappa="free", balance=3.0, balance_scale="per_sample", temperature=temperature, seeds=1,
                      iterations=8, continuation=0, tolerance=0.0)  # fmt: skip
    start, moments = mixture._start(small, 5, 0, options, lambda line: None)
    scale = mixture._scale(small, start, moments, options)
    start = mixture._maximised(start, moments, scale, options)
    gamma, objective = plain_em(small.x_ND, start, 3.0, temperature, 8)
    found = mixture.fit(small, 5, options)
    assert [row[2] for row in found.trace] == pytest.approx(objective, abs=2e-7)
    mine = gem.of(found).posterior(small.x_ND)
    order = np.argsort(-gamma.mean(0), kind="stable")
    assert np.abs(mine - gamma[:, order]).max() < 1e-4


# 1: F never falls


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kappa", ["shrunk", "tied", "free"])
@pytest.mark.parametrize("balance", [0.0, 5.0, 200.0])
def test_f_never_falls(small, mode, kappa, balance):
    options = Options(estep=mode, kappa=kappa, balance=balance, balance_scale="per_sample", seeds=1, iterations=14,
                      continuation=3, tolerance=0.0, inner_steps=3)  # fmt: skip
    trace = mixture.fit(small, 7, options).trace
    after = np.array([row[2] for row in trace[4:]])
    assert len(trace) == 15 and (np.diff(after) >= -1e-9 * np.abs(after[1:])).all()
    assert [row[3] for row in trace[4:]] == [balance] * len(after), "lambda has risen to its value"


def test_f_is_what_e3_says(small):
    found = mixture.fit(small, 5, Options(kappa="free", balance=5.0, balance_scale="per_sample", seeds=1))
    gamma = gem.of(found).posterior(small.x_ND)
    theta = Components(mixture.unit(found.mu_KD), found.kappa_K, np.full(5, -np.log(5)))
    assert found.objective == pytest.approx(free_energy(gamma, log_joint(small.x_ND, theta), 5.0), rel=1e-9)


def test_a_wrong_sign_is_found(small, monkeypatch):
    """Were the pull of the balance turned around, F would fall, and the fit says so."""
    wrong = Options(estep="mirror", balance=60.0, balance_scale="per_sample", seeds=1, continuation=0)
    mixture.fit(small, 5, wrong)
    monkeypatch.setattr(Balance, "pull", lambda self, mass_K: self.strength * (mass_K - self.target_K))
    with pytest.raises(GripError, match="fell from .* which a correct fit never does"):
        mixture.fit(small, 5, wrong)


def test_the_check_of_the_stage_finds_a_fall():
    rows = [(0, 0, 5.0, 0.5), (0, 1, 4.0, 1.0), (0, 2, 4.5, 1.0), (0, 3, 4.4, 1.0), (1, 0, 1.0, 1.0)]
    trace = pl.DataFrame(rows, gem.FIT_TRACE, orient="row")
    assert query("checks/partition__never_falls", {"fit_trace": trace})["iteration"].to_list() == [3]
    of_kmeans = trace.with_columns(balance=pl.lit(None, pl.Float64))
    assert not len(query("checks/partition__never_falls", {"fit_trace": of_kmeans}))
    assert not len(query("checks/partition__improved", {"fit_trace": trace}))


def test_the_check_of_k_means_allows_dissolved_clusters_and_finds_a_start_that_never_rises():
    rows = [(0, 0, 0.5, None), (0, 1, 0.6, None), (0, 2, 0.4, None), (1, 0, 0.5, None), (1, 1, 0.4, None)]
    trace = pl.DataFrame(rows, gem.FIT_TRACE, orient="row")
    assert query("checks/partition__improved", {"fit_trace": trace})["seed"].to_list() == [1]


# 2: limits and optimality of the dual


def test_a_tiny_lambda_is_the_plain_mixture(five):
    rows, _, linear = five
    none = np.zeros(5)
    one, two = (estep.dual(rows, linear, none, Balance(s, np.full(5, 0.2))) for s in (1e-10, 0.0))
    assert 0 < np.abs(gamma_of(one, rows) - gamma_of(two, rows)).max() < 1e-10


def test_a_huge_lambda_makes_the_masses_equal(five):
    rows, _, linear = five
    found = estep.dual(rows, linear, np.zeros(5), Balance(1e8, np.full(5, 0.2)))
    assert np.abs(found.moments.mass_K / len(rows.x_ND) - 0.2).max() < 1e-6


@pytest.mark.parametrize("strength", [0.5, 5.0, 500.0])
@pytest.mark.parametrize("full", [True, False])
def test_the_offset_is_minus_lambda_times_the_excess_of_mass(five, strength, full, monkeypatch):
    if not full:
        monkeypatch.setattr(estep, "FULL", 1)
    rows, theta, linear = five
    target = np.array([0.3, 0.25, 0.2, 0.15, 0.1])
    found = estep.dual(rows, linear, np.zeros(5), Balance(strength, target))
    pi = gamma_of(found, rows).mean(0)
    assert np.abs(found.offset_K + strength * (pi - target)).max() < 1e-8
    dense = np.exp(log_joint(rows.x_ND, theta) + found.offset_K)
    assert np.abs(dense / dense.sum(1, keepdims=True) - gamma_of(found, rows)).max() < 1e-10


# 3: the three E-steps have the same limit


def test_dual_mirror_and_l2_find_the_same_weights(five):
    rows, _, linear = five
    rows = lloyd.prepare(rows.x_ND[:150])
    balance, none = Balance(5.0, np.full(5, 0.2)), np.zeros(5)
    exact = gamma_of(estep.dual(rows, linear, none, balance), rows)
    begin = Weights(linear, none, estep.plain(rows, linear))
    assert np.abs(gamma_of(estep.mirror(rows, linear, begin, balance, 400), rows) - exact).max() < 1e-8
    moments = estep.l2(rows, linear, none, balance, 60).moments
    assert np.abs(moments.mass_K / len(rows.x_ND) - exact.mean(0)).max() < 1e-8
    assert np.abs(moments.sum_KD - exact.T @ rows.x_ND.astype(np.float64)).max() < 1e-5


def test_a_step_of_l2_maximises_its_bound():
    rng = np.random.default_rng(0)
    for strength in (1e-6, 5.0, 5000.0):
        c, before = 20 * rng.normal(size=(50, 6)), rng.dirichlet(np.ones(6), 50)
        gamma = estep.nearby(c, before, strength)
        slope = c - np.log(np.maximum(gamma, 1e-300)) - strength * (gamma - before)
        assert gamma.sum(1) == pytest.approx(1)
        assert max(np.ptp(row[g > 1e-12]) for row, g in zip(slope, gamma, strict=True)) < 1e-8


# 4: recovery


def test_a_balanced_mixture_is_recovered():
    x, label, mu = drawn([600] * 5)
    found = mixture.fit(lloyd.prepare(x), 5, Options(kappa="free", balance=5.0, balance_scale="per_sample", seeds=10))
    assert found.kappa_K == pytest.approx([40] * 5, rel=0.05)
    cosine = (mixture.unit(found.mu_KD) @ mu.T).max(1)
    assert np.degrees(np.arccos(cosine)).max() < 3
    assert adjusted_rand_score(label, gem.of(found).assign(x).label_B) > 0.95


def test_with_components_to_spare_every_planted_cluster_is_kept():
    x, label, _ = drawn([1530, 720, 480, 195, 75], seed=3)
    found = gem.of(mixture.fit(lloyd.prepare(x), 8, Options(kappa="free", seeds=3))).assign(x).label_B
    for k in range(5):
        own = np.bincount(found[label == k], minlength=8) > np.bincount(found[label != k], minlength=8)
        assert own[found[label == k]].mean() > 0.9, k


# 5 to 9


def test_more_balance_means_more_effective_clusters(small):
    def effective(balance):
        mass = mixture.fit(small, 7, Options(kappa="free", balance=balance, seeds=1)).soft_mass_K
        return np.exp(-(mass * np.log(mass)).sum())

    found = [effective(balance) for balance in (0.0, 0.125, 1.25, 5.6, 100.0)]
    assert (np.diff(found) > -0.02).all() and found[-1] > 6.99 > found[0]


def test_a_rotation_turns_the_fit_and_changes_no_mass(five):
    rows, theta, _ = five
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(16, 16)))[0]
    turned = lloyd.prepare(mixture.unit(rows.x_ND.astype(np.float64) @ turn).astype(np.float32))
    scale = mixture.Scale(5.0, 1.0, 0.0, 0.0)

    def fitted(x, start):
        return mixture._climb(x, start, scale, FREE, 0, lambda n: None)

    (one, weights, trace), (two, others, other) = (
        fitted(rows, theta), fitted(turned, theta._replace(mu_KD=theta.mu_KD @ turn))
    )  # fmt: skip
    assert trace[-1][2] == pytest.approx(other[-1][2], abs=1e-5)
    assert weights.moments.mass_K == pytest.approx(others.moments.mass_K, rel=1e-3)
    assert np.abs(one.mu_KD @ turn - two.mu_KD).max() < 1e-3


def test_the_order_of_rows_and_components_changes_no_optimum(five):
    rows, theta, linear = five
    balance, none = Balance(5.0, np.full(5, 0.2)), np.zeros(5)
    whole = estep.dual(rows, linear, none, balance)
    some, order = np.array([3, 1, 4, 0, 2]), np.random.default_rng(0).permutation(len(rows.x_ND))
    swapped = Components(*(a[some] for a in theta)).logits(1.0, rows.codes.format)
    other = estep.dual(lloyd.prepare(rows.x_ND[order]), swapped, none, balance)
    assert np.abs(whole.offset_K[some] - other.offset_K).max() < 1e-9
    assert np.abs(whole.moments.sum_KD[some] - other.moments.sum_KD).max() < 1e-8


@pytest.mark.parametrize("settings", [{}, {"temperature": None}, {"pca": 6}, {"center": True}, {"kappa": "tied"}])
def test_a_fit_read_from_its_tables_gives_the_same_bits(settings, tmp_path):
    x, _ = planted([200, 120, 60, 30], spread=0.5)
    fitted = gem.fit(x, Clustering(method="gem", k=6, seeds=1, fit_iterations=15, **settings))
    for name, table in fitted.tables().items():
        table.write_parquet(tmp_path / f"{name}.parquet")
    projection = tmp_path / "projection.parquet"
    again = read(
        pl.read_parquet(tmp_path / "components.parquet"),
        pl.read_parquet(projection) if projection.exists() else None,
    )
    assert (fitted.posterior(x) == again.posterior(x)).all()
    label = fitted.assign(x).label_B
    assert (fitted.log_density(x, label) == again.log_density(x, label)).all()
    alone = np.vstack([again.posterior(row[None]) for row in x[:50]])
    assert (alone == fitted.posterior(x)[:50]).all(), "a function of the row alone"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("held", [0, 8])
def test_the_number_of_workers_changes_no_bit(small, mode, held, monkeypatch):
    monkeypatch.setattr(estep, "CHUNK", 64)
    monkeypatch.setattr(estep, "HELD", held)
    settings = Clustering(method="gem", estep=mode, k=9, seeds=1, fit_iterations=5, inner_steps=2)
    found = []
    for workers in ("1", "2", "5"):
        monkeypatch.setenv("GRIP_WORKERS", workers)
        fitted = gem.fit(small.x_ND, settings)
        found.append((fitted.centroids_KD, fitted.kappa_K, fitted.offset_K, fitted.soft_mass_K))
    for other in found[1:]:
        assert all((a == b).all() for a, b in zip(found[0], other, strict=True))


def test_the_format_of_the_screening_changes_no_bit():
    x = drawn([300, 200, 100], d=64, kappa=60, seed=2)[0]
    theta = Components(mixture.unit(x[:20]), np.linspace(10, 200, 20), np.full(20, -np.log(20)))
    pairs = [posterior.kept(x, lloyd.prepare(x, f).codes, theta.logits(1.0, f)) for f in ("int8", "float32")]
    assert all((a == b).all() for a, b in zip(*pairs, strict=True))
    l_NK = log_joint(x, theta)
    dense = np.exp(l_NK - logsumexp(l_NK, axis=1, keepdims=True))
    assert np.abs(posterior.dense(pairs[0], 20) - dense).max() < 1e-13
    assert pairs[0].n == (l_NK >= l_NK.max(1, keepdims=True) - posterior.CUT).sum()


def test_pairs_that_are_held_are_the_ones_that_are_computed_again(five, monkeypatch):
    rows, _, linear = five
    offsets = [np.zeros(5), np.array([0.5, -2, 1, 3, 0]), np.array([40.0, 0, -40, 3, 0])]
    near = estep.Near(rows, linear, offsets[0])
    held = [near.curved(v) for v in offsets]
    monkeypatch.setattr(estep, "HELD", 0)
    near = estep.Near(rows, linear, offsets[0])
    again = [near.curved(v) for v in offsets]
    assert not near.pairs
    for one, two in zip(held, again, strict=True):
        assert one.mass_K == pytest.approx(two.mass_K, abs=1e-9) and one.log_sum == pytest.approx(two.log_sum)


def test_the_shrunk_concentration_spares_a_cluster_of_one():
    theta = Components(np.eye(3, 32), np.ones(3), np.full(3, -np.log(3)))
    lengths = np.array([210.0, 220, 1])  # of the sums: of a cluster of one its vector is the sum
    moments = posterior.Moments(np.array([300.0, 300, 1]), sum_KD=lengths[:, None] * np.eye(3, 32))
    kappa = {}
    for mode, more in (("free", 0.0), ("shrunk", 5.0), ("tied", 0.0)):
        scale = mixture.Scale(0.0, 1.0, more, 0.7)
        kappa[mode] = mixture._maximised(theta, moments, scale, Options(kappa=mode)).kappa_K
    assert kappa["free"][2] == vmf.kappa_max(32) and kappa["shrunk"][2] < 1.4 * kappa["shrunk"][1]
    assert len(set(kappa["tied"])) == 1 and kappa["shrunk"][:2] == pytest.approx(kappa["free"][:2], rel=0.02)


def test_a_learned_prior_is_the_mass_of_each_component(small):
    found = mixture.fit(small, 5, Options(kappa="free", balance=0.0, prior="learned", seeds=1, tolerance=1e-12,
                                          iterations=200))  # fmt: skip
    assert np.exp(found.offset_K) / 5 == pytest.approx(found.soft_mass_K, abs=1e-4)


def test_given_masses_are_reached(small):
    settings = Clustering(method="gem", target_mass=[1, 4, 3, 2], balance=1e4, kappa="free", seeds=1)
    assert gem.fit(small.x_ND, settings).soft_mass_K == pytest.approx([0.4, 0.3, 0.2, 0.1], abs=1e-3)


def test_the_offset_moves_labels_and_the_label_without_it_is_kept(small):
    fitted = gem.fit(small.x_ND, Clustering(method="gem", k=5, balance=50, kappa="free", seeds=1))
    found = fitted.assign(small.x_ND)
    scores = fitted.log_density(np.repeat(small.x_ND, 5, axis=0), np.tile(np.arange(5, dtype=np.int32), 700))
    scores = scores.reshape(700, 5)
    assert (found.generative_B == scores.argmax(1)).all()
    assert (found.label_B == (scores + fitted.offset_K).argmax(1)).all()
    assert (found.label_B != found.generative_B).any()
    assert found.confidence_B == pytest.approx(fitted.posterior(small.x_ND).max(1), abs=1e-6)


def test_lambda_counts_in_the_unit_that_is_set(small):
    def strength(balance, scale):
        return mixture.fit(small, 5, Options(balance=balance, balance_scale=scale, seeds=1, iterations=3)).balance

    assert strength(7.0, "per_sample") == 7 and strength(7.0, "sum") == 7 / 700
    assert 20 < strength(1.0, "relative") < 60, "about the mean kappa"


def test_a_temperature_that_is_not_set_follows_from_the_gaps():
    x, _ = planted([200, 150, 100], d=64, spread=0.2)
    hot = gem.fit(x, Clustering(method="gem", k=8, temperature=None, seeds=1))
    cold = gem.fit(x, Clustering(method="gem", k=8, seeds=1))
    assert hot.temperature > 1 == cold.temperature
    assert hot.assign(x).confidence_B.mean() < cold.assign(x).confidence_B.mean()


@pytest.mark.parametrize("temperature", [1.0, 8.0])
def test_no_number_for_each_document_and_component_is_held(temperature, monkeypatch):
    monkeypatch.setenv("GRIP_WORKERS", "2")
    monkeypatch.setattr(estep, "CHUNK", 512)
    n, k = 10_000, 96
    rows = lloyd.prepare(mixture_of(n, 16, 50, 0))
    once = Options(seeds=1, iterations=3, temperature=temperature)
    fitted = gem.of(mixture.fit(rows, k, once))  # compiles
    for work in (lambda: mixture.fit(rows, k, once), lambda: fitted.assign(rows.x_ND)):
        tracemalloc.start()
        work()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < n * k * 8 * 0.75
    assert fitted.assign(rows.x_ND[:0]).label_B.shape == (0,)


# Bad input


def test_more_components_than_documents_are_refused(small):
    with pytest.raises(GripError, match="clustering.k is 800, and the corpus has only 700 documents"):
        gem.fit(small.x_ND, Clustering(method="gem", k=800))
    with pytest.raises(GripError, match="target_mass has 2 masses, and settings/clustering.k is 5"):
        gem.fit(small.x_ND, Clustering(method="gem", k=5, target_mass=[1, 2]))


def test_a_vector_that_is_not_a_number_is_refused(small):
    x = small.x_ND.copy()
    x[5, 3] = np.nan
    with pytest.raises(GripError, match="1 of 700 embeddings are zero or not finite"):
        gem.fit(x, Clustering(method="gem", k=5))


@pytest.mark.parametrize("values", [{"balance": -1}, {"kappa_prior": -1}, {"temperature": 0}, {"target_mass": [1, -1]}])
def test_values_out_of_range_are_refused(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        Clustering(method="gem", **values)


@pytest.mark.parametrize("distinct", [1, 2])
def test_documents_that_are_equal_become_one_component_and_it_is_said(distinct):
    x, said = np.repeat(np.eye(3, 8, dtype=np.float32)[:distinct], 50, axis=0), []
    fitted = gem.fit(x, Clustering(method="gem", k=6), said.append)
    assert len(fitted.kappa_K) == distinct and any("different directions" in line for line in said)
    assert np.bincount(fitted.assign(x).label_B).tolist() == [50] * distinct


def test_equal_documents_leave_nothing_after_centring():
    with pytest.raises(GripError, match="nothing is left of them after centring. Set settings/clustering.center to f"):
        gem.fit(np.ones((50, 8), np.float32), Clustering(method="gem", k=2, center=True))
    with pytest.raises(GripError, match="settings/clustering.pca is 9, and 50 vectors of 8 dimensions have at most 8"):
        gem.fit(np.eye(50, 8, dtype=np.float32) + 1, Clustering(method="gem", k=2, pca=9))


def test_vectors_of_one_dimension_are_parted_by_their_sign():
    x = np.array([[1.0], [-2], [3], [-4], [5]] * 10, np.float32)
    found = gem.fit(x, Clustering(method="gem", k=2, seeds=1)).assign(x)
    assert len(set(found.label_B[x[:, 0] > 0])) == len(set(found.label_B[x[:, 0] < 0])) == 1
    assert len(set(found.label_B)) == 2


@pytest.mark.parametrize("d", [1, 2, 3, 7])
def test_products_of_codes_are_exact_in_few_dimensions(d):
    rng = np.random.default_rng(d)
    a, b = (encode(rng.normal(size=(n, d)).astype(np.float32), "int8") for n in (50, 3))
    assert (products(a, b) == a.codes_ND.astype(np.int32) @ b.codes_ND.astype(np.int32).T).all()


def test_a_component_without_mass_keeps_its_parameters(small):
    theta = Components(mixture.unit(small.x_ND[:3]), np.array([10.0, 20, 30]), np.full(3, -np.log(3)))
    moments = posterior.Moments(np.array([400.0, 300, 0]), sum_KD=np.vstack([small.x_ND[:2] * 200, np.zeros(16)]))
    scale = mixture.Scale(0.0, 1.0, 5.0, 0.5)
    after = mixture._maximised(theta, moments, scale, Options())
    assert (after.mu_KD[2] == theta.mu_KD[2]).all() and after.kappa_K[2] == 30 and after.kappa_K[0] != 10
