"""The stage mixture on planted losses: what it finds, what it says of it, and what it refuses. No model is trained."""

import numpy as np
import polars as pl
import pytest
from defaults import without_near_copies
from mixed import by_words, corpus_of

from grip_assets.engine.inspect import inspect
from grip_assets.engine.make import Chain
from grip_assets.errors import GripError
from grip_assets.method.mixing.swarm import Swarm, draw
from grip_assets.settings import validate
from grip_assets.stages import STAGES
from grip_assets.stages.mixing import doremi, learning
from grip_assets.stages.mixing.objective import objective_of
from grip_assets.stages.mixing.regmix import swarm_of
from grip_assets.store.artifacts import ArtifactStore

NATURAL = np.array([0.4, 0.3, 0.2, 0.1])
WORTH = np.array([0.2, 0.2, 0.2, 2.0])  # the smallest domain is worth most
CHEAP = ["natural", "uniform", "tempered", "unimax", "chameleon"]
FEW = {"bootstrap": 8, "mixtures": 40}


def settings(budget=None, **mixing):
    now = without_near_copies()
    now["budget"] = validate("budget", {"base": "mixture", "replay": "none", **(budget or {})})
    return now | {"mixing": validate("mixing", FEW | mixing)}


def losses_of(weights_nD, noise=0.002, seed=0, flat=False):
    """One target per domain: c_d (w_d + .02)^-0.3 [spec 3.2]."""
    clean = 1 + WORTH * (np.asarray(weights_nD) + 0.02) ** -0.3
    clean = np.full_like(clean, 2.0) if flat else clean
    return clean + np.random.default_rng(seed).normal(0, noise, clean.shape)


class Planted:
    """800 documents in four domains, which are clusters, and what mixture_runs would have made of them."""

    def __init__(
        self, root, now, kinds=None, weights_nD=None, seeds=(0,), fails=(), steps=None, counted=None, **losses
    ):
        self.store, self.now = ArtifactStore(root), now
        ids = [f"{i:032x}" for i in range(800)]
        cluster = np.repeat(range(4), (NATURAL * 800).astype(int))
        documents = pl.DataFrame(
            {"doc_id": ids, "cluster_id": pl.Series(cluster, dtype=pl.Int32), "n_tokens": [100] * 800}
        )
        centroids = pl.DataFrame({"cluster_id": pl.Series(range(4), dtype=pl.Int32)}).with_columns(
            centroid=pl.Series(np.eye(4, 8), dtype=pl.Array(pl.Float64, 8)),
            n_docs=pl.Series(NATURAL * 800).cast(pl.Int64),
        )
        self.publish("clusters", clusters=documents, centroids=centroids)
        names = ["one", "two", "three", "four"]
        domain = pl.Series("domain", range(4), dtype=pl.Int32)
        domains = pl.DataFrame([domain]).with_columns(
            name=pl.Series(names), cluster_id="domain", natural_share=pl.Series(NATURAL), n_held_out=pl.lit(16)
        )
        placed = documents.select("doc_id", domain="cluster_id", held_out=pl.lit(False))
        tokenizer = pl.DataFrame({"json": [by_words()]})
        self.publish("mixture_domains", mixture_domains=domains, mixture_documents=placed, mixture_tokenizer=tokenizer)
        self.publish("corpus", corpus=corpus_of(ids, counted or [100] * 800))
        weights_nD = draw(NATURAL, now["mixing"].mixtures, Swarm()) if weights_nD is None else np.array(weights_nD)
        kinds = kinds or ["swarm"] * len(weights_nD)
        mixtures = pl.concat(
            pl.DataFrame([domain]).select(
                pl.lit(i, pl.Int32).alias("mixture_id"), "domain", pl.col("domain").alias("cluster_id"),
                pl.Series("weight", w), pl.Series("achieved", w), pl.lit(kind).alias("kind"),
            )
            for i, (w, kind) in enumerate(zip(weights_nD, kinds, strict=True))
        )  # fmt: skip
        rows = [
            (i, s, f"domain:{name}", None if (i, s) in fails else value, "it diverged" if (i, s) in fails else None)
            for s in seeds
            for i, values in enumerate(losses_of(weights_nD, seed=s, **losses))
            for name, value in zip(names, values, strict=True)
        ]
        measured = pl.DataFrame(rows, STAGES["mixture_runs"].schema("mixture_losses"), orient="row")
        empty = STAGES["mixture_runs"].table("mixture_steps").empty()
        self.publish(
            "mixture_runs", mixtures=mixtures, mixture_losses=measured, mixture_steps=empty if steps is None else steps
        )

    def publish(self, stage, **tables):
        manifest = {"version": "planted", "stage": stage, "inputs": {}, "settings": {}, "metrics": {}}
        with self.store.publish(stage, manifest | {"computed_at": 0, "seconds": 0, "run_id": ""}) as draft:
            for name, table in tables.items():
                draft.write(name, table)

    def make(self):
        """The tables by name; ``failed`` has the names of the checks that fail."""
        stage = STAGES["mixture"]
        inputs = {name: "planted" for name in stage.inputs}
        made = Chain(STAGES, self.store, lambda line: None, "run", inspect).make(stage, self.now, inputs)
        self.failed = {c["name"] for c in made.manifest["checks"] if c["violations"]}
        self.optimism = made.manifest["metrics"].get("optimism")
        self.said = made.manifest["metrics"]["words"]
        return {t: pl.read_parquet(self.store.parquet("mixture", made.version, t)) for t in stage.table_names}


