"""A data folder with the tables of a learned mixture, as mixing makes them: planted losses, no training.

The losses follow y = sum p_d c_d (w_d + .02)^-0.3, so that a domain with a large c_d is worth more than its share.
"""

import json
from pathlib import Path

import numpy as np
import polars as pl

from grip_assets.settings import validate
from grip_assets.store import catalog
from grip_assets.store.artifacts import ArtifactStore

SHARES = np.array([0.40, 0.25, 0.15, 0.12, 0.08])
WORTH = np.array([0.9, 1.0, 1.6, 0.7, 2.2])
FOUND = np.array([0.27, 0.22, 0.23, 0.08, 0.20])
NAMES = ("pandas tests", "licences", "web servers", "generated tables", "matrix code")
WORDS = {
    "regmix": "The regression ranks mixtures that it has not seen with Spearman 0.96.",
    "doremi": "The weights settled.",
    "perf": "",
}
MIXERS = ("found", "natural", "uniform", "tempered", "unimax", "chameleon")


TEXT = "one two three four " * 20


def by_words() -> str:
    """A tokenizer whose tokens are words: ``TEXT`` has 80."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return str(tokenizer.to_str())


def corpus_of(ids: list[str], n_tokens: list[int], text: str = TEXT) -> pl.DataFrame:
    """The table ``corpus``, where each document has the same text."""
    return pl.DataFrame({"doc_id": ids, "text": text, "n_bytes": len(text), "n_tokens": n_tokens})


def loss(w: np.ndarray) -> np.ndarray:
    """Losses on each domain: shape (..., D)."""
    return 1.2 + 0.3 * WORTH * (w + 0.02) ** -0.3


class Mixed:
    """Planted tables. ``names``: of the clusters, or the values of a column if ``domains`` is column.

    ``checked``: with the tables of mixture_check. ``steps``: of DoReMi.
    """

    def __init__(self, method="regmix", domains="clusters", names=NAMES, checked=True, steps=60, settle=True, seeds=1):
        self.method, self.domains, self.names, self.checked = method, domains, names, checked
        self.steps, self.settle, self.seeds = steps, settle, seeds
        self.rng = np.random.default_rng(0)
        self.d = range(len(SHARES))
        self.cluster = pl.Series("cluster_id", self.d if domains == "clusters" else [None] * 5, dtype=pl.Int32)
        self.domain = pl.Series("domain", self.d, dtype=pl.Int32)
        self.name = [str(d) if domains != "column" else names[d] for d in self.d]
        self.targets = [f"domain:{name}" for name in self.name]

    def tables(self) -> dict[str, dict[str, pl.DataFrame]]:
        """Tables by stage."""
        made = {"mixture_domains": self.of_domains(), "mixture_runs": self.of_runs(), "mixture": self.of_mixture()}
        return made | ({"mixture_check": self.of_check()} if self.checked else {})

    def of_domains(self) -> dict[str, pl.DataFrame]:
        tokens = (SHARES * 1_000_000).astype(int)
        rows = pl.DataFrame([self.domain, self.cluster]).with_columns(
            name=pl.Series(self.name), n_docs=pl.Series(tokens // 500), n_tokens=pl.Series(tokens),
            natural_share=pl.Series(SHARES), n_held_out=pl.lit(16),
        )  # fmt: skip
        documents = pl.DataFrame({
            "doc_id": [f"{i:032x}" for i in range(50)], "domain": pl.Series([i % 5 for i in range(50)], dtype=pl.Int32),
            "held_out": [i >= 45 for i in range(50)],
        })  # fmt: skip
        return {"mixture_domains": rows, "mixture_documents": documents}

    def of_runs(self) -> dict[str, pl.DataFrame]:
        shares, kinds = [SHARES], ["natural"]
        if self.method == "regmix":
            drawn = self.rng.dirichlet(SHARES**0.5 * 4, 40)
            shares, kinds = [*shares, *drawn], kinds + ["swarm"] * 40
        elif self.method == "perf":
            for d in self.d:
                up = SHARES.copy()
                up[d] *= 2
                shares, kinds = [*shares, up / up.sum()], [*kinds, "upsampled"]
        else:
            kinds = ["reference"]
        mixtures = pl.concat(
            pl.DataFrame([self.domain, self.cluster]).with_columns(
                mixture_id=pl.lit(i, pl.Int32), weight=pl.Series(w), achieved=pl.Series(w), kind=pl.lit(kind)
            )
            for i, (w, kind) in enumerate(zip(shares, kinds, strict=True))
        )
        rows = [
            (i, seed, target, None if i == 7 else value + self.rng.normal(0, 0.003), "the loss is not finite" if i == 7 else None)
            for i, w in enumerate(shares)
            for seed in range(self.seeds)
            for target, value in zip(self.targets, loss(w), strict=True)
        ]  # fmt: skip
        schema = {
            "mixture_id": pl.Int32,
            "seed": pl.Int64,
            "target": pl.String,
            "loss": pl.Float64,
            "failed": pl.String,
        }
        losses = pl.DataFrame(rows, schema, orient="row")
        return {"mixtures": mixtures, "mixture_losses": losses, "mixture_steps": self.of_steps()}

    def of_steps(self) -> pl.DataFrame:
        n = self.steps if self.method == "doremi" else 0
        frames = [pl.DataFrame(schema={
            "seed": pl.Int64, "step": pl.Int64, "domain": pl.Int32, "cluster_id": pl.Int32, "weight": pl.Float64,
            "excess_loss": pl.Float64,
        })]  # fmt: skip
        for seed in range(self.seeds if n else 0):
            for step in range(n):
                done = 1 - np.exp(-step / 15) if self.settle else step / n
                w = (1 - done) * np.full(5, 0.2) + done * (FOUND if self.settle else np.eye(5)[4] * 0.96 + 0.008)
                frames.append(pl.DataFrame([self.domain, self.cluster]).select(
                    pl.lit(seed, pl.Int64).alias("seed"), pl.lit(step, pl.Int64).alias("step"), "domain", "cluster_id",
                    pl.Series("weight", w), pl.Series("excess_loss", 0.1 * WORTH / (1 + done)),
                ))  # fmt: skip
        return pl.concat(frames)

    def of_mixture(self) -> dict[str, pl.DataFrame]:
        some = self.method == "regmix" or (self.method == "doremi" and self.seeds > 1)
        low, high = (
            pl.Series([f + 0.03 * s for f in FOUND] if some else [None] * 5, dtype=pl.Float64) for s in (-1, 1)
        )
        weights = pl.DataFrame([self.domain]).with_columns(
            name=pl.Series(self.name), weight=pl.Series(FOUND), low=low, high=high, budget_weight=pl.Series(FOUND),
            natural_share=pl.Series(SHARES),
            most=pl.Series(4 * SHARES).clip(0, 1),
            effect=pl.Series([0.0021, 0.0004, -0.0008, None, -0.0034] if self.method == "regmix" else [None] * 5, dtype=pl.Float64),
        )  # fmt: skip
        clusters = weights.select(
            pl.Series("cluster_id", self.d, dtype=pl.Int32), "weight", "natural_share", "low", "high"
        )
        fits = [
            (split, regressor, top - 0.01 * (split % 4), best - 0.03 * (split % 5), 0.1 * split, 32, 0.05)
            for regressor, top, best in (("loglinear", 0.97, 0.9), ("lightgbm", 0.9, 0.6), ("gp", 0.95, 0.8), ("rank_mean", 0.96, 0.85))
            for split in range(10)
        ]  # fmt: skip
        columns = ["split", "regressor", "spearman", "spearman_best", "regret", "n_train", "spread"]
        fit = pl.DataFrame(fits, columns, orient="row")
        cheap = SHARES**0.5 / (SHARES**0.5).sum()
        shares = dict(zip(MIXERS, (FOUND, SHARES, np.full(5, 0.2), cheap, cheap, cheap), strict=True))
        prediction = pl.concat(
            pl.DataFrame([self.domain]).select(pl.lit(mixer).alias("mixer"), "domain", pl.Series("weight", w))
            for mixer, w in shares.items()
        )
        values = [float(SHARES @ loss(w)) if self.method == "regmix" else None for w in shares.values()]
        predicted = pl.DataFrame({
            "mixer": list(shares),
            "predicted": pl.Series(values, dtype=pl.Float64),
            "low": pl.Series([v and v - 0.004 for v in values], dtype=pl.Float64),
            "high": pl.Series([v and v + 0.004 for v in values], dtype=pl.Float64),
        })  # fmt: skip
        summary = pl.DataFrame({
            "method": [self.method], "regressor": ["loglinear" if len(fit) and self.method == "regmix" else None],
            "words": [WORDS[self.method]],
        }, {"method": pl.String, "regressor": pl.String, "words": pl.String})  # fmt: skip
        return {
            "mixture": clusters, "mixture_weights": weights, "mixture_fit": fit if self.method == "regmix" else fit.clear(),
            "mixture_prediction": prediction, "mixture_predicted": predicted,
            "mixture_summary": summary,
        }  # fmt: skip

    def of_check(self) -> dict[str, pl.DataFrame]:
        shares = {
            name: w for (name,), w in self.of_mixture()["mixture_prediction"].group_by("mixer", maintain_order=True)
        }
        rows = [
            (mixer, seed, target, value + 0.01 * (target == self.targets[0]) * seed)
            for mixer, w in shares.items()
            for seed in range(3)
            for target, value in zip(self.targets, loss(w["weight"].to_numpy()), strict=True)
        ]
        check = pl.DataFrame(rows, ["mixer", "seed", "target", "loss"], orient="row").with_columns(failed=None)
        natural = float(SHARES @ loss(SHARES))
        differ = [float(SHARES @ loss(w["weight"].to_numpy())) - natural for w in shares.values()]
        verdict = pl.DataFrame({
            "mixer": list(shares), "mean": differ, "low": [d - 0.006 for d in differ], "high": [d + 0.006 for d in differ],
            "measured": [natural + d for d in differ], "predicted": differ, "words": ["better than natural"] + ["no measurable difference to natural"] * (len(shares) - 1),
        })  # fmt: skip
        return {"mixture_check": check, "mixture_verdict": verdict}

    def write(self, root: Path) -> Path:
        """The folder ``root`` with these tables and a catalog."""
        store = ArtifactStore(root)
        publish(store, "clusters", centroids=pl.DataFrame({"cluster_id": pl.Series(self.d, dtype=pl.Int32)}))
        named = self.names if self.domains != "column" else NAMES
        families = {
            "family": pl.Series(self.d, dtype=pl.Int32),
            "family_name": ["tests", "texts", "web", "tables", "numbers"],
        }
        taxonomy = pl.DataFrame({"cluster_id": pl.Series(self.d, dtype=pl.Int32), "name": list(named)}).with_columns(**{
            name: pl.Series(values) for name, values in families.items()
        }, description=pl.lit(""), words=pl.lit([], pl.List(pl.String)))  # fmt: skip
        publish(store, "taxonomy", {"clusters": "planted"}, taxonomy=taxonomy)
        made = self.tables()
        mixing = {"method": self.method, "domains": self.domains}
        for i, (stage, tables) in enumerate(made.items()):
            inputs = dict.fromkeys(["clusters", *list(made)[:i]], "planted")
            publish(store, stage, inputs, settings={"mixing": mixing}, **tables)
        in_force = {
            stage: catalog.InForce("planted", "", 0.0, False, tuple(tables))
            for stage, tables in {"clusters": {"centroids": 0}, "taxonomy": {"taxonomy": 0}, **made}.items()
        }
        rows = [("budget", n, "", json.dumps(v)) for n, v in validate("budget", {}).model_dump(mode="json").items()]
        catalog.rebuild(store, in_force, rows)
        return root


def publish(store, stage, inputs=None, settings=None, metrics=None, **tables):
    manifest = {"version": "planted", "stage": stage, "inputs": inputs or {}, "settings": settings or {}}
    manifest["main"] = next(iter(tables))
    with store.publish(
        stage, manifest | {"computed_at": 0, "seconds": 0, "run_id": "", "metrics": metrics or {}}
    ) as draft:
        for name, table in tables.items():
            draft.write(name, table)
