"""The stage densities: its jobs are exact however they are cut, and nothing but what it reads searches neighbours."""

import gc
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from defaults import without_near_copies

from grip_assets.bench.chain import MEASURED, Synthetic
from grip_assets.bench.data import mixture
from grip_assets.method import neighbours
from grip_assets.method.geometry import unit_rows
from grip_assets.method.screening import encode
from grip_assets.method.selection import draw
from grip_assets.settings import Budget, Clustering, Selection
from grip_assets.stages.curation import densities
from grip_assets.stages.curation.densities import Part, Search
from grip_assets.store.tables import vector_rows, vectors


def planted(folder, *sizes: int, d: int = 16) -> str:
    """Vectors of clusters of these sizes, in two files of small row groups; the glob."""
    x_ND = np.concatenate([mixture(n, d, 3, seed) for seed, n in enumerate(sizes)]).astype(np.float16)
    half = len(x_ND) // 2
    for name, some in (("0", x_ND[:half]), ("1", x_ND[half:])):
        pq.write_table(pa.table({"embedding": vectors(some)}), folder / f"{name}.parquet", row_group_size=37)
    return str(folder / "*.parquet")


def searched(files: str, sizes: tuple[int, ...], k: int = 10, split: int = 1000) -> list[np.ndarray]:
    search = Search(files, k, split, "float32")
    found = map(search.run, densities.parts(list(sizes)))
    return list(densities._clusters(found, list(sizes), k))


def exact(files: str, start: int, stop: int, k: int = 10) -> np.ndarray:
    x_ND = unit_rows(vector_rows(files, start, stop))
    cluster = neighbours.Cluster.of(x_ND, "float32")
    return neighbours.nearest(cluster, 0, len(x_ND), min(k, len(x_ND) - 1))


def test_rows_are_read_whatever_groups_and_files_they_are_in(tmp_path):
    files = planted(tmp_path, 100, 51)
    every = vector_rows(files, 0, 151)
    for start, stop in ((0, 1), (36, 38), (70, 80), (75, 76), (0, 151), (150, 151)):
        assert vector_rows(files, start, stop).tobytes() == every[start:stop].tobytes()


def test_a_large_cluster_is_opened_without_a_second_copy_of_its_vectors(tmp_path):
    n, d = 100_000, 64
    rows = np.random.default_rng(0).standard_normal((n, d), np.float32).astype(np.float16)
    pq.write_table(pa.table({"embedding": vectors(rows)}), tmp_path / "0.parquet")
    files = str(tmp_path / "*.parquet")
    densities._pieces(files, (0, 100), n, "int8")  # compiles
    tracemalloc.start()
    ((rows_N, cluster),) = densities._pieces(files, (0, n), n, "int8")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * 4 * n * d, "float32 vectors, int8 codes, and some rows at a time"
    np.testing.assert_array_equal(cluster.x_ND, unit_rows(rows))
    whole = encode(cluster.x_ND - cluster.x_ND.mean(0, dtype=np.float64).astype(np.float32), "int8")
    np.testing.assert_array_equal(cluster.codes.codes_ND, whole.codes_ND)
    np.testing.assert_array_equal(cluster.codes.slack_N, whole.slack_N)
    assert rows_N.tolist() == list(range(n))


@pytest.mark.parametrize("large, together", [(100, 10), (100, 150), (10_000, 10_000)])
def test_distances_are_exact_however_clusters_are_cut_into_jobs(tmp_path, monkeypatch, large, together):
    monkeypatch.setattr(densities, "LARGE", large)
    monkeypatch.setattr(densities, "TOGETHER", together)
    sizes, start = (1, 350, 2, 80, 101), 0
    files = planted(tmp_path, *sizes)
    for n, distance_NK in zip(sizes, searched(files, sizes), strict=True):
        np.testing.assert_array_equal(distance_NK, exact(files, start, start + n))
        start += n


