"""Environment variables: one that is wrong is named with an example before anything is done."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from grip_assets.errors import GripError
from grip_assets.runtime import memory, notices, variables
from grip_assets.runtime import threads as parallel

GRIP = Path(sys.executable).parent / "grip"


@pytest.mark.parametrize(
    "name, text",
    [
        ("GRIP_WORKERS", "0"),
        ("GRIP_WORKERS", "-1"),
        ("GRIP_WORKERS", "two"),
        ("GRIP_MEMORY", "1..5GB"),
        ("GRIP_MEMORY", "120%"),
        ("GRIP_MEMORY", "4"),
        ("GRIP_EXECUTOR", "multi-process"),
        ("GRIP_SCREEN", "int4"),
        ("GRIP_NIGHTLY", "every day"),
        ("GRIP_WEEKLY_PROFILE", "papre"),
        ("GRIP_TIMEZONE", "Mars/Olympus"),
        ("GRIP_TIMEZONE", "../../etc/passwd"),
        ("GRIP_WATCH_SECONDS", "1m"),
        ("GRIP_DATA", __file__),
        ("GRIP_DATA", "/tmp/what?"),
        ("GRIP_JUDGE_TIMEOUT", "nan"),
        ("GRIP_JUDGE_CONCURRENCY", "inf"),
    ],
)
def test_a_variable_that_cannot_be_read_is_named_with_an_example(monkeypatch, name, text):
    monkeypatch.setenv(name, text)
    with pytest.raises(GripError) as error:
        variables.check()
    assert f"{name} is '{text}': it must be" in str(error.value) and f"for example {name}=" in str(error.value)


def test_every_example_and_what_is_not_set_can_be_read(monkeypatch):
    for name, variable in variables.VARIABLES.items():
        monkeypatch.setenv(name, variable.example.strip("'"))
        assert variables.value(name), name
        monkeypatch.setenv(name, " ")
        assert variables.value(name) is None, name
    variables.check()


def test_auto_and_shares_mean_what_they_say(monkeypatch):
    monkeypatch.setenv("GRIP_WORKERS", "auto")
    assert parallel.default_workers() == len(os.sched_getaffinity(0))
    monkeypatch.delenv("GRIP_MEMORY", raising=False)
    half = memory.limit_bytes()
    monkeypatch.setenv("GRIP_MEMORY", "25%")
    assert memory.limit_bytes() == pytest.approx(half / 2, abs=1)


def test_a_name_that_is_nearly_ours_is_said(monkeypatch, caplog):
    monkeypatch.setattr(notices, "_said", set())
    monkeypatch.setenv("GRIP_WORKER", "2")
    variables.check()
    assert "GRIP_WORKER is set, and nothing reads it. Did you mean GRIP_WORKERS?" in caplog.text


def test_a_command_refuses_before_it_does_anything(tmp_path):
    env = os.environ | {
        "GRIP_DATA": str(tmp_path / "data"),
        "DAGSTER_HOME": str(tmp_path / "home"),
        "GRIP_WORKERS": "0",
        "GRIP_TIMEZONE": "Mars/Olympus",
    }
    done = subprocess.run([GRIP, "status"], env=env, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "grip: GRIP_WORKERS is '0'" in done.stderr and "GRIP_TIMEZONE is 'Mars/Olympus'" in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert subprocess.run([GRIP, "--help"], env=env, capture_output=True).returncode == 0


def test_a_bad_schedule_does_not_take_the_code_location_down(tmp_path):
    code = "from grip_assets.definitions import defs; print(*sorted(s.name for s in defs.get_repository_def().schedule_defs))"
    env = os.environ | {"GRIP_NIGHTLY": "every day", "GRIP_WATCH_SECONDS": "soon", "GRIP_EXECUTOR": "all"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout.split() == ["weekly"], done.stderr
    for said in ("The schedule nightly is left out: GRIP_NIGHTLY is 'every day'", "GRIP_WATCH_SECONDS is 'soon'", "GRIP_EXECUTOR is 'all'"):  # fmt: skip
        assert said in done.stderr
