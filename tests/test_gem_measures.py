"""What docs/gem.md measures over seeds: the tables of tools/gem.py, and that tools/evidence.py finds them. Nothing is
fitted here: labels are given."""

import numpy as np
import polars as pl
import pytest

from grip_assets.settings import Clustering
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.catalog import rebuild
from tools import gem
from tools.evidence import MEASURED, PAGES, RUNS, filled

K, EACH = 4, 25
TRUTH = np.repeat(np.arange(K, dtype=np.int32), EACH)


@pytest.fixture
def pool():
    x_ND = np.random.default_rng(0).normal(size=(K * EACH, 8)).astype(np.float32)
    x_ND /= np.linalg.norm(x_ND, axis=1, keepdims=True)
    return gem.Pool(x_ND, {"language": list(map(str, TRUTH)), "package": ["one"] * len(TRUTH)})


def measured(pool, seeds=3):
    """GEM labels as planted under every seed; k-means at random, differently under each."""

    def fit(x_ND, settings, learned):
        luck = np.random.default_rng(settings.seed).permutation(TRUTH)
        return gem.Fit(TRUTH if settings.method == "gem" else luck, np.full(len(x_ND), 0.5, np.float32), 1.0)

    return gem.measure(pool, Clustering(seeds=2), K, seeds, fit)


def test_a_fit_that_groups_as_the_languages_do_agrees_with_them_and_with_itself(pool):
    tables = measured(pool)
    means = {(row["fit"], row["measure"]): row for row in tables["gem_seeds"].iter_rows(named=True)}
    assert means[gem.GEM, "nmi_language"]["value"] == pytest.approx(1)
    assert means[gem.GEM, "nmi_language"]["difference_low"] > 0.5, "seed by seed, and luck is worse"
    assert means[gem.GEM, "nmi_package"]["value"] == 0, "a column with one value says nothing"
    assert means[gem.GEM, "effective"]["value"] == pytest.approx(K) and means[gem.GEM, "smallest"]["value"] == 1
    alike = tables["gem_pairs"].group_by("fit").agg(pl.mean("rand"))
    alike = dict(alike.iter_rows())
    assert alike[gem.GEM] == 1 and abs(alike["k-means"]) < 0.2


def test_no_start_is_used_under_two_seeds(pool):
    seeds = measured(pool)["gem_fits"].filter(pl.col("fit") == "k-means")["seed"].to_list()
    assert seeds == [0, 2, 4], "two starts each"


def test_the_pages_find_what_was_measured(pool, tmp_path):
    rebuild(ArtifactStore(tmp_path), {}, [])
    (tmp_path / MEASURED).mkdir()
    for name, table in measured(pool).items():
        table.write_parquet(tmp_path / MEASURED / f"{name}.parquet")
    blocks = ("gem_seeds", "gem_pairs", "gem_names")
    text = "".join(f"<!-- mine:{name} -->\nold\n<!-- /mine:{name} -->\n" for name in blocks)
    found, made = filled(text, "mine", tmp_path, tmp_path)
    assert made == ["gem_seeds", "gem_pairs"] and "| GEM, T = null | 3 | 1.000 ± 0.000 |" in found
    assert found.endswith("<!-- mine:gem_names -->\nold\n<!-- /mine:gem_names -->\n"), "not measured, not changed"


def test_every_block_of_a_page_is_closed_and_has_a_query():
    import re

    from grip_assets.stages import STAGES
    from grip_assets.store.query import has_query

    for page in PAGES:
        text = page.read_text()
        opened = re.findall(r"<!-- (\w+):(\w+) -->", text)
        assert sorted(opened) == sorted(re.findall(r"<!-- /(\w+):(\w+) -->", text)), page.name
        for _, name in opened:
            known = name in RUNS or has_query(f"evidence/{name}") or name.removesuffix("_picture") in STAGES
            assert known, f"{page.name}: {name}"
