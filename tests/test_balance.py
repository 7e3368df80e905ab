"""The stage balance, its picture, its section of the report and `grip balance`, on planted tables. The figures and the
fits are tested in method/test_evenness.py."""

import shutil

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from defaults import without_near_copies
from method.planted import planted
from typer.testing import CliRunner

from grip_assets import cli
from grip_assets.engine.inspect import inspect
from grip_assets.engine.make import Chain
from grip_assets.errors import GripError
from grip_assets.method.partition import gem
from grip_assets.report import pictures
from grip_assets.report.page import balance as page
from grip_assets.report.terminal.balance import as_text
from grip_assets.settings import validate
from grip_assets.stages import STAGES
from grip_assets.stages.reports import balance
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.tables import vectors

CLUSTERING = {
    "method": "gem", "k": 6, "seeds": 2, "iterations": 5, "fit_iterations": 30, "balance": 0.5, "min_cluster_docs": 1,
}  # fmt: skip
SIZES = [120, 80, 60, 30, 20, 10]


def settings(**clustering):
    return without_near_copies() | {"clustering": validate("clustering", clustering)}


def publish(store, stage, now, **tables):
    """As if the stage had been made with the settings ``now``."""
    inputs = dict.fromkeys(STAGES[stage].inputs_under(now), "planted")
    manifest = {"version": "planted", "stage": stage, "inputs": inputs, "settings": STAGES[stage].values(now)}
    with store.publish(stage, manifest | {"computed_at": 0, "seconds": 0, "run_id": ""}) as draft:
        for name, table in tables.items():
            draft.write(name, table)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """320 documents in six topics; each topic is a project, and the two largest are in a language of their own."""
    store, now = ArtifactStore(tmp_path_factory.mktemp("balance")), settings()
    x, topic = planted(SIZES, d=12, spread=0.1)
    ids = [f"{i:032x}" for i in range(len(x))]
    language = ["python" if t < 2 else "go" for t in topic]
    sources = [f"code/p{t}/f{i}" for i, t in enumerate(topic)]
    publish(store, "corpus", now, corpus=pl.DataFrame({"doc_id": ids, "language": language, "source": sources}))
    order = np.random.default_rng(0).permutation(len(x))  # the embeddings are in another order
    embedded = pa.table({"doc_id": [ids[i] for i in order], "embedding": vectors(x[order].astype(np.float16))})
    publish(store, "embeddings", now, embeddings=embedded)
    return store


def make(store, now):
    """The stage, on a partition that was fitted as the stage partition does. Returns its tables and the artifact."""
    sample = balance.sample_of(*files(store), now["clustering"], now["corpus"])
    tables = gem.fit(sample.x_SD, now["clustering"]).tables()
    empty = {"projection": STAGES["partition"].table("projection").empty()}
    shutil.rmtree(store.folder("partition", "planted"), ignore_errors=True)
    publish(store, "partition", now, **(empty | tables))
    chain = Chain(STAGES, store, lambda line: None, "run", lambda work: inspect(work, pictures.of_stage))
    made = chain.make(STAGES["balance"], now, dict.fromkeys(STAGES["balance"].inputs, "planted"))
    return {t: pl.read_parquet(store.parquet("balance", made.version, t)) for t in STAGES["balance"].table_names}, made


def files(store):
    return store.parquet("embeddings", "planted", "embeddings"), store.parquet("corpus", "planted", "corpus")


@pytest.fixture(scope="module")
def made(store):
    return make(store, settings(**CLUSTERING))


