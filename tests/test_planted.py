"""Planted truth: a pool whose useful, memorisable and worthless parts are known, and the evaluation that has to see it."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from conftest import Lab

from grip_assets.errors import GripError
from grip_assets.report.pictures import of_stage
from grip_assets.settings import Corpus, Evaluation
from grip_assets.stages.evaluation import evaluation_set
from tools.evidence import filled

NOUNS = [
    "order",
    "account",
    "stream",
    "packet",
    "filter",
    "vector",
    "matrix",
    "widget",
    "region",
    "branch",
    "ledger",
    "cursor",
    "bucket",
    "signal",
    "record",
]
VERBS = ["merge", "split", "rotate", "encode", "verify", "reduce", "expand", "rank", "shift", "trim"]
FIELDS = ["price", "weight", "size", "depth", "offset", "count", "level", "score", "index", "rate"]
LICENCE = [
    f"# {line}" for line in ("This table is generated. Do not edit it by hand.", "See the manual for its format.")
] + [f"ROW_{i} = ({i}, 'row {i} of the table', {i * i})" for i in range(60)]
TAIL = {
    "sql": "SELECT {a}, sum({b}) FROM {c} GROUP BY {a};\n",
    "css": ".{a} {{ margin: {n}px; color: #{n}{n}{n}; }}\n",
    "html": "<p class='{a}'>{b} {c}</p>\n",
    "sh": 'for {a} in $(ls {b}); do echo "${a} {n}"; done\n',
    "c": "int {a}_{b}(int {c}) {{ return {c} * {n}; }}\n",
    "md": "# {a}\n\nThe {b} of the {c} is {n}.\n",
}


def function(rng: random.Random) -> str:
    """A sentence of the grammar that the target uses."""
    noun, verb, one, other = rng.choice(NOUNS), rng.choice(VERBS), *rng.sample(FIELDS, 2)
    return (
        f"def {verb}_{noun}s({noun}s, least_{one}):\n"
        f'    """{verb.capitalize()} every {noun} whose {one} is at least the given one, because others have no {other}."""\n'
        f"    found = []\n    for {noun} in {noun}s:\n        if {noun}.{one} >= least_{one}:\n"
        f"            found.append({noun}.{other} {rng.choice('+-*')} {noun}.{one})\n    return found\n\n\n"
    )


def useful(rng: random.Random) -> str:
    return "".join(function(rng) for _ in range(rng.randint(3, 7)))


def memorisable(rng: random.Random) -> str:
    lines = list(LICENCE)
    lines[rng.randrange(2, len(lines))] = f"ROW_X = {rng.randrange(1000)}"
    return "\n".join(lines) + "\n"


def noise(rng: random.Random) -> str:
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/=()[]{}:;,"
    return "\n".join("".join(rng.choices(letters, k=70)) for _ in range(rng.randint(8, 20))) + "\n"


def write_planted(root):
    """(pool, target): 90 useful documents, 150 memorisable ones, 120 of noise, 48 of a long tail; the target is 60 more
    of the useful kind."""
    rng = random.Random(0)
    kinds = {"useful": (useful, 90), "memorisable": (memorisable, 150), "noise": (noise, 120)}
    for kind, (write, n) in kinds.items():
        (root / "pool" / kind).mkdir(parents=True)
        for i in range(n):
            (root / "pool" / kind / f"{i:03}.py").write_text(write(rng))
    for ending, line in TAIL.items():
        (root / "pool" / f"tail_{ending}").mkdir()
        for i in range(8):
            words = [
                dict(a=rng.choice(NOUNS), b=rng.choice(FIELDS), c=rng.choice(VERBS), n=rng.randint(1, 9))
                for _ in range(20)
            ]
            (root / "pool" / f"tail_{ending}" / f"{i}.{ending}").write_text("".join(line.format(**w) for w in words))
    (root / "target").mkdir()
    for i in range(60):
        (root / "target" / f"{i}.py").write_text(useful(rng))
    return root / "pool", root / "target"


@pytest.fixture(scope="module")
def planted(tmp_path_factory, models):
    root = tmp_path_factory.mktemp("planted")
    pool, target = write_planted(root)
    with pytest.MonkeyPatch.context() as patch:
        lab = Lab(root, patch)
        lab.operations.evaluate(
            lab.instance,
            {
                "corpus": {"path": str(pool), "tokenizer": str(models / "proxy"), "held_out": 0.1, "benchmarks": []},
                "near_duplicates": {"threshold": 0},  # what is memorised is there almost the same many times
                "embedding": {"window": 64, "max_windows": 1},
                "clustering": {"k": 12, "min_cluster_docs": 8, "iterations": 10, "seeds": 2},
                "probe": {"fraction": 0.25, "min_per_cluster": 8},
                "adaptation": {"proxy": str(models / "proxy"), "tokens_per_cluster": 1500, "window": 64, "learning_rate": 1e-2},
                "budget": {"total": 0.2, "replay": "loss"},
                "evaluation": {
                    "strategies": ["random", "static", "loss_replay", "grip", "longest"],
                    "target": str(target), "multiples": [0.5],
                    "tokens": 20_000, "vocabulary": 512, "hidden": 64, "layers": 2, "heads": 2, "context": 64,
                    "batch_tokens": 512, "learning_rate": 5e-3, "documents": 30, "dtype": "float32",
                },
            },
            ["evaluation"],
        )  # fmt: skip
        yield lab


def kinds(lab) -> pl.DataFrame:
    """The kind of most documents of each cluster, its share of them, and the cluster's numbers."""
    return lab.sql("""
        SELECT cluster_id, arg_max(kind, n) AS kind, max(n) / sum(n) AS purity, any_value(quality) AS quality,
            any_value(delta) AS delta, any_value(r) AS r
        FROM (SELECT cluster_id, split_part(split_part(source, '/', 1), '_', 1) AS kind, count(*) AS n,
                  any_value(quality) AS quality, any_value(delta) AS delta, any_value(replay_multiplier) AS r
              FROM clusters JOIN corpus USING (doc_id) JOIN budgets USING (cluster_id) GROUP BY ALL)
        GROUP BY cluster_id ORDER BY kind""")


