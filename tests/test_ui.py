"""What a person sees in Dagster's UI: events, runs, forms, descriptions, metadata."""

import http.client
import re
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import dagster as dg
import polars as pl
import pytest
import yaml
from conftest import AFTER_BUDGET
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME

from grip_assets import cli
from grip_assets.definitions import defs
from grip_assets.engine.declarations import Column, Table
from grip_assets.errors import GripError
from grip_assets.orchestration import event_log
from grip_assets.orchestration.columns import column_lineage
from grip_assets.orchestration.settings_assets import fields, form_in_force
from grip_assets.report import serve
from grip_assets.settings import GROUPS, validate
from grip_assets.settings import changes as profiles
from grip_assets.stages import CURATED, STAGES
from grip_assets.store.artifacts import REPOSITORY

EVALUATION = {name for name, stage in STAGES.items() if stage.group == "evaluation"}


def events(lab, run_id: str, kind: dg.DagsterEventType) -> set[str]:
    return {e.dagster_event.asset_key.to_user_string() for e in lab.instance.all_logs(run_id, of_type=kind)}


def materialized(lab, run_id: str) -> set[str]:
    return events(lab, run_id, dg.DagsterEventType.ASSET_MATERIALIZATION)


def observed(lab, run_id: str) -> set[str]:
    return events(lab, run_id, dg.DagsterEventType.ASSET_OBSERVATION)


def materialize(lab, *assets: str, tags: dict | None = None) -> dg.ExecuteInProcessResult:
    """What "Materialize" launches of chosen assets: Dagster's implicit job, and nothing that says what is meant."""
    job = defs.get_repository_def().get_job(IMPLICIT_ASSET_JOB_NAME)
    keys = [dg.AssetKey(name.split("/")) for name in assets]
    return job.execute_in_process(instance=lab.instance, asset_selection=keys, tags=tags, raise_on_error=False)


@pytest.mark.run
def test_a_run_observes_what_stays_and_materializes_what_changes_and_is_one_of_the_jobs_of_the_ui(lab):
    everything = {*CURATED, "report", *(f"settings/{group}" for group in GROUPS)}
    before = event_log.versions_in_force(lab.instance, STAGES)
    change = lab.operations.curate(lab.instance, {"budget": {"tau": 0.8}})
    asked = {name for name in CURATED if "budget" in STAGES[name].groups}  # reused, and synced with the new budget
    of_a_new_subset = {"redundancy"}  # unused, and synced with the new subset
    moved = AFTER_BUDGET | asked | of_a_new_subset | {"report", "settings/budget"}
    reused = set(CURATED) - AFTER_BUDGET - set(change.unused)
    assert materialized(lab, change.run_id) == moved and observed(lab, change.run_id) == everything - moved
    assert set(change.computed) == AFTER_BUDGET and set(change.reused) == reused
    back = lab.operations.rollback(lab.instance, before["subset"])
    assert not back.computed and AFTER_BUDGET | {"settings/budget"} <= materialized(lab, back.run_id)
    assert event_log.versions_in_force(lab.instance, STAGES) == before
    assert not [s.asset for s in lab.operations.status(lab.instance) if s.because]

    runs = lab.instance.get_runs(dg.RunsFilter(tags={".dagster/repository": "__repository__@grip_assets"}))
    assert [run.job_name for run in runs] == ["rollback", "curate", "curate"]
    assert {run.remote_job_origin.repository_origin.get_label() for run in runs} == {"__repository__@grip_assets"}
    assert runs[0].run_config == {"subset": before["subset"]}, "re-executed, it goes back to the same subset"


@pytest.mark.run
def test_an_artifact_that_stays_though_its_inputs_moved_is_fresh_again(lab):
    """`adaptation_deltas` does not read `delta`: the artifact stays, and only a materialization makes it synced."""
    lab.change("adaptation", delta="absolute")
    run = materialize(lab, "adaptation_deltas")
    made = lab.instance.get_latest_materialization_event(dg.AssetKey("adaptation_deltas"))
    assert made.run_id == run.run_id and made.asset_materialization.metadata["reused"].value
    unsynced = {s.asset for s in lab.operations.status(lab.instance) if s.because}
    assert "budgets" in unsynced and "adaptation_deltas" not in unsynced


@pytest.mark.run
def test_a_subset_that_stays_the_same_for_days_stays_fresh(lab, monkeypatch):
    now = time.time()
    assert not materialized(lab, materialize(lab, "subset").run_id)
    monkeypatch.setattr("grip_assets.orchestration.stage_assets.time.time", lambda: now + 2 * 86_400)
    run = materialize(lab, "subset", "budgets")
    assert materialized(lab, run.run_id) == {"subset"}, "its freshness policy counts the days from here"


