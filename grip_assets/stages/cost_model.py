"""The cost of a curation that is too large to try: seconds, disk, network, memory and money of each stage.

``grip plan --documents`` prints it, docs/scale.md carries it to ten billion documents. costs.py, beside it, forecasts a
run of a pool that is there.

Symbols: N documents, T tokens of a document, K = min(max(√N, 16), 1,024) clusters, d dimensions, S = min(N,
clustering.fit_sample) sampled documents, P = min(skew N² / K, N selection.split) pairs that the search of neighbours
looks at. ``skew`` says how unequal clusters are, as measured (1: all equal). Processor seconds of a stage:

    reading             3.5 N T / r₁            r₁ bytes a second of a core, also counts tokens
    near_duplicates     3.5 N T / r₂
    embeddings          N T / r₃                r₃ tokens a second of a core, or of a GPU
    partition           a + b N + c S K         the fit saturates when N is above the sample
    clusters            a + b N + c N K
    sigma_k             a + b N
    probe_set           a + b N + c K
    adaptation_deltas   K tokens / r₄
    quality_scores      max(probe.fraction N, K probe.min_per_cluster) / r₅
    budgets             a + b K
    densities           a + b N + c P
    subset              a + b N

a, b and c are fitted to rows of ``python -m grip_assets.bench.chain curve`` (``FITTED``, by least squares of the
relative error, none below 0). r₁ to r₅ were measured once (``RATES``).

Seconds: processor seconds / the cores that can work on it: those of all nodes, of one node, or one core (``SPREAD``).
If there are several nodes, a stage also reads its inputs and writes its tables over the network, and the slower of the
two counts. Memory: of the node with the driver, as measured, and beyond by the bytes of a further document. Money: node
hours and GPU hours at given prices.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from grip_assets.engine.stage import Settings
from grip_assets.errors import GripError
from grip_assets.settings import Adaptation, Clustering, Embedding, Probe, Selection

MEASURED = "measured_costs.jsonl"  # beside this module: rows of the bench, the first with date and machine
MEASURED_GPU = "measured_gpu.jsonl"  # rows of bench.gpu
BYTES_A_TOKEN = 3.5
WINDOW = 256  # tokens of a window of the packaged encoder
VECTOR = 2  # bytes of a number of a vector
NAMES = 60  # bytes of a row of a narrow table, before compression: a name and some numbers
MOST_CLUSTERS, FEWEST_CLUSTERS = 1_024, 16
NOT_MEASURED = "not measured"
# Units a second of one core, measured on two cores of the machine of docs/performance.md and divided by two.
RATES = {"corpus": 7e6, "near_duplicates": 4e6, "embeddings": 3_100, "adaptation_deltas": 400, "quality_scores": 45}
NODES, NODE, CORE = "all nodes", "one node", "one core"
SPREAD = {
    "corpus": NODES,
    "near_duplicates": NODES,
    "embeddings": NODES,
    "partition": NODE,
    "clusters": NODE,
    "sigma_k": CORE,
    "probe_set": CORE,
    "adaptation_deltas": NODES,
    "quality_scores": NODES,
    "budgets": CORE,
    "densities": NODES,
    "subset": CORE,
}
# What multiplies a, b and c of a fitted stage.
FITTED = {
    "partition": ("one", "N", "S K"),
    "clusters": ("one", "N", "N K"),
    "sigma_k": ("one", "N"),
    "probe_set": ("one", "N", "K"),
    "budgets": ("one", "K"),
    "densities": ("one", "N", "P"),
    "subset": ("one", "N"),
}
ON_GPU = {"embeddings": "embedding"}  # the row of ``python -m grip_assets.bench.gpu``; the probe stays on processors


@dataclass(frozen=True)
class Machines:
    """``cores``: of each node. ``gpus``: of all nodes together. Prices in dollars for an hour, None if not given.
    ``gbps``: of each node's network, in gigabits a second; None: it is not the limit."""

    nodes: int = 1
    cores: int = 2
    gpus: int = 0
    node_hour: float | None = None
    gpu_hour: float | None = None
    gbps: float | None = None


