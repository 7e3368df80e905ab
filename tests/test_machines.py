"""Machines that are not like ours: a full disk, a reader, a user without a name or home, a terminal without letters."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import small

from grip_assets.runtime import caches
from grip_assets.stages import CURATED

pytestmark = pytest.mark.run
GRIP = Path(sys.executable).parent / "grip"
SEVERAL = """
import json, sys
from grip_assets import cli
for words in json.loads(sys.argv[1]):
    for stream in (sys.stdout, sys.stderr):
        print("command:", words[0], file=stream)
    code = cli.run(words)
    print("ended with", code, flush=True)
"""
ROOT = os.geteuid() == 0
SETPRIV = shutil.which("setpriv")
needs_root = pytest.mark.skipif(not (ROOT and SETPRIV), reason="another user can only be played by root")


def words(models: Path, pool: Path) -> list[str]:
    settings = small(models, pool)
    return [
        w for g, values in settings.items() for n, v in values.items() for w in ("--set", f"{g}.{n}={json.dumps(v)}")
    ]


def several(*commands: list[str]) -> list[str]:
    """A process that runs the commands one after another: to start takes longer than most of them."""
    return [sys.executable, "-c", SEVERAL, json.dumps(commands, ensure_ascii=False)]


def as_user(uid: int, *command: object, **env: str) -> subprocess.CompletedProcess:
    """A command by a user who owns nothing, may read everything and has no name."""
    play = [SETPRIV, f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--inh-caps=+dac_read_search"]
    play += ["--ambient-caps=+dac_read_search"]
    place = {"PATH": "/usr/bin:/bin", "PYTHONPATH": os.environ.get("PYTHONPATH", "")} | env
    return subprocess.run([*map(str, play), *map(str, command)], env=place, capture_output=True, text=True)


@pytest.mark.skipif(not ROOT, reason="a small disk can only be mounted by root")
@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_with_room_the_same_command_goes_on(tmp_path, models, pool):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    env = {n: v for n, v in os.environ.items() if n != "DAGSTER_HOME"} | {"GRIP_DATA": str(disk / "data")}
    command = [GRIP, "curate", *words(models, pool)]
    try:
        for size in ("1m", "5m", "14m"):
            subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)
            done = subprocess.run(command, env=env, capture_output=True, text=True)
            assert done.returncode == 1 and "Traceback" not in done.stderr
            assert f"grip: The disk of {disk}/data is full: " in done.stderr, done.stderr
            assert "and the same command goes on" in done.stderr
        subprocess.run(["mount", "-o", "remount,size=200m", disk], check=True)
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "reused:   nothing" not in done.stdout, "what was finished on the full disk is not computed again"
    finally:
        subprocess.run(["umount", disk], check=True)


def test_errors_of_a_full_disk_are_known_from_every_library():
    import duckdb

    from grip_assets.store import disk

    for error in (
        OSError(28, "No space left on device"),
        OSError("[Errno 28] Error writing bytes to file. Detail: No space left on device"),
        duckdb.IOException("Could not write file: No space left on device"),
        Exception("(sqlite3.OperationalError) database or disk is full"),
    ):
        assert disk.is_full(error), error
        wrapped = RuntimeError("the step failed")
        wrapped.__cause__ = error
        assert disk.is_full(wrapped)
    assert not disk.is_full(OSError(2, "No such file")) and not disk.is_full(ValueError("full of spaces"))


@needs_root
def test_who_may_only_read_reads(lab):
    lab.instance.dispose()
    for folder in (lab.home, *lab.home.parents):
        if folder.stat().st_uid == os.getuid() and folder.is_relative_to(lab.home.parents[2]):
            folder.chmod(0o755)
    env = {"GRIP_DATA": str(lab.data), "DAGSTER_HOME": str(lab.home / "dagster"), "HF_HUB_OFFLINE": "1"}
    before = sorted((p, p.stat().st_mtime_ns) for p in lab.home.rglob("*"))
    reads = (
        (["plan", "--set", "selection.beta=0.9"], f"3 of {len(CURATED)} assets to compute"),
        (["status"], "fresh"),
        (["sql", "SELECT count(*) AS n FROM corpus"], "120"),
        (["history"], "in force since"),
    )
    refused = ["curate", "--set", "selection.beta=0.9"], ["export", str(lab.home / "out.jsonl")]
    done = as_user(23456, *several(*(command for command, _ in reads), *refused), **env)
    *printed, last, exported = done.stdout.split("command: ")[1:]
    for (_, says), part in zip(reads, printed, strict=True):
        assert says in part and "ended with 0" in part, done.stdout + done.stderr
    assert "ended with 1" in last and f"grip: This user may read {lab.data} and not write to it" in done.stderr
    assert "ended with 1" in exported and "Traceback" not in done.stderr
    assert re.search(rf"grip: [^\n]*{lab.home}[^\n]*write", done.stderr.split("command: export")[1]), done.stderr
    assert sorted((p, p.stat().st_mtime_ns) for p in lab.home.rglob("*")) == before


@needs_root
def test_a_user_without_name_and_home_compiles_into_a_folder_of_their_own():
    code = "from grip_assets.method import screening; import numpy as np, os, getpass; screening.encode(np.eye(64, dtype=np.float32), 'int8'); print(os.environ['NUMBA_CACHE_DIR'], getpass.getuser())"
    done = as_user(34567, sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    folder, user = done.stdout.split()
    assert Path(folder).stat().st_uid == 34567 and user == "uid-34567"
    shutil.rmtree(folder)


def test_a_user_with_a_home_keeps_their_own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    environment: dict[str, str] = {}
    caches.settle(environment)
    assert "NUMBA_CACHE_DIR" not in environment


@pytest.mark.parametrize(
    "variables", [{"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "latin-1"}]
)
def test_a_terminal_without_letters_stops_nothing(lab, variables):
    env = os.environ | {"GRIP_DATA": str(lab.data), "DAGSTER_HOME": str(lab.home / "dagster")} | variables
    command = several(["sql", "SELECT 'žluťoučký 文 δ' AS words"], ["explain", "parse/parse_04.py"])
    done = subprocess.run(command, env=env, capture_output=True)
    assert done.stdout.count(b"ended with 0") == 2 and b"Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("where, code, says", [(">&-", 0, ""), (">/dev/full", 1, "grip: standard output")])
def test_a_closed_or_full_output_is_a_quiet_end_or_a_sentence(lab, where, code, says):
    env = os.environ | {"GRIP_DATA": str(lab.data), "DAGSTER_HOME": str(lab.home / "dagster")}
    done = subprocess.run(["bash", "-c", f"{GRIP} history {where}"], env=env, capture_output=True, text=True)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert done.stderr.startswith(says) and done.stderr.count("\n") <= 1


def test_the_ui_starts_in_a_folder_with_spaces(tmp_path):
    """With stand-ins for the two programs: what is tested is the line of the Makefile."""
    place = tmp_path / "my projects" / "grip (1)"
    (place / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(Path(__file__).parents[1] / "Makefile", place)
    for name in ("pyproject.toml", "constraints.txt", ".venv/.installed"):
        (place / name).touch()
    for name in ("grip", "dagster"):
        program = place / ".venv" / "bin" / name
        program.write_text('#!/bin/sh\necho "$(basename "$0") in $DAGSTER_HOME"\n')
        program.chmod(0o755)
    env = {name: value for name, value in os.environ.items() if name not in ("DAGSTER_HOME", "GRIP_DATA")}
    done = subprocess.run(["make", "ui"], cwd=place, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert f"dagster in {place}/dagster_home" in done.stdout
