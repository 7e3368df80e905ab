"""Takes credentials out of texts that people read: addresses of pools and exports, errors of their libraries."""

import re


def without_credentials(text: str) -> str:
    """URLs lose what stands before an ``@`` and after a ``?``."""
    return re.sub(r"\S+", lambda word: _without_credentials(word[0]), text)


def _without_credentials(word: str) -> str:
    """One pass, whatever the word: a name of a document may be as long as somebody likes."""
    head, begins, rest = word.partition("://")
    return head + begins + re.sub(r"(?:(?<=^)|(?<=://))[^/]*@", "", rest.partition("?")[0]) if begins else word
