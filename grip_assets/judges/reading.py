"""Counts and shares that static analysis measures in a text, by a parser or a lexer. Nothing is judged here.

A language with a tree-sitter grammar is parsed. A language that Pygments knows is lexed. Everything else is prose.
Trees are walked with a cursor and not by recursion, so no nesting is too deep. Only the first ``ANALYSED_BYTES`` of a
text are read; the result has their number. A piece that stands a thousand times or more in a row is read ``KEPT``
times, since the time of many parsers and lexers grows with the square of such a run's length. The result depends only
on the text and its language.
"""

import importlib
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from grip_assets.sources.languages import is_prose

ANALYSED_BYTES = 200_000

KEPT = 500  # copies
REPEATED = re.compile(r"(.{1,8}?)\1{999,}", re.S)
STEP = 500  # characters

# language: (module of the grammar, the function that gives it)
GRAMMARS = {
    "bash": ("tree_sitter_bash", "language"),
    "c": ("tree_sitter_c", "language"),
    "cpp": ("tree_sitter_cpp", "language"),
    "css": ("tree_sitter_css", "language"),
    "cuda": ("tree_sitter_cpp", "language"),
    "go": ("tree_sitter_go", "language"),
    "html": ("tree_sitter_html", "language"),
    "java": ("tree_sitter_java", "language"),
    "javascript": ("tree_sitter_javascript", "language"),
    "json": ("tree_sitter_json", "language"),
    "python": ("tree_sitter_python", "language"),
    "ruby": ("tree_sitter_ruby", "language"),
    "rust": ("tree_sitter_rust", "language"),
    "tsx": ("tree_sitter_typescript", "language_tsx"),
    "typescript": ("tree_sitter_typescript", "language_typescript"),
}
PROSE = {None, "", "text", "markdown", "rst", "latex", "unknown"}

FUNCTION = re.compile(
    r"^(async_)?(function|method|constructor|func)_?(definition|declaration|item|literal|expression)?$|^arrow_function$"
    r"|^(singleton_method|lambda|lambda_expression|closure_expression|generator_function_declaration)$"
)
TYPE = re.compile(
    r"^(class|struct|interface|trait|impl|enum|type|module|namespace|record|union)"
    r"(_definition|_declaration|_item|_specifier|_spec)?$"
)
BRANCH = re.compile(
    r"^(if|elif|else_if|for|for_in|for_range|enhanced_for|while|until|do|case|switch|match|unless|when|loop|catch|except|rescue)"
    r"(_statement|_expression|_clause|_arm|_block|_item|_modifier)?$|^(switch|expression|communication)_case$"
    r"|^(conditional|ternary)_expression$|^boolean_operator$"
)
HANDLING = re.compile(
    r"^(try|raise|throw|assert|except|catch|rescue|ensure|finally|defer)(_statement|_expression|_clause|_block)?$"
)
COMPOUND = re.compile(
    r"comprehension|generator|yield|await|async|lambda|closure|template_|generic|type_parameter|decorator|attribute_item"
    r"|macro_invocation|go_statement|channel|subscript|slice|match|unary|augmented|shift|spread|with_statement"
)
NO_COMMENT = -2
COMMENT = {"comment", "line_comment", "block_comment"}
NUMBER = {"integer", "float", "number", "number_literal", "integer_literal", "float_literal", "int_literal",
          "decimal_integer_literal", "decimal_floating_point_literal", "hex_integer_literal", "integer_value", "float_value"}  # fmt: skip
TEXTUAL = {"string", "string_literal", "interpreted_string_literal", "raw_string_literal", "template_string", "char_literal",
           "string_fragment", "string_content"}  # fmt: skip
CALL = {"call", "call_expression", "method_invocation", "macro_invocation", "command", "new_expression"}
IMPORT = re.compile(r"^(import|use|require|include|preproc_include|package|export|future_import)")
PLAIN_NUMBERS = {"0", "1", "2", "-1", "0.0", "1.0", "10", "100"}
CUDA = re.compile(rb"__(global|device|host|shared|constant|forceinline|launch_bounds)__")
LEGAL = re.compile(r"copyright|licen[sc]e|all rights reserved|warrant|permission is hereby", re.I)
CODE_LIKE = re.compile(r"[;{}=]\s*$|^\s*(return|if|for|def|import|var|let|const)\b.*[:;({]\s*$")


@dataclass
class Reading:
    """Counts of one text. ``functions``: (lines, branches, documented) of each. Shares are of the text analysed."""

    read_as: str
    analysed_bytes: int
    text: str
    tokens: int = 0
    error_share: float = 0.0
    comments: list[str] = field(default_factory=list)
    names: Counter = field(default_factory=Counter)
    numbers: Counter = field(default_factory=Counter)
    literals: int = 0
    functions: list[list[int]] = field(default_factory=list)
    types: int = 0
    branches: int = 0
    handling: int = 0
    imports: int = 0
    calls: Counter = field(default_factory=Counter)
    constructs: Counter = field(default_factory=Counter)
    kinds: Counter = field(default_factory=Counter)
    inside_share: float = 0.0
    depth: int = 0

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines() or [""]


