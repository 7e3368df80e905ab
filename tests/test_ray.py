"""GRIP_EXECUTOR=ray: results, progress, errors, lost workers, cancelling. Most tests share one cluster of this machine."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from importlib import import_module
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from ray_jobs import Dies, Opening, Refuses, Runs, Square, Tells

from grip_assets.errors import GripError, Unfinished
from grip_assets.runtime import device, executors, notices, variables
from grip_assets.runtime.executors import pool as pools
from grip_assets.runtime.executors.ray import Ray, paths_of, wants_gpu

pytest.importorskip("ray", reason="the extra ray is not installed")
HERE = Path(__file__).parent
SMALL = {  # two cores, 100 MB for objects; workers find the jobs of these tests
    "GRIP_WORKERS": "2",
    "GRIP_MEMORY": "800MB",
    "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")]),
}


@pytest.fixture(scope="module")
def ray():
    """The executor, on a cluster of this machine."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SMALL.items():
            patch.setenv(name, value)
        yield Ray()
        pools.shut_down()


def numbers(tables) -> list[int]:
    return [table["number"][0].as_py() for table in tables]


def squares(tables) -> list[tuple[int, int]]:
    return [(table["number"][0].as_py(), table["square"][0].as_py()) for table in tables]


@pytest.mark.slow
def test_results_come_in_the_order_of_the_shards_from_several_processes(ray):
    worked = []
    found = list(ray.map(Square(0.2), range(8), advance=worked.append))
    assert squares(found) == [(i, i * i) for i in range(8)]
    assert sum(worked) == 8 and worked[0] == 0
    pids = {table["pid"][0].as_py() for table in found}
    assert len(pids) == 2 and os.getpid() not in pids


@pytest.mark.slow
def test_no_more_shards_run_at_a_time_than_fit_into_the_memory_of_a_machine(ray):
    def at_once(bytes_each: int) -> bool:
        found = list(ray.map(Square(0.3), range(6), bytes_each))
        times = sorted((table["began"][0].as_py(), table["ended"][0].as_py()) for table in found)
        return any(began < ended for (_, ended), (began, _) in pairwise(times))

    assert at_once(100 << 20) and not at_once(300 << 20)  # half of 800 MB may be used


@pytest.mark.slow
def test_no_shards_give_no_tables(ray):
    assert list(ray.map(Square(), [])) == []


@pytest.mark.slow
def test_one_map_may_feed_another(ray):
    inner = (table["square"][0].as_py() for table in ray.map(Square(), range(20)))
    assert squares(ray.map(Square(), inner))[-1] == (361, 361**2)


@pytest.mark.slow
def test_a_thing_is_opened_once_in_each_worker_and_again_for_the_next_map(ray, tmp_path):
    said = []
    with device.watched() as devices:
        list(ray.map(Opening(str(tmp_path)), range(6), log=said.append))
    assert said[0] == "loading the thing" and devices == {"a device"}
    assert {file.read_text() for file in tmp_path.iterdir()} == {"x"}
    list(ray.map(Opening(str(tmp_path)), range(6)))
    assert "xx" in {file.read_text() for file in tmp_path.iterdir()}


@pytest.mark.slow
def test_the_error_of_a_worker_is_raised_here_when_the_turn_of_its_shard_comes(ray):
    found = []
    with pytest.raises(GripError) as raised:
        found.extend(ray.map(Refuses(3), range(9)))
    assert type(raised.value) is GripError and str(raised.value) == "shard 3 is refused. Choose another."
    assert numbers(found) == [0, 1, 2]
    with pytest.raises(RuntimeError, match="^Odd: odd 3"):
        list(ray.map(Refuses(0, unpicklable=True), range(2)))


@pytest.mark.slow
def test_a_shard_whose_worker_was_killed_is_run_again(ray, tmp_path):
    worked, said = [], []
    found = list(ray.map(Dies(str(tmp_path), 2), range(6), log=said.append, advance=worked.append))
    assert squares(found) == [(i, i * i) for i in range(6)] and sum(worked) == 6
    assert sum("was lost" in line for line in said) == 1


