"""GIS [GEM E14]: its terms against float64 references, and representatives that are no copies of each other."""

import numpy as np
import pytest
from planted import planted

from grip_assets.method.geometry import unit_rows
from grip_assets.method.influence import FLOOR, descending, influence, log_floored, terms, top, zscored
from grip_assets.method.partition import column, kmeans


def members(n=60, d=16, seed=0):
    """Unit rows around one direction, their confidence and their cosine to it."""
    rng = np.random.default_rng(seed)
    x = unit_rows(np.eye(1, d) + 0.3 * rng.normal(size=(n, d)))
    return x, rng.uniform(0.2, 1, n), x[:, 0].astype(np.float64)


def rho(x, k):
    """Mean cosine to the k nearest other rows, in float64."""
    x = x.astype(np.float64)
    cosine = x @ x.T
    np.fill_diagonal(cosine, -np.inf)
    return np.sort(cosine, axis=1)[:, ::-1][:, :k].mean(1)


@pytest.mark.parametrize("n", [2, 5, 9, 300])
def test_the_terms_are_those_of_the_equation_in_float64(n):
    x, gamma, density = members(n)
    found = terms(x, log_floored(gamma), density, neighbours=8)
    assert all(term.dtype == np.float64 and term.shape == (n,) for term in found)
    assert np.allclose(found.log_rho_M, np.log(np.maximum(rho(x, min(8, n - 1)), FLOOR)), atol=1e-6)
    expected = np.log(gamma) + density + 0.5 * np.log(np.maximum(rho(x, min(8, n - 1)), FLOOR))
    assert np.allclose(influence(found, 0.5, "none"), expected, atol=1e-6)


def test_standardised_terms_count_alike_and_raw_ones_do_not():
    x, gamma, cosine = members(200)
    found = terms(x, log_floored(gamma), 900 * cosine, neighbours=8)
    assert np.corrcoef(influence(found, 0.5, "none"), cosine)[0, 1] > 0.99, "kappa swamps the others"
    assert np.corrcoef(influence(found, 0.5), cosine)[0, 1] < 0.95
    expected = sum(weight * (term - term.mean()) / term.std() for weight, term in zip((1, 1, 0.5), found, strict=True))
    assert np.allclose(influence(found, 0.5), expected)
    shifted = found._replace(log_density_M=found.log_density_M * 3 + 1234)
    assert np.allclose(influence(shifted, 0.5), expected), "log C_d of the component changes no rank"


def test_a_term_that_is_the_same_for_all_decides_nothing():
    assert (zscored(np.full(7, 0.1) * 3) == 0).all() and (zscored(np.zeros(0)) == 0).all()
    x, _, cosine = members()
    sure = terms(x, log_floored(np.ones(len(x))), cosine, 8)
    assert np.allclose(influence(sure, 0.0), zscored(cosine))


def test_a_cluster_of_one_and_of_copies_has_finite_influences():
    one = terms(np.eye(1, 4, dtype=np.float32), log_floored(np.array([0.0])), np.array([1.0]), 8)
    assert one.log_rho_M.tolist() == [np.log(FLOOR)] and one.log_gamma_M.tolist() == [np.log(FLOOR)]
    assert influence(one, 0.5).tolist() == [0.0]
    copies = np.repeat(np.eye(1, 4, dtype=np.float32), 20, axis=0)
    found = terms(copies, log_floored(np.ones(20)), np.ones(20), 8)
    assert np.allclose(found.log_rho_M, 0) and (influence(found, 0.5) == 0).all()


def test_opposite_members_have_the_least_rho_and_no_nan():
    x = np.array([[1, 0], [-1, 0]], np.float32)
    assert terms(x, np.zeros(2), np.zeros(2), 8).log_rho_M.tolist() == [np.log(FLOOR)] * 2


def test_neither_workers_nor_format_change_a_bit(monkeypatch):
    x, gamma, density = members(700, d=64)
    found = []
    for workers, format in (("1", "float32"), ("4", "float32"), ("3", "int8")):
        monkeypatch.setenv("GRIP_WORKERS", workers)
        found.append(influence(terms(x, log_floored(gamma), density, 8, format), 0.5).tobytes())
    assert len(set(found)) == 1


def test_representatives_are_the_most_influential_without_near_copies():
    x = unit_rows(np.array([[1, 0, 0], [1, 0.01, 0], [0, 1, 0], [0, 1, 0.01], [0, 0, 1], [1, 1, 1]], float))
    order = np.array([1, 0, 3, 2, 5, 4])
    assert top(order, x, 3, 0.9).tolist() == [1, 3, 5]
    assert top(order, x, 10, 0.9).tolist() == [1, 3, 5, 4], "there are no more"
    assert top(order, x, 4, 1.0).tolist() == [1, 0, 3, 2]
    assert top(order[:0], x, 4, 0.9).tolist() == [] and top(order, x, 0, 0.9).tolist() == []
    chosen = x[top(order, x, 10, 0.9)].astype(np.float64)
    cosine = chosen @ chosen.T - np.eye(len(chosen))
    assert cosine.max() <= 0.9


def test_equal_influences_rank_by_document():
    ids = np.array(["c", "a", "b"])
    assert descending(np.array([1.0, 1.0, 2.0]), ids).tolist() == [2, 1, 0]


def test_the_density_without_a_mixture_is_the_cosine_to_the_components_centroid():
    x, labels = planted([60, 40, 30])
    centres = unit_rows(np.array([x[labels == k].sum(0) for k in range(3)]))
    expected = (x.astype(np.float64) * centres[labels]).sum(1)
    for fitted in (kmeans.KMeans(centres), column.ByColumn("c", ("a", "b", "c"), centres)):
        found = fitted.log_density(3 * x, labels.astype(np.int32))
        assert found.dtype == np.float64 and np.allclose(found, expected, atol=1e-6)
