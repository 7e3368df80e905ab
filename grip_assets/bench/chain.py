"""chain: seconds and memory of every stage after the embeddings, on synthetic pools of growing size.

The pools have no texts, and the results of judge and proxy are planted. So this measures only geometry, allocation,
selection and storage. ``python -m grip_assets.bench.chain docs/scale.png`` draws the curve over the size of the pool.
``python -m grip_assets.bench.chain beta 100000`` compares a selection with its search of neighbours to one with another
beta, which reuses the densities.
``python -m grip_assets.bench.chain curve --documents 10000 100000 1000000 --memory 3GB`` measures the stages under a
limit of memory, on a mixture of von Mises-Fisher distributions, up to ten million documents. It prints one JSON
object per stage and size, and then the fitted exponents (curve.py).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.bench import Peak, Result, curve
from grip_assets.bench.data import VonMisesFisherMixture, mixture
from grip_assets.engine.make import Chain
from grip_assets.errors import GripError
from grip_assets.method import neighbours
from grip_assets.method.geometry import unit_rows
from grip_assets.method.partition.base import choose_k
from grip_assets.method.partition.kmeans import fit
from grip_assets.method.partition.nearest import two_nearest
from grip_assets.method.sampling import keyed_order
from grip_assets.method.screening import encode, fastest
from grip_assets.method.selection import draw as selection
from grip_assets.runtime import threads
from grip_assets.runtime.memory import limit_bytes
from grip_assets.runtime.threads import default_workers
from grip_assets.settings import GROUPS, Budget, Clustering, NearDuplicates, Selection
from grip_assets.stages import STAGES
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.tables import blocks, matrix, vectors

D, SEED = 384, 0
BLOCK = 16_384  # documents that are made at a time
MEASURED = ("partition", "clusters", "sigma_k", "probe_set", "budgets", "densities", "subset")


@dataclass(frozen=True)
class Cost:
    seconds: float
    mb: float


class Synthetic:
    """A pool of n documents in its own data folder. Corpus and embeddings are planted; later stages are computed.

    ``lengths_N``: tokens of the documents; None: lognormal. ``rows(n, block)``: unit vectors of a block of documents;
    None: ``data.mixture``. One block is in memory at a time, beside the lengths and a permutation.
    """

    def __init__(
        self,
        root: Path,
        n: int,
        text_bytes: int = 0,
        lengths_N: np.ndarray | None = None,
        rows: Callable[[int, int], np.ndarray] | None = None,
    ):
        self.store = ArtifactStore(root)
        self.versions: dict[str, str] = {}
        self.settings = {name: group() for name, group in GROUPS.items()}
        self.settings["near_duplicates"] = NearDuplicates(threshold=0)  # there are vectors and no texts to compare
        self.settings["budget"] = Budget(replay="loss")  # drops are planted
        rng = np.random.default_rng(SEED)
        self.rows = rows or (lambda n, block: mixture(n, D, 2000, SEED, rows_seed=block))
        number_N = rng.permutation(n)
        drawn_N = np.minimum(rng.lognormal(7, 1.2, n).astype(np.int64) + 1, 200_000)
        tokens_N = drawn_N if lengths_N is None else lengths_N

        def parts() -> Iterator[pl.DataFrame]:
            for i in range(0, n, BLOCK):
                ids = [f"{number:032x}" for number in number_N[i : i + BLOCK]]
                yield pl.DataFrame({"doc_id": ids, "n_tokens": tokens_N[i : i + BLOCK]})

        with self.store.publish("corpus", self._manifest("corpus")) as draft:
            draft.write_blocks("corpus", (self._texts(part, text_bytes) for part in parts()))
        with self.store.publish("embeddings", self._manifest("embeddings", ("corpus",))) as draft:
            draft.write_blocks("embeddings", (self._vectors(part, i) for i, part in enumerate(parts())))

    def _texts(self, part: pl.DataFrame, n_bytes: int) -> pa.Table:
        rng = np.random.default_rng(SEED)
        letters = rng.integers(97, 123, 2**20, dtype=np.uint8).tobytes().decode()
        texts = [letters[at : at + n_bytes] for at in rng.integers(0, len(letters) - n_bytes, len(part))]
        columns = part.with_columns(text=pl.Series(texts), language=pl.lit("python"), source="doc_id")
        return columns.to_arrow(compat_level=pl.CompatLevel.oldest())

    def _vectors(self, part: pl.DataFrame, i: int) -> pa.Table:
        x_BD = self.rows(len(part), i)
        return part.to_arrow(compat_level=pl.CompatLevel.oldest()).append_column("embedding", vectors(x_BD))

    def run(self, name: str) -> Cost:
        """Materialize a stage, and plant the stages after it that are not measured."""
        stage = STAGES[name]
        if "student" in stage.inputs:  # not used, since every document has a vector
            self.versions["student"] = (
                Chain(STAGES, self.store, print, "bench").make(STAGES["student"], self.settings, {}).version
            )
        inputs = {i: self.versions[i] for i in stage.inputs_under(self.settings)}
        with Peak() as memory:
            started = time.perf_counter()
            run = Chain(STAGES, self.store, lambda line: None, "bench")
            made = run.make(stage, self.settings, inputs)
            seconds = time.perf_counter() - started
        self.versions[name] = made.version
        if name == "probe_set":
            allocation = pl.read_parquet(self.store.parquet("probe_set", made.version, "probe_allocation"))
            rng, k = np.random.default_rng(SEED), len(allocation)
            clusters = allocation.select("cluster_id")
            quality = clusters.with_columns(quality=pl.Series(rng.beta(5, 3, k)), standard_error=pl.lit(0.02))
            self._plant("quality_scores", {"cluster_quality": quality}, ("corpus", "clusters", "probe_set"))
            drop = pl.Series(rng.gamma(4, 0.05, k))
            deltas = clusters.with_columns(delta=drop * 11, relative_delta=drop)
            self._plant("adaptation_deltas", {"adaptation_deltas": deltas}, ("probe_set",))
        return Cost(seconds, memory.mb)

    def _plant(self, stage: str, tables: dict[str, pl.DataFrame], inputs: tuple[str, ...] = ()) -> None:
        with self.store.publish(stage, self._manifest(stage, inputs)) as draft:
            for name, frame in tables.items():
                draft.write(name, frame)

    def _manifest(self, stage: str, inputs: tuple[str, ...] = ()) -> dict:
        self.versions[stage] = "planted"
        above = {name: self.versions[name] for name in inputs}
        return {"stage": stage, "version": "planted", "inputs": above, "settings": {}, "computed_at": 0, "seconds": 0}

    def embeddings(self) -> np.ndarray:
        files = self.store.parquet("embeddings", "planted", "embeddings")
        return np.concatenate([unit_rows(matrix(block["embedding"])) for block in blocks(files, ["embedding"])])


def chain(quick: bool) -> Iterator[Result]:
    """The chain against faiss' k-means, assignment and neighbours and numpy's draw together. Quality: share of the
    budget that was drawn."""
    n = 30_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        small = Synthetic(Path(folder) / "small", 10_000)
        for stage in ("partition", "clusters"):  # compiles the kernels and measures the machine
            small.run(stage)
        pool = Synthetic(Path(folder) / "pool", n)
        costs = {stage: pool.run(stage) for stage in MEASURED}
        x_ND = pool.embeddings()
        kernels_s, theirs_s = _timed(lambda: _kernels(x_ND)), _timed(lambda: _alternatives(x_ND))
        metrics = {name: pool.store.manifest(name, pool.versions[name])["metrics"] for name in ("budgets", "subset")}
    ours_s = sum(cost.seconds for cost in costs.values())
    drawn = metrics["subset"]["tokens_selected"] / metrics["budgets"]["budget"]
    each = ", ".join(f"{stage} {cost.seconds:.1f} s {cost.mb:,.0f} MB" for stage, cost in costs.items())
    peak = max(cost.mb for cost in costs.values())
    note = f"{n:,} documents: {each}"
    yield Result("chain", "faiss and numpy in memory", theirs_s / ours_s, ours_s, theirs_s, drawn, note, peak)
    note = "the chain, with reading and writing, against its kernels alone on vectors in memory: chain / kernels"
    yield Result("chain", "our kernels alone", kernels_s / ours_s, ours_s, kernels_s, ours_s / kernels_s, note, peak)


def _timed(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _kernels(x_ND: np.ndarray) -> None:
    """Fit, assignment, neighbours and draw as in the chain, but in memory."""
    settings, n = Clustering(), len(x_ND)
    sample_ND = x_ND[np.sort(keyed_order(0, "bench", n)[: settings.fit_sample])]
    centroids_KD = fit(sample_ND, settings).centroids_KD
    format = fastest()[0]
    codes = encode(centroids_KD, format)
    blocks_BD = [x_ND[i : i + 16_384] for i in range(0, n, 16_384)]
    label_N = np.concatenate(list(threads.each(lambda x_BD: two_nearest(x_BD, centroids_KD, codes).label_B, blocks_BD)))
    order = np.argsort(label_N, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(label_N))[:-1])

    def density(rows: np.ndarray) -> np.ndarray:
        cluster = neighbours.Cluster.of(x_ND[rows], format)
        distance_NK = neighbours.nearest(cluster, 0, len(rows), min(10, len(rows) - 1))
        return selection.density(distance_NK, selection.bandwidth(distance_NK, "median"))

    found = list(threads.each(density, [rows for rows in members if len(rows) > 1]))
    weight_N = 1 / np.concatenate(found)
    key_N = selection.keys(np.random.default_rng(0).random(len(weight_N)), weight_N)
    selection.draw_one(key_N, np.ones(len(weight_N), np.int64), len(weight_N) // 4)


def _alternatives(x_ND: np.ndarray) -> None:
    """The numeric stages with the libraries that a user would take, in memory."""
    import faiss

    faiss.omp_set_num_threads(default_workers())
    settings, k = Clustering(), choose_k(len(x_ND), None)
    fit_ND = x_ND[np.random.default_rng(0).choice(len(x_ND), min(settings.fit_sample, len(x_ND)), replace=False)]
    for seed in range(settings.seeds):
        kmeans = faiss.Kmeans(
            D, k, niter=settings.iterations, seed=seed, spherical=True, max_points_per_centroid=len(x_ND)
        )
        kmeans.train(fit_ND)
    label_N = kmeans.index.search(x_ND, 1)[1][:, 0]
    weight_N = np.ones(len(x_ND))
    for cluster in range(k):
        rows = np.flatnonzero(label_N == cluster)
        index = faiss.IndexFlatIP(D)
        index.add(x_ND[rows])
        if len(rows) > 11:
            near_N10 = index.search(x_ND[rows], 11)[0][:, 1:]
            weight_N[rows] = 1 / np.exp(near_N10 - 1).sum(1)
    np.random.default_rng(0).choice(len(x_ND), len(x_ND) // 4, replace=False, p=weight_N / weight_N.sum())


def scale(sizes: tuple[int, ...], log: Callable[[str], None] = print) -> dict[str, list[Cost]]:
    """Costs by stage, one per size of the pool."""
    costs: dict[str, list[Cost]] = {stage: [] for stage in MEASURED}
    for n in sizes:
        with tempfile.TemporaryDirectory() as folder:
            pool = Synthetic(Path(folder), n)
            for stage in MEASURED:
                costs[stage].append(pool.run(stage))
        log(f"{n:,}: " + ", ".join(f"{s} {c[-1].seconds:.2f} s {c[-1].mb:,.0f} MB" for s, c in costs.items()))
    return costs


def exponents(sizes: tuple[int, ...], costs: dict[str, list[Cost]]) -> dict[str, float]:
    """Slope of log seconds against log N, by least squares."""
    return {s: float(np.polyfit(np.log(sizes), np.log([c.seconds for c in found]), 1)[0]) for s, found in costs.items()}


def picture(file: Path, sizes: tuple[int, ...], costs: dict[str, list[Cost]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    slopes = exponents(sizes, costs)
    for stage, found in costs.items():
        left.loglog(sizes, [c.seconds for c in found], "o-", label=f"{stage}: N^{slopes[stage]:.2f}")
        right.loglog(sizes, [max(c.mb, 1) for c in found], "o-", label=stage)
    left.set(xlabel="documents", ylabel="seconds")
    right.set(xlabel="documents", ylabel="peak memory, MB")
    left.legend()
    figure.savefig(file, dpi=110)


def another_beta(n: int) -> tuple[float, float]:
    """Seconds of a selection of ``n`` documents with its search of neighbours, and of one with another beta."""
    with tempfile.TemporaryDirectory() as folder:
        small, pool = Synthetic(Path(folder) / "small", 10_000), Synthetic(Path(folder) / "pool", n)
        for stage in ("partition", "clusters"):  # compiles the kernels and measures the machine
            small.run(stage)
        costs = [pool.run(stage).seconds for stage in MEASURED]
        pool.settings["selection"] = Selection(beta=0.7)
        return sum(costs[-2:]), sum(pool.run(stage).seconds for stage in MEASURED[-2:])


class Resident:
    """The most memory of this process during the block, in MB, and its processor time.

    ``private_mb``: what must be there. ``all_mb``: also pages of files, which the system can drop at any time.
    ``cores_s``: processor time of all threads, in seconds.
    """

    EVERY = 0.02  # seconds

    def __enter__(self) -> "Resident":
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
        self.private_mb, self.ended, self.began = 0.0, threading.Event(), time.process_time()
        self.watch = threading.Thread(target=self._watch, daemon=True)
        self.watch.start()
        return self

    def _watch(self) -> None:
        while True:
            self.private_mb = max(self.private_mb, _status("RssAnon"))
            if self.ended.wait(self.EVERY):
                return

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        self.watch.join()
        self.all_mb, self.cores_s = _status("VmHWM"), time.process_time() - self.began


def _status(name: str) -> float:
    """A line of /proc/self/status, in MB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name + ":"))


