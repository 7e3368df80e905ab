"""Measures for docs/mixing.md: RegMix and DoReMi on clusters of k-means and of GEM, at equal K, on one pool.

``python -m tools.mixing`` runs everything; ``--quick`` trains fewer and smaller models. Everything that it runs are
ordinary runs of GRIP, which put settings in force. So give it a data folder of its own. It can be stopped at any time:
the same command goes on, and no model is trained twice.

Which pool it is comes from settings/corpus in force: run `grip curate` on the pool first, with corpus.held_out above 0.
The held-out projects become the user's target set, since a loss must be on the same texts for both partitions. For each
partition, six runs follow: GRIP's own budget, to compare with; some mixtures under two seeds, which shows what noise
allows at best; RegMix for the loss over domains; the same trainings for the loss on the target set; DoReMi with two
step sizes. After each, its tables are kept in the folder .measured of the data folder, where tools/evidence.py finds
them, with the partition and the run as columns.

``mixing_noise`` has the agreement of two seeds, and ``mixing_target`` compares mixers on the target set. ``python -m
tools.mixing --presets`` instead trains a few mixtures under two seeds with each of several models, for the table
``mixing_presets``.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import polars as pl

from grip_assets import operations
from grip_assets.errors import GripError
from grip_assets.method.statistics import known, mean, spearman
from grip_assets.settings import Mixing, trait, validate
from grip_assets.settings.changes import Changes
from grip_assets.store.artifacts import data_root
from grip_assets.store.catalog import connect
from tools.evidence import MEASURED

PARTITIONS: dict[str, dict[str, Any]] = {"k-means": {"method": "kmeans"}, "GEM": {"method": "gem", "temperature": 1.0}}
OWN, NOISE, HELD_OUT, TARGET, DOREMI = "GRIP", "two seeds", "RegMix", "RegMix for the target", "DoReMi"
SMALL_STEP = "DoReMi, η = 0.1"  # the known remedy when it goes to one domain
KEPT: dict[str, tuple[str, ...]] = {  # tables of each run that are kept
    OWN: (),
    NOISE: ("mixture_losses",),
    HELD_OUT: ("mixture_domains", "mixture_fit", "mixture_weights", "mixture_check", "mixture_verdict"),
    TARGET: ("mixture_fit", "mixture_weights", "mixture_check", "mixture_verdict"),
    DOREMI: ("mixture_weights", "mixture_steps", "mixture_check", "mixture_verdict"),
    SMALL_STEP: ("mixture_weights", "mixture_steps", "mixture_check", "mixture_verdict"),
}
PRESETS: dict[str, dict[str, Any]] = {  # what differs from the defaults
    "as by default": {},
    "larger steps: 1,024 tokens": {"batch_tokens": 1024},
    "one block": {"layers": 1},
    "width 64": {"hidden": 64, "heads": 1},
    "half of the tokens": {"tokens": 150_000},
    "twice the tokens": {"tokens": 600_000},
    "learning rate 4e-3": {"learning_rate": 4e-3},
    "learning rate 1e-5": {"learning_rate": 1e-5},
    "learning rate 1e-6": {"learning_rate": 1e-6},
}
ON = ("mixer", "seed", "target", "loss")  # columns that on_target reads
MODEL = ("model", "training")  # parts of settings/mixing
TRIED = 8  # mixtures for each of them
TEXTS, PASSAGES, LENGTH = 40, 3, 1000  # most documents of the target set, passages of each, characters of a passage


class Scale(NamedTuple):
    """How much is run. ``repeated``: mixtures under two seeds, which are the first of ``mixtures``."""

    k: int
    mixtures: int
    repeated: int
    settings: dict[str, Any]


FULL = Scale(16, 64, 24, {"check_seeds": 5})
QUICK = Scale(6, 16, 8, {"tokens": 150_000, "layers": 1, "learning_rate": 2e-3, "check_seeds": 2})


def runs(scale: Scale, target: Path) -> Iterator[tuple[str, str, Changes]]:
    """(partition, name of the run, changes of settings), in order."""
    for partition, fitted in PARTITIONS.items():
        clustering = fitted | {"k": scale.k, "min_cluster_docs": 1, "keep": None}  # equal K: none is dissolved
        # A change stays in force, so each run names every field: none is left over from the run before.
        learned = validate("mixing", {}).model_dump() | {"target_set": str(target), **scale.settings}
        seeds = scale.settings.get("check_seeds", 3)
        by_doremi = {"method": "doremi", "seeds": seeds, "objective": "held_out"}
        of_run: dict[str, dict[str, Any]] = {
            NOISE: {
                "method": "regmix",
                "mixtures": scale.repeated,
                "seeds": 2,
                "objective": "held_out",
                "bootstrap": 0,
            },
            HELD_OUT: {"method": "regmix", "mixtures": scale.mixtures, "seeds": 1, "objective": "held_out"},
            TARGET: {"method": "regmix", "mixtures": scale.mixtures, "seeds": 1, "objective": "target"},
            DOREMI: by_doremi | {"eta": 1.0},
            SMALL_STEP: by_doremi | {"eta": 0.1},
        }
        yield partition, OWN, {"clustering": clustering, "budget": {"base": "neyman", "replay": "loss"}}
        for name, mixing in of_run.items():
            budget = {"base": "mixture", "replay": "none"}
            yield partition, name, {"clustering": clustering, "budget": budget, "mixing": learned | mixing}


def write_target(root: Path) -> Path:
    """The held-out projects in force as a target set: the same file for the same documents."""
    query = "SELECT doc_id, text FROM held_out ORDER BY hash(doc_id) LIMIT $most"
    with connect(root) as connection:
        try:
            found = connection.sql(query, params={"most": TEXTS}).pl()
        except duckdb.CatalogException:
            found = pl.DataFrame()
    if not len(found):
        raise GripError(
            f"{root} has no held-out documents. Run `grip curate --set corpus.held_out=0.05` on your pool first."
        )
    path = root / MEASURED / "target.jsonl"
    path.parent.mkdir(exist_ok=True)
    rows = (json.dumps({"text": passage}) + "\n" for text in found["text"] for passage in passages(text))
    path.write_text("".join(rows), encoding="utf-8")
    return path


def passages(text: str, most: int = PASSAGES) -> list[str]:
    """Up to ``most`` passages of a document, evenly spaced, that do not overlap."""
    n = min(most, max(len(text) // LENGTH, 1))
    return [text[len(text) * i // n :][:LENGTH] for i in range(n)]


def kept(root: Path, partition: str, run: str) -> dict[str, pl.DataFrame]:
    """The tables of the run that is in force, by the names of the measured tables."""
    with connect(root) as connection:
        tables = {name: connection.sql(f"FROM {name}").pl() for name in KEPT[run]}
        domains = connection.sql("FROM mixture_domains").pl()
        names = dict(connection.sql("SELECT cluster_id, name FROM taxonomy").fetchall())
    if run == NOISE:
        tables = {"mixture_noise": agreement(tables["mixture_losses"], domains)}
    if "mixture_check" in tables:
        tables["mixture_target"] = on_target(tables["mixture_check"], domains)
    for name in ("mixture_weights", "mixture_domains", "mixture_steps"):
        if name in tables:
            tables[name] = _called(tables[name], domains, names)
    own = {"partition": partition, "run": run}
    return {
        name.replace("mixture_", "mixing_"): table.with_columns(pl.lit(value).alias(key) for key, value in own.items())
        for name, table in tables.items()
    }


def _called(table: pl.DataFrame, domains: pl.DataFrame, names: dict[int, str]) -> pl.DataFrame:
    """``table`` with a column ``called``: the domain's number and, if it is a cluster, its name."""
    cluster = dict(domains.select("domain", "cluster_id").iter_rows())
    called = [f"{domain}: {names.get(cluster[domain], '')}".removesuffix(": ") for domain in table["domain"]]
    return table.with_columns(pl.Series("called", called, pl.String))