@pytest.mark.slow
def test_a_shard_that_always_ends_its_worker_is_an_error_that_names_it(ray, tmp_path):
    with pytest.raises(Unfinished, match="shard 1 of Dies was lost 3 times"):
        list(ray.map(Dies(str(tmp_path), 41, always=True), [40, 41, 42]))
    assert squares(ray.map(Square(), [5])) == [(5, 25)]


@pytest.mark.slow
def test_who_stops_reading_ends_the_shards_that_run(ray, tmp_path):
    stream = ray.map(Runs(str(tmp_path)), range(4))
    reader = threading.Thread(target=lambda: next(stream, None))
    reader.start()
    until(lambda: any(tmp_path.glob("began-*")))
    (tmp_path / "go").touch()
    reader.join()
    (tmp_path / "go").unlink()
    until(lambda: len(list(tmp_path.glob("began-*"))) >= 2)
    stream.close()
    assert (tmp_path / "stopped").exists()
    pids = {int(file.name.rpartition("-")[2]) for file in tmp_path.glob("began-*")}
    until(lambda: sum(is_alive(pid) for pid in pids) <= 1)  # one may have nothing left of this job
    assert squares(ray.map(Square(), [5])) == [(5, 25)]


@pytest.mark.slow
def test_warnings_of_workers_reach_the_log_and_no_key_reaches_them(ray, caplog, monkeypatch):
    monkeypatch.setattr(notices, "_said", set())
    monkeypatch.setenv("GRIP_POSTGRES", "postgresql://user:password@host/db")
    found = list(ray.map(Tells(), ["GRIP_WORKERS", "GRIP_DATA", "GRIP_MEMORY"]))
    assert [table["value"][0].as_py() for table in found][::2] == ["1", "800MB"]
    assert "about GRIP_WORKERS" in caplog.text
    assert not any("password" in value for value in pools._given(False).variables.values())


@pytest.mark.slow
def test_workers_that_have_nothing_to_do_are_ended(ray, monkeypatch):
    monkeypatch.setattr(pools, "IDLE", 0.5)
    (pid,) = (table["pid"][0].as_py() for table in ray.map(Square(), [1]))
    until(lambda: not is_alive(pid))
    assert all(not pool.workers for pool in pools._pools.values())


def until(true) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background of a shell inherits it ignored
from ray_jobs import Runs
from grip_assets.runtime.executors.ray import Ray
print("started", flush=True)
for _ in Ray().map(Runs({folder!r}), range(4), log=lambda line: print(line, flush=True)):
    pass
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_driver_that_was_interrupted_or_killed(number, tmp_path):
    """Its workers end, and with them the cluster that it had started."""
    program = PROGRAM.format(folder=str(tmp_path))
    environment = os.environ | SMALL
    driver = subprocess.Popen([sys.executable, "-c", program], env=environment, start_new_session=True)
    try:
        until(lambda: any(tmp_path.glob("began-*")) or driver.poll() is not None)
        assert driver.poll() is None
        driver.send_signal(number)
        driver.wait(120)
        until(lambda: not processes_of_session(driver.pid))
    finally:
        for pid in processes_of_session(driver.pid):
            os.kill(pid, signal.SIGKILL)


def processes_of_session(session: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its = stat.read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its) == session and state != "Z":
            found.append(int(stat.parent.name))
    return found


def test_a_gpu_is_for_jobs_that_open_a_model_or_name_the_device(tmp_path):
    from grip_assets.training.doremi import TrainProxy
    from grip_assets.training.recipe import Shape, TrainingRecipe

    recipes = {name: TrainingRecipe(512, 128, 1e-3, "float32", device=name) for name in ("cpu", "cuda")}
    trains = {name: TrainProxy(None, Shape(300, 32, 1, 2, 32), recipe, 1.0, 1e-3) for name, recipe in recipes.items()}
    assert wants_gpu(Opening("")) and wants_gpu(trains["cuda"])
    assert not wants_gpu(trains["cpu"]) and not wants_gpu(Square())


