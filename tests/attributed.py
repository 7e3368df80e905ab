"""A data folder with the tables of an attribution and of a greedy selection, as the stages make them: planted numbers.

Documents 0 to 9 are near copies of document 0, and have the best alignment. Greedy takes one of them and goes on with
documents of other clusters.
"""

import json
from pathlib import Path

import numpy as np
import polars as pl
from mixed import NAMES, publish

from grip_assets.settings import GROUPS, validate
from grip_assets.stages.reports import redundancy
from grip_assets.store import catalog
from grip_assets.store.artifacts import ArtifactStore

N, CLUSTERS, DIM, COPIES, TAKEN = 60, 5, 8, 10, 15
KINDS = ("uniform", "few_clusters", "many_clusters", "duplicates", "length", "language")
TARGETS = ("humaneval", "held_out:python")
CONFIGURATIONS = (("unigram", "none", 0.0), ("unigram", "none", 1.0), ("head", "unit", 0.3))
CHOSEN = "unigram/none/1"
WORDS = "better than the default: +0.08 to +0.33"
ADDITIVE = "unigram/none/0"
SCORES = {CHOSEN: 0.1, ADDITIVE: 0.8, "head/unit/0.3": 1.6, "unigram_ce": 0.2, "length": 9.0}
"""Each score, and how noisy its predictions are."""

CHOICE = {
    "configuration": pl.String, "source": pl.String, "normalize": pl.String, "gamma": pl.Float64, "mean": pl.Float64,
    "gain": pl.Float64, "lower_bound": pl.Float64, "upper_bound": pl.Float64, "chosen": pl.Boolean, "words": pl.String,
}  # fmt: skip
FIDELITY = {
    "configuration": pl.String, "what": pl.String, "target": pl.String, "kind": pl.String, "size": pl.Int64,
    "n": pl.Int64, "spearman": pl.Float64, "low": pl.Float64, "high": pl.Float64, "ceiling": pl.Float64,
    "ratio": pl.Float64, "over_additive": pl.Float64, "over_additive_low": pl.Float64, "over_additive_high": pl.Float64,
    "seconds": pl.Float64, "flops": pl.Float64, "bytes": pl.Int64, "words": pl.String,
}  # fmt: skip
PREDICTIONS = {
    "configuration": pl.String, "subset_id": pl.String, "role": pl.String, "kind": pl.String, "size": pl.Int64,
    "target": pl.String, "predicted": pl.Float64, "utility": pl.Float64,
}  # fmt: skip


def doc(i: int) -> str:
    return f"{i:032x}"


