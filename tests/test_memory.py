"""Memory: the budget is kept, a hard limit is survived, and a block that does not fit is halved."""

import subprocess
import sys

import numpy as np
import pytest

from grip_assets.bench.data import mixture
from grip_assets.errors import GripError
from grip_assets.method import neighbours
from grip_assets.runtime import memory

UNDER_A_LIMIT = """
import os, pathlib, resource, sys
from grip_assets.bench.chain import MEASURED, Synthetic
from grip_assets.settings import Clustering

def limit(n_bytes):
    used = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (used + n_bytes, resource.RLIM_INFINITY))

def chain(pool, n_bytes):
    pool.settings["clustering"] = Clustering(fit_sample=8_000, k=64, iterations=5, seeds=1)
    for stage in MEASURED:
        limit(n_bytes)
        pool.run(stage)
    return pool.versions["subset"]

root, n, text_bytes = pathlib.Path(sys.argv[1]), 100_000, 8_000
chain(Synthetic(root / "small", 5_000), 2**40)  # everything is imported, compiled and started
pool = Synthetic(root / "pool", n, text_bytes)
data = n * (text_bytes + 384 * 2)
os.environ["GRIP_MEMORY"] = str(data // 8)
limit(data // 4)
try:
    hog = bytearray(data // 3)
except MemoryError:
    print("limited")
print(chain(pool, data // 4))
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.run
def test_the_chain_runs_under_a_hard_limit_of_a_quarter_of_the_data(tmp_path):
    done = subprocess.run([sys.executable, "-c", UNDER_A_LIMIT, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    limited, version = done.stdout.split()
    assert limited == "limited" and len(version) == 16


SUBSETS = """
import os, pathlib, sys
import numpy as np
import polars as pl
import pyarrow as pa
from grip_assets.bench.chain import Resident, Synthetic
from grip_assets.store.tables import arrow, vectors

CLUSTERS = 64

def planted(root, n):
    pool, rng = Synthetic(root, 10), np.random.default_rng(0)
    number = pl.Series("doc_id", rng.permutation(n))
    documents = pl.DataFrame({"doc_id": number.cast(pl.String).str.zfill(32)}).with_columns(
        cluster_id=pl.Series(np.sort(rng.integers(0, CLUSTERS, n)), dtype=pl.Int32),
        cosine=pl.lit(0.5, pl.Float32),
        n_tokens=pl.Series(rng.integers(1, 2000, n)),
    )
    embeddings = arrow(documents.select("doc_id")).append_column("embedding", vectors(rng.normal(size=(n, 4))))
    pool._plant("clusters", {"clusters": documents, "cluster_embeddings": embeddings}, ("corpus",))
    densities = documents.select("doc_id", "cluster_id", density=pl.Series(rng.random(n)))
    pool._plant("densities", {"densities": densities}, ("clusters",))
    sizes = documents.group_by("cluster_id", maintain_order=True).agg(n_docs=pl.len().cast(pl.Int64), n_tokens=pl.sum("n_tokens"))
    budgets = sizes.with_columns(allocated=pl.col("n_tokens") // 4, capacity=pl.col("n_tokens"), utility=1.0, unit=pl.lit("tokens"))
    pool._plant("budgets", {"budgets": budgets.with_columns(total=pl.sum("allocated"))}, ("clusters",))
    return pool

if sys.argv[2] == "plant":
    for n in sys.argv[3:]:
        planted(pathlib.Path(sys.argv[1]) / n, int(n))
else:
    for n in sys.argv[3:]:
        pool = Synthetic(pathlib.Path(sys.argv[1]) / f"{n}-again", 10)
        pool.versions |= dict.fromkeys(("clusters", "densities", "budgets"), "planted")
        pool.store = type(pool.store)(pathlib.Path(sys.argv[1]) / n)
        with Resident() as memory:
            pool.run("subset")
        print(n, memory.private_mb * 2**20)
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.run
def test_a_document_takes_less_than_two_hundred_bytes_in_the_stage_subset(tmp_path):
    def child(what: str) -> str:
        words = [sys.executable, "-c", SUBSETS, str(tmp_path), what, "20000", "200000", "1500000"]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    child("plant")
    peak = {int(line.split()[0]): float(line.split()[1]) for line in child("measure").splitlines()}
    slope = (peak[1_500_000] - peak[200_000]) / 1_300_000
    assert slope < 200, f"{slope:.0f} bytes for each document"


def test_the_budget_is_a_half_of_the_machine_or_what_is_stated(monkeypatch):
    monkeypatch.delenv("GRIP_MEMORY", raising=False)
    assert 0 < memory.limit_bytes() < 2**50
    for stated, expected in (("4GB", 4 * 2**30), ("1.5 GiB", 3 * 2**29), ("512M", 2**29), ("1000000", 10**6)):
        monkeypatch.setenv("GRIP_MEMORY", stated)
        assert memory.limit_bytes() == expected
    monkeypatch.setenv("GRIP_MEMORY", "plenty")
    with pytest.raises(
        GripError,
        match="GRIP_MEMORY is 'plenty': it must be a size of at least 1MB, or a share such as 80%, for example GRIP_MEMORY=4GB",
    ):
        memory.limit_bytes()


def test_what_does_not_fit_is_refused_by_name(monkeypatch):
    monkeypatch.setenv("GRIP_MEMORY", "1GB")
    memory.need(2**29, "this", "Less")
    with pytest.raises(GripError, match=r"Fitting takes 2.0 GB, and the memory limit is 1.0 GB. Lower k, or raise"):
        memory.need(2**31, "Fitting", "Lower k")


def test_a_block_that_runs_out_of_memory_is_halved_and_the_rest_goes_on():
    memory.ran_out.clear()
    done = []

    def work(start, stop):
        if stop - start > 3:
            raise MemoryError
        done.extend(range(start, stop))

    memory.in_blocks(20, 16, work, "test")
    assert done == list(range(20))
    assert memory.ran_out[-1] == "test: out of memory, went on with blocks of 2"


def test_one_item_that_does_not_fit_and_other_errors_are_raised():
    with pytest.raises(MemoryError):
        memory.in_blocks(3, 2, lambda start, stop: (_ for _ in ()).throw(MemoryError()), "test")
    with pytest.raises(RuntimeError, match="shape"):
        memory.in_blocks(3, 2, lambda start, stop: (_ for _ in ()).throw(RuntimeError("shape")), "test")


def test_neighbours_are_the_same_after_running_out_of_memory(monkeypatch):
    x = mixture(700, 32, 5, 0)
    cluster = neighbours.Cluster.of(x, "float32")
    plain = neighbours.nearest(cluster, 0, 700, 10)
    products = neighbours.products

    def scarce(a, b):
        if len(a) > 100:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return products(a, b)

    monkeypatch.setattr(neighbours, "products", scarce)
    memory.ran_out.clear()
    assert (neighbours.nearest(cluster, 0, 700, 10) == plain).all() and memory.ran_out
    assert np.isfinite(plain).all()
