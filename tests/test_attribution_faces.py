"""What a person sees of an attribution: the section of the page, the terminal, the card; on planted tables."""

import json
import re
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from attributed import CHOSEN, COPIES, SCORES, TAKEN, WORDS, Attributed, N, doc

from grip_assets.cli import run
from grip_assets.export.card import _attributed as of_card
from grip_assets.export.rows import Rows
from grip_assets.report import attribution
from grip_assets.report.page.attribution import section
from grip_assets.report.page.build import render
from grip_assets.report.page.context import Context
from grip_assets.report.terminal import attribution as terminal
from grip_assets.report.terminal.trainings import trainings
from grip_assets.settings import GROUPS, validate
from grip_assets.stages import STAGES
from grip_assets.stages.costs import Cost, Forecast
from grip_assets.stages.reports import redundancy
from grip_assets.store import attributed
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.catalog import connect

HOSTILE = (
    "<img src=x onerror=window.hacked=1>",
    "</script><script>window.hacked=1</script>",
    "\u202etxt.exe\x01",
    "{{ 7*7 }}{% raw %}",
)


def seen(root):
    """Sentences, figures by id, and the other blocks by their kind."""
    with Context(root) as context:
        blocks = section(context).blocks
    figures = {
        f.id: f for b in blocks for f in (b.figures if b.kind == "panels" else [b] if b.kind == "figure" else [])
    }
    others = {b.kind: b for b in blocks if b.kind not in ("prose", "figure", "panels")}
    return [str(b.text) for b in blocks if b.kind == "prose"], figures, others


def one(texts, part):
    (found,) = [text for text in texts if part in text]
    return found


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    return Attributed().write(tmp_path_factory.mktemp("measured"))


@pytest.fixture(scope="module")
def unmeasured(tmp_path_factory):
    return Attributed(choose="none").write(tmp_path_factory.mktemp("unmeasured"))


@pytest.fixture(scope="module")
def attacked(tmp_path_factory):
    texts = [f"{HOSTILE[i % 4]} {i}" for i in range(N)]
    planted = Attributed(targets=(HOSTILE[0], f"held_out:{HOSTILE[2]}"), names=(*HOSTILE, "plain"), texts=texts)
    return planted.write(tmp_path_factory.mktemp("attacked"))


def test_a_panel_for_each_target_has_the_trials_as_the_chosen_score_predicts_them(measured):
    texts, figures, _ = seen(measured)
    assert (
        WORDS in one(texts, "<strong>The score")
        and "chosen:" not in one(texts, "<strong>The score")
        and "reconstruction" in one(texts, "<strong>The score")
    )
    panels = [figures[f"attribution-fidelity-{i}"] for i in (1, 2)]
    assert [panel.title for panel in panels] == ["held out: python", "humaneval"]
    planted = Attributed()
    of_trial = planted.of_predictions().filter(configuration=CHOSEN, target="humaneval")
    shown = {(x, y) for trace in panels[1].data for x, y in zip(trace["x"], trace["y"], strict=True)}
    assert len(shown) == 59, "60 trials, one of which has no utility"
    assert {f"{x:.4g}" for x, _ in shown} <= {f"{x:.4g}" for x in of_trial["predicted"]}
    opened = [trace for trace in panels[1].data if trace["marker"]["symbol"].endswith("-open")]
    assert len(opened) == 6 and len(panels[1].data) == 12, "calibration and check are apart, by kind"
    assert len({trace["marker"]["color"] for trace in opened}) == 6
    assert "ρ 0.82 (0.72 to 0.92), ceiling 0.95" in panels[1].choices[0].note


def test_a_panel_can_show_every_other_score_of_the_same_trials(measured):
    panel = seen(measured)[1]["attribution-fidelity-1"]
    assert [choice.name for choice in panel.choices] == [
        "unigram, γ 1", "unigram, additive", "unigram cross-entropy", "head, unit norm, γ 0.3", "length",
    ]  # fmt: skip
    unknown = [change["x"] for change in panel.choices[2].changes if None in change["x"]]
    assert len(unknown) == 6, "baselines are scored on check trials only"
    for choice in panel.choices:
        assert [len(change["x"]) for change in choice.changes] == [len(trace["x"]) for trace in panel.data]
    assert panel.choices[0].changes[0]["x"] == pytest.approx(panel.data[0]["x"], rel=1e-4)


