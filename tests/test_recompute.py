"""What a changed hyperparameter touches, read from the event log of real runs."""

import os
import shutil

import dagster as dg
import pytest
from conftest import AFTER_BUDGET

from grip_assets.definitions import defs
from grip_assets.orchestration.event_log import settings_key
from grip_assets.settings import GROUPS, flat
from grip_assets.stages import CURATED, STAGES

pytestmark = pytest.mark.run

CHANGES = {
    "corpus": {"max_bytes": 900},
    "near_duplicates": {"threshold": 0.8},
    "embedding": {"window": 32},
    "clustering": {"k": 5},
    "taxonomy": {"near_copy": 0.8},
    "probe": {"fraction": 0.5},
    "quality": {"shrinkage": 2.0},
    "adaptation": {"learning_rate": 1e-3},
    "budget": {"tau": 0.7},
    "selection": {"beta": 0.9},
    "reports": {"stability_seeds": 1},
}
SAME_RESULT = {
    "corpus": {"title": "Another name"},
    "embedding": {"batch_windows": 4},
    "adaptation": {"micro_batch": 64},
    "student": {"per_cluster": 7},  # every document is embedded
}


def descendants(group: str) -> set[str]:
    """The stages of the job `curate` that depend on a settings group."""
    keys = dg.AssetSelection.assets(settings_key(group)).downstream().resolve(defs.resolve_asset_graph())
    return {key.to_user_string() for key in keys} & set(CURATED)


def touched(group: str, change: dict) -> set[str]:
    """The stages that read a field that is changed, and those after them. Some read only other fields of the group."""
    found: set[str] = set()
    for name, stage in CURATED.items():
        read = stage.reads.get(group, ())  # None: every field
        if read is None or set(change) & set(read) or found & set(stage.inputs):
            found.add(name)
    return found


def computed_by(lab, run_id: str) -> set[str]:
    """Stages whose materialization in the event log says that it was not reused."""
    events = lab.instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    made = [e.asset_materialization for e in events]
    computed = {m.asset_key.to_user_string() for m in made if "reused" in m.metadata and not m.metadata["reused"].value}
    return computed & set(STAGES)  # the page `report` is no stage: it is written when what it shows has changed


def used(lab) -> set[str]:
    """The stages of the job `curate` that the settings in force use."""
    return {step.asset for step in lab.operations.plan(lab.instance, {}) if step.action != "unused"}


def run(lab, **changes) -> set[str]:
    runs = lab.instance.get_runs_count()
    result = lab.operations.curate(lab.instance, changes)
    if lab.instance.get_runs_count() == runs:  # nothing to do: no run is made that says "reused" fourteen times
        assert not result.computed and {*result.reused, *result.unused} == set(CURATED)
        return set()
    logged = computed_by(lab, result.run_id)
    assert logged == set(result.computed)
    return logged


@pytest.mark.slow  # test_what_a_setting_touches.py holds the plan to the same, field by field
def test_a_setting_recomputes_exactly_its_descendants_and_going_back_costs_nothing(lab):
    assert run(lab) == set(), "nothing changed"
    for group, change in CHANGES.items():
        before = flat(lab.operations.settings_after(lab.instance, {}))
        computed = run(lab, **{group: change})
        # both reports are made again, and found to be the same where no score and no name has changed
        assert (
            touched(group, change) & used(lab) - {"judge_report", "cluster_report"} <= computed <= descendants(group)
        ), group
        back = {name: before[f"{group}.{name}"] for name in change}
        assert run(lab, **{group: back}) == set(), f"back to the old {group}"
    for group, change in SAME_RESULT.items():
        assert run(lab, **{group: change}) == set(), f"{group} {change} changes no result"
    assert set(CHANGES) == set(GROUPS) - {"evaluation", "student", "mixing", "attribution"}  # not learned here


