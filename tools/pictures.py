"""Pictures of the report for docs/: light, dark, and on a phone, or single figures.

``python -m tools.pictures`` takes them of the page of the data folder in force (GRIP_DATA), with Chromium;
``python -m tools.pictures pareto-held_out`` takes that figure. Those of the UI come from a test:
``GRIP_SCREENSHOTS=docs pytest tests/test_browser.py``.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from grip_assets.errors import GripError
from grip_assets.report.page.write import page_path
from grip_assets.store.artifacts import REPOSITORY, data_root

SHOTS = {"light": (1280, 1500, "light"), "dark": (1280, 1500, "dark"), "phone": (390, 1400, "light")}
"""Name to width, height and theme."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def take(page: Path, folder: Path, figures: Sequence[str] = ()) -> list[Path]:
    """Pictures of the beginning of ``page`` as ``folder``/report-NAME.png, or of these figures as report-FIGURE.png."""
    from playwright.sync_api import sync_playwright  # only for this, and for tests

    taken = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_chromium(), args=["--no-sandbox"])
        for name, (width, height, theme) in {f: SHOTS["light"] for f in figures}.items() or SHOTS.items():
            viewport = {"width": width, "height": height}
            shown = browser.new_page(viewport=viewport, color_scheme=theme)  # type: ignore[arg-type]
            shown.goto(page.as_uri(), timeout=180_000)
            shown.wait_for_timeout(3000)  # until the figures are drawn
            taken.append(folder / f"report-{name}.png")
            if name in figures:
                drawn = shown.locator(f"#{name}")
                drawn.scroll_into_view_if_needed()
                shown.wait_for_timeout(1000)
                drawn.screenshot(path=taken[-1])
            else:
                shown.screenshot(path=taken[-1])
            shown.close()
        browser.close()
    return taken


def _chromium() -> str:
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise GripError("There is no Chromium. Install the package chromium, or name the program in CHROMIUM.")
    return found


def main(*figures: str) -> None:
    page = page_path(data_root())
    if not page.is_file():
        raise GripError(f"There is no report at {page}. Run `grip curate`.")
    for picture in take(page, REPOSITORY / "docs", figures):
        print(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
