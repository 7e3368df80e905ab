"""Recognises licences, as SPDX expressions (spdx.org/licenses): that of a document, and those of whole projects.

A line with an SPDX identifier decides, if it is a valid expression (license-expression has SPDX's list). Otherwise the
well-known sentences of the usual licences decide. At the head of a document, of several the first of the table.

In a file that holds a licence the sentence that stands first decides, since the whole texts of licences name others.
Whole texts of the GNU licences do not tell whether later versions may be used: they count as ``-only``, which holds
either way. Two such files in one folder hold together (AND): they do not say that one may choose.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from grip_assets.runtime import opened
from grip_assets.sources.documents import RawDocument, from_bytes
from grip_assets.sources.languages import language_of
from grip_assets.sources.listing import Entry

HEAD = "head"  # the licence stands at the head of the document itself
MOST_CHARACTERS = 12_000  # of the head that are read
MOST_OF_A_FILE = 65_536  # characters of a file that holds a licence; the longest, GPL-3.0, has 35,149
FILE = re.compile(r"(?:licen[cs]e|copying|unlicense)(?:[._-].*)?", re.IGNORECASE)
PROSE = (None, "text", "markdown", "rst", "html")  # languages of such files: license.py is a program
TAG = re.compile(r"SPDX-License-Identifier:[ \t]{0,8}([A-Za-z0-9.+\-() :]{1,200})")
WORDS = re.compile(r"[a-z0-9.]+")
LATER = "or at your option any later version"
SENTENCES = (  # what all must be in the head, without marks and in lower case; the first that fits decides
    ("AGPL-3.0", ("gnu affero general public license", "version 3")),
    ("LGPL-2.1", ("gnu lesser general public license", "version 2.1")),
    ("LGPL-3.0", ("gnu lesser general public license", "version 3")),
    ("LGPL-2.0", ("gnu library general public license", "version 2")),
    ("GPL-2.0", ("gnu general public license", "version 2")),
    ("GPL-3.0", ("gnu general public license", "version 3")),
    ("Apache-2.0", ("apache license version 2.0",)),
    ("MPL-2.0", ("mozilla public license", "2.0")),
    ("EPL-2.0", ("eclipse public license", "2.0")),
    ("EPL-1.0", ("eclipse public license", "1.0")),
    ("BSL-1.0", ("boost software license", "version 1.0")),
    ("CC0-1.0", ("creative commons", "cc0 1.0")),
    ("Unlicense", ("this is free and unencumbered software released into the public domain",)),
    ("Python-2.0", ("python software foundation license version 2",)),
    ("ISC", ("permission to use copy modify and or distribute this software for any purpose with or without fee",)),
    ("ISC", ("permission to use copy modify and distribute this software for any purpose with or without fee",)),
    ("MIT", ("permission is hereby granted free of charge to any person obtaining a copy of this software",)),
    ("MIT", ("licensed under the mit license",)),
    ("MIT", ("released under the mit license",)),
    ("MIT", ("use of this source code is governed by an mit style license",)),
    ("MIT-CMU", ("permission to use copy modify and distribute this software and its associated documentation",)),
    ("Zlib", ("this software is provided as is without any express or implied warranty", "must not be misrepresented")),
    ("BSD-3-Clause", ("redistribution and use in source and binary forms", "neither the name")),
    ("BSD-3-Clause", ("redistribution and use in source and binary forms", "endorse or promote products derived")),
    ("BSD-2-Clause", ("redistribution and use in source and binary forms",)),
    ("BSD-3-Clause", ("use of this source code is governed by a bsd style license",)),
    ("BSD-3-Clause", ("license bsd 3 clause",)),
)
CLASSPATH = ("classpath exception", " WITH Classpath-exception-2.0")
MIT = ("permission is hereby granted free of charge", "shall be included in all copies")
WHOLE_GNU = "everyone is permitted to copy and distribute verbatim copies"
GNU = ("AGPL-3.0", "LGPL-2.0", "LGPL-2.1", "LGPL-3.0", "GPL-2.0", "GPL-3.0")


def of_head(text: str) -> str | None:
    """The licence that a document names at its head."""
    head = text[:MOST_CHARACTERS]
    return of_identifier(head) or of_sentences(head)


def of_identifier(head: str) -> str | None:
    return next((found for tag in TAG.finditer(head) if (found := valid(tag[1]))), None)


def of_sentences(head: str) -> str | None:
    plain = _plain(head)
    for name, sentences in SENTENCES:
        if all(sentence in plain for sentence in sentences):
            return _gnu(name, plain) if name in GNU else name
    return None


def of_file(text: str) -> str | None:
    """The licence that a file such as LICENSE holds; None if it is none of the table, or is not certain."""
    head = text[:MOST_OF_A_FILE]
    if found := of_identifier(head):
        return found
    plain = _plain(head)
    fit = [(plain.index(of[0]), name) for name, of in SENTENCES if all(sentence in plain for sentence in of)]
    if not fit:
        return None
    name = min(fit, key=lambda at: at[0])[1]
    if name in GNU:
        preface, whole, _ = plain.partition(WHOLE_GNU)
        return _gnu(name, preface) + (CLASSPATH[1] if whole and CLASSPATH[0] in plain else "")
    return "MIT-0" if name == "MIT" and MIT[0] in plain and MIT[1] not in plain else name


def is_licence_file(name: str) -> bool:
    """Whether a file's name is that of one with the licence of its project: LICENSE, COPYING.LESSER, licence-MIT.txt"""
    file = PurePosixPath(name).name
    return FILE.fullmatch(file) is not None and language_of(file) in PROSE


