"""The page about the architecture names what is there, and each walk passes a file once."""

import re

from grip_assets.runtime.folders import PACKAGE, REPOSITORY

PAGE = (REPOSITORY / "docs" / "architecture.md").read_text()


def section(title: str) -> str:
    return PAGE.split(f"## {title}")[1].split("\n## ")[0]


def test_every_folder_and_module_of_the_package_has_a_line():
    named = set(
        re.findall(r"`([\w/]+?)/?`|`(\w+\.py)`", section("The folders of `grip_assets`").partition("\nBeside")[0])
    )
    named = {one or other for one, other in named}
    there = {p.name for p in PACKAGE.iterdir() if p.is_dir() and any(p.rglob("*.*")) and p.name != "__pycache__"}
    modules = {p.name for p in PACKAGE.glob("*.py")} - {"__init__.py"}
    assert there | modules <= named
    assert {name for name in named if not list(PACKAGE.rglob(name))} == set()


def test_a_walk_passes_files_that_exist_and_each_once():
    for walk in ("One setting", "One document"):
        files = re.findall(r"`([\w/]+\.py)`", section(walk))
        assert len(files) > 5 and len(files) == len(set(files))
        assert [file for file in files if not (PACKAGE / file).exists()] == []


def test_the_picture_draws_the_rooms():
    drawn = set(re.findall(r"[a-z]+", PAGE.split("```mermaid")[1].split("```")[0]))
    rooms = "engine export judges llm method models orchestration report runtime settings sources stages store training"
    assert set(rooms.split()) <= drawn
