"""One request to an OpenAI-compatible endpoint, and what became of it.

Where the endpoint is, its key, and how hard it may be pressed are facts about a machine: they come from the
environment, change no version, and the key is in no text that leaves this module.
"""

import asyncio
import email.utils
import json
import os
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2
import openai

from grip_assets.errors import GripError
from grip_assets.models.llm.prompt import RESPONSE_FORMAT, InvalidAnswer, Prompt, parse

REASON_CHARACTERS = 200
CONNECTIONS = 8  # of one client
ECHO = 20  # so many characters of a document in a row are never repeated


@dataclass(frozen=True)
class Endpoint:
    """``url``: None for the client's own default. Rates are per minute, None: no limit; times in seconds."""

    url: str | None
    key: str = field(repr=False)
    concurrency: int = 32
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    timeout: float = 120.0
    attempts: int = 8
    backoff: float = 0.5
    patience: float = 300.0
    poll: float = 30.0

    @property
    def name(self) -> str:
        """Its address, without credentials."""
        url = httpx2.URL(self.url or "https://api.openai.com/v1")
        return f"{url.scheme}://{url.host}{f':{url.port}' if url.port else ''}{url.path}".rstrip("/")


def endpoint() -> Endpoint:
    """The endpoint that the environment names; GripError for a variable that is missing or no positive number."""
    key = os.environ.get("OPENAI_API_KEY", "")
    if not key:
        raise GripError("OPENAI_API_KEY is not set. Set it in the environment; a local server takes any text.")
    if not (key.isascii() and key.isprintable()):
        raise GripError("OPENAI_API_KEY has characters that cannot be in a header. Copy the key again.")
    url = os.environ.get("OPENAI_BASE_URL") or None
    if url and not url.startswith(("http://", "https://")):
        raise GripError("OPENAI_BASE_URL is no http:// or https:// address, for example http://127.0.0.1:8000/v1.")
    numbers = {
        name: _number(f"GRIP_JUDGE_{name.upper()}", whole=name in ("concurrency", "attempts"))
        for name in (
            "concurrency",
            "requests_per_minute",
            "tokens_per_minute",
            "timeout",
            "attempts",
            "backoff",
            "patience",
            "poll",
        )
    }
    return Endpoint(url, key, **{n: v for n, v in numbers.items() if v})


def _number(variable: str, whole: bool) -> Any:
    given = os.environ.get(variable)
    if not given:
        return None
    try:
        value = int(given) if whole else float(given)
        positive = value > 0
    except ValueError:
        positive = False
    if not positive:
        raise GripError(f"{variable} is '{given}': it must be {'a whole number' if whole else 'a number'} above 0.")
    return value


@dataclass(frozen=True)
class Reply:
    """``outcome``: ``answered``; ``invalid`` (an answer that is not the scores), ``busy`` (asked to wait), ``error``
    (the server's fault), ``lost`` (no answer came back, and the request may be charged), ``refused`` (asking again is
    no use), ``denied`` (asking anything is no use). Tokens are those that the endpoint reports."""

    outcome: str
    reason: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    said: dict[str, Any] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    retry_after: float | None = None
    seconds: float = 0.0


class Client:
    """Sends prompts over one pool of connections. ``takes`` is shared: what one learns of the endpoint, all know."""

    def __init__(self, endpoint: Endpoint, takes: "Takes", verify: ssl.SSLContext | bool):
        self.endpoint, self.takes = endpoint, takes
        limits = httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
        self.openai = openai.AsyncOpenAI(
            base_url=endpoint.url,
            api_key=endpoint.key,
            max_retries=0,  # every request is counted, paced and paid for here
            timeout=None,  # one limit for the whole request is set in send: less work than one for each read
            http_client=openai.DefaultAsyncHttpx2Client(
                limits=limits,
                timeout=None,
                follow_redirects=False,  # the key and the documents go where they were sent, and nowhere else
                verify=verify,
            ),
        )

    async def close(self) -> None:
        await self.openai.close()

    async def send(self, prompt: Prompt) -> Reply:
        """One request; never raises for what an endpoint may do."""
        started = time.monotonic()
        sent = self.takes.body(prompt)
        try:
            # httpx2.Response: the body is read by read_completion, which trusts nothing in it
            async with asyncio.timeout(self.endpoint.timeout):
                response = await self.openai.post("/chat/completions", cast_to=httpx2.Response, body=sent)
            reply = read_completion(response.content, self.endpoint.key, prompt)
        except openai.APIStatusError as error:
            reply = read_error(error.status_code, error.response.headers, _body(error), self.endpoint.key, prompt)
        except (TimeoutError, openai.APITimeoutError):
            reply = Reply("lost", f"no answer within {self.endpoint.timeout:g} s")
        except (openai.APIConnectionError, httpx2.HTTPError, httpx2.StreamError) as error:
            unreachable = isinstance(error.__cause__, httpx2.ConnectError)
            reply = Reply("busy", "the endpoint cannot be reached") if unreachable else Reply("lost", "connection cut")
        self.takes.learn(sent, reply)
        return replace(reply, seconds=time.monotonic() - started)


