"""Measures for docs/grasp.md: how well scores of subsets predict retraining, and what a selection by them is worth.

``python -m tools.grasp`` runs everything; ``--quick`` trains fewer models on fewer tokens. Its runs are ordinary runs
of GRIP, which put settings in force. So give it a data folder of its own. It can be stopped at any time: the same
command goes on, and no model is trained twice.

Which pool it is comes from settings/corpus in force: run `grip curate` on the pool first, with corpus.held_out above 0.
There are three targets: a benchmark, the held-out projects of the folder that has most of them (``project``; in a pool
of one folder, the largest held-out project), and the other held-out projects (``elsewhere``). Documents are selected
for the first two in turn. The third is measured only.

1. Fidelity: all sources, the trials of settings/attribution, and the choice, for both kinds of start.
2. Selections of a tenth of the tokens for each of the two targets: greedy and additive, by the chosen source, by token
   counts and by the full gradient; DSIR; and without a target, GRIP and random documents.
3. A model is trained on each selection under several seeds, from scratch and from the reference, and predicts the
   halves of all targets that shaped no selection.

After each step, its tables are kept in the folder .measured of the data folder, where tools/evidence.py finds them.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets import operations
from grip_assets.errors import GripError
from grip_assets.method.statistics import mean, verdict
from grip_assets.orchestration import event_log
from grip_assets.profiles import fields_of
from grip_assets.runtime import device, opened
from grip_assets.runtime.executors import Local, ToDo
from grip_assets.runtime.progress import worked
from grip_assets.settings import Attribution, digest
from grip_assets.settings.changes import Changes
from grip_assets.stages import STAGES
from grip_assets.stages.curation.predicted import COPIED
from grip_assets.store.artifacts import ArtifactStore, data_root
from grip_assets.store.catalog import connect
from grip_assets.store.shards import Shards
from grip_assets.store.tables import arrow, texts
from grip_assets.training.recipe import Shape, TrainingRecipe
from grip_assets.training.runs import items_in, tokenizer_in
from tools.evidence import MEASURED
from tools.mixing import LENGTH, passages

BENCHMARK, PROJECT, ELSEWHERE = "humaneval", "project", "elsewhere"
AIMS = (BENCHMARK, PROJECT)
CONTINUED, SCRATCH = "continued", "scratch"
RANDOM, ANY_LENGTH, GRIP, DSIR, CHOSEN = "random", "random, any length", "GRIP", "DSIR", "chosen"
LONGEST = (
    0.01  # of the selected tokens, in a document that is selected at random: one table fills a selection otherwise
)
KEPT = ("attribution_choice", "attribution_fidelity", "sketch_sources")  # tables of a run that are kept
READ = ("corpus", "attribution_items", "attribution_tokenizer", "reference")  # tables that trainings read
PASSAGES, TEXTS = 24, 120  # most passages of a document, and of a target
SELECTED = pl.Schema({"key": pl.String(), "doc_id": pl.String(), "repeats": pl.Int64(), "n_tokens": pl.Int64()})


class Scale(NamedTuple):
    """How much is run. ``settings``: of settings/attribution. ``starts``: of trainings; the last one decides what is
    chosen. ``seeds``: trainings on each selection, of ``tokens`` tokens each. ``total``: selected share of the pool."""

    settings: dict[str, Any]
    starts: tuple[str, ...]
    seeds: int
    tokens: int
    total: float = 0.1


FULL = Scale(
    {"candidates": ["unigram", "cross_entropy", "embedding", "hidden", "head", "full"]}, (CONTINUED,), 3, 400_000
)
QUICK = Scale(
    {
        "candidates": ["unigram", "embedding", "full"],
        "hidden": 64,
        "layers": 1,
        "heads": 1,
        "learning_rate": 3e-3,
        "tokens": 300_000,
        "structured": 16,
        "random": 8,
        "check_structured": 16,
        "check_random": 8,
        "repeated": 6,
        "trial_tokens": [40_000],
    },
    (CONTINUED,),
    3,
    100_000,
)


@dataclass(frozen=True)
class Strategy:
    """A selection to be made: ``aim`` is None for one that has no target, ``seed`` is that of its draw."""

    name: str
    aim: str | None
    changes: Changes
    seed: int = 0


# Targets.


def write_targets(root: Path) -> dict[str, Path]:
    """The held-out projects in force as two target sets: the same files for the same documents.

    A pool of one folder, as that of the quickstart, is split by projects: the largest one, and the others."""
    with connect(root) as connection:
        try:
            found = connection.sql("SELECT doc_id, project, text, n_bytes FROM held_out ORDER BY hash(doc_id)").pl()
        except duckdb.CatalogException:
            found = pl.DataFrame(schema={"project": pl.String})
    found = found.with_columns(folder=pl.col("project").str.split("/").list.first())
    if found["folder"].n_unique() == 1:
        found = found.with_columns(folder="project")
    if found["folder"].n_unique() < 2:
        raise GripError(
            f"{root} has fewer than two held-out projects. Run `grip curate --set corpus.held_out=0.05` on your pool"
            " first."
        )
    sizes = found.group_by("folder").agg(pl.col("n_bytes").clip(0, PASSAGES * LENGTH).sum()).sort("n_bytes", "folder")
    largest = pl.col("folder") == sizes["folder"][-1]
    (root / MEASURED).mkdir(exist_ok=True)
    rows = {PROJECT: found.filter(largest), ELSEWHERE: found.filter(~largest)}
    return {name: _write_texts(root, name, documents["text"]) for name, documents in rows.items()}


def _write_texts(root: Path, name: str, documents: pl.Series) -> Path:
    path = root / MEASURED / f"grasp-{name}.jsonl"
    texts = [passage for text in documents for passage in passages(text, PASSAGES)][:TEXTS]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


def write_aimed(root: Path) -> dict[str, Path]:
    """The half of each target that shapes selections, for DSIR: it sees what the others see."""
    with connect(root) as connection:
        items = connection.sql("SELECT target, prompt || text AS text FROM attribution_items WHERE half = 'aim'").pl()
    return {aim: _write_texts(root, f"aim-{aim}", items.filter(target=aim)["text"]) for aim in AIMS}


# Selections.


def attribution(scale: Scale, targets: Mapping[str, Path], **values: Any) -> dict[str, Any]:
    sets = [f"{name}={path}" for name, path in targets.items()]
    aims = {"targets": ["benchmarks"], "target_sets": sets, "target_weights": []}
    common = aims | {"normalize": "auto", "gamma": None, "start": CONTINUED}  # all that another run may have set
    return common | scale.settings | values


def chosen(scale: Scale, targets: Mapping[str, Path], **values: Any) -> dict[str, Any]:
    """Settings with which trials choose source, normalisation and gamma."""
    return attribution(scale, targets, **{"source": "auto", "choose": "bootstrap"} | values)


def greedy(scale: Scale, of_attribution: Mapping[str, Any]) -> Changes:
    budget = fields_of("proportional")["budget"] | {"total": scale.total}
    return {"attribution": dict(of_attribution), "budget": budget, "selection": {"rule": "greedy", "max_tokens": None}}


def by_profile(scale: Scale, name: str, **groups: Mapping[str, Any]) -> Changes:
    fields = fields_of(name)
    changes = {group: fields[group] | dict(groups.get(group, {})) for group in ("budget", "selection")}
    changes["budget"] |= {"total": scale.total}
    return {**{group: dict(values) for group, values in groups.items()}, **changes}


def aimless(scale: Scale, pool_tokens: int) -> Iterator[Strategy]:
    longest = int(LONGEST * scale.total * pool_tokens)
    for name, limit in ((RANDOM, longest), (ANY_LENGTH, None)):
        for seed in range(scale.seeds):
            changes = by_profile(scale, "random", selection={"seed": seed, "max_tokens": limit})
            yield Strategy(name, None, changes, seed)
    yield Strategy(GRIP, None, by_profile(scale, "grip"))


def tokens_of_pool(root: Path) -> int:
    with connect(root) as connection:
        return connection.sql("SELECT sum(n_tokens) FROM distinct_documents").fetchall()[0][0]


def weighted(aim: str) -> dict[str, Any]:
    """Settings with which all targets except ``aim`` are measured only."""
    return {"target_weights": [f"{name}=0" for name in (*AIMS, ELSEWHERE) if name != aim]}


def by_choice(scale: Scale, targets: Mapping[str, Path], aim: str) -> Strategy:
    return Strategy(f"greedy, {CHOSEN}", aim, greedy(scale, chosen(scale, targets, **weighted(aim))))


def aimed(
    scale: Scale, targets: Mapping[str, Path], halves: Mapping[str, Path], aim: str, found: Mapping[str, Any]
) -> Iterator[Strategy]:
    """The strategies that have no trials. ``found``: the chosen source, normalize. ``halves``: see ``write_aimed``."""
    additive = {"gamma": 0.0}
    counts, gradient = ({"source": source, "normalize": "none", "gamma": None} for source in ("unigram", "full"))
    of_run = {
        f"additive, {CHOSEN}": {**found, **additive},
        "greedy, token counts": counts,
        "additive, token counts": counts | additive,
        "greedy, full gradient": gradient,
        "additive, full gradient": gradient | additive,
    }
    for name, values in of_run.items():
        fixed = attribution(scale, targets, choose="none", **weighted(aim), **values)
        yield Strategy(name, aim, greedy(scale, fixed))
    yield Strategy(DSIR, aim, by_profile(scale, "dsir", evaluation={"target": str(halves[aim])}))


def select(root: Path, strategy: Strategy, again: bool = False) -> pl.DataFrame:
    """The documents of a strategy: the kept ones, or by a run, which puts its settings in force. ``again``: in any case
    by a run, because its other tables are needed."""
    key = digest([strategy.changes, _version(root, "corpus")])
    file = root / MEASURED / "grasp_selected.parquet"
    kept = pl.read_parquet(file) if file.exists() else pl.DataFrame(schema=SELECTED)
    if again or not len(kept.filter(key=key)):
        _run(strategy)
        with connect(root) as connection:
            rows = connection.sql("SELECT doc_id, repeats, n_tokens FROM subset").pl()
        found = rows.with_columns(pl.lit(key).alias("key")).select(SELECTED.names()).cast(SELECTED)
        kept = pl.concat([kept.filter(pl.col("key") != key), found])
        _write(root, "grasp_selected", kept)
    return called(kept.filter(key=key), strategy)


def called(documents: pl.DataFrame, strategy: Strategy) -> pl.DataFrame:
    """The documents with the columns strategy, aim and seed. Two strategies may have the same documents."""
    names = {"strategy": pl.String(), "aim": pl.String(), "seed": pl.Int64()}
    values = (strategy.name, strategy.aim, strategy.seed)
    return documents.with_columns(
        pl.lit(value, kind).alias(name) for value, (name, kind) in zip(values, names.items(), strict=True)
    )


def _run(strategy: Strategy) -> None:
    start = time.monotonic()
    with operations.open_instance() as instance:
        operations.curate(instance, strategy.changes)
    aim = f" for {strategy.aim}" if strategy.aim else ""
    print(f"{strategy.name}{aim}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


def _version(root: Path, stage: str) -> str:
    with operations.open_instance() as instance:
        return event_log.versions_in_force(instance, [stage]).get(stage, "")


def choice(root: Path) -> dict[str, Any]:
    """The chosen source and normalisation in force."""
    with connect(root) as connection:
        return connection.sql("SELECT source, normalize FROM attribution_choice WHERE chosen").pl().to_dicts()[0]


# Trainings.


@dataclass(frozen=True)
class Training:
    """A model to train on the documents (doc_id, repeats) of a selection, in a random order under ``seed``."""

    key: str
    start: str
    seed: int
    documents: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Retrain:
    """The job: train a model, and measure it. The first four are globs of tables. ``reference`` is that of the model at
    which some trainings start. The unit of progress is a token."""

    corpus: str
    items: str
    tokenizer: str
    reference: str
    shape: Shape
    recipe: TrainingRecipe

    def run(self, shard: Training) -> pa.Table:
        from grip_assets.training.small import bits, new_model, train, unpacked  # torch

        device.one_thread()
        tokenizer = opened.get(("tokenizer", self.tokenizer), partial(tokenizer_in, self.tokenizer))
        items = opened.get(("items", self.items, self.tokenizer), partial(items_in, self.items, tokenizer))
        model = new_model(self.shape, shard.seed)
        if shard.start == CONTINUED:
            model = unpacked(pl.read_parquet(self.reference)["model"][0], self.shape)
        with device.turn(self.recipe.device):
            train(model, self._tokens(shard, tokenizer), self.shape, self.recipe, shard.seed, worked)
            needed = bits(model, list(items.values()), self.shape, self.recipe)
        rows = pl.DataFrame({"key": [shard.key] * len(items), "item_id": list(items), "bits": needed})
        return arrow(rows)

    def _tokens(self, shard: Training, tokenizer: Any) -> list[np.ndarray]:
        from grip_assets.training.small import encode  # torch

        wanted = dict(shard.documents)
        found = {doc: np.array(encode(tokenizer, [text])[0], np.uint32) for doc, text in texts(self.corpus, wanted)}
        copies = [doc for doc, n in shard.documents for _ in range(n)]
        return [found[copies[i]] for i in np.random.default_rng(shard.seed).permutation(len(copies))]


def measured(root: Path, scale: Scale, selections: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Bits per byte of models that are trained on the selections: strategy, aim, start, seed, target, bits_per_byte."""
    job, items = job_of(root, scale)
    trainings, rows = [], []
    for one in selections:
        documents = tuple(one.select("doc_id", "repeats").sort("doc_id").iter_rows())
        head = one.row(0, named=True)
        seeds = [head["seed"]] if head["strategy"] in (RANDOM, ANY_LENGTH) else range(scale.seeds)
        for start, seed in ((start, seed) for start in scale.starts for seed in seeds):
            key = digest([start, seed, documents])
            trainings.append(Training(key, start, seed, documents))
            own = {"strategy": head["strategy"], "aim": head["aim"], "start": start, "seed": seed, "key": key}
            rows.append(own | {"n_docs": len(one), "n_tokens": int((one["n_tokens"] * one["repeats"]).sum())})
    found = _bits(root, job, trainings).join(items.select("item_id", "target", "n_bytes"), on="item_id")
    per_target = found.group_by("key", "target").agg(bits_per_byte=pl.sum("bits") / pl.sum("n_bytes"))
    return pl.DataFrame(rows, infer_schema_length=None).join(per_target, on="key").sort("target", "aim", "strategy")


