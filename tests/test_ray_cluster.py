"""GRIP_EXECUTOR=ray on a cluster of several nodes, all on this machine: every job and the whole chain give the bytes of the
local executor, also while workers are killed, and while nodes come and go."""

import os
import signal
from collections.abc import Generator
from pathlib import Path

import planted_attribution
import planted_mixing
import polars as pl
import pytest
from conftest import small
from ray_jobs import Opening, Runs, Square
from test_jobs import JOBS, chain_made, comparable, tables  # noqa: F401 (a fixture)
from test_mixture_runs import TINY
from test_ray import SMALL, squares, until

from grip_assets.errors import Unfinished
from grip_assets.runtime.executors import Local
from grip_assets.runtime.executors import pool as pools
from grip_assets.runtime.executors.ray import Mapping, Ray
from grip_assets.stages.curation.embeddings import EmbedDocuments
from grip_assets.store.artifacts import ArtifactStore

pytest.importorskip("ray", reason="the extra ray is not installed")
pytestmark = pytest.mark.slow
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}


class Nodes:
    """A cluster of some nodes with one core each. The driver's node has none, as docs/cluster.md says."""

    def __init__(self, n: int):
        from ray.cluster_utils import Cluster

        pools.ray_module()
        self.cluster = Cluster(True, head_node_args=NODE | {"num_cpus": 0})
        self.nodes = [self.add() for _ in range(n)]
        self.executor = Ray(self.cluster.address)

    def add(self):
        return self.cluster.add_node(**NODE)

    def close(self) -> None:
        pools.shut_down()
        self.cluster.shutdown()


@pytest.fixture(scope="module", params=[2, 4])
def nodes(request):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (SMALL | {"GRIP_WORKERS": "auto"}).items():
            patch.setenv(name, value)
        found = Nodes(request.param)
        yield found
        found.close()


def kill_a_worker() -> bool:
    """Kill one that has something to do. False if there is none."""
    for pool in pools._pools.values():
        for worker in pool.workers:
            if worker.queue and worker.about:
                os.kill(worker.about.process, signal.SIGKILL)
                return True
    return False


class Murderous:
    """The executor, which kills a worker after the first table of each map."""

    def __init__(self, executor: Ray):
        self.executor, self.killed, self.jobs = executor, 0, set()

    def map(self, job, shards, *more) -> Generator:
        self.jobs.add(type(job).__name__)
        for number, table in enumerate(self.executor.map(job, shards, *more)):
            self.killed += number == 0 and kill_a_worker()
            yield table


@pytest.mark.parametrize("made", JOBS, ids=lambda made: made.__name__)
def test_a_job_gives_the_same_bytes_on_every_node(made, models, pool, tables, nodes):  # noqa: F811
    job, shards = made(models, pool, tables)
    here, there = list(Local(2).map(job, shards)), list(nodes.executor.map(job, shards))
    assert all(map(len, here))
    assert list(map(comparable, here)) == list(map(comparable, there))


def test_a_chain_whose_workers_are_killed_has_the_same_names_and_bytes(models, pool, tmp_path, nodes):
    changes, executor = small(models, pool), Murderous(nodes.executor)
    here, there = chain_made(tmp_path / "a", changes, Local(2)), chain_made(tmp_path / "b", changes, executor)
    assert {"ReadDocuments", "EmbedDocuments", "Assign", "ProbeClusters", "JudgeDocuments"} <= executor.jobs
    assert executor.killed
    assert same_tables(here.root, there.root) >= 11


def test_grip_curate_gives_the_same_bytes_though_a_node_dies_while_it_embeds(nodes, new_lab, monkeypatch):
    here = new_lab("here")
    monkeypatch.setenv("GRIP_EXECUTOR", "ray")
    monkeypatch.setenv("GRIP_RAY_ADDRESS", nodes.cluster.address)
    see, jobs, died = Mapping._see_result, set(), []

    def dies(self, *more) -> None:
        jobs.add(type(self.job).__name__)
        if isinstance(self.job, EmbedDocuments) and not died:
            died.append(nodes.nodes.pop())
            nodes.cluster.remove_node(died[0], allow_graceful=False)
        see(self, *more)

    monkeypatch.setattr(Mapping, "_see_result", dies)
    there = new_lab("there")
    nodes.nodes.append(nodes.add())
    assert died and len(jobs) >= 8
    (made,) = ArtifactStore(there.data).manifests("embeddings")
    assert made["executor"] == "ray"
    assert same_tables(here.data, there.data) >= 11