def test_every_fit_has_its_figures(made):
    tables, result = made
    rows, masses = tables["balance"], tables["balance_masses"]
    assert not [check for check in result.manifest["checks"] if check["violations"]]
    assert rows["fit"].unique(maintain_order=True).to_list() == list(balance.NAMES)
    assert rows.filter(masses="soft")["fit"].to_list() == ["vmf_learned", "vmf_uniform", "gem"]
    hard = rows.filter(masses="hard")
    for name in ("mean_cosine", "nmi_language", "nmi_project", "small_recall_project"):
        assert hard[name].null_count() == 0, name
    assert hard["small_recall_language"].null_count() == 5, "no language is smaller than a sixth of the documents"
    assert (hard["nmi_project"] > 0.7).all(), "documents and their projects are joined by id, not by place"
    summed = masses.group_by("fit", "masses").agg(pl.sum("mass"), pl.len())
    assert summed["mass"].to_numpy() == pytest.approx(1) and (summed["len"] == 6).all()
    assert result.manifest["metrics"]["effective_gem"] == rows.filter(fit="gem", masses="hard")["effective"][0]


def test_the_stage_has_a_picture(made, store):
    drawn = (store.folder("balance", made[1].version) / "picture.png").read_bytes()
    assert drawn.startswith(b"\x89PNG") and len(drawn) < 90_000


def test_a_stage_that_is_not_needed_says_why():
    assert STAGES["balance"].why_unused(settings()) == "settings/clustering.method is kmeans"
    assert not STAGES["balance"].why_unused(settings(**CLUSTERING))


class Asked:
    """A context of the report that has these tables."""

    def __init__(self, tables):
        self.tables = tables

    def lacks(self, *names):
        return []

    def unused(self, *names):
        return [page.say("not used")]

    def table(self, name, order):
        return self.tables[name].sort(*order.split(", "))


def test_the_section_says_what_the_balance_gained_and_paid(made):
    section = page.section(Asked(made[0]))
    gained, paid, figure, table = section.blocks
    gem_row = made[0]["balance"].filter(fit="gem", masses="hard").row(0, named=True)
    assert f"over {gem_row['effective']:.1f} equal clusters, of 6" in gained.text and "λ = 0.5" in gained.text
    assert f"{gem_row['mean_cosine']:.3f} now" in paid.text and "No language of at least five documents" in paid.text
    assert f"Of the documents of small projects, {gem_row['small_recall_project']:.0%}" in paid.text
    assert [trace["name"] for trace in figure.data] == list(balance.NAMES.values())
    assert len(table.rows) == len(made[0]["balance"])


def test_the_section_of_an_unused_stage_says_so(made):
    empty = {name: frame.clear() for name, frame in made[0].items()}
    assert [block.text for block in page.section(Asked(empty)).blocks] == ["not used"]


@pytest.mark.parametrize("method", ["kmeans", "gem", "column"])
def test_the_sweep_is_for_any_method_in_force_and_says_its_cost_first(store, method):
    said = []
    now = settings(**CLUSTERING | {"method": method, "pca": 6})
    found = balance.sweep(*files(store), now, [0.0, 2.0], said.append)
    assert said[0].startswith("2 fits of 2 starts each, on 320 documents in 6 clusters: about ")
    assert any("2 of 2 fits" in line for line in said), "progress"
    assert found.k == 6 and found.rows["balance"].to_list() == [0, 0, 2, 2]
    soft = found.rows.filter(masses="soft")["effective"]
    assert soft[0] < soft[1]
    lines = list(as_text(found, "balance.png"))
    assert len(lines) == 1 + 4 + 2 and len({len(line) for line in lines[:5]}) == 1, "the columns are aligned"
    assert pictures.drawn_sweep(found.rows, found.k).startswith(b"\x89PNG")


def test_a_projection_of_the_partition_is_the_space_of_all_fits(store):
    now = settings(**CLUSTERING | {"pca": 5})
    tables, result = make(store, now)
    assert not [check for check in result.manifest["checks"] if check["violations"]]
    assert tables["balance"].filter(masses="hard")["mean_cosine"].min() > 0.5


@pytest.mark.parametrize("typed", ["", "0,x", "-1", "inf", "nan"])
def test_lambdas_that_are_no_numbers_are_refused(typed):
    result = CliRunner().invoke(cli.app, ["balance", f"--lambdas={typed}"])
    assert isinstance(result.exception, GripError) and "--lambdas" in str(result.exception)
    assert "traceback" not in result.output.lower()