@pytest.mark.run
def test_materialize_all_never_starts_the_evaluation(lab):
    everything = {*STAGES, "report", *(f"settings/{group}" for group in GROUPS)}
    result = materialize(lab, *everything)
    assert result.success and not materialized(lab, result.run_id) & EVALUATION
    assert {
        n for n in EVALUATION if any(e.step_key == n and e.is_step_success for e in result.all_events)
    } == EVALUATION
    logs = [e.user_message for e in lab.instance.all_logs(result.run_id) if "was not asked for" in e.user_message]
    assert len(logs) == len(EVALUATION) and "launch the job `evaluate`" in logs[0]
    assert not {p.name for p in lab.data.iterdir()} & EVALUATION, "nothing was computed"


@pytest.mark.run
def test_materialize_unsynced_never_starts_the_evaluation(lab):
    """After a curation, what is unsynced is the evaluation and nothing else. It would read as a success."""
    result = materialize(lab, *EVALUATION)
    said = [e.step_failure_data.user_failure_data.description for e in result.all_events if e.is_step_failure]
    assert not result.success and "Nothing was computed. The evaluation costs hours" in said[0]
    assert not {p.name for p in lab.data.iterdir()} & EVALUATION


@pytest.mark.run
def test_one_asset_of_the_evaluation_chosen_alone_is_asked_for(lab, models):
    lab.change("evaluation", other_encoder=str(models / "encoder"))  # the default takes a minute
    result = materialize(lab, "probe_variance")
    assert result.success and materialized(lab, result.run_id) == {"probe_variance"}
    again = materialize(lab, "subset", "probe_variance")
    assert again.success and "probe_variance" in observed(lab, again.run_id), "what was made stays in force"
    assert materialize(lab, "subset", "sigma_k", "length_slopes", tags={"grip/evaluate": "yes"}).success
    assert event_log.records(lab.instance, ["length_slopes"])


@pytest.mark.run
def test_the_form_of_a_change_is_flat_and_the_page_of_the_settings_fills_it(lab):
    job = defs.resolve_job_def("change_selection")
    only = [event_log.settings_key("selection")]
    assert job.execute_in_process({"beta": 0.9}, lab.instance, asset_selection=only).success
    assert event_log.settings_in_force(lab.instance)["selection"].beta == 0.9
    event = lab.instance.get_latest_materialization_event(dg.AssetKey(["settings", "selection"]))
    link = event.asset_materialization.metadata["turn a knob"].value
    assert "(/locations/grip_assets/jobs/change_selection/playground/setup?" in link
    form = yaml.safe_load(parse_qs(urlsplit(link[link.index("(") + 1 : -1]).query)["config"][0])
    assert form == event_log.settings_in_force(lab.instance)["selection"].model_dump() and len(link) < 1000, (
        "shown whole"
    )
    corpus = event_log.settings_in_force(lab.instance)["corpus"]
    lines = parse_qs(urlsplit(form_in_force("corpus", corpus)).query)["config"][0].splitlines()
    assert f"path: {corpus.path}" in lines and "# text_field: null" in lines, "another pool has its own columns"


DECISION = re.compile(r"\b[AG]\d{1,2}[a-z]?\b")


def descriptions() -> dict[str, str]:
    """Every description that the UI shows, by what it describes."""
    graph, repository = defs.resolve_asset_graph(), defs.get_repository_def()
    found = {f"asset {key.to_user_string()}": graph.get(key).description for key in graph.get_all_asset_keys()}
    found |= {f"job {job.name}": job.description for job in defs.resolve_all_job_defs() if job.name[0] != "_"}
    found |= {f"sensor {s.name}": s.description for s in repository.sensor_defs}
    found |= {f"schedule {s.name}": s.description for s in repository.schedule_defs}
    found |= {f"check {s.name}.{c.name}": c.description for s in STAGES.values() for c in s.checks}
    return found


def test_every_description_begins_with_a_plain_sentence():
    said = {what: text or "" for what, text in descriptions().items() if not what.startswith("check ")}
    for what, text in said.items():
        first = re.split(r"[.?:;]", text)[0]
        assert re.match(r"[A-Z][a-z]*\b", first) and not re.search("[Α-ω∝=‖∑√]", first), f"{what}: {text}"
    for group in GROUPS:
        for name, field in fields(group).items():
            assert re.match(r"[A-Z][a-z]*\b", field.description), f"{group}.{name}: {field.description}"


def test_no_paragraph_of_a_description_is_shown_as_code():
    """Markdown shows a paragraph that is indented by four spaces, as in a docstring, as one long line of code."""
    indented = [what for what, text in descriptions().items() if re.search(r"\n\s*\n {4}\S", text or "")]
    assert indented == []


def test_every_asset_but_the_page_itself_names_its_page_of_the_docs():
    graph = defs.resolve_asset_graph()
    for key in graph.get_all_asset_keys() - {dg.AssetKey("report")}:
        files = [Path(r.file_path) for r in graph.get(key).metadata["dagster/code_references"].code_references]
        assert files[-1].parent.name == "docs" and all(file.exists() for file in files), key


