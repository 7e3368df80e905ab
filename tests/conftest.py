"""Shared parts of the tests: tiny real models, a small pool, and a laboratory that runs the whole chain in a temporary home."""

import os
import shutil
import sqlite3
from collections import Counter
from functools import lru_cache
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
from hypothesis import settings

# The same examples on every machine; HYPOTHESIS_PROFILE=search looks for new ones.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("search", max_examples=5000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

# What a changed budget computes: the chain from there, and the reports that read it.
AFTER_BUDGET = {"budgets", "subset", "knobs", "rounds", "stability"}

LONG = ("run", "model", "ui")  # marks of tests that take seconds

TOPICS = {
    "parse": "def parse_{i}(text, limit={j}):\n    '''Read {i} fields, because the header has them.'''\n    out = []\n"
    "    for line in text.splitlines():\n        if len(line) > limit:\n            raise ValueError(line)\n"
    "        out.append(line.split(','))\n    return out[{i}:]\n",
    "matrix": "class Matrix{i}:\n    def __init__(self, rows):\n        self.rows = rows\n\n    def dot(self, other):\n"
    "        return [[sum(a * b for a, b in zip(r, c)) for c in zip(*other.rows)] for r in self.rows][{j}:]\n",
    "server": "async def handle_{i}(request):\n    async with request.session() as session:\n        try:\n"
    "            return await session.get('/items/{j}')\n        except TimeoutError:\n            return None\n",
    "table": "TABLE_{i} = [\n" + "    ({i}, {j}, 'a{i}b{j}'),\n" * 6 + "]\n",
}


def pytest_collection_modifyitems(config, items):
    """With several workers, files with many long tests come first, so that no worker waits for the other at the end.

    It needs ``--no-loadscope-reorder``: xdist would put files with many tests first, however short these are.
    """
    if not hasattr(config, "workerinput"):
        return
    long = Counter(item.path for item in items if any(item.get_closest_marker(name) for name in LONG))
    items.sort(key=lambda item: -long[item.path])


@pytest.fixture(scope="session")
def chromium():
    """The browser of this machine."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("no Chromium: install the package chromium, or name the program in CHROMIUM")
    return found


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Folders of a tiny encoder (BERT) and a tiny proxy (Llama, head tied), with real tokenizers, as safetensors."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    root = tmp_path_factory.mktemp("models")
    texts = [t.format(i=i, j=i * 7) for i in range(20) for t in TOPICS.values()]

    def tokenizer(special: list[str]) -> Tokenizer:
        built = Tokenizer(models.BPE())
        built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        built.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        built.train_from_iterator(
            texts,
            trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
        )
        return built

    torch.manual_seed(0)
    words = tokenizer(["[CLS]", "[SEP]", "[PAD]"])
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=words, cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]")
    fast.model_max_length = 64
    fast.save_pretrained(root / "encoder")
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=400, max_position_embeddings=64, **size)).save_pretrained(root / "encoder")

    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer(["<|end|>"]), eos_token="<|end|>")
    fast.save_pretrained(root / "proxy")
    config = LlamaConfig(
        vocab_size=400,
        max_position_embeddings=128,
        num_key_value_heads=1,
        tie_word_embeddings=True,
        **(size | {"num_hidden_layers": 4}),
    )
    LlamaForCausalLM(config).save_pretrained(root / "proxy")
    return root


@pytest.fixture(scope="session")
def pool(tmp_path_factory):
    """A folder of 120 small source files in four topics, with one exact copy."""
    return write_pool(tmp_path_factory.mktemp("pool"))


def write_pool(root: Path, n: int = 30) -> Path:
    for topic, template in TOPICS.items():
        (root / topic).mkdir()
        for i in range(n):
            text = "".join(template.format(i=i * 3 + k, j=i * 7 + k) for k in range(1 + i % 5))
            (root / topic / f"{topic}_{i:02}.py").write_text(text)
    (root / "copy.py").write_text((root / "parse" / "parse_00.py").read_text())
    return root


@pytest.fixture(scope="session", autouse=True)
def nothing_waits_for_the_disk():
    """SQLite's files of a test need to survive no power cut, and waiting for the disk is a fifth of a short run."""
    from sqlalchemy import Engine, event

    @event.listens_for(Engine, "connect")
    def hurry(connection, _record):
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF")


