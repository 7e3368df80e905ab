"""What a person sees of mixing: the section of the page, the pictures, the summary, the card; on planted tables."""

import json
import re

import numpy as np
import polars as pl
import pytest
from mixed import FOUND, NAMES, SHARES, Mixed

from grip_assets.engine.in_force import Run
from grip_assets.engine.plan import Step
from grip_assets.export.card import _mixture as of_card
from grip_assets.report import mixing, pictures
from grip_assets.report.page.build import build
from grip_assets.report.page.context import Context
from grip_assets.report.page.mixing import section
from grip_assets.report.terminal import mixing as terminal
from grip_assets.report.terminal.ladder import ladder
from grip_assets.report.terminal.mixture_check import as_lines
from grip_assets.report.terminal.trainings import trainings
from grip_assets.settings import GROUPS, validate
from grip_assets.stages.costs import Cost, Forecast, Size
from grip_assets.store import cluster_names, learned_mixture
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.catalog import connect

HOSTILE = (
    "<img src=x onerror=window.hacked=1>",
    "</script><script>window.hacked=1</script>",
    "\u202etxt.exe\x01",
    "a value that is so long that only its last letter tells it from another: a",
    "a value that is so long that only its last letter tells it from another: b",
)


def seen(root):
    """Sentences by their first words, figures by id."""
    with Context(root) as context:
        blocks = section(context).blocks
    texts = [str(block.text) for block in blocks if block.kind == "prose"]
    return texts, {block.id: block for block in blocks if block.kind == "figure"}


def one(texts, begins):
    (found,) = [text for text in texts if begins in text]
    return found


@pytest.fixture(scope="module")
def regmix(tmp_path_factory):
    return Mixed().write(tmp_path_factory.mktemp("regmix"))


@pytest.fixture(scope="module")
def doremi(tmp_path_factory):
    return Mixed(method="doremi", checked=False).write(tmp_path_factory.mktemp("doremi"))


def test_the_section_has_the_weights_of_named_clusters_with_intervals(regmix):
    texts, figures = seen(regmix)
    assert "4 matrix code (8.0% → 20.0%); 2 web servers (15.0% → 23.0%)" in one(texts, "Up most")
    assert "4 of 5 weights differ for certain" in one(texts, "Up most")
    weights = figures["mixing-weights"]
    before, after = weights.data
    assert before["y"] == after["y"] and after["y"][-1] == "4 matrix code", "the one that gains most is at the top"
    assert sorted(before["x"]) == sorted(SHARES) and sorted(after["x"]) == sorted(FOUND)
    assert after["error_x"]["array"] == pytest.approx([0.03] * 5)
    assert [row["domain"] for row in weights.table.rows] == [0, 1, 2, 3, 4]
    assert weights.table.columns[0].cell(weights.table.rows[2]) == "2 web servers"


def test_every_picture_has_a_table_with_its_numbers(regmix, doremi):
    figures = seen(regmix)[1] | seen(doremi)[1]
    assert set(figures) == {"mixing-weights", "mixing-predicted", "mixing-fit", "mixing-swarm", "mixing-history"}
    for figure in figures.values():
        assert figure.table is not None and len(figure.table.rows) > 0, figure.id


def test_predictions_are_beside_measurements_and_the_best_is_at_the_top(regmix):
    texts, figures = seen(regmix)
    shown = figures["mixing-predicted"]
    assert shown.layout["yaxis"]["categoryarray"][-1] == "the learned weights"
    predicted, seeds, means = shown.data
    assert predicted["name"].startswith("predicted") and len(predicted["x"]) == 6
    assert len(seeds["x"]) == 18 and len(means["x"]) == 6
    first = shown.table.rows[0]
    assert first["value"] == pytest.approx(means["x"][0], rel=1e-5) and first["words"] == "better than natural"
    assert one(texts, "The learned weights") == "<strong>The learned weights</strong>: better than natural"