def agreement(losses: pl.DataFrame, domains: pl.DataFrame) -> pl.DataFrame:
    """How alike two seeds order the same mixtures: a row for each loss, the weighted mean over domains first.

    ``noise``: standard deviation of a loss between seeds. ``spread``: of the mean of both seeds between mixtures. No
    regression can predict one training better than another training of the same mixture does.
    """
    wide = by_training(losses, domains)
    return pl.DataFrame([_pair(wide, name) for name in ("over domains", *sorted(set(losses["target"].drop_nulls())))])


def by_training(losses: pl.DataFrame, domains: pl.DataFrame) -> pl.DataFrame:
    """A row for each training that went well, with a column for each loss, and for their mean over domains."""
    rows = losses.filter(pl.col("failed").is_null())
    wide = rows.pivot(on="target", index=["mixture_id", "seed"], values="loss").sort("mixture_id", "seed")
    over = over_domains(rows, domains, "mixture_id", "seed").rename({"loss": "over domains"})
    return wide.join(over, on=["mixture_id", "seed"], how="left", maintain_order="left")


def _pair(wide: pl.DataFrame, name: str) -> dict[str, Any]:
    one, other = (wide.filter(pl.col("seed") == seed) for seed in sorted(set(wide["seed"]))[:2])
    both = one.join(other, on="mixture_id", how="inner").sort("mixture_id")
    x, y = both[name].to_numpy(), both[f"{name}_right"].to_numpy()
    alike = spearman(x, y)
    return {
        "target": name,
        "mixtures": len(both),
        **alike.columns("spearman"),
        "noise": known(float(np.std(x - y, ddof=1) / np.sqrt(2))),
        "spread": known(float(np.std((x + y) / 2, ddof=1))),
    }


