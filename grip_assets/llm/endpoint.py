"""The endpoint, and one request to it, by OpenAI's chat completions. reply.py reads its responses.

Address, key and rates are facts about a machine. They come from the environment and change no version. The key is in no
text that leaves this module.
"""

import asyncio
import ipaddress
import os
import re
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from grip_assets.errors import GripError
from grip_assets.extras import missing
from grip_assets.llm.question import Question
from grip_assets.llm.reply import REASON_CHARACTERS, Reader, Reply
from grip_assets.runtime import variables

try:
    import httpx2
    import openai
except ImportError as error:
    raise missing("llm", "The LLM judge (settings/quality.judge)", error) from None

CONNECTIONS = 8  # of one client
PROXIES = ("all_proxy", "http_proxy", "https_proxy")
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True)
class Endpoint:
    """``url``: None for the client's default. Rates are per minute (None: no limit), times in seconds."""

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
    """An HTTP client for the endpoint. An endpoint on this machine is asked directly, without the environment's proxy.

    GripError if the environment's proxy cannot be used.
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


class Client:
    """Sends questions over one pool of connections. All clients share ``dialect``, so all use what one has learned."""

    def __init__(self, endpoint: Endpoint, dialect: "Dialect", verify: ssl.SSLContext | bool):
        self.endpoint, self.dialect = endpoint, dialect
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

    async def send(self, question: Question) -> Reply:
        """Make one request. Failures of the endpoint are in the reply; they never raise."""
        started = time.monotonic()
        before, sent = self.dialect.state(), self.dialect.body(question)
        reply = await self._post(sent, Reader(question.kind, self.endpoint.key, question))
        self.dialect.learn(sent, reply)
        learned = reply.outcome == "refused" and self.dialect.state() != before
        return replace(reply, seconds=time.monotonic() - started, learned=learned)

    async def _post(self, body: dict[str, Any], reader: Reader) -> Reply:
        try:
            # httpx2.Response: the body is read by the reader, which trusts nothing in it
            async with asyncio.timeout(self.endpoint.timeout):
                response = await self.openai.post("/chat/completions", cast_to=httpx2.Response, body=body)
            return reader.completion(response.content)
        except openai.APIStatusError as error:
            return reader.error(error.status_code, error.response.headers, _body(error))
        except (TimeoutError, openai.APITimeoutError):
            return Reply("lost", f"no answer within {self.endpoint.timeout:g} s")
        except (openai.APIConnectionError, httpx2.HTTPError, httpx2.StreamError) as error:
            unreachable = isinstance(error.__cause__, httpx2.ConnectError)
            return Reply("busy", "the endpoint cannot be reached") if unreachable else Reply("lost", "connection cut")


def clients(endpoint: Endpoint, dialect: "Dialect") -> list[Client]:
    """Enough clients for all slots, each with few connections, since a pool searches all of them at each request."""
    verify = certificates(endpoint)
    return [Client(endpoint, dialect, verify) for _ in range(-(-endpoint.concurrency // CONNECTIONS))]


class Dialect:
    """The form of requests that the endpoint takes: with a response format or not, and the name of the token limit.

    After a refusal the question is asked again in another form, since the texts of errors differ too much to be read.
    """

    def __init__(self) -> None:
        self.schema: bool | None = None  # takes a response format; None: not known yet
        self.plain = False  # it has answered without one
        self.limit = "max_tokens"

    def body(self, question: Question) -> dict[str, Any]:
        """The request, in the form that the endpoint is known or hoped to take."""
        body = dict(question.body)
        body[self.limit] = body.pop("max_tokens")
        response_format = question.kind.response_format
        return body if self.schema is False or not response_format else body | {"response_format": response_format}

    def learn(self, sent: Mapping[str, Any], reply: Reply) -> None:
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
