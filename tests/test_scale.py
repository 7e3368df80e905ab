"""Pools too large to try: the laws of the curve, the model of cost, and what reads a pool block by block."""

import json
import os
from types import SimpleNamespace

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from grip_assets import cli
from grip_assets.bench import curve
from grip_assets.bench.data import VonMisesFisherMixture, concentration, von_mises_fisher
from grip_assets.errors import GripError
from grip_assets.sources.steps.copies import Sources
from grip_assets.stages import cost_model
from grip_assets.stages.cost_model import Machines, Model, Pool
from grip_assets.stages.curation import by_cluster
from grip_assets.stages.curation.partition import with_vectors
from grip_assets.store.artifacts import parquet_files
from grip_assets.store.tables import TableWriter, runs

SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000)
TRUE = {
    "partition": (2.0, 2e-6, 6e-7),
    "clusters": (0.5, 2e-5, 3e-8),
    "sigma_k": (0.1, 1e-8),
    "probe_set": (0.2, 6e-7, 4e-4),
    "budgets": (0.1, 1e-5),
    "densities": (0.2, 1e-5, 2e-9),
    "subset": (0.3, 4e-6),
}


def rows(sizes=SIZES) -> list[dict]:
    """Rows of a machine whose stages follow the formulas exactly."""
    found = []
    for n in sizes:
        pool = Pool(n, skew=1.7)
        pairs = round(pool.drivers()["P"])
        for stage, coefficients in TRUE.items():
            law = cost_model.Law(cost_model.FITTED[stage], coefficients)
            row = {"stage": stage, "documents": n, "cores_s": law(pool), "private_mb": 500 + 100e-6 * n}
            found.append(row | ({"pairs": pairs, "clusters": pool.clusters} if stage == "clusters" else {}))
    return found


def test_a_power_law_is_found_and_the_size_at_which_it_bends():
    of = [{"stage": "densities", "documents": n, "seconds": 1e-4 * n} for n in SIZES[:4]]
    of += [{"stage": "densities", "documents": n, "seconds": 30 * (n / 300_000) ** 2} for n in SIZES[4:]]
    of += [{"stage": "budgets", "documents": n, "seconds": 0.04} for n in SIZES]
    (law,) = curve.fitted(of)
    assert law.stage == "densities" and law.bends == [300_000], "budgets takes too short to tell"
    assert law.slopes == pytest.approx([1, 1, 1, 2, 2], abs=1e-6) and 1 < law.exponent < 2
    (plain,) = curve.fitted(of[:4])
    assert plain.exponent == pytest.approx(1) and plain.bends == [] and plain.worst < 1e-9


def test_the_model_finds_the_coefficients_and_continues_the_curve():
    model = Model(rows())
    assert model.skew == pytest.approx(1.7, rel=1e-3)
    for stage, coefficients in TRUE.items():
        assert model.laws[stage].coefficients == pytest.approx(coefficients, rel=1e-3)
        far = Pool(1e9, skew=model.skew)
        assert model.laws[stage](far) == pytest.approx(
            cost_model.Law(cost_model.FITTED[stage], coefficients)(far), 1e-3
        )
    assert model.memory("subset", Pool(1e8)) == pytest.approx((500 + 10_000) * 2**20, rel=1e-3)


def test_the_recorded_curve_is_within_a_quarter_of_its_model_above_a_second():
    model = cost_model.with_coefficients(None)
    assert len({row["documents"] for row in model.rows if "documents" in row}) >= 4
    errors = model.errors()
    assert len(errors) >= 6
    for stage, n, measured, law in errors:
        assert law == pytest.approx(measured, rel=0.25), f"{stage} of {n:,} documents"