def job_of(root: Path, scale: Scale) -> tuple[Retrain, pl.DataFrame]:
    """The job, and the items on which it measures: those that shaped no selection."""
    with operations.open_instance() as instance:
        settings = Attribution.of(event_log.settings_in_force(instance))
        versions = event_log.versions_in_force(instance, STAGES)
    store = ArtifactStore(root)
    owner = {table: name for name, stage in STAGES.items() for table in stage.table_names}
    files = {table: store.parquet(owner[table], versions[owner[table]], table) for table in READ}
    items = pl.read_parquet(files["attribution_items"])
    items = items.filter((pl.col("half") == "measure") & (pl.col("in_pool") <= COPIED))
    _write(root, "grasp_items", items)
    files["attribution_items"] = str(root / MEASURED / "grasp_items.parquet")
    vocabulary = pl.read_parquet(files["attribution_tokenizer"])["vocabulary"][0]
    shape = Shape(vocabulary, **settings.model_dump(include={"hidden", "layers", "heads", "context"}))
    how = settings.model_dump(include={"batch_tokens", "learning_rate", "dtype", "device"})
    recipe = TrainingRecipe(scale.tokens, **how)
    corpus, of_items, tokenizer, reference = (files[table] for table in READ)
    return Retrain(corpus, of_items, tokenizer, reference, shape, recipe), items


