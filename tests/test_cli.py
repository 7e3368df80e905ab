"""The command line, as a user types it."""

import gzip
import json
import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import duckdb
import polars as pl
import pytest
from conftest import draw, small, write_pool

from grip_assets import cli
from grip_assets.operations import read_assignments
from grip_assets.settings import GROUPS
from grip_assets.settings.changes import profiles, read_profile
from grip_assets.stages import CURATED

pytestmark = pytest.mark.run


class Home:
    """A folder with a pool that the program has curated, as a user types it."""

    def __init__(self, folder: Path, models: Path):
        self.folder = folder
        self.env = {"GRIP_DATA": str(folder / "data"), "DAGSTER_HOME": str(folder / "dagster")}
        (folder / "pool").mkdir()
        settings = small(models, write_pool(folder / "pool"), budget={"total": 0.3})
        del settings["corpus"]["path"]
        words = [f"{g}.{n}={json.dumps(v)}" for g, values in settings.items() for n, v in values.items()]
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as printed:
            self.enter(patch)
            assert cli.run(["curate", "--corpus", "pool", *(w for word in words for w in ("--set", word))]) == 0
        self.first = printed.getvalue()

    def enter(self, patch: pytest.MonkeyPatch) -> None:
        draw(False)
        for name, value in self.env.items():
            patch.setenv(name, value)
        patch.chdir(self.folder)


@pytest.fixture(scope="module")
def typed(tmp_path_factory, models):
    return Home(tmp_path_factory.mktemp("cli"), models)


class Shell:
    """Commands of the program in this process: a new one takes two seconds to start. test_package.py starts one."""

    def __init__(self, home: Home, capfd):
        self.home, self.first, self.capfd = home.folder, home.first, capfd

    def run(self, *words: str, ok: bool = True) -> str:
        self.capfd.readouterr()
        code = cli.run(list(words))
        out, err = self.capfd.readouterr()
        assert (code == 0) == ok, out + err
        assert "Traceback" not in err, err
        return out if ok else err


@pytest.fixture
def shell(typed, capfd, monkeypatch):
    typed.enter(monkeypatch)
    return Shell(typed, capfd)


def test_curate_says_what_went_in_what_came_out_and_why(shell):
    for words in (
        "121 documents read",
        "(1 duplicates, 0 contaminated)",
        "120 documents with",
        "budget",
        "out  ",
        "gained most",
        "lost most",
        "typical document",
    ):
        assert words in shell.first, shell.first
    (line,) = re.findall(r"^computed: (.*)", shell.first, re.M)
    computed = line.split(", ")
    assert computed[0] == "corpus" and {"clusters", "budgets", "subset", "stability"} < set(computed)
    assert computed == [name for name in CURATED if name in computed], "in the order of the chain"
    assert "grip.duckdb" in shell.first and "grip report" in shell.first


def test_plan_says_what_would_happen_and_changes_nothing(shell):
    planned = shell.run("plan", "--set", "selection.beta=0.9")
    assert re.search(r"^subset +compute", planned, re.M) and "selection.beta: 0.3 → 0.9" in planned
    assert f"3 of {len(CURATED)} assets to compute" in planned, "the subset, knobs and stability"
    assert "the report and the run itself: about " in planned and "measured here" in planned and "GB free)" in planned
    assert f"0 of {len(CURATED)} assets to compute" in shell.run("plan")


def test_status_is_a_table_and_json(shell):
    assert "budgets" in shell.run("status") and "selection.beta" in shell.run("status")
    status = json.loads(shell.run("status", "--json"))
    assert {a["asset"] for a in status["assets"]} == {*CURATED, "report", *(f"settings/{group}" for group in GROUPS)}
    assert all(a["fresh"] and a["version"] for a in status["assets"])
    assert status["settings"]["budget.total"] == 0.3