@dataclass(frozen=True)
class Pool:
    """A pool that need not exist, and the settings that decide its cost."""

    documents: float
    tokens: float = 1_000
    k: int | None = None
    dimensions: int = 384
    fit_sample: int = 262_144
    split: int = 200_000
    windows_tokens: int | None = None
    probe_tokens: int = 20_480
    probe_fraction: float = 0.02
    probe_least: int = 8
    skew: float = 1.0

    @property
    def clusters(self) -> float:
        return self.k or min(max(math.sqrt(self.documents), FEWEST_CLUSTERS), MOST_CLUSTERS, self.documents)

    @property
    def embedded(self) -> float:
        """Tokens that the encoder reads."""
        return self.documents * min(self.tokens, self.windows_tokens or math.inf)

    @property
    def read_bytes(self) -> float:
        return self.documents * self.tokens * BYTES_A_TOKEN

    @property
    def vectors(self) -> float:
        """Bytes of all vectors, with the names of their documents."""
        return self.documents * (self.dimensions * VECTOR + NAMES)

    def drivers(self) -> dict[str, float]:
        """The symbols of the module's docstring."""
        n, k = self.documents, self.clusters
        pairs = min(self.skew * n * n / k, n * self.split)
        return {"one": 1.0, "N": n, "K": k, "S K": min(n, self.fit_sample) * k, "N K": n * k, "P": pairs}

    def probed(self) -> dict[str, float]:
        """Units of the stages in RATES."""
        judged = max(self.documents * self.probe_fraction, self.clusters * self.probe_least)
        return {
            "corpus": self.read_bytes,
            "near_duplicates": self.read_bytes,
            "embeddings": self.embedded,
            "adaptation_deltas": min(self.clusters * self.probe_tokens, self.documents * self.tokens),
            "quality_scores": min(judged, self.documents),
        }


@dataclass(frozen=True)
class Law:
    """coefficients · drivers, for processor seconds of a stage."""

    drivers: tuple[str, ...]
    coefficients: tuple[float, ...]

    def __call__(self, pool: Pool) -> float:
        of = pool.drivers()
        return sum(c * of[name] for c, name in zip(self.coefficients, self.drivers, strict=True))


@dataclass(frozen=True)
class StageCost:
    """``core_seconds``: processor seconds. ``network``, ``disk``, ``memory``: bytes. ``basis``: where it comes from.
    ``seconds`` and ``gpu_seconds`` are None if a GPU would do the work and its rate was not measured."""

    stage: str
    core_seconds: float
    seconds: float | None
    gpu_seconds: float | None
    disk: float
    network: float
    memory: float
    basis: str
    dollars: float | None = None


