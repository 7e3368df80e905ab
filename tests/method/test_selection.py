"""G8, G9 and the draw: against brute force, and the acceptance checks 4, 5, 7 and 8 of the specification."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grip_assets.assets import subset
from grip_assets.bench.data import mixture
from grip_assets.method import neighbours
from grip_assets.method import selection as s
from grip_assets.method.geometry import unit_rows
from grip_assets.method.sampling import keyed_uniform
from grip_assets.settings import Selection


def cloud(n, d=16, seed=0):
    return unit_rows(np.random.default_rng(seed).normal(size=(n, d)))


def distances_of(x, k, block=2048, format="float32"):
    cluster = neighbours.Cluster.of(x, format)
    return neighbours.nearest(cluster, 0, len(x), min(k, len(x) - 1), block)


def weights(x, lengths, beta=0.3, k=10, scale=1.0, floor=0.01, clip=0.995):
    distances = distances_of(x, k)
    rho = s.density(distances, s.bandwidth(distances, "median", scale))
    return s.selection_weight(rho, s.length_weight(np.asarray(lengths), beta), distances.shape[1], floor, clip)


@pytest.mark.parametrize("format", ["int8", "float32"])
@pytest.mark.parametrize("block", [1, 7, 100, 1000])
def test_neighbours_are_exact_for_any_block_in_any_format(block, format):
    x = cloud(150)
    x[40:45] = x[3]  # copies are neighbours, a document itself is not
    exact = np.linalg.norm(x[:, None].astype(np.float64) - x[None], axis=2)
    np.fill_diagonal(exact, np.inf)
    np.testing.assert_allclose(distances_of(x, 10, block, format), np.sort(exact, 1)[:, :10], atol=1e-12)


def test_the_density_is_the_kernel_sum_of_the_paper():
    x = cloud(60)
    got = s.density(distances_of(x, 5), 0.7)
    for i in range(60):
        near = sorted(np.linalg.norm(x[i].astype(np.float64) - x[j]) for j in range(60) if j != i)[:5]
        assert got[i] == pytest.approx(sum(np.exp(-(d**2) / (2 * 0.7**2)) for d in near), rel=1e-9)


def test_copies_do_not_bring_the_bandwidth_down():
    x = np.concatenate([np.repeat(cloud(1), 30, axis=0), cloud(20, seed=1)])
    distances = distances_of(x, 10)
    assert s.bandwidth(distances, "median") == pytest.approx(np.median(distances[distances > 0]))
    assert s.bandwidth(np.zeros((5, 3)), "median") == 1e-3
    assert s.bandwidth(distances, "0.25", 2.0) == 0.5


def test_one_document_alone_can_be_weighed():
    assert np.isfinite(weights(cloud(1), [7])).all()


def test_without_the_length_term_only_density_counts():
    x, lengths = cloud(80), np.random.default_rng(0).integers(1, 9000, 80)
    np.testing.assert_array_equal(weights(x, lengths, beta=0.0), weights(x, np.ones(80, int), beta=0.3))


@given(st.integers(2, 10**6), st.integers(0, 20))
@settings(max_examples=60, deadline=None)
def test_lengths_in_another_unit_select_the_same_bits(factor, seed):
    lengths = np.random.default_rng(seed).integers(1, 50_000, 40)
    np.testing.assert_array_equal(s.length_weight(lengths, 0.3), s.length_weight(lengths * factor, 0.3))


def test_the_weight_is_length_over_floored_and_clipped_density():
    rho = np.array([0.0, 0.05, 1.0, 2.0])
    np.testing.assert_allclose(s.selection_weight(rho, np.ones(4), 10, 0.01, 1.0), [10, 10, 1, 0.5])
    np.testing.assert_allclose(s.selection_weight(rho, np.ones(4), 10, 0.01, 0.5), [1, 1, 1, 0.5])


@pytest.mark.parametrize("scale, least", [(1.0, 1.3), (0.5, 3.0)])
def test_distinct_documents_are_selected_more_often_than_copies(scale, least):
    """One document 50 times and 50 distinct ones; 25 of 100 drawn."""
    x = np.concatenate([np.repeat(cloud(1, 32), 50, axis=0), cloud(50, 32, seed=1)])
    w = weights(x, np.ones(100, int), scale=scale)
    rates = np.zeros(100)
    for seed in range(300):
        u = keyed_uniform(seed, "test", [str(i) for i in range(100)])
        rates += s.draw(s.keys(u, w), np.ones(100, int), 25, 1).repeats_N
    assert rates[50:].mean() / rates[:50].mean() > least


def test_long_documents_come_back_as_beta_grows():
    """A cone: the longer, the nearer to each other [check 8]."""
    rng = np.random.default_rng(0)
    lengths = np.sort(rng.integers(50, 20_000, 300))
    width = 1.2 - 1.1 * np.arange(300) / 300
    x = unit_rows(np.eye(16)[0] + width[:, None] * rng.normal(size=(300, 16)) / 4)
    long = lengths > np.quantile(lengths, 0.7)
    share = []
    for beta in (0.0, 0.3, 0.6, 1.0):
        w = weights(x, lengths, beta=beta)
        drawn = [
            s.draw(s.keys(keyed_uniform(i, "t", list(map(str, range(300)))), w), np.ones(300, int), 75, 1)
            for i in range(60)
        ]
        share.append(np.mean([d.repeats_N[long].sum() / 75 for d in drawn]))
    assert share[0] < 0.3 < share[-1]
    assert (np.diff(share) > 0).all()


def test_the_draw_has_the_distribution_of_successive_sampling():
    w = np.array([1.0, 2.0, 3.0, 4.0, 10.0])
    rng = np.random.default_rng(0)
    want = np.zeros(5)
    for _ in range(20_000):
        want[rng.choice(5, 2, replace=False, p=w / w.sum())] += 1
    got = np.zeros(5)
    for seed in range(20_000):
        got += s.draw(s.keys(keyed_uniform(seed, "t", list("abcde")), w), np.ones(5, int), 2, 1).repeats_N
    np.testing.assert_allclose(got / 20_000, want / 20_000, atol=0.015)


def test_the_order_of_the_documents_does_not_matter():
    ids = [f"doc{i}" for i in range(50)]
    w = np.random.default_rng(0).uniform(size=50)
    shuffled = np.random.default_rng(1).permutation(50)
    plain = s.draw(s.keys(keyed_uniform(3, "t", ids), w), np.ones(50, int), 12, 1).repeats_N
    other = s.draw(
        s.keys(keyed_uniform(3, "t", [ids[i] for i in shuffled]), w[shuffled]), np.ones(50, int), 12, 1
    ).repeats_N
    assert (plain[shuffled] == other).all()


@given(st.lists(st.lists(st.integers(1, 5000), min_size=1, max_size=20), min_size=1, max_size=6), st.data())
@settings(max_examples=200, deadline=None)
def test_tokens_are_drawn_to_within_one_document(clusters, data):
    rng = np.random.default_rng(0)
    targets = [data.draw(st.integers(0, sum(c))) for c in clusters]
    deficit = taken = 0
    for lengths, target in zip(clusters, targets, strict=True):
        drawn = s.draw(-rng.exponential(size=len(lengths)), np.array(lengths), target + deficit, 1)
        deficit = drawn.deficit
        taken += int((drawn.repeats_N * lengths).sum())
        assert drawn.repeats_N.max() <= 1
    longest = max(max(c) for c in clusters)
    assert abs(sum(targets) - taken) <= longest
    assert sum(targets) - taken == deficit


@given(st.integers(1, 30), st.integers(0, 120), st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_documents_are_drawn_exactly_with_full_copies_first(n, target, most):
    keys = -np.random.default_rng(n).exponential(size=n)
    drawn = s.draw(keys, np.ones(n, int), target, most)
    assert drawn.repeats_N.sum() == min(target, most * n)
    assert drawn.repeats_N.max() - drawn.repeats_N.min() <= 1
    if drawn.threshold is not None and target < most * n:
        at_most = drawn.repeats_N.max()
        assert (keys[drawn.repeats_N == at_most] >= drawn.threshold).all()


def clusters_of(*sizes):
    return [subset.Cluster(pl.DataFrame({"n": range(n)}), cloud(n, seed=n).astype(np.float16)) for n in sizes]


@pytest.mark.parametrize("large", [100, 10_000])
def test_a_large_cluster_is_searched_by_several_threads_with_the_same_result(monkeypatch, large):
    monkeypatch.setattr(subset, "LARGE", large)
    found = list(subset.with_distances(clusters_of(1, 350, 2, 80, 101), Selection(), "float32", 2**40))
    assert [len(cluster.x_ND) for cluster, _ in found] == [1, 350, 2, 80, 101]
    for cluster, distance_NK in found:
        expected = distances_of(unit_rows(cluster.x_ND), 10) if len(cluster.x_ND) > 1 else np.zeros((1, 0))
        np.testing.assert_array_equal(distance_NK, expected)


def test_a_cluster_above_the_split_is_searched_in_parts_that_keep_most_neighbours(monkeypatch):
    monkeypatch.setattr(subset, "LARGE", 400)
    x = mixture(2500, 32, 12, 0)
    cluster = subset.Cluster(pl.DataFrame({"n": range(2500)}), x.astype(np.float16))
    ((_, split),) = subset.with_distances([cluster], Selection(split=1000), "float32")
    exact = distances_of(unit_rows(cluster.x_ND), 10)
    assert split.shape == exact.shape and (split >= exact - 1e-12).all()
    assert 0.5 < np.isclose(split, exact).mean() < 1


def test_a_draw_that_sorts_only_what_matters_is_the_draw_that_sorts_all():
    rng = np.random.default_rng(0)
    n = 150_000
    key, cost = np.round(rng.normal(size=n), 4), rng.lognormal(6, 1.5, n).astype(np.int64) + 1  # with many ties
    order = np.lexsort((np.arange(n), -key))
    reached = np.cumsum(cost[order])
    for share in (0.0001, 0.1, 0.5, 0.999):
        target = int(reached[-1] * share)
        drawn = s.draw(key, cost, target, 1)
        m = int(drawn.repeats_N.sum())
        assert (np.flatnonzero(drawn.repeats_N) == np.sort(order[:m])).all()
        assert drawn.deficit == target - reached[m - 1] and drawn.threshold == key[order[m - 1]]
        assert abs(drawn.deficit) <= max(abs(target - reached[m]), abs(target - (reached[m - 2] if m > 1 else 0)))


@given(st.lists(st.text(max_size=40), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_a_uniform_depends_on_its_id_alone(ids):
    together = keyed_uniform(7, "t", ids)
    assert (together == np.concatenate([keyed_uniform(7, "t", [i]) for i in ids])).all()
    assert (together == keyed_uniform(7, "t", pl.Series(ids, dtype=pl.String))).all()
    assert ((together > 0) & (together < 1)).all() and len(set(together)) == len(set(ids))
