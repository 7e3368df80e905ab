"""Shared parts of the tests: tiny real models, a small pool, and a laboratory that runs the whole chain in a temporary home."""

import gc
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# The threads of BLAS and OpenMP keep a core busy while they wait. Beside a second worker that doubles the work of a test.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import pytest
from hypothesis import settings

from grip_assets.store.locks import locked

# The same examples on every machine; HYPOTHESIS_PROFILE=search looks for new ones.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("search", max_examples=5000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

# What a changed budget computes: the chain from there, and the reports that read it.
AFTER_BUDGET = {"budgets", "subset", "knobs", "rounds", "stability"}

LONG = ("run", "model", "ui")  # marks of tests that take seconds
# Files of twenty seconds and more that need nothing which the workers make for each other.
LONGEST = ("test_planted.py", "test_what_a_setting_touches.py", "test_llm_judge.py", "test_draw.py", "test_gem.py")

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
    """With several workers, long files come first, so that no worker waits for the other at the end.

    The longest ones need nothing that the workers make for each other (``made_once``), so none waits at the start either.

    It needs ``--no-loadscope-reorder``: xdist would put files with many tests first, however short these are.
    """
    if not hasattr(config, "workerinput"):
        return
    fast = [item for item in items if not item.get_closest_marker("slow")]
    long = Counter(item.path for item in fast if any(item.get_closest_marker(name) for name in LONG))
    items.sort(key=lambda item: (item.path.name not in LONGEST, -long[item.path]))


def pytest_collection_finish():
    """What the modules hold stays to the end: the collector of Python need not look through it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@pytest.fixture(scope="session")
def chromium():
    """The browser of this machine."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("no Chromium: install the package chromium, or name the program in CHROMIUM")
    return found


def made_once(tmp_path_factory, name: str, make: Callable[[Path], Any]) -> Path:
    """The folder of this name, which the first worker that asks for it makes; the others wait and find it."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = base / name, base / f".{name}-is-made"
    with locked(base / f".{name}.lock"):
        if not done.exists():
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Folders of a tiny encoder (BERT) and a tiny proxy (Llama, head tied), with real tokenizers, as safetensors."""
    return made_once(tmp_path_factory, "models", write_models)


def write_models(root: Path) -> None:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

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


@pytest.fixture(scope="session")
def pool(tmp_path_factory):
    """A folder of 120 small source files in four topics, with one exact copy."""
    return made_once(tmp_path_factory, "pool", write_pool)


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
    """The files of a test need to survive no power cut, and waiting for the disk is a fifth of a short run."""
    from sqlalchemy import Engine, event

    @event.listens_for(Engine, "connect")
    def hurry(connection, _record):
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(autouse=True)
def the_environment_is_as_before():
    """What a test leaves in the environment would change the tests after it."""
    before = dict(os.environ)
    yield
    for name in (os.environ.keys() | before.keys()) - {"PYTEST_CURRENT_TEST"}:
        if name not in before:
            del os.environ[name]
        elif os.environ.get(name) != before[name]:
            os.environ[name] = before[name]


@pytest.fixture(scope="session", autouse=True)
def nothing_that_never_changes_is_read_twice():
    """The migrations of Dagster's files, and the benchmarks that a pool must not hold."""
    from alembic.script import ScriptDirectory

    from grip_assets.sources.steps import contamination

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", cache(ScriptDirectory.from_config))
        patch.setattr(contamination, "index", cache(contamination.index))
        yield


@pytest.fixture(scope="session", autouse=True)
def what_a_run_prints_is_copied_when_it_ends():
    """Dagster follows the output of a run with four programs. In tests nobody reads it before the run has ended."""
    from dagster._core.execution import compute_logs

    @contextmanager
    def copied(path, stream):
        yield None, None
        if (terminal := compute_logs._fileno(stream)) is not None:
            with os.fdopen(os.dup(terminal), "wb") as copy:
                copy.write(Path(path).read_bytes())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compute_logs, "execute_posix_tail", copied)
        yield


@pytest.fixture(scope="session", autouse=True)
def nothing_is_read_from_the_event_log_twice():
    """An entry of the event log never changes, and to parse the same ones at each step is a sixth of a short run."""
    from dagster._core.storage.event_log import sql_event_log

    parsed = lru_cache(maxsize=4096)(sql_event_log.deserialize_value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sql_event_log, "deserialize_value", parsed)
        yield


