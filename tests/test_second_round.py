"""One evaluation with all parts of the second round, on the small pool with tiny models, and the page that it makes."""

import json

import dagster as dg
import polars as pl
import pytest

from grip_assets.cli import run
from grip_assets.report.page.write import page_path

STRATEGIES = ["random", "by_cluster", "grip", "grip_rounds", "grip_steps", "grip_unigram", "gem", "in_force"]
TINY = {
    "tokens": 2000, "vocabulary": 320, "hidden": 16, "layers": 1, "heads": 2, "context": 16, "batch_tokens": 64,
    "documents": 20, "passage": 200, "dtype": "float32",
}  # fmt: skip


def changes() -> dict:
    evaluation = {"strategies": STRATEGIES, "seeds": 2, "main": ["grip"], "main_seeds": 3, "multiples": [0.5, 2.0]}
    return {
        "corpus": {"held_out": 0.2, "project_depth": 1, "benchmarks": []},
        "budget": {"total": 0.3},
        "evaluation": evaluation | {"targets": ["language:python"]} | TINY,
    }


@pytest.mark.slow
@pytest.mark.run
@pytest.mark.draws
def test_an_evaluation_of_all_kinds_of_strategies_ends_with_what_to_use(new_lab, capsys):
    lab = new_lab(reports={})
    done = lab.operations.evaluate(lab.instance, changes(), ["evaluation"])
    assert {"random_curve", "closed_loop", "evaluation"} <= {*done.computed}
    ladder = lab.sql("SELECT * FROM ladder WHERE set = 'held_out'")
    assert set(ladder["strategy"]) == {*STRATEGIES, "grip_steady"}
    assert dict(ladder.select("strategy", "seeds").iter_rows()) == dict.fromkeys(ladder["strategy"], 2) | {
        "random": 3, "grip": 3
    }  # fmt: skip
    assert dict(ladder.select("strategy", "compared_with").iter_rows())["grip_rounds"] == "grip_steady"
    assert set(lab.sql("SELECT DISTINCT set FROM ladder")["set"]) == {"held_out", "python"}
    costs = {row["strategy"]: row for row in ladder.to_dicts()}
    assert (
        costs["grip_unigram"]["proxy_tokens"]
        == 0
        < costs["grip"]["proxy_tokens"]
        < costs["grip_rounds"]["proxy_tokens"]
    )
    assert costs["grip_steps"]["proxy_tokens"] > costs["grip"]["proxy_tokens"], "more than one pass"
    assert set(ladder.drop_nulls("worth")["strategy"]) == set(ladder["strategy"]) - {"random"}
    words = lab.sql("SELECT words FROM recommendation WHERE decides").item()
    assert words.startswith("On this pool, ")
    assert run(["evaluate", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["words"] == words
    assert run(["evaluate", "--plan"]) == 0
    assert "measured here" in capsys.readouterr().out
    page = page_path(lab.data).read_text(encoding="utf-8")
    assert "Does it help?" in page and words.split(":")[0] in page and "pareto-held_out" in page
    assert lab.sql("SELECT count(DISTINCT round) FROM closed_loop_rounds").item() == 3


@pytest.mark.slow
@pytest.mark.run
def test_the_closed_loop_goes_on_where_it_was_and_gives_the_same(new_lab, monkeypatch):
    from grip_assets.training.closed_loop import TrainParts

    lab = new_lab(reports={})
    now = changes()
    now["evaluation"] |= {"strategies": ["random", "grip_rounds"], "main": [], "multiples": []}
    whole = TrainParts.run
    monkeypatch.setenv("GRIP_WORKERS", "1")
    monkeypatch.setattr(TrainParts, "run", lambda self, part: (part.number < 2 and whole(self, part)) or 1 / 0)
    with pytest.raises(Exception, match="division"):
        lab.operations.evaluate(lab.instance, now, ["evaluation"])
    ran = []
    monkeypatch.setattr(TrainParts, "run", lambda self, part: ran.append(part.number) or whole(self, part))
    lab.operations.evaluate(lab.instance, {}, ["evaluation"])
    assert ran and min(ran) == 2, "the first two parts are there"
    first = lab.sql("SELECT * FROM closed_loop ORDER BY ALL")
    (folder,) = (lab.data / "closed_loop" / ".shards").iterdir()
    for file in [*folder.glob("*.parquet"), *(lab.data / "closed_loop").glob("*/manifest.json")]:
        file.unlink()
    event = lab.instance.get_latest_materialization_event(dg.AssetKey("closed_loop"))
    assert event is not None
    lab.operations.evaluate(lab.instance, {}, ["evaluation"])
    assert ran.count(0) and lab.sql("SELECT * FROM closed_loop ORDER BY ALL").equals(first), "bit for bit"
    assert isinstance(first, pl.DataFrame)
