"""What is compared is selected to the same tokens; rungs are what a curation with their profile selects."""

import shutil
import sys

import dagster as dg
import numpy as np
import polars as pl
import pytest
from conftest import Lab

from grip_assets import profiles
from grip_assets.engine.inspect import inspect
from grip_assets.engine.make import Chain
from grip_assets.errors import GripError
from grip_assets.method.sampling import keyed_uniform
from grip_assets.orchestration.event_log import settings_in_force, versions_in_force
from grip_assets.settings import GROUPS, Evaluation, Selection, validate
from grip_assets.settings.changes import read_profile
from grip_assets.stages import CURATED, STAGES
from grip_assets.stages.evaluation import strategies
from grip_assets.store.artifacts import ArtifactStore

WITHOUT_DSIR = [name for name in Evaluation().strategies if name != "dsir"]


def select(lab, raise_on_error=True, **values):
    """Materialize the strategies, after a change of settings/evaluation."""
    changes = {"evaluation": values} if values else {}
    return lab.materialize("strategies", raise_on_error=raise_on_error, **changes)


def refusal(lab, **values) -> str:
    result = select(lab, raise_on_error=False, **values)
    (error,) = [e.step_failure_data.error for e in result.all_events if e.is_step_failure]
    return error.cause.message


def rows(lab, name: str = "strategies") -> pl.DataFrame:
    return lab.sql(f"SELECT * FROM {name} ORDER BY ALL")


@pytest.fixture(scope="session")
def everything(tmp_path_factory, curated):
    """The small pool with all strategies but DSIR selected, to be copied."""
    home = tmp_path_factory.mktemp("strategies") / "lab"
    shutil.copytree(curated, home)
    with pytest.MonkeyPatch.context() as patch:
        lab = Lab(home, patch)
        select(lab, strategies=WITHOUT_DSIR, seeds=2)
        lab.instance.dispose()
    return home


@pytest.fixture
def chosen(tmp_path, monkeypatch, everything):
    shutil.copytree(everything, tmp_path / "lab")
    return Lab(tmp_path / "lab", monkeypatch)


@pytest.mark.run
def test_all_end_within_a_document_of_the_same_tokens(chosen):
    found = rows(chosen)
    pool = chosen.sql("SELECT sum(n_tokens)::BIGINT AS tokens, max(n_tokens) AS longest FROM corpus").row(0)
    taken = found.group_by("strategy", "seed").agg(tokens=(pl.col("n_tokens") * pl.col("repeats")).sum())
    assert len(taken) == 2 * len(WITHOUT_DSIR) and set(taken["strategy"]) == set(WITHOUT_DSIR)
    assert ((taken["tokens"] - round(pool[0] * 0.25)).abs() <= pool[1]).all()
    assert (found["repeats"] == 1).all() and set(found["seed"]) == {0, 1}
    event = chosen.instance.get_latest_materialization_event(dg.AssetKey("strategies"))
    run = event.asset_materialization.tags
    manifest = ArtifactStore(chosen.data).manifest("strategies", run["dagster/data_version"])
    assert [c["violations"] for c in manifest["checks"]] == [0, 0]


def curated_with(lab, profile: str, seed: int) -> set[str]:
    """Documents that the stages take with the settings of a profile, all of whose checks hold."""
    settings = settings_in_force(lab.instance)
    for group, values in read_profile(profile).items():
        settings[group] = validate(group, settings[group].model_dump() | values)
    settings["selection"] = settings["selection"].model_copy(update={"seed": seed})
    versions = made_with(lab, settings, "budgets", "densities", "subset")
    subset = ArtifactStore(lab.data).parquet("subset", versions["subset"], "subset")
    return set(pl.read_parquet(subset)["doc_id"])


def made_with(lab, settings, *stages: str) -> dict[str, str]:
    """Versions of all stages, of which these are made with other settings. All their checks hold."""
    versions = versions_in_force(lab.instance, STAGES)
    for stage in (STAGES[name] for name in stages):
        inputs = {name: versions[name] for name in stage.inputs}
        made = Chain(STAGES, ArtifactStore(lab.data), print, "", inspect).make(stage, settings, inputs)
        assert not [check for check in made.manifest["checks"] if check["violations"]], stage.name
        versions[stage.name] = made.version
    return versions