@pytest.fixture(scope="session", autouse=True)
def the_plan_of_a_run_is_written_as_text_once():
    """Dagster names a plan by its text, and stores it in each home. The labs of all tests have the same few plans."""
    import zlib

    from dagster._core.snap import execution_plan_snapshot
    from dagster._core.storage.runs import sql_run_storage

    name, texts, last = execution_plan_snapshot.create_execution_plan_snapshot_id, dict[str, bytes](), [None, ""]

    def named(plan):
        if last[0] is not plan:
            last[:] = plan, name(plan)
        return last[1]

    def add(storage, snapshot_id, snapshot_obj, snapshot_type):
        if snapshot_id not in texts:
            texts[snapshot_id] = zlib.compress(sql_run_storage.serialize_value(snapshot_obj).encode())
        row = {"snapshot_id": snapshot_id, "snapshot_body": texts[snapshot_id], "snapshot_type": snapshot_type.value}
        with storage.connect() as connection:
            connection.execute(sql_run_storage.SnapshotsTable.insert().prefix_with("OR IGNORE").values(**row))
        return snapshot_id

    with pytest.MonkeyPatch.context() as patch:
        for module in (execution_plan_snapshot, sql_run_storage):
            patch.setattr(module, "create_execution_plan_snapshot_id", named)
        patch.setattr(sql_run_storage.SqlRunStorage, "_add_snapshot", add)
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


@cache
def job_of(keys: frozenset):
    """The job that materializes these assets. To build it takes half of the time of a run of one asset."""
    import dagster as dg

    from grip_assets.definitions import defs

    chosen = dg.define_asset_job("chosen", selection=list(keys))
    return dg.Definitions(assets=defs.assets, jobs=[chosen], resources=defs.resources).resolve_job_def("chosen")


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
        self.make(**{group: values})

    def make(self, *stages: str, **changes) -> set[str]:
        """Change settings and materialize these stages, which takes a fraction of a whole run; those computed."""
        made = [
            e.step_materialization_data.materialization
            for e in self.materialize(*stages, **changes).get_asset_materialization_events()
        ]
        return {m.asset_key.to_user_string() for m in made if "reused" in m.metadata and not m.metadata["reused"].value}

    def materialize(self, *stages: str, raise_on_error: bool = True, tags: dict | None = None, **changes):
        """Change settings and materialize these stages, as *Materialize* in the UI does; Dagster's result."""
        import dagster as dg

        from grip_assets.orchestration.event_log import settings_key

        ops = {f"settings__{group}": {"config": values} for group, values in changes.items()}
        config = {"ops": ops, "loggers": {"console": {"config": {"log_level": "ERROR"}}}}
        job = job_of(frozenset([*map(settings_key, changes), *map(dg.AssetKey, stages)]))
        return job.execute_in_process(config, self.instance, raise_on_error=raise_on_error, tags=tags)

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
        "near_duplicates": {"threshold": 0},  # tests of near copies have pools of their own
        "embedding": {"model": str(models / "encoder"), "pooling": "mean"},
        "clustering": {"k": 6, "min_cluster_docs": 5, "iterations": 5, "seeds": 2},
        "probe": {"fraction": 0.4, "min_per_cluster": 4},
        "adaptation": {"proxy": str(models / "proxy"), "tokens_per_cluster": 200, "window": 32, "epochs": 3},
        "budget": {"replay": "loss"},  # the whole of GRIP
    }
    for group, values in more.items():
        settings.setdefault(group, {}).update(values)
    return settings


@pytest.fixture(scope="session")
def curated(tmp_path_factory, models, pool):
    """A home with the small pool curated, to be copied; without pictures."""
    return made_once(tmp_path_factory, "curated", lambda home: _curate(home, models, pool, False))


@pytest.fixture(scope="session")
def curated_and_drawn(tmp_path_factory, models, pool):
    return made_once(tmp_path_factory, "drawn", lambda home: _curate(home, models, pool, True))


def _curate(home: Path, models: Path, pool: Path, draws: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        lab = Lab(home, patch, draws)
        lab.curate(**small(models, pool))
        lab.instance.dispose()


@pytest.fixture
def lab(request, tmp_path, monkeypatch, draws):
    """A laboratory in which the small pool is curated."""
    shutil.copytree(request.getfixturevalue("curated_and_drawn" if draws else "curated"), tmp_path / "lab")
    return Lab(tmp_path / "lab", monkeypatch, draws)