def read(text: str, language: str | None) -> Reading:
    head = text.encode()[:ANALYSED_BYTES].decode(errors="ignore")
    language = (language or "").lower()
    if language in GRAMMARS:
        return _parse(head, language)
    lexer = None if language in PROSE or is_prose(language) else _lexer(language)
    return _lex(head, language, lexer) if lexer else Reading("prose (statistics)", len(head.encode()), head)


def without_repeats(text: str) -> str:
    """The text with ``KEPT`` copies of each piece of at most 8 characters that stands 1,000 times or more in a row."""
    steps = range(0, len(text) - STEP, STEP)
    if not any(text.startswith(text[at : at + STEP], at + period) for at in steps for period in range(1, 9)):
        return text  # such a run holds a whole step. REPEATED on every text would take a quarter of the judge's time
    return REPEATED.sub(lambda run: run[1] * KEPT, text)


@cache
def _grammar(language: str) -> Any:
    import tree_sitter

    module, function = GRAMMARS[language]
    return tree_sitter.Language(getattr(importlib.import_module(module), function)())


def _parse(text: str, language: str) -> Reading:
    import tree_sitter

    size, text = len(text.encode()), without_repeats(text)
    data = text.encode()
    if language == "cuda":  # read as C++, without the qualifiers that C++ does not know
        data = CUDA.sub(lambda match: b" " * len(match[0]), data)
    walk = Walk(Reading(f"{language} (parser)", size, text), data, language)
    return walk.over(tree_sitter.Parser(_grammar(language)).parse(data).walk())


@dataclass(frozen=True)
class Traits:
    """What the walk does at a node of one kind. ``handler``: the method of Walk that counts it, if any."""

    handler: str | None
    is_branch: bool
    is_handling: bool
    is_construct: bool
    is_comment: bool
    descend: bool  # into its children


@cache
def _traits(kind: str, named: bool, has_children: bool) -> Traits:
    return Traits(
        handler=_handler(kind, named, has_children),
        is_branch=named and has_children and bool(BRANCH.match(kind)),
        is_handling=named and bool(HANDLING.match(kind)),
        is_construct=named and bool(COMPOUND.search(kind)),
        is_comment=kind in COMMENT,
        descend=kind not in TEXTUAL and kind not in COMMENT,
    )


def _handler(kind: str, named: bool, has_children: bool) -> str | None:
    """The first row that holds. A keyword may have the name of its construct (``lambda``), but it has no children."""
    is_name = kind.endswith("identifier") or kind in ("constant", "name", "variable_name", "word")
    rows = (
        ("comment", kind in COMMENT),
        ("function", named and has_children and FUNCTION.match(kind)),
        ("type", named and has_children and TYPE.match(kind)),
        ("number", kind in NUMBER),
        ("literal", kind in TEXTUAL),
        ("call", has_children and kind in CALL),
        ("import_", named and IMPORT.match(kind)),
        ("name", not has_children and is_name),
    )
    return next((handler for handler, holds in rows if holds), None)


