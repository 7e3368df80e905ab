"""Pools in which a good subset is known, through the whole chain: what is chosen, and what the selection is worth.

What theory expects. Where all grammars have the same counts of words, only a model can tell them apart, so a gradient is
chosen. Where words are independent, counts say all, and the default stays. Where a subset needs all parts, the quadratic
term finds them, and models that are trained on the selection are better. Where nothing is redundant, gamma stays 0.
"""

import digits
import numpy as np
import polars as pl
import pytest
from conftest import Lab
from subset_pools import write

from grip_assets.method.statistics import mean
from tools import grasp

pytestmark = [pytest.mark.run, pytest.mark.slow]

MODEL = {"vocabulary": 600, "hidden": 32, "layers": 1, "heads": 2, "context": 32, "batch_tokens": 256}
TRIALS = {
    "choose": "bootstrap", "structured": 24, "random": 8, "check_structured": 16, "check_random": 8, "repeated": 6,
    "trial_tokens": [4000], "learning_rate": 3e-3, "dtype": "float32", "source": "auto", "candidates": ["unigram", "full"],
}  # fmt: skip
SEEDS = 5


@pytest.fixture
def curated(tmp_path, models, monkeypatch):
    """Curate one of the pools with these settings/attribution; returns the laboratory."""

    def curate(name: str, n: int, **attribution) -> Lab:
        if not labs:
            labs.append(Lab(tmp_path, monkeypatch))
            files.extend(write(tmp_path, name, n))
        pool, target = files
        labs[0].curate(
            corpus={"path": str(pool), "tokenizer": str(models / "proxy"), "keep": ["part"], "benchmarks": []},
            embedding={"model": str(models / "encoder"), "pooling": "mean", "max_windows": 1},
            near_duplicates={"threshold": 0},  # duplicates are the subject
            clustering={"method": "column", "column": "part", "min_cluster_docs": 1},
            budget={"base": "proportional", "replay": "none", "total": 0.15},
            selection={"rule": "greedy"},
            attribution={"targets": [], "target_sets": [f"aim={target}"]} | MODEL | TRIALS | attribution,
        )
        return labs[0]

    labs: list[Lab] = []
    files: list = []
    return curate


def chosen(lab: Lab) -> dict:
    return lab.sql("FROM attribution_choice WHERE chosen").to_dicts()[0]


def selected(lab: Lab) -> dict[str, float]:
    """Share of each part in the subset."""
    return dict(
        lab.sql(
            "SELECT kept->>'part', count(*) / sum(count(*)) OVER () FROM subset JOIN corpus USING (doc_id) GROUP BY 1"
        ).iter_rows()
    )


def test_where_only_the_order_of_words_differs_a_gradient_is_chosen(curated):
    lab = curated("order", 60, tokens=80_000)
    assert chosen(lab)["source"] == "full" and selected(lab)["g0"] > 0.6
    found = lab.sql("FROM attribution_fidelity WHERE kind = 'structured'")
    rows = {row["configuration"]: row for row in found.iter_rows(named=True)}
    own, counts = rows[chosen(lab)["configuration"]], [row for name, row in rows.items() if name.startswith("unigram/")]
    assert own["spearman"] > 0.8 and all(row["spearman"] < own["low"] for row in counts)
    assert "better" in chosen(lab)["words"]


def test_where_gradients_add_nothing_the_token_counts_stay(curated):
    lab = curated("counts", 40, tokens=10_000, trial_tokens=[3000])
    assert chosen(lab)["source"] == "unigram"
    words = lab.sql("SELECT words FROM attribution_fidelity WHERE what = 'chosen' AND kind = 'structured'").item()
    assert words


@pytest.mark.parametrize("choose", ["lcb", "bootstrap"])
def test_where_nothing_is_redundant_the_quadratic_term_is_left_out_or_said_to_be_no_gain(curated, choose):
    lab = curated("line", 40, tokens=20_000, trial_tokens=[3000], source="unigram", choose=choose)
    found = chosen(lab)
    assert found["gamma"] == 0 or (choose == "bootstrap" and "uncertain" in found["words"]), found


def test_a_subset_of_all_parts_is_measurably_better_than_one_of_the_best_documents(curated):
    """Trained from the reference and from scratch, under the same seeds."""
    trained = {"tokens": 20_000, "trial_tokens": [3000], "structured": 8, "random": 4, "check_structured": 0, "check_random": 0}  # fmt: skip
    selections = []
    for name, gamma in (("greedy", None), ("additive", 0.0)):
        lab = curated("parts", 30, source="unigram", choose="none", gamma=gamma)
        rows = lab.sql("SELECT doc_id, repeats, n_tokens FROM subset")
        selections.append(rows.with_columns(strategy=pl.lit(name), aim=pl.lit("aim"), seed=pl.lit(0)))
        of_target = {part for part in selected(lab) if part.startswith("part") or part == "copies"}
        assert len(of_target) <= 3 if gamma == 0 else len(of_target) >= 6, selected(lab)
    curated("parts", 30, **trained)
    scale = grasp.QUICK._replace(starts=(grasp.CONTINUED, grasp.SCRATCH), seeds=SEEDS, tokens=3000)
    found = grasp.measured(lab.data, scale, selections).pivot(
        on="strategy", index=["start", "seed"], values="bits_per_byte"
    )
    for (start,), rows in found.group_by("start"):
        gain = mean(rows["additive"] - rows["greedy"])
        assert len(rows) == SEEDS and gain.low > 0, f"{start}: {gain}"


def test_pictures_are_selected_by_vectors_of_the_users(tmp_path, models, monkeypatch):
    """The documents are stubs. Vectors come from a table, and so does the mean that the selection aims at."""
    lab, data, classes = Lab(tmp_path, monkeypatch), digits.images(0), [0, 1, 2, 3, 4]
    pool, target, vectors = digits.write(tmp_path, data, classes)
    accuracy = {}
    for gamma in (1.0, 0.0):
        lab.curate(
            corpus={"path": str(pool), "tokenizer": str(models / "proxy"), "keep": ["row"], "benchmarks": []},
            embedding={"model": str(models / "encoder"), "pooling": "mean", "max_windows": 1},
            near_duplicates={"threshold": 0},  # the texts of stubs are alike
            clustering={"k": 4, "min_cluster_docs": 5, "iterations": 3},
            budget={"base": "proportional", "replay": "none", "unit": "documents", "total": 40},
            selection={"rule": "greedy"},
            attribution={"targets": [], "target_sets": [f"digits={target}"], "vocabulary": 400, "gamma": gamma}
            | {"source": "column", "column": str(vectors), "choose": "none"},
        )
        rows = lab.sql("SELECT CAST(kept->>'row' AS INTEGER) AS row FROM subset JOIN corpus USING (doc_id)")["row"]
        assert len(rows) == 40 and np.isin(rows, data.pool).all()
        accuracy[gamma] = data.accuracy(rows.to_numpy(), classes)
    assert accuracy[1.0] > accuracy[0.0] + 0.1, accuracy