@dataclass(frozen=True)
class Model:
    """Laws fitted to ``rows`` of the bench, the header first. ``gpu``: units a second of a GPU, by stage; ``device``:
    its name."""

    rows: Sequence[Mapping[str, Any]]
    gpu: Mapping[str, float] = field(default_factory=dict)
    device: str = ""

    @cached_property
    def header(self) -> Mapping[str, Any]:
        return next((row for row in self.rows if "stage" not in row), {})

    @cached_property
    def _timed(self) -> list[Mapping[str, Any]]:
        """The rows whose times count. Rows with other dimensions than the header's were measured for their memory."""
        d = self.header.get("dimensions")
        return [row for row in self.rows if "stage" in row and row.get("dimensions", d) == d]

    @cached_property
    def skew(self) -> float:
        """The median of P K / N² over the measured sizes at which no cluster was split."""
        found = [r["pairs"] * r["clusters"] / r["documents"] ** 2 for r in self._timed if "pairs" in r]
        return float(np.median(found)) if found else 1.0

    @cached_property
    def laws(self) -> dict[str, Law]:
        return {stage: self._law(stage) for stage in FITTED if self.points(stage)}

    def points(self, stage: str) -> list[tuple[Pool, float]]:
        """(pool, processor seconds) of a stage as measured, with the median of equal sizes."""
        seen: dict[int, list[float]] = {}
        for row in self._timed:
            if row["stage"] == stage:
                seen.setdefault(row["documents"], []).append(row["cores_s"])
        return [(self.pool(n), float(np.median(seen[n]))) for n in sorted(seen)]

    def pool(self, n: float) -> Pool:
        """The pool of the bench with ``n`` documents."""
        return Pool(n, dimensions=self.header.get("dimensions", 384), skew=self.skew)

    def _law(self, stage: str) -> Law:
        """Least squares of the relative errors, coefficients at least 0."""
        names, points = FITTED[stage], self.points(stage)
        x = np.array([[pool.drivers()[name] for name in names] for pool, _ in points])
        y = np.array([seconds for _, seconds in points])
        scaled = x / y[:, None]
        norm = np.linalg.norm(scaled, axis=0)
        found, _ = nnls(scaled / norm, np.ones(len(y)))
        return Law(names, tuple(found / norm))

    def errors(self, least: float = 1.0) -> list[tuple[str, int, float, float]]:
        """(stage, documents, measured, by the law) processor seconds where the stage took at least ``least``."""
        return [
            (stage, int(pool.documents), seconds, law(pool))
            for stage, law in self.laws.items()
            for pool, seconds in self.points(stage)
            if seconds >= least
        ]

    def memory(self, stage: str, pool: Pool) -> float:
        """Private bytes of the process of a stage: as measured, and beyond by the bytes that a further document took.

        Small pools say little: blocks in flight take as much for each. So the slope is that between the largest size
        and the largest one of at most a tenth of it.
        """
        points = sorted({r["documents"]: r["private_mb"] * 2**20 for r in self.rows if r.get("stage") == stage}.items())
        if not points:
            return 0.0
        (n, most), below = points[-1], [point for point in points if point[0] <= points[-1][0] / 10]
        few, least = below[-1] if below else (0, most)
        each = max(most - least, 0) / (n - few)
        at = least if pool.documents < n else most
        return float(at + each * max(pool.documents - (few if pool.documents < n else n), 0))

    def plan(self, pool: Pool, machines: Machines) -> list[StageCost]:
        """The cost of each stage, in the order of the chain."""
        pool = replace(pool, skew=self.skew)
        return [self._cost(stage, pool, machines) for stage in SPREAD]

    def _cost(self, stage: str, pool: Pool, machines: Machines) -> StageCost:
        core_s = self.laws[stage](pool) if stage in self.laws else pool.probed()[stage] / RATES[stage]
        gpu_s, basis = None, "measured curve" if stage in self.laws else "measured rate"
        seconds: float | None = core_s / _cores(stage, machines)
        if stage in ON_GPU and machines.gpus:
            rate = self.gpu.get(stage)
            basis = f"bench on {self.device}" if rate else f"GPU {NOT_MEASURED}"
            gpu_s = pool.probed()[stage] / rate if rate else None
            seconds, core_s = (gpu_s / machines.gpus if gpu_s is not None else None), 0.0
        network = _moved(stage, pool) if machines.nodes > 1 else 0.0
        if seconds is not None and network and machines.gbps:
            ways = machines.nodes if SPREAD[stage] == NODES else 1
            seconds = max(seconds, network * 8 / (machines.gbps * 1e9 * ways))
        cost = StageCost(stage, core_s, seconds, gpu_s, _written(stage, pool), network, self.memory(stage, pool), basis)
        return replace(cost, dollars=_dollars(cost, machines))


def _cores(stage: str, machines: Machines) -> int:
    return {NODES: machines.nodes * machines.cores, NODE: machines.cores, CORE: 1}[SPREAD[stage]]


def _written(stage: str, pool: Pool) -> float:
    """Bytes of the tables that a stage leaves on the disk: text compressed to a quarter, vectors in float16."""
    n, k, d = pool.documents, pool.clusters, pool.dimensions
    return {
        "corpus": pool.read_bytes / 4,
        "near_duplicates": pool.read_bytes * 0.4,
        "embeddings": 2 * pool.vectors,  # the table, and the shards that a crash or a later pool goes on from
        "partition": 4 * d * k,
        "clusters": pool.vectors + n * NAMES * 0.75,
        "probe_set": pool.probed()["quality_scores"] * pool.tokens * BYTES_A_TOKEN / 4,
        "densities": n * 40.0,
        "subset": n * 52.0,
    }.get(stage, 200.0 * k)


