"""What tools/mixing.py measures for docs/mixing.md, from given tables. Nothing is trained here."""

import itertools

import numpy as np
import polars as pl
import pytest

from grip_assets.settings import Mixing
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.catalog import rebuild
from tools import mixing
from tools.evidence import MEASURED, filled

DOMAINS = pl.DataFrame(
    {"domain": [0, 1], "name": ["0", "1"], "cluster_id": [7, 9], "natural_share": [0.75, 0.25]},
    schema_overrides={"domain": pl.Int32},
)


def losses(noise: float, n: int = 40) -> pl.DataFrame:
    """Both domains have the loss of their mixture, and own noise under each of two seeds."""
    rng, level = np.random.default_rng(0), np.linspace(2, 3, n)
    rows = [
        {"mixture_id": i, "seed": seed, "target": target, "loss": level[i] + noise * rng.normal(), "failed": None}
        for seed in (0, 1)
        for i in range(n)
        for target in ("domain:0", "domain:1", "target")
    ]
    return pl.DataFrame(rows, schema_overrides={"failed": pl.String})


def test_two_seeds_agree_fully_without_noise_and_not_at_all_with_nothing_else():
    same = mixing.agreement(losses(0.0), DOMAINS)
    assert same["spearman"].to_list() == [1.0] * 4 and same["noise"].max() == 0
    assert same["target"].to_list() == ["over domains", "domain:0", "domain:1", "target"]
    lost = mixing.agreement(losses(100.0), DOMAINS)
    assert lost["spearman"].abs().max() < 0.4 and (lost["low"] < 0).all()


def test_the_noise_over_domains_is_weighted_by_their_shares():
    """Independent noise s in both: sqrt(.75² + .25²) s = .79 s."""
    found = mixing.agreement(losses(0.1, n=4000), DOMAINS)
    noise = dict(found.select("target", "noise").iter_rows())
    assert noise["domain:0"] == pytest.approx(0.1, rel=0.05)
    assert noise["over domains"] == pytest.approx(0.079, rel=0.05)


def test_a_training_that_failed_is_in_no_pair():
    failed = losses(0.0).with_columns(
        failed=pl.when((pl.col("mixture_id") == 3) & (pl.col("seed") == 1)).then(pl.lit("diverged"))
    )
    assert set(mixing.agreement(failed, DOMAINS)["mixtures"]) == {39}


def test_passages_of_a_document_do_not_overlap_and_a_short_one_is_whole():
    text = "".join(f"{i:05}" for i in range(1000))
    found = mixing.passages(text)
    assert len(found) == mixing.PASSAGES and len({part[:5] for part in found}) == len(found)
    assert all(text.index(one) + len(one) <= text.index(other) for one, other in itertools.pairwise(found))
    assert mixing.passages("short") == ["short"]


def test_mixers_are_compared_seed_by_seed():
    """The seeds differ by far more than the mixers; the paired difference is known all the same."""
    rows = [
        {"mixer": mixer, "seed": seed, "target": target, "loss": 10.0 * seed + gain + 0.001 * (seed % 2)}
        for mixer, gain in (("natural", 0.0), ("found", -0.1), ("uniform", -0.3))
        for seed in range(4)
        for target in ("target", "domain:0")
    ]
    found = mixing.on_target(pl.DataFrame(rows), DOMAINS)
    assert set(found["target"]) == {"target", "all domains"}
    for row in found.filter(mixer="found").iter_rows(named=True):
        assert row["difference_low"] == pytest.approx(-0.1) and row["difference_high"] < 0
        assert row["to_uniform_low"] == pytest.approx(0.2)
    assert found.filter(mixer="natural")["difference"].to_list() == [0, 0]


def test_the_loss_on_all_domains_is_their_mean_by_natural_shares():
    rows = [{"mixer": "natural", "seed": 0, "target": f"domain:{d}", "loss": 1.0 + d} for d in (0, 1)]
    assert mixing.on_target(pl.DataFrame(rows), DOMAINS)["loss"].to_list() == pytest.approx([1.25])


def test_a_failed_training_has_no_loss_on_all_domains():
    rows = [
        {"mixer": "natural", "seed": s, "target": f"domain:{d}", "loss": None if s else 2.0}
        for s in (0, 1)
        for d in (0, 1)
    ]
    (row,) = mixing.on_target(pl.DataFrame(rows), DOMAINS).iter_rows(named=True)
    assert row["loss"] == pytest.approx(2) and row["seeds"] == 1


def test_what_is_measured_again_replaces_what_was_measured(tmp_path):
    for value in (1.0, 2.0):
        for partition in mixing.PARTITIONS:
            table = pl.DataFrame({"partition": [partition], "run": ["RegMix"], "spearman": [value]})
            mixing.keep(tmp_path, {"mixing_fit": table})
    found = pl.read_parquet(tmp_path / MEASURED / "mixing_fit.parquet")
    assert found["spearman"].to_list() == [2.0, 2.0] and set(found["partition"]) == set(mixing.PARTITIONS)