def test_whether_the_predicted_order_held_is_said_on_the_page_and_in_the_terminal(tmp_path):
    root = Mixed().write(tmp_path)
    manifest = next((root / "mixture_check").glob("[!.]*/manifest.json"))
    said = {"prediction": "The predicted order of the mixers held <b>."}
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"metrics": said}))
    assert one(seen(root)[0], "predicted order") == "The predicted order of the mixers held &lt;b&gt;."
    assert "  The predicted order of the mixers held <b>." in as_lines(root)


def test_a_measurement_of_an_earlier_mixture_is_said_to_be_one(tmp_path):
    root = Mixed().write(tmp_path)
    assert not [text for text in seen(root)[0] if "earlier mixture" in text]
    manifest = next((root / "mixture_check").glob("[!.]*/manifest.json"))
    manifest.write_text(manifest.read_text().replace('"mixture": "planted"', '"mixture": "another"'))
    texts, figures = seen(root)
    assert "of an earlier mixture" in one(texts, "earlier mixture")
    assert figures["mixing-swarm"].data[-1]["name"] == "the learned weights, predicted"


def test_without_a_measurement_the_section_says_how_to_make_one(doremi):
    texts, figures = seen(doremi)
    assert "grip evaluate mixture_check" in one(texts, "Not measured yet")
    assert "mixing-predicted" not in figures, "DoReMi predicts no loss"


def test_failed_trainings_are_counted_and_left_out_of_the_cloud(regmix):
    texts, figures = seen(regmix)
    assert "1 training failed and is left out" in one(texts, "How the weights were learned")
    swarm = figures["mixing-swarm"]
    assert [len(trace["x"]) for trace in swarm.data] == [39, 1, 1], "swarm, natural, learned"
    assert [row["failed"] for row in swarm.table.rows if row["failed"]] == ["the loss is not finite"]
    over = swarm.choices[1]
    assert over.name == "share of 0 pandas tests" and [len(change["x"]) for change in over.changes] == [39, 1, 1]
    assert over.changes[2]["x"] == [FOUND[0]] and over.changes[1]["x"] == [SHARES[0]]


def test_doremi_has_its_history_and_says_whether_it_settled(doremi):
    texts, figures = seen(doremi)
    assert "The weights settled." in one(texts, "What to make of it")
    assert "farthest above that of the reference on 4 matrix code" in one(texts, "The domains that matter")
    lines = figures["mixing-history"].data
    assert len(lines) == 5 and {line["name"] for line in lines} >= {"4 matrix code", "1 licences"}


def test_a_long_history_is_drawn_with_few_points(tmp_path):
    long = Mixed(method="doremi", steps=3000, checked=False)
    found = learned_mixture.Mixture(long.of_mixture()["mixture_weights"], dict(enumerate(NAMES)), {})
    from grip_assets.report.page.mixing_figures import POINTS, history

    lines = history(found, long.of_steps()).data
    assert all(len(line["x"]) <= 2 * POINTS for line in lines)
    assert all(line["x"][-1] > 2900 for line in lines), "the end is drawn"


def test_the_domains_that_matter_are_those_whose_share_changes_the_prediction_most(regmix):
    said = one(seen(regmix)[0], "The domains that matter")
    assert "4 matrix code by −0.0034, 0 pandas tests by +0.0021 and 2 web servers by −0.0008" in said


def test_the_domains_that_matter_to_perf_are_those_that_lowered_the_loss(tmp_path):
    said = one(seen(Mixed(method="perf", checked=False).write(tmp_path))[0], "The domains that matter")
    assert re.search(r"lowered the loss most: 4 matrix code by 0\.\d+", said) and "pandas" not in said
    found = learned_mixture.Mixture(pl.DataFrame(), {0: "python"}, {"method": "perf"})
    assert mixing.matter(found, {0: -0.1}, 3) == "no domain lowered the loss when it was read more often."


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        ([0.1, 0.1], [0.9, 0.9], "No weight differs for certain"),
        ([0.6, 0.1], [0.9, 0.4], "2 of 2 weights differ for certain"),
        ([None, None], [None, None], "have no intervals"),
    ],
)
def test_the_intervals_are_said_in_words(low, high, said):
    intervals = {"low": pl.Series(low, dtype=pl.Float64), "high": pl.Series(high, dtype=pl.Float64)}
    assert said in mixing.how_sure(pl.DataFrame({"natural_share": [0.5, 0.5], **intervals}))


