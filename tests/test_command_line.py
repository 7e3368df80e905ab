"""What a command understands, what it says where it does not, and what is in force afterwards. In this process."""

import json
import logging
import os
import re
import shutil
from pathlib import Path

import dagster as dg
import pytest
import typer.main
from conftest import AFTER_BUDGET

from grip_assets.cli import app, run
from grip_assets.definitions import defs
from grip_assets.errors import GripError, UsageMistake
from grip_assets.orchestration import event_log, past, settings_rows
from grip_assets.orchestration.artifact_changes import history, settings_of_subset
from grip_assets.orchestration.home import home_folder
from grip_assets.report.compare import compare
from grip_assets.settings import Corpus, flat, pool_fields, validate
from grip_assets.settings.assignments import complete, read_assignments
from grip_assets.stages import STAGES
from grip_assets.store.artifacts import ArtifactStore

COMMANDS = typer.main.get_command(app).commands


def arguments(command, kind="argument"):
    return [p for p in command.params if p.param_type_name == kind]


def mistakes():
    """Of every command: an unknown flag, a word too many, a missing argument, a number that is none, an option alone."""
    for name, command in COMMANDS.items():
        required = ["x" for p in arguments(command) if p.required]
        yield [name, *required, "--no-such-flag"]
        if required:
            yield [name, *required[1:]]
        if all(p.nargs == 1 for p in arguments(command)):
            yield [name, *["x"] * (len(arguments(command)) + 1)]
        for option in arguments(command, "option"):
            if not option.is_flag:
                yield [name, *required, option.opts[0]]
            if option.type_descriptor.annotation is int:
                yield [name, *required, option.opts[0], "abc"]
    yield from (["frobnicate"], ["--frobnicate"], ["export", "x", "--shuffle", "abc"])


@pytest.mark.parametrize("words", mistakes(), ids=" ".join)
def test_a_usage_mistake_is_one_line_on_standard_error_and_exit_code_2(words, capsys):
    assert run(words) == 2
    said = capsys.readouterr()
    assert said.out == "" and re.fullmatch(r"grip: [^\n]+\. See: grip( \w+)? --help\n", said.err), said