def test_sizes_of_trials_are_never_pooled(tmp_path):
    figures = seen(Attributed(sizes=(50_000, 100_000)).write(tmp_path))[1]
    panels = [f for name, f in figures.items() if "fidelity" in name]
    assert len(panels) == 4 and {p.title for p in panels} >= {"humaneval, 50,000 tokens", "humaneval, 100,000 tokens"}


def test_every_score_has_its_fidelity_and_its_cost_in_one_table(measured):
    figure = seen(measured)[1]["attribution-scores"]
    assert len(figure.table.rows) == len(SCORES)
    first = {column.label: column.cell(figure.table.rows[0]) for column in figure.table.columns}
    assert first["Score"] == "unigram, γ 1 (chosen)" and first["ρ, structured"] == "0.82"
    assert first["Seconds"] == "2.5" and first["GFLOP"] == "0.0" and "MB" in first
    assert figure.layout["yaxis"]["categoryarray"][-1] == "unigram, γ 1 (chosen)", "the best is at the top"
    assert "ceiling" in figure.choices[0].note.lower()
    assert [choice.name for choice in figure.choices] == ["all targets, mean", "humaneval", "held out: python"]


def test_the_words_are_the_same_on_the_page_and_in_the_terminal(measured, unmeasured):
    found, nothing = attribution_of(measured), attribution_of(unmeasured)
    said = one(seen(measured)[0], "Does it predict training")
    assert attribution.in_words(found) in said and attribution.quadratic(found) in said
    assert "structured trials: Spearman 0.82 (0.72 to 0.92), noise ceiling 0.95; random trials: Spearman 0.55" in said
    assert "On structured trials it predicts better than additive: Spearman +0.30 (+0.20 to +0.40)" in said
    assert "unigram cross-entropy predicts structured trials best: 0.75, and the chosen score 0.82" in said
    texts, figures, _ = seen(unmeasured)
    assert "Not measured" in one(texts, "attribution.choose=bootstrap") and "attribution-scores" not in figures
    assert "no training has tested them" in one(texts, "<strong>The score")
    assert not nothing.measured and attribution.quadratic(nothing) == "" and attribution.best_other(nothing) == ""


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.1, 0.3, "predicts better than"), (-0.1, 0.3, "predicts no better than"), (-0.3, -0.1, "no better than additive, but worse")],
)  # fmt: skip
def test_no_better_than_additive_is_said_where_it_is_so(low, high, said):
    tables = Attributed().of_attribution()
    bounds = {"over_additive_low": pl.lit(low), "over_additive_high": pl.lit(high)}
    found = attributed.Attributed(tables["attribution_choice"], tables["attribution_fidelity"].with_columns(**bounds))
    assert attribution.quadratic(found).count(said) == 2, "of each kind"
    assert ("no better" in attribution.quadratic(found)) == (low < 0)


def test_a_choice_of_additive_is_said_on_the_page(tmp_path):
    texts = seen(Attributed(better=False).write(tmp_path))[0]
    assert "unigram, additive. It was chosen by the calibration trials: the quadratic term is no gain." in one(
        texts, "<strong>The score"
    )
    assert "The score is additive: in this pool, a quadratic term predicts no better than additive." in one(
        texts, "Does it"
    )


def test_documents_that_were_left_out_stand_beside_those_that_made_them_redundant(measured):
    texts, figures, others = seen(measured)
    said = one(texts, "What the quadratic term changed")
    assert f"{COPIES - 1} documents would have been taken" in said and f"{COPIES - 1} others were taken" in said
    assert "within 1.2% of the relaxed optimum" in said
    pairs = others["pairs"].data["pairs"]
    assert len(pairs) == COPIES - 1
    assert [pair["left"]["source"] for pair in pairs] == [f"src/{i:02}.py" for i in range(1, COPIES)]
    assert {pair["right"]["source"] for pair in pairs} == {"src/00.py"}, "the copy that was taken"
    assert pairs[0]["left"]["about"].endswith("alignment +0.483, of which +0.533 is covered: it would add −0.05")
    assert pairs[0]["left"]["head"].startswith("def number_1()") and "number 1" in pairs[0]["because"]
    assert len(others["table"].rows) == COPIES - 1, "those that came instead"
    assert len(figures["attribution-gains"].data[0]["x"]) == TAKEN


