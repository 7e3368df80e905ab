"""Windows, pooling and invariance of the encoder."""

import json
import shutil

import numpy as np
import pytest
import torch

from grip_assets.errors import GripError
from grip_assets.models.encoder import batches_of, load_encoder
from grip_assets.models.files import ModelFiles, content_hash, locate

TEXT = "def f(x):\n    return x + 1\n"


def load(models, **changes):
    options = {"pooling": "mean", "window": None, "max_windows": None, "dtype": "float32"} | changes
    return load_encoder(locate(str(models / "encoder")), **options)


def reference(encoder, windows):
    """Each window through the model by itself; unit means weighted by content tokens."""
    total = 0
    for window in windows:
        ids = torch.tensor([[0, *window, 1]])
        with torch.no_grad():
            mean = (
                encoder.model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0].mean(0).double()
            )
        total = total + len(window) * mean / mean.norm()
    return (total / total.norm()).numpy()


def test_a_short_document_is_the_models_own_vector(models):
    encoder = load(models)
    got = encoder.embed(TEXT)
    want = reference(encoder, [encoder.tokenizer(TEXT, add_special_tokens=False)["input_ids"]])
    np.testing.assert_allclose(got.vector, want, atol=1e-3)
    assert got.vector.dtype == np.float16 and np.linalg.norm(got.vector.astype(float)) == pytest.approx(1, abs=1e-3)
    assert got.n_windows == got.n_windows_embedded == 1


def test_a_long_document_is_pooled_by_tokens_and_nothing_is_cut(models):
    encoder = load(models)
    text = "".join(f"value_{i} = compute({i})\n" for i in range(40))
    ids = encoder.tokenizer(text, add_special_tokens=False)["input_ids"]
    windows = [ids[i : i + 62] for i in range(0, len(ids), 62)]
    got = encoder.embed(text)
    np.testing.assert_allclose(got.vector, reference(encoder, windows), atol=1e-3)
    assert (got.n_encoder_tokens, got.n_windows, got.n_windows_embedded) == (
        len(ids),
        len(windows),
        len(windows),
    )


def test_a_cap_on_windows_keeps_both_ends_and_says_so(models):
    encoder = load(models, max_windows=3)
    text = "".join(f"value_{i} = compute({i})\n" for i in range(60))
    windows = encoder.windows(text)
    middle = round((len(windows) - 1) / 2)
    got = encoder.embed(text)
    np.testing.assert_allclose(got.vector, reference(encoder, [windows[0], windows[middle], windows[-1]]), atol=1e-3)
    assert got.n_windows == len(windows) > 3 == got.n_windows_embedded


def test_neighbours_and_workers_change_no_bit_and_batches_stay_within_tolerance(models, monkeypatch):
    encoder = load(models)
    texts = [TEXT * (1 + i % 9) + f"# {i}" for i in range(30)]
    monkeypatch.setenv("GRIP_WORKERS", "1")
    one = [e.vector for e in encoder.embed_documents(texts)]
    monkeypatch.setenv("GRIP_WORKERS", "3")
    three = [e.vector for e in encoder.embed_documents(texts[::-1])][::-1]
    assert all((a == b).all() for a, b in zip(one, three, strict=True))
    batched = [e.vector for e in encoder.embed_documents(texts, batch_windows=8)]
    np.testing.assert_allclose(np.array(batched, float), np.array(one, float), atol=1e-3)


def test_special_tokens_in_a_document_are_plain_text(models):
    encoder = load(models)
    (window,) = encoder.windows("a [SEP] b [CLS]")
    assert not {0, 1, 2} & set(window)