def test_every_table_is_a_view_that_any_client_can_read(shell):
    columns = {
        "corpus": "doc_id text language source n_bytes n_tokens",
        "embeddings": "doc_id embedding n_encoder_tokens",
        "clusters": "doc_id cluster_id cosine",
        "centroids": "cluster_id centroid n_docs n_tokens",
        "sigma_k": "cluster_id n_docs n_tokens sigma",
        "probe_set": "doc_id cluster_id",
        "probe_allocation": "cluster_id n_probe",
        "quality_scores": "doc_id cluster_id syntax_integrity architecture educational_value technical_depth score judge status",
        "cluster_quality": "cluster_id quality standard_error n_judged",
        "adaptation_deltas": "cluster_id loss_initial loss_final delta relative_delta n_tokens",
        "loss_curves": "cluster_id seed step loss",
        "budgets": "cluster_id n_docs n_tokens sigma quality delta base_budget replay_multiplier utility budget allocated",
        "densities": "doc_id density",
        "subset": "doc_id cluster_id density length_weight selection_weight repeats",
        "diversity": "cluster_id n_docs n_selected corpus subset random",
        "corpus_map": "doc_id cluster_id x y",
        "knobs": "knob symbol factor value_now value documents documents_in documents_out overlap budget_moved mean_tokens mean_tokens_now",
        "knob_budgets": "knob factor cluster_id allocated",
        "rejected": "source reason stands_for",
        "settings": "group name symbol value",
        "artifacts": "asset version run_id materialized_at reused seconds rows bytes path",
    }
    with duckdb.connect(shell.home / "data" / "grip.duckdb", read_only=True) as connection:
        for table, names in columns.items():
            frame = connection.sql(f"SELECT * FROM {table}").pl()
            assert set(names.split()) <= set(frame.columns), table
            assert len(frame), table
        unit = connection.sql("SELECT sqrt(list_dot_product(embedding, embedding)) FROM embeddings").pl().to_series()
    assert ((unit - 1).abs() < 2e-3).all()


def test_sql_runs_a_query_and_explains_a_mistake(shell):
    assert json.loads(shell.run("sql", "--json", "SELECT count(*) AS n FROM corpus")) == {"n": 120}
    assert "120" in shell.run("sql", "SELECT count(*) FROM corpus")
    assert "nothere" in shell.run("sql", "SELECT * FROM nothere", ok=False)


def test_explain_says_why_a_document_is_in_or_out(shell):
    rows = [json.loads(line) for line in shell.run("sql", "--json", "SELECT doc_id, source, repeats FROM selection_weights JOIN corpus USING (doc_id)").splitlines()]  # fmt: skip
    inside = next(r for r in rows if r["repeats"])
    outside = next(r for r in rows if not r["repeats"])
    assert "is IN the subset" in shell.run("explain", inside["doc_id"])
    said = shell.run("explain", outside["source"])
    assert "is OUT of the subset" in said and all(w in said for w in ("σ_k", "Q_k", "δ_k", "r_k", "key", "allocated"))
    assert "rejected before anything was computed (duplicate" in shell.run("explain", "parse/parse_00.py")
    assert "The nearest names: " in shell.run("explain", "parse_99.py", ok=False)


@pytest.mark.parametrize("format", ["parquet", "jsonl"])
def test_export_writes_the_subset_whole(shell, format):
    out = shell.home / f"out.{format}"
    assert "documents written" in shell.run("export", str(out), "--format", format)
    frame = pl.read_parquet(out) if format == "parquet" else pl.read_ndjson(out)
    assert {"doc_id", "text", "source", "cluster_id", "repeats"} <= set(frame.columns)
    assert len(frame) == json.loads(shell.run("sql", "--json", "SELECT count(*) AS n FROM subset"))["n"]
    assert not list(shell.home.glob(".out*"))
    assert "no export format 'csv'" in shell.run("export", str(out), "--format", "csv", ok=False)


