"""Each hyperparameter recomputes exactly what depends on it: the plan of the real stages, over artifacts that have the
right names and nothing in them. Nothing is computed, so every field of every group has its turn; test_recompute.py
holds real runs to the plan."""

import shutil
from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Any

import polars as pl
import pytest
from conftest import small
from defaults import without_near_copies
from pydantic import ValidationError
from test_recompute import CHANGES, SAME_RESULT, descendants

from grip_assets.engine.plan import plan
from grip_assets.engine.stage import known_version
from grip_assets.errors import GripError
from grip_assets.models import files
from grip_assets.settings import GROUPS, Group, choices, digest, trait, validate
from grip_assets.stages import CURATED, STAGES
from grip_assets.store import artifacts
from grip_assets.store.artifacts import ArtifactStore

Settings = dict[str, Group]
FIELDS = [(group, name) for group, schema in GROUPS.items() for name in schema.model_fields]


class Planted:
    """A data folder in which everything was made with ``settings``."""

    def __init__(self, root, settings: Settings):
        self.store, self.settings, self.versions = ArtifactStore(root), settings, dict[str, str]()
        for stage in STAGES.values():
            inputs = {name: self.versions[name] for name in stage.inputs}
            recipe = stage.recipe(settings, inputs, root)
            if known_version(stage, settings, recipe, self.store) is None:
                self.store.set_alias(stage.name, recipe, digest([stage.name, recipe]))
            version = known_version(stage, settings, recipe, self.store)
            assert version is not None
            self.versions[stage.name] = version
            unused = stage.why_unused(settings)
            manifest: dict[str, Any] = {
                "stage": stage.name, "version": version, "inputs": inputs, "settings": stage.values(settings),
                "computed_at": 0, "seconds": 0, "run_id": "", **({"unused": unused} if unused else {}),
            }  # fmt: skip
            with self.store.publish(stage.name, manifest) as draft:
                draft.write(stage.name, pl.DataFrame({"n": [0]}))

    def computes(self, settings: Settings) -> set[str]:
        steps = plan(STAGES, settings, self.versions, self.store)
        return {step.asset for step in steps if step.action == "compute"}

    def with_changed(self, group: str, **values: Any) -> Settings:
        return self.settings | {group: validate(group, self.settings[group].model_dump() | values)}