def verdicts(lab, name: str) -> dict[str, dict]:
    rows = lab.sql(f"SELECT * FROM ladder WHERE set = '{name}'")
    return {row["strategy"]: row for row in rows.iter_rows(named=True)}


@pytest.mark.run
def test_clusters_are_of_one_kind(planted):
    found = kinds(planted)
    assert {"useful", "memorisable", "noise", "tail"} == set(found["kind"]) and found["purity"].min() > 0.7


@pytest.mark.run
def test_noise_is_gated_and_what_is_memorised_is_not_replayed(planted):
    found = kinds(planted)
    by_kind = {kind: rows for (kind,), rows in found.group_by("kind")}
    assert (by_kind["noise"]["quality"] < 0.4).all() and (by_kind["noise"]["r"] == 1).all()
    assert by_kind["memorisable"]["r"].max() < by_kind["useful"]["r"].min()
    shares = planted.sql("""
        SELECT split_part(source, '/', 1) AS kind, sum(w.n_tokens) AS pool, sum(w.n_tokens * w.repeats) AS chosen
        FROM selection_weights AS w JOIN corpus USING (doc_id) GROUP BY kind""")
    shares = shares.with_columns(pl.col("pool", "chosen").cast(float) / pl.col("pool", "chosen").sum())
    gain = {row["kind"]: row["chosen"] / row["pool"] for row in shares.iter_rows(named=True)}
    assert gain["memorisable"] < 0.5 and gain["noise"] < 1 and gain["useful"] > 2


@pytest.mark.run
def test_grip_is_above_random_on_the_target_by_more_than_the_interval(planted):
    target = verdicts(planted, "target")
    assert target["grip"]["to_random_high"] < 0 and target["grip"]["verdict"].startswith("better than random")
    assert target["longest"]["to_random_low"] > 0 and target["longest"]["verdict"].startswith("worse than random")


@pytest.mark.run
def test_the_ladder_orders_as_it_must(planted):
    target = verdicts(planted, "target")
    means = [target[rung]["bits_per_byte"] for rung in ("random", "static", "loss_replay", "grip")]
    assert means[0] > means[1] > means[2] and means[3] < means[1]
    assert target["grip"]["to_previous_low"] <= 0, "the last rung is not measurably worse"


@pytest.mark.run
def test_the_recommendation_and_the_worth_are_those_of_the_planted_truth(planted):
    (found,) = planted.sql("SELECT * FROM recommendation WHERE decides").to_dicts()
    assert found["set"] == "target" and found["strategy"] in ("grip", "static", "loss_replay")
    assert f"use profile {found['strategy']}" in found["words"] and found["better_low"] > 0
    worth = {row["strategy"]: row for row in planted.sql("SELECT * FROM worth WHERE set = 'target'").to_dicts()}
    assert worth["grip"]["words"].startswith("more than 1") and worth["grip"]["worth_low"] > 0.5
    assert worth["longest"]["worth"] < 1, "random needs fewer tokens for its loss"
    half, whole = (
        planted.sql(f"SELECT avg(bits_per_byte) FROM random_losses WHERE set = 'target' AND multiple = {m}").item()
        for m in (0.5, 1)
    )
    assert half > whole, "fewer tokens, a higher loss"


@pytest.mark.slow  # test_jobs.py holds all that is kept by key to the same, on jobs of milliseconds
@pytest.mark.run
def test_what_was_trained_is_not_trained_again(planted):
    """A strategy more trains its own models; going back trains none."""
    lab, now = planted, planted.operations.settings_after(planted.instance, {})["evaluation"]
    more = [*now.strategies, "shortest"]
    trained = []
    for strategies in (more, now.strategies):
        run = lab.operations.evaluate(lab.instance, {"evaluation": {"strategies": strategies}}, ["evaluation"])
        event = lab.instance.get_latest_materialization_event(dg.AssetKey("trainings")).asset_materialization
        trained.append((event.metadata["models_trained_now"].value, "trainings" in run.computed))
    assert trained[0] == (now.seeds, True) and trained[1][1] is False