def test_a_greedy_selection_that_additive_scores_would_make_too_is_said_to_be_one(tmp_path):
    planted = Attributed()
    planted.taken = list(range(TAKEN))
    texts, _, others = seen(planted.write(tmp_path))
    assert "nothing. Additive scores take the same documents" in one(texts, "What the quadratic term changed")
    assert "pairs" not in others


def test_named_clusters_have_their_alignment_and_their_shares(measured):
    figure = seen(measured)[1]["attribution-clusters"]
    assert [choice.name for choice in figure.choices] == ["held out: python", "humaneval"]
    pool, subset = figure.data
    assert pool["y"] == subset["y"] and pool["y"][0] == "0 pandas tests"
    assert sum(pool["x"]) == pytest.approx(1, abs=1e-4) and sum(subset["x"]) == pytest.approx(1, abs=1e-4)
    assert figure.table.columns[0].cell(figure.table.rows[3]) == "3 generated tables"
    of = Attributed().of_attribution()["attribution"].filter(target="humaneval")["alignment"].to_numpy()
    assert figure.table.rows[0]["humaneval"] == pytest.approx(of[np.array(Attributed().cluster) == 0].mean())


def test_every_picture_has_a_table_with_its_numbers(measured):
    for figure in seen(measured)[1].values():
        assert figure.table is not None and len(figure.table.rows) > 0, figure.id


def test_without_greedy_the_section_has_no_pairs_and_no_gains(tmp_path):
    _, figures, others = seen(Attributed(rule="draw").write(tmp_path))
    assert not others and "attribution-gains" not in figures and "attribution-clusters" in figures


def test_an_unused_attribution_is_said_to_be_unused(tmp_path):
    root = Attributed().write(tmp_path)
    for manifest in root.glob("attribution/[!.]*/manifest.json"):
        unused = {"unused": "settings/selection.rule is draw"}
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | unused))
    texts, figures, _ = seen(root)
    assert texts == ["<code>attribution</code> is not used: settings/selection.rule is draw."] and not figures


def test_what_documents_targets_and_clusters_are_called_is_text(attacked):
    with Context(attacked) as context:
        text = render([section(context)], "", "")
    text = text[: (start := text.index("<script>/**"))] + text[text.index("</script>", start) :]
    assert "<img" not in text and "window.hacked=1</script" not in text and "\u202e" not in text and "\x01" not in text
    assert "&lt;img src=x" in text and "[U+202E]" in text and "49" not in re.findall(r"<pre>(.*?)</pre>", text)
    for payload in re.findall(r'<script type="application/json" id="attribution[^>]*>(.*?)</script>', text, re.S):
        for trace in json.loads(payload)["data"]:
            shown = [trace.get("name") or "", *map(str, trace.get("y", [])), *map(str, trace.get("text") or [])]
            assert not any("<" in name.replace("<br>", "") for name in shown)


def attribution_of(root):
    with connect(root) as connection:
        return attributed.in_force(connection, ArtifactStore(root))


def test_the_nearest_are_found_block_by_block_and_by_source(tmp_path, monkeypatch):
    """A few rows at a time give the neighbours that all rows give, and other sources are not compared with."""
    planted = Attributed()
    root = planted.write(tmp_path)
    files = ArtifactStore(root).parquet("sketches", "planted", "sketches")
    left, taken = pl.Series([doc(i) for i in (1, 2, 40)]), pl.Series([doc(i) for i in planted.taken])
    every = pl.Series([doc(i) for i in range(N)])
    found = redundancy.nearest(files, "unigram", every, left, taken)
    x = planted.sketch.astype(np.float16).astype(float)
    x /= np.linalg.norm(x, axis=1)[:, None]
    for i in (1, 2, 40):
        rows = found.filter(doc_id=doc(i))
        best = sorted(planted.taken, key=lambda t: -(x[i] @ x[t]))[: redundancy.NEAREST]
        assert rows["nearest"].to_list() == [doc(t) for t in best] and rows["number"].to_list() == [1, 2, 3]
        assert rows["similarity"].to_list() == pytest.approx([x[i] @ x[t] for t in best], abs=1e-6)
    whole = redundancy.sketch_blocks

    def few(files, rows):
        return (block[i : i + 7] for block in whole(files, rows) for i in range(0, len(block), 7))

    monkeypatch.setattr(redundancy, "sketch_blocks", few)
    assert redundancy.nearest(files, "unigram", every, left, taken).equals(found)
    nothing = redundancy.nearest(files, "unigram", every, pl.Series([], dtype=pl.String), taken)
    assert nothing.is_empty() and nothing.columns == found.columns