class Attributed:
    """Planted tables. ``targets``, ``sources``, ``texts``: their names and contents. ``choose``: settings/attribution.

    ``better``: whether the quadratic term predicts better than additive. ``sizes``: of the trials.
    """

    def __init__(self, targets=TARGETS, names=NAMES, texts=None, choose="bootstrap", rule="greedy", better=True, sizes=(100_000,)):  # fmt: skip
        self.targets, self.names, self.choose, self.rule, self.better, self.sizes = (
            targets, names, choose, rule, better, sizes,
        )  # fmt: skip
        self.texts = texts or [f"def number_{i}():\n    return {i}\n" for i in range(N)]
        self.rng = np.random.default_rng(0)
        self.cluster = [0] * COPIES + [i % CLUSTERS for i in range(N - COPIES)]
        self.sketch = np.abs(self.rng.normal(size=(N, DIM)))
        self.sketch[1:COPIES] = self.sketch[0] + 0.01 * self.rng.normal(size=(COPIES - 1, DIM))
        self.alignment = 0.5 - np.arange(N) / N
        self.taken = [0, *range(COPIES, COPIES + TAKEN - 1)]

    @property
    def measured(self) -> bool:
        return self.choose != "none"

    def tables(self) -> dict[str, dict[str, pl.DataFrame]]:
        return {
            "attribution_targets": self.of_targets(),
            "sketches": self.of_sketches(),
            "counterfactuals": self.of_trials(),
            "attribution": self.of_attribution(),
            "subset": self.of_subset(),
            **({"redundancy": {}} if self.rule == "greedy" else {}),
        }

    def of_targets(self) -> dict[str, pl.DataFrame]:
        rows = [
            (f"{t}-{i}", t, "aim" if i % 2 else "measure", "", "text", 4, 0.0) for t in self.targets for i in range(6)
        ]
        columns = ["item_id", "target", "half", "prompt", "text", "n_bytes", "in_pool"]
        return {"attribution_items": pl.DataFrame(rows, columns, orient="row")}

    def of_sketches(self) -> dict[str, pl.DataFrame]:
        columns = {
            "doc_id": pl.Series([doc(i) for i in range(N)]),
            "cluster_id": pl.Series(self.cluster, dtype=pl.Int32),
            "sketch": pl.Series(self.sketch.astype(np.float16), dtype=pl.Array(pl.Float16, DIM)),
            "n_tokens": pl.Series([100] * N, dtype=pl.Int64),
            "norm": pl.Series([1.0] * N, dtype=pl.Float64),
        }
        frames = [pl.DataFrame(columns).select("doc_id", "cluster_id", pl.lit(s).alias("source"), "sketch", "n_tokens", "norm") for s in ("unigram", "head")]  # fmt: skip
        sources = pl.DataFrame({
            "source": ["unigram", "head"], "features": [1024, 131_072], "sketch": ["countsketch"] * 2,
            "seconds": [2.5, 340.0], "flops": [0.0, 4e12], "bytes": [2 * DIM * N] * 2,
        })  # fmt: skip
        return {"sketches": pl.concat(frames), "sketch_sources": sources}

    def trials(self) -> list[tuple[str, str, str, int]]:
        """Name, role, kind and size of each trial."""
        found = []
        for size in self.sizes:
            for role in ("calibration", "check"):
                for kind in KINDS:
                    found += [(f"trial-{len(found) + i}", role, kind, size) for i in range(5)]
        return found

    def of_trials(self) -> dict[str, pl.DataFrame]:
        trials = self.trials() if self.measured else []
        subsets = [(name, i % 6, role, kind, size, doc(i % N), 1) for i, (name, role, kind, size) in enumerate(trials)]
        utilities = [
            (name, seed, target, None if i == 3 else self.utility(i, t), 3.0, 2.0, "the loss is not finite" if i == 3 else None)
            for i, (name, *_) in enumerate(trials)
            for seed in (0, 1)
            for t, target in enumerate(self.targets)
        ]  # fmt: skip
        of = {"subset_id": pl.String, "block": pl.Int32, "role": pl.String, "kind": pl.String, "size": pl.Int64, "doc_id": pl.String, "repeats": pl.Int64}  # fmt: skip
        measured = {"subset_id": pl.String, "seed": pl.Int64, "target": pl.String, "utility": pl.Float64, "loss_start": pl.Float64, "loss": pl.Float64, "failed": pl.String}  # fmt: skip
        return {
            "trial_subsets": pl.DataFrame(subsets, of, orient="row"),
            "utilities": pl.DataFrame(utilities, measured, orient="row"),
        }

    @staticmethod
    def utility(trial: int, target: int) -> float:
        return 0.4 + 0.3 * np.sin(trial * 1.7 + target)

    def of_attribution(self) -> dict[str, pl.DataFrame]:
        aligned = pl.concat(
            pl.DataFrame({"doc_id": [doc(i) for i in range(N)], "target": target, "alignment": self.alignment / (t + 1)})
            for t, target in enumerate(self.targets)
        )  # fmt: skip
        chosen = CHOSEN if self.better else ADDITIVE
        gains = {
            CHOSEN: (0.21, 0.08, 0.33) if self.better else (-0.02, -0.1, -0.01),
            "head/unit/0.3": (0.05, -0.1, 0.2),
        }
        words = {True: f"chosen: {WORDS}", False: "chosen: the quadratic term is no gain"}[self.better]
        rows = []
        for source, normalize, gamma in CONFIGURATIONS:
            name = f"{source}/{normalize}/{gamma:g}"
            if self.measured:
                gain, low, high = gains.get(name, (0.0, 0.0, 0.0))
                rows.append(
                    (
                        name,
                        source,
                        normalize,
                        gamma,
                        0.6 + gain,
                        gain,
                        low,
                        high,
                        name == chosen,
                        words if name == chosen else "worse",
                    )
                )
            elif name == chosen:
                rows.append(
                    (name, source, normalize, gamma, None, None, None, None, True, "as set: nothing was measured")
                )
        return {
            "attribution": aligned,
            "attribution_choice": pl.DataFrame(rows, CHOICE, orient="row"),
            "attribution_fidelity": self.of_fidelity(chosen),
            "attribution_predictions": self.of_predictions(),
        }  # fmt: skip

    def of_fidelity(self, chosen: str) -> pl.DataFrame:
        rows = []
        for name, noise in SCORES.items() if self.measured else []:
            what = "chosen" if name == chosen else "configuration" if "/" in name else "baseline"
            cost = (2.5, 0.0) if "unigram" in name else (340.0, 4e12)
            over = (None, None, None) if name != CHOSEN else (0.3, 0.2, 0.4) if self.better else (-0.1, -0.2, 0.0)
            for target in [*self.targets, "mean of targets"]:
                for size in self.sizes:
                    for kind in ("random", "structured"):
                        rho = (0.9 if kind == "structured" else 0.6) / (1 + noise)
                        rows.append((
                            name, what, target, kind, size, 24, rho, rho - 0.1, min(rho + 0.1, 1.0), 0.95, rho / 0.95,
                            *over, *cost, 2 * DIM * N, "planted",
                        ))  # fmt: skip
        return pl.DataFrame(rows, FIDELITY, orient="row")

    def of_predictions(self) -> pl.DataFrame:
        rows = [
            (name, trial, role, kind, size, target, 100 * self.utility(i, t) + 10 * noise * self.rng.normal(), None if i == 3 else self.utility(i, t))
            for name, noise in SCORES.items()
            for i, (trial, role, kind, size) in enumerate(self.trials() if self.measured else [])
            if "/" in name or role == "check"
            for t, target in enumerate(self.targets)
        ]  # fmt: skip
        return pl.DataFrame(rows, PREDICTIONS, orient="row")

    def of_subset(self) -> dict[str, pl.DataFrame]:
        greedy = self.rule == "greedy"
        rank = {d: r for r, d in enumerate(self.taken, 1)} if greedy else {}
        rows = pl.DataFrame({
            "doc_id": [doc(i) for i in range(N)], "cluster_id": pl.Series(self.cluster, dtype=pl.Int32),
            "n_tokens": pl.Series([100] * N, dtype=pl.Int64), **dict.fromkeys(("density", "length_weight", "selection_weight"), pl.Series([1.0] * N)), "key": -np.arange(N, dtype=float),
            "repeats": pl.Series([int(i in self.taken) for i in range(N)], dtype=pl.Int64),
            "rank": pl.Series([rank.get(i) for i in range(N)], dtype=pl.Int64),
            "gain": pl.Series([(0.1 / rank[i] if i in rank else -0.05) if greedy else None for i in range(N)], dtype=pl.Float64),
            "covered": pl.Series([self.alignment[i] - (0.1 / rank[i] if i in rank else -0.05) if greedy else None for i in range(N)], dtype=pl.Float64),
            "alignment": pl.Series(self.alignment if greedy else [None] * N, dtype=pl.Float64),
        })  # fmt: skip
        return {"selection_weights": rows, "subset": rows.filter(pl.col("repeats") > 0)}

    def of_redundancy(self, store: ArtifactStore) -> dict[str, pl.DataFrame]:
        documents = self.of_subset()["selection_weights"]
        best = pl.Series([int(i < len(self.taken)) for i in range(N)])
        changed = redundancy.changes(documents, best.to_numpy())
        return {"greedy_changes": changed, "redundancy": redundancy.near(
            store.parquet("sketches", "planted", "sketches"), "unigram", changed, documents
        )}  # fmt: skip

    def settings(self, group: str) -> dict:
        values = {"selection": {"rule": self.rule}, "attribution": {"choose": self.choose}}.get(group, {})
        return validate(group, {}).model_dump(mode="json") | values

    def write(self, root: Path) -> Path:
        """The folder ``root`` with these tables and a catalog."""
        store, made = ArtifactStore(root), self.tables()
        corpus = pl.DataFrame({
            "doc_id": [doc(i) for i in range(N)], "text": self.texts, "language": ["python"] * N,
            "source": [f"src/{i:02}.py" for i in range(N)], "n_bytes": [len(t.encode()) for t in self.texts], "n_tokens": [100] * N,
        })  # fmt: skip
        publish(store, "corpus", corpus=corpus)
        ids = pl.Series("cluster_id", range(CLUSTERS), dtype=pl.Int32)
        placed = made["subset"]["selection_weights"].select("doc_id", "cluster_id", "n_tokens")
        publish(store, "clusters", clusters=placed, centroids=pl.DataFrame([ids]))
        taxonomy = pl.DataFrame([ids]).with_columns(
            name=pl.Series(self.names), description=pl.lit(""), words=pl.lit([], pl.List(pl.String)),
            family=ids, family_name=pl.lit("family"),
        )  # fmt: skip
        publish(store, "taxonomy", {"clusters": "planted"}, taxonomy=taxonomy)
        settings = {group: self.settings(group) for group in GROUPS}
        first = {"corpus": {"corpus": 0}, "clusters": {"clusters": 0, "centroids": 0}, "taxonomy": {"taxonomy": 0}}
        for i, (stage, tables) in enumerate(made.items()):
            inputs = dict.fromkeys(["clusters", *list(made)[:i]], "planted")
            if stage == "redundancy":
                tables.update(self.of_redundancy(store))
            read = {group: settings[group] for group in ("attribution", "selection") if group in settings}
            metrics = (
                {"certificate": "within 1.2% of the relaxed optimum"}
                if stage == "subset" and self.rule == "greedy"
                else {}
            )
            publish(store, stage, inputs, settings=read, metrics=metrics, **tables)
        in_force = {
            stage: catalog.InForce("planted", "", 0.0, False, tuple(tables)) for stage, tables in {**first, **made}.items()
        }  # fmt: skip
        rows = [(g, n, "", json.dumps(v)) for g, values in settings.items() for n, v in values.items()]
        catalog.rebuild(store, in_force, rows)
        return root