def test_more_nodes_shorten_what_spreads_and_a_slow_network_is_the_limit():
    model, pool = Model(rows()), Pool(1e8, 600)
    one, many, slow = (
        {cost.stage: cost for cost in model.plan(pool, machines)}
        for machines in (Machines(1, 8), Machines(16, 8), Machines(16, 8, gbps=0.01))
    )
    assert many["densities"].seconds == pytest.approx(one["densities"].seconds / 16)
    assert many["partition"].seconds == one["partition"].seconds, "a fit stays on one node"
    assert one["clusters"].network == 0 < many["clusters"].network
    assert slow["densities"].seconds > many["densities"].seconds
    assert slow["clusters"].seconds == pytest.approx(slow["clusters"].network * 8 / 1e7)


def test_a_gpu_that_was_not_measured_has_no_time_and_no_price(tmp_path):
    machines = Machines(2, 8, gpus=8, node_hour=1.0, gpu_hour=2.0)
    costs = {cost.stage: cost for cost in Model(rows()).plan(Pool(1e6), machines)}
    assert costs["embeddings"].seconds is None and costs["embeddings"].dollars is None
    assert costs["embeddings"].basis == "GPU not measured"
    machine = {"name": "machine", "device": "a GPU", "cuda": "12.8"}
    measured = {"name": "embedding", "n": 4_000, "size": {"words": 200}, "ours_s": 2.0}
    file = tmp_path / "gpu.jsonl"
    file.write_text("\n".join(map(json.dumps, (machine, measured))), encoding="utf-8")
    model = cost_model.with_coefficients(file)
    (cost,) = (c for c in model.plan(Pool(1e6, 1_000), machines) if c.stage == "embeddings")
    assert cost.seconds == pytest.approx(1e9 / 400_000 / 8)
    assert cost.dollars == pytest.approx(cost.seconds / 3600 * (2 * 1 + 8 * 2))
    assert cost.basis == "bench on a GPU"
    file.write_text(json.dumps({"name": "embedding", "skipped": "no GPU"}), encoding="utf-8")
    with pytest.raises(GripError, match="has no row of"):
        cost_model.with_coefficients(file)


