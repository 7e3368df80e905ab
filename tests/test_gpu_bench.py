"""The bench of GPUs: without one it says so, and its rows run on the processor by the very same functions."""

import json

import pytest

from grip_assets.bench import gpu


def rows_of(capsys, arguments):
    status = gpu.main(arguments)
    machine, *rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert machine["name"] == "machine" and machine["torch"] and machine["date"]
    return status, rows


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(gpu, "_has_gpu", lambda: False)


def test_without_a_gpu_every_row_says_so_and_the_command_succeeds(no_gpu, capsys):
    status, rows = rows_of(capsys, [])
    assert status == 0
    assert rows == [{"name": name, "skipped": "no CUDA device"} for name in gpu.ROWS]


@pytest.mark.model
def test_the_same_rows_run_on_the_processor_at_a_tiny_size(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gpu, "importable", lambda name: False)  # a suite does not wait for other libraries
    status, rows = rows_of(capsys, ["--device", "cpu", "--quick", "--out", str(tmp_path / "table.jsonl")])
    assert status == 0, [row for row in rows if "error" in row or not row["holds"]]
    assert [row["name"] for row in rows] == list(gpu.ROWS)
    for row in rows:
        assert row["holds"] and row["check"] <= gpu.RULES[row["name"]][1]
        assert row["ratio"] == pytest.approx(row["theirs_s"] / row["ours_s"]) and row["n"] > 0 and row["cpu_s"] > 0
    assert len((tmp_path / "table.jsonl").read_text().splitlines()) == 1 + len(rows)


def test_rows_for_which_no_time_is_left_are_named(capsys):
    status, rows = rows_of(capsys, ["--device", "cpu", "--quick", "--minutes", "-1", "--only", "kmeans,gem"])
    assert status == 0
    assert rows == [{"name": name, "left_out": "-1 minutes were over"} for name in ("kmeans", "gem")]


def test_a_row_that_fails_or_breaks_its_rule_leaves_the_others_and_is_seen(capsys, monkeypatch):
    def broken(b):
        raise RuntimeError("CUDA error")

    wrong = gpu.Found(1, 0.5, lambda: None, 1.0, {"theirs": lambda: None})
    monkeypatch.setitem(gpu.ROWS, "assignment", broken)
    monkeypatch.setitem(gpu.ROWS, "kmeans", lambda b: wrong)
    monkeypatch.setitem(gpu.ROWS, "training", lambda b: wrong._replace(check=1e-4))
    status, rows = rows_of(capsys, ["--device", "cpu", "--quick", "--only", "assignment,kmeans,training"])
    assert status == 1
    assert rows[0] == {"name": "assignment", "error": "RuntimeError: CUDA error"}
    assert [row["holds"] for row in rows[1:]] == [False, True]


def test_a_peer_that_fails_is_named_and_breaks_no_rule(capsys, monkeypatch):
    def broken():
        raise RuntimeError("out of shared memory")

    found = gpu.Found(1, 0.0, lambda: None, 1.0, {"theirs": broken, "others": lambda: None})
    monkeypatch.setitem(gpu.ROWS, "kmeans", lambda b: found)
    status, rows = rows_of(capsys, ["--device", "cpu", "--quick", "--only", "kmeans"])
    assert status == 0 and [row["against"] for row in rows] == ["theirs", "others"]
    assert rows[0]["theirs_failed"] == "RuntimeError: out of shared memory" and rows[0]["theirs_s"] is None
    assert rows[1]["theirs_s"] >= 0 and rows[1]["holds"]


def test_an_unknown_row_is_refused_with_the_names(capsys):
    with pytest.raises(SystemExit):
        gpu.main(["--only", "kmean"])
    assert "the rows are assignment, kmeans" in capsys.readouterr().err