class Walk:
    """One pass over a syntax tree, which fills a Reading. ``data``: the bytes that were parsed."""

    def __init__(self, reading: Reading, data: bytes, language: str):
        self.reading, self.data, self.language = reading, data, language
        self.open_functions: list[tuple[int, int]] = []  # (end byte, index) of the functions around the node
        # For each level of the tree, about the previous named sibling: its last line if it is a comment, NO_COMMENT if
        # it is something else, None if there is none.
        self.before: list[int | None] = [None]
        self.passing: list[int | None] = [None]  # the same about the node itself
        self.bad = self.bad_until = 0  # bytes in errors; no byte counts twice
        self.inside = self.inside_until = 0  # bytes in functions and types

    def over(self, cursor: Any) -> Reading:
        """The reading of the tree below the cursor."""
        while True:
            if self.enter(cursor.node) and cursor.goto_first_child():
                self.before.append(None)
                self.passing.append(None)
            elif not self._advance(cursor):
                break
        self.reading.error_share = min(self.bad / max(len(self.data), 1), 1.0)
        self.reading.inside_share = self.inside / max(len(self.data), 1)
        return self.reading

    def _advance(self, cursor: Any) -> bool:
        """Move to the next sibling of the node or of its nearest ancestor that has one. False at the end of the tree."""
        while True:
            if self.passing[-1] is not None:
                self.before[-1] = self.passing[-1]
            if cursor.goto_next_sibling():
                return True
            self.before.pop()
            self.passing.pop()
            if not cursor.goto_parent():
                return False

    def enter(self, node: Any) -> bool:
        """Count a node. Returns whether its children are to be walked."""
        reading, start, named, kind = self.reading, node.start_byte, node.is_named, node.type
        has_children = node.child_count > 0
        traits = _traits(kind, named, has_children)
        while self.open_functions and start >= self.open_functions[-1][0]:
            self.open_functions.pop()
        if named:
            reading.kinds[kind] += 1
        self.passing[-1] = (node.end_point[0] if traits.is_comment else NO_COMMENT) if named else None
        if (node.is_error or node.is_missing) and start >= self.bad_until:
            self.bad += max(node.end_byte - start, 1)
            self.bad_until = node.end_byte
        if traits.handler:
            getattr(self, traits.handler)(node)
        if traits.is_branch:
            self._branch()
        reading.handling += traits.is_handling
        if traits.is_construct:
            reading.constructs[kind] += 1
        reading.tokens += not has_children
        return traits.descend

    def comment(self, node: Any) -> None:
        self.reading.comments.append(self._text(node.start_byte, node.end_byte))

    def function(self, node: Any) -> None:
        level = len(self.before) - 1
        # if nothing stands before the node, the comment may stand before its parent
        above = self.before[level] if self.before[level] is not None or not level else self.before[level - 1]
        documented = _documented(node, self.data, self.language, above)
        self.reading.functions.append([node.end_point[0] - node.start_point[0] + 1, 0, int(documented)])
        self.open_functions.append((node.end_byte, len(self.reading.functions) - 1))
        self._count_inside(node)

    def type(self, node: Any) -> None:
        self.reading.types += 1
        self._count_inside(node)

    def number(self, node: Any) -> None:
        self.reading.numbers[self._text(node.start_byte, node.end_byte)] += 1
        self.reading.literals += 1

    def literal(self, node: Any) -> None:
        self.reading.literals += 1

    def call(self, node: Any) -> None:
        start, end = node.start_byte, node.child(0).end_byte
        self.reading.calls[self._text(start, min(end, start + 60))] += 1

    def import_(self, node: Any) -> None:
        self.reading.imports += 1

    def name(self, node: Any) -> None:
        self.reading.names[self._text(node.start_byte, node.end_byte)] += 1

    def _branch(self) -> None:
        self.reading.branches += 1
        self.reading.depth = max(self.reading.depth, len(self.before) - 1)
        if self.open_functions:
            self.reading.functions[self.open_functions[-1][1]][1] += 1

    def _count_inside(self, node: Any) -> None:
        if node.start_byte >= self.inside_until:
            self.inside, self.inside_until = self.inside + node.end_byte - node.start_byte, node.end_byte

    def _text(self, start: int, end: int) -> str:
        return self.data[start:end].decode(errors="ignore")


def _documented(node: Any, data: bytes, language: str, above: int | None) -> bool:
    """Whether a function has a docstring as its first statement (Python), or a comment right above it.

    ``above``: the last line of the comment before the function or its parent. The walk passes it in: if the node were
    asked for its sibling, tree-sitter would walk down from the root.
    """
    if language == "python":
        body = node.child_by_field_name("body")
        first = body.named_child(0) if body is not None and body.named_child_count else None
        return first is not None and data[first.start_byte : first.start_byte + 4].lstrip(b"rRbBuU")[:1] in (
            b'"',
            b"'",
        )
    return above is not None and above != NO_COMMENT and node.start_point[0] - above <= 1


@cache
def _lexer(language: str) -> Any:
    import pygments.lexers
    import pygments.util

    try:
        return pygments.lexers.get_lexer_by_name(language, stripnl=False)
    except pygments.util.ClassNotFound:
        return None


def _lex(text: str, language: str, lexer: Any) -> Reading:
    from pygments.token import Comment, Error, Keyword, Literal, Name, Number

    head = text[:50_000]  # lexers are regular expressions in Python, ten times slower than the parsers
    size, head = len(head.encode()), without_repeats(head)
    reading = Reading(f"{language} (lexer)", size, head)
    bad = 0
    for kind, value in lexer.get_tokens(head):
        reading.tokens += bool(value.strip())
        if kind in Comment:
            reading.comments.append(value)
        elif kind in Name:
            reading.names[value] += 1
            reading.calls.update([value] if kind in Name.Function else [])
        elif kind in Number:
            reading.numbers[value] += 1
            reading.literals += 1
        elif kind in Literal:
            reading.literals += 1
        elif kind in Error:
            bad += len(value)
        elif kind in Keyword:
            word = value.strip().lower()
            reading.kinds[word] += 1
            reading.branches += word in (
                "if",
                "for",
                "while",
                "case",
                "when",
                "elsif",
                "elif",
                "else",
                "do",
                "match",
            )
            reading.handling += word in (
                "try",
                "catch",
                "raise",
                "throw",
                "except",
                "rescue",
                "die",
                "assert",
            )
            if word in (
                "def",
                "function",
                "fun",
                "sub",
                "proc",
                "fn",
                "func",
                "defun",
                "procedure",
                "subroutine",
                "cdef",
            ):
                reading.functions.append([12, 0, 0])
    indented = sum(len(line) for line in head.splitlines() if line[:1] in " \t")
    reading.inside_share = indented / max(len(head), 1)
    reading.error_share = bad / max(len(head), 1)
    return reading