def _bits(root: Path, job: Retrain, trainings: Sequence[Training]) -> pl.DataFrame:
    """key, item_id, bits of each training. Those that were made before are read."""
    made_from = [
        job.shape.__dict__,
        job.recipe.__dict__,
        job.reference,
        pl.read_parquet(job.items)["item_id"].to_list(),
    ]
    shards = Shards(ArtifactStore(root), MEASURED, digest(made_from))
    by_key = {training.key: training for training in trainings}

    def missing(keys: pl.Series) -> ToDo:
        return ToDo(job, [by_key[key] for key in keys], "training", len(keys) * job.recipe.tokens, "tokens")

    return pl.DataFrame(shards.completed(list(by_key), missing, Local(), lambda line: print(line, file=sys.stderr)))


def compared(found: pl.DataFrame) -> pl.DataFrame:
    """A row for each strategy, aim, start and target: mean over seeds, and the difference to random, paired by seed."""
    keys = ["start", "target", "seed"]
    base = found.filter(strategy=RANDOM).select(*keys, base="bits_per_byte")
    rows = []
    for group, own in found.join(base, on=keys).group_by("aim", "strategy", "start", "target", maintain_order=True):
        value, apart = mean(own["bits_per_byte"]), mean(own["bits_per_byte"] - own["base"])
        said = "" if group[1] == RANDOM else verdict(apart, mean(own["base"]).value, "random")
        rows.append(
            dict(zip(("aim", "strategy", "start", "target"), group, strict=True))
            | {"seeds": len(own), **value.columns("bits_per_byte")}
            | apart.columns("difference", "difference_low", "difference_high")
            | {"words": said, "n_docs": own["n_docs"].mean(), "n_tokens": own["n_tokens"].mean()}
        )
    return pl.DataFrame(rows, infer_schema_length=None)


