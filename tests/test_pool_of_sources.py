"""A pool of five sources through the whole chain: counts conserve, the background is in every export, budgets are
exact, and a new source reads only itself."""

import json
import random

import polars as pl
import pytest

from grip_assets.sources.documents import Rejected
from grip_assets.sources.readers import READERS
from grip_assets.store.query import query
from tests.archives import page, warc, wet
from tests.conftest import TOPICS, small

WORDS = [f"{a}{b}" for a in ("tree", "leaf", "bird", "stone", "river") for b in ("s", "like", "less", "work", "side", "house", "land")]  # fmt: skip


def prose(seed, n=25):
    rng = random.Random(seed)
    return " ".join(rng.choices(WORDS, k=n)) + ".\n"


def write_five(root):
    """The sources of a pool.yaml. The background and the others share two texts."""
    import datasets
    from backports import zstd

    code = root / "code"
    code.mkdir(parents=True)
    for topic, template in list(TOPICS.items())[:2]:
        for i in range(20):
            text = "".join(template.format(i=i * 3 + k, j=i * 7 + k) for k in range(1 + i % 4))
            (code / f"{topic}_{i}.py").write_text(text)
    (code / "binary.py").write_bytes(b"\0\1\2")
    rows = [{"body": prose(i), "url": f"u{i}"} for i in range(20)]
    rows.append({"body": prose(300).replace(".\n", " once more.\n"), "url": "near"})  # nearly a text of the background
    rows.append({"body": prose(50) + "Write to bob.miller@posteo.de.\n", "url": "mail"})
    lines = "".join(json.dumps(row) + "\n" for row in rows) + "{broken\n"
    (root / "lines.jsonl.zst").write_bytes(zstd.compress(lines.encode()))
    (root / "web.warc.gz").write_bytes(
        warc([page(i, text=prose(100 + i, 60)) for i in range(15)] + [page(99, status="404 Not Found")])
    )
    (root / "web.wet.gz").write_bytes(wet([prose(200 + i) for i in range(15)] + [prose(3)]))
    kept = [{"text": prose(300 + i)} for i in range(12)] + [{"text": prose(3)}, {"text": prose(4)}]
    datasets.Dataset.from_list(kept).save_to_disk(root / "saved")
    return [
        {"name": "code", "path": str(code)},
        {"name": "lines", "path": str(root / "lines.jsonl.zst"), "text_field": "body", "id_field": "url"},
        {"name": "warc", "path": str(root / "web.warc.gz")},
        {"name": "wet", "path": str(root / "web.wet.gz")},
        {"name": "background", "path": str(root / "saved"), "role": "keep"},
    ]


@pytest.fixture
def reads(monkeypatch):
    """Names of the files that readers opened."""
    found = []
    for reader in READERS.values():
        if "read" in vars(reader):

            def counted(self, entry, read=reader.read):
                found.append(entry.name)
                yield from read(self, entry)

            monkeypatch.setattr(reader, "read", counted)
    return found