class Found(NamedTuple):
    """``licence``: None if it is not recognised. ``source``: the files that hold it, by their names in the pool."""

    licence: str | None
    source: str


class ProjectLicences:
    """The licences that the files of a pool say of all that lies beside and below them. Files are read when asked for.

    Any number of threads and processes may share it: what was found is only kept to save time.
    """

    def __init__(self, listing: Iterable[Entry]):
        self.files: dict[str, list[Entry]] = defaultdict(list)
        for entry in listing:
            if is_licence_file(entry.name):
                self.files[str(PurePosixPath(entry.name).parent)].append(entry)
        self.found: dict[str, Found] = {}

    def entries(self) -> Iterator[Entry]:
        for files in self.files.values():
            yield from files

    def of(self, name: str) -> Found | None:
        """What the nearest licence files say, from the folder of the file upwards. None if there is no such file."""
        folder = next((str(at) for at in PurePosixPath(name).parents if str(at) in self.files), None)
        if folder is None:
            return None
        if folder not in self.found:
            self.found[folder] = _together(self.files[folder])
        return self.found[folder]


def _together(files: list[Entry]) -> Found:
    said = {_of_entry(entry) for entry in files}
    source = ", ".join(entry.name for entry in files)
    return Found(None if None in said else " AND ".join(sorted(filter(None, said))), source)


def _of_entry(entry: Entry) -> str | None:
    try:
        with entry.open() as file:
            data = file.read(4 * MOST_OF_A_FILE)
    except OSError:
        return None
    document = from_bytes(data, None, entry.name, "")
    return of_file(document.text) if isinstance(document, RawDocument) else None


def _plain(text: str) -> str:
    """The words of a text in lower case, without marks."""
    return " ".join(WORDS.findall(text.lower().replace("licence", "license")))


def _gnu(name: str, plain: str) -> str:
    full = f"{name}-or-later" if LATER in plain or "or any later version" in plain else f"{name}-only"
    return full + CLASSPATH[1] if name == "GPL-2.0" and CLASSPATH[0] in plain else full


def valid(said: str) -> str | None:
    """The expression as SPDX writes it; None if it is none, or names a licence that SPDX does not have."""
    from license_expression import ExpressionError  # an extra

    words = said.strip().rstrip("*/-># ").strip()
    try:
        found = opened.get("spdx", _open_licensing).parse(words, validate=True, strict=True)
    except (ExpressionError, ValueError):
        return None
    return None if found is None else str(found)


def _open_licensing() -> Any:
    from license_expression import get_spdx_licensing  # an extra

    return get_spdx_licensing()
