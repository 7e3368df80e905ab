"""Asks many questions as batch jobs, which are cheaper and are answered within a day [OpenAI's Batch API].

A job is noted in the store before it is sent, under a name that is also sent as metadata. If a process is killed while
it sends or waits, the next one finds the job by that name, and nothing is asked twice.
"""

import hashlib
import io
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import openai

from grip_assets.errors import GripError, Unfinished
from grip_assets.llm.answers import Answer, BatchJob, Call
from grip_assets.llm.asker import Asker, Outcome, record
from grip_assets.llm.endpoint import Dialect, Endpoint, certificates, http_client
from grip_assets.llm.question import Question
from grip_assets.llm.reply import Reader, Reply

if TYPE_CHECKING:
    from grip_assets.llm.spending import Spending

REQUESTS = 20_000  # per job; the service takes 50,000
BYTES = 90 << 20  # per job; the service takes 200 MB
ROUNDS = 4  # jobs that a question may be part of before it is given up
ENDED = ("completed", "failed", "expired", "cancelled")

Waiting = dict[str, list[Question]]  # the questions that wait for an answer, by its key


class BatchAsker(Asker):
    """Asks as batch jobs; outcomes come job by job."""

    def ask(self, questions: Iterable[Question]) -> Iterator[Outcome]:
        """As Asker.ask."""
        client = _client(self.endpoint)
        try:
            session = BatchSession(self, client)
            session.collect_earlier()
            yield from session.ask(self.known(questions))
        except openai.APIStatusError as error:
            reader = Reader(self.kind, self.endpoint.key, None)
            reply = reader.error(error.status_code, error.response.headers, error.body)
            raise GripError(f"{self.endpoint.name} refused a batch job: {reply.reason}. Jobs sent are kept.") from None
        except openai.APIError as error:
            kind = type(error).__name__
            raise Unfinished(
                f"{self.endpoint.name} cannot be reached ({kind}). Jobs sent are kept: run again."
            ) from None
        finally:
            client.close()


def _client(endpoint: Endpoint) -> openai.OpenAI:
    http = http_client(endpoint, openai.DefaultHttpx2Client, certificates(endpoint), timeout=endpoint.timeout)
    return openai.OpenAI(base_url=endpoint.url, api_key=endpoint.key, timeout=endpoint.timeout, http_client=http)