def test_a_sketch_of_zeros_is_like_no_other():
    assert redundancy._cosines(np.zeros((1, 3)), np.ones((2, 3))).tolist() == [[0.0, 0.0]]


def test_the_summary_says_the_score_how_well_it_predicts_and_how_good_the_selection_is(measured, unmeasured):
    text = "\n".join(terminal.as_lines(attribution_of(measured), {"certificate": "within 1.2% of the relaxed optimum"}))
    assert "Subsets are scored by unigram, γ 1. It was chosen by the calibration trials" in text
    assert "predicts structured trials: Spearman 0.82" in text and "within 1.2% of the relaxed optimum" in text
    assert "no training has tested them" in next(terminal.as_lines(attribution_of(unmeasured), {}))
    assert list(terminal.as_lines(None, {})) == [], "nothing is said where nothing was attributed"
    data = json.loads(json.dumps(terminal.as_data(attribution_of(measured))))
    assert data["chosen"]["configuration"] == CHOSEN and data["fidelity"][0]["label"]


def test_the_command_prints_every_score_with_its_ceiling_and_its_cost(measured, monkeypatch, capsys):
    monkeypatch.setenv("GRIP_DATA", str(measured))
    monkeypatch.setattr("grip_assets.cli._bring_catalog_up_to_date", lambda: None)
    assert run(["fidelity"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (structured,) = [i for i, line in enumerate(lines) if line.startswith("structured, 100,000 tokens: 24 trials")]
    assert "noise ceiling 0.95" in lines[structured]
    rows = lines[structured + 2 : structured + 2 + len(SCORES)]
    assert rows[0].startswith("  * unigram, γ 1 ") and "0.72 to 0.92" in rows[0] and "4,000.0" in rows[-2]
    assert len({row.index("planted") for row in rows}) == 1, "the columns are aligned"
    assert any("predicts better than additive" in line for line in lines)
    assert run(["fidelity", "--target", "held_out:python"]) == 0 and "held out: python" in capsys.readouterr().out
    assert run(["fidelity", "--target", "humanevil"]) == 2 and "Did you mean 'humaneval'?" in capsys.readouterr().err
    assert run(["fidelity", "--json"]) == 0 and json.loads(capsys.readouterr().out)["chosen"]["gamma"] == 1


def test_the_command_says_why_there_is_nothing_to_print(tmp_path, unmeasured, monkeypatch, capsys):
    monkeypatch.setattr("grip_assets.cli._bring_catalog_up_to_date", lambda: None)
    monkeypatch.setenv("GRIP_DATA", str(unmeasured))
    assert run(["fidelity"]) == 0 and "attribution.choose=bootstrap" in capsys.readouterr().out
    root = Attributed().write(tmp_path)
    (manifest,) = root.glob("attribution/[!.]*/manifest.json")
    unused = {"unused": "settings/selection.rule is draw"}
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | unused))
    monkeypatch.setenv("GRIP_DATA", str(root))
    assert run(["fidelity"]) == 1 and "not used: settings/selection.rule is draw" in capsys.readouterr().err


def test_names_of_targets_do_nothing_in_a_terminal(attacked):
    said = "\n".join(terminal.fidelity(attribution_of(attacked), f"held_out:{HOSTILE[2]}"))
    assert "\u202e" not in said and "\x01" not in said and "txt.exe" in said


def test_a_plan_says_how_many_trials_are_trained_on_how_many_tokens(tmp_path):
    values = {"choose": "bootstrap", "trial_tokens": [50_000, 100_000], "seeds": 2, "repeated": 8}
    settings = {group: validate(group, {}) for group in GROUPS} | {"attribution": validate("attribution", values)}
    costs = [Cost(name, "compute", "", None, 7200.0, 0, "guess") for name in ("reference_model", "counterfactuals")]
    lines = trainings(settings, [], ArtifactStore(tmp_path), Forecast(costs, None, 0))
    assert "a training of 1,000,000 tokens; about 2.0 h (guess)" in lines[0]
    assert "at most 272 trainings, 20,400,000 tokens in all; about 2.0 h (guess)" in lines[1]
    unused = [Cost("counterfactuals", "unused", "", None, 0.0, 0, "")]
    assert trainings(settings, [], ArtifactStore(tmp_path), Forecast(unused, None, 0)) == []


