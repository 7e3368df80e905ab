"""Removes credentials from texts that people read: addresses of pools and exports, errors of libraries."""

import re


def without_credentials(text: str) -> str:
    """The text, with the part before an ``@`` and after a ``?`` removed from its URLs."""
    return re.sub(r"\S+", lambda word: _without_credentials(word[0]), text)


def _without_credentials(word: str) -> str:
    """The word without credentials. One pass, since the name of a document may be very long."""
    head, begins, rest = word.partition("://")
    return head + begins + re.sub(r"(?:(?<=^)|(?<=://))[^/]*@", "", rest.partition("?")[0]) if begins else word
