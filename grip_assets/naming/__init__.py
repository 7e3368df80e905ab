"""Names of clusters for people: by their distinctive words, or by a language model.

Modules: words (the words of a document), distinctive (words that set a cluster apart), places (folders that its
documents come from), compose (short names that differ), inert (what a name may contain), asking (names by a language
model). The stage taxonomy puts them together.
"""