@pytest.fixture(scope="session", autouse=True)
def nothing_is_read_from_the_event_log_twice():
    """An entry of the event log never changes, and to parse the same ones at each step is a sixth of a short run."""
    from dagster._core.storage.event_log import sql_event_log

    parsed = lru_cache(maxsize=4096)(sql_event_log.deserialize_value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sql_event_log, "deserialize_value", parsed)
        yield


def draw(on: bool) -> None:
    """Whether runs of this process draw pictures and write the page, or an empty one in its place."""
    from grip_assets.orchestration import stage_assets
    from grip_assets.report.page import write

    REAL.setdefault("draw", stage_assets.draw_picture)
    REAL.setdefault("write", write.write)
    stage_assets.draw_picture = REAL["draw"] if on else None
    write.write = REAL["write"] if on else _empty_page


REAL: dict = {}


def _empty_page(store, in_force, settings, code_version):
    from grip_assets.report.page.write import Written, digest_of_page, named, page_path

    path, name = page_path(store.root), named(store, in_force, settings, code_version)
    reused = digest_of_page(path) == name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'<meta name="grip-digest" content="{name}"></html>')
    return Written(path, name, reused, 0, path.stat().st_size)


class Lab:
    """The whole chain over a folder, in its own data folder and Dagster home."""

    def __init__(self, home: Path, monkeypatch, draws: bool = False):
        from grip_assets import operations

        draw(draws)
        monkeypatch.setenv("GRIP_DATA", str(home / "data"))
        monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
        self.home, self.data, self.operations = home, home / "data", operations
        self.instance = operations.open_instance()

    def curate(self, **changes) -> set[str]:
        """Run with settings by group; the stages that were computed."""
        return set(self.operations.curate(self.instance, changes).computed)

    def change(self, group: str, **values) -> None:
        """Change settings without a run of what depends on them, as somebody else might in the UI."""
        import dagster as dg

        from grip_assets.definitions import defs
        from grip_assets.orchestration.event_log import settings_key

        config = {"ops": {f"settings__{group}": {"config": values}}}
        selection = [settings_key(group)]
        dg.materialize(
            list(defs.assets), selection=selection, instance=self.instance, resources=defs.resources, run_config=config
        )

    def sql(self, query: str):
        from grip_assets.store.catalog import connect

        with connect(self.data) as connection:
            return connection.sql(query).pl()


@pytest.fixture
def draws(request) -> bool:
    """Whether the test is about pictures or the page: marked with `draws`."""
    return request.node.get_closest_marker("draws") is not None


@pytest.fixture
def new_lab(tmp_path, monkeypatch, models, pool, draws):
    """Makes laboratories; the first settings are those of the small pool and the tiny models."""

    def make(name: str = "lab", path: Path | None = None, first: bool = True, **more) -> Lab:
        (tmp_path / name).mkdir(exist_ok=True)
        lab = Lab(tmp_path / name, monkeypatch, draws)
        if first:
            lab.curate(**small(models, path or pool, **more))
        return lab

    return make


def small(models: Path, pool: Path, **more: dict) -> dict:
    """Settings that make the chain run in seconds."""
    settings = {
        "corpus": {"path": str(pool), "tokenizer": str(models / "proxy")},
        "embedding": {"model": str(models / "encoder"), "pooling": "mean"},
        "clustering": {"k": 6, "min_cluster_docs": 5, "iterations": 5, "seeds": 2},
        "probe": {"fraction": 0.4, "min_per_cluster": 4},
        "adaptation": {"proxy": str(models / "proxy"), "tokens_per_cluster": 200, "window": 32, "epochs": 3},
    }
    for group, values in more.items():
        settings.setdefault(group, {}).update(values)
    return settings


@pytest.fixture(scope="session")
def curated(tmp_path_factory, models, pool):
    """A home with the small pool curated, to be copied; without pictures."""
    return _curate(tmp_path_factory.mktemp("curated"), models, pool, False)


@pytest.fixture(scope="session")
def curated_and_drawn(tmp_path_factory, models, pool):
    return _curate(tmp_path_factory.mktemp("drawn"), models, pool, True)


def _curate(home, models, pool, draws):
    with pytest.MonkeyPatch.context() as patch:
        lab = Lab(home, patch, draws)
        lab.curate(**small(models, pool))
        lab.instance.dispose()
    return home


@pytest.fixture
def lab(request, tmp_path, monkeypatch, draws):
    """A laboratory in which the small pool is curated."""
    shutil.copytree(request.getfixturevalue("curated_and_drawn" if draws else "curated"), tmp_path / "lab")
    return Lab(tmp_path / "lab", monkeypatch, draws)