class BatchSession:
    """One pass over a stream of questions, job after job."""

    def __init__(self, asker: Asker, client: openai.OpenAI):
        self.asker, self.endpoint, self.answers, self.client = asker, asker.endpoint, asker.answers, client
        self.dialect = Dialect()
        self.spending: Spending = asker.new_spending()
        self.tried: dict[str, int] = {}  # jobs that a question was part of

    def ask(self, stream: Iterator[tuple[Question, Answer | None]]) -> Iterator[Outcome]:
        waiting: Waiting = {}
        capped = False
        while True:
            if not capped:
                yield from _fill(waiting, stream)
            job = self._affordable(waiting)
            capped = len(job) < len(waiting)
            if not job:
                break
            for key, reply in self._run(job).items():
                yield from self._settled(key, reply, waiting)
        if capped:
            raise self.spending.capped()

    def _affordable(self, waiting: Waiting) -> dict[str, Question]:
        """The questions that fit into the caps. They are counted as sent."""
        job: dict[str, Question] = {}
        for key, (question, *_) in waiting.items():
            if not self.spending.fits(question):
                break
            self.spending.count(question)
            job[key] = question
        return job

    def _settled(self, key: str, reply: Reply, waiting: Waiting) -> Iterator[Outcome]:
        """The outcomes that follow from a reply. A question without an outcome waits for the next job."""
        self.tried[key] = self.tried.get(key, 0) + 1
        self.asker.example = self.asker.example or reply.raw
        if reply.outcome == "answered":
            for question in waiting.pop(key):
                yield Outcome(question, record(question, reply)[1])
        elif self.tried[key] >= ROUNDS:
            for question in waiting.pop(key):
                yield Outcome(question, None, f"{reply.reason} (in {ROUNDS} jobs)")

    def _run(self, questions: dict[str, Question]) -> dict[str, Reply]:
        """Send one job, wait for it, keep its answers. A question that the job did not answer has a reply too."""
        replies = self.collect(self._send(questions), questions)
        body = self.dialect.body(next(iter(questions.values())))
        for key, question in questions.items():
            self.spending.settle(question, replies[key])
            self.dialect.learn(body, replies[key])
        return replies

    def _send(self, questions: dict[str, Question]) -> BatchJob:
        times = [[key, self.tried.get(key, 0)] for key in questions]
        name = hashlib.sha256(json.dumps(times).encode()).hexdigest()[:32]
        job = BatchJob(name, None, {key: question.subject for key, question in questions.items()})
        self._remember(job)
        lines = "\n".join(json.dumps(self._line(key, question)) for key, question in questions.items())
        file = self.client.files.create(file=("grip.jsonl", io.BytesIO(lines.encode())), purpose="batch")
        sent = self.client.batches.create(
            input_file_id=file.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={"grip": name},
        )
        job = replace(job, id=sent.id)
        self._remember(job)
        return job

    def _line(self, key: str, question: Question) -> dict[str, Any]:
        body = self.dialect.body(question)
        return {"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": body}

    def _remember(self, job: BatchJob) -> None:
        self.answers.plan_batch(job, self.endpoint.name, self.asker.kind.name)

    def collect_earlier(self) -> None:
        """Wait for the jobs of runs that were killed, and keep their answers."""
        jobs = self.answers.batches(self.endpoint.name, self.asker.kind.name)
        unsure = any(job.id is None for job in jobs)
        there = {(b.metadata or {}).get("grip"): b.id for b in self.client.batches.list(limit=100)} if unsure else {}
        for job in jobs:
            found = job.id or there.get(job.name)
            if found is None:
                self.answers.forget_batch(job.name)  # the run was killed before the service took the job
            else:
                self.collect(replace(job, id=found), {})

    def collect(self, job: BatchJob, questions: dict[str, Question]) -> dict[str, Reply]:
        """Wait for a job and keep its answers. ``questions``: those of the job that are known, by key."""
        batch = self._ended(job)
        lost = Reply("error", f"the batch job is {batch.status} and did not answer it")
        replies = dict.fromkeys(job.subjects, lost)
        for file in filter(None, (batch.output_file_id, batch.error_file_id)):
            for line in self.client.files.content(file).content.splitlines():
                item = _item(line)
                if item and item["custom_id"] in replies:
                    replies[item["custom_id"]] = self._read(item, questions.get(item["custom_id"]))
        rows = [self._row(key, subject, replies[key], questions.get(key)) for key, subject in job.subjects.items()]
        self.answers.keep(self.asker.run_id, rows, batch=job.name)
        return replies

    def _ended(self, job: BatchJob) -> Any:
        """The batch of a job, once it is over."""
        assert job.id is not None
        batch, wait = self.client.batches.retrieve(job.id), min(1.0, self.endpoint.poll)
        while batch.status not in ENDED:
            counts = batch.request_counts
            done = f"{counts.completed:,} of {counts.total:,} answered" if counts else ""
            self.asker.log(f"batch {job.id}: {batch.status} {done}")
            time.sleep(wait)
            wait = min(2 * wait, self.endpoint.poll)
            batch = self.client.batches.retrieve(job.id)
        return batch

    def _read(self, item: dict[str, Any], question: Question | None) -> Reply:
        reader = Reader(self.asker.kind, self.endpoint.key, question)
        response = item.get("response") or {}
        status = response.get("status_code")
        if status == 200:
            return reader.completion(json.dumps(response.get("body")).encode())
        return reader.error(status if isinstance(status, int) else 500, {}, response.get("body"))

    def _row(self, key: str, subject: str, reply: Reply, question: Question | None) -> tuple[Call, Answer | None]:
        """A request as the store keeps it. For a job of an earlier run, the question is not known. The model is then
        the one that answered."""
        if question:
            return record(question, reply)
        model = str(reply.said.get("model", ""))
        call = Call(key, model, reply.outcome, 0, reply.prompt_tokens, reply.completion_tokens, 0.0)
        return call, Answer(key, subject, model, reply.value, reply.said) if reply.outcome == "answered" else None


def _fill(waiting: Waiting, stream: Iterator[tuple[Question, Answer | None]]) -> Iterator[Outcome]:
    """Add the next questions without an answer, as many as one job may have. Yields outcomes of answered ones."""
    size = 0
    for question, answer in stream:
        if answer:
            yield Outcome(question, answer)
            continue
        waiting.setdefault(question.key, []).append(question)
        size += question.most_tokens
        if len(waiting) >= REQUESTS or size >= BYTES:
            return


def _item(line: bytes) -> dict[str, Any] | None:
    try:
        item = json.loads(line)
    except ValueError:
        return None
    return item if isinstance(item, dict) and isinstance(item.get("custom_id"), str) else None