def test_domains_of_any_kind_have_labels_and_no_two_are_equal():
    names = cluster_names.ClusterNames(
        cluster_names.named([{"cluster_id": k, "name": n, "family": k, "family_name": f"of {n}"} for k, n in enumerate("ab")])
    )  # fmt: skip
    rows = [{"domain": 0, "name": "0"}, {"domain": 1, "name": "1"}]
    assert cluster_names.of_domains(rows, "clusters", names) == {0: "0 a", 1: "1 b"}
    assert cluster_names.of_domains(rows, "clusters") == {0: "cluster 0", 1: "cluster 1"}
    assert cluster_names.of_domains(rows, "families", names) == {0: "family 0 of a", 1: "family 1 of b"}
    assert cluster_names.of_domains(rows[:1], "families", names) == {0: "family 0"}, "the taxonomy has other families"
    assert cluster_names.of_domains(rows, "column", names) == {0: "0", 1: "1"}, "values, though they are numbers"
    rows = [{"domain": d, "name": name} for d, name in enumerate(("x" * 90, "x" * 91, " \u200b", "(other)"))]
    found = cluster_names.of_domains(rows, "column")
    assert len(set(found.values())) == 4 and all(found.values()) and found[2] == "domain 2"


@pytest.fixture(scope="module")
def attacked(tmp_path_factory):
    return [
        Mixed(domains=domains, names=HOSTILE, method=method).write(tmp_path_factory.mktemp(f"{domains}-{method}"))
        for domains, method in (("column", "regmix"), ("clusters", "doremi"))
    ]


def test_names_of_domains_are_text_on_the_page(attacked):
    for root in attacked:
        text = build(root)[0]
        text = text[: (start := text.index("<script>/**"))] + text[text.index("</script>", start) :]
        assert "<img" not in text and "window.hacked=1</script" not in text and "\u202e" not in text
        assert "onerror=window.hacked" in text, "the name is shown"
        for payload in re.findall(r'<script type="application/json" id="mixing[^>]*>(.*?)</script>', text, re.S):
            shown = [
                name for trace in json.loads(payload)["data"] for name in [trace.get("name"), *map(str, trace["y"])]
            ]
            assert not any("<" in name.replace("<br>", "") for name in shown if name)


def test_two_long_names_that_end_differently_are_two_rows(attacked):
    rows = seen(attacked[0])[1]["mixing-weights"].data[0]["y"]
    assert len(set(rows)) == 5


PICTURES = ("mixture_runs", "mixture", "mixture_check")


def drawn(root, stage):
    store = ArtifactStore(root)
    made = [name for name in ("mixture_domains", "mixture_runs", "mixture", "mixture_check") if (root / name).exists()]
    tables = {t: store.parquet(name, "planted", t) for name in made for t in store.manifest(name, "planted")["tables"]}
    return pictures.of_stage(stage, tables, cluster_names.of_clusters(store, "planted"))


@pytest.mark.parametrize("stage", PICTURES)
def test_the_stages_have_pictures(regmix, doremi, attacked, stage):
    for root in (regmix, doremi, attacked[0]):
        if (root / stage).exists():
            picture = drawn(root, stage)
            assert picture.startswith(b"\x89PNG") and len(picture) < 90_000, stage


def test_the_picture_of_trainings_needs_no_domain_that_was_measured(tmp_path):
    planted = Mixed(checked=False)
    tables = planted.tables()
    losses = tables["mixture_runs"]["mixture_losses"].with_columns(target=pl.lit("humaneval"))
    tables["mixture_runs"]["mixture_losses"] = losses.unique(["mixture_id", "seed"], maintain_order=True)
    planted.tables = lambda: tables
    assert drawn(planted.write(tmp_path), "mixture_runs").startswith(b"\x89PNG")


