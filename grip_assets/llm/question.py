"""A question to a language model: its request, the key of its answer in the store, and the function that reads it.

To ask a new kind of question, make a ``Kind``, a ``Question`` for each subject, and give them to ``llm/asker.py``.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


class Sampling(Protocol):
    """The fields of a settings group that go into a request."""

    @property
    def model(self) -> str: ...
    @property
    def max_tokens(self) -> int: ...
    @property
    def temperature(self) -> float | None: ...


class InvalidAnswer(ValueError):
    """An answer that cannot be read. Its text says what is wrong and never repeats the answer."""


@dataclass(frozen=True)
class Kind:
    """What all questions of one asker have in common.

    ``name``: names the asker in errors, and in the store its batch jobs. ``read``: the text of an answer to a value
    that JSON can hold; raises InvalidAnswer. ``response_format``: the schema of an answer, for endpoints that take one.
    ``settings``: the settings group with ``model``, ``max_tokens`` and the caps, for errors that say what to set.
    """

    name: str
    read: Callable[[str], Any]
    response_format: dict[str, Any] | None = None
    settings: str = "quality"


@dataclass(frozen=True)
class Question:
    """``subject``: what it is about (a doc_id, a cluster). ``key``: the name of its answer in the store, of ``key_of``.
    ``body``: the request without a response format; it has ``model``, ``messages`` and ``max_tokens``."""

    kind: Kind
    subject: str
    key: str
    body: dict[str, Any]

    @property
    def model(self) -> str:
        return self.body["model"]

    @property
    def max_tokens(self) -> int:
        return self.body["max_tokens"]

    @property
    def contents(self) -> list[str]:
        """The texts of its messages. The last one is the user's: no error may repeat it."""
        return [message["content"] for message in self.body["messages"]]

    @property
    def n_chars(self) -> int:
        """Characters of all that is sent."""
        return sum(map(len, self.contents))

    @property
    def most_tokens(self) -> int:
        """An upper bound for the tokens sent: byte-level tokenizers make at most one token of a byte."""
        return sum(len(content.encode()) for content in self.contents) + 64


def request(settings: Sampling, system: str, user: str) -> dict[str, Any]:
    """The body of a question with one message of the system and one of the user."""
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    body: dict[str, Any] = {"model": settings.model, "messages": messages, "max_tokens": settings.max_tokens}
    if settings.temperature is not None:
        body["temperature"] = settings.temperature
    return body


def answer_format(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    """The response format of an object with exactly these ``fields`` (JSON schemas by name)."""
    schema = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": schema}}


def key_of(body: dict[str, Any], repeat: int = 0) -> str:
    """The name of an answer: a hash of all that is asked. ``repeat`` above 0 is the same question asked once more."""
    return hashlib.sha256(json.dumps([body, repeat], sort_keys=True).encode()).hexdigest()[:32]
