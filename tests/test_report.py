"""The report: it says what is in the tables, it does nothing that a document says, and it opens anywhere."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from conftest import draw, small

from grip_assets.errors import GripError
from grip_assets.naming import inert as naming
from grip_assets.report.compare import as_text, compare, described
from grip_assets.report.page import inert
from grip_assets.report.page.build import SHORT, build
from grip_assets.report.page.write import digest_of_page, page_path
from grip_assets.report.terminal.explain import explain
from grip_assets.report.terminal.summary import summary
from grip_assets.settings import Clustering
from grip_assets.store.artifacts import ArtifactStore

pytestmark = pytest.mark.draws

RTL, NUL = "\u202e", "\x01"
IMAGE = "<img src=x onerror=window.hacked=1>"
SCRIPT = "</script><script>window.hacked=1</script>"
LINK = "<a href='https://evil.example/'>free</a>"
ENDS = "]]> --> <!-- </style></textarea></title></pre></template>"


class Seen(HTMLParser):
    """Elements and attributes of a page, as a browser would take them."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]


def without_plotly(text: str) -> str:
    start = text.index("<script>/**")
    return text[:start] + text[text.index("</script>", start) :]


def report_record(lab):
    return lab.instance.get_latest_materialization_event(dg.AssetKey("report")).asset_materialization


@pytest.fixture
def hostile(new_lab, tmp_path):
    """A laboratory over documents that attack the page by their text, their names and their language."""
    pool = tmp_path / "hostile.jsonl"
    texts = [
        IMAGE,
        SCRIPT,
        LINK,
        ENDS,
        f"{RTL}txt.exe{NUL}",
        "\u2028alert(1)\u2029",
        "{{ 7*7 }}{% raw %}",
        "%{x}<b>bold</b>",
    ]
    rows = [
        {
            "text": f"{texts[i % 8]}\n{texts[(i // 8) % 8]} number {i} " + "word " * (5 + i % 17),
            "name": f"{texts[i % 8]}{i}.py",
        }
        for i in range(96)
    ]
    pool.write_text("\n".join(json.dumps(row) for row in rows))
    draw(False)
    lab = new_lab("hostile", pool, corpus={"id_field": "name", "title": f"{SCRIPT}{RTL}"})
    draw(True)
    lab.make("budgets", "subset", "report", selection={"beta": 1.0}, budget={"total": 0.4})
    return lab


def test_what_a_document_says_is_text():
    assert inert.visible(f"a{RTL}b{NUL}\n\tc\u200b") == "a[U+202E]b[U+0001]\n\tc[U+200B]"
    assert inert.label(IMAGE) == "&lt;img src=x onerror=window.hacked=1&gt;"
    assert inert.label("a\nb\tc\n\n" + "x" * 70 + "y", 70) == "a<br>b  c<br>" + "x" * 70 + "<br>y"
    text = inert.json_text({"a": [SCRIPT, "\u2028&", float("nan"), 1.5]})
    assert not set("<>&\u2028") & set(text) and json.loads(text)["a"] == [SCRIPT, "[U+2028]&", None, 1.5]


@pytest.mark.run
def test_pictures_are_shown_beside_what_they_show(lab):
    for name in ("budgets", "subset", "corpus_map", "knobs"):
        made = lab.instance.get_latest_materialization_event(dg.AssetKey(name)).asset_materialization
        picture = made.metadata["picture"].value
        assert picture.startswith("![picture](data:image/png;base64,") and len(picture) < 130_000


