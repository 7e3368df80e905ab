"""The LLM judge: many documents over one endpoint, each asked about once.

Slots take documents from one stream; a document that failed goes back into a queue and waits there, so that no slot
does. An answer is in the store, synced, before its slot asks the next thing: a kill loses what was under way, no more.
"""

import asyncio
import heapq
import itertools
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

from grip_assets.errors import Capped, GripError, Unfinished
from grip_assets.judges.base import Document, Verdict
from grip_assets.judges.prompt import Prompt, Prompter
from grip_assets.llm.answers import Answer, Answers, Call
from grip_assets.llm.endpoint import Client, Endpoint, Reply, Takes, clients, endpoint
from grip_assets.llm.pace import Pace, Spending
from grip_assets.settings import Quality

LEARNING_ATTEMPTS = 4
TOKENS_PER_CHAR = 1 / 3.5  # of code, before the model has said it itself
TOKENS_PER_ANSWER = 60
HOPELESS = 50  # failed documents without a single answer, after which more would only cost more
LOOKUP = 16  # documents whose answers are looked up at once: few, since the slots wait meanwhile
INVALID_ATTEMPTS = 3  # a model that does not answer in three tries rarely does in eight, and each is paid


@dataclass(order=True)
class Task:
    """A document that is to be asked about, not before ``due``."""

    due: float
    number: int
    prompt: Prompt = field(compare=False)
    attempt: int = field(default=0, compare=False)
    invalid: int = field(default=0, compare=False)


class LlmJudge:
    """Verdicts by a language model; what is in the store is not asked for again."""

    name = "llm"

    def __init__(self, settings: Quality, answers: Answers, run_id: str, log: Callable[[str], None] = print):
        """GripError where a setting is missing; nothing is sent yet."""
        if not settings.model:
            raise GripError("settings/quality.model is not set: name a model that the endpoint serves.")
        if settings.max_cost is not None and settings.price_in is None and settings.price_out is None:
            raise GripError("settings/quality.max_cost needs prices: set quality.price_in and quality.price_out.")
        self.settings, self.answers, self.run_id, self.log = settings, answers, run_id, log
        self.prompter = Prompter(settings)
        self.example = ""  # the begin of the first answer that was none

    def hint(self) -> str:
        """What to look at where no answer was usable: the first one, and what can be set."""
        answer = f' The first answer begins: "{self.example}".' if self.example else ""
        return (
            f"{answer} Name a model that follows instructions (quality.model), or raise quality.max_tokens where it"
            " reasons first or was cut, or switch its reasoning off at the server."
        )

    @cached_property
    def endpoint(self) -> Endpoint:
        return endpoint()

    def judge(self, documents: Iterable[Document], repeat: int = 0) -> Iterator[Verdict]:
        """Verdicts as they come, in any order. ``repeat`` above 0 asks again what was asked before.

        Raises Capped when a cap stopped it before the last document, and GripError when the endpoint denies the
        key or the model or does not answer at all; what was answered is kept.
        """
        loop = asyncio.new_event_loop()
        asking = _Asking(self, documents, repeat)
        task = loop.create_task(asking.run())
        try:
            while not task.done() or asking.verdicts:
                loop.run_until_complete(asking.wait(task))
                found, asking.verdicts = asking.verdicts, []
                yield from found
            task.result()
        finally:
            task.cancel()
            loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
            loop.close()

    def known(self, documents: Iterable[Document], repeat: int = 0) -> Iterator[tuple[Prompt, Answer | None]]:
        """Each document's prompt and, where there is one, its answer."""
        stream = iter(documents)
        while some := [self.prompter(d, repeat) for d in itertools.islice(stream, LOOKUP)]:
            have = {answer.key: answer for answer in self.answers.find(p.key for p in some)}
            for prompt in some:
                yield prompt, have.get(prompt.key)

    def forecast(self, documents: Iterable[Document], repeat: int = 0) -> "Forecast":
        """What judging the documents would ask and cost if no request failed. Nothing is sent."""
        new = {prompt.key: n_chars(prompt) for prompt, answer in self.known(documents, repeat) if not answer}
        per_char, per_answer = self.answers.usual(self.settings.model) or (TOKENS_PER_CHAR, TOKENS_PER_ANSWER)
        return Forecast(len(new), sum(new.values()) * per_char, len(new) * per_answer)


