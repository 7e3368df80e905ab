"""The recipes of CONTRIBUTING.md: each is written to a file, registered, and held to the promises of its interface."""

import importlib.util
import pickle
import re
import sys
from pathlib import Path

import polars as pl
import pytest

from grip_assets.method.selection.base import Rule
from grip_assets.runtime.folders import REPOSITORY
from grip_assets.settings import Corpus
from grip_assets.sources.documents import RawDocument, Rejected
from grip_assets.sources.pool import open_pool
from grip_assets.sources.readers import READERS
from grip_assets.sources.steps import in_any_order
from grip_assets.store.artifacts import ArtifactStore

PAGE = (REPOSITORY / "CONTRIBUTING.md").read_text()


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """The module of the recipe under a heading, from a file. It can be imported, as ``pickle`` asks."""

    def load(heading: str):
        section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
        (code,) = re.findall(r"^```python\n(.*?)^```", section, re.M | re.S)
        name = "recipe_" + Path(code.splitlines()[0].removeprefix("# ")).stem
        (tmp_path / f"{name}.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module(name)

    return load


def interface(file: str):
    """A file of tests, as a module."""
    path = Path(__file__).parent / file
    spec = importlib.util.spec_from_file_location(f"interface_{path.stem}", path)
    sys.path.insert(0, str(path.parent))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(path.parent))
    return module


def test_every_recipe_says_where_its_file_goes_and_that_folder_is_there():
    places = re.findall(r"^# (grip_assets/.*)$", PAGE, re.M)
    assert len(places) == len(re.findall(r"^## Add ", PAGE, re.M)) > 2
    assert [place for place in places if not (REPOSITORY / place).parent.is_dir()] == []
    named = re.findall(r"`((?:method|sources|settings|tests)/[\w/]+\.py)`", PAGE)
    assert [
        file for file in named if not ((REPOSITORY / file).exists() or (REPOSITORY / "grip_assets" / file).exists())
    ] == []


def test_a_partition_is_added_as_the_page_says(recipe, monkeypatch):
    promises = interface("method/test_partitions.py")
    monkeypatch.setitem(promises.PARTITIONS, "kmeans", recipe("Add a partition"))
    case = promises.CASES["kmeans"]()
    fitted = promises.PARTITIONS["kmeans"].fit(case.x_ND, promises.SETTINGS, lambda line: None, case.facts)
    promises.test_every_document_is_in_one_cluster_and_none_is_small(fitted, case)
    promises.test_ids_run_by_falling_size(fitted, case)
    promises.test_assigning_again_gives_the_same_labels(fitted, case)
    promises.test_the_order_of_the_rows_changes_no_label(fitted, case)
    promises.test_centroids_are_normalised_sums_of_members(fitted, case)
    promises.test_the_tables_have_the_columns_of_the_contract("kmeans", fitted)


def test_a_budget_is_added_as_the_page_says(recipe, monkeypatch):
    promises = interface("method/test_budgets.py")
    monkeypatch.setitem(promises.BUDGETS, "proportional", recipe("Add a budget").shares)
    for unit in ("tokens", "documents"):
        promises.test_budgets_are_exact_within_caps_and_follow_their_clusters("proportional", "none", unit, None)
    promises.test_another_order_of_the_clusters_gives_each_the_same_budget("proportional", None)


def test_a_selection_is_added_as_the_page_says(recipe, monkeypatch):
    promises = interface("method/test_selections.py")
    monkeypatch.setitem(promises.SELECTIONS, "random", Rule(recipe("Add a selection").select))
    for total in (0.05, 0.3, 0.9):
        promises.test_the_budget_is_met_within_a_document("random", total)
    promises.test_documents_as_the_unit_are_met_exactly("random")
    promises.test_the_order_of_clusters_and_documents_does_not_matter("random")
    promises.test_a_document_above_the_limit_is_never_taken("random")
    promises.test_the_largest_keys_of_what_fits_are_taken("random")


def test_a_reader_is_added_as_the_page_says(recipe, tmp_path, monkeypatch):
    monkeypatch.setitem(READERS, "dots", recipe("Add a reader").Dots)
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "a.dots").write_text("one text\n...\nanother text\n")
    assert [d.text for d in open_pool(Corpus(path=str(tmp_path / "pool"))).read()] == ["one text\n", "another text\n"]
    interface("sources/test_seams.py").test_a_reader_can_be_sent_to_another_process(tmp_path, "dots")


def test_a_step_is_added_as_the_page_says(recipe):
    step = pickle.loads(pickle.dumps(recipe("Add a step").LongEnough()))
    long, short = (RawDocument(text, None, "a", len(text), "a") for text in ("one two three", "one two"))
    kept, rejected = in_any_order([step], [long, short])
    assert kept is long and isinstance(rejected, Rejected) and rejected.detail == "fewer than three words"


def test_a_source_of_features_is_added_as_the_page_says(recipe, tmp_path, monkeypatch):
    promises = interface("test_sketch_sources.py")
    pl.DataFrame(
        {"doc_id": ["b", "a", "c"], "text": ["aa", "ab", "x"], "n_tokens": [2, 3, 1], "n_bytes": [2, 2, 1]}
    ).write_parquet(tmp_path / "corpus.parquet")
    monkeypatch.setitem(promises.SOURCES, "unigram", recipe("Add a source of features").measure)
    found, rows = promises.measured(tmp_path, ArtifactStore(tmp_path), "unigram", n=3, dim=300)
    assert found.sketch == "exact" and rows.feature_BK.shape == (3, 300) and rows.n_tokens_B.tolist() == [1, 3, 2]
    assert rows.feature_BK[:, ord("a")].tolist() == [0, 0.5, 1], "in the order of the documents"
    assert list(found.targets) == ["numbers", "words"] and found.targets["words"].n_items == 2
    short, rows = promises.measured(tmp_path, ArtifactStore(tmp_path), "unigram", n=3, dim=64)
    assert short.sketch == "countsketch" and rows.feature_BK.shape == (3, 64) and rows.norm_B[2] == pytest.approx(1)