@pytest.mark.run
def test_the_page_has_every_section_and_names_what_is_missing(lab):
    text = page_path(lab.data).read_text()
    seen = Seen(without_plotly(text))
    assert {*SHORT} <= set(seen.ids) and len(seen.ids) == len(set(seen.ids)), "an id is there twice"
    assert "reports.stability_seeds=3" in text, "what costs something is asked for"
    for id in (
        "corpus-map",
        "fig2-distance",
        "fig2-lengths",
        "fig4-scatter",
        "fig4-scores",
        "fig5-clusters",
        "waterfall",
        "knobs",
        "diversity-clusters",
        "languages",
    ):
        assert f"{id}-data" in seen.ids, id
    links = {a["href"][1:] for tag, a in seen.tags if tag == "a"}
    assert links <= {*seen.ids}, "a link leads nowhere"
    fetched = [a for tag, a in seen.tags if "src" in a or (tag == "link" and not a["href"].startswith("data:"))]
    assert not fetched, "the page asks for something"
    labelled = sum(tag == "select" for tag, _ in seen.tags)
    assert labelled == len(re.findall(r"<label>[^<]*<select", text)), "a list without a label"
    assert len(text) < 8_000_000


@pytest.mark.run
def test_numbers_on_the_page_are_those_of_the_tables(lab):
    text = page_path(lab.data).read_text()
    ((n, tokens),) = lab.sql("SELECT count(*) AS n, sum(n_tokens)::BIGINT AS t FROM corpus").rows()
    assert f"<dd>{n}</dd>" in text and f"{tokens:,}" in text
    data = json.loads(re.search(r'id="fig4-scatter-data">(.*?)</script>', text, re.S)[1])
    rows = lab.sql("SELECT quality, delta FROM budgets ORDER BY cluster_id")
    assert np.allclose(data["data"][0]["x"], rows["quality"], atol=1e-5)
    assert np.allclose(data["data"][0]["y"], rows["delta"], atol=1e-5)
    r = float(np.corrcoef(rows["quality"], rows["delta"])[0, 1])
    assert f"correlate at {r:.2f}".replace("-", "−") in text


@pytest.mark.run
def test_distances_to_neighbours_are_exact(lab):
    import polars as pl

    from grip_assets.stages.claims.neighbour_distances import neighbour_distances
    from grip_assets.store.tables import matrix

    rows = lab.sql("SELECT doc_id, cluster_id, n_tokens FROM clusters")
    (folder,) = (lab.data / "clusters").glob("[!.]*")
    vectors = str(folder / "cluster_embeddings" / "*.parquet")
    rows = pl.read_parquet(str(folder / "clusters" / "*.parquet"), columns=["doc_id", "cluster_id", "n_tokens"])
    found = neighbour_distances(rows, vectors, 3, sample=50)
    assert len(found) == 50
    import pyarrow.parquet as pq

    x = matrix(pq.read_table(next(Path(vectors).parent.glob("*.parquet")))["embedding"]).astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    at = {doc: i for i, doc in enumerate(rows["doc_id"])}
    cluster = rows["cluster_id"].to_numpy()
    for doc, distance in found.select("doc_id", "distance").iter_rows():
        i = at[doc]
        others = [j for j in np.flatnonzero(cluster == cluster[i]) if j != i]
        exact = np.sort(np.linalg.norm(x[others] - x[i], axis=1))[:3].mean()
        assert distance == pytest.approx(exact, abs=2e-3)


@pytest.mark.run
def test_a_page_is_not_written_again_where_nothing_changed(lab):
    path = page_path(lab.data)
    before, when = path.read_bytes(), path.stat().st_mtime_ns
    assert (
        report_record(lab).metadata["reused"].value is False
        and digest_of_page(path) == report_record(lab).tags["dagster/data_version"]
    )
    lab.curate()
    assert path.stat().st_mtime_ns == when
    path.unlink()
    lab.make("report")
    assert path.read_bytes() == before, "the same tables gave another page"
    lab.make("subset", "report", selection={"beta": 0.9})
    assert report_record(lab).metadata["reused"].value is False and path.read_bytes() != before


