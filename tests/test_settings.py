"""Settings that know when they apply: what is hashed, what a stage is given, and what a reader is told."""

from typing import Literal

import pytest

from grip_assets.engine.make import Chain
from grip_assets.engine.stage import Stage, setting_changes
from grip_assets.errors import UsageMistake
from grip_assets.orchestration.settings_assets import fields
from grip_assets.settings import (
    GROUPS,
    Group,
    applies_with,
    choices,
    counted_values,
    digest,
    field_names,
    hashed_values,
    trait,
    validate,
    version,
)
from grip_assets.settings.changes import (
    changed,
    merge,
    of_run_config,
    profiles,
    read_profile,
    run_config,
    without_effect,
)
from grip_assets.settings.fields import Has, Not, conditions, knob
from grip_assets.stages import STAGES
from grip_assets.store.artifacts import ArtifactStore

CONDITIONAL = [
    (group, name) for group, schema in GROUPS.items() for name, f in schema.model_fields.items() if trait(f, "when")
]
# Digests of the values that each stage reads at their defaults, as the data folders made so far have them: another one
# would compute all of it again, a corpus and its vectors included.
READ_AT_DEFAULTS = {
    "corpus": "15335174c867b754",
    "embeddings": "f4e553b89a4dfc17",
    "probe_set": "398a904d7481240a",
    "quality_scores": "a863125cf57a2578",
    "adaptation_deltas": "6809f467ec8fa3d7",
    "trainings": "537757fc9c3641dd",
}
# Parts of the names of shards: the settings of the static judge's documents, of a vector, of a cluster's drop.
SHARD_NAMES = [
    ("quality", "quality_scores", {}, "751bc7a5da71ca6a"),
    ("embedding", "embeddings", {}, "8c7e8ccea58dc99a"),
    ("adaptation", "adaptation_deltas", {}, "f8955ce9fef31de1"),
    ("adaptation", "adaptation_deltas", {"form": "steps"}, "14aa8037726474d8"),
    ("adaptation", "adaptation_deltas", {"proxy": "unigram"}, "9822c95113f5a594"),
]


class Toy(Group):
    """A group for the tests."""

    name = "toy"

    method: Literal["plain", "column"] = knob("plain", "How.")
    column: str | None = knob(None, "Which.", when={"method": "column"})
    scaled: bool = knob(False, "Scaled.", when={"method": Not("column")})
    scale: float = knob(1.0, "By how much.", when=[{"scaled": True}, {"column": ["a", "b"]}])
    later: int = knob(3, "Came later.", added=True)


def test_every_condition_names_a_field_of_its_group_and_a_value_that_it_can_have():
    assert len(CONDITIONAL) > 30
    for group, name in CONDITIONAL:
        known = GROUPS[group].model_fields
        for other, value in conditions(trait(known[name], "when")):
            validate(group, {other: [value] if isinstance(known[other].default, list) else value})
            assert other != name and (not choices(known[other].annotation) or value in choices(known[other].annotation))


def test_each_field_applies_under_some_settings_of_its_group():
    for group, name in CONDITIONAL:
        ways = trait(GROUPS[group].model_fields[name], "when")
        first = {n: v[0] if isinstance(v, list) else v for n, v in ways[0].items() if not isinstance(v, Not)}
        first = {n: [v.value] if isinstance(v, Has) else v for n, v in first.items()}
        known = GROUPS[group].model_fields
        unlike = {n: v for n, v in ways[0].items() if isinstance(v, Not) and known[n].default == v.value}
        first |= {n: next((c for c in choices(known[n].annotation) if c != v.value), 1) for n, v in unlike.items()}
        assert validate(group, first).applies(name), (group, name)


def test_a_condition_on_a_field_that_does_not_apply_does_not_hold():
    assert [Toy(scaled=True).applies("scale"), Toy(scaled=True, method="column").applies("scale")] == [True, False]
    assert Toy(method="column", column="b").applies("scale") and not Toy(column="b").applies("scale")
    assert not validate("adaptation", {"proxy": "unigram", "form": "steps"}).applies("epochs")