def clients(endpoint: Endpoint, takes: "Takes") -> list[Client]:
    """Enough clients for all slots, each with few connections: a pool looks through all of its own at each request."""
    plain = (endpoint.url or "https:").startswith("http:")  # no certificates are read for plain http
    verify = False if plain else httpx2.create_ssl_context()
    return [Client(endpoint, takes, verify) for _ in range(-(-endpoint.concurrency // CONNECTIONS))]


class Takes:
    """What the endpoint takes: answers to a JSON schema, and under which name the limit of the answer."""

    def __init__(self) -> None:
        self.schema: bool | None = None  # None: not known yet
        self.plain = False  # an answer without a schema was had
        self.limit = "max_tokens"

    def body(self, prompt: Prompt) -> dict[str, Any]:
        body = dict(prompt.body)
        body[self.limit] = body.pop("max_tokens")
        return body if self.schema is False else body | {"response_format": RESPONSE_FORMAT}

    def learn(self, sent: Mapping[str, Any], reply: Reply) -> None:
        """What a refusal means is seen by asking the same in another way: error texts differ too much to be read."""
        asked_for_schema = "response_format" in sent
        if reply.outcome in ("answered", "invalid"):
            self.schema = True if asked_for_schema else self.schema
            self.plain = self.plain or not asked_for_schema
        elif reply.outcome == "refused":
            if "max_completion_tokens" in reply.reason and self.limit in sent:
                self.limit = "max_completion_tokens"
            elif asked_for_schema and self.schema is None:
                self.schema = False
            elif not asked_for_schema and not self.plain:
                self.schema = None  # refused either way: it was the document

    def state(self) -> tuple[bool | None, str]:
        return self.schema, self.limit


def read_completion(content: bytes, key: str, prompt: Prompt | None) -> Reply:
    """The reply in the body of a successful response."""
    try:
        body = json.loads(content)
        usage = body.get("usage") or {}
        tokens = [_count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens")]
        choice = body["choices"][0]
        message = choice["message"]
        text = message.get("content") or ""
        if isinstance(text, list):  # some servers answer in parts
            text = "".join(part.get("text") or "" for part in text)
        finish, model = str(choice.get("finish_reason")), str(body.get("model"))
    except (ValueError, RecursionError):
        return Reply("invalid", "the response is not JSON")
    except (AttributeError, KeyError, IndexError, TypeError):
        return Reply("invalid", "the response has no answer")
    said: dict[str, Any] = {"model": safe(model, key, prompt), "finish_reason": safe(finish, key, prompt)}
    said |= {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
    try:
        return Reply("answered", "", parse(str(text)), said, *tokens)
    except InvalidAnswer as error:
        cut = " (it was cut at quality.max_tokens)" if finish == "length" else ""
        return Reply("invalid", f"{error}{cut}", {}, {}, *tokens)


def _count(value: Any) -> int:
    return value if type(value) is int and value >= 0 else 0


def read_error(status: int, headers: Mapping[str, str], body: Any, key: str, prompt: Prompt | None) -> Reply:
    """The reply in an error response."""
    reason = f"HTTP {status}{_message(body, key, prompt)}"
    if status in (401, 403):
        return Reply("denied", f"{reason}. Check OPENAI_API_KEY and OPENAI_BASE_URL")
    if status == 404:
        return Reply("denied", f"{reason}. Check settings/quality.model and OPENAI_BASE_URL")
    if status == 429 and "insufficient_quota" in str(body):
        return Reply("denied", f"{reason}. The account has no credit left")
    if status in (429, 503):
        return Reply("busy", reason, retry_after=retry_after(headers))
    if status in (408, 409) or status >= 500:
        return Reply("error", reason, retry_after=retry_after(headers))
    return Reply("refused", reason)


def _body(error: openai.APIStatusError) -> Any:
    try:
        return error.response.json()
    except Exception:  # a body that is no JSON, is broken, or was never read
        return None


def _message(body: Any, key: str, prompt: Prompt | None) -> str:
    """What an error body says, whatever its shape (OpenAI's, FastAPI's), made safe to write down."""
    said: Any = body.get("error", body.get("detail", "")) if isinstance(body, dict) else ""
    if isinstance(said, dict):
        said = said.get("message", "")
    if isinstance(said, list):
        said = "; ".join(str(d.get("msg", "")) for d in said[:3] if isinstance(d, dict))
    text = safe(str(said or ""), key, prompt)
    return f": {text}" if text else ""


def safe(text: str, key: str, prompt: Prompt | None) -> str:
    """Text from outside, on one line, without the key and without a passage of the document (None: not known which)."""
    line = " ".join(text.replace(key, "[key]").split())[:REASON_CHARACTERS]
    if len(line) < ECHO:
        return line
    document = " ".join(prompt.body["messages"][-1]["content"].split()) if prompt else ""
    if prompt is None or any(line[i : i + ECHO] in document for i in range(len(line) - ECHO + 1)):
        return "(the message may repeat the document)"
    return line


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait from ``retry-after-ms`` or ``Retry-After`` (seconds or a date); None where there is none."""
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