def steps_of(weights_TD, seeds=(0,)):
    rows = [(s, t, d, d, w, 0.1) for s in seeds for t, row in enumerate(weights_TD) for d, w in enumerate(row)]
    return pl.DataFrame(rows, STAGES["mixture_runs"].schema("mixture_steps"), orient="row")


# ---------------------------------------------------------------------------------------------------------- regmix


@pytest.fixture(scope="module")
def regmix(tmp_path_factory):
    planted = Planted(tmp_path_factory.mktemp("regmix"), settings(kl_to_natural=0.5))
    return planted, planted.make()


def test_the_domain_that_helps_most_gets_more_within_its_guards(regmix):
    planted, tables = regmix
    weights = tables["mixture_weights"]
    assert weights["weight"][3] > 2 * NATURAL[3] and weights["most"].to_list() == pytest.approx(
        np.minimum(4 * NATURAL, 1)
    )
    assert (weights["weight"] <= weights["most"] + 1e-9).all() and weights["weight"].sum() == pytest.approx(1)
    assert tables["mixture_summary"]["kl"][0] <= 0.5 + 1e-6
    assert not planted.failed


def test_weights_of_clusters_are_those_of_their_domains(regmix):
    _, tables = regmix
    assert tables["mixture"]["weight"].to_list() == pytest.approx(tables["mixture_weights"]["weight"].to_list())
    assert tables["mixture"]["natural_share"].to_list() == pytest.approx(NATURAL)
    assert (tables["mixture"]["low"] <= tables["mixture"]["high"]).all() and tables["mixture"]["low"].null_count() == 0


def test_the_prediction_of_each_mixer_is_stored_with_its_interval(regmix):
    _, tables = regmix
    assert tables["mixture_predicted"]["mixer"].to_list() == ["found", *CHEAP]
    assert tables["mixture_prediction"].group_by("mixer").agg(pl.sum("weight"))["weight"].to_list() == pytest.approx(
        [1] * 6
    )
    natural = tables["mixture_predicted"].filter(mixer="natural").row(0, named=True)
    true = float(losses_of(NATURAL[None], noise=0)[0] @ NATURAL)
    assert natural["predicted"] == pytest.approx(true, abs=0.01) and natural["low"] <= natural["high"]
    found = tables["mixture_predicted"].filter(mixer="found")["predicted"][0]
    assert found < natural["predicted"]


def test_it_says_how_well_losses_can_be_predicted(regmix):
    planted, tables = regmix
    assert tables["mixture_fit"].group_by("regressor").len().rows() == [("loglinear", 10)]
    summary = tables["mixture_summary"].row(0, named=True)
    assert summary["spearman"] > 0.9 and summary["gain_low"] > 0 and summary["trainings"] == 40
    assert "ranks mixtures that it has not seen with Spearman" in planted.said
    assert "predicted to be better than the natural shares" in planted.said


def test_the_same_inputs_give_the_same_bits(regmix, tmp_path):
    _, tables = regmix
    again = Planted(tmp_path, settings(kl_to_natural=0.5)).make()
    assert all(again[name].equals(table) for name, table in tables.items())