def limit(n_bytes: int) -> None:
    """End this process as soon as it has more than so many bytes of private memory.

    A limit of the system (RLIMIT_DATA) would count what allocators and threads reserve, too: 1 to 2 GB that are never
    written.
    """

    def watch() -> None:
        while (found := _status("RssAnon")) * 2**20 <= n_bytes:
            time.sleep(Resident.EVERY)
        print(
            f"{found:,.0f} MB of private memory are more than the limit of {n_bytes / 2**20:,.0f} MB", file=sys.stderr
        )
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def measured(n: int, folder: Path, d: int = D, light: bool = False) -> Iterator[dict[str, Any]]:
    """One row per stage for a pool of ``n`` documents: seconds, processor seconds, memory, and what drives the cost.

    ``pairs``: distances that the search for neighbours looks at. ``written``: bytes of the artifact. ``light``: a cheap
    fit and search, for memory alone: what a document takes does not depend on them.
    """
    small = Synthetic(folder / "small", 10_000)
    for stage in MEASURED:  # compiles the kernels and measures the machine
        small.run(stage)
    started = time.perf_counter()
    with Resident() as memory:
        pool = Synthetic(folder / "pool", n, rows=VonMisesFisherMixture(d, 2000, SEED).rows)
    if light:
        pool.settings["clustering"] = Clustering(k=256, fit_sample=20_000, iterations=2, seeds=1)
        pool.settings["selection"] = Selection(split=1_000)
    yield _row("planting", n, time.perf_counter() - started, memory, {})
    for stage in MEASURED:
        with Resident() as memory:
            seconds = pool.run(stage).seconds
        manifest = pool.store.manifest(stage, pool.versions[stage])
        about = {"written": sum(table["bytes"] for table in manifest["tables"].values())}
        if stage == "clusters":
            sizes_K = pl.read_parquet(pool.store.parquet(stage, pool.versions[stage], "centroids"))["n_docs"].to_numpy()
            split = Selection.of(pool.settings).split
            about |= {"clusters": len(sizes_K), "largest": int(sizes_K.max())}
            about["pairs"] = int((sizes_K * np.minimum(sizes_K, split)).sum())
        yield _row(stage, n, seconds, memory, about | {"dimensions": d})


