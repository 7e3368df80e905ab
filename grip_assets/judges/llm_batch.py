"""The same questions as batch jobs: cheaper, and answered within a day [OpenAI's Batch API].

A job is remembered before it is sent, by a name that goes with it as metadata: a process that was killed while it
sent or waited finds the job again, and nothing is asked twice.
"""

import hashlib
import io
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import openai

from grip_assets.errors import GripError, Unfinished
from grip_assets.judges.base import Document, Verdict
from grip_assets.judges.llm import LlmJudge, failed, n_chars, verdict
from grip_assets.judges.prompt import Prompt
from grip_assets.llm.answers import Answer, BatchJob, Call
from grip_assets.llm.endpoint import Reply, Takes, certificates, http_client, read_completion, read_error
from grip_assets.llm.pace import Spending

REQUESTS = 20_000  # of one job; the service takes 50,000
BYTES = 90 << 20  # of one job; the service takes 200 MB
ROUNDS = 4  # jobs that a document may be part of before it is given up
ENDED = ("completed", "failed", "expired", "cancelled")


class BatchJudge(LlmJudge):
    """Verdicts job by job, each job's documents together."""

    def judge(self, documents: Iterable[Document], repeat: int = 0) -> Iterator[Verdict]:
        """As LlmJudge.judge."""
        self.client = openai.OpenAI(
            base_url=self.endpoint.url,
            api_key=self.endpoint.key,
            timeout=self.endpoint.timeout,
            http_client=http_client(
                self.endpoint,
                openai.DefaultHttpx2Client,
                certificates(self.endpoint),
                timeout=self.endpoint.timeout,
            ),
        )
        self.takes = Takes()
        self.spending = Spending(self.settings, self.answers.spent(self.run_id))
        try:
            self.collect_earlier()
            yield from self.in_jobs(self.known(documents, repeat))
        except openai.APIStatusError as error:
            reply = read_error(error.status_code, error.response.headers, error.body, self.endpoint.key, None)
            raise GripError(f"{self.endpoint.name} refused a batch job: {reply.reason}. Jobs sent are kept.") from None
        except openai.APIError as error:
            kind = type(error).__name__
            raise Unfinished(
                f"{self.endpoint.name} cannot be reached ({kind}). Jobs sent are kept: run again."
            ) from None
        finally:
            self.client.close()

    def in_jobs(self, stream: Iterator[tuple[Prompt, Answer | None]]) -> Iterator[Verdict]:
        tried: dict[str, int] = {}
        left: dict[str, list[Prompt]] = {}
        stopped = False
        while True:
            size = 0
            for prompt, answer in () if stopped else stream:
                if answer:
                    yield verdict(prompt, answer)
                    continue
                left.setdefault(prompt.key, []).append(prompt)
                size += prompt.most_tokens
                if len(left) >= REQUESTS or size >= BYTES:
                    break
            wave = self.affordable(left)
            stopped = len(wave) < len(left)
            if not wave:
                break
            replies = self.run({key: prompts[0] for key, prompts in wave.items()}, tried)
            for key, reply in replies.items():
                tried[key] = tried.get(key, 0) + 1
                self.example = self.example or reply.raw
                if reply.outcome == "answered":
                    for prompt in left.pop(key):
                        yield verdict(prompt, Answer(key, prompt.doc_id, self.settings.model, reply.scores, reply.said))
                elif tried[key] >= ROUNDS:
                    for prompt in left.pop(key):
                        yield failed(prompt, f"{reply.reason} (in {ROUNDS} jobs)")
        if stopped:
            raise self.spending.capped()

    def affordable(self, left: dict[str, list[Prompt]]) -> dict[str, list[Prompt]]:
        """The questions that fit into the caps, counted."""
        wave = {}
        for key, prompts in left.items():
            if not self.spending.fits(prompts[0]):
                break
            self.spending.count(prompts[0])
            wave[key] = prompts
        return wave

    def run(self, wave: dict[str, Prompt], tried: dict[str, int]) -> dict[str, Reply]:
        """Send one job, wait for it, keep its answers. A question that the job lost has a reply too."""
        lines = [
            json.dumps(
                {"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": self.takes.body(prompt)}
            )
            for key, prompt in wave.items()
        ]
        name = hashlib.sha256(json.dumps([[key, tried.get(key, 0)] for key in wave]).encode()).hexdigest()[:32]
        job = BatchJob(name, None, {key: prompt.doc_id for key, prompt in wave.items()})
        self.answers.plan_batch(job, self.endpoint.name)
        file = self.client.files.create(file=("grip.jsonl", io.BytesIO("\n".join(lines).encode())), purpose="batch")
        sent = self.client.batches.create(
            input_file_id=file.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={"grip": name},
        )
        job = replace(job, id=sent.id)
        self.answers.plan_batch(job, self.endpoint.name)
        replies = self.collect(job, wave)
        body = self.takes.body(next(iter(wave.values())))
        for key, prompt in wave.items():
            self.spending.settle(prompt, replies[key])
            self.takes.learn(body, replies[key])
        return replies

    def collect_earlier(self) -> None:
        """Jobs of runs that were killed: wait for them and keep what they answered."""
        jobs = self.answers.batches(self.endpoint.name)
        unsure = any(job.id is None for job in jobs)
        there = {(b.metadata or {}).get("grip"): b.id for b in self.client.batches.list(limit=100)} if unsure else {}
        for job in jobs:
            found = job.id or there.get(job.name)
            if found is None:
                self.answers.forget_batch(job.name)  # killed before it was taken
            else:
                self.collect(replace(job, id=found), {})

    def collect(self, job: BatchJob, prompts: dict[str, Prompt]) -> dict[str, Reply]:
        assert job.id is not None
        batch, wait = self.client.batches.retrieve(job.id), min(1.0, self.endpoint.poll)
        while batch.status not in ENDED:
            counts = batch.request_counts
            done = f"{counts.completed:,} of {counts.total:,} answered" if counts else ""
            self.log(f"batch {job.id}: {batch.status} {done}")
            time.sleep(wait)
            wait = min(2 * wait, self.endpoint.poll)
            batch = self.client.batches.retrieve(job.id)
        lost = Reply("error", f"the batch job is {batch.status} and did not answer it")
        replies = dict.fromkeys(job.documents, lost)
        for file in filter(None, (batch.output_file_id, batch.error_file_id)):
            for line in self.client.files.content(file).content.splitlines():
                item = _item(line)
                if item and item["custom_id"] in replies:
                    replies[item["custom_id"]] = self.read(item, prompts.get(item["custom_id"]))
        rows = [self.row(key, doc_id, replies[key], prompts.get(key)) for key, doc_id in job.documents.items()]
        self.answers.keep(self.run_id, rows, batch=job.name)
        return replies

    def read(self, item: dict[str, Any], prompt: Prompt | None) -> Reply:
        response = item.get("response") or {}
        if response.get("status_code") == 200:
            return read_completion(json.dumps(response.get("body")).encode(), self.endpoint.key, prompt)
        status = response.get("status_code")
        status = status if isinstance(status, int) else 500
        return read_error(status, {}, response.get("body"), self.endpoint.key, prompt)

    def row(self, key: str, doc_id: str, reply: Reply, prompt: Prompt | None) -> tuple[Call, Answer | None]:
        tokens = (reply.prompt_tokens, reply.completion_tokens)
        chars = n_chars(prompt) if prompt else 0
        call = Call(key, self.settings.model, reply.outcome, chars, *tokens, 0.0)
        answered = reply.outcome == "answered"
        return call, Answer(key, doc_id, self.settings.model, reply.scores, reply.said) if answered else None


def _item(line: bytes) -> dict[str, Any] | None:
    try:
        item = json.loads(line)
    except ValueError:
        return None
    return item if isinstance(item, dict) and isinstance(item.get("custom_id"), str) else None
