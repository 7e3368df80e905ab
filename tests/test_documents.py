"""The documentation says what the code says, its commands run, and a result that changes is noticed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from grip_assets.runtime.variables import VARIABLES
from grip_assets.stages import CURATED, STAGES
from grip_assets.store.artifacts import REPOSITORY, ArtifactStore
from grip_assets.store.catalog import literal
from tools.reference import README, REFERENCE, filled, reference

JUDGE = REPOSITORY / "docs" / "judge.md"
METHODS = REPOSITORY / "docs" / "methods.md"
PAGES = [README, *sorted((REPOSITORY / "docs").glob("*.md"))]
# Lines of code that this file does not run, by their beginning, and where they are run or why they cannot be.
ELSEWHERE = {
    "make run": "every session, from a fresh clone",
    "make test": ".ci/run",
    "make ui": "tests/test_browser.py: the same command",
    "make bench": "by hand; tests/test_bench.py runs its parts",
    "make check-slow": "by hand",
    "make evaluate": "by hand, for docs/evidence.md; tests/test_planted.py runs its parts",
    "grip evaluate": "tests/test_planted.py",
    "grip curate --profile evaluate_cpu --corpus ~/polyglot": "by hand, for docs/evidence.md: an hour",
    "export GRIP_DATA=~/polyglot-data": "as above",
    "grip curate --profile quickstart --corpus ~/polyglot": "by hand, for docs/gem.md",
    "grip curate --profile quickstart --set clustering.k=24": "as above",
    "grip curate --set clustering.method=column --set clustering.column=language": "as above",
    "grip curate --profile gem --set clustering.min_cluster_docs=40": "as above",
    "grip curate --set embedding.sample=": "as above",
    "grip balance": "tests/test_balance.py",
    "grip report": "tests/test_report.py: it serves until Ctrl+C",
    "python -m tools.gem": "tests/test_gem_measures.py",
    'grip sql "SELECT * FROM ladder"': "tests/test_planted.py: there is none before an evaluation",
    "python -m tools.evidence": "tests/test_planted.py",
    "python -m tools.pictures": "by hand, with the pages that have the pictures",
    'python -c "import json, pydoc_data.topics': "by hand, for the evidence",
    "python -m tools.ladders": "tests/test_evaluation_page.py runs its parts",
    "python -m tools.mixing": "tests/test_mixing_measures.py runs its parts",
    "python -m tools.grasp": "tests/test_grasp_measures.py runs its parts",
    **dict.fromkeys((f"grip curate --profile gem_{m}" for m in ("regmix", "doremi", "perf")), "tests of their stages"),
    "grip plan --profile grasp": "tests of its stages",
    **dict.fromkeys((f"grip curate --{w}" for w in ("profile grasp", "set selection.rule=greedy")), "as above"),
    "grip curate --set budget.base=grasp": "as above",
    "grip curate --set 'corpus.test_sets=[": "tests/test_pools_page.py",
    "export AWS_ACCESS_KEY_ID=": "tests/store: a bucket of a server on this machine",
    "cat curve.jsonl": "by hand, as the benches before it",
    "grip plan --documents 100e6 --coefficients": "tests/test_scale.py",
    "grip fidelity": "tests/test_attribution_faces.py",
    "python -m tools.polyglot": "by hand: it downloads; tests/sources/test_polyglot.py",
    "GRIP_EXECUTOR=ray": "tests/test_ray.py, tests/test_ray_cluster.py",
    "grip bench": "tests/test_bench.py",
    "python -m grip_assets.bench": "tests/test_bench.py, by hand",
    "export GRIP_": "tests/test_triggers.py, tests/test_concurrency.py",
    **dict.fromkeys(("pip install", "export DAGSTER_HOME=", "dagster dev -m", "dg dev"), "tests/test_package.py"),
    "pip install '.[postgres]'": "tests/test_concurrency.py needs what it installs",
    "cp dagster_home/postgres.yaml": "tests/test_concurrency.py",
    "subset: ": "tests/test_browser.py: the form of rollback",
    "beta: ": "tests/test_browser.py: the form of change_selection",
    "grip curate --corpus s3://": "no bucket here",
    "grip curate --set embedding.model=Qwen/": "no hub here",
    "grip curate --set budget.replay=loss --set adaptation.proxy=HuggingFaceTB/": "no hub here",
}


def code(page: Path) -> list[str]:
    """Indented lines of code, without comments. The page on LLM judges is run by tests/test_llm_chain.py."""
    text = "" if page == JUDGE else re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    lines = [line for line in text.splitlines() if line.startswith("    ")]
    return [re.split(r"\s{2,}#", line.strip())[0].strip() for line in lines]


def test_the_generated_pages_are_current():
    assert filled(README.read_text()) == README.read_text(), "run: make docs"
    assert reference() == REFERENCE.read_text(), "run: make docs"


def test_everything_is_in_the_reference():
    from grip_assets.cli import app
    from grip_assets.definitions import defs
    from grip_assets.settings import GROUPS
    from grip_assets.settings.changes import profiles

    text = REFERENCE.read_text()
    names = [f"`{g}.{name}`" for g, schema in GROUPS.items() for name in schema.model_fields]
    names += [f"#### `{stage}`" for stage in STAGES] + [f"Table `{t}`" for s in STAGES.values() for t in s.table_names]
    names += [f"#### `grip {c.name or c.callback.__name__}" for c in app.registered_commands]
    repository = defs.get_repository_def()
    found = [*repository.get_all_jobs(), *repository.schedule_defs, *repository.sensor_defs]
    names += [f"| `{d.name}` |" for d in found if not d.name.startswith("__")]
    names += [f"| `{name}` |" for name in VARIABLES]
    assert [name for name in names if name not in text] == []
    assert [name for name in profiles() if f"`{name}`" not in METHODS.read_text()] == []


@pytest.mark.run
def test_every_column_is_documented(lab):
    for stage in CURATED.values():  # those of the evaluation: in the tests of its stages
        for table in stage.tables:
            assert list(table.schema) == lab.sql(f"SELECT * FROM {table.name}").columns, table.name


def test_every_column_is_described_and_comes_from_columns_that_are_there():
    tables = {table.name: table for stage in STAGES.values() for table in stage.tables}
    for table in tables.values():
        for column in table.columns:
            assert column.description.endswith("."), column
            assert all(name in tables[of].schema for of, name in column.source_pairs()), column


def test_every_link_leads_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_first_page_is_short():
    assert len(README.read_text().splitlines()) <= 120


def test_no_line_of_prose_is_wider_than_a_screen():
    """Rows of tables, code and pictures aside."""
    for page in [*PAGES, *REPOSITORY.glob("C*.md")]:
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        prose = [line for line in text.splitlines() if not line.startswith(("|", "    ", "!", "<"))]
        assert [line for line in prose if len(line) > 120] == [], page.name


def test_every_line_of_code_is_run_somewhere():
    for page in PAGES:
        for line in code(page):
            assert line.startswith(("grip ", *ELSEWHERE)), f"{page.name}: {line}"


def to_run(page: Path) -> list[str]:
    if page.name == "pools.md":  # tests/test_pools_page.py runs each of its commands on a pool of its own
        return []
    return [line for line in code(page) if not line.startswith(tuple(ELSEWHERE))]


@pytest.mark.run
@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if to_run(p)], ids=lambda p: p.name)
def test_the_commands_of_a_page_run_as_they_are_written(page, lab, pool, models, tmp_path):
    import datasets

    texts = [{"body": f.read_text(), "text": f.read_text(), "url": f.name} for f in sorted(pool.rglob("*.py"))]
    pl.DataFrame(texts).write_parquet(tmp_path / "part.parquet")
    (tmp_path / "parquet_folder").mkdir()
    (tmp_path / "part.parquet").rename(tmp_path / "parquet_folder" / "part.parquet")
    pl.DataFrame(texts).write_ndjson(tmp_path / "pool.jsonl.zst", compression="zstd")
    datasets.Dataset.from_list(texts).save_to_disk(tmp_path / "saved_dataset")
    for name in ("code", "web"):
        shutil.copytree(pool, tmp_path / "home" / name)
    old = lab.sql("SELECT version FROM artifacts WHERE asset = 'subset' AND in_force")["version"][0]
    lab.curate(selection={"beta": 0.9})
    new = lab.sql("SELECT version FROM artifacts WHERE asset = 'subset' AND in_force")["version"][0]
    real = {
        "OLD": old,
        "NEW": new,
        "/checkpoints/step_20000": str(models / "proxy"),
        "/checkpoints": str(tmp_path),
    }
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(tmp_path / "home")}
    for line in to_run(page):
        if "SOURCE" in line:  # of the pool that the page has come to
            real["SOURCE"] = lab.sql("SELECT source FROM corpus ORDER BY doc_id LIMIT 1")["source"][0]
        for name, value in real.items():
            line = re.sub(rf"{name}(?![\w/])", value, line)
        done = subprocess.run(["bash", "-c", line], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0 and done.stdout, line + done.stderr


def test_every_query_is_run_by_somebody():
    code = "\n".join(f.read_text() for f in (REPOSITORY / "grip_assets").rglob("*.py"))
    for file in (REPOSITORY / "sql").rglob("*.sql"):
        name = file.relative_to(REPOSITORY / "sql").with_suffix("").as_posix()
        known = (
            name.startswith(("checks/", "extremes/", "evidence/", "samples/"))
            or f'"{name}"' in code
            or f"'{name}'" in code
        )
        assert known, f"{name}.sql is used by nothing"


def test_no_value_ends_its_literal():
    import duckdb

    for value in ("it's", "'; DROP VIEW x; --", 'a"b', "\\'", None, 3, 2.5, True):
        (row,) = duckdb.sql(f"SELECT {literal(value)}").fetchall()
        assert row[0] == value or float(row[0]) == value


def test_an_artifact_is_there_whole_or_not_at_all(tmp_path):
    store = ArtifactStore(tmp_path)
    with pytest.raises(RuntimeError), store.publish("budgets", {}) as draft:
        draft.write("budgets", pl.DataFrame({"a": [1]}))
        raise RuntimeError
    assert not list(tmp_path.glob("budgets/*")) and not list((tmp_path / ".scratch").iterdir())
    manifest = {"version": "v"}
    with store.publish("budgets", manifest) as draft:
        draft.write("budgets", pl.DataFrame({"a": [1, 2]}))
        assert not store.has("budgets", "v")
    assert store.has("budgets", "v") and store.manifest("budgets", "v")["tables"]["budgets"]["rows"] == 2
    with store.publish("budgets", {"version": "v"}) as draft:  # another run was first: its artifact stands
        draft.write("budgets", pl.DataFrame({"a": [1, 2]}))
    assert pl.read_parquet(store.parquet("budgets", "v", "budgets"))["a"].to_list() == [1, 2]