@pytest.fixture(scope="module", autouse=True)
def what_never_changes_here_is_asked_once():
    """How long a stage took, the digests of the models' files, and whether an artifact is whole: a thousand plans ask."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("grip_assets.engine.plan._last_seconds", lambda stage, store: None)
        patch.setattr(files, "_file_hash", cache(files._file_hash))
        patch.setattr(files, "_that_matter", cache(files._that_matter))
        patch.setattr(artifacts, "damage", lambda folder: "")
        yield


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """A pool of one file: each plan lists the pool, and none reads it."""
    folder = tmp_path_factory.mktemp("listed")
    (folder / "one.py").write_text("x = 1")
    return folder


@pytest.fixture(scope="module")
def planted(tmp_path_factory, models, listed) -> Planted:
    changes = small(models, listed)
    settings = {group: validate(group, changes.get(group, {})) for group in GROUPS}
    return Planted(tmp_path_factory.mktemp("planted"), settings)


def others(value: Any, annotation: Any) -> Iterator[Any]:
    """Other values that a field might have; some may be out of its range."""
    if allowed := choices(annotation):
        yield from (choice for choice in allowed if choice != value)
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield from (value + 1, value / 2, value * 2, value - 1)
    elif value is None:
        yield from (3, 0.5)


def variants(planted: Planted, group: str, name: str) -> Iterator[Settings]:
    """Settings in which the field has another value: each choice, or another number."""
    before = getattr(planted.settings[group], name)
    found = _variants(planted, group, name)
    yield from islice(found, 1) if isinstance(before, int | float) else found


def _variants(planted: Planted, group: str, name: str) -> Iterator[Settings]:
    before = getattr(planted.settings[group], name)
    for value in others(before, GROUPS[group].model_fields[name].annotation):
        try:
            changed = planted.with_changed(group, **{name: value})
        except (GripError, ValidationError):
            continue
        names_a_file = value == "given" or (group, value) == ("attribution", "column")
        if not names_a_file and getattr(changed[group], name) != before:
            yield changed


def depend_on(planted: Planted, settings: Settings) -> set[str]:
    """The stages that read another value, and all that is made from these; not those that are not used."""
    touched: set[str] = set()
    for stage in STAGES.values():
        if stage.why_unused(settings) and stage.why_unused(planted.settings):
            continue  # what it reads is in no recipe
        reads = stage.values(settings) != stage.values(planted.settings)
        switched = bool(stage.why_unused(settings)) != bool(stage.why_unused(planted.settings))
        if reads or switched or touched & set(stage.inputs_under(settings)):
            touched.add(stage.name)
    return {name for name in touched if not STAGES[name].why_unused(settings)}


def test_nothing_is_computed_where_nothing_changed(planted):
    assert planted.computes(planted.settings) == set()


@pytest.mark.parametrize("group", CHANGES)
def test_a_group_recomputes_nothing_but_what_dagsters_graph_calls_its_descendants(planted, group):
    """The graph knows groups; of the descendants, those are left alone that read other fields of the group."""
    settings = planted.with_changed(group, **CHANGES[group])
    computed = planted.computes(settings) & set(CURATED)
    assert computed == depend_on(planted, settings) & set(CURATED)
    assert computed and computed <= descendants(group)
    assert set(CHANGES) | {"evaluation", "student", "mixing", "attribution"} == set(GROUPS)


def test_beta_searches_no_neighbours_and_a_budget_probes_nothing(planted):
    slow = {"corpus", "embeddings", "clusters", "probe_set", "adaptation_deltas", "quality_scores", "densities"}
    for group, values in {"selection": {"beta": 0.9}, "budget": {"tau": 0.7}}.items():
        assert not planted.computes(planted.with_changed(group, **values)) & slow


@pytest.mark.parametrize("group", SAME_RESULT)
def test_what_changes_no_result_recomputes_nothing(planted, group):
    assert planted.computes(planted.with_changed(group, **SAME_RESULT[group])) == set()


@pytest.mark.parametrize(("group", "name"), FIELDS)
def test_a_field_recomputes_exactly_what_reads_it_and_what_follows(planted, group, name):
    for settings in variants(planted, group, name):
        assert planted.computes(settings) == depend_on(planted, settings), settings[group]


def test_every_hashed_number_choice_and_switch_had_its_turn(planted):
    turned = {(group, name) for group, name in FIELDS if any(variants(planted, group, name))}
    assert len(turned) > 70
    assert {("selection", "beta"), ("budget", "tau"), ("clustering", "k"), ("probe", "fraction")} <= turned


def test_a_field_that_a_stage_does_not_read_leaves_it_alone(planted):
    computed = planted.computes(planted.with_changed("clustering", sigma_center="mean"))
    assert "sigma_k" in computed and not computed & {"corpus", "embeddings", "clusters", "corpus_map"}


def test_a_setting_of_the_student_labels_again_and_embeds_nothing(tmp_path, models, listed):
    changes = small(models, listed, embedding={"sample": 0.5})
    sampled = Planted(tmp_path, {group: validate(group, changes.get(group, {})) for group in GROUPS})
    for name in GROUPS["student"].model_fields:
        for settings in variants(sampled, "student", name):
            computed = sampled.computes(settings)
            assert computed == depend_on(sampled, settings), settings["student"]
            assert {"student", "clusters", "subset"} <= computed and not computed & {"embeddings", "partition"}
    assert sampled.computes(sampled.with_changed("embedding", seed=1)) >= {"embeddings", "partition", "student"}


def test_a_field_of_gem_recomputes_the_partition_and_what_follows(planted, tmp_path):
    """And, where k-means is in force, nothing."""
    balanced = Planted(tmp_path, planted.with_changed("clustering", method="gem", estep="mirror"))
    fields = GROUPS["clustering"].model_fields
    of_gem = {name for name, field in fields.items() if any(way.get("method") == "gem" for way in trait(field, "when"))}
    assert {"balance", "estep", "inner_steps", "kappa", "kappa_prior", "temperature", "pca", "center"} <= of_gem
    assert {"fit_iterations", "tolerance", "continuation", "target_mass", "balance_scale"} <= of_gem
    for name in of_gem:
        before = getattr(balanced.settings["clustering"], name)
        for value in [[1.0, 2.0]] if name == "target_mass" else others(before, fields[name].annotation):
            try:
                settings = balanced.with_changed("clustering", **{name: value})
            except (GripError, ValidationError):
                continue
            computed = balanced.computes(settings)
            assert computed == depend_on(balanced, settings) and "partition" in computed, (name, value)
            assert not computed & {"corpus", "embeddings"}
            assert planted.computes(planted.with_changed("clustering", **{name: value})) == set(), name


def test_switching_to_gem_and_back_computes_nothing_the_second_time(planted, tmp_path):
    gem = planted.with_changed("clustering", method="gem")
    assert {"partition", "clusters", "subset"} <= planted.computes(gem)
    root = shutil.copytree(planted.store.root, tmp_path / "both")
    for one, other in ((gem, planted.settings), (planted.settings, gem)):
        assert Planted(root, one).computes(other) <= {"rounds"}, "rounds are those of what is in force"


def test_the_balance_is_compared_again_with_the_partition_and_only_with_gem(planted, tmp_path):
    assert "balance" not in planted.computes(planted.with_changed("clustering", k=7))
    balanced = Planted(tmp_path, planted.with_changed("clustering", method="gem"))
    for values in ({"balance": 0.5}, {"k": 7}, {"seeds": 5}):
        assert {"partition", "balance"} <= balanced.computes(balanced.with_changed("clustering", **values))
    assert "balance" not in balanced.computes(balanced.with_changed("clustering", sigma_center="mean"))
    assert "balance" not in balanced.computes(balanced.with_changed("budget", tau=0.7))


MIXED = ("mixture_domains", "mixture_runs")


@pytest.mark.parametrize("method", ["regmix", "doremi", "perf"])
def test_a_setting_of_the_mixing_touches_nothing_before_it_and_nothing_unless_it_applies(planted, tmp_path, method):
    mixed = Planted(
        tmp_path, planted.with_changed("budget", base="mixture") | planted.with_changed("mixing", method=method)
    )
    fields = GROUPS["mixing"].model_fields.items()
    of_methods = {name for name, field in fields if any("method" in way for way in trait(field, "when"))}
    own = {name for name in of_methods if mixed.settings["mixing"].applies(name)}
    assert {"regmix": "mixtures", "doremi": "eta", "perf": "factor"}[method] in own < of_methods
    for name in GROUPS["mixing"].model_fields if method == "regmix" else of_methods:
        for settings in list(variants(mixed, "mixing", name))[:1]:
            computed = mixed.computes(settings)
            assert computed == depend_on(mixed, settings), name
            assert not computed & {"corpus", "embeddings", "clusters", "adaptation_deltas"}
            assert not computed or name not in of_methods - own


def test_a_mixing_that_is_not_used_touches_nothing(planted):
    for values in (
        {"method": "perf"},
        {"mixtures": 16, "held_out": 20, "tokens": 200_000},
        {"objective": "benchmarks"},
    ):
        assert planted.computes(planted.with_changed("mixing", **values)) == set()


def test_what_a_training_does_not_read_trains_nothing(planted, tmp_path):
    mixed = Planted(tmp_path, planted.with_changed("budget", base="mixture"))
    for group, values in {
        "mixing": {"objective": "benchmarks", "kl_to_natural": 0.05},
        "selection": {"beta": 0.9},
        "budget": {"alpha": 1.0},
    }.items():
        assert not mixed.computes(mixed.with_changed(group, **values)) & set(MIXED), group
    assert mixed.computes(mixed.with_changed("mixing", tokens=200_000)) >= {"mixture_runs"}
    assert "mixture_domains" not in mixed.computes(mixed.with_changed("mixing", tokens=200_000))
    assert mixed.computes(mixed.with_changed("mixing", held_out=20)) >= set(MIXED)
    assert mixed.computes(mixed.with_changed("clustering", k=7)) >= {"clusters", *MIXED}
    assert set(MIXED) & mixed.computes(mixed.with_changed("budget", total=0.3)) == {"mixture_runs"}


LEARNED = {"mixture_domains", "mixture_runs", "mixture"}


@pytest.fixture(scope="module")
def mixed(planted, tmp_path_factory) -> Planted:
    """Everything was made with a learned budget, without replay."""
    return Planted(tmp_path_factory.mktemp("mixed"), planted.with_changed("budget", base="mixture", replay="none"))


@pytest.mark.parametrize("name", GROUPS["mixing"].model_fields)
def test_a_field_of_mixing_recomputes_exactly_what_reads_it_and_what_follows(planted, mixed, name):
    """And, where the budget is not learned, nothing."""
    for settings in variants(mixed, "mixing", name):
        computed = mixed.computes(settings)
        assert computed == depend_on(mixed, settings), settings["mixing"]
        assert not computed & {"corpus", "embeddings", "partition", "clusters"}
        if computed and trait(GROUPS["mixing"].model_fields[name], "part") == "fit":
            assert "mixture" in computed and not computed & {"mixture_domains", "mixture_runs"}, "nothing is trained"
    for settings in variants(planted, "mixing", name):
        assert planted.computes(settings) == set(), settings["mixing"]


def test_an_objective_computes_the_mixture_and_what_is_below_and_trains_nothing(mixed):
    computed = mixed.computes(mixed.with_changed("mixing", objective="benchmarks"))
    assert {"mixture", "budgets", "subset", "mixture_check"} <= computed
    assert not computed & {"mixture_domains", "mixture_runs", "densities"}


def test_the_seeds_of_the_check_compute_the_check_alone(mixed):
    assert mixed.computes(mixed.with_changed("mixing", check_seeds=5)) == {"mixture_check"}


def test_switching_to_a_mixture_and_back_computes_nothing_the_second_time(planted, mixed, tmp_path):
    assert mixed.settings["budget"].base == "mixture"
    assert LEARNED | {"budgets", "subset"} <= planted.computes(mixed.settings)
    root = shutil.copytree(planted.store.root, tmp_path / "both")
    for one, other in ((mixed.settings, planted.settings), (planted.settings, mixed.settings)):
        assert Planted(root, one).computes(other) <= {"rounds"}, "rounds are those of what is in force"


ATTRIBUTED = {
    "counts": {"source": "unigram"},
    "counts, chosen by retraining": {"source": "unigram", "choose": "lcb", "start": "scratch"},
    "gradients": {"source": "head", "precondition": "fisher"},
    "several": {"source": "auto", "choose": "bootstrap"},
}


@pytest.fixture(scope="module", params=ATTRIBUTED.values(), ids=ATTRIBUTED.keys())
def attributed(planted, tmp_path_factory, request) -> Planted:
    """Everything was made with a selection by sketches."""
    greedy = planted.with_changed("selection", rule="greedy") | planted.with_changed("attribution", **request.param)
    return Planted(tmp_path_factory.mktemp("attributed"), greedy)


def test_a_field_of_attribution_recomputes_exactly_what_reads_it_and_what_follows(attributed):
    for name, field in GROUPS["attribution"].model_fields.items():
        for settings in list(variants(attributed, "attribution", name))[:2]:
            computed = attributed.computes(settings)
            assert computed == depend_on(attributed, settings), (name, settings["attribution"])
            assert not computed & {"corpus", "embeddings", "partition", "clusters", "sigma_k", "taxonomy", "densities"}
            if trait(field, "part") in ("choice", "trials"):
                assert "sketches" not in computed, name
            if trait(field, "part") == "sketch" and name not in ("source", "candidates", "seed"):
                assert "counterfactuals" not in computed, name


def test_an_attribution_that_is_not_used_touches_nothing(planted):
    for name in GROUPS["attribution"].model_fields:
        for settings in list(variants(planted, "attribution", name))[:1]:
            assert planted.computes(settings) == set(), name


def test_a_budget_that_is_not_learned_knows_nothing_of_mixing(planted):
    """The names of artifacts of data folders that were made before there was a mixing."""
    for name in ("budgets", "knobs", "rounds", "stability", "strategies"):
        manifest = planted.store.manifest(name, planted.versions[name])
        stage = STAGES[name]
        assert "mixing" not in manifest["settings"] and LEARNED & set(stage.inputs)
        assert not LEARNED & {*stage.inputs_under(planted.settings)}


BEFORE = {
    "budgets": "da2ef6c23c9c446e",
    "knobs": "692b687568e73749",
    "rounds": "d07b8af596b73507",
    "stability": "0abb8661e35fc663",
    "strategies": "8121129e8b0b871c",
    "subset": "2282f88f37d03083",
}
"""Names that the stages gave, at their defaults, before they had the inputs ``mixture`` and ``attribution``."""


@pytest.mark.parametrize("name", BEFORE)
def test_an_artifact_that_was_made_before_there_was_a_mixing_or_an_attribution_keeps_its_name(name, tmp_path):
    now = without_near_copies()
    now["evaluation"] = validate("evaluation", {"strategies": ["random", "grip", "in_force"]})
    now["budget"] = validate("budget", {"replay": "loss"})
    stage = STAGES[name]
    assert stage.recipe(now, dict.fromkeys(stage.inputs, "v"), tmp_path) == BEFORE[name]
    now["mixing"] = validate("mixing", {"method": "doremi", "tokens": 5000})
    now["attribution"] = validate("attribution", {"choose": "bootstrap", "dim": 8})
    assert stage.recipe(now, dict.fromkeys(stage.inputs, "v"), tmp_path) == BEFORE[name]


def test_a_strategy_with_a_learned_budget_needs_the_mixture_and_the_mixing(planted):
    settings = planted.with_changed("evaluation", strategies=["random", "grip_regmix"])
    stage = STAGES["strategies"]
    assert {*stage.inputs_under(settings)} >= LEARNED and "mixing" in stage.values(settings)
    assert planted.computes(settings) == {"strategies", "trainings", "evaluation"}
    for other, same in (({"tokens": 999}, False), ({"check_seeds": 9}, True)):
        turned = settings | {"mixing": validate("mixing", other)}
        names = {stage.recipe(s, dict.fromkeys(stage.inputs, "v"), planted.store.root) for s in (settings, turned)}
        assert (len(names) == 1) == same, other


MEASURED = {"attribution_targets", "reference_model", "counterfactuals"}


@pytest.fixture(scope="module")
def retrained(planted, tmp_path_factory) -> Planted:
    """Everything was made with budgets by attribution, whose configuration was chosen by retraining."""
    budget = planted.with_changed("budget", base="grasp")
    chosen = planted.with_changed("attribution", choose="lcb", source="auto", targets=["benchmarks", "held_out"])
    return Planted(tmp_path_factory.mktemp("retrained"), chosen | {"budget": budget["budget"]})


@pytest.mark.parametrize(
    ("values", "computed"),
    [
        ({"combine": "maxmin", "target_weights": ["humaneval=2"], "gammas": [0, 1], "delta": 0.2}, set()),
        ({"normalize": "unit", "dim": 256, "sketch": "sjlt", "candidates": ["unigram", "head"]}, set()),
        ({"structured": 30}, {"counterfactuals"}),
        ({"trial_tokens": [50_000]}, {"counterfactuals"}),
        ({"seeds": 2}, {"counterfactuals"}),
        ({"tokens": 500_000}, {"reference_model", "counterfactuals"}),
        ({"items": 200}, MEASURED),
        ({"held_out_by": "language"}, MEASURED),
        ({"vocabulary": 2048}, MEASURED),
        ({"device": "cuda"}, set()),
    ],
)
def test_what_a_retraining_does_not_read_retrains_nothing(retrained, values, computed):
    assert retrained.computes(retrained.with_changed("attribution", **values)) & MEASURED == computed


def test_from_scratch_no_reference_is_read_and_clusters_of_held_out_projects_only_where_they_are_targets(retrained):
    scratch = retrained.with_changed("attribution", start="scratch", source="unigram")
    assert STAGES["reference_model"].why_unused(scratch) and "counterfactuals" in retrained.computes(scratch)
    assert "reference_model" not in STAGES["counterfactuals"].inputs_under(scratch)
    by_cluster = retrained.with_changed("attribution", held_out_by="cluster")
    targets = STAGES["attribution_targets"]
    assert "clusters" in targets.inputs_under(by_cluster) and "clusters" not in targets.inputs_under(retrained.settings)
    fitted_again = retrained.computes(retrained.with_changed("clustering", k=7)) & MEASURED
    assert fitted_again == {"counterfactuals"}, "targets and reference do not depend on clusters"


ATTRIBUTION = tuple(name for name, stage in STAGES.items() if stage.group == "attribution")


@pytest.fixture(scope="module")
def greedy(planted, tmp_path_factory) -> Planted:
    """Everything was made with a greedy selection, whose features and gamma trials choose."""
    chosen = planted.with_changed("attribution", source="auto", choose="bootstrap")
    selection = planted.with_changed("selection", rule="greedy")["selection"]
    return Planted(tmp_path_factory.mktemp("greedy"), chosen | {"selection": selection})


@pytest.fixture(scope="module")
def set_by_hand(planted, tmp_path_factory) -> Planted:
    """The same, with token counts and gamma as they are set."""
    return Planted(tmp_path_factory.mktemp("by_hand"), planted.with_changed("selection", rule="greedy"))


@pytest.mark.parametrize(
    ("values", "first"),
    [
        ({"items": 50}, "attribution_targets"),
        ({"tokens": 5000}, "reference_model"),
        ({"dim": 64}, "sketches"),
        ({"candidates": ["unigram"]}, "sketches"),
        ({"trial_tokens": [5000]}, "counterfactuals"),
        ({"structured": 30}, "counterfactuals"),
        ({"gammas": [0, 2]}, "attribution"),
        ({"normalize": "unit"}, "attribution"),
        ({"choose": "lcb"}, "attribution"),
        ({"delta": 0.2}, "attribution"),
        ({"target_weights": ["humaneval=2"]}, "attribution"),
        ({"combine": "maxmin"}, "attribution"),
    ],
)
def test_what_comes_before_a_field_of_attribution_is_left_alone(greedy, values, first):
    computed = greedy.computes(greedy.with_changed("attribution", **values))
    at = ATTRIBUTION.index(first)
    assert {first, "attribution", "subset"} <= computed and not computed & {*ATTRIBUTION[:at], "budgets", "densities"}
    if first == "sketches":
        assert "counterfactuals" not in computed, "trials are trained whatever is sketched"
    if first == "counterfactuals":
        assert "sketches" not in computed


def test_gamma_that_is_set_scores_again_and_sketches_nothing(set_by_hand):
    computed = set_by_hand.computes(set_by_hand.with_changed("attribution", gamma=0))
    assert {"attribution", "subset"} <= computed and not computed & {*ATTRIBUTION[:-1], "budgets"}


@pytest.mark.parametrize("values", [{"rounds": 8}, {"scope": "clusters"}])
def test_how_greedy_fills_a_budget_computes_the_subset_and_what_compares_it(greedy, planted, values):
    computed = greedy.computes(greedy.with_changed("selection", **values))
    reports = {name for name, stage in STAGES.items() if stage.group in ("reports", "evaluation")}
    assert "subset" in computed and computed <= {"subset", *reports}
    assert planted.computes(planted.with_changed("selection", **values)) == set()


def test_a_budget_for_a_greedy_selection_attributes_nothing_again(greedy):
    computed = greedy.computes(greedy.with_changed("budget", total=0.3))
    assert {"budgets", "subset"} <= computed and not computed & {*ATTRIBUTION}


def test_budgets_by_grasp_read_the_attribution_and_a_draw_in_them_no_sketches(planted, tmp_path):
    budgeted = Planted(tmp_path, planted.with_changed("budget", base="grasp", replay="none"))
    assert "attribution" in STAGES["budgets"].inputs_under(budgeted.settings)
    assert not {"sketches", "attribution"} & {*STAGES["subset"].inputs_under(budgeted.settings)}
    computed = budgeted.computes(budgeted.with_changed("attribution", gamma=0))
    assert {"attribution", "budgets", "subset"} <= computed and not computed & {*ATTRIBUTION[:-1], "densities"}
    assert not budgeted.computes(budgeted.with_changed("selection", beta=0.9)) & {*ATTRIBUTION, "budgets"}


def test_switching_to_greedy_and_back_computes_nothing_the_second_time(planted, greedy, tmp_path):
    assert {*ATTRIBUTION, "subset"} <= planted.computes(greedy.settings)
    root = shutil.copytree(planted.store.root, tmp_path / "both")
    for one, other in ((greedy.settings, planted.settings), (planted.settings, greedy.settings)):
        assert Planted(root, one).computes(other) <= {"rounds"}, "rounds are those of what is in force"


def test_a_strategy_that_attributes_needs_its_stages_and_settings(planted):
    settings = planted.with_changed("evaluation", strategies=["random", "grasp_unigram"])
    stage = STAGES["strategies"]
    assert {*stage.inputs_under(settings)} >= {*ATTRIBUTION} and "attribution" in stage.values(settings)
    assert planted.computes(settings) == {"strategies", "trainings", "evaluation"}
    assert "attribution" not in stage.values(planted.with_changed("evaluation", strategies=["random", "grip"]))
