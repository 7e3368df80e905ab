"""Reads one response of an endpoint. Nothing in a response is trusted.

No text that leaves this module holds the API key, or a passage of the document that the question is about.
"""

import email.utils
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from grip_assets.llm.question import InvalidAnswer, Kind, Question

REASON_CHARACTERS = 200
ANSWER_SHOWN = 300  # characters of the first unusable answer that are shown if all failed
ECHO = 20  # so many characters of a document in a row are never repeated
ERROR_KINDS = {  # what servers call an error that they send with status 200, and the status that it should have
    "rate": 429, "quota": 429, "auth": 401, "api_key": 401, "permission": 403, "not_found": 404, "notfound": 404,
    "overload": 503, "unavailable": 503, "timeout": 500, "server": 500, "internal": 500,
}  # fmt: skip


@dataclass(frozen=True)
class Reply:
    """``outcome``: ``answered``; ``invalid`` (an answer that cannot be read), ``busy`` (asked to wait), ``error``
    (the server's fault), ``lost`` (no answer came back, and the request may be charged), ``refused`` (asking again is
    no use), ``denied`` (asking anything is no use).

    ``value``: the answer, as the kind of question reads it. ``said``: the model, its tokens and why it ended. Tokens
    are those that the endpoint reports. ``raw``: the beginning of an invalid answer. ``learned``: the client learned
    from this refusal to ask in another way, so that the same question may be asked at once.
    """

    outcome: str
    reason: str = ""
    value: Any = None
    said: dict[str, Any] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    retry_after: float | None = None
    seconds: float = 0.0
    raw: str = ""
    learned: bool = False


class Reader:
    """Reads responses to questions of one kind. ``key``: the API key. ``question``: None if it is not known, as for
    a batch job of an earlier run."""

    def __init__(self, kind: Kind, key: str, question: Question | None):
        self.kind, self.key = kind, key
        self.document = None if question is None else " ".join(question.contents[-1].split())

    def completion(self, content: bytes) -> Reply:
        """The reply in the body of a successful response."""
        try:
            body = json.loads(content)
        except (ValueError, RecursionError):
            return Reply("invalid", "the response is not JSON")
        if isinstance(body, dict) and not body.get("choices") and self._message(body):
            return self._error_that_says_200(body)
        try:
            usage = body.get("usage") or {}
            tokens = (_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))
            choice = body["choices"][0]
            text = _text(choice["message"])
            finish, model = str(choice.get("finish_reason")), str(body.get("model"))
        except (AttributeError, KeyError, IndexError, TypeError):
            return Reply("invalid", "the response has no answer")
        said: dict[str, Any] = {"model": self.safe(model), "finish_reason": self.safe(finish)}
        said |= {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
        try:
            return Reply("answered", "", self.kind.read(text), said, *tokens)
        except InvalidAnswer as error:
            cut = f" (it was cut at {self.kind.settings}.max_tokens)" if finish == "length" else ""
            return Reply("invalid", f"{error}{cut}", None, {}, *tokens, raw=self.beginning(text))

    def error(self, status: int, headers: Mapping[str, str], body: Any) -> Reply:
        """The reply in an error response."""
        reason = f"HTTP {status}{self._message(body)}"
        if status in (401, 403):
            return Reply("denied", f"{reason}. Check OPENAI_API_KEY and OPENAI_BASE_URL")
        if status == 404:
            return Reply("denied", f"{reason}. Check settings/{self.kind.settings}.model and OPENAI_BASE_URL")
        if status == 429 and "insufficient_quota" in str(body):
            return Reply("denied", f"{reason}. The account has no credit left")
        if status in (429, 503):
            return Reply("busy", reason, retry_after=retry_after(headers))
        if status in (408, 409) or status >= 500:
            return Reply("error", reason, retry_after=retry_after(headers))
        return Reply("refused", reason)

    def _error_that_says_200(self, body: dict[str, Any]) -> Reply:
        """The reply in an error that came with status 200. Its body may name the real status, or a kind of error.

        An error that names neither is final: waiting would not change it.
        """
        inner = body.get("error")
        said = [one.get(name) for one in (inner, body) if isinstance(one, dict) for name in ("status", "code", "type")]
        numbers = [int(str(one)) for one in said if str(one).isascii() and str(one).isdigit() and len(str(one)) == 3]
        status = next((number for number in numbers if 400 <= number < 600), None)
        words = " ".join(str(one) for one in said).lower()
        named = next((number for word, number in ERROR_KINDS.items() if word in words), 400)
        reply = self.error(status or named, {}, body)
        return replace(reply, reason=reply.reason.replace(f"HTTP {status or named}", "HTTP 200 with an error", 1))

    def _message(self, body: Any) -> str:
        """The words of an error body of any shape (OpenAI's, FastAPI's, vLLM's, Google's), made safe to write down."""
        if isinstance(body, list):
            body = body[0] if body else None
        if not isinstance(body, dict):
            return ""
        said: Any = next((body[name] for name in ("error", "detail", "message", "errors") if body.get(name)), "")
        if said is True:  # "error": true, and the words elsewhere
            said = body.get("message", "")
        if isinstance(said, dict):
            said = said.get("message") or said.get("msg") or ""
        if isinstance(said, list):
            said = "; ".join(str(d.get("msg") or d.get("message") or "") for d in said[:3] if isinstance(d, dict))
        text = self.safe(str(said or ""))
        return f": {text}" if text else ""

    def safe(self, text: str) -> str:
        """Text from outside, on one line and without the key. A text with a passage of the document is not repeated.

        If the document is not known, no text of ``ECHO`` or more characters is repeated.
        """
        line = " ".join(text.replace(self.key, "[key]").split())[:REASON_CHARACTERS]
        if len(line) < ECHO:
            return line
        document = self.document
        if document is None or any(line[i : i + ECHO] in document for i in range(len(line) - ECHO + 1)):
            return "(the message may repeat the document)"
        return line

    def beginning(self, text: str) -> str:
        """The beginning of a text from outside: on one line, escaped, without the key and passages of the document."""
        line = " ".join(text[: 4 * ANSWER_SHOWN].replace(self.key, "[key]").split())[:ANSWER_SHOWN]
        kept, at = [], 0
        while at < len(line):
            n = self._echo(line, at)
            kept.append("[document]" if n else line[at] if line[at].isprintable() else repr(line[at])[1:-1])
            at += n or 1
        return "".join(kept)

    def _echo(self, line: str, at: int) -> int:
        """How many characters from ``at`` on are a passage of the document; 0 for fewer than ``ECHO``."""
        n, document = ECHO, self.document or ""
        if len(line) - at < n or line[at : at + n] not in document:
            return 0
        while at + n < len(line) and line[at : at + n + 1] in document:
            n += 1
        return n


def _text(message: dict[str, Any]) -> str:
    text = message.get("content") or ""
    if isinstance(text, list):  # some servers answer in parts
        text = "".join(part.get("text") or "" for part in text)
    return str(text)


def _count(value: Any) -> int:
    return value if type(value) is int and value >= 0 else 0


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait from ``retry-after-ms`` or ``Retry-After`` (seconds or a date). None if there is none."""
    try:
        if "retry-after-ms" in headers:
            return max(float(headers["retry-after-ms"]) / 1000, 0.0)
        given = headers.get("retry-after")
        if given is None:
            return None
        try:
            return max(float(given), 0.0)
        except ValueError:
            return max(email.utils.parsedate_to_datetime(given).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return None