def test_losses_that_depend_on_nothing_are_said_to_predict_nothing(tmp_path):
    planted = Planted(tmp_path, settings(), flat=True)
    planted.make()
    assert {"predicts", "better_than_natural"} <= planted.failed and planted.optimism > 0
    assert "no better than chance" in planted.said and "not predicted to be better" in planted.said


def test_failed_trainings_are_left_out_and_counted(tmp_path):
    planted = Planted(tmp_path, settings(kl_to_natural=0.5, bootstrap=5), fails={(3, 0), (5, 0)})
    tables = planted.make()
    assert tables["mixture_summary"]["failed"][0] == 2 and planted.failed == {"all_trained"}
    assert (
        planted.said.startswith("2 of 40 trainings failed: it diverged.")
        and tables["mixture_weights"]["weight"][3] > 0.2
    )


def test_a_mixture_that_failed_under_one_seed_keeps_its_other_seed(tmp_path):
    planted = Planted(tmp_path, settings(kl_to_natural=0.5), seeds=(0, 1), fails={(3, 0)})
    weights, losses = swarm_of(
        *(pl.read_parquet(planted.store.parquet("mixture_runs", "planted", t)) for t in ("mixtures", "mixture_losses")),
        objective_of("held_out", domains(), [f"domain:{n}" for n in ("one", "two", "three", "four")]),
    )
    assert len(weights) == len(losses) == 40


def test_too_few_losses_are_refused_with_what_failed(tmp_path):
    fails = {(i, 0) for i in range(35)}
    with pytest.raises(GripError, match="Only 5 of 40 mixtures have a loss.*35 of 40 trainings failed: it diverged"):
        Planted(tmp_path, settings(), fails=fails).make()


def test_caps_follow_the_budget_and_the_readings_that_are_allowed(tmp_path):
    for budget, epochs, most in (
        ({"total": 0.5}, None, 2.0),
        ({"total": 0.5, "overflow": "repeat", "max_repeats": 2}, None, 4.0),
        ({"total": 0.5}, 1.5, 3.0),
    ):
        now = settings(budget, max_epochs=epochs)
        placed = pl.DataFrame({"domain": [0, 1, 1, 2], "cluster_id": [0, 1, 1, 2], "n_tokens": [100, 100, 200, 100]})
        shares = pl.DataFrame({"domain": [0, 1, 2], "natural_share": [0.2, 0.6, 0.2]})
        found = learning.pool_of(shares, placed, now["budget"], learning.epochs_of(now["mixing"], now["budget"]))
        assert found.most_D.tolist() == pytest.approx(np.minimum(most * np.array([0.2, 0.6, 0.2]), 1))


def test_domains_that_cross_clusters_share_their_weight_by_tokens():
    placed = pl.DataFrame({"domain": [0, 0, 1], "cluster_id": [0, 1, 1], "n_tokens": [300, 100, 100]})
    shares = pl.DataFrame({"domain": [0, 1], "natural_share": [0.8, 0.2]})
    found = learning.pool_of(shares, placed, validate("budget", {}), 1.0)
    assert (np.array([0.4, 0.6]) @ found.share_DK).tolist() == pytest.approx([0.3, 0.1 + 0.6])
    assert found.natural_K.tolist() == pytest.approx([0.6, 0.4])


# ------------------------------------------------------------------------------------------------ doremi and perf


def test_doremi_is_the_mean_over_steps_and_seeds_with_an_interval_over_seeds(tmp_path):
    steps = pl.concat(
        [steps_of([[0.25] * 4, [0.35, 0.35, 0.2, 0.1]] * 20, (0,)), steps_of([[0.4, 0.3, 0.2, 0.1]] * 40, (1,))]
    )
    planted = Planted(tmp_path, settings(method="doremi"), ["reference"], [NATURAL], (0, 1), steps=steps)
    tables = planted.make()
    assert tables["mixture_weights"]["weight"].to_list() == pytest.approx([0.35, 0.3, 0.2125, 0.1375])
    assert (
        tables["mixture_weights"]["low"].null_count() == 0
        and tables["mixture_predicted"]["predicted"].null_count() == 6
    )
    assert planted.said == "The weights settled: they moved by 0.0% between the last two tenths of the steps."
    assert tables["mixture_fit"].is_empty() and not planted.failed


