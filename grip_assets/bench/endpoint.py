"""A fake endpoint on loopback that serves chat completions and batches, fails on demand, and counts its requests.

It is for the tests, for ``grip bench judge``, and for trying out rates, caps and prices before money is spent:

    python -m grip_assets.bench.endpoint --port 8000 --latency 0.05 --fault-rate 0.3

Scores are computed from a hash of the document. If a request has another schema, values that fit it are computed from
the same hash. ``GET /stats`` returns the counts of requests by content.
"""

import argparse
import asyncio
import hashlib
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

KEYS = ("syntax_integrity_score", "architecture_score", "educational_value_score", "technical_depth_score")
FAULTS = ("slow", "429", "429 retry-after", "500", "cut", "broken", "prose", "schema", "eleven", "empty")
CONTENT_FAULTS = ("broken", "prose", "schema", "eleven")


@dataclass
class Behaviour:
    """How the endpoint answers. A fault is chosen by a hash of the content and of the number of requests for it."""

    latency: float = 0.0
    slow: float = 0.3
    fault_rate: float = 0.0
    faults: tuple[str, ...] = FAULTS
    requests_per_minute: int | None = None
    retry_after: str = "0.05"
    refuses: tuple[str, ...] = ()  # fields of a request, or passages of a document, that are refused
    refusal: str = "Unexpected fields"
    most_slots: int | None = None
    away_until: float = 0.0
    echo_errors: bool = False  # error messages that repeat headers and body, as careless servers do
    key: str | None = None
    batch_seconds: float = 0.2


@dataclass
class Counts:
    """Requests so far. ``at``: arrival times. ``answered``: good answers that were sent completely, by content."""

    asked: Counter = field(default_factory=Counter)
    answered: Counter = field(default_factory=Counter)
    limited_at: list[float] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    tokens: Counter = field(default_factory=Counter)
    most_at_once: int = 0
    now: int = 0
    bodies: dict[str, Any] = field(default_factory=dict)  # the last request of each content
    batches: list[int] = field(default_factory=list)


