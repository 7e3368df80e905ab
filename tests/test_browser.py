"""A person who has never read the code runs, schedules and inspects the curation in a browser: the real UI, its
daemon and headless Chromium. ``GRIP_SCREENSHOTS=docs`` keeps a picture of each step."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from conftest import small

from grip_assets.stages import CURATED
from grip_assets.store.artifacts import REPOSITORY

pytestmark = [pytest.mark.ui, pytest.mark.slow]

RUNS = "{ runsOrError(limit: 50) { ... on Runs { results { runId jobName status tags { key value } } } } }"


class Ui:
    """The pages of a running instance, as a person uses them."""

    def __init__(self, page, url: str, shots: Path | None):
        self.page, self.url, self.shots = page, url, shots

    def open(self, path: str, wait_for: str) -> None:
        self.page.goto(self.url + path)
        self.page.get_by_text(wait_for).first.wait_for(timeout=60_000)

    def picture(self, name: str) -> None:
        if self.shots:
            self.page.wait_for_timeout(1500)  # what fades in
            self.page.screenshot(path=self.shots / f"ui-{name}.png")

    def configure(self, job: str, config: dict) -> None:
        """Open the Launchpad of a job and replace what its editor holds."""
        self.open(f"/locations/grip_assets/jobs/{job}/playground", "Launch Run")
        self.page.locator(".CodeMirror").first.click()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(yaml.safe_dump(config, sort_keys=False))
        self.page.get_by_text("No errors").first.wait_for(timeout=30_000)

    def launch(self, job: str, config: dict, picture: str = "") -> dict:
        """Launch a job; the run when it has ended."""
        self.configure(job, config)
        if picture:
            self.picture(picture)
        before = {run["runId"] for run in self.runs()}
        self.page.get_by_role("button", name="Launch run").click()
        return self.ended(before)

    def runs(self) -> list[dict]:
        answer = self.page.request.post(f"{self.url}/graphql", data={"query": RUNS})
        found = answer.json()["data"]["runsOrError"]["results"]
        return [run | {"tags": {t["key"]: t["value"] for t in run["tags"]}} for run in found]

    def ended(self, before: set[str], timeout: float = 180) -> dict:
        """The one run that is not in ``before``, when it has ended."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            new = [run for run in self.runs() if run["runId"] not in before]
            assert len(new) <= 1, "one run was asked for"
            if new and new[0]["status"] in ("SUCCESS", "FAILURE", "CANCELED"):
                return new[0]
            time.sleep(1)
        raise AssertionError("no run ended")

    def turn_on(self, *names: str) -> None:
        self.open("/automation", "recompute_on_change")
        for name in names:
            row = (
                self.page.locator("div")
                .filter(has=self.page.get_by_text(name, exact=True))
                .filter(has=self.page.locator("label, input[type=checkbox], [role=switch]"))
                .last
            )
            row.locator("label").last.click()
            self.page.wait_for_timeout(1500)


def config(**groups: dict) -> dict:
    return {"ops": {f"settings__{group}": {"config": values} for group, values in groups.items()}}


def names(run: dict, tag: str) -> set[str]:
    return set(filter(None, run["tags"].get(tag, "").split("; ")))