@pytest.mark.run
def test_without_tables_every_section_says_what_to_materialize(lab):
    import duckdb

    from grip_assets.store.catalog import catalog_path

    catalog_path(lab.data).unlink()
    (lab.data / ".catalog.sql").unlink()
    with duckdb.connect(catalog_path(lab.data)) as empty:
        empty.execute(
            'CREATE VIEW settings AS SELECT NULL::VARCHAR AS "group", NULL AS name, NULL AS symbol, NULL AS value WHERE false'
        )
        empty.execute(
            "CREATE VIEW artifacts AS SELECT NULL::VARCHAR AS asset, NULL::VARCHAR AS version, NULL::VARCHAR AS path,"
            " false AS in_force WHERE false"
        )
    text, sections = build(lab.data)
    assert len(sections) == len(SHORT) and text.count('class="missing"') >= len(SHORT)
    assert "materialize the asset <code>corpus_map</code>" in text


@pytest.mark.run
def test_compare_names_settings_budgets_and_documents(lab):
    draw(False)

    def chosen():
        return set(lab.sql("SELECT doc_id FROM subset")["doc_id"])

    def version():
        return lab.sql("SELECT version FROM artifacts WHERE asset = 'subset' AND in_force")["version"][0]

    one, left = chosen(), version()
    lab.make("budgets", "subset", selection={"beta": 2.0}, budget={"tau": 0.1})
    other, right = chosen(), version()
    found = compare(lab.data, left, right[:8])
    assert {s["name"]: (s["left"], s["right"]) for s in found["settings"]} == {
        "budget.tau": (0.5, 0.1),
        "selection.beta": (0.3, 2.0),
    }
    assert found["in"]["documents"] == len(other - one) > 0 and found["out"]["documents"] == len(one - other)
    assert found["both"]["documents"] == len(one & other)
    assert {e["doc_id"] for e in found["in"]["examples"]} <= other - one
    assert {e["doc_id"] for e in found["out"]["examples"]} <= one - other
    assert all(e["source"] and e["head"] for e in found["in"]["examples"])
    tokens = lab.sql("SELECT sum(n_tokens * repeats)::BIGINT AS n FROM subset")["n"][0]
    assert found["in"]["tokens"] + found["both"]["tokens"] == tokens
    assert (
        sum(r["second"] for r in found["budgets"]) == lab.sql("SELECT sum(allocated)::BIGINT AS n FROM budgets")["n"][0]
    )
    text = as_text(found)
    assert "selection.beta" in text and f"in        {len(other - one):,} documents" in text
    turned = compare(lab.data, right, left)
    assert turned["in"]["examples"] == found["out"]["examples"]
    measured = ("sigma_k", "probe_set", "quality_scores", "adaptation_deltas")
    lab.make("partition", "clusters", *measured, "budgets", "densities", "subset", clustering={"k": 5})
    assert compare(lab.data, left, version())["budgets"] is None
    with pytest.raises(GripError, match="no subset 'zz'"):
        compare(lab.data, "zz", left)
    with pytest.raises(GripError, match=r"\d subsets begin with|no subset ''"):
        compare(lab.data, "", left)


def test_a_setting_that_was_added_later_has_its_default_in_a_comparison(tmp_path):
    counts = {"documents_selected": 1, "tokens_selected": 1}
    manifest = {"version": "v", "computed_at": 0.0, "metrics": counts, "inputs": {}}
    old, new = (
        described(ArtifactStore(tmp_path), manifest | {"settings": {"clustering": values}})["settings"]
        for values in ({"k": 5}, {"k": 5, "balance": Clustering().balance})
    )
    assert old == new and old["clustering.k"] == 5