def _moved(stage: str, pool: Pool) -> float:
    """Bytes over the network of a stage whose inputs and tables are on a shared store."""
    n, text = pool.documents, pool.read_bytes
    read = {
        "corpus": text,
        "near_duplicates": 2 * text / 4,
        "embeddings": text / 4,
        "partition": pool.vectors,
        "clusters": 4 * pool.vectors,  # labels, dealing out, sums and cosines each read them
        "sigma_k": n * 16.0,
        "probe_set": n * NAMES + text / 4,
        "densities": pool.vectors,
        "subset": pool.vectors + n * 2 * NAMES,
    }
    return read.get(stage, 0.0) + _written(stage, pool)


def _dollars(cost: StageCost, machines: Machines) -> float | None:
    """All nodes are paid for while a stage runs, and all GPUs while one is used. None if a price or time is missing."""
    if cost.seconds is None or machines.node_hour is None:
        return None
    on_gpu = cost.gpu_seconds is not None
    if on_gpu and machines.gpu_hour is None:
        return None
    gpus = machines.gpus * (machines.gpu_hour or 0.0) if on_gpu else 0.0
    return cost.seconds / 3600 * (machines.nodes * machines.node_hour + gpus)


def pool_of(settings: Settings, documents: float, tokens: float) -> Pool:
    """A pool of this size under these settings."""
    clustering, embedding = Clustering.of(settings), Embedding.of(settings).effective()
    adaptation, probe = Adaptation.of(settings), Probe.of(settings)
    windows = embedding.max_windows and embedding.max_windows * (embedding.window or WINDOW)
    return Pool(
        documents,
        tokens,
        k=clustering.k,
        fit_sample=clustering.fit_sample,
        split=Selection.of(settings).split,
        windows_tokens=windows,
        probe_tokens=adaptation.tokens_per_cluster or round(documents * tokens),
        probe_fraction=probe.fraction,
        probe_least=probe.min_per_cluster,
    )


def recorded(name: str = MEASURED) -> list[dict[str, Any]]:
    """The rows that come with the program."""
    return parsed(files("grip_assets.stages").joinpath(name).read_text(encoding="utf-8").splitlines())


def parsed(lines: Iterable[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines if line.strip()]


def with_coefficients(file: Path | None) -> Model:
    """The recorded model; ``file``: rows of bench.chain take the place of its curve, rows of bench.gpu that of its
    rates of a GPU. GripError if it has neither."""
    if file is None:
        return Model(recorded(), *_gpu_rates(recorded(MEASURED_GPU)))
    try:
        rows = parsed(file.read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError) as error:
        raise GripError(f"{file} cannot be read as JSON lines: {error}. Name an output of the bench.") from None
    curve = [row for row in rows if "cores_s" in row and "documents" in row]
    gpu, device = _gpu_rates(rows)
    if not curve and not gpu:
        raise GripError(
            f"{file} has no row of `python -m grip_assets.bench.chain curve --to FILE`, and none of"
            " `python -m grip_assets.bench.gpu`."
        )
    header = [row for row in rows if "limit" in row]
    rates = (gpu, device) if gpu else _gpu_rates(recorded(MEASURED_GPU))
    return Model([*header, *curve] if curve else recorded(), *rates)


def _gpu_rates(rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, float], str]:
    """(tokens a second of one GPU by stage, its name). Rows that were measured without a GPU say nothing.

    A word of the bench's texts counts as one token, which is at most too little.
    """
    machine = next((row for row in rows if row.get("cuda")), None)
    if machine is None:
        return {}, ""
    names = {name: stage for stage, name in ON_GPU.items()}
    rates = {
        names[row["name"]]: row["n"] * row["size"]["words"] / row["ours_s"]
        for row in rows
        if row.get("name") in names and row.get("ours_s")
    }
    return rates, str(machine.get("device", ""))
