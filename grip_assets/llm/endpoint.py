"""One request to an OpenAI-compatible endpoint, and what became of it.

Where the endpoint is, its key, and how hard it may be pressed are facts about a machine: they come from the
environment, change no version, and the key is in no text that leaves this module.
"""

import asyncio
import email.utils
import ipaddress
import json
import os
import re
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from grip_assets.errors import GripError
from grip_assets.extras import missing
from grip_assets.judges.prompt import RESPONSE_FORMAT, InvalidAnswer, Prompt, parse
from grip_assets.runtime import variables

try:
    import httpx2
    import openai
except ImportError as error:
    raise missing("llm", "The LLM judge (settings/quality.judge)", error) from None

REASON_CHARACTERS = 200
ANSWER_SHOWN = 300  # characters of the answer that is shown where all failed
CONNECTIONS = 8  # of one client
PROXIES = ("all_proxy", "http_proxy", "https_proxy")
ERROR_KINDS = {  # what servers call an error that they send with status 200, and the status that it should have
    "rate": 429, "quota": 429, "auth": 401, "api_key": 401, "permission": 403, "not_found": 404, "notfound": 404,
    "overload": 503, "unavailable": 503, "timeout": 500, "server": 500, "internal": 500,
}  # fmt: skip
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
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
    _check_url(url)
    numbers = {
        name: variables.value(f"GRIP_JUDGE_{name.upper()}")
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
    found = Endpoint(url, key, **{n: v for n, v in numbers.items() if v})
    http_client(found, httpx2.Client, certificates(found)).close()  # proxies are looked at here
    return found


def _check_url(url: str | None) -> None:
    example = "for example http://127.0.0.1:8000/v1"
    if url is None:
        return
    if not url.startswith(("http://", "https://")):
        raise GripError(f"OPENAI_BASE_URL is no http:// or https:// address, {example}.")
    try:
        parsed = httpx2.URL(url)
        usable = bool(parsed.host) and (parsed.port is None or 0 < parsed.port < 65536)
    except (httpx2.InvalidURL, ValueError):
        usable = False
    if not usable:
        raise GripError(f"OPENAI_BASE_URL cannot be read: its host or port is none. Give an address, {example}.")


def certificates(endpoint: "Endpoint") -> ssl.SSLContext | bool:
    """What the endpoint is verified with; GripError where the environment names certificates that are not there."""
    if (endpoint.url or "https:").startswith("http:"):
        return False  # none are read for plain http
    try:
        return httpx2.create_ssl_context()
    except (OSError, ssl.SSLError) as error:
        named = next((name for name in CERTIFICATES if os.environ.get(name)), CERTIFICATES[0])
        raise GripError(
            f"{named} is '{os.environ.get(named, '')}', and no certificates can be read from there"
            f" ({error.strerror or error}). Unset it, or give a file of certificates."
        ) from None


def http_client(endpoint: "Endpoint", kind: Callable[..., Any], verify: ssl.SSLContext | bool, **options: Any) -> Any:
    """An HTTP client for the endpoint. What is on this machine is asked directly, whatever proxy the environment names.

    GripError where the environment's proxy cannot be used.
    """
    try:
        return kind(verify=verify, trust_env=not is_loopback(endpoint.url), **options)
    except (ImportError, ValueError, OSError, httpx2.InvalidURL) as error:
        named = ", ".join(name for name in os.environ if name.lower() in PROXIES and os.environ[name])
        raise GripError(
            f"The proxy of the environment ({named}) cannot be used: {_without_url(str(error))}. Unset it, or add the"
            " endpoint's host to NO_PROXY."
        ) from None


def _without_url(text: str) -> str:
    """A library's words without an address: a proxy's may hold a password."""
    return re.sub(r"\S*://\S*", "[address]", " ".join(text.split())[:REASON_CHARACTERS]).rstrip(".")


def is_loopback(url: str | None) -> bool:
    host = httpx2.URL(url).host if url else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


@dataclass(frozen=True)
class Reply:
    """``outcome``: ``answered``; ``invalid`` (an answer that is not the scores), ``busy`` (asked to wait), ``error``
    (the server's fault), ``lost`` (no answer came back, and the request may be charged), ``refused`` (asking again is
    no use), ``denied`` (asking anything is no use). Tokens are those that the endpoint reports; ``raw`` is the
    begin of an invalid answer."""

    outcome: str
    reason: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    said: dict[str, Any] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    retry_after: float | None = None
    seconds: float = 0.0
    raw: str = ""


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
            http_client=http_client(
                endpoint,
                openai.DefaultAsyncHttpx2Client,
                verify,
                limits=limits,
                timeout=None,
                follow_redirects=False,  # the key and the documents go where they were sent, and nowhere else
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
    verify = certificates(endpoint)
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
    except (ValueError, RecursionError):
        return Reply("invalid", "the response is not JSON")
    if isinstance(body, dict) and not body.get("choices") and _message(body, key, prompt):
        return _error_that_says_200(body, key, prompt)
    try:
        usage = body.get("usage") or {}
        tokens = (_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))
        choice = body["choices"][0]
        message = choice["message"]
        text = message.get("content") or ""
        if isinstance(text, list):  # some servers answer in parts
            text = "".join(part.get("text") or "" for part in text)
        finish, model = str(choice.get("finish_reason")), str(body.get("model"))
    except (AttributeError, KeyError, IndexError, TypeError):
        return Reply("invalid", "the response has no answer")
    said: dict[str, Any] = {"model": safe(model, key, prompt), "finish_reason": safe(finish, key, prompt)}
    said |= {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
    try:
        return Reply("answered", "", parse(str(text)), said, *tokens)
    except InvalidAnswer as error:
        cut = " (it was cut at quality.max_tokens)" if finish == "length" else ""
        invalid = Reply("invalid", f"{error}{cut}", {}, {}, *tokens)
        return replace(invalid, raw=shown(str(text), key, prompt))


def _error_that_says_200(body: dict[str, Any], key: str, prompt: Prompt | None) -> Reply:
    """An error under a status that says none: by the status or the kind that it names itself. What names neither is
    taken as final: waiting would not change it."""
    inner = body.get("error")
    said = [one.get(name) for one in (inner, body) if isinstance(one, dict) for name in ("status", "code", "type")]
    numbers = [int(str(one)) for one in said if str(one).isascii() and str(one).isdigit() and len(str(one)) == 3]
    status = next((number for number in numbers if 400 <= number < 600), None)
    words = " ".join(str(one) for one in said).lower()
    named = next((number for word, number in ERROR_KINDS.items() if word in words), 400)
    reply = read_error(status or named, {}, body, key, prompt)
    return replace(reply, reason=reply.reason.replace(f"HTTP {status or named}", "HTTP 200 with an error", 1))


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
        pass
    try:
        text = error.response.text.strip()
    except Exception:
        return None
    return None if text.startswith("<") else {"message": text}  # a page for people says nothing in a line


def _message(body: Any, key: str, prompt: Prompt | None) -> str:
    """What an error body says, whatever its shape (OpenAI's, FastAPI's, vLLM's, Google's), made safe to write down."""
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
    text = safe(str(said or ""), key, prompt)
    return f": {text}" if text else ""


def shown(text: str, key: str, prompt: Prompt | None) -> str:
    """The begin of a text from outside, on one line, escaped, without the key and passages of the document."""
    line = " ".join(text[: 4 * ANSWER_SHOWN].replace(key, "[key]").split())[:ANSWER_SHOWN]
    document = " ".join(prompt.body["messages"][-1]["content"].split()) if prompt else ""
    kept, at = [], 0
    while at < len(line):
        n = _echo(line, at, document)
        kept.append("[document]" if n else line[at] if line[at].isprintable() else repr(line[at])[1:-1])
        at += n or 1
    return "".join(kept)


def _echo(line: str, at: int, document: str) -> int:
    """How many characters from ``at`` on are a passage of the document; 0 for fewer than ``ECHO``."""
    n = ECHO
    if len(line) - at < n or line[at : at + n] not in document:
        return 0
    while at + n < len(line) and line[at : at + n + 1] in document:
        n += 1
    return n


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