@dataclass(frozen=True)
class Forecast:
    calls: int
    prompt_tokens: float
    completion_tokens: float


def verdict(prompt: Prompt, answer: Answer) -> Verdict:
    return Verdict(prompt.doc_id, prompt.body["model"], answer.scores, parts=shown(prompt) | answer.said)


def failed(prompt: Prompt, reason: str) -> Verdict:
    return Verdict(prompt.doc_id, prompt.body["model"], status="failed", reason=reason, parts=shown(prompt))


def n_chars(prompt: Prompt) -> int:
    """Characters of all that is sent, the rubric too."""
    return sum(len(message["content"]) for message in prompt.body["messages"])


def shown(prompt: Prompt) -> dict[str, object]:
    return {"shown": prompt.shown, "n_chars": prompt.n_chars, "key": prompt.key}


class _Asking:
    """One pass over a stream of documents, inside one event loop."""

    def __init__(self, judge: LlmJudge, documents: Iterable[Document], repeat: int):
        self.judge, self.model, self.endpoint = judge, judge.settings.model, judge.endpoint
        self.stream = judge.known(documents, repeat)
        self.numbers = itertools.count()
        self.waiting: list[Task] = []
        self.verdicts: list[Verdict] = []
        self.asked: set[str] = set()
        self.pending: dict[str, list[Prompt]] = {}  # documents that wait for the answer of a key
        self.capped: Capped | None = None
        self.n_answered = self.n_failed = 0

    async def wait(self, task: asyncio.Task) -> None:
        """Until there are verdicts, or all is done; a little longer, so that several come at once."""
        if not self.verdicts and not task.done():
            await asyncio.wait([task], timeout=0.05)

    async def run(self) -> None:
        self.takes, self.pace, self.stop = Takes(), Pace(self.endpoint), asyncio.Event()
        self.clients = clients(self.endpoint, self.takes)
        self.spending = Spending(self.judge.settings, self.judge.answers.spent(self.judge.run_id))
        usual = self.judge.answers.usual(self.model)
        self.tokens_per_char = usual[0] if usual else TOKENS_PER_CHAR
        self.keeper = _Keeper(self.judge.answers, self.judge.run_id)
        try:
            async with asyncio.TaskGroup() as group:
                for i in range(self.endpoint.concurrency):
                    group.create_task(self.slot(self.clients[i % len(self.clients)]))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            for client in self.clients:
                await client.close()
        if self.capped:
            raise self.capped

    async def slot(self, client: Client) -> None:
        while task := self.next():
            if (wait := task.due - time.monotonic()) > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.stop.wait(), wait)
            if not self.capped:
                await self.ask(task, client)

    def next(self) -> Task | None:
        """A retry that is due, else a new document, else the retry that is due first."""
        if self.capped:
            return None
        if self.waiting and self.waiting[0].due <= time.monotonic():
            return heapq.heappop(self.waiting)
        for prompt, found in self.stream:
            twin = prompt.key in self.asked  # two documents that look the same to the judge: one question
            answer = found or (next(self.judge.answers.find([prompt.key]), None) if twin else None)
            if answer:
                self.verdicts.append(verdict(prompt, answer))
            elif prompt.key in self.pending:
                self.pending[prompt.key].append(prompt)
            else:
                self.asked.add(prompt.key)
                self.pending[prompt.key] = [prompt]
                return Task(0.0, next(self.numbers), prompt)
        return heapq.heappop(self.waiting) if self.waiting else None

    async def ask(self, task: Task, client: Client) -> None:
        prompt = task.prompt
        async with self.pace.turn(n_chars(prompt) * self.tokens_per_char + self.judge.settings.max_tokens):
            try:
                await self.spending.hold(prompt)
            except Capped as capped:
                self.capped = capped
                self.stop.set()
                return
            before = self.takes.state()
            reply = await client.send(prompt)
            self.spending.settle(prompt, reply)
        self.judge.example = self.judge.example or reply.raw
        wait = self.pace.saw(reply, task.attempt)
        call = Call(
            prompt.key,
            self.model,
            reply.outcome,
            n_chars(prompt),
            reply.prompt_tokens,
            reply.completion_tokens,
            reply.seconds,
        )
        if reply.outcome == "answered":
            answer = Answer(prompt.key, prompt.doc_id, self.model, reply.scores, reply.said)
            await self.keeper.keep(call, answer)
            self.n_answered += 1
            self.verdicts += [verdict(p, answer) for p in self.pending.pop(prompt.key)]
            return
        await self.keeper.keep(call, None)
        if reply.outcome == "denied":
            raise GripError(f"{self.endpoint.name} does not serve the judge: {reply.reason}.")
        if (reply.retry_after or 0.0) > self.endpoint.patience:
            raise Unfinished(
                f"{self.endpoint.name} asks to wait {reply.retry_after:,.0f} s, which is more than GRIP_JUDGE_PATIENCE."
                " Everything answered is kept; run again later."
            )
        if self.pace.out_of_patience():
            raise Unfinished(
                f"{self.endpoint.name} has given no answer for {self.endpoint.patience:g} s; the last reason:"
                f" {reply.reason}. Everything answered is kept; run again when it is back."
            )
        learned = reply.outcome == "refused" and self.takes.state() != before
        self.again_or_fail(task, reply, wait, learned)

    def again_or_fail(self, task: Task, reply: Reply, wait: float, learned: bool) -> None:
        task.attempt += 1
        task.invalid += reply.outcome == "invalid"
        tried = task.attempt >= self.endpoint.attempts or task.invalid >= INVALID_ATTEMPTS
        if learned and task.attempt < LEARNING_ATTEMPTS:  # it was our way of asking that was refused
            task.due = 0.0
        elif reply.outcome != "refused" and not tried:
            task.due = time.monotonic() + wait
        else:
            reason = f"{reply.reason} ({task.attempt} attempts)"
            self.verdicts += [failed(p, reason) for p in self.pending.pop(task.prompt.key)]
            self.n_failed += 1
            if self.n_failed >= HOPELESS and not self.n_answered:
                raise GripError(
                    f"{self.endpoint.name} gave no usable answer for any of {self.n_failed} documents; the last reason:"
                    f" {reason}. Check settings/quality.model and OPENAI_BASE_URL.{self.judge.hint()}"
                )
            return
        heapq.heappush(self.waiting, task)


class _Keeper:
    """Group commit: what came in one turn of the event loop is synced in one transaction.

    It blocks the loop meanwhile. A thread would not, and was slower: each of its steps waits for the interpreter.
    """

    def __init__(self, answers: Answers, run_id: str):
        self.answers, self.run_id = answers, run_id
        self.pending: list[tuple[Call, Answer | None]] = []
        self.kept: asyncio.Future = asyncio.get_running_loop().create_future()

    async def keep(self, call: Call, answer: Answer | None) -> None:
        """Returns when it is durable; GripError where it cannot be kept."""
        if not self.pending:
            asyncio.get_running_loop().call_soon(self.commit)
        self.pending.append((call, answer))
        await asyncio.shield(self.kept)

    def commit(self) -> None:
        rows, self.pending = self.pending, []
        kept, self.kept = self.kept, asyncio.get_running_loop().create_future()
        try:
            self.answers.keep(self.run_id, rows)
            kept.set_result(None)
        except sqlite3.Error as error:
            kept.set_exception(GripError(f"An answer could not be kept in {self.answers.path}: {error}."))