def test_turning_a_field_that_does_not_apply_changes_no_version_and_no_recipe():
    turned = Toy(column="x", scale=5.0)
    assert version(turned) == version(Toy()) and turned.effective() == Toy() and turned.column == "x"
    assert hashed_values(Toy(method="column", column="x"))["column"] == "x"
    assert "column" not in hashed_values(Toy(), applying=True) and hashed_values(Toy())["column"] is None
    defaults = {group: schema() for group, schema in GROUPS.items()}
    epochs = {**defaults, "adaptation": validate("adaptation", {"epochs": 3, "seeds": 4, "reset_depth": 2})}
    assert STAGES["adaptation_deltas"].values(epochs) == STAGES["adaptation_deltas"].values(defaults)
    steps = {**defaults, "adaptation": validate("adaptation", {"epochs": 3, "form": "steps"})}
    assert STAGES["adaptation_deltas"].values(steps) != STAGES["adaptation_deltas"].values(defaults)


def test_a_stage_is_given_the_default_of_a_field_that_does_not_apply(tmp_path):
    def compute(work):
        seen.append(work.settings["quality"].window_chars)
        return {}

    seen: list[int] = []
    stage = Stage("toy", "1", compute, "A stage of the test.", (), reads={"quality": ("judge", "window_chars")})
    store = ArtifactStore(tmp_path)

    def made(**values):
        settings = {**{g: schema() for g, schema in GROUPS.items()}, "quality": validate("quality", values)}
        return Chain({"toy": stage}, store, print).make(stage, settings, {})

    first = made(window_chars=500)
    assert made(window_chars=900).reused and made().version == first.version
    assert not made(window_chars=500, judge="llm").reused and seen == [4000, 500]


def test_a_device_is_in_no_name_and_names_made_before_stay():
    cpu, cuda = validate("evaluation", {}), validate("evaluation", {"device": "cuda"})
    assert hashed_values(cuda) == hashed_values(cpu) and hashed_values(cuda)["device"] == "cpu", "as it always was"
    assert version(cuda) == version(cpu) and "device" not in counted_values(cuda), "a manifest names devices itself"
    assert set(hashed_values(cuda, ("tokens",))) == {"tokens"}


def test_a_field_that_was_added_leaves_everything_made_before_it_its_name():
    assert "later" not in hashed_values(Toy()) and hashed_values(Toy(later=4))["later"] == 4
    assert counted_values(Toy())["later"] == 3, "a manifest has it"
    old = {"quality": {n: v for n, v in counted_values(GROUPS["quality"]()).items() if n != "min_judged"}}
    assert not list(setting_changes(old, {"quality": counted_values(GROUPS["quality"]())}))


@pytest.mark.parametrize("stage", READ_AT_DEFAULTS)
def test_what_was_made_with_defaults_keeps_its_recipe(stage):
    read = {g: hashed_values(GROUPS[g](), only) for g, only in STAGES[stage].reads.items()}
    assert digest(read) == READ_AT_DEFAULTS[stage]


@pytest.mark.parametrize(("group", "stage", "changes", "name"), SHARD_NAMES)
def test_shards_that_were_made_keep_their_names(group, stage, changes, name):
    named = hashed_values(validate(group, changes), STAGES[stage].reads[group], applying=True)
    assert digest(named) == name


def test_readers_are_told_with_which_settings_a_field_applies():
    assert applies_with(Toy, "column") == "applies with toy.method=column"
    assert applies_with(Toy, "scaled") == "applies unless toy.method=column"
    assert applies_with(Toy, "scale") == "applies with toy.scaled=true or with toy.column=a|b"
    assert "Applies with adaptation.form=steps." in (fields("adaptation")["epochs"].description or "")
    turned = {"quality": validate("quality", {"windows": 5, "seed": 1})}
    assert without_effect(turned, {"quality": {"windows": 5, "seed": 1}}) == [
        "quality.windows changes nothing: it applies with quality.judge=llm."
    ]