def test_one_domain_and_one_mixture_are_shown(tmp_path):
    """What little there is is shown, and nothing divides by zero."""
    planted = Mixed(checked=False)
    tables = planted.tables()
    few = {"mixtures": pl.col("mixture_id") == 0, "mixture_losses": pl.col("mixture_id") == 0}
    for made in tables.values():
        for name, table in made.items():
            made[name] = table.filter(few[name]) if name in few else table
    tables["mixture"]["mixture_fit"] = tables["mixture"]["mixture_fit"].with_columns(
        spearman=np.nan, spearman_best=np.nan
    )
    planted.tables = lambda: tables
    texts, figures = seen(planted.write(tmp_path))
    assert "mixing-swarm" not in figures and "mixing-weights" in figures
    assert "–" in one(texts, "Can a mixture be predicted")


def learned(root):
    with connect(root) as connection:
        store, names = ArtifactStore(root), cluster_names.in_force(connection, root)
        return learned_mixture.in_force(connection, store, names)


def explained(root, doc):
    with connect(root) as connection:
        store, names = ArtifactStore(root), cluster_names.in_force(connection, root)
        return "\n".join(terminal.lines_of_document(terminal.of_document(connection, store, names, f"{doc:032x}")))


def test_the_summary_says_which_domains_went_up_and_down(regmix):
    text = "\n".join(terminal.as_lines(learned(regmix)))
    assert "Weights of 5 clusters, learned by RegMix" in text
    assert "up:   4 matrix code (8.0% → 20.0%)" in text and "down: 0 pandas tests (40.0% → 27.0%)" in text
    assert "4 of 5 weights differ for certain" in text and "ranks mixtures that it has not seen" in text
    assert list(terminal.as_lines(None)) == [], "nothing is said where nothing was learned"
    data = json.loads(json.dumps(terminal.as_data(learned(regmix))))
    assert [d["label"] for d in data["domains"]] == [f"{i} {name}" for i, name in enumerate(NAMES)]


@pytest.mark.parametrize(
    ("method", "because"),
    [
        ("regmix", "one point more of it changes the predicted loss by −0.0034 bits per byte"),
        ("doremi", "nats per token above that of the reference"),
        ("perf", "read more often, it lowered the loss by 0.0"),
    ],
)
def test_a_document_is_told_the_weight_of_its_domain_and_why(tmp_path, method, because):
    root = Mixed(method=method, checked=False).write(tmp_path)
    said = explained(root, 4)
    assert "domain 4 matrix code: weight 20.0%" in said and "natural share 8.0%" in said and because in said
    assert "did not read" not in said and "did not read this document" in explained(root, 49)
    assert ("95% 17.0% to 23.0%" in said) == (method == "regmix")
    assert explained(root, 77) == "", "a document that no domain has"


def test_the_card_lists_the_learned_weights(regmix, attacked):
    text = "\n\n".join(of_card(learned(regmix)))
    assert "weights that RegMix learned" in text and "| 4 matrix code | 8.0% | 20.0% | 17.0% to 23.0% |" in text
    assert of_card(None) == []
    hostile = "\n".join(of_card(learned(attacked[0])))
    assert "<" not in hostile and "\u202e" not in hostile and "onerror" in hostile


def test_the_terminal_has_a_verdict_in_words_for_every_mixer(regmix):
    lines = list(as_lines(regmix))
    assert "mean of 3 seeds" in lines[0]
    (found,) = [line for line in lines if line.startswith("  the learned weights")]
    assert found.endswith("better than natural") and lines.index(found) == 2, "the least loss is first"
    assert sum("natural" in line for line in lines[2:8]) == 6
    widths = {len(line.partition("  better")[0].partition("  no measurable")[0]) for line in lines[2:8]}
    assert len(widths) == 1, "the columns are aligned"
    run = Run("run", ["mixture_check"], [], [])
    text = ladder(regmix, run)
    assert lines[2] in text and "(mixture_verdict, mixture_check: docs/reference.md)" in text


def test_names_of_domains_do_nothing_in_a_terminal(attacked):
    for root in attacked:
        said = "\n".join([*terminal.as_lines(learned(root)), explained(root, 2)])
        assert "\u202e" not in said and "\x01" not in said and "txt.exe" in said