def test_a_one_hot_doremi_is_named_with_its_remedies(tmp_path):
    path = [[0.01, 0.01, 0.01, 0.97]] * 30
    planted = Planted(
        tmp_path, settings({"total": 0.05}, method="doremi"), ["reference"], [NATURAL], steps=steps_of(path)
    )
    tables = planted.make()
    assert planted.failed == {"not_one_hot", "none_vanishes"} and tables["mixture_weights"]["low"].null_count() == 4
    for remedy in ("mixing.reference=natural", "mixing.eta=0.1", "mixing.batch_tokens"):
        assert remedy in planted.said


def test_doremi_that_still_moves_says_so():
    path = [[1 - t / 40, t / 40, 0.0, 0.0] for t in range(40)]
    assert doremi.moved(steps_of(path)) == pytest.approx(0.1)
    assert "had not settled" in doremi.settled(0.1) and doremi.moved(steps_of(path[:1])) is None


def test_weights_above_their_cap_are_lowered_to_it(tmp_path):
    planted = Planted(
        tmp_path,
        settings({"total": 0.9}, method="doremi"),
        ["reference"],
        [NATURAL],
        steps=steps_of([[0.1, 0.1, 0.1, 0.7]] * 9),
    )
    weights = planted.make()["mixture_weights"]
    assert weights["weight"][3] == pytest.approx(NATURAL[3] / 0.9) and weights["weight"].sum() == pytest.approx(1)


def test_doremi_without_a_proxy_is_refused(tmp_path):
    with pytest.raises(GripError, match="DoReMi has no weights. 1 of 1 trainings failed: it diverged"):
        Planted(tmp_path, settings(method="doremi"), ["reference"], [NATURAL], fails={(0, 0)}).make()


def upsampled():
    more = np.array([NATURAL * np.where(np.arange(4) == d, 2, 1) for d in range(4)])
    return np.vstack([NATURAL, more / more.sum(axis=1, keepdims=True)])


def test_perf_gives_more_to_what_helps(tmp_path):
    kinds = ["natural", *["upsampled"] * 4]
    tables = Planted(tmp_path, settings(method="perf", objective="domain:four"), kinds, upsampled()).make()
    ratio = tables["mixture_weights"]["weight"] / tables["mixture_weights"]["natural_share"]
    assert ratio.arg_max() == 3 and ratio[3] > 1


def test_a_failed_upsampling_gains_nothing_and_a_failed_baseline_is_refused(tmp_path):
    kinds = ["natural", *["upsampled"] * 4]
    planted = Planted(tmp_path / "one", settings(method="perf"), kinds, upsampled(), fails={(4, 0)})
    planted.make()
    assert "all_trained" in planted.failed
    with pytest.raises(GripError, match="No model was trained on the natural shares"):
        Planted(tmp_path / "two", settings(method="perf"), kinds, upsampled(), fails={(0, 0)}).make()


# ------------------------------------------------------------------------------------------------------- objective


def domains():
    return pl.DataFrame({"domain": range(4), "name": ["one", "two", "three", "four"], "natural_share": NATURAL})


TARGETS = ["domain:one", "domain:two", "domain:three", "humaneval", "target"]


def test_an_objective_is_a_weighted_mean_of_the_targets_that_it_names():
    held_out = objective_of("held_out", domains(), TARGETS)  # domain four has no held-out document
    assert held_out.targets == ("domain:one", "domain:two", "domain:three")
    assert held_out.share_T.tolist() == pytest.approx(NATURAL[:3] / 0.9)
    assert objective_of("benchmarks", domains(), TARGETS).targets == ("humaneval",)
    assert objective_of("target", domains(), TARGETS).targets == ("target",)
    assert objective_of("domain:two", domains(), TARGETS).targets == ("domain:two",)


@pytest.mark.parametrize(
    ("name", "measured", "said"),
    [
        ("domain:thre", TARGETS, "Did you mean 'domain:three'"),
        ("domain:four", TARGETS, "Losses were measured on: domain:one"),
        ("target", TARGETS[:4], "Name yours in settings/mixing.target_set"),
        ("benchmarks", TARGETS[:3], "Name one in settings/corpus.benchmarks"),
        ("held_out", ["humaneval"], "Raise settings/mixing.held_out"),
    ],
)
def test_an_objective_that_was_not_measured_is_refused_with_those_that_were(name, measured, said):
    with pytest.raises(GripError) as refused:
        objective_of(name, domains(), measured)
    assert f"settings/mixing.objective is {name}" in str(refused.value) and said in str(refused.value)
