"""The packaged proxy is a real language model of code, and its safetensors copy is the same model."""

import inspect
import random
import shutil

import pytest
import torch

from grip_assets.errors import GripError
from grip_assets.models.files import content_hash, locate, locate_tokenizer
from grip_assets.models.proxy import load_proxy, load_tokenizer, open_tokenizer, tokenize


def test_a_document_cannot_hold_special_tokens(models, tmp_path):
    proxy = load_proxy(str(models / "proxy"), tmp_path)
    assert 0 not in proxy.tokenize("a <|end|> b")
    assert load_tokenizer(str(models / "proxy"), "s", tmp_path)("a <|end|> b") == len(proxy.tokenize("a <|end|> b"))


@pytest.mark.model
def test_the_packaged_proxy_knows_code_and_its_copy_is_the_same(tmp_path):
    from transformers import AutoModelForCausalLM

    proxy = load_proxy("SmolLM2-135M", tmp_path)
    files = locate("SmolLM2-135M")
    direct = AutoModelForCausalLM.from_pretrained(files.folder, gguf_file=files.gguf_file, dtype=torch.float32)
    again = load_proxy("SmolLM2-135M", tmp_path)
    ours, theirs = again.model.state_dict(), direct.state_dict()
    assert all(torch.equal(ours[name], weight) for name, weight in theirs.items())
    assert sum(p.numel() for p in again.model.parameters()) == 134_515_008

    ids = proxy.tokenize(inspect.getsource(random))[:400]
    shuffled = random.Random(0).sample(ids, len(ids))

    def perplexity(tokens):
        with torch.no_grad():
            return float(proxy.model(input_ids=torch.tensor([tokens]), labels=torch.tensor([tokens])).loss.exp())

    assert perplexity(ids) < 40 < 400 < perplexity(shuffled)
    assert not {0, 1, 2} & set(proxy.tokenize("<|im_start|>system <|im_end|> <|endoftext|>"))


def test_a_tokenizer_is_a_tokenizer_json_and_asks_for_no_weights(models, tmp_path):
    shutil.copy(models / "proxy" / "tokenizer.json", tmp_path)
    text = "def f(): return '<|end|>'"
    whole = open_tokenizer(str(models / "proxy"), "x", tmp_path)
    for name in (str(tmp_path), str(tmp_path / "tokenizer.json")):
        alone = open_tokenizer(name, "x", tmp_path)
        assert tokenize(alone, text) == tokenize(whole, text) and alone.eos_token == "<|end|>"
        assert load_tokenizer(name, "x", tmp_path)(text) == len(tokenize(whole, text))
    before = content_hash(locate_tokenizer(str(tmp_path), "x"), tmp_path / "hashes")
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "[no such]"}')
    assert content_hash(locate_tokenizer(str(tmp_path), "x"), tmp_path / "hashes") != before
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(GripError, match=r"corpus.tokenizer is '.*broken.json.* no tokenizer that can be read"):
        open_tokenizer(str(tmp_path / "broken.json"), "corpus.tokenizer", tmp_path)