@pytest.mark.run
def test_strategies_are_what_a_curation_with_their_profiles_takes(chosen):
    found = rows(chosen)

    def taken(name, seed):
        return set(found.filter(strategy=name, seed=seed)["doc_id"])

    ids = rows(chosen, "clusters")["doc_id"]
    by_luck = ids.gather(np.argsort(-keyed_uniform(1, "subset", ids)))
    assert taken("random", 1) == set(by_luck[: len(taken("random", 1))]), "from the whole pool, of whatever length"
    for name in WITHOUT_DSIR:
        if name != "in_force":
            assert taken(name, 1) == curated_with(chosen, name, 1), name
    assert len({tuple(sorted(taken(name, 0))) for name in strategies.RUNGS}) > 3, "the test compares something"
    chosen.make("adaptation_deltas", "budgets", "densities", "subset", **read_profile("static"))
    assert taken("static", 0) == set(chosen.sql("SELECT doc_id FROM subset")["doc_id"]), "as a run makes it"
    chosen.make("densities", "subset", selection={"weight": "density", "bandwidth_scale": 0.2, "beta": 0.9})
    select(chosen, strategies=["random", "in_force", "grip"])
    in_force, found = set(chosen.sql("SELECT doc_id FROM subset")["doc_id"]), rows(chosen)
    assert taken("in_force", 0) == in_force != taken("grip", 0), "by the densities of these settings"
    chosen.make("subset", selection={"beta": 0.1})
    select(chosen)
    then, found = set(chosen.sql("SELECT doc_id FROM subset")["doc_id"]), rows(chosen)
    assert taken("in_force", 0) == then != in_force, "one knob is enough"


@pytest.mark.slow
@pytest.mark.run
def test_densities_are_made_where_the_subset_in_force_has_none(chosen):
    before = rows(chosen)
    chosen.curate(selection={"weight": "uniform", "beta": 0.9}, budget={"tau": 1.2})
    shutil.rmtree(chosen.data / "subset")
    chosen.curate()
    in_force = {a.asset: a.version for a in chosen.operations.status(chosen.instance)}
    assert chosen.sql("SELECT DISTINCT density FROM selection_weights").rows() == [(1.0,)]
    select(chosen, strategies=["random", "diversity", "grip", "no_density"], seeds=2)
    assert rows(chosen).equals(before.filter(pl.col("strategy").is_in(rows(chosen)["strategy"].unique().to_list())))
    after = {a.asset: a.version for a in chosen.operations.status(chosen.instance)}
    assert {name: after[name] for name in CURATED} == {name: in_force[name] for name in CURATED}, (
        "it is not put in force"
    )


@pytest.mark.run
def test_a_strategy_more_leaves_the_others_as_they_are_and_judges_nothing_again(chosen, monkeypatch):
    from grip_assets.judges.static import StaticJudge

    before, costs = rows(chosen), rows(chosen, "strategy_costs")
    monkeypatch.setattr(StaticJudge, "judge", lambda self, documents: pytest.fail("judged again"))
    select(chosen, strategies=["top_quality", "random"])
    fewer = rows(chosen)
    assert fewer.equals(before.filter(pl.col("strategy").is_in(["random", "top_quality"])))
    seconds = rows(chosen, "strategy_costs").filter(strategy="top_quality")["seconds"][0]
    first = costs.filter(strategy="top_quality")["seconds"][0]
    assert seconds > first / 3, "what it took to judge counts, though it was done before"
    select(chosen, strategies=WITHOUT_DSIR)
    assert rows(chosen).equals(before)


