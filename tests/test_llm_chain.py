"""The LLM judge inside the chain: what is paid for, what is computed again, and what must be found nowhere."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest
from conftest import AFTER_BUDGET, TOPICS, draw

from grip_assets.bench.endpoint import Behaviour, FakeEndpoint, serving
from grip_assets.errors import GripError
from grip_assets.method.agreement import rank_correlation, weighted_kappa
from grip_assets.method.budget.allocation import further_probe
from grip_assets.report.terminal.explain import explain
from grip_assets.report.terminal.spending import spending
from grip_assets.stages.reports.judge_report import read_gold
from grip_assets.store.artifacts import REPOSITORY, ArtifactStore
from grip_assets.store.query import query

KEY = "sk-a-key-that-must-not-leak-0123456789"
LLM = {"judge": "llm", "model": "a-model", "price_in": 2.0, "price_out": 6.0}


@pytest.fixture
def endpoint(monkeypatch):
    fake = FakeEndpoint()
    with serving(fake) as url:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("GRIP_JUDGE_BACKOFF", "0.01")
        monkeypatch.setenv("GRIP_JUDGE_ATTEMPTS", "3")
        yield fake


def asked(endpoint):
    return sum(endpoint.counts.asked.values())


@pytest.mark.run
def test_a_changed_setting_pays_for_nothing_twice(lab, endpoint):
    below = ("quality_scores", "judge_report", "budgets")
    assert lab.make(*below, quality=LLM) == {*below}
    first = asked(endpoint)
    scores = lab.sql("SELECT * FROM quality_scores")
    assert first == len(scores) + 20 and set(scores["judge"]) == {"a-model"}
    assert "budgets" in lab.make(*below, budget={"alpha": 1.0}, quality={"shrinkage": 0.0})
    assert lab.make(*below, quality={"max_calls": 10_000, "price_in": 3.0}) == set(), "money changes no result"
    assert asked(endpoint) == first
    to_the_judge = ("partition", "clusters", "sigma_k", "probe_set", "quality_scores")
    assert "quality_scores" in lab.make(*to_the_judge, clustering={"k": 9})
    new = set(lab.sql("SELECT doc_id FROM quality_scores")["doc_id"]) - set(scores["doc_id"])
    assert asked(endpoint) - first <= len(new) + 20, "only documents new to the probe, and new ones judged twice"
    before = asked(endpoint)
    assert "quality_scores" not in lab.make(*to_the_judge, clustering={"k": 6}, quality={"shrinkage": 4.0})
    assert asked(endpoint) == before
    assert scores.equals(lab.sql("SELECT * FROM quality_scores")), "the same answers, the same table"


@pytest.mark.run
def test_what_failed_is_said_stops_what_follows_and_is_asked_again(lab, endpoint):
    before = lab.sql("SELECT * FROM budgets")
    endpoint.behaviour = Behaviour(fault_rate=0.6, faults=("eleven",))
    with pytest.raises(GripError, match="few_failed"):
        lab.curate(quality=LLM | {"max_failed": 0.05})
    scores = lab.sql("SELECT * FROM quality_scores")
    failed = scores.filter(pl.col("status") == "failed")
    assert len(failed) > 2 and failed["score"].is_null().all() and failed["syntax_integrity"].is_null().all()
    assert all("is not an integer from 0 to 10 (3 attempts)" in reason for reason in failed["reason"])
    assert before.equals(lab.sql("SELECT * FROM budgets")), "nothing followed"
    quality = lab.sql("SELECT * FROM cluster_quality JOIN probe_allocation USING (cluster_id)")
    assert (quality["n_judged"] <= quality["n_asked"]).all() and quality["standard_error"].is_not_null().all()
    once = asked(endpoint)
    endpoint.behaviour = Behaviour()
    assert lab.curate() == {"quality_scores", "judge_report"} | AFTER_BUDGET
    assert asked(endpoint) == once + len(failed) + 20
    assert (lab.sql("SELECT * FROM quality_scores")["status"] == "ok").all()
    assert lab.curate() == set()


@pytest.mark.run
def test_a_few_failures_are_rows_and_the_next_run_tries_them_again(lab, endpoint):
    endpoint.behaviour = Behaviour(refuses=("def parse_",))
    lab.make("quality_scores", "budgets", quality=LLM | {"max_failed": 1.0, "min_judged": 4})
    few = lab.sql("SELECT * FROM cluster_quality WHERE n_judged < 4")
    assert len(few) and set(few["status"]) == {"too few judged"}
    before = asked(endpoint)
    assert lab.make("quality_scores", "budgets") == set() and asked(endpoint) > before, (
        "asked again, refused again: the same table"
    )
    endpoint.behaviour = Behaviour()
    assert lab.make("quality_scores", "budgets") == {"quality_scores", "budgets"}


@pytest.mark.run
def test_a_cap_stops_the_run_and_the_next_one_goes_on(lab, endpoint):
    n = len(lab.sql("SELECT * FROM probe_set"))
    with pytest.raises(
        GripError, match=rf"the cap of 20 calls .* 20 of {n} documents are judged, and their scores are kept"
    ):
        lab.curate(quality=LLM | {"max_calls": 20})
    assert asked(endpoint) == 20
    lab.make("quality_scores", "judge_report", quality={"max_calls": n})
    assert asked(endpoint) == 20 + n, "the rest of the probe, and what was left for judging twice"
    report = lab.sql("SELECT * FROM judge_report WHERE section = 'repeat' AND dimension = 'score'")
    assert set(report["n"]) == {20}


@pytest.mark.run
def test_further_documents_are_judged_until_every_error_is_small(lab, endpoint):
    lab.make("quality_scores", quality=LLM | {"target_error": 0.035})
    quality = lab.sql("SELECT * FROM cluster_quality JOIN sigma_k USING (cluster_id)")
    small = (quality["standard_error"] <= 0.035) | (quality["n_asked"] == quality["n_docs"])
    assert small.all() and lab.sql("SELECT max(round) AS r FROM quality_scores")["r"][0] > 1
    rounds = lab.sql("SELECT round, count(*) AS n FROM quality_scores GROUP BY round ORDER BY round")
    assert rounds["n"][0] == len(lab.sql("SELECT * FROM probe_set"))
    assert lab.sql("SELECT count(*) - count(DISTINCT doc_id) AS n FROM quality_scores")["n"][0] == 0
    before = asked(endpoint)
    lab.make("quality_scores", quality={"target_error": 0.02, "max_calls": 5})
    assert asked(endpoint) == before + 5, "a cap in a further round is no failure"
    lab.make("quality_scores", quality={"max_calls": None})
    assert asked(endpoint) > before + 5, "and the next run goes on"


@pytest.mark.run
def test_the_key_is_nowhere_and_texts_are_not_in_the_event_log(lab, endpoint, capfd):
    endpoint.behaviour = Behaviour(fault_rate=0.4, echo_errors=True, key=KEY)
    lab.curate(quality=LLM | {"max_failed": 1.0})
    endpoint.behaviour = Behaviour(echo_errors=True, key="another")
    with pytest.raises(GripError) as raised:
        lab.curate(quality={"temperature": 0.7})
    lab.instance.dispose()
    printed = capfd.readouterr()
    said = [str(raised.value).encode(), printed.out.encode(), printed.err.encode()]
    files = [p.read_bytes() for p in lab.home.rglob("*") if p.is_file()]
    # compressed columns hide what is in them
    said += [str(pl.read_parquet(file).to_dicts()).encode() for file in lab.data.rglob("*.parquet")]
    assert len(files) > 50 and not any(KEY.encode() in data for data in [*files, *said])
    passages = [
        line for t in TOPICS.values() for line in t.format(i=3, j=7).split("\n") if len(line) > 30 and "3" not in line
    ]
    log = [p.read_bytes() for p in (lab.home / "dagster").rglob("*") if p.is_file()]
    assert len(passages) > 5 and len(log) > 3
    assert not [p for p in passages if any(p.strip().encode() in data for data in [*log, *said[:3]])]


@pytest.mark.run
def test_the_plan_says_what_it_will_cost_before_anything_is_spent(lab, endpoint, monkeypatch):
    def planned(**quality):
        changes = {"quality": LLM | quality}
        settings = lab.operations.settings_after(lab.instance, changes)
        return "\n".join(spending(settings, lab.operations.plan(lab.instance, changes), ArtifactStore(lab.data)))

    n = len(lab.sql("SELECT * FROM probe_set"))
    text = planned()
    assert f"{n} documents, of which 0 are answered already; 20 judged twice" in text
    assert f"{n + 20} calls to a-model" in text and "Cap: none" in text
    about = float(text.split("tokens, about ")[1].split(";")[0])
    lab.make("quality_scores", "judge_report", quality=LLM)
    used = endpoint.counts.tokens
    assert about == pytest.approx((2 * used["prompt_tokens"] + 6 * used["completion_tokens"]) / 1e6, rel=0.5, abs=0.01)
    assert planned() == "" and "price unknown" in planned(temperature=0.3, price_in=None, price_out=None)
    assert "Cap: 7 calls and cost 0.5" in planned(temperature=0.3, max_calls=7, max_cost=0.5)
    changes = {"quality": LLM | {"temperature": 0.3}, "clustering": {"k": 5}}
    steps = lab.operations.plan(lab.instance, changes)
    estimate = "\n".join(spending(lab.operations.settings_after(lab.instance, changes), steps, ArtifactStore(lab.data)))
    assert f"about {n} documents (there is no probe set yet" in estimate and f"{n + 20} calls" in estimate
    monkeypatch.delenv("OPENAI_API_KEY")
    assert "calls to a-model" in planned(temperature=0.3), "a plan needs no key"
    with pytest.raises(GripError, match="OPENAI_API_KEY is not set"):
        lab.curate(quality={"temperature": 0.3})
    assert lab.operations.settings_after(lab.instance, {})["quality"].temperature == 0.0, (
        "refused before a setting was changed"
    )


@pytest.mark.run
def test_the_judge_is_judged(lab, endpoint, tmp_path):
    draw(True)
    sources = lab.sql("SELECT source, doc_id FROM corpus ORDER BY doc_id")
    gold = tmp_path / "gold.csv"
    gold.write_text(
        "source,architecture,score\n"
        + "".join(f"{s},{i % 11},{i % 11 / 10}\n" for i, s in enumerate(sources["source"][:30]))
    )
    lab.make("quality_scores", "judge_report", quality=LLM | {"gold": str(gold), "repeats": 10})
    report = lab.sql("SELECT * FROM judge_report")
    measured = {
        (r["section"], r["dimension"], r["measure"]): (r["value"], r["n"]) for r in report.iter_rows(named=True)
    }
    assert measured["repeat", "score", "weighted_kappa"] == (1.0, 10), "this endpoint repeats itself exactly"
    n = len(lab.sql("SELECT * FROM probe_set"))
    assert -0.5 < measured["static", "score", "weighted_kappa"][0] < 0.5 and measured["static", "score", "same"][1] == n
    assert (
        measured["gold", "architecture", "rank_correlation"][1] == 30
        and measured["gold", "score", "rank_correlation"][1] == 30
    )
    assert ("gold", "technical_depth", "same") not in measured
    assert measured["cost", "answers", "cost"][0] > 0 and measured["cost", "this run", "calls"][0] == asked(endpoint)
    assert {"bias by length", "bias by language", "bias by source"} <= set(report["section"])
    histogram = lab.sql("SELECT dimension, sum(n) AS n FROM judge_histogram GROUP BY dimension")
    assert len(histogram) == 4 and set(histogram["n"]) == {n}
    shown = lab.instance.get_latest_materialization_event(dg.AssetKey("judge_report")).asset_materialization.metadata
    assert shown["picture"].value.startswith("![picture](data:image/png")
    gold.write_text("source,architecture\n" + "".join(f"{s},5\n" for s in sources["source"][:30]))
    draw(False)
    computed = lab.make("judge_report", "budgets", budget={"quality_bound": 1.0})
    assert computed == {"judge_report", "budgets"}, "the labels are an input"
    bound = lab.sql("SELECT * FROM budgets JOIN cluster_quality USING (cluster_id)")
    assert np.allclose(bound["quality_used"], np.maximum(bound["quality"] - bound["standard_error"], 0))


def test_labels_that_cannot_be_used_are_refused(tmp_path):
    for name, text, message in [
        ("a.txt", "x", "name a file that ends in .csv, .jsonl, .parquet"),
        ("a.csv", "source,grade\nx,1\n", "it needs doc_id or source, and at least one of"),
        ("b.csv", "score\n1\n", "it needs doc_id or source"),
        ("c.csv", "source,score\nx,good\n", "labels that are not numbers"),
        ("a.parquet", "no parquet", "cannot be read"),
    ]:
        (tmp_path / name).write_text(text)
        with pytest.raises(GripError, match=message):
            read_gold(str(tmp_path / name))


def test_agreement_equals_its_definition():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 11, 200), rng.integers(0, 11, 200)
    b = np.where(rng.random(200) < 0.6, a, b)
    seen = np.zeros((11, 11))
    for x, y in zip(a, b, strict=True):
        seen[x, y] += 1
    chance = np.outer(seen.sum(1), seen.sum(0)) / 200
    weight = (np.arange(11)[:, None] - np.arange(11)[None]) ** 2
    assert weighted_kappa(a, b) == pytest.approx(1 - (weight * seen).sum() / (weight * chance).sum())
    assert weighted_kappa(a, a) == 1 and np.isnan(weighted_kappa(np.ones(5), np.ones(5)))
    assert rank_correlation(a, b) == pytest.approx(
        pl.DataFrame({"a": a, "b": b}).select(pl.corr("a", "b", method="spearman")).item()
    )
    assert np.isnan(rank_correlation(np.ones(5), np.arange(5)))


def test_bias_finds_what_was_planted():
    rng = np.random.default_rng(0)
    n = 3000
    language = rng.choice(["python", "c", "go"], n)
    table = {
        "doc_id": [f"{i:05}" for i in range(n)],
        "language": language,
        "source": [f"project_{i % 300}/file.py:{i}" for i in range(n)],
        "n_tokens": rng.integers(10, 1000, n),
    }
    score = (language == "python") * 1.0 + rng.normal(size=n)
    found = {
        r["follows"]: r
        for r in query("stages/judge_bias", {"judged": pl.DataFrame(table | {"score": score})}).to_dicts()
    }
    groups = [score[language == name] for name in ("python", "c", "go")]
    eta2 = sum(len(g) * (g.mean() - score.mean()) ** 2 for g in groups) / ((score - score.mean()) ** 2).sum()
    assert found["language"]["eta2"] == pytest.approx(eta2) and 0.1 < eta2 < 0.3
    assert abs(found["length"]["epsilon2"]) < 0.01
    assert found["source"]["n_groups"] == 300
    assert found["source"]["eta2"] > 0.07 and abs(found["source"]["epsilon2"]) < 0.03, (
        "many groups explain much by chance"
    )


def test_further_documents_go_where_the_error_is_large():
    size, judged = np.array([1000, 1000, 1000, 12, 5]), np.array([10, 10, 10, 10, 0])
    variance = np.array([0.04, 0.0001, 0.0, 0.04, np.nan])
    more = further_probe(size, judged, judged, variance, target=0.02)
    assert more.tolist() == [10, 0, 0, 2, 0], (
        "0.04 / 0.02² = 100 are needed; at most doubled at once, at most what is left"
    )
    asked, done = np.full(3, 50), np.full(3, 50)
    for _ in range(20):
        more = further_probe(np.full(3, 10_000), asked, done, np.array([0.01, 0.04, 0.09]), 0.01)
        asked, done = asked + more, done + more
    assert done.tolist() == [100, 400, 900], "in proportion to the variance, which is Neyman's rule for equal errors"


@pytest.mark.run
def test_answers_are_durable_and_say_what_was_shown(lab, endpoint):
    lab.make("quality_scores", "judge_report", quality=LLM)
    store = sqlite3.connect(lab.data / ".judge" / "answers.sqlite")
    assert store.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store.execute("SELECT count(*) FROM calls").fetchone()[0] == asked(endpoint)
    for parts in lab.sql("SELECT parts FROM quality_scores")["parts"]:
        said = json.loads(parts)
        assert said["shown"] == [[0, said["n_chars"]]] and said["key"] and said["model"] == "a-model"
    text = explain(lab.data, lab.sql("SELECT doc_id FROM quality_scores")["doc_id"][0])
    assert "judged      by a-model: score 0." in text and "characters" in text


@pytest.mark.run
@pytest.mark.slow
def test_the_page_runs_as_it_is_written(lab, endpoint):
    section = (REPOSITORY / "docs" / "judge.md").read_text()
    commands = [line.strip() for line in section.splitlines() if line.startswith("    ")]
    blocks = "\n".join(commands).split("export ")[1:]
    assert len(blocks) == 3, "a hosted one, vLLM, a local server"
    url = os.environ["OPENAI_BASE_URL"]
    for block in blocks:
        script = "set -e\nexport " + re.sub(r"OPENAI_BASE_URL=\S+", f"OPENAI_BASE_URL={url}", block)
        env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, block + done.stderr
        assert "quality_scores" in done.stdout and "Traceback" not in done.stderr
    assert "weighted_kappa" in done.stdout
    assert set(lab.sql("SELECT judge FROM quality_scores")["judge"]) == {"qwen3:8b"}
    models = {body["model"] for body in endpoint.counts.bodies.values()}
    assert "qwen3:8b" in models and endpoint.counts.answered