@pytest.mark.run
@pytest.mark.slow
def test_a_killed_evaluation_goes_on_with_the_next_model(planted):
    """One (strategy, seed) at a time: the process is killed once two models are there."""
    environment = {**os.environ, "GRIP_WORKERS": "1"}
    command = [str(Path(sys.executable).parent / "grip"), "evaluate", "evaluation"]
    command += ["--set", "evaluation.tokens=15000"]
    command += ["--set", "evaluation.multiples=[]"]  # the shards of the curve are in the same folder
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    folder, before = planted.data / "trainings" / ".shards", set((planted.data / "trainings").rglob("*.parquet"))
    while len(set(folder.rglob("*.parquet")) - before) < 2:
        assert process.poll() is None
        time.sleep(0.2)
    process.kill()
    process.wait()
    kept = sorted(set(folder.rglob("*.parquet")) - before)  # a shard may hold several models
    there = pl.read_parquet(kept, columns=["key"])["key"].n_unique()
    planted.operations.evaluate(planted.instance, {"evaluation": {"tokens": 15000}}, ["evaluation"])
    event = planted.instance.get_latest_materialization_event(dg.AssetKey("trainings")).asset_materialization
    n = event.metadata["models"].value
    selected = "list((doc_id, repeats) ORDER BY doc_id)"
    different = f"SELECT DISTINCT seed, {selected} FROM strategies GROUP BY strategy, seed"
    assert n == len(planted.sql(different)) > 10, "a model for each seed and selection"
    assert event.metadata["models_trained_now"].value == n - there
    planted.operations.evaluate(planted.instance, {"evaluation": {"tokens": 20_000}}, ["evaluation"])


@pytest.mark.run
def test_what_the_pool_has_a_copy_of_measures_nothing(planted):
    measured = dict(
        planted.sql("SELECT set, n_items FROM evaluation WHERE slice_by = 'all' AND strategy = 'grip'").rows()
    )
    apart = "SELECT set, count(*) FILTER (in_pool <= 0.3), count(*) FROM evaluation_set GROUP BY set"
    assert {name: n for name, n, _ in planted.sql(apart).rows()} == measured
    assert any(n < every for _, n, every in planted.sql(apart).rows()), "the test leaves something out"


def test_a_target_whose_late_documents_alone_name_a_language_is_read(tmp_path):
    rows = [{"text": f"row {i} of it", "language": "python" if i == 150 else None} for i in range(151)]
    (tmp_path / "target.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (found,) = evaluation_set._target(Evaluation(target=str(tmp_path / "target.jsonl")), Corpus())
    assert len(found) == 151 and found["language"].drop_nulls().to_list() == ["python"]


@pytest.mark.run
def test_an_evaluation_that_cannot_be_is_refused_before_anything_is_done(lab, monkeypatch):
    runs = lab.instance.get_runs_count()
    with pytest.raises(GripError, match=r"corpus\.held_out is 0.*--set corpus\.held_out=0\.05"):
        lab.operations.evaluate(lab.instance, {}, ["evaluation"])
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(GripError, match="sees no GPU"):
        lab.operations.evaluate(lab.instance, {"evaluation": {"device": "cuda"}}, ["evaluation"])
    with pytest.raises(GripError, match="no asset 'sensitivty'.*Did you mean 'sensitivity'"):
        lab.operations.evaluate(lab.instance, {"corpus": {"held_out": 0.1}}, ["sensitivty"])
    assert lab.instance.get_runs_count() == runs


@pytest.mark.run
def test_the_page_of_evidence_is_filled_from_what_is_there(planted, tmp_path):
    blocks = ("run", "pool", "ladder", "costs", "slices", "predicted", "evaluation_picture", "sensitivity")
    text = "".join(f"<!-- mine:{name} -->\nold\n<!-- /mine:{name} -->\nMy sentence.\n" for name in blocks)
    (folder,) = planted.sql("SELECT path FROM artifacts WHERE asset = 'evaluation' AND in_force")["path"]
    tables = {name: f"{folder}/{name}/*.parquet" for name in ("evaluation", "ladder")}
    (Path(folder) / "picture.png").write_bytes(of_stage("evaluation", tables))  # this module's runs draw nothing
    found, made = filled(text, "mine", planted.data, tmp_path)
    assert made == [*blocks[:-1]] and found.count("My sentence.") == len(blocks)
    assert "<!-- mine:sensitivity -->\nold\n" in found, "what was not measured keeps what it had"
    assert "better than random by" in found and "| grip |" in found
    assert (tmp_path / "evidence-mine-evaluation.png").stat().st_size > 5000
    again, _ = filled(found, "mine", planted.data, tmp_path)
    assert again == found