@pytest.fixture
def ui(tmp_path, chromium):
    from playwright.sync_api import sync_playwright

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = tmp_path / "dagster"
    home.mkdir()
    shutil.copy(REPOSITORY / "dagster_home" / "dagster.yaml", home)
    env = os.environ | {"DAGSTER_HOME": str(home), "GRIP_DATA": str(tmp_path / "data"), "GRIP_WATCH_SECONDS": "5"}
    words = [Path(sys.executable).parent / "dagster", "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
    log = (tmp_path / "dev.log").open("w")
    server = subprocess.Popen(words, cwd=REPOSITORY, env=env, stdout=log, stderr=log, start_new_session=True)
    shots = Path(os.environ["GRIP_SCREENSHOTS"]).resolve() if "GRIP_SCREENSHOTS" in os.environ else None
    try:
        _wait(port, server)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            yield Ui(browser.new_page(viewport={"width": 1400, "height": 900}), f"http://127.0.0.1:{port}", shots)
            browser.close()
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # `dagster dev` was seen to hang on SIGTERM
        server.wait()


def _wait(port: int, server: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while server.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    raise AssertionError("the UI did not start")


def test_a_person_runs_schedules_and_inspects_in_the_browser(ui, tmp_path, models, pool):
    page = ui.page
    mine, checkpoints = tmp_path / "pool", tmp_path / "checkpoints"
    shutil.copytree(pool, mine)
    checkpoints.mkdir()

    # The graph, by groups.
    ui.open("/asset-groups", "curation")
    for group in ("settings", "reports"):
        page.get_by_text(group, exact=True).first.wait_for()
    ui.picture("graph")

    # Everything, for the first time: a profile pasted into the Launchpad of curate.
    settings = small(models, mine, adaptation={"checkpoints": str(checkpoints)})
    run = ui.launch("curate", config(**settings), "curate")
    manifests = [json.loads(file.read_text()) for file in (tmp_path / "data").glob("*/[!.]*/manifest.json")]
    made = {manifest["stage"] for manifest in manifests if "unused" not in manifest} & set(CURATED)
    assert run["status"] == "SUCCESS" and names(run, "grip/computed") == made > {"corpus", "subset", "stability"}

    # One knob: only the subset and what reads it.
    reads_subset = {s.name for s in CURATED.values() if "subset" in (s.name, *s.inputs) or "selection" in s.reads}
    run = ui.launch("change_selection", {"beta": 0.9}, "launchpad")
    assert run["status"] == "SUCCESS" and run["tags"]["grip/changed"] == "selection.beta: 0.3 → 0.9"
    assert {"subset"} <= names(run, "grip/computed") <= reads_subset
    ui.open("/runs", "grip/computed")
    ui.picture("runs")
    ui.open("/assets/subset?view=events", "documents_entered")
    page.get_by_text("selection.beta: 0.3 → 0.9").first.wait_for()
    ui.picture("history")
    ui.open("/assets/subset?view=overview", "Freshness policy")
    ui.picture("asset")

    # A value out of range never becomes a run.
    before = len(ui.runs())
    ui.configure("change_selection", {"beta": 9})
    page.get_by_role("button", name="Launch run").click()
    page.get_by_text("settings/selection.beta cannot be 9").first.wait_for(timeout=30_000)
    ui.picture("refused")
    assert len(ui.runs()) == before

    # The schedule and the sensors.
    ui.turn_on("nightly", "new_documents", "new_checkpoint")
    ui.picture("automation")

    # A file comes: one run, one document embedded.
    known = {run["runId"] for run in ui.runs()}
    (mine / "new.py").write_text("def added(x):\n    '''Twice.'''\n    return 2 * x\n")
    run = ui.ended(known)
    assert run["jobName"] == "curate" and run["status"] == "SUCCESS"
    assert _latest(ui, "embeddings")["documents_embedded_now"] == 1

    # A checkpoint comes: it becomes the proxy, and the round advances.
    known = {run["runId"] for run in ui.runs()}
    shutil.copytree(models / "proxy", checkpoints / "checkpoint-1000")
    run = ui.ended(known)
    assert run["jobName"] == "change_adaptation" and run["status"] == "SUCCESS"
    assert "adaptation_deltas" in names(run, "grip/computed") and "embeddings" not in names(run, "grip/computed")
    assert _latest(ui, "rounds")["rounds"] == 2
    ui.open("/assets/rounds?view=events", "rounds")
    ui.picture("rounds")

    # A failing stage says what is wrong and what to do, and is not started again by itself.
    run = ui.launch("change_budget", {"total": 10.0**9})
    assert run["status"] == "FAILURE"
    ui.open(f"/runs/{run['runId']}", "settings/budget.total")
    ui.picture("failure")
    known = {run["runId"] for run in ui.runs()}
    time.sleep(15)
    assert {run["runId"] for run in ui.runs()} == known

    # Back to the subset before the checkpoint: nothing of the chain is computed.
    before_it = _versions(tmp_path / "data")[2]
    run = ui.launch("rollback", {"subset": before_it}, "rollback")
    assert run["status"] == "SUCCESS" and "adaptation.proxy" in run["tags"]["grip/changed"]
    chain = {s.name for s in CURATED.values() if s.group == "curation"}
    assert not names(run, "grip/computed") & chain

    # Another method of partition: all that follows is computed, and nothing of it when the method is switched back.
    run = ui.launch("change_clustering", {"method": "gem"}, "gem")
    assert run["status"] == "SUCCESS" and "clustering.method: 'kmeans' → 'gem'" in run["tags"]["grip/changed"]
    assert {"partition", "clusters", "taxonomy", "subset", "balance"} <= names(run, "grip/computed")
    assert "embeddings" not in names(run, "grip/computed")
    ui.open("/assets/partition?view=checks", "never_falls")
    ui.picture("gem-checks")
    run = ui.launch("change_clustering", {"method": "kmeans"})
    assert run["status"] == "SUCCESS" and not names(run, "grip/computed") & chain

    # Documents for a target: token counts, without a model. What the fields do not touch is not computed again.
    target = tmp_path / "target.jsonl"
    target.write_text(
        "\n".join(json.dumps({"text": f"def parse_{i}(line):\n    return line.split({i})\n" * 3}) for i in range(40))
    )
    of_mine = {"targets": [], "target_sets": [f"mine={target}"], "source": "unigram"}
    run = ui.launch("change_attribution", of_mine, "attribution")
    assert run["status"] == "SUCCESS" and not names(run, "grip/computed") & chain, "not used under a draw"
    run = ui.launch("change_selection", {"rule": "greedy"})
    made = {"attribution_targets", "sketches", "attribution", "subset", "redundancy"}
    assert run["status"] == "SUCCESS" and made <= names(run, "grip/computed")
    run = ui.launch("change_attribution", {"gamma": 0.5})
    assert run["status"] == "SUCCESS" and "sketches" not in names(run, "grip/computed")
    assert {"attribution", "subset"} <= names(run, "grip/computed")
    ui.open("/assets/attribution?view=overview", "alignment")
    ui.picture("grasp")


def _latest(ui: Ui, asset: str) -> dict:
    """Numbers in the metadata of the latest materialization."""
    query = (
        "query Latest($path: [String!]!) { assetOrError(assetKey: {path: $path}) { ... on Asset {"
        " assetMaterializations(limit: 1) { metadataEntries { label ... on IntMetadataEntry { intValue } } } } } }"
    )
    asked = {"query": query, "variables": {"path": [asset]}}
    answer = ui.page.request.post(f"{ui.url}/graphql", data=asked).json()["data"]["assetOrError"]
    return {e["label"]: e["intValue"] for e in answer["assetMaterializations"][0]["metadataEntries"] if "intValue" in e}


def _versions(data: Path) -> list[str]:
    """Versions of all subsets, the oldest first."""
    made = [json.loads(file.read_text()) for file in data.glob("subset/*/manifest.json")]
    return [m["version"] for m in sorted(made, key=lambda m: m["computed_at"])]
