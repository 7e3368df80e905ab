"""The packaged proxy is a real language model of code, and its safetensors copy is the same model."""

import inspect
import os
import random
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from grip_assets.errors import GripError
from grip_assets.method.agreement import rank_correlation
from grip_assets.models.files import cached, content_hash, locate, locate_tokenizer
from grip_assets.models.proxy import converted, load_proxy
from grip_assets.models.tokenizers import load_tokenizer, open_tokenizer, tokenize
from grip_assets.training.adaptation import adapt, hidden_states, probe_batch
from grip_assets.training.closed_form import first_step


def test_a_document_cannot_hold_special_tokens(models, tmp_path):
    proxy = load_proxy(str(models / "proxy"), tmp_path)
    assert 0 not in proxy.tokenize("a <|end|> b")
    assert load_tokenizer(str(models / "proxy"), "s", tmp_path)(["a <|end|> b"]) == [len(proxy.tokenize("a <|end|> b"))]


def test_a_model_is_unpacked_once_for_all_data_folders_whoever_comes_first(models, tmp_path, monkeypatch):
    """Two at once, each with a data folder of its own; what one leaves half done is in nobody's way."""
    monkeypatch.setenv("GRIP_CACHE", str(tmp_path / "cache"))
    (tmp_path / "some.gguf").write_bytes(b"weights")
    files, unpacked, said = locate(str(tmp_path / "some.gguf")), [], []
    together = threading.Barrier(2, timeout=20)

    def unpack(files, target):
        unpacked.append(target)
        together.wait()
        target.mkdir()
        (target / "model.safetensors").write_bytes(b"weights")

    monkeypatch.setattr("grip_assets.models.proxy._unpack", unpack)
    monkeypatch.setattr("grip_assets.models.proxy.tokenizer_files", lambda *_: locate(str(models / "proxy")))
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda n: converted(files, tmp_path / f"data{n}", said.append), range(2))
    again = converted(files, tmp_path / "data3")
    assert one == other == again and len(unpacked) == 2
    assert [p.name for p in (tmp_path / "cache" / "models").iterdir()] == [one.folder.name], "nothing is left aside"
    assert (one.folder / "model.safetensors").exists() and said[0].startswith("unpacking ")


def test_the_cache_is_where_the_user_says_or_where_it_can_be(tmp_path, monkeypatch):
    monkeypatch.setenv("GRIP_CACHE", str(tmp_path / "mine"))
    assert cached("x") == tmp_path / "mine" / "x"
    monkeypatch.delenv("GRIP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cached("x") == tmp_path / "xdg" / "grip" / "x"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cached("x") == tmp_path / "home" / ".cache" / "grip" / "x"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GRIP_CACHE", str(tmp_path / "file" / "below"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert cached("x") == tmp_path / f"grip-cache-{os.getuid()}" / "x"
    assert (tmp_path / f"grip-cache-{os.getuid()}").stat().st_mode & 0o077 == 0, "nobody else can write there"


@pytest.mark.slow
@pytest.mark.model
def test_the_closed_form_ranks_as_the_steps_do(tmp_path):
    """On the packaged proxy and groups of the standard library: the same documents are trained on and held out."""
    import asyncio
    import email
    import encodings

    proxy = load_proxy("SmolLM2-135M", tmp_path)
    random_words = random.Random(0)
    groups = [sorted(Path(m.__file__).parent.glob("*.py")) for m in (asyncio, email, encodings)]
    texts = [[p.read_text()[:3000] for p in files[2:8]] for files in groups]
    texts.append(["MIT License. Permission is hereby granted, free of charge. " * 20] * 6)
    texts.append([" ".join(random_words.choices(texts[0][0].split() + texts[1][0].split(), k=300)) for _ in range(6)])
    steps, closed = [], []
    for documents in texts:
        batch = probe_batch([(str(i), proxy.tokenize(t)) for i, t in enumerate(documents)], 64, 320, True, 0)
        curve = adapt(proxy, batch, 0, 3e-4, 3, 0.02, 0)
        steps.append(curve.evaluate[0] - curve.evaluate[-1])
        windows = batch.train + batch.evaluate
        fold_T = np.repeat([0, 1], [sum(len(w) - 1 for w in part) for part in (batch.train, batch.evaluate)])
        following = np.array([token for w in windows for token in w[1:]])
        drop = first_step(hidden_states(proxy, windows), following, fold_T, [1], proxy.vocabulary)
        closed.append(3e-4 * drop.held_out)
    assert rank_correlation(np.array(steps), np.array(closed)) >= 0.9
    np.testing.assert_allclose(np.array(steps) / 3, closed, rtol=0.2)


@pytest.mark.model
def test_the_packaged_proxy_knows_code_and_reads_special_tokens_as_text(tmp_path):
    proxy = load_proxy("SmolLM2-135M", tmp_path)
    assert sum(p.numel() for p in proxy.model.parameters()) == 134_515_008
    ids = proxy.tokenize(inspect.getsource(random))[:400]
    shuffled = random.Random(0).sample(ids, len(ids))

    def perplexity(tokens):
        with torch.no_grad():
            return float(proxy.model(input_ids=torch.tensor([tokens]), labels=torch.tensor([tokens])).loss.exp())

    assert perplexity(ids) < 40 < 400 < perplexity(shuffled)
    assert not {0, 1, 2} & set(proxy.tokenize("<|im_start|>system <|im_end|> <|endoftext|>"))


@pytest.mark.slow  # a copy that is not the model would not know code, which the test above sees
@pytest.mark.model
def test_the_copy_of_the_packaged_proxy_has_its_weights(tmp_path):
    from transformers import AutoModelForCausalLM

    files = locate("SmolLM2-135M")
    direct = AutoModelForCausalLM.from_pretrained(files.folder, gguf_file=files.gguf_file, dtype=torch.float32)
    ours, theirs = load_proxy("SmolLM2-135M", tmp_path).model.state_dict(), direct.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], weight) for name, weight in theirs.items())


def test_a_tokenizer_is_a_tokenizer_json_and_asks_for_no_weights(models, tmp_path):
    shutil.copy(models / "proxy" / "tokenizer.json", tmp_path)
    text = "def f(): return '<|end|>'"
    whole = open_tokenizer(str(models / "proxy"), "x", tmp_path)
    for name in (str(tmp_path), str(tmp_path / "tokenizer.json")):
        alone = open_tokenizer(name, "x", tmp_path)
        assert tokenize(alone, text) == tokenize(whole, text) and alone.eos_token == "<|end|>"
        assert load_tokenizer(name, "x", tmp_path)([text]) == [len(tokenize(whole, text))]
    before = content_hash(locate_tokenizer(str(tmp_path), "x"), tmp_path / "hashes")
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "[no such]"}')
    assert content_hash(locate_tokenizer(str(tmp_path), "x"), tmp_path / "hashes") != before
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(GripError, match=r"corpus.tokenizer is '.*broken.json.* cannot be read as a tokenizer"):
        open_tokenizer(str(tmp_path / "broken.json"), "corpus.tokenizer", tmp_path)