def test_a_worker_must_see_the_paths_that_a_job_names(tmp_path):
    (tmp_path / "table").mkdir()
    assert list(paths_of(Opening(f"{tmp_path}/table/*.parquet"))) == [f"{tmp_path}/table"]
    assert list(paths_of(Opening("relative"))) == list(paths_of(Opening("/nothing/there"))) == []
    assert list(paths_of((Opening(str(tmp_path)),), ("path",))) == []  # a text that looks like a path is none


def test_the_scripts_and_the_yaml_of_the_page_on_clusters_can_be_parsed():
    """The fields of the RayCluster are those of its schema, and both pods see the shared folder under one path."""
    page = (HERE.parent / "docs" / "cluster.md").read_text()
    blocks = re.findall(r"```(\w+)\n(.*?)```", page, re.DOTALL)
    for kind, block in blocks:
        if kind == "bash":
            assert subprocess.run(["bash", "-n"], input=block, text=True).returncode == 0
    (cluster,) = (yaml.safe_load(block) for kind, block in blocks if kind == "yaml")
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    head, (cores,) = cluster["spec"]["headGroupSpec"], cluster["spec"]["workerGroupSpecs"]
    assert head.keys() == {"rayStartParams", "template"}
    assert cores.keys() == {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
    assert all(isinstance(value, str) for value in head["rayStartParams"].values())
    for group in (head, cores):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert container["volumeMounts"] == [{"name": "shared", "mountPath": "/shared"}]
        assert [volume["name"] for volume in pod["volumes"]] == ["shared"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
    scripts = pools.ray_module() and import_module("ray.scripts.scripts")
    known = {option for part in scripts.start.params for option in part.opts}
    started = re.findall(r"^ray start (.*)$", page, re.MULTILINE)
    assert len(started) == 2 and known >= {option for line in started for option in re.findall(r"--[a-z-]+", line)}
    symmetric = re.search(r"ray symmetric-run (.*?) -- ", page, re.DOTALL)
    known |= {option for part in scripts.symmetric_run.params for option in part.opts}
    assert symmetric and known >= set(re.findall(r"--[a-z-]+", symmetric[1]))
    assert cluster["spec"]["rayVersion"] == version("ray")


@pytest.mark.parametrize("address", ["ray://10.0.0.5:10001", "10.0.0.5", "10.0.0.5:0", "a b:6379"])
def test_an_address_that_is_none_is_refused(address, monkeypatch):
    monkeypatch.setenv("GRIP_RAY_ADDRESS", address)
    with pytest.raises(GripError, match="GRIP_RAY_ADDRESS is .* the address of a head node as host:port, or auto"):
        variables.value("GRIP_RAY_ADDRESS")


def test_threads_are_the_default(monkeypatch):
    assert executors.chosen() == executors.Local()
    monkeypatch.setenv("GRIP_EXECUTOR", "ray")
    monkeypatch.setenv("GRIP_RAY_ADDRESS", "auto")
    assert executors.chosen() == Ray("auto")


def test_what_a_killed_process_has_left_is_removed_by_the_next(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = [f"grip-ray-{dead.pid}-abc", f"grip-ray-{os.getpid()}-abc", "grip-ray-mine", "other"]
    for name in names:
        (tmp_path / name).mkdir()
    pools._sweep(tmp_path)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == sorted(names[1:])


def test_an_address_where_nothing_answers_is_an_error_that_says_what_to_do():
    program = "from grip_assets.runtime.executors.pool import connect; connect('127.0.0.1:1')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ | SMALL)
    assert "GRIP_RAY_ADDRESS is '127.0.0.1:1', and no Ray cluster answers there" in done.stderr
    assert "ray start --address=127.0.0.1:1 --num-cpus=0" in done.stderr