@pytest.mark.run
def test_each_rule_takes_what_it_says(chosen):
    found, pool = rows(chosen), chosen.sql("SELECT doc_id, n_tokens FROM corpus")
    mean = {name: group["n_tokens"].mean() for (name,), group in found.group_by("strategy")}
    assert max(mean, key=mean.get) == "longest" and min(mean, key=mean.get) == "shortest"
    for name, worst, rest in (("longest", "min", "max"), ("shortest", "max", "min")):
        taken = found.filter(strategy=name, seed=0)
        left = pool.join(taken, on="doc_id", how="anti")["n_tokens"]
        edge = getattr(taken["n_tokens"], worst)(), getattr(left, rest)()
        assert edge[0] >= edge[1] if name == "longest" else edge[0] <= edge[1]
    deterministic = found.filter(pl.col("strategy").is_in(["semdedup", "d4"]))
    assert deterministic.filter(seed=0).drop("seed").equals(deterministic.filter(seed=1).drop("seed"))
    clusters = chosen.sql("SELECT doc_id, cluster_id FROM clusters")
    shares = found.filter(strategy="by_cluster", seed=0).join(clusters, on="doc_id")
    taken = shares.group_by("cluster_id").agg(taken=pl.sum("n_tokens"))
    assert len(taken) == clusters["cluster_id"].n_unique()
    sizes = clusters.join(pool, on="doc_id").group_by("cluster_id").agg(size=pl.sum("n_tokens"))
    tokens = taken.join(sizes, on="cluster_id").filter(pl.col("taken") < pl.col("size"))[
        "taken"
    ]  # not those taken whole
    assert len(tokens) > 2 and tokens.max() - tokens.min() <= 2 * pool["n_tokens"].max()


@pytest.mark.run
def test_costs_count_what_a_strategy_needs(chosen):
    costs = {row["strategy"]: row for row in rows(chosen, "strategy_costs").to_dicts()}
    read = chosen.sql("SELECT sum(n_encoder_tokens)::BIGINT FROM embeddings").item()
    trained = chosen.sql("SELECT sum(n_tokens)::BIGINT FROM adaptation_deltas").item()
    judged = chosen.sql("SELECT count(*) FROM quality_scores").item()
    spent = ("encoder_tokens", "proxy_tokens", "judged_documents")
    assert [costs["random"][c] for c in spent] == [0, 0, 0]
    for name in ("proportional", "by_cluster", "d4"):
        assert [costs[name][c] for c in spent] == [read, 0, 0]
    assert [costs["static"][c] for c in spent] == [read, 0, judged] == [costs["no_replay"][c] for c in spent]
    assert [costs["grip"][c] for c in spent] == [read, trained, judged]
    assert [costs["top_quality"][c] for c in spent] == [0, 0, 120]
    assert costs["grip"]["seconds"] > costs["static"]["seconds"] > costs["by_cluster"]["seconds"]
    assert costs["random"]["seconds"] < costs["by_cluster"]["seconds"]
    assert [costs[name]["previous"] for name in strategies.RUNGS] == [None, *strategies.RUNGS[:-1]]
    kinds = {row["kind"] for row in costs.values()}
    assert kinds == {"rung", "yours", "baseline", "ablation"} and costs["d4"]["previous"] is None
    assert costs["longest"]["n_docs"] < costs["random"]["n_docs"] < costs["shortest"]["n_docs"]


@pytest.mark.slow
@pytest.mark.run
def test_copies_are_taken_where_the_budget_is_above_the_pool(lab):
    lab.curate(budget={"total": 0.999, "overflow": "repeat", "max_repeats": 2})
    tokens = lab.sql("SELECT sum(n_tokens)::BIGINT FROM corpus").item()
    lab.curate(budget={"total": round(1.4 * tokens)})
    select(lab, strategies=["random", "grip", "by_cluster", "by_language", "semdedup", "d4", "longest"], seeds=2)
    found = rows(lab).group_by("strategy", "seed").agg(t=(pl.col("n_tokens") * pl.col("repeats")).sum())
    assert ((found["t"] - round(1.4 * tokens)).abs() <= lab.sql("SELECT max(n_tokens) FROM corpus").item()).all()
    assert set(rows(lab)["repeats"]) == {1, 2}


# What is refused


