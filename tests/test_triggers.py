"""What starts a run by itself, what goes back, and what a materialization says has changed."""

import shutil

import dagster as dg
import pytest
from dagster._core.errors import DagsterConfigMappingFunctionError, DagsterInvalidConfigError

from grip_assets.definitions import defs
from grip_assets.orchestration import event_log
from grip_assets.orchestration.triggers import newest_checkpoint
from grip_assets.settings import flat
from grip_assets.stages import STAGES

pytestmark = pytest.mark.run


def look(lab, sensor: str, cursor: str | None = None):
    """One evaluation: what it asks for, why not, and its cursor."""
    resources = {"data": defs.resources["data"]}
    with dg.build_sensor_context(lab.instance, cursor=cursor, definitions=defs, resources=resources) as context:
        return defs.get_sensor_def(sensor).evaluate_tick(context)


def launch(lab, job: str, config: dict):
    return defs.resolve_job_def(job).execute_in_process(config, lab.instance)


def computed(lab, run_id: str) -> set[str]:
    return set(filter(None, lab.instance.get_run_by_id(run_id).tags.get(event_log.COMPUTED, "").split("; ")))


def metadata(lab, asset: str) -> dict:
    event = lab.instance.get_latest_materialization_event(dg.AssetKey(asset))
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def test_new_documents_are_asked_for_once_and_only_when_the_copy_has_ended(lab, pool, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(pool, mine)
    lab.make("corpus", corpus={"path": str(mine)})
    assert look(lab, "new_documents").skip_message == "The pool has not changed."
    (mine / "new.py").write_text("def half(")
    first = look(lab, "new_documents")
    assert not first.run_requests and "stayed so" in first.skip_message
    (mine / "new.py").write_text("def whole(x):\n    return x\n")
    second = look(lab, "new_documents", first.cursor)
    assert not second.run_requests, "it has changed since the last look"
    (request,) = look(lab, "new_documents", second.cursor).run_requests
    again = look(lab, "new_documents", second.cursor).run_requests
    assert [r.run_key for r in again] == [request.run_key], "the daemon launches a key once"
    run = launch(lab, request.job_name or "curate", request.run_config)
    assert metadata(lab, "embeddings")["documents_embedded_now"] == 1
    assert run.success and look(lab, "new_documents", second.cursor).skip_message == "The pool has not changed."
    (mine / "new.py").unlink()
    back = look(lab, "new_documents", second.cursor)
    assert back.cursor != second.cursor, "the same listing as before the file came is news again"


def test_a_new_checkpoint_becomes_the_proxy_and_the_round_advances(lab, models, tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    assert "is not set" in look(lab, "new_checkpoint").skip_message
    lab.change("adaptation", checkpoints=str(folder))
    assert "no checkpoint" in look(lab, "new_checkpoint").skip_message
    lab.change("budget", replay="none")
    assert "budget.replay is none" in look(lab, "new_checkpoint").skip_message
    lab.change("budget", replay="loss")
    for step in (1000, 20000):
        shutil.copytree(models / "proxy", folder / f"checkpoint-{step}")
    (folder / "checkpoint-30000").mkdir()
    (folder / "checkpoint-30000" / "config.json").write_text("{}")
    assert newest_checkpoint(folder).name == "checkpoint-20000", "by number, and 30000 is not whole"
    first = look(lab, "new_checkpoint")
    (request,) = look(lab, "new_checkpoint", first.cursor).run_requests
    before = metadata(lab, "adaptation_deltas")
    result = launch(lab, "change_adaptation", request.run_config)
    assert result.success and event_log.settings_in_force(lab.instance)["adaptation"].proxy.endswith("checkpoint-20000")
    assert computed(lab, result.run_id) >= {"adaptation_deltas", "budgets"}
    assert not computed(lab, result.run_id) & {"corpus", "embeddings", "clusters", "probe_set", "quality_scores"}
    assert metadata(lab, "adaptation_deltas")["path"] != before["path"]
    assert "is the proxy already" in look(lab, "new_checkpoint", first.cursor).skip_message


def test_a_sensor_waits_while_a_run_is_going_on(lab, pool, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(pool, mine)
    lab.make("corpus", corpus={"path": str(mine)})
    (mine / "new.py").write_text("x = 1\n")
    first = look(lab, "new_documents")
    dg.DagsterInstance.create_run_for_job(
        lab.instance, defs.resolve_job_def("curate"), status=dg.DagsterRunStatus.STARTED
    )
    assert "a run is going on" in look(lab, "new_documents", first.cursor).skip_message


def test_rollback_makes_the_settings_of_an_earlier_subset_those_in_force_and_computes_nothing(lab):
    first = event_log.versions_in_force(lab.instance, STAGES)["subset"]
    before = flat(event_log.settings_in_force(lab.instance))
    lab.make("budgets", "subset", selection={"beta": 0.9}, budget={"tau": 0.7, "total": 0.4})
    result = launch(lab, "rollback", {"subset": first[:8]})
    assert result.success and not computed(lab, result.run_id)
    assert event_log.versions_in_force(lab.instance, STAGES)["subset"] == first
    assert flat(event_log.settings_in_force(lab.instance)) == before
    with pytest.raises(DagsterConfigMappingFunctionError) as refused:
        launch(lab, "rollback", {"subset": "ffff"})
    assert "There is no subset 'ffff'. The latest: " in str(refused.value.__cause__)


@pytest.mark.parametrize("value", [9, -0.1])
def test_a_value_out_of_range_is_refused_before_there_is_a_run(lab, value):
    runs = lab.instance.get_runs_count()
    with pytest.raises(DagsterInvalidConfigError, match=r"settings/selection.beta cannot be"):
        launch(lab, "change_selection", {"beta": value})
    assert lab.instance.get_runs_count() == runs


def test_a_materialization_says_which_knob_changed_and_what_came_of_it(lab):
    lab.curate(selection={"beta": 0.9})
    said = metadata(lab, "subset")
    assert said["changed"] == "- selection.beta: 0.3 → 0.9"
    assert said["documents_entered"] > 0 and said["documents_left"] > 0
    subset = lab.sql("SELECT count(*) AS n FROM subset")["n"][0]
    assert said["documents_kept"] + said["documents_entered"] == subset
    assert metadata(lab, "budgets")["changed"] == "- made for the first time", "it has not changed since"
    tags = lab.instance.get_runs(limit=1)[0].tags
    assert tags[event_log.CHANGED] == "selection.beta: 0.3 → 0.9"
    assert "subset" in tags[event_log.COMPUTED] and "embeddings" in tags[event_log.REUSED]
    lab.make("budgets", budget={"alpha": 0.5})
    said = metadata(lab, "budgets")
    assert 0 < said["budget_moved"] < 1 and "share_before" in said["budget_moves"]
    measured = ("sigma_k", "probe_set", "quality_scores", "adaptation_deltas")
    lab.make("partition", "clusters", *measured, "budgets", clustering={"k": 5})
    assert metadata(lab, "budgets")["changed"] == "- clustering.k: 6 → 5"
    assert "cannot be compared" in metadata(lab, "budgets")["budget_moves"]


def test_a_failed_stage_says_what_to_do_and_a_retry_resumes(lab):
    config = {"total": 10.0**9}
    before = event_log.settings_in_force(lab.instance)
    result = defs.resolve_job_def("change_budget").execute_in_process(config, lab.instance, raise_on_error=False)
    (failed,) = [e for e in result.all_events if e.is_step_failure]
    said = failed.step_failure_data.user_failure_data
    assert "settings/budget.total" in said.description and "with other values" in said.metadata["next"].value
    assert event_log.settings_in_force(lab.instance) == before
    assert launch(lab, "change_budget", {"total": 0.5}).success


def test_a_number_that_yaml_takes_for_text_is_a_number(lab):
    changes = lab.operations.read_assignments(["selection.beta=9e-1"])
    assert changes == {"selection": {"beta": 0.9}}
    assert "subset" in lab.make("subset", **changes)
    assert event_log.settings_in_force(lab.instance)["selection"].beta == 0.9


def test_schedules_follow_the_environment(monkeypatch):
    from grip_assets.definitions import curate
    from grip_assets.orchestration.triggers import schedules

    monkeypatch.setenv("GRIP_NIGHTLY", "30 1 * * *")
    monkeypatch.setenv("GRIP_NIGHTLY_PROFILE", "paper")
    monkeypatch.setenv("GRIP_TIMEZONE", "Europe/Berlin")
    nightly, weekly = schedules(curate)
    assert nightly.cron_schedule == "30 1 * * *" and nightly.execution_timezone == "Europe/Berlin"
    assert weekly.cron_schedule == "0 4 * * 0"
    tick = nightly.evaluate_tick(dg.build_schedule_context())
    assert tick.run_requests[0].run_config["ops"]["settings__adaptation"]["config"]["evaluate"] == "train"
    assert nightly.default_status == dg.DefaultScheduleStatus.STOPPED
