"""The bench: one JSON object a line, the same names in every version, results that are right."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from grip_assets import cli
from grip_assets.bench import BENCHES, Peak
from grip_assets.bench.chain import MEASURED

GRIP = Path(sys.executable).with_name("grip")


def test_every_stage_that_users_compare_has_a_bench():
    assert {"kmeans", "assignment", "density", "embedding", "probe", "draw", "greedy", "chain", "recompute"} <= set(
        BENCHES
    )


def by_command(stage, capsys):
    done = subprocess.run([GRIP, "bench", stage, "--quick", "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_this_process(stage, capsys):
    assert cli.run(["bench", stage, "--quick", "--json"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(("stage", "run"), [("draw", by_command), ("assignment", in_this_process)])
def test_a_bench_prints_a_json_object_a_line(stage, run, capsys):
    lines = run(stage, capsys).splitlines()
    assert lines
    for line in lines:
        row = json.loads(line)
        assert {"stage", "against", "ratio", "ours_s", "theirs_s", "quality", "peak_mb"} <= set(row)
        assert row["ratio"] == pytest.approx(row["theirs_s"] / row["ours_s"])
        if stage != "draw":
            assert row["quality"] == 1.0  # all exact


def test_the_peak_of_memory_is_seen_and_forgotten():
    with Peak() as large:
        block = bytearray(200 << 20)
        block[::4096] = b"x" * len(block[::4096])
        del block
    with Peak() as small:
        pass
    assert 190 < large.mb < 260 and small.mb < 50


def test_an_unknown_bench_is_refused_with_the_nearest_name(capsys):
    assert cli.run(["bench", "kmean"]) == 2 and "Did you mean 'kmeans'?" in capsys.readouterr().err


@pytest.mark.slow
def test_the_curve_prints_a_row_for_each_stage_and_stays_under_its_limit(tmp_path):
    words = [sys.executable, "-m", "grip_assets.bench.chain", "curve", "--documents", "3000", "--dimensions", "16"]
    to = tmp_path / "rows.jsonl"
    done = subprocess.run([*words, "--light", "--folder", tmp_path, "--to", to], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in to.read_text(encoding="utf-8").splitlines()]
    stages = {row["stage"]: row for row in rows if "stage" in row}
    assert {"planting", *MEASURED} == set(stages) and all(row["documents"] == 3000 for row in stages.values())
    assert all(0 < row["private_mb"] < 3 * 1024 for row in stages.values())
    assert stages["clusters"]["pairs"] >= 3000
    done = subprocess.run(
        [*words, "--light", "--folder", tmp_path, "--memory", "200MB"], capture_output=True, text=True
    )
    assert done.returncode and "more than the limit of 200 MB" in done.stderr
