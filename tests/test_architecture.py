"""The page about the architecture names what is there, and each walk passes a file once."""

import re

from test_walls import FILES, ROOT, imports

from grip_assets.runtime.folders import PACKAGE, REPOSITORY

PAGE = (REPOSITORY / "docs" / "architecture.md").read_text()

EVERYWHERE = ("errors", "extras", "profiles")


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


def below() -> dict[str, set[str]]:
    """Each room of the picture, and all rooms that its arrows lead to."""
    arrows: dict[str, set[str]] = {}
    for above, under in re.findall(r"(\w+) --> (\w+)", PAGE):
        arrows.setdefault(above, set()).add(under)

    def led_to(room: str) -> set[str]:
        return arrows.get(room, set()).union(*(led_to(under) for under in arrows.get(room, ())))

    return {room: led_to(room) for room in arrows}


def room(module: str) -> str:
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] if package == ROOT else ""


def test_every_import_goes_down_in_the_picture():
    rooms, up = below(), set()
    for module in FILES:
        used = {room(imported) for imported, _, _ in imports(module)} - {"", room(module), *EVERYWHERE}
        up |= {(room(module), other) for other in used - rooms.get(room(module), set()) if room(module)}
    assert up == set()


def test_no_arrow_of_the_picture_leads_back():
    assert [room for room, under in below().items() if room in under] == []