class FakeEndpoint:
    """An ASGI application. ``behaviour`` may be changed while it runs."""

    def __init__(self, behaviour: Behaviour | None = None):
        self.behaviour, self.counts = behaviour or Behaviour(), Counts()
        self.files: dict[str, bytes] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.app = Starlette(
            routes=[
                Route("/v1/chat/completions", Completions(self).answer, methods=["POST"]),
                Route("/v1/files", self.upload, methods=["POST"]),
                Route("/v1/files/{name}/content", self.download),
                Route("/v1/batches", self.create_batch, methods=["POST"]),
                Route("/v1/batches", self.list_batches, methods=["GET"]),
                Route("/v1/batches/{name}", self.batch),
                Route("/stats", self.stats),
            ]
        )

    async def stats(self, request: Request) -> Response:
        c = self.counts
        return JSONResponse(
            {
                "requests": sum(c.asked.values()),
                "answered": sum(c.answered.values()),
                "limited": len(c.limited_at),
                "tokens": c.tokens,
                "asked": c.asked,
            }
        )

    def fault(self, content: str, n: int) -> str | None:
        digest = hashlib.sha256(f"{n}:{content}".encode()).digest()
        if digest[0] / 256 >= self.behaviour.fault_rate:
            return None
        return self.behaviour.faults[digest[1] % len(self.behaviour.faults)]

    # -- batches ----------------------------------------------------------------------------------------------

    async def upload(self, request: Request) -> Response:
        body = await request.body()
        boundary = request.headers["content-type"].partition("boundary=")[2].strip('"').encode()
        for part in body.split(b"--" + boundary):
            head, _, content = part.partition(b"\r\n\r\n")
            if b'name="file"' in head:
                name = f"file-{len(self.files)}"
                self.files[name] = content.removesuffix(b"\r\n")
                return JSONResponse({"id": name, "object": "file", "purpose": "batch", "filename": "x", "bytes": 1})
        return JSONResponse({"error": {"message": "no file"}}, 400)

    async def download(self, request: Request) -> Response:
        return Response(self.files[request.path_params["name"]])

    async def create_batch(self, request: Request) -> Response:
        asked = await request.json()
        lines = [json.loads(line) for line in self.files[asked["input_file_id"]].splitlines()]
        good: list[dict[str, Any]] = []
        bad: list[dict[str, Any]] = []
        for line in lines:
            status, body = self.batch_item(line["body"])
            item = {"custom_id": line["custom_id"], "response": {"status_code": status, "body": body}, "error": None}
            (good if status == 200 else bad).append(item)
        name = f"batch-{len(self.jobs)}"
        job = {"id": name, "object": "batch", "endpoint": "/v1/chat/completions", "metadata": asked.get("metadata")}
        job |= {"completion_window": "24h", "input_file_id": asked["input_file_id"], "created_at": int(time.time())}
        for kind, items in (("output", good), ("error", bad)):
            file = f"file-{kind}-{name}"
            self.files[file] = "\n".join(json.dumps(item) for item in items).encode()
            job[f"{kind}_file_id"] = file if items else None
        job["request_counts"] = {"total": len(lines), "completed": len(good), "failed": len(bad)}
        self.jobs[name] = job | {"ready": time.monotonic() + self.behaviour.batch_seconds}
        self.counts.batches.append(len(lines))
        return JSONResponse(self.job(name))

    def batch_item(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        content = body["messages"][-1]["content"]
        self.counts.asked[content] += 1
        fault = self.fault(content, self.counts.asked[content])
        if fault and fault not in CONTENT_FAULTS:
            return 500, {"error": {"message": "the item failed"}}
        return 200, self.completion(body, content, fault)

    def job(self, name: str) -> dict[str, Any]:
        job = dict(self.jobs[name])
        done = time.monotonic() >= job.pop("ready")
        return job | {"status": "completed" if done else "in_progress"}

    async def batch(self, request: Request) -> Response:
        return JSONResponse(self.job(request.path_params["name"]))

    async def list_batches(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self.job(name) for name in self.jobs], "has_more": False})

    # -- answers ----------------------------------------------------------------------------------------------

    def completion(self, body: dict[str, Any], content: str, fault: str | None) -> dict[str, Any]:
        answer = answer_to(body, content)
        text = {
            "broken": json.dumps(answer)[:-9],
            "prose": "Here is my assessment: it is a good document. I hope this helps.",
            "schema": json.dumps({"score": 7, "why": "good"}),
            "eleven": json.dumps(answer | {KEYS[0]: 11}),
        }.get(fault or "", json.dumps(answer))
        usage = {"prompt_tokens": sum(len(m["content"]) for m in body["messages"]) // 4, "completion_tokens": 40}
        self.counts.tokens.update(usage)
        if fault is None or fault == "slow":
            self.counts.answered[content] += 1
        message = {"role": "assistant", "content": text}
        choices = [] if fault == "empty" else [{"index": 0, "finish_reason": "stop", "message": message}]
        return {"id": "1", "object": "chat.completion", "created": 1, "model": body["model"], "choices": choices} | {
            "usage": usage | {"total_tokens": sum(usage.values())}
        }


def answer_to(body: dict[str, Any], content: str) -> dict[str, Any]:
    """The answer: scores, or values for the fields of the request's response format if it names other fields."""
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema", {})
    fields: dict[str, dict[str, Any]] = schema.get("properties") or {}
    if not fields or set(fields) == set(KEYS):
        return scores_of(content)
    return {name: value_for(field, f"{name}:{content}") for name, field in fields.items()}


def value_for(schema: dict[str, Any], text: str) -> Any:
    """A value from a hash of the text that fits a JSON schema (enum, integer, number, boolean, array or string)."""
    digest = hashlib.sha256(text.encode()).digest()
    if "enum" in schema:
        return schema["enum"][digest[0] % len(schema["enum"])]
    low, high = schema.get("minimum", 0), schema.get("maximum", 100)
    kinds: dict[str, Callable[[], Any]] = {
        "integer": lambda: low + digest[0] % (high - low + 1),
        "number": lambda: low + digest[0] / 255 * (high - low),
        "boolean": lambda: digest[0] % 2 == 0,
        "array": lambda: [value_for(schema["items"], f"{i}:{text}") for i in range(3)],
    }
    return kinds.get(schema.get("type", "string"), lambda: f"word{digest.hex()[:8]}")()


def scores_of(content: str) -> dict[str, int]:
    digest = hashlib.sha256(content.encode()).digest()
    return {key: 2 + digest[i] % 8 for i, key in enumerate(KEYS)}


class Completions:
    def __init__(self, endpoint: FakeEndpoint):
        self.endpoint = endpoint

    async def answer(self, request: Request) -> Response:
        endpoint, counts, b = self.endpoint, self.endpoint.counts, self.endpoint.behaviour
        counts.at.append(time.monotonic())
        due = asyncio.get_running_loop().time() + b.latency
        counts.now += 1
        counts.most_at_once = max(counts.most_at_once, counts.now)
        try:
            body = json.loads(await request.body())
            content = body["messages"][-1]["content"]
            counts.asked[content] += 1
            counts.bodies[content] = body
            n, said = counts.asked[content], {}
            if b.echo_errors:
                said = {"echo": dict(request.headers) | {"body": content}}
            if b.key and request.headers.get("authorization") != f"Bearer {b.key}":
                return error(401, f"Incorrect API key provided: {request.headers.get('authorization')}", said)
            if any(name in body or name in content for name in b.refuses):
                return error(422, f"{b.refusal} {said or ''}", said)
            now = time.monotonic()
            recent = sum(t > now - 60 for t in counts.at) if b.requests_per_minute else 0
            if recent > (b.requests_per_minute or 0) or counts.now > (b.most_slots or counts.now):
                counts.limited_at.append(now)
                return error(429, "slow down", said, {"retry-after": "1"} if recent else {})
            if now < b.away_until:
                return error(503, "back soon", said)
            fault = endpoint.fault(content, n)
            await asyncio.sleep(due - asyncio.get_running_loop().time() + (b.slow if fault == "slow" else 0))
            if fault and fault.startswith("429"):
                counts.limited_at.append(time.monotonic())
                return error(429, "slow down", said, {"retry-after": b.retry_after} if "after" in fault else {})
            if fault == "500":
                return error(500, f"internal error {said}", said)
            data = json.dumps(endpoint.completion(body, content, fault)).encode()
            return Cut(data) if fault == "cut" else Response(data, media_type="application/json")
        finally:
            counts.now -= 1


def error(status: int, message: str, said: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"message": message, **said}}, status, headers)


class Cut(Response):
    """A response that announces a body, sends half of it, and closes the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body[: len(self.body) // 2], "more_body": True})
        raise ConnectionAbortedError


@contextmanager
def serving(endpoint: FakeEndpoint, port: int = 0) -> Iterator[str]:
    """Run the endpoint in a thread of this process, and yield its base URL."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        config = uvicorn.Config(endpoint.app, log_level="critical", access_log=False, lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        finally:
            server.should_exit = True
            thread.join(10)


def main() -> None:
    parser = argparse.ArgumentParser(description="A fake judge on loopback.")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds")
    parser.add_argument(
        "--fault-rate", type=float, default=0.0, help=f"share of requests that fail: {', '.join(FAULTS)}"
    )
    parser.add_argument("--requests-per-minute", type=int)
    given = parser.parse_args()
    endpoint = FakeEndpoint(
        Behaviour(given.latency, fault_rate=given.fault_rate, requests_per_minute=given.requests_per_minute)
    )
    with serving(endpoint, given.port) as url:
        print(f"OPENAI_BASE_URL={url}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