def test_a_decoder_is_pooled_at_its_last_token_and_its_end_token_is_kept(models, tmp_path):
    from transformers import AutoTokenizer, Qwen3Config, Qwen3Model

    tokenizer = AutoTokenizer.from_pretrained(models / "encoder")
    tokenizer.save_pretrained(tmp_path)
    config = Qwen3Config(
        vocab_size=400, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=64, head_dim=16, max_position_embeddings=64, architectures=["Qwen3ForCausalLM"],
    )  # fmt: skip
    Qwen3Model(config).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(saved | {"architectures": ["Qwen3ForCausalLM"]}))
    encoder = load_encoder(locate(str(tmp_path)), None, None, None, "float32")
    assert encoder.pooling == "last" and encoder.after == [1]
    ids = torch.tensor([[0, *encoder.windows(TEXT)[0], 1]])
    with torch.no_grad():
        last = encoder.model(input_ids=ids).last_hidden_state[0, -1].double()
    np.testing.assert_allclose(encoder.embed(TEXT).vector, (last / last.norm()).numpy(), atol=1e-3)


def test_models_that_cannot_be_used_are_named(models, tmp_path):
    with pytest.raises(GripError, match=r"settings/embedding.model is '/no/where', and there is no such file"):
        locate("/no/where", "settings/embedding.model")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(GripError, match="pickles, which run code when read: convert them to safetensors"):
        locate(str(tmp_path))
    assert locate("Qwen/Qwen3-Embedding-0.6B") == ModelFiles("Qwen/Qwen3-Embedding-0.6B", None)
    with pytest.raises(GripError, match="neither on this machine nor to be had from the hub"):
        content_hash(locate("Qwen/Qwen3-Embedding-0.6B"), tmp_path)
    with pytest.raises(GripError, match="settings/embedding.window is 65; .* takes at most 64"):
        load(models, window=65)


def test_the_hash_of_a_model_is_that_of_its_content(models, tmp_path):
    shutil.copytree(models / "encoder", tmp_path / "copy")
    copy = locate(str(tmp_path / "copy"))
    assert content_hash(copy, tmp_path) == content_hash(locate(str(models / "encoder")), tmp_path)
    config = tmp_path / "copy" / "config.json"
    config.write_text(config.read_text() + " ")
    assert content_hash(copy, tmp_path) != content_hash(locate(str(models / "encoder")), tmp_path)


@pytest.mark.model
def test_the_packaged_encoder_puts_like_near_like(tmp_path):
    encoder = load_encoder(locate("all-MiniLM-L6-v2"), None, None, None, "float32")
    assert encoder.pooling == "mean" and encoder.window == 256
    sort, order, poem = (
        encoder.embed(t).vector.astype(float)
        for t in (
            "def sort_list(items):\n    return sorted(items)",
            "def order(values):\n    values.sort()\n    return values",
            "The rain fell softly on the quiet garden.",
        )
    )
    assert sort @ order > 0.5 > sort @ poem + 0.2


def test_documents_that_share_padded_batches_have_the_same_vectors(models):
    """What a GPU does, on the processor: batches of many documents by their tokens."""
    encoder = load(models, max_windows=3)
    texts = ["x", TEXT, "".join(f"value_{i} = compute({i})\n" for i in range(60)), TEXT * 9, "", "y = 2\n" * 25]
    for batch_tokens in (1, 200, 100_000):
        together = encoder.embed_together(texts, batch_tokens)
        for text, found in zip(texts, together, strict=True):
            alone = encoder.embed(text)
            np.testing.assert_allclose(found.vector.astype(float), alone.vector.astype(float), atol=1e-3)
            assert (found.n_encoder_tokens, found.n_windows, found.n_windows_embedded) == (
                alone.n_encoder_tokens,
                alone.n_windows,
                alone.n_windows_embedded,
            )


def test_a_batch_has_at_most_its_tokens_or_one_window():
    lengths = [3, 3, 4, 9, 50, 50, 80]
    found = list(batches_of(lengths, 100))
    assert [i for first, last in found for i in range(first, last)] == list(range(len(lengths)))
    assert all((last - first) * lengths[last - 1] <= 100 or last - first == 1 for first, last in found)
    assert list(batches_of([], 100)) == []