def test_parts_cover_every_row_once(monkeypatch):
    monkeypatch.setattr(densities, "LARGE", 100)
    monkeypatch.setattr(densities, "TOGETHER", 50)
    assert list(densities.parts([30, 20, 10, 250, 5, 100])) == [
        Part((0, 30, 50)),
        Part((50, 60)),
        Part((60, 310), 0, 100),
        Part((60, 310), 100, 200),
        Part((60, 310), 200, 250),
        Part((310, 315)),
        Part((315, 415)),
    ]


def test_a_cluster_above_the_split_is_searched_in_pieces_that_keep_most_neighbours(tmp_path, monkeypatch):
    monkeypatch.setattr(densities, "LARGE", 400)
    files = planted(tmp_path, 2500, d=32)
    (split,) = searched(files, (2500,))
    whole = exact(files, 0, 2500)
    assert split.shape == whole.shape and (split >= whole - 1e-12).all()
    assert 0.5 < np.isclose(split, whole).mean() < 1


def test_a_job_gives_the_same_bytes_in_a_fresh_process(tmp_path, monkeypatch):
    files = planted(tmp_path, 40, 1200, d=32)
    search = Search(files, 5, 1000, "float32")
    parts = [Part((0, 40)), Part((40, 1240), 0, 700), Part((40, 1240), 700, 1200)]
    here = [search.run(part) for part in parts]
    with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
        there = list(fresh.map(search.run, parts))
    assert [table.equals(other) for table, other in zip(here, there, strict=True)] == [True] * 3


def test_the_summary_of_a_document_is_that_of_its_distances():
    distance_NK = np.array([[0.1, 0.4], [0.2, 0.2], [0.3, np.inf]])
    found = pl.DataFrame(densities.described(distance_NK, Selection(bandwidth_scale=2.0)))
    assert found["bandwidth"].to_list() == [0.4] * 3
    assert found["density"].to_list() == list(draw.density(distance_NK, 0.4))
    assert found["nearest"].to_list() == [0.1, 0.2, 0.3] and found["farthest"].to_list() == [0.4, 0.2, 0.3]
    assert found["mean_distance"].to_list() == pytest.approx([0.25, 0.2, 0.3])
    alone = pl.DataFrame(densities.described(np.zeros((1, 0)), Selection()))
    assert alone.row(0) == (0.0, 1e-3, None, None, None)


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """A planted pool, curated. Each run of a stage collects garbage first, which is slow in the process of many tests."""
    gc.collect()
    gc.freeze()
    made = Synthetic(tmp_path_factory.mktemp("pool"), 300)
    made.settings["clustering"] = Clustering(k=6, min_cluster_docs=10, iterations=5, seeds=1)
    for stage in MEASURED:
        made.run(stage)
    yield made
    gc.unfreeze()


def drawn(pool: Synthetic, **settings) -> pl.DataFrame:
    pool.settings = without_near_copies() | settings
    for stage in ("budgets", "densities", "subset"):
        pool.run(stage)
    return pl.read_parquet(pool.store.parquet("subset", pool.versions["subset"], "selection_weights"))


def test_nothing_but_what_a_density_depends_on_searches_neighbours(pool, monkeypatch):
    first = drawn(pool)
    searches = []
    monkeypatch.setattr(Search, "run", lambda self, part: searches.append(part) or pytest.fail("searched again"))
    for change in ({"beta": 0.9}, {"seed": 3}, {"rho_floor": 0.9}, {"clip_quantile": 0.5}, {"max_tokens": 2000}):
        assert not drawn(pool, selection=Selection(**change)).equals(first), change
    for change in ({"replay": "loss"}, {"tau": 0.9}, {"total": 0.1}, {"unit": "documents"}):
        assert not drawn(pool, budget=Budget(**change)).equals(first), change
    for weight in ("uniform", "length"):
        assert set(drawn(pool, selection=Selection(weight=weight))["density"]) == {1.0}
    assert drawn(pool, selection=Selection(weight="density")).equals(first) and not searches


@pytest.mark.parametrize("change", [{"neighbours": 3}, {"bandwidth": 0.5}, {"bandwidth_scale": 2.0}])
def test_what_a_density_depends_on_changes_it(pool, change):
    assert not drawn(pool, selection=Selection(**change))["density"].equals(drawn(pool)["density"])
