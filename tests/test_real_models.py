"""The chain with the packaged models on real code: minutes, so `make check-slow` runs it."""

import pytest
from conftest import AFTER_BUDGET, Lab

from grip_assets.settings.changes import merge, read_profile

pytestmark = pytest.mark.slow

SMALLER = {
    "corpus": {"max_documents": 200},
    "clustering": {"k": 6, "min_cluster_docs": 20},
    "adaptation": {"epochs": 3},
}


def test_the_quickstart_is_the_same_bytes_in_a_second_data_folder(tmp_path, monkeypatch):
    labs = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        lab = Lab(tmp_path / name, monkeypatch)
        monkeypatch.setenv("GRIP_WORKERS", "1" if name == "first" else "2")
        lab.curate(**merge(read_profile("quickstart"), SMALLER))
        labs.append(lab)
    first, second = labs
    files = [p.relative_to(first.data) for p in first.data.glob("[!.]*/[!.]*/*/*.parquet")]
    assert len(files) > 15
    for file in files:
        assert (first.data / file).read_bytes() == (second.data / file).read_bytes(), file


def test_panel_b_runs_on_one_set_of_measurements(tmp_path, monkeypatch):
    """The six rows differ in budgets and subset only; nothing above them is computed again."""
    lab = Lab(tmp_path, monkeypatch)
    lab.curate(**merge(read_profile("quickstart"), SMALLER))
    chosen = {}
    for name in ("random", "static", "quality_replay", "loss_replay", "diversity", "grip"):
        assert lab.curate(**read_profile(name)) <= AFTER_BUDGET
        budget = lab.sql("SELECT budget FROM budgets ORDER BY cluster_id")["budget"]
        weight = lab.sql("SELECT selection_weight FROM selection_weights ORDER BY doc_id")["selection_weight"]
        # not the documents: of a pool this small, two rows may by chance draw the same
        chosen[name] = (tuple(budget), tuple(weight))
    assert len(set(chosen.values())) == 6
