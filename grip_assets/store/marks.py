"""Marks by which exports are recognised: the last line of the card beside a file, ``grip_export.json`` in a folder.

Both name the files that the export wrote, with sizes and SHA-256. A file without a mark, or changed since, belongs to
the user: an export does not replace it unasked. And a pool does not read an export as documents.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MANIFEST = "grip_export.json"
CARD = ".card.md"
MARK = "<!-- grip-export "  # begins the last line of a card
MARK_ENDS = " -->"


def card_beside(path: Path) -> Path:
    return path.with_name(f"{path.name}{CARD}")


def sealed(card: str, name: str, file: Path) -> str:
    """The card with its last line: the mark of the file ``name``, whose bytes are those of ``file``."""
    mark = {"file": name, **identity(file), "card": hashlib.sha256(card.encode()).hexdigest()}
    line = json.dumps(mark).replace("<", "\\u003c").replace(">", "\\u003e")  # a name cannot end the comment
    return f"{card}{MARK}{line}{MARK_ENDS}\n"


def identity(file: Path) -> dict[str, Any]:
    """``bytes`` and ``sha256`` of a file."""
    with file.open("rb") as opened:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(opened, "sha256").hexdigest()}


def read_card(text: str) -> dict[str, Any] | None:
    """The mark of a card, with ``unchanged``: whether the card is as the export wrote it. None if there is no mark."""
    above, begins, rest = text.rpartition(MARK)
    line, _, below = rest.partition("\n")
    try:
        mark = json.loads(line.removesuffix(MARK_ENDS)) if begins else None
    except ValueError:
        return None
    if not isinstance(mark, dict) or not {"file", "bytes", "sha256", "card"} <= mark.keys():
        return None
    return mark | {"unchanged": not below and hashlib.sha256(above.encode()).hexdigest() == mark["card"]}


def mark_of(card: Path) -> dict[str, Any] | None:
    try:
        return read_card(card.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def is_export(path: Path) -> bool:
    """Whether an export made this file, card or folder, even if it was changed since. For readers of pools."""
    if path.is_dir():
        return (path / MANIFEST).is_file()
    mark = mark_of(card_beside(path))
    return bool(mark and mark["file"] == path.name) or (path.name.endswith(CARD) and mark_of(path) is not None)


def contents(folder: Path) -> dict[str, dict[str, Any]]:
    """Identity of each file in an export's folder, by relative name, without the manifest."""
    return {name: identity(folder / name) for name in names(folder) if name != MANIFEST}


def names(folder: Path) -> list[str]:
    """Relative names of all files and links below a folder. Links are not followed."""
    found = []
    for above, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(above, name))]  # noqa: PTH114, PTH118
        found += [os.path.relpath(os.path.join(above, name), folder) for name in (*files, *links)]  # noqa: PTH118
    return sorted(found)


def somebodys_file(path: Path, cards: list[Path]) -> str | None:
    """Why a file belongs to the user; None if it is the export's. ``cards``: files that may have its mark."""
    marks = [mark for card in cards if (mark := mark_of(card)) and mark["file"] == path.name]
    if not marks:
        return "was not made by an export"
    if any(_same(path, mark) for mark in marks):
        return None
    return "was changed after an export made it"


def _same(path: Path, mark: Mapping[str, Any]) -> bool:
    return path.stat().st_size == mark["bytes"] and identity(path)["sha256"] == mark["sha256"]


def somebodys_card(card: Path) -> str | None:
    """Why a card belongs to the user; None if it is the export's."""
    mark = mark_of(card)
    if mark is None:
        return "was not made by an export"
    return None if mark["unchanged"] else "was changed after an export made it"


def added(folder: Path) -> list[str]:
    """Names of the files in an export's folder that the export did not write."""
    written = _written(folder)
    return [name for name in names(folder) if name != MANIFEST and name not in written]


def changed(folder: Path) -> list[str]:
    """Names of the files in an export's folder that were changed after the export wrote them."""
    return [n for n, mark in _written(folder).items() if (folder / n).is_file() and not _same(folder / n, mark)]


def _written(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