@pytest.mark.parametrize(
    "words, message",
    [
        (["--corpus", "/no/where"], "settings/corpus.path '/no/where' is not there"),
        (
            ["--set", "budget.temprature=1"],
            "settings/budget has no field 'temprature'. Did you mean 'temperature'?",
        ),
        (["--set", "bugdet.tau=1"], "no settings group 'bugdet'. Did you mean 'budget'?"),
        (["--set", "budget.tau"], "not of the form group.field=value"),
        (
            ["--set", "budget.temperature=-1"],
            "settings/budget.temperature cannot be -1: Input should be greater than 0",
        ),
        (["--set", "budget.total=0"], "settings/budget.total cannot be 0"),
        (
            ["--set", "embedding.model=/no/model"],
            "settings/embedding.model is '/no/model', and there is no such file",
        ),
        (["--set", "corpus.path=s3://me:secret@host/pool"], "holds a password; leave it out"),
        (["--set", "adaptation.proxy=./none"], "settings/adaptation.proxy is './none'"),
        (["--profile", "quick"], "no profile 'quick'. Did you mean 'quickstart'?"),
        (["--set", "clustering.k=5000"], "settings/clustering.k is 5000, and the corpus has only 120 documents"),
        (["--set", "budget.total=1000000000"], "settings/budget.total asks for 1,000,000,000"),
    ],
)
def test_bad_input_is_refused_before_anything_is_changed(shell, words, message):
    before = shell.run("status")
    assert message in shell.run("curate", *words, ok=False)
    assert shell.run("status") == before


def test_what_only_a_stage_can_know_fails_there_with_the_next_action_and_does_not_stay(shell):
    old = json.loads(shell.run("status", "--json"))["settings"]
    said = shell.run("curate", "--set", "adaptation.learning_rate=1e9", ok=False)
    assert "grip: adaptation_deltas: settings/adaptation.learning_rate is 1e+09, and the first step would lower" in said
    assert "Nothing of this stays in force" in said and "Not executing" not in said
    assert json.loads(shell.run("status", "--json"))["settings"] == old
    assert "computed: nothing" in shell.run("curate")


@pytest.mark.slow  # sources/test_reading.py curates a pool of JSON lines too
def test_a_pool_of_json_lines_is_curated_by_the_same_command(shell, tmp_path):
    rows = [json.dumps({"body": f"def f{i}(x):\n    return x + {i}\n" * 3}) for i in range(60)]
    (tmp_path / "pool.jsonl.gz").write_bytes(gzip.compress("\n".join([*rows, "no json"]).encode()))
    out = shell.run("curate", "--corpus", str(tmp_path / "pool.jsonl.gz"), "--set", "corpus.text_field=body")
    assert "61 documents read; 1 rejected" in out


def test_profiles_are_complete_and_name_only_what_is_a_method():
    from grip_assets.settings import Evaluation, field_names, trait, validate

    whole = {"paper", "robust", "quickstart", "gem", "gem_paper", "evaluate_cpu", "evaluate_gpu", "mixing_gpu"}
    whole |= {"evaluate_short", "evaluate_long", "evaluate_10m"}
    probes = {"grip_closed", "grip_steps", "grip_unigram"}  # grip with one field of the probe changed
    whole |= probes
    whole |= {
        "uniform",
        "tempered",
        "unimax",
        "chameleon",
        "random_short",
    }  # strategies that the default evaluation does not train
    whole |= {"gem_regmix", "gem_doremi", "gem_perf", "grip_regmix"}
    whole |= {"grasp", "grasp_unigram", "grasp_additive", "grasp_budget", "grasp_stride"}
    assert set(profiles()) == whole | {*Evaluation().strategies} - {"in_force"}
    for name in profiles():
        for group, values in read_profile(name).items():
            if name in probes and group == "adaptation":
                assert len(values) == 1
                continue
            fields = GROUPS[group].model_fields.items()
            named = {n for n, f in fields if trait(f, "hashed") or trait(f, "hashed_as") is not None}
            with_sizes = name in ("mixing_gpu", "grasp_stride") or group not in ("mixing", "attribution")
            sizes = {} if with_sizes else field_names(GROUPS[group], "model", "training")
            assert set(values) == named - {n for n, f in fields if trait(f, "given")} - {*sizes}, (name, group)
            settings = validate(group, values)
            if name == "robust":
                assert settings == GROUPS[group](), "robust is the default"
            if group == "mixing" and name in ("gem_regmix", "grip_regmix"):
                assert settings == GROUPS[group](), "a learned budget at its defaults"


def test_values_of_assignments_are_read_by_their_fields():
    changes = read_assignments(
        ["clustering.k=null", "budget.tau=0.5", "quality.dimensions=[architecture]", "corpus.path=~/x"]
    )
    assert changes == {
        "clustering": {"k": None}, "budget": {"tau": 0.5}, "quality": {"dimensions": ["architecture"]}, "corpus": {"path": "~/x"},
    }  # fmt: skip