# All together.


def tables_in_force(root: Path) -> dict[str, pl.DataFrame]:
    with connect(root) as connection:
        return {name: connection.sql(f"FROM {name}").pl() for name in KEPT}


def keep(root: Path, start: str) -> None:
    """Add the tables in force to the measured ones, in place of those of the same kind of start."""
    for name, table in tables_in_force(root).items():
        kept = f"grasp_{name.removeprefix('attribution_')}"
        file = root / MEASURED / f"{kept}.parquet"
        other = [pl.read_parquet(file).filter(pl.col("start") != start)] if file.exists() else []
        _write(root, kept, pl.concat([*other, table.with_columns(start=pl.lit(start))], how="diagonal_relaxed"))


def _write(root: Path, name: str, table: pl.DataFrame) -> None:
    file = root / MEASURED / f"{name}.parquet"
    file.parent.mkdir(exist_ok=True)
    beside = file.with_suffix(".new")
    table.write_parquet(beside)
    beside.replace(file)


def measure(scale: Scale) -> None:
    root = data_root()
    targets = write_targets(root)
    for start in scale.starts:
        _run(Strategy(f"fidelity, {start}", None, greedy(scale, chosen(scale, targets, start=start))))
        keep(root, start)
    selections = []
    halves = write_aimed(root)
    for aim in AIMS:
        selections.append(select(root, by_choice(scale, targets, aim), again=True))
        selections += [select(root, strategy) for strategy in aimed(scale, targets, halves, aim, choice(root))]
    selections += [select(root, strategy) for strategy in aimless(scale, tokens_of_pool(root))]
    _run(by_choice(scale, targets, AIMS[-1]))  # the tables of attribution are in force again
    _write(root, "grasp_selection", compared(measured(root, scale, selections)))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.grasp", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer models, on fewer tokens")
    measure(QUICK if parser.parse_args(arguments).quick else FULL)


if __name__ == "__main__":
    main()
