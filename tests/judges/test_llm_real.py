"""The LLM judge and a real model, over a real server."""

import contextlib
import json
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from grip_assets.errors import GripError


@pytest.fixture
def served(tmp_path, monkeypatch):
    """SmolLM2-135M-Instruct behind `transformers serve`; yields the name of the model."""
    from grip_assets.models.files import locate
    from grip_assets.models.proxy import converted

    model = converted(locate("SmolLM2-135M"), tmp_path).folder  # a copy as safetensors: it can be served
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["serve", str(model), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "bfloat16"]
    log = (tmp_path / "server.log").open("w")
    server = subprocess.Popen([Path(sys.executable).parent / "transformers", *words], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health")
                break
            except OSError:
                assert time.monotonic() < deadline and server.poll() is None, (tmp_path / "server.log").read_text()
                time.sleep(0.5)
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{port}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        yield str(model)
    finally:
        server.terminate()
        server.wait(600)
        log.close()


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.run
def test_a_real_model_judges_end_to_end_whatever_it_answers(lab, served, monkeypatch):
    for name, value in {"CONCURRENCY": "1", "ATTEMPTS": "1", "TIMEOUT": "300"}.items():
        monkeypatch.setenv(f"GRIP_JUDGE_{name}", value)
    few = {"fraction": 0.01, "min_per_cluster": 1}
    judge = {"judge": "llm", "model": served, "max_tokens": 40, "window_chars": 300, "windows": 1, "max_failed": 1.0}
    with contextlib.suppress(GripError):  # so small a model may score nothing at all, and that is an error
        lab.curate(probe=few, quality=judge | {"repeats": 0})
    store = sqlite3.connect(lab.data / ".judge" / "answers.sqlite")
    calls = store.execute("SELECT outcome, prompt_tokens, completion_tokens, seconds FROM calls").fetchall()
    assert len(calls) == len(lab.sql("SELECT * FROM probe_set"))
    for outcome, prompt_tokens, completion_tokens, seconds in calls:
        assert outcome in ("answered", "invalid") and prompt_tokens > 500 and completion_tokens > 1 and seconds > 0.05
    answers = [json.loads(value) for (value,) in store.execute("SELECT value FROM answers")]
    assert len(answers) == sum(outcome == "answered" for outcome, *_ in calls)
    assert all(0 <= score <= 10 for scores in answers for score in scores.values())