def test_the_command_prints_a_table_by_stage_and_needs_no_pool(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GRIP_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    words = ["plan", "--documents", "100e6", "--tokens-per-document", "600", "--nodes", "16", "--gpus", "8"]
    assert cli.run([*words, "--dollars-per-node-hour", "1.5", "--cores", "32"]) == 0
    said = capsys.readouterr().out
    assert "100,000,000 documents of 600 tokens, 1,024 clusters, on 16 nodes of 32 cores and 8 GPUs" in said
    assert "bench on NVIDIA H200" in said and all(stage in said for stage in cost_model.SPREAD)
    assert cli.run(["plan", "--documents", "many"]) == 2
    assert "it must be a number" in capsys.readouterr().err


def test_a_dry_run_of_clean_only_lists_and_contradicts_yes(capsys):
    assert cli.run(["clean", "--dry-run", "--yes"]) == 2
    assert "Give one of them" in capsys.readouterr().err


def test_documents_are_sorted_by_cluster_through_many_buckets_with_their_own_vectors(tmp_path):
    rng, n, k, d = np.random.default_rng(0), 900, 11, 3
    cluster_N, has_N = rng.integers(0, k, n).astype(np.int32), rng.random(n) < 0.7
    ids = [f"{i:04d}" for i in rng.permutation(n)]
    x_ND = rng.standard_normal((n, d)).astype(np.float16)
    dealt = by_cluster.Dealt(tmp_path, by_cluster.buckets_of(np.bincount(cluster_N), 200, 8), d)
    table = pl.DataFrame({"doc_id": ids, "cluster_id": cluster_N, "row": np.arange(n)})
    for mask_N, some in ((has_N, x_ND), (~has_N, None)):
        at_M = np.flatnonzero(mask_N)
        for block in np.array_split(at_M, 4):
            dealt.add(table[block], None if some is None else some[block])
    assert len(dealt.buckets) > 3
    found, vectors = [], []
    for part, blocks in dealt.sorted():
        found.append(part)
        vectors += list(blocks)
    rows_N = pl.concat(found)
    assert rows_N.equals(table.sort("cluster_id", "doc_id"))
    placed = rows_N["row"].to_numpy()
    assert (np.concatenate(vectors) == x_ND[placed[has_N[placed]]]).all()
    assert not list(tmp_path.iterdir()), "nothing stays on the disk"


@pytest.mark.parametrize("rows_of, most", [(10, 256), (1, 4)])
def test_a_cluster_is_never_in_two_buckets_and_there_are_not_too_many(rows_of, most):
    sizes = np.random.default_rng(1).integers(1, 30, 100)
    bucket_K = by_cluster.buckets_of(sizes, rows_of, most)
    assert (np.diff(bucket_K) >= 0).all() and bucket_K[0] == 0 and bucket_K.max() < most


def written(folder, table: pa.Table) -> str:
    folder.mkdir()
    with TableWriter(folder / "part-00000.parquet", table.schema) as writer:
        writer.write(table)
    return parquet_files(folder)


def test_embedded_documents_are_found_side_by_side_in_the_order_of_the_corpus(tmp_path):
    ids = [f"{i:x}" for i in np.random.default_rng(2).permutation(40_000)]
    some_N = np.random.default_rng(3).random(40_000) < 0.1
    chosen = [name for name, some in zip(ids, some_N, strict=True) if some]
    corpus = written(tmp_path / "corpus", pa.table({"doc_id": ids}))
    embeddings = written(tmp_path / "embeddings", pa.table({"doc_id": chosen}))
    files = {"corpus": corpus, "embeddings": embeddings}
    assert (with_vectors(SimpleNamespace(files=files.get)) == some_N).all()
    files["embeddings"] = written(tmp_path / "turned", pa.table({"doc_id": chosen[::-1]}))
    with pytest.raises(GripError, match="not in the order"):
        with_vectors(SimpleNamespace(files=files.get))


def test_runs_of_a_table_are_consecutive_and_of_the_sizes_that_were_asked_for(tmp_path):
    files = written(tmp_path / "table", pa.table({"n": np.arange(50_000)}))
    sizes = [1, 0, 20_000, 5, 29_994]
    found = list(runs(files, ["n"], sizes))
    assert list(map(len, found)) == sizes and (pl.concat(found)["n"].to_numpy() == np.arange(50_000)).all()


def test_planted_documents_have_unit_length_and_the_mean_cosine_of_their_concentration():
    rng, d = np.random.default_rng(0), 384
    centre_ND = np.repeat(np.eye(1, d, dtype=np.float32), 4_000, axis=0)
    for cosine in (0.3, 0.7, 0.95):
        x_ND = von_mises_fisher(centre_ND, np.full(4_000, float(concentration(cosine, d))), rng)
        assert np.linalg.norm(x_ND, axis=1) == pytest.approx(1, abs=1e-4)
        assert (x_ND @ centre_ND[0]).mean() == pytest.approx(cosine, abs=0.003)
    planted = VonMisesFisherMixture(32, 50, 0)
    assert (planted.rows(100, 7) == VonMisesFisherMixture(32, 50, 0).rows(100, 7)).all()
    assert not (planted.rows(100, 7) == planted.rows(100, 8)).any()


def test_the_first_source_of_a_name_is_remembered_however_many_there_are():
    rng = np.random.default_rng(0)
    seen, expected = Sources(slots=8), dict[bytes, str]()
    for i, key in enumerate(map(bytes, rng.integers(0, 256, (3_000, 16), np.uint8)[rng.integers(0, 3_000, 9_000)])):
        source = f"quelle-{i}-é" if i % 2 else os.fsdecode(b"latin-\xe9.txt")
        assert seen.first(key, source) == expected.get(key)
        expected.setdefault(key, source)
    assert seen.n == len(expected) > 2_000