def test_columns_of_one_name_in_two_tables_of_an_asset_are_one_source():
    """Dagster refuses a source that is named twice."""
    stage = SimpleNamespace(tables=[Table("t", (Column("a", pl.String, "A.", ("p.x", "q.x", "p.y")),))])
    (sources,) = column_lineage(stage, {"p": "one", "q": "one"}).deps_by_column.values()
    assert sorted(source.column_name for source in sources) == ["x", "y"]
    tables = {table: stage.name for stage in STAGES.values() for table in stage.table_names}
    assert all(column_lineage(stage, tables) for stage in STAGES.values())


def test_no_description_cites_a_decision_by_its_number():
    said = descriptions() | {f"{g}.{n}": f.description for g in GROUPS for n, f in fields(g).items()}
    tables = [table for stage in STAGES.values() for table in stage.tables]
    said |= {f"column {t.name}.{c.name}": c.description for t in tables for c in t.columns}
    said |= {f"profile {p.stem}": p.read_text() for p in profiles.PROFILES.glob("*.yaml")}
    said |= {
        page.name: page.read_text()
        for page in (REPOSITORY / "docs").glob("*.md")
        if page.name not in ("reference.md", "decisions.md")
    }
    said["README.md"] = (REPOSITORY / "README.md").read_text()
    assert [(what, found) for what, text in said.items() if (found := DECISION.findall(text or ""))] == []


def test_a_document_in_a_sample_is_no_markup_and_no_link(tmp_path):
    from grip_assets.orchestration.metadata import _short, markdown_table

    hostile = "**b** <img src=x>\n[x](http://evil.example) `q`\u2028 | www.evil.example a@b.example \x1b[0m" + "x" * 100
    row = markdown_table([{"begins": _short(hostile)}]).splitlines()[-1]
    assert re.fullmatch(r"\| (?:[^\\<|*`\[\]!~_@\x1b\u2028]|\\.| @ )* \|", row), row
    assert "://" not in row and "www." not in row and len(row) < 100


@pytest.mark.run
def test_what_the_ui_shows_of_pool_subset_and_report(lab):
    def shown(asset: str) -> dict:
        event = lab.instance.get_latest_materialization_event(dg.AssetKey(asset))
        return {name: value.value for name, value in event.asset_materialization.metadata.items()}

    corpus, subset, report = shown("corpus"), shown("subset"), shown("report")
    assert len(corpus["sample"].splitlines()) == len(subset["sample"].splitlines()) == 2 + 5
    assert f"{subset['tokens_selected']:,} tokens" in report["in short"] and len(report["in short"].splitlines()) == 5
    assert report["open"] == "http://127.0.0.1:3001/"
    assert subset["diversity_of_the_subset"] == float(f"{subset['diversity_of_the_subset']:.4g}")
    selected = set(lab.sql("SELECT c.source FROM subset JOIN corpus c USING (doc_id)")["source"])
    rows = [line.split(" | ")[0][2:].replace("\\", "") for line in subset["sample"].splitlines()[2:]]
    assert set(rows) <= selected


def test_the_report_is_served_alone_and_on_this_machine_only(tmp_path):
    page = tmp_path / "report" / "index.html"
    page.parent.mkdir()
    (tmp_path / "secret").write_text("no")
    running = serve.server(page, 0)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    host, port = running.server_address[:2]
    assert host == "127.0.0.1"

    def get(path: str, name: str = "127.0.0.1") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(host, port)
        connection.request("GET", path, headers={"Host": f"{name}:{port}"})
        answer = connection.getresponse()
        return answer.status, answer.read()

    assert get("/")[0] == 404, "nothing was curated yet"
    page.write_text("<p>ΔL")
    assert get("/") == (200, "<p>ΔL".encode()), "and it is read anew for each request"
    assert {get(path)[0] for path in ("/../secret", "/secret", "//secret", "/report/")} == {404}
    assert get("/", "evil.example")[0] == 403
    with pytest.raises(GripError, match=f"Port {port} cannot be used"):
        serve.server(page, port)
    running.shutdown()


def test_the_command_report_prints_where_the_page_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GRIP_DATA", str(tmp_path))
    assert cli.run(["report", "--path"]) == 1 and "Run `grip curate`" in capsys.readouterr().err
    page = tmp_path / "report" / "index.html"
    page.parent.mkdir()
    page.write_text("")
    assert cli.run(["report", "--path"]) == 0 and capsys.readouterr().out.strip() == str(page)


@pytest.mark.parametrize("group", GROUPS)
def test_the_form_in_force_is_the_settings_in_force(group):
    values = GROUPS[group]()
    if group == "corpus":
        values = validate("corpus", {"path": "/a b/(c) [d] 'e' #f: \u00e9.jsonl", "held_out": 1e-6})
    lines = parse_qs(urlsplit(form_in_force(group, values)).query)["config"][0].splitlines()
    read = yaml.safe_load("\n".join(line.removeprefix("# ") for line in lines[1:]))
    assert read == values.model_dump(mode="json")
    assert "(" not in form_in_force(group, values) and " " not in form_in_force(group, values), "it stands in Markdown"