def test_the_card_of_an_export_says_the_score_and_the_first_documents(measured, attacked):
    for root in (measured, attacked):
        with connect(root) as connection:
            lineage = SimpleNamespace(attributed=attribution_of(root))
            text = "\n\n".join(of_card(connection, lineage))
        assert "Subsets are scored by unigram, γ 1" in text and "which only the abstract is public" in text
        assert "| 24 structured, 100,000 tokens | 0.8182 | 0.72 to 0.92 | 0.95 |" in text
        assert "| 1 | src/00.py | 0.1 | 0.5 |" in text and text.count("| src/") == 10
        assert "<" not in text and "\u202e" not in text
    with connect(measured) as connection:
        assert of_card(connection, SimpleNamespace(attributed=None)) == []


@pytest.mark.parametrize("rule", ["greedy", "draw"])
def test_an_export_says_why_a_document_is_in_if_the_selection_is_greedy(tmp_path, rule):
    root = Attributed(rule=rule, choose="none").write(tmp_path / "data")
    with connect(root) as connection:
        files = ArtifactStore(root).parquet("corpus", "planted", "corpus")
        rows = Rows(connection, files, False, None, 64 << 20, tmp_path)
        ((_, table),) = rows.of([0])
    assert len(table) == TAKEN
    assert ("rank" in table.column_names) == (rule == "greedy")
    if rule == "greedy":
        first = min(table.to_pylist(), key=lambda row: row["rank"])
        assert first["doc_id"] == doc(0) and first["gain"] == pytest.approx(0.1) and first["alignment"] == 0.5


@pytest.mark.parametrize("stage", [name for name in Attributed().tables() if name in STAGES])
def test_planted_tables_have_the_columns_that_the_stages_declare(tmp_path, stage):
    """Otherwise the tests of this file would test nothing."""
    root = Attributed().write(tmp_path)
    for table in STAGES[stage].tables:
        files = list((root / stage / "planted" / table.name).glob("*.parquet"))
        if files:
            found = pl.scan_parquet(files[0], glob=False).collect_schema()
            missing = set(found) - set(table.schema)
            assert not missing, f"{table.name} has no {missing}"
            same = {name: table.schema[name] for name in found if not isinstance(table.schema[name], pl.Array)}
            assert {name: found[name] for name in same} == same, table.name


@pytest.mark.ui
@pytest.mark.slow
def test_the_section_in_a_browser(attacked, chromium, tmp_path):
    """Light, dark, a phone, the keyboard; no request, no error, and nothing that a text or a name says is done."""
    from playwright.sync_api import sync_playwright

    with Context(attacked) as context:
        (tmp_path / "page.html").write_text(render([section(context)], "", ""))
    url = (tmp_path / "page.html").as_uri()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for width, scheme in ((1280, "light"), (1280, "dark"), (360, "light")):
            page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            said, asked = [], []
            page.on("console", lambda m, to=said: to.append(m.text))
            page.on("pageerror", lambda e, to=said: to.append(str(e)))
            page.on("request", lambda r, to=asked: to.append(r.url))
            page.goto(url)
            page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
            for figure in page.locator("figure").all():
                figure.scroll_into_view_if_needed()
                figure.locator(".plot .main-svg").first.wait_for()
            assert page.locator(".main-svg a, .main-svg image").count() == 0
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            before = page.locator("#attribution-fidelity-1 .scatterlayer").inner_html()
            page.get_by_label("Score").first.focus()
            page.keyboard.press("ArrowDown")
            page.wait_for_timeout(300)
            assert page.locator("#attribution-fidelity-1 .scatterlayer").inner_html() != before
            assert page.evaluate("window.hacked") is None
            assert not said and {u.partition("#")[0] for u in asked if not u.startswith("data:")} == {url}
            page.close()
        browser.close()