def _row(stage: str, n: int, seconds: float, memory: Resident, about: dict[str, Any]) -> dict[str, Any]:
    spent = {"seconds": round(seconds, 3), "cores_s": round(memory.cores_s, 3)}
    taken = spent | {"private_mb": round(memory.private_mb), "all_mb": round(memory.all_mb)}
    return {"stage": stage, "documents": n, **taken, **about}


def curve_of(
    sizes: list[int], memory: str, folder: Path | None, to: Path | None, d: int = D, light: bool = False
) -> Iterator[dict[str, Any]]:
    """The rows of all sizes, each measured in a process of its own, then one row per fitted law."""
    rows: list[dict[str, Any]] = []
    header = {"date": str(date.today()), "limit": memory, "dimensions": d, "workers": default_workers(), "light": light}
    for row in _with(header, sizes, memory, folder, rows):
        if to:
            with to.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        yield row
    yield from ({"law": law.stage} | asdict(law) for law in curve.fitted(rows))


def _with(
    header: dict[str, Any], sizes: list[int], memory: str, folder: Path | None, rows: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    yield header
    for n in sizes:
        with tempfile.TemporaryDirectory(dir=folder) as own:
            given = ["--memory", memory, "--folder", own, "--dimensions", str(header["dimensions"])]
            given += ["--light"] if header["light"] else []
            words = [sys.executable, "-m", "grip_assets.bench.chain", "one", str(n), *given]
            with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    rows.append(json.loads(line))
                    yield rows[-1]
            if process.returncode:
                raise GripError(f"The chain of {n:,} documents did not finish within {memory}; see the lines above.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m grip_assets.bench.chain", description=__doc__)
    parser.add_argument("what", help="curve, one, beta, or the file of a picture")
    parser.add_argument("size", nargs="?", type=int, help="documents, for one and beta")
    parser.add_argument("--documents", nargs="+", type=int, default=[10_000, 30_000, 100_000, 300_000, 1_000_000])
    parser.add_argument("--memory", default="3GB", help="limit of private memory; the stages get half of it")
    parser.add_argument("--folder", type=Path, help="where the pools are made; 2.4 kB a document are needed")
    parser.add_argument("--to", type=Path, help="a file to which the rows are appended")
    parser.add_argument("--dimensions", type=int, default=D, help="of the vectors, for curve and one")
    parser.add_argument("--light", action="store_true", help="a cheap fit and search: for memory alone")
    return parser.parse_args()


def _main(given: argparse.Namespace) -> None:
    if given.what == "one":
        os.environ["GRIP_MEMORY"] = given.memory
        n_bytes = limit_bytes()
        os.environ["GRIP_MEMORY"] = str(n_bytes // 2)
        limit(n_bytes)
        for row in measured(given.size, given.folder, given.dimensions, given.light):
            print(json.dumps(row), flush=True)
    elif given.what == "curve":
        for row in curve_of(given.documents, given.memory, given.folder, given.to, given.dimensions, given.light):
            print(json.dumps(row), flush=True)
    elif given.what == "beta":
        with_search, without = another_beta(given.size)
        print(f"with the search {with_search:.2f} s, another beta {without:.2f} s: {with_search / without:.1f} times")
    else:
        sizes = tuple(given.documents)
        scale((10_000,), lambda line: None)  # compiles the kernels
        found = scale(sizes)
        print({stage: round(slope, 2) for stage, slope in exponents(sizes, found).items()})
        picture(Path(given.what), sizes, found)


if __name__ == "__main__":
    _main(_arguments())
    sys.stdout.flush()
    os._exit(0)  # DuckDB's bindings print a page of leak warnings at exit