@pytest.mark.parametrize(
    "words, message",
    [
        (["curate", "--corpus", "a", "--corpus", "b"], "--corpus is given 2 times (a, b). Give it once."),
        (["plan", "--corpus", "a", "--set", "corpus.path=b"], "--corpus and --set corpus.path name a pool each"),
        (["plan", "--profile", "paper", "--profile", "robust"], "--profile is given 2 times"),
        (["plan", "--profile", "quick"], "no profile 'quick'. Did you mean 'quickstart'?"),
        (["plan", "--set", "beta=0.6"], "Did you mean selection.beta=0.6?"),
        (["plan", "--set", "budget.beta=0.6"], "has no field 'beta'. Did you mean 'selection.beta'?"),
        (["plan", "--set", "budget.tau"], "not of the form group.field=value"),
        (["plan", "--set", "budget.tau=1", "--set", "budget.tau=2"], "budget.tau is given twice"),
        (["plan", "--set", "budget.total=1"], "write 100% or 1.0 for the whole pool"),
        (["plan", "--set", "budget.total=.inf"], "settings/budget.total cannot be '.inf'"),
        (["plan", "--set", "budget.total=inf"], "Input should be a finite number"),
        (["plan", "--set", "budget.total=120%"], "a share is at most 100%"),
        (["plan", "--set", "corpus.max_documents=10%"], "a share is not possible here"),
        (["settings", "bta"], "no setting and no group 'bta'. Did you mean 'beta'?"),
        (["bench", "chian"], "There is no bench 'chian'. Did you mean 'chain'?"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_a_setting_that_cannot_be_meant_is_one_line_and_exit_code_2(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("GRIP_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    assert run(words) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1, said
    assert "DAGSTER_HOME" not in os.environ, "a command leaves the environment as it is"


def test_grip_alone_is_its_help_and_version_is_one_line(capsys):
    assert run([]) == 0 and "Commands" in capsys.readouterr().out
    assert run(["--version"]) == 0 and re.fullmatch(r"grip \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_every_command_has_an_example_and_a_help_that_needs_no_source_code(capsys):
    for name, command in COMMANDS.items():
        assert command.epilog.startswith(f"Example: grip {name}"), name
        assert run([name, "--help"]) == 0
    assert run(["curate", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert (
        "quickstart, random, random_short, robust" in said
        and "stays in force until" in said
        and "several times" in said
    )


def test_what_nobody_foresaw_is_a_sentence_and_a_traceback_where_it_is_asked_for(capsys, monkeypatch):
    def broken():
        raise RuntimeError("the disk is made of cheese\nand more")

    monkeypatch.setattr("grip_assets.operations.open_instance", broken)
    assert run(["status"]) == 1
    said = capsys.readouterr().err
    assert said == "grip: RuntimeError: the disk is made of cheese. GRIP_DEBUG=1 prints where it came from.\n"
    monkeypatch.setenv("GRIP_DEBUG", "1")
    assert run(["status"]) == 1
    assert "Traceback" in (said := capsys.readouterr().err) and "in broken" in said


@pytest.mark.parametrize(
    "typed, value",
    [
        ("budget.total=500M", 5e8),
        ("budget.total=2B", 2e9),
        ("budget.total=1.5T", 1.5e12),
        ("budget.total=10%", 0.1),
        ("budget.total=100%", 1.0),
        ("budget.total=1.0", 1.0),
        ("budget.total=200,000", 200_000),
        ("probe.fraction=2%", 0.02),
        ("evaluation.tokens=2M", 2_000_000),
        ("corpus.max_documents=20k", 20_000),
        ("corpus.max_documents=null", None),
        ("corpus.max_bytes=10MB", 10_000_000),
        ("corpus.max_bytes=500B", 500),
        ("adaptation.learning_rate=1e-3", 0.001),
        ("budget.use_sigma=no", False),
        ("corpus.text_field=@value", "@value"),
        ("corpus.text_field=yes", "yes"),
        ("corpus.title=2026-11-26", "2026-11-26"),
        ("corpus.title=#1", "#1"),
        ("corpus.title=[text", "[text"),
        ("corpus.title=*star", "*star"),
        ("corpus.title=%text", "%text"),
        ("corpus.title=10%", "10%"),
        ("corpus.title=a: b", "a: b"),
        ('corpus.title="null"', "null"),
        ("corpus.id_field=null", None),
        ("quality.model=1e5", "1e5"),
        ("selection.bandwidth=0.5", "0.5"),
        ("quality.dimensions=[architecture]", ["architecture"]),
        ("quality.dimensions=architecture, technical_depth", ["architecture", "technical_depth"]),
        ("corpus.benchmarks=[]", []),
    ],
)
def test_a_value_is_read_as_its_field_means_it(typed, value):
    ((group, fields),) = read_assignments([typed]).items()
    ((name, given),) = fields.items()
    found = validate(group, {name: given}).model_dump(mode="json")[name]
    assert found == value and type(found) in (type(value), float if isinstance(value, int) else type(value))


def test_the_whole_pool_is_a_budget():
    from grip_assets.method.budget.allocation import resolve_total

    assert [resolve_total(total, 1000) for total in (1.0, 0.999, 2, 0.1)] == [1000, 999, 2, 100]


def test_the_shell_completes_settings_choices_and_profiles(monkeypatch, capsys):
    assert "selection.beta=" in complete("selection.b") and complete("budget.overflow=r") == ["budget.overflow=repeat"]
    assert complete("budget.use_sigma=") == ["budget.use_sigma=true", "budget.use_sigma=false"]
    for words, expected in (("grip plan --set budget.max_r", "budget.max_repeats="), ("grip plan --profile quicks", "quickstart")):  # fmt: skip
        monkeypatch.setenv("_GRIP_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", "3")
        assert run([]) == 0
        assert capsys.readouterr().out.split() == [expected]


# Homes and data folders


def test_a_data_folder_alone_has_its_home_inside(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GRIP_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    assert home_folder() == tmp_path / "data" / ".dagster"
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    assert home_folder() == tmp_path / "home"
    assert run(["status"]) == 1
    said = capsys.readouterr()
    assert said.out == "" and f"There is no data folder {tmp_path / 'data'}" in said.err


@pytest.mark.run
def test_a_home_and_a_data_folder_that_are_strangers_are_refused(lab, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "another"))
    for command in ("status", "plan", "curate", "history", "settings"):
        assert run([command]) == 1
        said = capsys.readouterr()
        assert "belongs to DAGSTER_HOME" in said.err and said.out == "" and "Set DAGSTER_HOME=" in said.err
    monkeypatch.setenv("DAGSTER_HOME", str(lab.home / "dagster"))
    assert run(["settings"]) == 0


# What is in force


def settings_of(lab) -> dict:
    return flat(event_log.settings_in_force(lab.instance))


REFUSED = {
    "adaptation": {"form": "steps", "reset_depth": 9}
}  # the tiny proxy has 4 blocks, and only the stage knows it


@pytest.mark.run
def test_settings_that_a_run_refuses_are_not_left_in_force(lab):
    before = settings_of(lab)
    with pytest.raises(GripError) as refused:
        lab.curate(**REFUSED, selection={"beta": 0.9})
    reason, then = str(refused.value).splitlines()
    assert reason.startswith("adaptation_deltas: settings/adaptation.reset_depth is 9; the proxy has 4 blocks")
    assert "Nothing of this stays in force" in then and "adaptation.reset_depth: 0 → 9" in then
    assert settings_of(lab) == before
    assert lab.sql("SELECT value FROM settings WHERE name = 'beta'")["value"][0] == "0.3", "nor in the catalog"
    (turn, *_) = past.turns(lab.instance, ["adaptation"])
    refused_run = lab.instance.get_runs(limit=1)[0]
    assert turn.takes_back == refused_run.run_id and "reset_depth" in refused_run.tags[past.REFUSED]
    assert lab.curate() == set(), "the next run does not fail with them, and has nothing to do"


@pytest.mark.run
def test_a_setting_that_does_not_apply_is_warned_of_and_computes_nothing(lab, capsys):
    assert run(["plan", "--set", "adaptation.reset_depth=2", "--set", "quality.windows=2"]) == 0
    said = capsys.readouterr()
    assert said.err.splitlines() == [
        "grip: warning: adaptation.reset_depth changes nothing: it applies with adaptation.form=steps.",
        "grip: warning: quality.windows changes nothing: it applies with quality.judge=llm.",
    ]
    assert re.search(r"\b0 of \d+ assets to compute", said.out)
    assert run(["plan", "--set", "adaptation.form=steps", "--set", "adaptation.reset_depth=2"]) == 0
    said = capsys.readouterr()
    assert said.err == "" and "adaptation.reset_depth: 0 → 2" in said.out


@pytest.mark.run
def test_a_run_of_the_ui_that_is_refused_goes_back_too(lab, tmp_path):
    before = settings_of(lab)
    job = defs.resolve_job_def("change_adaptation")
    result = job.execute_in_process(REFUSED["adaptation"], lab.instance, raise_on_error=False)
    assert not result.success and settings_of(lab) == before
    latest = lab.instance.get_latest_materialization_event(event_log.settings_key("adaptation")).asset_materialization
    assert latest.metadata["went_back"].value.startswith(f"refused by run {result.run_id}: settings/adaptation")
    asked = dg.evaluate_automation_conditions(defs, lab.instance)
    assert not [r for r in asked.results if r.true_subset.size], "and automation has nothing to do"


@pytest.fixture
def loose_cable():
    """The stage budgets fails with what no setting is to blame for."""
    real = STAGES["budgets"].compute

    def loose(work):
        raise OSError("the cable is loose")

    object.__setattr__(STAGES["budgets"], "compute", loose)
    yield
    object.__setattr__(STAGES["budgets"], "compute", real)


@pytest.mark.run
def test_after_a_crash_settings_stay_the_message_says_which_and_undo_goes_back(lab, loose_cable, capsys):
    assert run(["curate", "--set", "budget.tau=0.7", "--set", "selection.beta=0.9"]) == 1
    said = capsys.readouterr().err
    assert "Dependencies for step" not in said and "Traceback" not in said
    reason, log, stays = said.strip().splitlines()[-3:]
    assert reason == "grip: budgets failed: OSError: the cable is loose"
    assert "has the log" in log and said.count("the cable") == 1
    assert "budget.tau: 0.5 → 0.7; selection.beta: 0.3 → 0.9 in force" in stays and "`grip settings --undo`" in stays
    assert settings_of(lab)["budget.tau"] == 0.7
    assert run(["settings", "--undo"]) == 0
    assert "taken back: the change budget.tau: 0.5 → 0.7" in capsys.readouterr().out
    assert (settings_of(lab)["budget.tau"], settings_of(lab)["selection.beta"]) == (0.5, 0.3)


def test_undo_takes_back_one_change_after_the_other_and_then_says_that_none_is_left(tmp_path, monkeypatch):
    from conftest import Lab

    lab = Lab(tmp_path, monkeypatch)
    lab.change("budget", tau=0.6)
    lab.change("budget", tau=0.7)
    lab.change("selection", beta=0.9)
    assert [past.described(past.undo(lab.instance)) for _ in range(3)] == [
        ["selection.beta: 0.3 → 0.9"],
        ["budget.tau: 0.6 → 0.7"],
        ["budget.tau: 0.5 → 0.6"],
    ]
    assert settings_of(lab)["budget.tau"] == 0.5
    with pytest.raises(GripError, match="No change of a setting is left"):
        past.undo(lab.instance)
    lab.change("budget", tau=0.8)
    assert past.described(past.undo(lab.instance)) == ["budget.tau: 0.5 → 0.8"]


def test_what_somebody_has_changed_since_does_not_go_back(tmp_path, monkeypatch):
    from conftest import Lab

    lab = Lab(tmp_path, monkeypatch)
    lab.change("budget", tau=0.6)
    first = lab.instance.get_runs(limit=1)[0].run_id
    lab.change("budget", tau=0.7)
    assert past.go_back(lab.instance, first, "late") == []
    assert settings_of(lab)["budget.tau"] == 0.7


def test_settings_that_describe_a_pool_go_with_the_pool(tmp_path, monkeypatch):
    from conftest import Lab

    lab = Lab(tmp_path, monkeypatch)
    after = lambda **changes: flat(lab.operations.settings_after(lab.instance, {"corpus": changes}))  # noqa: E731
    assert {"text_field", "id_field", "project_field", "title", "format"} <= set(pool_fields())
    assert not {"path", "tokenizer", "held_out", "benchmarks", "max_bytes"} & set(pool_fields())
    mine = {"path": "/pages.parquet", "text_field": "body", "id_field": "url", "title": "My pages"}
    lab.change("corpus", **mine)
    other = after(path="/code")
    assert all(other[f"corpus.{name}"] == getattr(Corpus(), name) for name in pool_fields())
    assert after(path="/code", text_field="code")["corpus.text_field"] == "code", "given in the same command"
    assert after(path="/pages.parquet")["corpus.title"] == "My pages" == after(max_bytes=5)["corpus.title"]
    lab.change("corpus", path="/code", title="Code")  # as in the Launchpad: the asset does the same
    assert settings_of(lab)["corpus.text_field"] is None and settings_of(lab)["corpus.title"] == "Code"
    assert {name: after(path="/pages.parquet")[f"corpus.{name}"] for name in mine} == mine
    lab.change("corpus", path="/pages.parquet", text_field="wrong")
    past.go_back(lab.instance, lab.instance.get_runs(limit=1)[0].run_id, "refused")
    assert settings_of(lab)["corpus.path"] == "/code"
    assert after(path="/pages.parquet")["corpus.text_field"] == "body", "what was refused is not remembered"


@pytest.mark.run
def test_history_is_what_was_in_force_and_a_removed_subset_can_come_back(lab, capsys):
    store = ArtifactStore(lab.data)
    first = event_log.versions_in_force(lab.instance, STAGES)["subset"]
    lab.make("subset", selection={"beta": 0.6})
    second = event_log.versions_in_force(lab.instance, STAGES)["subset"]
    lab.make("subset", **settings_of_subset(store, first))
    rows = history(lab.instance, store, STAGES)
    assert [(r["changed"], r["rollback"], r["in_force"]) for r in rows] == [
        (["selection.beta: 0.6 → 0.3"], True, True),
        (["selection.beta: 0.3 → 0.6"], False, False),
        ([], False, False),
    ]
    assert [r["version"] for r in rows] == [first, second, first]
    runs = {r.run_id for r in lab.instance.get_runs()}
    assert all(r["run_id"] in runs and r["documents"] and r["tokens"] and r["there"] for r in rows)

    shutil.rmtree(lab.data / "subset" / second)
    assert [r["changed"] for r in history(lab.instance, store, STAGES)] == [r["changed"] for r in rows]
    with pytest.raises(GripError, match=f"{second} was removed.*grip rollback {second}"):
        compare(lab.data, first, second)
    capsys.readouterr()
    assert run(["rollback", second[:8], "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["subset"] == second and "subset" in made["computed"] and "clusters" in made["reused"]
    assert settings_of(lab)["selection.beta"] == 0.6
    assert run(["history"]) == 0
    (newest,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("*")]
    assert second in newest and "back to an earlier one; selection.beta: 0.3 → 0.6" in newest


@pytest.mark.run
def test_an_artifact_in_force_that_was_removed_is_said_and_made_again(lab):
    version = event_log.versions_in_force(lab.instance, STAGES)["clusters"]
    shutil.rmtree(lab.data / "clusters" / version)
    (because,) = [s.because for s in lab.operations.status(lab.instance) if s.asset == "clusters"]
    assert because == [f"{lab.data / 'clusters' / version} is not there"]
    why = {s.asset: (s.action, s.why) for s in lab.operations.plan(lab.instance, {})}
    assert why["clusters"] == ("compute", "its folder was removed") and why["subset"][0] == "reuse"
    job = defs.resolve_job_def("change_selection")
    result = job.execute_in_process({"beta": 0.9}, lab.instance, raise_on_error=False)
    said = next(e for e in result.all_events if e.is_step_failure).step_failure_data.user_failure_data.description
    assert "subset cannot be made" in said and "was removed" in said and "grip curate" in said
    assert settings_of(lab)["selection.beta"] == 0.9, "no setting was the reason, so it stays"
    assert {"clusters", "subset"} <= lab.curate()


@pytest.mark.run
def test_clusters_and_budget_are_held_against_the_pool_before_a_run(lab):
    runs = lab.instance.get_runs_count()
    for changes, message in (
        ({"clustering": {"k": 100_000}}, "clustering.k is 100000"),
        ({"budget": {"total": 5e9}}, "budget.total asks for 5,000,000,000"),
    ):
        with pytest.raises(GripError, match=message):
            lab.operations.plan(lab.instance, changes)
        with pytest.raises(GripError, match=message):
            lab.curate(**changes)
    assert lab.instance.get_runs_count() == runs


@pytest.mark.run
def test_a_budget_that_fits_no_document_is_a_sentence_and_does_not_stay(lab):
    with pytest.raises(GripError, match="No document fits the budget of 2 tokens"):
        lab.curate(budget={"total": 2})
    assert settings_of(lab)["budget.total"] == 0.25


@pytest.mark.run
def test_status_settings_and_next_steps_speak_of_settings(lab, capsys):
    lab.change("budget", tau=0.7)
    assert {s.asset: s.because for s in lab.operations.status(lab.instance)}["budgets"] == ["budget.tau: 0.5 → 0.7"]
    rows = {row["name"]: row for row in settings_rows.rows(lab.instance, ["budget", "selection.beta"], "paper")}
    turned = rows["budget.tau"]
    assert (turned["value"], turned["default"], turned["profile"]) == (0.7, 0.5, "paper")
    assert "budgets" in turned["read_by"] and lab.instance.has_run(turned["changed_by"]) and turned["changed_at"]
    assert rows["selection.beta"]["changed_at"] is None and set(rows["selection.beta"]["read_by"]) >= {"subset"}
    changed = {row["name"] for row in settings_rows.rows(lab.instance, changed=True)}
    assert {"budget.tau", "clustering.k"} <= changed and "selection.beta" not in changed
    assert run(["settings", "tau"]) == 0
    assert "Exponent of a cluster's size" in capsys.readouterr().out
    with pytest.raises(UsageMistake):
        settings_rows.rows(lab.instance, ["nothing.here"])


@pytest.mark.run
def test_suggested_commands_work_as_they_are_typed_and_never_name_the_value_in_force(lab, capsys):
    from shlex import split

    from grip_assets.report.terminal.next_steps import next_steps

    lab.change("selection", beta=0.6)
    commands = [line.split("  ")[0] for line in next_steps(lab.data)]
    assert "grip plan --set selection.beta=0.3" in commands
    for command in commands:
        program, *words = split(command)
        if words == ["report"]:  # it serves until it is stopped; where the page is, it says with --path
            words.append("--path")
        assert program == "grip" and run(words) == 0, command
    assert "is IN the subset" in capsys.readouterr().out


@pytest.mark.run
def test_what_a_program_reads_is_json(lab, capsys):
    source = lab.sql("SELECT source FROM corpus LIMIT 1")["source"][0]
    first = event_log.versions_in_force(lab.instance, STAGES)["subset"]
    for words in (
        ["plan"], ["history"], ["compare", first, first], ["explain", source], ["settings"], ["status"],
        ["curate", "--profile", "diversity"],
    ):  # fmt: skip
        capsys.readouterr()
        assert run([*words, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found, words
    assert set(found["computed"]) >= {"subset"} and found["totals"]["documents_selected"] > 0
    assert past.last_tagged(lab.instance, past.PROFILE) == "diversity"
    assert set(found["computed"]) - {"budgets"} <= AFTER_BUDGET


def test_where_dagster_says_that_a_step_is_not_run_it_begins_so():
    from dagster._core.execution.plan import active

    from grip_assets.orchestration.console import NOT_RUN

    assert f'"{NOT_RUN} {{step}}' in Path(active.__file__).read_text()


def test_the_log_on_the_terminal_has_the_reason_of_a_failure_and_not_the_steps_that_are_not_run():
    from grip_assets.orchestration.console import NOT_RUN, _WithoutEvents

    lines = ("reading pool", f"{NOT_RUN} budgets are not executed", "corpus failed: the disk is full")
    shown = [line for line in lines if _WithoutEvents().filter(logging.makeLogRecord({"msg": line}))]
    assert shown == [lines[0], lines[2]]