def test_a_touched_file_embeds_one_document_and_the_rest_follows(lab, pool, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(pool, mine)
    run(lab, corpus={"path": str(mine)})
    (mine / "parse" / "parse_03.py").touch()
    assert run(lab) == set(), "same text, another time stamp"
    (mine / "parse" / "parse_03.py").write_text("def changed(x):\n    return x + 1\n")
    assert run(lab) == used(lab)
    record = lab.instance.get_latest_materialization_event(dg.AssetKey("embeddings"))
    assert record.asset_materialization.metadata["documents_embedded_now"].value == 1


def test_the_change_job_runs_the_group_and_its_descendants_only(lab):
    for group in GROUPS:
        job = defs.resolve_job_def(f"change_{group}")
        keys = {key.to_user_string() for key in job.asset_layer.executable_asset_keys}
        read = {n for n, s in STAGES.items() if group in s.groups} if group == "evaluation" else {"report"}
        assert descendants(group) | {f"settings/{group}"} | read <= keys
        assert group == "evaluation" or not keys & (set(STAGES) - set(CURATED))
    result = defs.resolve_job_def("change_budget").execute_in_process({"tau": 0.9}, lab.instance)
    assert computed_by(lab, result.run_id) == AFTER_BUDGET


def test_a_run_changes_only_the_fields_it_names_and_null_is_a_value(lab):
    lab.change("clustering", k=5)
    lab.change("budget", total=0.5)
    lab.change("clustering", k=None)
    settings = flat(lab.operations.settings_after(lab.instance, {}))
    assert settings["clustering.k"] is None
    assert settings["clustering.min_cluster_docs"] == 5
    assert settings["budget.total"] == 0.5


def test_the_plan_says_what_the_run_then_does(lab):
    for changes in ({"selection": {"beta": 0.0}, "probe": {"fraction": 0.5}}, {}):
        planned = {s.asset for s in lab.operations.plan(lab.instance, changes) if s.action == "compute"}
        assert planned == run(lab, **changes)
    back = {"selection": {"beta": 0.3}, "probe": {"fraction": 0.4}}
    assert run(lab, **back, **SAME_RESULT) == set(), "going back costs nothing, and the others change no result"
    why = {s.asset: s.why for s in lab.operations.plan(lab.instance, {"budget": {"tau": 0.9}})}
    assert "budget.tau: 0.5 → 0.9" in why["budgets"]
    assert why["subset"] == "budgets changes"
    assert why["corpus"] == "in force"
    lab.change("budget", tau=0.6)
    (because,) = [s.because for s in lab.operations.status(lab.instance) if s.asset == "budgets"]
    assert because == ["budget.tau: 0.5 → 0.6"]
    why = {s.asset: s.why for s in lab.operations.plan(lab.instance, {})}
    assert why["budgets"] == "budget.tau: 0.5 → 0.6", "changed by somebody else, and not run yet"


@pytest.mark.slow
def test_a_second_data_folder_gives_the_same_bytes(new_lab):
    first, second = new_lab("first"), new_lab("second")
    files = sorted(p.relative_to(first.data) for p in first.data.glob("[!.]*/[!.]*/*/*.parquet"))
    assert {file.parts[2] for file in files} >= {table for name in used(first) for table in CURATED[name].table_names}
    for file in files:
        assert (first.data / file).read_bytes() == (second.data / file).read_bytes(), file


def test_the_number_of_workers_changes_nothing(lab, new_lab, monkeypatch):
    """The laboratory was made with as many as there are processors."""
    monkeypatch.setenv("GRIP_WORKERS", "3" if os.cpu_count() == 1 else "1")
    other = new_lab("other")
    files = list(lab.data.glob("[!.]*/[!.]*/*/*.parquet"))
    assert len(files) > len(CURATED)
    for file in files:
        assert file.read_bytes() == (other.data / file.relative_to(lab.data)).read_bytes(), file


def test_a_cluster_that_cannot_be_probed_is_not_replayed(lab, pool, tmp_path):
    """Documents of one token predict nothing."""
    mine = tmp_path / "mine"
    shutil.copytree(pool, mine)
    for i, letter in enumerate("abcdefghijklmnopqrstuvwxyz"):
        (mine / f"one_{i}.txt").write_text(letter)
    measured = ("sigma_k", "probe_set", "quality_scores", "adaptation_deltas")
    chain = ("corpus", "embeddings", "partition", "clusters", *measured, "budgets")
    lab.make(*chain, corpus={"path": str(mine)}, clustering={"k": 12})
    budgets = lab.sql("SELECT * FROM budgets ORDER BY cluster_id")
    lonely = budgets.filter(budgets["delta"].is_null())
    assert 0 < len(lonely) < len(budgets) and (lonely["replay_multiplier"] == 1).all()
    assert lab.sql("SELECT sum(allocated) = any_value(total) AS exact FROM budgets")["exact"][0]


def test_inputs_from_different_clusterings_are_refused(lab):
    everything = list(defs.assets)
    for key in (settings_key("clustering"), dg.AssetKey("partition"), dg.AssetKey("clusters")):
        config = {"ops": {"settings__clustering": {"config": {"k": 4}}}} if key.path[0] == "settings" else None
        dg.materialize(everything, selection=[key], instance=lab.instance, resources=defs.resources, run_config=config)
    result = dg.materialize(
        everything,
        selection=[dg.AssetKey("subset")],
        instance=lab.instance,
        resources=defs.resources,
        raise_on_error=False,
    )
    assert not result.success
    error = next(e.step_failure_data.error for e in result.all_events if e.is_step_failure)
    assert "another version of clusters" in error.cause.message