def test_a_wrong_name_is_refused_with_the_nearest():
    with pytest.raises(GripError, match="there is no strategy 'semdedupe'. Did you mean 'semdedup'"):
        validate("evaluation", {"strategies": ["random", "semdedupe"]})
    with pytest.raises(GripError, match="there is no strategy 'quickstart'"):  # it changes more than a selection
        validate("evaluation", {"strategies": ["random", "quickstart"]})


def test_every_strategy_is_a_profile_and_a_small_one_says_only_what_differs():
    grip, random = read_profile("grip"), read_profile("proportional")
    on_request = {"grip_regmix", "uniform", "tempered", "unimax", "chameleon"}
    on_request |= {"grasp", "grasp_unigram", "grasp_additive", "grasp_budget"}
    on_request |= {"gem", "gem_paper", "gem_regmix", "gem_doremi", "gem_perf", profiles.ROUNDS}
    on_request |= {"grip_closed", "grip_steps", "grip_unigram", "random_short"}
    assert set(Evaluation().strategies) == set(profiles.strategies()) - on_request
    assert read_profile("no_length") == {**grip, "selection": grip["selection"] | {"beta": 0.0}}
    assert read_profile("random") == {**random, "selection": random["selection"] | {"rule": "random"}}
    assert strategies.strategy("no_length", {g: s() for g, s in GROUPS.items()}).kind == "ablation"


def test_all_strategies_have_the_limit_of_length_in_force_unless_they_have_their_own():
    now = {g: s() for g, s in GROUPS.items()} | {"selection": Selection(max_share=0.02, max_tokens=500, beta=2.0)}
    for name in ("random", "grip", "top_quality", "grasp_unigram", profiles.IN_FORCE):
        found = strategies.strategy(name, now).settings["selection"]
        assert (found.max_share, found.max_tokens) == (0.02, 500), name
    short = strategies.strategy("random_short", now).settings["selection"]
    assert (short.max_share, short.max_tokens) == (0.01, 500)


def test_a_strategy_may_say_how_its_budget_is_learned_and_needs_the_mixture():
    now = {g: s() for g, s in GROUPS.items()} | {"mixing": validate("mixing", {"method": "perf", "tokens": 5000})}
    regmix = strategies.strategy("grip_regmix", now)
    assert regmix.settings["budget"].base == "mixture" and {"mixture_domains", "mixture_runs", "mixture"} <= {
        *regmix.needs
    }
    assert (regmix.settings["mixing"].method, regmix.settings["mixing"].tokens) == ("regmix", 5000), "sizes stay yours"
    assert not {"mixture", "quality_scores", "adaptation_deltas"} & {*strategies.strategy("proportional", now).needs}
    for name in ("mixing_gpu", "grasp_stride"):  # they have neither budget nor selection
        with pytest.raises(GripError, match=f"there is no strategy '{name}'"):
            validate("evaluation", {"strategies": ["random", name]})


def test_a_strategy_may_attribute_and_needs_the_sketches_but_not_the_measurements_of_clusters():
    now = {g: s() for g, s in GROUPS.items()} | {"attribution": validate("attribution", {"hidden": 64})}
    grasp = strategies.strategy("grasp", now)
    assert {"sketches", "counterfactuals", "attribution", "clusters"} <= {*grasp.needs}
    assert not {"quality_scores", "adaptation_deltas", "mixture", "densities"} & {*grasp.needs}
    assert (grasp.settings["attribution"].source, grasp.settings["attribution"].hidden) == ("auto", 64)
    assert "attribution" in strategies.strategy("grasp_budget", now).needs
    assert "attribution" not in strategies.strategy("random", now).needs


@pytest.mark.run
def test_documents_as_the_unit_are_refused(lab):
    lab.make("budgets", "subset", budget={"unit": "documents"})
    assert "Set it to 'tokens'" in refusal(lab, strategies=["random"])


@pytest.mark.run
def test_settings_changed_since_are_refused(lab):
    lab.change("clustering", k=4)
    assert "Materialize partition first" in refusal(lab, strategies=["random"])


