"""Products on a device: whatever it rounds, labels, posteriors and distances are those of the processor, bit for bit.

No GPU is needed: the same functions run with tensors of the processor, in the formats of a GPU.
"""

import numpy as np
import pytest
import torch

from grip_assets.bench.data import mixture
from grip_assets.method import neighbours, on_device, screening
from grip_assets.method.geometry import unit_rows
from grip_assets.method.partition import lloyd, posterior, seeding
from grip_assets.method.partition.mixture import Options
from grip_assets.method.partition.mixture import fit as fit_mixture
from grip_assets.method.partition.nearest import two_nearest
from grip_assets.method.screening import encode

FORMATS = ("cpu/float16", "cpu/bfloat16", "cpu/float32")


def heavy_tailed(n, d):
    """Rows that 16 bits code badly: one large component, tiny ones, copies."""
    rng = np.random.default_rng(0)
    x = unit_rows(rng.standard_t(1.2, size=(n, d)).astype(np.float32))
    return np.concatenate([x, x[: n // 4], unit_rows(x[: n // 4] + np.float32(1e-6))])


def pools():
    return {"planted": mixture(1500, 96, 40, 1), "heavy": heavy_tailed(700, 33), "one dimension": mixture(200, 1, 2, 0)}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", pools())
def test_the_bound_holds_for_every_product(format, name):
    x = pools()[name]
    coded = on_device.encode(x, format)
    exact = x.astype(np.float64) @ x.astype(np.float64).T
    wrong = np.abs(on_device.products(coded, coded).numpy() - exact)
    assert (wrong <= on_device.bound(coded, coded).numpy()[:, None]).all()


def test_the_bound_is_narrow_enough_to_leave_few_columns():
    x = mixture(2000, 384, 100, 0)
    coded = on_device.encode(x, "cpu/float16")
    assert float(on_device.bound(coded, coded).max()) < 0.002
    pairs = []
    on_device.two_nearest(coded, coded[:256], lambda some, found: pairs.append(len(found.column_M)))
    assert sum(pairs) < 3 * len(x)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", pools())
@pytest.mark.parametrize("k", [1, 2, 40])
def test_the_two_nearest_are_those_of_the_processor(format, name, k):
    x = pools()[name]
    c = x[::3][:k]
    expected = two_nearest(x, c, encode(c, "float32"))
    for found, wanted in zip(two_nearest(x, c, encode(c, format)), expected, strict=True):
        assert (found == wanted).all()


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", pools())
def test_lloyd_gives_the_same_centroids_and_labels(format, name):
    x = pools()[name]
    start = x[:: len(x) // 30][:30].copy()
    found = lloyd.lloyd(lloyd.prepare(x, format), start.copy(), 6)
    expected = lloyd.lloyd(lloyd.prepare(x, "int8"), start.copy(), 6)
    assert (found.label_N == expected.label_N).all() and (found.centroids_KD == expected.centroids_KD).all()
    assert found.objectives == expected.objectives


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("cut", [0.0, posterior.CUT, posterior.ALL])
def test_the_posterior_has_the_same_pairs_and_logits(format, cut):
    x = mixture(600, 64, 20, 3)
    c = x[:25].astype(np.float64) * np.linspace(1, 900, 25)[:, None]  # concentrations far apart
    bias = np.linspace(-800, 50, 25)
    kept = {f: posterior.kept(x, encode(x, f), posterior.Linear.of(c, bias, f), cut) for f in ("float32", format)}
    for found, wanted in zip(kept[format], kept["float32"], strict=True):
        assert (found == wanted).all()


def test_a_mixture_is_the_same_to_the_last_bit():
    x = mixture(1200, 48, 10, 2)
    options = Options(seeds=1, iterations=8, balance=0.2)
    found, expected = (fit_mixture(lloyd.prepare(x, format), 8, options) for format in ("cpu/float16", "float32"))
    for mine, theirs in zip(found[:5], expected[:5], strict=True):
        assert (mine == theirs).all()
    assert found.trace == expected.trace


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", pools())
@pytest.mark.parametrize("k", [0, 1, 10])
def test_distances_to_neighbours_are_the_same(format, name, k):
    x = pools()[name]
    found = neighbours.nearest(neighbours.Cluster.of(x, format), 17, len(x) - 5, k)
    expected = neighbours.nearest(neighbours.Cluster.of(x, "float32"), 17, len(x) - 5, k)
    assert (found == expected).all()


def test_the_starts_of_kmeans_are_the_same(monkeypatch):
    x = mixture(3000, 64, 30, 5)
    monkeypatch.setattr(seeding, "fastest", lambda: ("cpu/float16", {}))
    found = seeding.kmeanspp(x, 30, 0)
    monkeypatch.setattr(seeding, "fastest", lambda: ("float32", {}))
    assert (found == seeding.kmeanspp(x, 30, 0)).all()


def test_blocks_and_many_pairs_change_nothing(monkeypatch):
    """Copies of one row leave over all columns: the pairs are then copied a few rows at a time."""
    x = np.concatenate([np.repeat(mixture(3, 32, 2, 0), 100, axis=0), mixture(200, 32, 5, 1)])
    expected = neighbours.nearest(neighbours.Cluster.of(x, "float32"), 0, len(x), 5)
    monkeypatch.setattr(on_device, "CELLS", 7 * len(x))
    monkeypatch.setattr(on_device, "MOST_PAIRS", 150)
    monkeypatch.setattr(on_device, "AT_ONCE", 11 * 32)
    assert (neighbours.nearest(neighbours.Cluster.of(x, "cpu/float16"), 0, len(x), 5) == expected).all()


def test_a_device_that_runs_out_of_memory_goes_on_with_smaller_blocks(monkeypatch):
    x, plain, sizes = mixture(500, 32, 5, 0), on_device.products, []

    def scarce(a, b):
        sizes.append(len(a))
        if len(a) > 100:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(a, b)

    c = x[:20]
    expected = two_nearest(x, c, encode(c, "float32"))
    monkeypatch.setattr(on_device, "products", scarce)
    found = two_nearest(x, c, encode(c, "cpu/float16"))
    assert all((a == b).all() for a, b in zip(found, expected, strict=True)) and max(sizes[-2:]) <= 100


def test_a_format_of_a_gpu_becomes_one_of_this_process(monkeypatch):
    monkeypatch.setattr(screening, "fastest", lambda: ("float32", {}))
    assert screening.here("cuda/float16") == "float32"
    assert screening.here("int8") == "int8" and screening.here("cpu/float16") == "cpu/float16"