def test_fields_that_a_stage_reads_are_named_by_part_or_by_what_is_left_out():
    assert field_names(Toy, but=["later", "scale"]) == ("method", "column", "scaled")
    assert field_names(GROUPS["evaluation"], "model") == ("vocabulary", "hidden", "layers", "heads", "context")
    with pytest.raises(KeyError, match="has no field no_such"):
        field_names(Toy, but=["no_such"])


def test_changes_and_run_configs_are_inverses():
    for name in profiles():
        assert of_run_config(run_config(read_profile(name))) == read_profile(name)
    assert merge({"budget": {"tau": 1.0, "alpha": 3.0}}, {"budget": {"tau": 0.0}}) == {
        "budget": {"tau": 0.0, "alpha": 3.0}
    }


def test_changed_settings_validate_what_changes_and_leave_the_rest_as_it_is():
    now = {group: schema() for group, schema in GROUPS.items()}
    then = changed(now, {"budget": {"tau": "1"}})
    assert then["budget"].tau == 1 and all(then[group] is now[group] for group in GROUPS if group != "budget")
    with pytest.raises(UsageMistake, match="no settings group 'bugdet'. Did you mean 'budget'"):
        changed(now, {"bugdet": {"tau": 1}})


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("objective", "heldout", "must be held_out, benchmarks, target, or domain:NAME"),
        ("objective", "domain:", "must be held_out, benchmarks, target, or domain:NAME"),
        ("domains", "topics", "Choose one of: clusters, families, column"),
        ("method", "regmx", "Did you mean 'regmix'"),
        ("strengths", [5.0, 0.1], "two numbers above 0, the first not above the second"),
        ("strengths", [0.1], "two numbers above 0"),
        ("max_ratio", 1.0, "greater than 1"),
    ],
)
def test_a_wrong_setting_of_the_mixing_is_refused_with_what_is_allowed(field, value, said):
    with pytest.raises(UsageMistake, match=f"settings/mixing.{field} cannot be") as refused:
        validate("mixing", {field: value})
    assert said in str(refused.value)


def test_an_objective_is_a_set_of_texts_or_one_domain():
    for objective in ("held_out", "benchmarks", "target", "domain:python", "domain:a: b"):
        assert validate("mixing", {"objective": objective}).objective == objective


def test_the_three_groups_that_train_small_models_say_the_same_of_each_field():
    groups = [GROUPS[name] for name in ("mixing", "evaluation", "attribution")]
    shared = set(field_names(groups[0], "model", "training")) - {"tokens"}
    assert len(shared) == 9
    for name in shared:
        fields = [group.model_fields[name] for group in groups]
        assert len({field.description for field in fields}) == 1 and len({str(field.metadata) for field in fields}) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("target_sets", ["mine"]),
        ("target_sets", ["held_out=x"]),
        ("target_sets", ["a=x", "a=y"]),
        ("target_weights", ["a=-1"]),
        ("target_weights", ["a=nan"]),
        ("gammas", [0.1]),
        ("trial_tokens", [100, 100]),
    ],
)
def test_a_list_of_attribution_that_means_nothing_is_refused(field, value):
    with pytest.raises(UsageMistake, match=f"settings/attribution.{field}"):
        validate("attribution", {field: value})


def test_the_sources_of_attribution_are_the_one_that_is_set_or_all_candidates():
    assert validate("attribution", {}).sources == ("unigram",)
    assert validate("attribution", {"source": "auto"}).sources == (
        "unigram",
        "cross_entropy",
        "embedding",
        "head",
        "full",
    )
    assert validate("attribution", {"source": "auto"}).needs_a_model and not validate("attribution", {}).needs_a_model
    assert validate("attribution", {"target_sets": ["a= x=y "]}).paths == {"a": "x=y"}