def test_a_pool_of_five_sources(tmp_path, new_lab, models, reads):
    from grip_assets.engine.in_force import Run
    from grip_assets.export import export
    from grip_assets.report.page import sources as by_source
    from grip_assets.report.page.context import Context
    from grip_assets.report.terminal import summary
    from grip_assets.store.query import sql_text

    sources = write_five(tmp_path / "pool")
    lab = new_lab(first=False)
    settings = small(
        models,
        tmp_path,
        budget={"total": 0.3},
        corpus={"path": None, "sources": sources, "personal_data": "mask"},
        near_duplicates={"threshold": 0.7},
    )
    lab.curate(**settings)
    counts = lab.sql("SELECT pool, reason, n FROM (SELECT pool, NULL AS reason, count(*) AS n FROM corpus GROUP BY pool UNION ALL SELECT pool, reason, count(*) FROM rejected GROUP BY ALL) ORDER BY ALL").rows()  # fmt: skip
    assert counts == [
        ("background", None, 14), ("code", "binary", 1), ("code", None, 40), ("lines", "bad json", 1), ("lines", "duplicate", 2),
        ("lines", None, 20), ("warc", "unknown kind", 1), ("warc", None, 15), ("wet", "duplicate", 1), ("wet", None, 15),
    ]  # fmt: skip
    intake = dict(lab.sql("SELECT outcome, n FROM intake").rows())
    assert intake["read"] == sum(n for *_, n in counts) == intake["kept"] + intake["rejected"]

    background = set(lab.sql("SELECT doc_id FROM corpus WHERE role = 'keep'")["doc_id"])
    near = lab.sql("SELECT c.source, c.pool, s.pool FROM near_duplicates AS n JOIN corpus AS c USING (doc_id) JOIN corpus AS s ON s.doc_id = n.stands_for WHERE n.doc_id <> n.stands_for AND c.pool <> 'code'")  # fmt: skip
    assert near.rows() == [("near", "lines", "background")]
    assert "miller" not in lab.sql("SELECT text FROM corpus WHERE source = 'mail'").item()
    subset = lab.sql("FROM subset")
    assert len(background) == 14 and background <= set(subset["doc_id"]) and set(subset["repeats"]) == {1}
    chosen = subset.filter(pl.col("role") == "select")["n_tokens"].sum()
    free, longest = lab.sql("SELECT sum(n_tokens), max(n_tokens) FROM clusters WHERE role = 'select'").row(0)
    (total, allocated, available) = lab.sql("SELECT any_value(total), sum(allocated), sum(n_tokens) FROM budgets").row(
        0
    )
    assert available == free and total == allocated == round(0.3 * int(free)) and abs(chosen - total) <= longest
    for format, name in (("jsonl", "out.jsonl"), ("parquet", "out.parquet")):
        export(lab.data, tmp_path / name, format)
    exported = {json.loads(line)["doc_id"] for line in (tmp_path / "out.jsonl").read_text().splitlines()}
    assert exported == set(subset["doc_id"]) == set(pl.read_parquet(tmp_path / "out.parquet")["doc_id"])

    came = {r["source"]: r for r in lab.sql(sql_text("questions/by_source")).to_dicts()}
    assert {name: (r["n_read"], r["n_rejected"], r["near_copies"], r["reasons"]) for name, r in came.items() if name != "code"} == {
        "background": (14, 0, 0, ""), "lines": (23, 3, 1, "2 duplicate, 1 bad json"),
        "warc": (16, 1, 0, "1 unknown kind"), "wet": (16, 1, 0, "1 duplicate"),
    }  # fmt: skip
    assert sum(r["n_read"] for r in came.values()) == intake["read"]
    assert sum(r["tokens_selected"] for r in came.values()) == subset["n_tokens"].sum()
    told = summary.summary(lab.data, Run("", [], []))
    assert "  lines: 23 read; 3 rejected (2 duplicate, 1 bad json); 1 near copies; 19 documents with " in told
    with Context(lab.data) as context:
        (table,) = by_source.blocks(context)
    assert [row["source"] for row in table.rows] == list(came)

    # models of the evaluation are trained on the background and on what a strategy selects
    lab.make("strategies", evaluation={"strategies": ["random"], "seeds": 2})
    trained_on = lab.sql("SELECT doc_id, repeats FROM strategies")
    assert background < set(trained_on["doc_id"]) and set(trained_on["repeats"]) == {1}

    # budgets by source, with a weight
    heavy = [source | ({"weight": 3} if source["name"] == "wet" else {}) for source in sources]
    lab.make(
        "corpus", "near_duplicates", "embeddings", "partition", "student", "clusters", "sigma_k",
        "probe_set", "quality_scores", "adaptation_deltas", "budgets",
        corpus={"sources": heavy}, clustering={"method": "column", "column": "pool", "min_cluster_docs": 5},
        budget={"base": "proportional", "replay": "none", "total": 0.1},
    )  # fmt: skip
    shares = lab.sql(
        "SELECT value, budget / sum(budget) OVER () AS share, budgets.n_tokens AS size FROM budgets JOIN centroids USING (cluster_id)"
    )
    wanted = {value: size * (3 if value == "wet" else 1) for value, _, size in shares.rows()}
    assert len(wanted) == 5 and wanted["background"] == 0
    for value, share, _ in shares.rows():
        assert share == pytest.approx(wanted[value] / sum(wanted.values()))

    # a new source reads only itself, and so does a changed one
    reads.clear()
    more = tmp_path / "more.csv"
    more.write_text("text\n" + "".join(f"{prose(400 + i).strip()}\n" for i in range(5)))
    lab.make("corpus", corpus={"sources": [*sources, {"name": "more", "path": str(more)}]})
    assert reads == ["more.csv"]
    reads.clear()
    cap = lab.sql("SELECT sum(n_tokens) FROM corpus WHERE role = 'keep'").item() // 2
    capped = [*sources[:-1], sources[-1] | {"cap": int(cap)}]
    lab.make("corpus", corpus={"sources": capped})
    assert not reads
    tokens = lab.sql("SELECT sum(n_tokens) FROM corpus WHERE role = 'keep'").item()
    assert 0 < tokens <= cap
    assert {r for (r,) in lab.sql("SELECT reason FROM rejected WHERE pool = 'background'").rows()} == {"over the cap"}
    assert lab.sql("SELECT count(*) FROM rejected WHERE reason = 'bad json'").item() == 1


def test_a_row_of_an_intake_is_the_outcome_that_it_was(tmp_path):
    from grip_assets.sources.documents import Reason, from_text
    from grip_assets.sources.jobs import as_row, outcome
    from grip_assets.sources.steps.contamination import Finding

    document = from_text("x\n", "python", "a.py", "a")
    again = outcome(
        dict.fromkeys(("reason", "detail", "stands_for", "finding")) | as_row(document) | {"doc_id": document.doc_id}
    )
    assert again == document and again.doc_id == document.doc_id
    rejected = Rejected("s", Reason.CONTAMINATED, "d", 1, "id", finding=Finding("humaneval", "exact", ["p"]))
    assert outcome(as_row(rejected)) == rejected


def test_a_cluster_of_the_background_alone_needs_no_probe_and_any_other_needs_what_was_allocated():
    drawn = pl.DataFrame({"doc_id": ["a", "b", "c"], "cluster_id": [0, 0, 2]})

    def violations(**n_probe):
        allocated = {"cluster_id": [int(name[1:]) for name in n_probe], "n_probe": list(n_probe.values())}
        tables = {"probe_set": drawn, "probe_allocation": pl.DataFrame(allocated)}
        return query("checks/probe_set__sums_to_budget", tables)["cluster_id"].to_list()

    assert violations(c0=2, c1=0, c2=1) == []
    assert violations(c0=2, c1=1, c2=1) == [1] and violations(c0=3, c2=1) == [0] and violations(c0=2) == [2]