def test_every_run_of_a_partition_has_the_same_clusters_and_shares_its_trainings(tmp_path):
    """RegMix's runs differ in the number of mixtures, their seeds, the objective and intervals, which train nothing
    twice."""
    made = list(mixing.runs(mixing.QUICK, tmp_path / "target.jsonl"))
    assert [name for _, name, _ in made] == list(mixing.KEPT) * 2
    for partition in mixing.PARTITIONS:
        of_it = [changes for name, _, changes in made if name == partition]
        assert len({str(changes["clustering"]) for changes in of_it}) == 1
        mixing_of = [changes["mixing"] for changes in of_it if "mixing" in changes]
        regmix = [values for values in mixing_of if values["method"] == "regmix"]
        differ = {key for one in regmix for key in one if one[key] != regmix[0][key]}
        assert differ == {"mixtures", "seeds", "objective", "bootstrap"}
        assert all(set(values) == set(Mixing.model_fields) for values in mixing_of), "no field is left from another run"


def test_the_settings_of_every_run_are_allowed(tmp_path):
    from grip_assets.settings.validation import validate

    for scale in (mixing.QUICK, mixing.FULL):
        for _, _, changes in mixing.runs(scale, tmp_path / "target.jsonl"):
            for group, values in changes.items():
                validate(group, values)


def of_a_run(**columns) -> pl.DataFrame:
    return pl.DataFrame({"partition": "GEM", "run": mixing.DOREMI} | columns)


def test_every_table_of_the_page_has_its_rows(tmp_path):
    """One small table for each query; the figures are those that the tables have."""
    rebuild(ArtifactStore(tmp_path), {}, [])
    steps = [
        {"seed": 0, "step": step, "called": called, "weight": weight, "excess_loss": 0.5}
        for step, pair in enumerate([(0.5, 0.5), (0.7, 0.3), (0.9, 0.1)])
        for called, weight in zip(("0: a", "1: b"), pair, strict=True)
    ]
    check = [
        {"mixer": mixer, "seed": seed, "target": "humaneval", "loss": loss + seed}
        for mixer, loss in (("natural", 2.0), ("found", 1.9))
        for seed in (0, 1)
    ]
    splits = {"split": range(10), "spearman": np.linspace(0.1, 1.0, 10), "spearman_best": 0.5, "regret": 0.25}
    verdict = {"mixer": "found", "mean": -0.1, "low": -0.2, "high": -0.05, "predicted": -0.15, "words": "better"}
    weight = {"called": "0: a", "natural_share": 0.2, "weight": 0.4, "low": 0.3, "high": 0.5}
    noise = mixing.agreement(losses(0.0), DOMAINS)
    mixing.keep(
        tmp_path,
        {
            "mixing_steps": of_a_run(**pl.DataFrame(steps).to_dict()),
            "mixing_fit": of_a_run(**splits, regressor="loglinear", n_train=12, spread=0.1),
            "mixing_verdict": of_a_run(**verdict),
            "mixing_weights": of_a_run(**weight),
            "mixing_target": of_a_run(**mixing.on_target(pl.DataFrame(check), DOMAINS).to_dict()),
            "mixing_presets": of_a_run(**noise.to_dict(), preset="default", place=0, seconds=61.0, loss=2.5),
        },
    )
    rows = {
        "mixing_doremi": "| GEM | DoReMi | 0 | 0: a | 70.0% | 90.0% | 1.8 |",
        "mixing_fit": "| DoReMi | GEM | loglinear | 12 | 10 | 0.55 (0.33 to 0.78) | 0.50 (0.50 to 0.50) | 0.25 | 0.1000 |",
        "mixing_verdict": "| GEM | all domains | DoReMi | -0.1000 | -0.2000 to -0.0500 | -0.1500 | better |",
        "mixing_weights": "| GEM | DoReMi | 0: a | 20.0% | 40.0% | 30.0% to 50.0% | up |",
        "mixing_target": "| humaneval | GEM | DoReMi | 2 | 2.4000 | -0.1000 (-0.1000 to -0.1000) |  |",
        "mixing_presets": "| default | 40 | 2.500 | 1.00 | 1.00 | 0.0000 | 0.2998 | 61 |",
    }
    text = "".join(f"<!-- mine:{name} -->\nold\n<!-- /mine:{name} -->\n" for name in rows)
    found, made = filled(text, "mine", tmp_path, tmp_path)
    assert made == list(rows)
    assert [row for row in rows.values() if row not in found] == [], found


def test_the_page_finds_what_was_measured(tmp_path):
    rebuild(ArtifactStore(tmp_path), {}, [])
    noise = mixing.agreement(losses(0.0), DOMAINS).with_columns(partition=pl.lit("GEM"), run=pl.lit(mixing.NOISE))
    mixing.keep(tmp_path, {"mixing_noise": noise})
    text = "<!-- mine:mixing_noise -->\nold\n<!-- /mine:mixing_noise -->\n<!-- mine:mixing_fit -->\nold\n<!-- /mine:mixing_fit -->"
    found, made = filled(text, "mine", tmp_path, tmp_path)
    assert made == ["mixing_noise"] and "| GEM | over domains | 40 | 1.00 (1.00 to 1.00) |" in found
    assert "| single domains (median) | 40 | 1.00 |" in found
