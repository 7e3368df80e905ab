"""kill -9 inside each stage, then the same command again: the same tables, nothing stray, no run left open."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import dagster as dg
import duckdb
import pytest
from conftest import Lab, small
from dagster._utils.error import SerializableErrorInfo

from grip_assets import operations
from grip_assets.cli import run
from grip_assets.orchestration import event_log
from grip_assets.stages import CURATED, STAGES
from grip_assets.store import catalog

pytestmark = pytest.mark.run

# Runs the chain in a process of its own, which kills itself in the middle of one stage: with its draft written and
# not published, or with the first shard written where there are shards.
DRIVER = """
import json, os, signal, sys
from grip_assets import operations
from grip_assets.stages import STAGES
from grip_assets.store.shards import Shards

victim, changes = sys.argv[1], json.loads(sys.argv[2])

def die():
    os.kill(os.getpid(), signal.SIGKILL)

if victim:
    stage = STAGES[victim]
    real = stage.compute
    object.__setattr__(stage, "compute", lambda work: (real(work), die()))
    if victim in ("embeddings", "adaptation_deltas"):
        write = Shards.write
        Shards.write = lambda self, table: (write(self, table), die())
with operations.open_instance() as instance:
    operations.curate(instance, changes)
os._exit(0)
"""


def launch(home, victim, changes):
    env = os.environ | {"GRIP_DATA": str(home / "data"), "DAGSTER_HOME": str(home / "dagster")}
    return subprocess.run(
        [sys.executable, "-c", DRIVER, victim, json.dumps(changes)],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )


def order_of(lab) -> list[str]:
    """The stages that the last run computed, in Dagster's order. Those that the settings do not use are left out."""
    run = lab.instance.get_runs(limit=1)[0]
    events = lab.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    made = [event.asset_materialization for event in events]
    names = [one.asset_key.to_user_string() for one in made if "not used" not in one.metadata]
    return [name for name in names if name in CURATED]


@pytest.mark.slow
def test_after_a_kill_the_catalog_can_be_read_and_the_next_query_brings_it_up_to_date(lab, capsys):
    versions, query = (
        catalog.shown_in_force(lab.data),
        "SELECT version FROM artifacts WHERE asset = 'budgets' AND in_force",
    )
    killed = launch(lab.home, "subset", {"budget": {"tau": 0.8}})
    assert killed.returncode == -9, killed.stderr[-2000:]
    with duckdb.connect(catalog.catalog_path(lab.data), read_only=True) as client:
        assert client.sql(query).fetchall() == [(versions["budgets"],)], "another client sees what was in force before"
        assert client.sql("FROM subset LIMIT 1").fetchall()
    assert catalog.is_outdated(lab.data)
    lab.instance.dispose()
    assert run(["sql", "--json", query]) == 0
    made = event_log.versions_in_force(lab.operations.open_instance(), STAGES)
    assert (
        json.loads(capsys.readouterr().out) == {"version": made["budgets"]} and made["budgets"] != versions["budgets"]
    )
    assert made["subset"] == versions["subset"] and not catalog.is_outdated(lab.data)


@pytest.mark.slow
def test_a_kill_in_every_stage_and_a_restart_give_the_same_tables(tmp_path, new_lab, models, pool, monkeypatch):
    whole = new_lab("whole")
    home = tmp_path / "killed"
    home.mkdir()
    victims = order_of(whole)  # each start resumes and is killed one stage later
    assert {"corpus", "embeddings", "densities", "subset"} < set(victims) <= set(CURATED)
    for victim in victims:
        killed = launch(home, victim, small(models, pool))
        assert killed.returncode == -9, (victim, killed.stderr[-2000:])
        assert not list((home / "data" / victim).glob("[!.]*/manifest.json")), f"{victim} was not half-published"
    done = launch(home, "", small(models, pool))
    assert done.returncode == 0, done.stderr[-2000:]

    want = {p.relative_to(whole.data): p.read_bytes() for p in whole.data.glob("[!.]*/[!.]*/*/*.parquet")}
    got = {p.relative_to(home / "data"): p.read_bytes() for p in (home / "data").glob("[!.]*/[!.]*/*/*.parquet")}
    assert want == got
    assert not list((home / "data" / ".scratch").iterdir()), "nothing stray is left"

    lab = Lab(home, monkeypatch)
    assert lab.curate() == set(), "all is there"
    statuses = [one.status for one in lab.instance.get_runs()]
    assert statuses.count(dg.DagsterRunStatus.FAILURE) == len(victims)
    assert statuses.count(dg.DagsterRunStatus.SUCCESS) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [("DagsterExecutionInterruptedError", ""), ("Error", "_duckdb.Error: DagsterExecutionInterruptedError: \n")],
)
def test_an_interrupt_is_a_stop_also_where_a_library_wraps_it(name, message):
    error = SerializableErrorInfo(message, [], name)
    failure = SimpleNamespace(error=error, user_failure_data=None)
    event = SimpleNamespace(is_step_failure=True, step_key="report", step_failure_data=failure)
    found = operations._first_failure(SimpleNamespace(all_events=[event], run_id="0"))
    assert isinstance(found, operations.Stopped) and "goes on from here" in str(found)
