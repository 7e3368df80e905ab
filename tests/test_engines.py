"""Dagster's SQLite files are opened once, as long as an instance lives; the way to connect is private to Dagster."""

import shutil
import sys
from collections import Counter

import dagster as dg
import pytest
from conftest import Lab
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from sqlalchemy import Engine, event, text

from grip_assets.orchestration import engines, event_log


@pytest.fixture
def opened(monkeypatch):
    """How often each file was opened by us, and by which functions of Dagster itself."""
    found = {"ours": Counter(), "dagster": Counter()}

    def count(module, whose):
        create = module.create_engine

        def counted(address, **how):
            found[whose][address if whose == "ours" else sys._getframe(1).f_code.co_name] += 1
            return create(address, **how)

        monkeypatch.setattr(module, "create_engine", counted)

    count(engines, "ours")
    count(sqlite_event_log, "dagster")
    count(sqlite_run_storage, "dagster")
    return found


def test_each_file_is_opened_once_in_all_runs_of_an_instance(tmp_path, monkeypatch, opened):
    lab = Lab(tmp_path, monkeypatch)
    opened["dagster"].clear()  # Dagster has made the files
    for tau in (0.6, 0.7, 0.8):
        lab.change("budget", tau=tau)
    assert event_log.settings_in_force(lab.instance)["budget"].tau == 0.8
    assert set(opened["dagster"]) <= {"has_table"}, "Dagster connects in a way that engines.keep does not know"
    runs = {f"{run.run_id}.db" for run in lab.instance.get_runs()}
    assert {address.rpartition("/")[2] for address in opened["ours"]} == runs | {"runs.db", "index.db"}
    assert set(opened["ours"].values()) == {1}


def test_another_instance_reads_what_was_written_and_a_closed_one_holds_no_file(tmp_path, monkeypatch, opened):
    lab = Lab(tmp_path, monkeypatch)
    lab.change("budget", tau=0.6)
    with dg.DagsterInstance.from_config(str(tmp_path / "dagster")) as plain:
        assert event_log.settings_in_force(plain)["budget"].tau == 0.6
        assert plain.get_runs()[0].is_success
    lab.instance.dispose()
    before = opened["ours"].total()
    assert len(lab.instance.get_runs()) == 1 and opened["ours"].total() == before + 1, "it is opened anew"


def test_a_plan_that_is_stored_already_is_not_read_to_learn_that(tmp_path, monkeypatch):
    lab, read = Lab(tmp_path, monkeypatch), []
    stored = lab.instance.run_storage
    get = stored.get_execution_plan_snapshot
    monkeypatch.setattr(stored, "get_execution_plan_snapshot", lambda name: read.append(name) or get(name))
    for tau in (0.6, 0.7):
        lab.change("budget", tau=tau)
    plans = {run.execution_plan_snapshot_id for run in lab.instance.get_runs()}
    assert len(plans) == 1 and stored.has_execution_plan_snapshot(*plans)
    assert not stored.has_execution_plan_snapshot("another")
    assert len(read) <= 2, "at most the two runs themselves read it"


def test_what_a_file_of_events_has_is_asked_once(tmp_path, monkeypatch):
    lab, asked = Lab(tmp_path, monkeypatch), []
    lab.change("budget", tau=0.6)

    def listen(connection, cursor, statement, *_):
        asked.append(statement)

    event.listen(Engine, "before_cursor_execute", listen)
    try:
        lab.change("budget", tau=0.7)
    finally:
        event.remove(Engine, "before_cursor_execute", listen)
    assert any("INTO asset_keys" in statement for statement in asked)
    again = [s for s in asked if "FROM secondary_indexes" in s or 'table_xinfo("asset_keys")' in s]
    assert not again, "Dagster asks in a way that engines.keep does not know"


def test_no_transaction_waits_for_the_disk_and_a_run_does_when_it_ends(lab, tmp_path):
    """The file alone, without the log beside it, has what the run has done: that is what was written to the disk."""
    lab.operations.curate(lab.instance, {"budget": {"tau": 0.6}})
    with lab.instance.event_log_storage.index_connection() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() in (0, 1), "0: as the other tests are run"
    alone = shutil.copytree(
        tmp_path / "lab" / "dagster", tmp_path / "alone", ignore=shutil.ignore_patterns("*-wal", "*-shm")
    )
    with dg.DagsterInstance.from_config(str(alone)) as plain:
        assert event_log.settings_in_force(plain)["budget"].tau == 0.6
        assert plain.get_runs(limit=1)[0].is_success
