"""Several at once: two curations, a changed knob in the middle of one, a reader throughout; and a team's PostgreSQL."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import duckdb
import pytest

from grip_assets.orchestration import event_log
from grip_assets.settings import flat
from grip_assets.stages import STAGES
from grip_assets.store.artifacts import REPOSITORY

pytestmark = pytest.mark.run

CLI = [sys.executable, "-c", "from grip_assets.cli import main; main()"]
CHANGE = (
    "import sys, json; from grip_assets import operations; from grip_assets.definitions import defs\n"
    "with operations.open_instance() as instance:\n"
    "    done = defs.resolve_job_def(sys.argv[1]).execute_in_process(json.loads(sys.argv[2]), instance, raise_on_error=False)\n"
    "    sys.exit(not done.success)"
)
EXPLAINED = ("was made from another version of", "was not made with those in force")


class Reader(threading.Thread):
    """Asks the catalog all the time; what it saw that does not fit together."""

    def __init__(self, catalog: Path):
        super().__init__()
        self.catalog, self.stop, self.looks, self.errors = catalog, threading.Event(), 0, []

    def run(self):
        while not self.stop.is_set():
            try:
                with duckdb.connect(self.catalog, read_only=True) as connection:
                    (lost,) = connection.execute(
                        "SELECT count(*) FROM subset ANTI JOIN selection_weights USING (doc_id)"
                    ).fetchone()
                    (n,) = connection.execute("SELECT count(*) FROM settings").fetchone()
                if lost or not n:
                    self.errors.append(f"{lost} documents of the subset are unknown, {n} settings")
            except Exception as error:
                self.errors.append(repr(error))
            self.looks += 1


@pytest.fixture
def reader(lab):
    reader = Reader(lab.data / "grip.duckdb")
    reader.start()
    yield reader
    reader.stop.set()
    reader.join()


def start(*words: str) -> subprocess.Popen:
    return subprocess.Popen(words, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def consistent(lab) -> None:
    """Every artifact in force was made from those in force, and the catalog shows these."""
    from grip_assets.store.artifacts import ArtifactStore
    from grip_assets.store.catalog import shown_in_force

    store, in_force = ArtifactStore(lab.data), event_log.versions_in_force(lab.instance, STAGES)
    for name, version in in_force.items():
        for made_from, manifest in store.ancestors(name, version).items():
            assert in_force[made_from] == manifest["version"], name
    assert shown_in_force(lab.data) == in_force


@pytest.mark.slow
def test_two_curations_at_once_and_a_reader_throughout(lab, reader):
    runs = [start(*CLI, "curate", "--set", s) for s in ("budget.tau=0.7", "selection.beta=0.9")]
    for run in runs:
        said = run.communicate(timeout=180)[0]
        assert run.returncode == 0 or any(why in said for why in EXPLAINED), said[-3000:]
    lab.curate()
    settings = flat(event_log.settings_in_force(lab.instance))
    assert settings["budget.tau"] == 0.7 and settings["selection.beta"] == 0.9, "no change is lost"
    consistent(lab)
    assert reader.looks > 10 and not reader.errors


@pytest.mark.slow
def test_a_knob_that_turns_during_a_curation(lab, reader):
    curation = start(*CLI, "curate", "--set", "clustering.k=5", "--set", "adaptation.learning_rate=0.001")
    time.sleep(4)
    change = start(sys.executable, "-c", CHANGE, "change_budget", '{"tau": 0.8}')
    for run in (curation, change):
        said = run.communicate(timeout=180)[0]
        assert run.returncode == 0 or any(why in said for why in EXPLAINED), said[-3000:]
    lab.curate()
    settings = flat(event_log.settings_in_force(lab.instance))
    assert settings["clustering.k"] == 5 and settings["budget.tau"] == 0.8
    consistent(lab)
    assert not reader.errors


def postgres() -> Path | None:
    """Folder of PostgreSQL's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


@pytest.fixture
def database():
    """A PostgreSQL server on loopback, and its address."""
    programs = postgres()
    if programs is None:
        pytest.skip("no PostgreSQL: install the package postgresql")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="postgres") as folder:
        as_user = []
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            shutil.chown(folder, "postgres")
            as_user = ["runuser", "-u", "postgres", "--"]

        def call(program: str, *words: str) -> None:
            subprocess.run([*as_user, programs / program, "-D", f"{folder}/data", *words], check=True, cwd=folder)

        call("initdb", "-A", "trust", "-U", "grip")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
        call("pg_ctl", "-w", "-o", options, "-l", f"{folder}/log", "start")
        try:
            yield f"postgresql+psycopg2://grip@127.0.0.1:{port}/postgres"
        finally:
            call("pg_ctl", "-w", "-m", "immediate", "stop")


@pytest.mark.slow
def test_the_same_flow_on_postgresql(database, new_lab, tmp_path, monkeypatch):
    monkeypatch.setenv("GRIP_POSTGRES", database)
    home = tmp_path / "lab" / "dagster"
    home.mkdir(parents=True)
    shutil.copy(REPOSITORY / "dagster_home" / "postgres.yaml", home / "dagster.yaml")
    lab = new_lab()
    assert "Postgres" in type(lab.instance.event_log_storage).__name__ and not list(home.rglob("*.db"))
    assert lab.curate() == set()
    computed = lab.curate(selection={"beta": 0.9})
    assert "subset" in computed and not computed & {"corpus", "embeddings", "clusters", "budgets"}
    runs = [start(*CLI, "curate", "--set", f"budget.tau={tau}") for tau in (0.6, 0.7, 0.8)]
    for run in runs:
        said = run.communicate(timeout=300)[0]
        assert run.returncode == 0 or any(why in said for why in EXPLAINED), said[-3000:]
    lab.curate()
    consistent(lab)
