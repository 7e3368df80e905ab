"""The licence that a document names at its head, as an SPDX expression (spdx.org/licenses).

A line with an SPDX identifier decides, if it is a valid expression (license-expression has SPDX's list). Otherwise the
well-known sentences of the usual licences decide: of several, the first of the table. The licence of a whole project,
which stands in a file of its own, is not passed on to its other files.
"""

import re
from dataclasses import replace
from typing import Any

from grip_assets.extras import must_have
from grip_assets.runtime import opened
from grip_assets.sources.documents import RawDocument
from grip_assets.sources.steps.base import Outcome, Step

MOST_CHARACTERS = 12_000  # of the head that are read
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
    ("Zlib", ("this software is provided as is without any express or implied warranty", "must not be misrepresented")),
    ("BSD-3-Clause", ("redistribution and use in source and binary forms", "neither the name")),
    ("BSD-3-Clause", ("redistribution and use in source and binary forms", "endorse or promote products derived")),
    ("BSD-2-Clause", ("redistribution and use in source and binary forms",)),
    ("BSD-3-Clause", ("use of this source code is governed by a bsd style license",)),
    ("BSD-3-Clause", ("license bsd 3 clause",)),
)
CLASSPATH = ("classpath exception", " WITH Classpath-exception-2.0")
GNU = ("AGPL-3.0", "LGPL-2.0", "LGPL-2.1", "LGPL-3.0", "GPL-2.0", "GPL-3.0")


class Licences(Step):
    def __init__(self) -> None:
        must_have("clean", "settings/corpus.licences", "license_expression")

    def one(self, document: RawDocument) -> Outcome:
        found = self.licence_of(document.text)
        return replace(document, licence=found) if found else document

    def licence_of(self, text: str) -> str | None:
        head = text[:MOST_CHARACTERS]
        for tag in TAG.finditer(head):
            if expression := valid(tag[1]):
                return expression
        return of_sentences(head)


def of_sentences(head: str) -> str | None:
    plain = " ".join(WORDS.findall(head.lower().replace("licence", "license")))
    plain = plain.replace("version 2.0", "version 2") if "gnu" in plain else plain
    for name, sentences in SENTENCES:
        if all(sentence in plain for sentence in sentences):
            return _gnu(name, plain) if name in GNU else name
    return None


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