@pytest.mark.run
def test_clusters_by_a_column_are_called_by_their_values(new_lab, models, pool, tmp_path):
    """A curation by a column of the pool with a weight for each value, as a user sees it."""
    values = {"parse": "python", "matrix": IMAGE, "server": "go"}  # the fourth topic has none
    files = sorted(pool.glob("*/*.py"))
    rows = [{"text": file.read_text(), "language": values.get(file.parent.name)} for file in files]
    (tmp_path / "pool.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "weights.json").write_text(json.dumps({"python": 3, IMAGE: 1, "go": 0, "(missing)": 1}))
    lab = new_lab(first=False)
    given = {"base": "given", "weights": str(tmp_path / "weights.json"), "replay": "none"}
    changes = small(models, tmp_path / "pool.jsonl", clustering={"method": "column"}, budget=given)
    said = summary(lab.data, lab.operations.curate(lab.instance, changes))
    clusters = dict(lab.sql("SELECT value, allocated FROM budgets JOIN centroids USING (cluster_id)").iter_rows())
    assert clusters.keys() == {"python", IMAGE, "go", "(missing)"}
    assert clusters["go"] == 0 and clusters["python"] == pytest.approx(3 * clusters["(missing)"], rel=0.05)
    names = [naming.name(value) for value in clusters]
    assert all(re.search(rf"^  \d {re.escape(name)} ", said, re.M) for name in names)
    assert "its weight in budget.weights" in said
    page = page_path(lab.data).read_text()
    assert all(re.search(rf"<h3><span>Cluster \d: {re.escape(name)}<", page) for name in names)
    (number,) = [n for n, file in enumerate(files, 1) if file.name == "server_07.py"]
    reason = explain(lab.data, f"pool.jsonl:{number}")
    assert "OUT of the subset: its cluster was given no budget" in reason and " go: 30 documents" in reason


@pytest.mark.run
def test_hostile_documents_make_no_element_and_no_attribute(hostile):
    text = without_plotly(page_path(hostile.data).read_text())
    seen = Seen(text)
    tags = {tag for tag, _ in seen.tags}
    assert not tags & {"img", "iframe", "object", "embed", "template", "textarea"}
    assert not [a for _, a in seen.tags if any(name.startswith("on") for name in a)]
    assert not [a for tag, a in seen.tags if tag == "a" and not a["href"].startswith("#")]
    assert sum(tag == "script" and not a for tag, a in seen.tags) == 1, "ours, and no other beside plotly"
    (policy,) = [a["content"] for tag, a in seen.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'sha256-" in policy and "connect-src 'none'" in policy
    assert "unsafe" not in policy.partition("style-src")[0]
    assert RTL not in text and NUL not in text and "\u2028" not in text and "[U+202E]" in text
    assert "49" not in re.findall(r"<pre>(.*?)</pre>", text, re.S), "a template in a document was run"
    payloads = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.S)
    assert len(payloads) > 8
    for payload in payloads:
        json.loads(payload)
        assert not set("<>&") & set(payload)
    hover = json.loads(re.search(r'id="corpus-map-data">(.*?)</script>', text, re.S)[1])["data"][0]["text"]
    allowed = re.compile(r"<(b|/b|br)>")
    assert hover and not any("<" in allowed.sub("", said) for said in hover)


@pytest.mark.ui
@pytest.mark.slow
@pytest.mark.run
def test_the_page_in_a_browser(hostile, chromium):
    """Light, dark, a phone, the keyboard; no request, no error, nothing that a document says is done."""
    from playwright.sync_api import sync_playwright

    url = page_path(hostile.data).as_uri()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for width, scheme in ((1280, "light"), (1280, "dark"), (360, "light")):
            page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            said, asked, opened = [], [], []
            page.on("console", lambda m, to=said: to.append(m.text))
            page.on("pageerror", lambda e, to=said: to.append(str(e)))
            page.on("dialog", lambda d, to=said: (to.append(d.message), d.dismiss()))
            page.on("request", lambda r, to=asked: to.append(r.url))
            page.on("popup", lambda p, to=opened: to.append(p.url))
            page.goto(url)
            read_through(page)
            assert page.locator(".plot .main-svg").count() >= 10
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate("[window.hacked, document.images.length]") == [None, 0]
            background = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (background == "rgb(15, 19, 24)") == (scheme == "dark")
            if width > 640:
                hover_and_choose(page)
                choose_areas(page)
                by_keyboard(page)
                find_and_keep(page)
            else:
                follow_the_reader(page)
            assert page.evaluate("window.hacked") is None
            assert not said and not opened and {u for u in asked if not u.startswith("data:")} == {url}
            page.close()
        browser.close()


def find_and_keep(page):
    """A number finds that cluster and no other; the theme is the same after a reload."""
    for words, found in (("1", ["Cluster 1"]), ("99", []), ("no such language", [])):
        page.locator("#cards-find").fill(words)
        heads = page.locator("#cards > li:not([hidden]) h3").all_inner_texts()
        assert [re.match(r"Cluster \d+", head)[0] for head in heads] == found, words
    page.locator("#theme").click()
    chosen = page.evaluate("document.documentElement.dataset.theme")
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == chosen


def follow_the_reader(page):
    """The bar of sections shows the one that is read, also where it is wider than the screen."""
    page.evaluate("document.getElementById('curves').scrollIntoView({behavior: 'instant'})")
    page.wait_for_function("document.querySelector('nav a[aria-current]')?.hash === '#curves'")
    left, right = page.evaluate(
        "(() => { const b = document.querySelector('nav a[aria-current]').getBoundingClientRect(); return [b.left, b.right]; })()"
    )
    assert left >= 0 and right <= 360


def read_through(page):
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    for y in range(0, page.evaluate("document.documentElement.scrollHeight"), 700):
        page.evaluate(f"window.scrollTo(0, {y})")
        page.wait_for_timeout(40)
    page.wait_for_function("[...document.querySelectorAll('.plot')].every((p) => p.querySelector('.main-svg'))")


def hover_and_choose(page):
    """The map: its tools have none that sends data away; hovering shows a document as text; colours can be chosen."""
    figure = page.locator("#corpus-map .plot")
    tools = page.locator("#corpus-map .modebar-btn").evaluate_all(
        "(all) => all.map((b) => b.dataset.title || b.ariaLabel)"
    )
    assert len(tools) == 5 and not [t for t in tools if re.search("cloud|share|edit|send|link", t or "", re.I)]
    figure.scroll_into_view_if_needed()
    page.evaluate("Plotly.Fx.hover(document.querySelector('#corpus-map .plot'), [{curveNumber: 0, pointNumber: 0}])")
    page.wait_for_selector("#corpus-map .hoverlayer text")
    assert page.locator(".hoverlayer a, .hoverlayer image").count() == 0
    before = page.locator("#corpus-map .scatterlayer path").first.get_attribute("style")
    page.get_by_label("Colour by").select_option(label="Selected or not")
    page.wait_for_timeout(200)
    assert "selected" in page.locator("#corpus-map-note").text_content()
    assert page.locator("#corpus-map .scatterlayer path").first.get_attribute("style") != before


def choose_areas(page):
    """The treemap: the tokens before or after selection; a tile says its name as text."""
    assert page.locator("#families .treemaplayer path.surface").count() > 3
    before = page.locator("#families .treemaplayer").inner_html()
    page.get_by_label("Area").select_option(label="After: the subset")
    page.wait_for_timeout(1000)
    assert "tokens of the subset" in page.locator("#families-note").text_content()
    assert page.locator("#families .treemaplayer").inner_html() != before
    assert page.locator("#families .treemaplayer a, #families .treemaplayer image").count() == 0


def by_keyboard(page):
    """Skip link first; a heading sorts; the theme is a button; the comparison answers."""
    page.evaluate("window.scrollTo(0, 0); document.activeElement.blur()")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    head = page.locator("#clusters th button", has_text="Documents").first
    column = head.evaluate("(b) => b.parentElement.cellIndex")
    for order, turned in (("descending", True), ("ascending", False)):
        head.focus()
        page.keyboard.press("Enter")
        assert head.evaluate("(b) => b.parentElement.ariaSort") == order
        rows = page.locator("#clusters tbody tr")
        shown_ = rows.evaluate_all(f"(all) => all.map((r) => Number(r.cells[{column}].dataset.v))")
        assert shown_ == sorted(shown_, reverse=turned) and len(shown_) > 2
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").focus()
    page.keyboard.press("Space")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark
    page.keyboard.press("Space")
    assert page.locator("#compare .doc").count() > 0
    assert "selection.beta" in page.locator("#compare").text_content()
