"""Lloyd's iterations: whatever is skipped and however it is screened, the result is that of an exhaustive search."""

from functools import cache

import faiss
import numpy as np
import pytest

from grip_assets.bench.data import mixture
from grip_assets.method import screening
from grip_assets.method.geometry import unit_rows
from grip_assets.method.partition import lloyd
from grip_assets.method.partition.exhaustive import exhaustive


def start(x, k, seed=0):
    return x[np.random.default_rng(seed).choice(len(x), k, replace=False)].copy()


@cache
def expected_of(n, d, k):
    """What an exhaustive search in float64 finds, for both formats."""
    x = mixture(n, d, 2 * k, 1)
    return exhaustive(x, start(x, k), 15)


@pytest.mark.parametrize("format", ["int8", "float32"])
@pytest.mark.parametrize(("n", "d", "k"), [(3000, 64, 60), (5000, 384, 200), (500, 33, 7), (40, 16, 40), (1000, 24, 1)])
def test_the_result_is_that_of_an_exhaustive_search_in_float64(format, n, d, k):
    x = mixture(n, d, 2 * k, 1)
    found = lloyd.lloyd(lloyd.prepare(x, format), start(x, k), 15)
    expected = expected_of(n, d, k)
    assert (found.label_N == expected.label_N).all() and (found.centroids_KD == expected.centroids_KD).all()
    # those of lloyd.lloyd end where nothing moves any more
    same = len(found.objectives) - 1
    assert found.objectives == pytest.approx([*expected.objectives[:same], expected.objectives[-1]])


def test_copies_and_opposites_end_with_every_row_at_its_nearest():
    x = np.repeat(mixture(30, 16, 30, 0), 20, axis=0)
    x = np.concatenate([x, -x])
    found = lloyd.lloyd(lloyd.prepare(x, "int8"), start(x, 50), 10)
    exact = x.astype(np.float64) @ found.centroids_KD.astype(np.float64).T
    assert (exact[np.arange(len(x)), found.label_N] == exact.max(1)).all()


def test_a_cluster_without_rows_takes_half_of_the_largest():
    x = mixture(300, 32, 3, 0)
    empty = -unit_rows(x.mean(0, keepdims=True))
    found = lloyd.lloyd(lloyd.prepare(x, "int8"), np.concatenate([x[:2], empty]), 10)
    assert len(set(found.label_N)) == 3


def test_most_products_are_never_computed(monkeypatch):
    computed = []
    plain = lloyd.products
    monkeypatch.setattr(lloyd, "products", lambda a, b: computed.append(len(a) * len(b)) or plain(a, b))
    x = mixture(8000, 64, 100, 0)
    lloyd.lloyd(lloyd.prepare(x, "int8"), start(x, 100), 40)
    assert sum(computed) < 0.5 * 41 * 8000 * 100


def test_the_mean_cosine_is_as_high_as_faiss_s():
    x = mixture(20_000, 64, 300, 0)
    ours = np.mean([lloyd.lloyd(lloyd.prepare(x), start(x, 128, s), 20).objectives[-1] for s in range(3)])
    theirs = []
    for seed in range(3):
        kmeans = faiss.Kmeans(64, 128, niter=20, seed=seed, spherical=True, max_points_per_centroid=len(x))
        kmeans.train(x)
        theirs.append((x @ unit_rows(kmeans.centroids).T).max(1).mean())
    assert ours > np.mean(theirs) - 0.001


def test_the_screen_never_hides_the_best(monkeypatch):
    """The bound holds for rows that int8 codes badly: one large component, tiny ones, and copies."""
    rng = np.random.default_rng(0)
    x = unit_rows(rng.standard_t(1.5, size=(2000, 48)).astype(np.float32))
    codes = {format: screening.encode(x, format) for format in ("int8", "float32")}
    exact = x.astype(np.float64) @ x.astype(np.float64).T
    for code in codes.values():
        scores = screening.products(code, code) * code.scale_N[:, None].astype(np.float64) * code.scale_N
        assert (np.abs(scores - exact) <= screening.bound(code, code)[:, None]).all()