@pytest.mark.run
def test_dsir_without_its_package_is_refused_before_anything_is_done(lab, monkeypatch):
    monkeypatch.setitem(sys.modules, "data_selection", None)
    monkeypatch.setattr(strategies, "take", lambda *args: pytest.fail("done before it was looked at"))
    assert "pip install 'grip-assets[evaluation]'" in refusal(lab, strategies=["random", "longest", "dsir"])


# DSIR


@pytest.mark.run
def test_dsir_takes_what_is_like_the_target(lab, tmp_path):
    pytest.importorskip("data_selection")
    (tmp_path / "target").mkdir()
    texts = lab.sql("SELECT text, source FROM corpus WHERE source LIKE 'matrix/%' ORDER BY source LIMIT 12")
    for n, text in enumerate(texts["text"]):
        (tmp_path / "target" / f"{n}.py").write_text(text)
    select(lab, strategies=["random", "dsir"], seeds=2, target=str(tmp_path / "target"))
    sources = lab.sql("SELECT strategy, source, n.n_tokens FROM strategies AS n JOIN corpus USING (doc_id)")
    share = {
        name: group.filter(pl.col("source").str.starts_with("matrix"))["n_tokens"].sum() / group["n_tokens"].sum()
        for (name,), group in sources.group_by("strategy")
    }
    assert share["dsir"] > 2 * share["random"]
    before = rows(lab)
    for store in lab.data.glob("strategies/[!.]*"):
        store.rename(tmp_path / store.name)
    select(lab)
    assert rows(lab).equals(before), "the noise is that of the seed"
    assert len(set(lab.data.glob("strategies/[!.]*"))) == 1
    (tmp_path / "target" / "12.py").write_text("another = 1\n")
    select(lab)
    assert len(set(lab.data.glob("strategies/[!.]*"))) == 2, "another target is another selection"
    assert rows(lab).filter(strategy="random").equals(before.filter(strategy="random"))
    select(lab, target=None)
    assert rows(lab).filter(strategy="dsir")["doc_id"].n_unique() > 10, "the benchmarks"
    settings = settings_in_force(lab.instance)
    settings["corpus"] = settings["corpus"].model_copy(update={"benchmarks": []})
    with pytest.raises(GripError, match="there is none"):
        made_with(lab, settings, "strategies")


def test_weights_are_those_of_the_package_itself(tmp_path):
    import json

    data_selection = pytest.importorskip("data_selection")
    from grip_assets.method.selection.dsir import log_weights

    texts = [f"def f_{i}(a, b):\n    return a * {i} + b  # größer\n" * (1 + i % 9) for i in range(64)]
    target = ["def g(x):\n    return x + 1\n" * 3, "class A:\n    pass\n"]
    for name, lines in (("pool", texts), ("target", target)):
        (tmp_path / name).write_text("".join(json.dumps({"text": text}) + "\n" for text in lines))
    own = data_selection.HashedNgramDSIR([str(tmp_path / "pool")], [str(tmp_path / "target")], str(tmp_path / "cache"), num_proc=1)  # fmt: skip
    own.fit_importance_estimator("all")
    own.compute_importance_weights()
    n_words = np.array([len(own.tokenizer(text)) for text in texts])
    chunk = np.minimum(255 / (2 * n_words - 1), 1)  # of 128 words: as many single ones, and 127 pairs
    assert 0 < (chunk < 1).sum() < 64
    expected = np.load(tmp_path / "cache" / "log_importance_weights" / "0.npy") * chunk
    long_enough = np.load(tmp_path / "cache" / "perexample_metadata" / "0.npy") >= 100
    for size in (64, 8):  # 8 blocks: two processes where there are two cores
        parts = [texts[i : i + size] for i in range(0, 64, size)]
        done = []
        weights, eligible = log_weights(
            lambda parts=parts: iter(parts), len(parts), target, tmp_path / "x", done.append
        )
        assert (
            weights == pytest.approx(expected, rel=1e-12)
            and (eligible == long_enough).all()
            and 0 < eligible.sum() < 64
        )
        assert sum(done) == 128