@pytest.mark.parametrize("chain", ["attribution", "mixing"])
def test_sketches_and_trainings_are_the_same_though_workers_are_killed(chain, nodes, tmp_path):
    executor = Murderous(nodes.executor)
    if chain == "mixing":
        folders = [planted_mixing.Folder(tmp_path / str(n), planted_mixing.pool(), **TINY) for n in (0, 1)]
        stages, jobs = ("mixture_runs",), {"TokeniseDocuments", "TrainMixture", "ScoreMixture"}
    else:
        some = {"structured": 1, "random": 1, "check_structured": 0, "check_random": 0, "dim": 64}
        some |= {"source": "auto", "candidates": ["unigram", "head"], "trial_tokens": [1000], "choose": "bootstrap"}
        folders = [planted_attribution.Folder(tmp_path / str(n), **some) for n in (0, 1)]
        stages, jobs = (
            ("reference_model", "sketches", "counterfactuals"),
            {"Sketching", "CountTokens", "Train", "Score"},
        )
    here, there = folders[0].make(*stages, workers=2), folders[1].make(*stages, workers=executor)
    assert jobs <= executor.jobs and executor.killed
    assert here.owner == there.owner
    for name in here.owner:
        one, other = (without_times(folder.table(name)) for folder in (here, there))
        assert one.equals(other), name


def without_times(table: pl.DataFrame) -> pl.DataFrame:
    return table.select(pl.exclude("^.*seconds.*$"))


def same_tables(here: Path, there: Path) -> int:
    """Assert that two data folders have the same artifacts, byte for byte. The number of stages."""
    names = [sorted(f.relative_to(root) for f in root.glob("[!.]*/[!.]*/*/*.parquet")) for root in (here, there)]
    assert names[0] == names[1]
    for name in names[0]:
        assert (here / name).read_bytes() == (there / name).read_bytes(), name
    return len({name.parts[0] for name in names[0]})


def test_a_node_that_goes_and_one_that_comes_change_no_result(nodes, tmp_path, monkeypatch):
    """The shard that ran on the node that went is run again, and the new node gets its share."""
    monkeypatch.setattr(pools, "LOOK", 0.5)
    found = []
    for number, table in enumerate(nodes.executor.map(Square(0.3), range(40))):
        found.append(table)
        if number == 5:
            nodes.cluster.remove_node(nodes.nodes.pop(), allow_graceful=False)
        if number == 10:
            nodes.nodes.append(nodes.add())
    assert squares(found) == [(i, i * i) for i in range(40)]


def test_nothing_is_left_on_the_cluster_when_a_run_is_cancelled(nodes, tmp_path):
    stream = nodes.executor.map(Runs(str(tmp_path), "go-on"), range(9))
    (tmp_path / "go-on").touch()
    next(stream)
    (tmp_path / "go-on").unlink()
    stream.close()
    for pool in pools._pools.values():
        pool.end()
    free = lambda: pools.ray_module().available_resources().get("CPU", 0)  # noqa: E731
    until(lambda: free() == len(nodes.nodes))


def test_a_model_is_with_workers_that_have_a_share_of_a_gpu_and_other_jobs_see_none(nodes, tmp_path):
    """The GPU is only a number for Ray here: no job of this test computes on it."""
    node = nodes.cluster.add_node(**(NODE | {"num_gpus": 1}))
    try:
        found = list(nodes.executor.map(Opening(str(tmp_path)), range(6)))
        assert {table["gpus"][0].as_py() for table in found} == {"0"}
        assert {table["gpus"][0].as_py() for table in nodes.executor.map(Square(), range(6))} == {""}
    finally:
        nodes.cluster.remove_node(node)


def test_a_folder_that_a_node_does_not_see_is_an_error_that_says_so(nodes, tmp_path, monkeypatch):
    monkeypatch.setattr("grip_assets.runtime.executors.ray.paths_of", lambda *_: ["/only/here"])
    with pytest.raises(Unfinished, match="/only/here is not there on the machine .* must be in a folder that all"):
        list(nodes.executor.map(Opening(str(tmp_path)), range(2)))


def test_a_node_with_another_version_is_refused(nodes, monkeypatch):
    for pool in pools._pools.values():
        pool.end()
    monkeypatch.setattr(pools, "versions", lambda: {"torch": "1.0"})
    with pytest.raises(Unfinished, match=r"has other versions than this one \(torch: 2.*there, 1.0 here\)"):
        list(nodes.executor.map(Square(), range(2)))