def on_target(check: pl.DataFrame, domains: pl.DataFrame) -> pl.DataFrame:
    """For each mixer and each set of texts: mean loss, and the paired differences to natural and to uniform.

    The sets are those that are no single domain, and ``all domains``, their mean by natural shares.
    """
    over = over_domains(check, domains, "mixer", "seed").with_columns(target=pl.lit("all domains"))
    others = check.filter(~pl.col("target").str.starts_with("domain:"))
    common = pl.concat([others.select(ON), over.select(ON)])
    bases = ("natural", "uniform")
    natural, uniform = (common.filter(mixer=b).select("seed", "target", pl.col("loss").alias(b)) for b in bases)
    paired = common.join(natural, on=["seed", "target"]).join(uniform, on=["seed", "target"], how="left")
    rows = []
    for (mixer, target), own in paired.group_by("mixer", "target", maintain_order=True):
        value, apart, more = (
            mean(own.select(expression).to_series().drop_nulls().to_numpy())
            for expression in ("loss", pl.col("loss") - pl.col("natural"), pl.col("loss") - pl.col("uniform"))
        )
        columns = value.columns("loss") | apart.columns("difference", "difference_low", "difference_high")
        columns |= more.columns("to_uniform", "to_uniform_low", "to_uniform_high")
        rows.append({"mixer": mixer, "target": target, **columns, "seeds": len(own)})
    return pl.DataFrame(rows)


def over_domains(losses: pl.DataFrame, domains: pl.DataFrame, *by: str) -> pl.DataFrame:
    """The mean loss over domains by their natural shares: the columns ``by``, and loss."""
    shares = domains.select(pl.format("domain:{}", "name").alias("target"), share="natural_share")
    weighted = losses.drop_nulls("loss").join(shares, on="target", maintain_order="left")  # failed ones have none
    mean_of = (pl.col("loss") * pl.col("share")).sum() / pl.sum("share")
    return weighted.group_by(by, maintain_order=True).agg(loss=mean_of)


def keep(root: Path, tables: dict[str, pl.DataFrame]) -> None:
    """Add the tables to the measured ones, in place of the same partition's and run's."""
    folder = root / MEASURED
    for name, table in tables.items():
        file = folder / f"{name}.parquet"
        if file.exists():
            other = pl.read_parquet(file).join(
                table.select("partition", "run").unique(), on=["partition", "run"], how="anti"
            )
            table = pl.concat([other, table], how="diagonal_relaxed")
        _write(root, name, table)


def _write(root: Path, name: str, table: pl.DataFrame) -> None:
    file = root / MEASURED / f"{name}.parquet"
    file.parent.mkdir(exist_ok=True)
    beside = file.with_suffix(".new")
    table.write_parquet(beside)
    beside.replace(file)


def measure(scale: Scale) -> None:
    root = data_root()
    target = write_target(root)
    for partition, run, changes in runs(scale, target):
        start = time.monotonic()
        with operations.open_instance() as instance:
            if run in (OWN, NOISE):
                operations.curate(instance, changes)
            else:
                operations.evaluate(instance, changes, ["mixture_check"])
        if KEPT[run]:
            _equal(root, scale.k)
            keep(root, kept(root, partition, run))
        print(f"{partition}, {run}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


def presets(scale: Scale) -> None:
    """How well two seeds agree with each of ``PRESETS``, on clusters of k-means."""
    root = data_root()
    rows: list[pl.DataFrame] = []
    clustering = {"method": "kmeans", "k": scale.k, "min_cluster_docs": 1, "keep": None}
    of_model = {name: field.default for name, field in Mixing.model_fields.items() if trait(field, "part") in MODEL}
    for preset, values in PRESETS.items():
        few = {"method": "regmix", "domains": "clusters", "mixtures": TRIED, "seeds": 2, "objective": "held_out"}
        mixing = of_model | few | values
        changes: Changes = {
            "clustering": clustering,
            "budget": {"base": "mixture", "replay": "none"},
            "mixing": mixing,
        }
        start = time.monotonic()
        with operations.open_instance() as instance:
            operations.curate(instance, changes)
        seconds = time.monotonic() - start
        with connect(root) as connection:
            losses, domains = (connection.sql(f"FROM {name}").pl() for name in ("mixture_losses", "mixture_domains"))
        of_it = {
            "preset": preset,
            "place": len(rows),
            "seconds": seconds,
            "loss": by_training(losses, domains)["over domains"].mean(),
        }
        rows.append(agreement(losses, domains).with_columns(pl.lit(value).alias(key) for key, value in of_it.items()))
        _write(root, "mixing_presets", pl.concat(rows))
        print(f"{preset}: {seconds:.0f} s", file=sys.stderr, flush=True)


def _equal(root: Path, k: int) -> None:
    """Both partitions must have K clusters: more domains are harder to predict."""
    with connect(root) as connection:
        found = connection.sql("SELECT count(*) FROM mixture_domains").pl().item()
    if found != k:
        raise GripError(f"The partition has {found} clusters and not {k}. Try another settings/clustering.seed.")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.mixing", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer and smaller models")
    parser.add_argument("--presets", action="store_true", help="compare models, by how well two seeds agree")
    chosen = parser.parse_args(arguments)
    scale = QUICK if chosen.quick else FULL
    presets(scale) if chosen.presets else measure(scale)


if __name__ == "__main__":
    main()