def test_a_page_is_written_again_once_the_mixture_is_checked(tmp_path):
    from grip_assets.report.page.write import named

    digests = [
        named(ArtifactStore(Mixed(checked=checked).write(tmp_path / str(checked))), {"mixture": "planted"}, {}, "1")
        for checked in (False, True)
    ]
    assert digests[0] != digests[1]


@pytest.mark.parametrize(
    ("mixing", "said"),
    [
        (
            {"mixtures": 64, "seeds": 2, "tokens": 1000},
            "at most 128 trainings of 1,000 tokens each, 128,000 in all",
        ),
        ({"method": "doremi", "tokens": 1000}, "at most 2 trainings of 1,000 tokens each, 2,000 in all"),
        ({"method": "perf", "tokens": 1000}, "at most 6 trainings of 1,000 tokens each, 6,000 in all"),
        ({"method": "perf", "tokens": 1000, "domains": "families"}, "a training for each domain"),
    ],
)
def test_a_plan_says_how_many_models_it_trains(regmix, mixing, said):
    store = ArtifactStore(regmix)
    settings = {group: validate(group, {}) for group in GROUPS} | {"mixing": validate("mixing", mixing)}
    steps = [] if "domains" in mixing else [Step("mixture_domains", "reuse", "", None, "planted")]
    size = Size(100, 10_000, 50_000, True)
    costs = [Cost("mixture_runs", "compute", "", None, 7200.0, 0, "guess")]
    lines = trainings(settings, steps, store, Forecast(costs, size, 0))
    assert said in lines[0] and "about 2.0 h (guess)" in lines[0]
    reused = [Cost("mixture_runs", "reuse", "", None, 0.0, 0, "")]
    assert trainings(settings, steps, store, Forecast(reused, size, 0)) == []


@pytest.mark.ui
@pytest.mark.slow
def test_the_section_in_a_browser(attacked, chromium, tmp_path):
    """Light, dark, a phone, the keyboard; no request, no error, and nothing that the name of a domain says is done."""
    from playwright.sync_api import sync_playwright

    (tmp_path / "page.html").write_text(build(attacked[0])[0])
    url = (tmp_path / "page.html").as_uri()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for width, scheme in ((1280, "light"), (1280, "dark"), (360, "light")):
            page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            said, asked = [], []
            page.on("console", lambda m, to=said: to.append(m.text))
            page.on("pageerror", lambda e, to=said: to.append(str(e)))
            page.on("request", lambda r, to=asked: to.append(r.url))
            page.goto(f"{url}#mixing")
            page.evaluate("document.querySelectorAll('#mixing details').forEach((d) => { d.open = true; })")
            for figure in page.locator("#mixing figure").all():
                figure.scroll_into_view_if_needed()
                figure.locator(".plot .main-svg").first.wait_for()
            assert page.locator("#mixing .main-svg a, #mixing .main-svg image").count() == 0
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            before = page.locator("#mixing-swarm .scatterlayer").inner_html()
            page.get_by_label("Horizontal axis").focus()
            page.keyboard.press("ArrowDown")
            page.wait_for_timeout(300)
            assert "horizontal: share of" in page.locator("#mixing-swarm-note").text_content()
            assert page.locator("#mixing-swarm .scatterlayer").inner_html() != before
            assert page.evaluate("window.hacked") is None
            assert not said and {u.partition("#")[0] for u in asked if not u.startswith("data:")} == {url}
            page.close()
        browser.close()


def test_the_effect_of_a_domain_is_that_of_one_point_more_of_it():
    from grip_assets.stages.mixing.regmix import effects

    class Linear:
        def predict(self, weights_nD):
            return weights_nD @ np.array([1.0, 2.0, 3.0])

    found = effects(Linear(), np.array([0.5, 0.3, 0.2]))
    assert found == pytest.approx([0.01 * (1 - 2.4), 0.01 * (2 - 11 / 7), 0.01 * (3 - 11 / 8)])
    assert np.isnan(effects(Linear(), np.array([0.995, 0.005, 0.0]))[0]), "there is no room for more of it"
