"""The stage mixture_domains on a planted pool: domains, held-out documents, items and what is refused."""

import polars as pl
import pytest
from planted_mixing import SIZES, Folder, pool, text

from grip_assets.errors import GripError
from grip_assets.settings import validate
from grip_assets.sources.documents import name_of
from grip_assets.stages.mixing.mixture_domains import OTHER, with_held_out, with_rare_ones_joined


def test_clusters_are_domains_and_keep_their_numbers(tmp_path):
    documents = pool()
    made = Folder(tmp_path, documents, held_out=5).make()
    domains, members, items = (made.table(f"mixture_{n}") for n in ("domains", "documents", "items"))
    assert domains["domain"].to_list() == domains["cluster_id"].to_list() == [0, 1]
    assert domains["name"].to_list() == ["0", "1"] and not made.failed
    joined = members.join(documents, on="doc_id")
    assert len(members) == len(documents) and (joined["domain"] == joined["cluster_id"]).all()
    trained = joined.filter(~pl.col("held_out")).group_by("domain").agg(pl.col("n_tokens").sum()).sort("domain")
    assert domains["natural_share"].to_list() == pytest.approx(
        (trained["n_tokens"] / trained["n_tokens"].sum()).to_list()
    )
    held_out = set(members.filter("held_out")["doc_id"])
    assert (
        set(items["item_id"].str.strip_prefix("domain:")) == held_out and len(held_out) == domains["n_held_out"].sum()
    )
    assert items["n_bytes"].max() <= 100 and set(items["target"]) == {"domain:0", "domain:1"}


def test_values_of_a_column_are_domains_and_rare_ones_are_one(tmp_path):
    made = Folder(tmp_path, pool(), domains="column", column="language").make()
    assert made.table("mixture_domains")["name"].to_list() == ["python", "go", OTHER]
    assert made.table("mixture_domains")["cluster_id"].null_count() == 3
    assert made.table("mixture_domains")["n_docs"].to_list() == [60, 40, 14]
    assert set(made.table("mixture_items")["target"]) == {"domain:python", "domain:go", f"domain:{OTHER}"}


def test_rare_values_are_joined_until_they_are_enough():
    values = pl.Series(["a"] * 9 + ["b"] * 6 + ["c"] * 5 + ["d"] * 2)
    assert with_rare_ones_joined(values, 5).to_list() == ["a"] * 9 + ["b"] * 6 + [OTHER] * 7
    assert with_rare_ones_joined(values, 2).to_list() == values.to_list()
    assert set(with_rare_ones_joined(values, 100)) == {OTHER}
    assert with_rare_ones_joined(pl.Series([OTHER] * 3 + ["a"] * 9), 3).to_list() == [OTHER] * 3 + ["a"] * 9


def test_at_most_a_tenth_of_a_domain_is_held_out_of_its_documents_and_of_its_tokens():
    rows = [("large", 10, 200), ("small", 10, 9), ("one giant", 1000, 1), ("one giant", 1, 60)]
    documents = pl.concat(
        pl.DataFrame({"domain": [name] * n, "n_tokens": [tokens] * n}) for name, tokens, n in rows
    ).with_columns(doc_id=pl.format("{}-{}", "domain", pl.int_range(pl.len())))
    for seed in range(5):
        made = with_held_out(documents, 16, seed)
        assert made.drop("held_out").equals(documents)
        by_domain = {name: rows for (name,), rows in made.group_by("domain")}
        assert by_domain["large"]["held_out"].sum() == 16 and by_domain["small"]["held_out"].sum() == 0
        for rows in by_domain.values():
            held_out = rows.filter("held_out")
            assert len(held_out) <= len(rows) / 10 and held_out["n_tokens"].sum() <= rows["n_tokens"].sum() / 10
    mixed = made.sample(fraction=1, shuffle=True, seed=1).drop("held_out")
    assert set(with_held_out(mixed, 16, seed).filter("held_out")["doc_id"]) == set(made.filter("held_out")["doc_id"])


def test_a_domain_that_is_too_small_says_so(tmp_path):
    documents = pool().with_columns(cluster_id=(pl.col("language") == "cobol").cast(pl.Int32))
    made = Folder(tmp_path, documents).make()
    assert any("no loss is measured on the domain '1': it is too small" in line for line in made.lines)
    assert made.failed == ["every_domain_is_measured"] and made.made.manifest["metrics"]["domains_without_items"] == 1


def test_a_document_of_the_target_set_that_is_in_the_pool_is_not_used(tmp_path):
    documents = pool()
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "new.txt").write_text(text(999))
    (tmp_path / "target" / "old.txt").write_text(documents["text"][3])
    target = Folder(tmp_path / "data", documents, target_set=str(tmp_path / "target")).make().table("mixture_items")
    shares = target.filter(pl.col("target") == "target").select("item_id", "in_pool").rows()
    assert dict(shares) == {f"target:{name_of(text(999))}": 0.0, f"target:{documents['doc_id'][3]}": 1.0}
    (tmp_path / "target" / "new.txt").unlink()
    with pytest.raises(GripError, match=r"settings/mixing.target_set: '.*'\) is in the pool"):
        Folder(tmp_path / "other", documents, target_set=str(tmp_path / "target")).make()


def test_a_held_out_document_with_a_near_copy_in_the_pool_is_not_used(tmp_path):
    documents = pool()
    copied = documents["doc_id"][SIZES["python"]]
    for seed in range(40):
        made = with_held_out(documents.with_columns(domain="cluster_id"), 5, seed)
        if (
            made.filter(pl.col("doc_id") == copied)["held_out"][0]
            and not made["held_out"][SIZES["python"] + SIZES["go"] - 1]
        ):
            break
    items = Folder(tmp_path, documents, held_out=5, seed=seed).make().table("mixture_items")
    assert items.filter(pl.col("item_id") == f"domain:{copied}")["in_pool"].min() > 0.3
    assert items.filter(pl.col("item_id") != f"domain:{copied}")["in_pool"].max() < 0.3


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        ({"domains": "families"}, "gives one domain, '0', and one domain has nothing to mix"),
        (
            {"domains": "column", "column": "license"},
            "settings/mixing.column is 'license', which the pool does not have",
        ),
        ({"domains": "column", "column": "licence"}, "gives one domain, 'mit'"),
        ({"target_set": "/nowhere"}, "/nowhere"),
    ],
)
def test_what_cannot_be_mixed_is_refused(tmp_path, turn, said):
    with pytest.raises(GripError, match=said):
        Folder(tmp_path, pool(), **turn).make()


def test_domains_are_not_made_unless_the_budget_is_a_mixture(tmp_path):
    folder = Folder(tmp_path, pool())
    folder.settings["budget"] = validate("budget", {"base": "proportional"})
    assert folder.make().made.manifest["unused"] == "settings/budget.base is proportional"
