"""Asks many questions of one kind, each once, over one endpoint.

Slots take questions from one stream. A question that failed waits in a queue, so that its slot is free for others. A
slot stores its answer, synced, before it asks the next question, so a kill loses only the requests under way. Batch
jobs are in batch.py.
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
from grip_assets.llm.answers import Answer, Answers, Call
from grip_assets.llm.endpoint import Client, Dialect, Endpoint, clients, endpoint
from grip_assets.llm.pace import Pace
from grip_assets.llm.question import Kind, Question
from grip_assets.llm.reply import Reply
from grip_assets.llm.spending import Caps, Spending

LEARNING_ATTEMPTS = 4
TOKENS_PER_CHAR = 1 / 3.5  # of code; used until the model's own rate is known
TOKENS_PER_ANSWER = 60
HOPELESS = 50  # failed questions without a single answer, after which more would only cost more
LOOKUP = 16  # questions whose answers are looked up at once: few, since the slots wait meanwhile
INVALID_ATTEMPTS = 3  # a model that does not answer in three tries rarely does in eight, and each is paid


@dataclass(frozen=True)
class Outcome:
    """The result of a question: its answer, or None and the reason why there is none."""

    question: Question
    answer: Answer | None
    reason: str = ""


@dataclass(frozen=True)
class Forecast:
    """Calls and tokens that asking needs if no request fails."""

    calls: int
    prompt_tokens: float
    completion_tokens: float


class Asker:
    """Asks questions of one kind. Those whose answer is in the store are not asked again.

    ``run_id``: the caps count all calls that were made under it; two askers with caps of their own in one run need two.
    """

    def __init__(self, kind: Kind, caps: Caps, answers: Answers, run_id: str, log: Callable[[str], None] = print):
        self.kind, self.caps, self.answers, self.run_id, self.log = kind, caps, answers, run_id, log
        self.example = ""  # the beginning of the first answer that could not be read

    @cached_property
    def endpoint(self) -> Endpoint:
        return endpoint()

    def ask(self, questions: Iterable[Question]) -> Iterator[Outcome]:
        """Outcomes as they come, in any order, one for each question.

        Raises Capped if a cap stops it before the last question. Raises GripError if the endpoint denies the key or the
        model, or does not answer at all. All answers so far are kept.
        """
        session = Session(self, questions)
        loop = asyncio.new_event_loop()
        task = loop.create_task(session.run())
        try:
            while not task.done() or session.outcomes:
                loop.run_until_complete(session.wait(task))
                outcomes, session.outcomes = session.outcomes, []
                yield from outcomes
            task.result()
        finally:
            task.cancel()
            loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
            loop.close()

    def known(self, questions: Iterable[Question]) -> Iterator[tuple[Question, Answer | None]]:
        """Each question, with its answer if the store has one, else None."""
        stream = iter(questions)
        while some := list(itertools.islice(stream, LOOKUP)):
            have = {answer.key: answer for answer in self.answers.find(q.key for q in some)}
            for question in some:
                yield question, have.get(question.key)

    def forecast(self, questions: Iterable[Question]) -> Forecast:
        """What asking the questions would need. Nothing is sent."""
        new = {question.key: question for question, answer in self.known(questions) if not answer}
        prompt_tokens = completion_tokens = 0.0
        for model in {question.model for question in new.values()}:
            per_char, per_answer = self.answers.usual(model) or (TOKENS_PER_CHAR, TOKENS_PER_ANSWER)
            chars = [question.n_chars for question in new.values() if question.model == model]
            prompt_tokens += sum(chars) * per_char
            completion_tokens += len(chars) * per_answer
        return Forecast(len(new), prompt_tokens, completion_tokens)

    def hint(self) -> str:
        """Advice for an error, if no answer was usable: the beginning of the first one, and settings to change."""
        answer = f' The first answer begins: "{self.example}".' if self.example else ""
        group = self.kind.settings
        return (
            f"{answer} Name a model that follows instructions ({group}.model), or raise {group}.max_tokens where it"
            " reasons first or was cut, or switch its reasoning off at the server."
        )

    def new_spending(self) -> Spending:
        return Spending(self.caps, self.answers.spent(self.run_id), self.kind.settings)


@dataclass(order=True)
class Task:
    """A question to ask, not before ``due``. ``attempt``: how often it was asked. ``invalid``: its unusable answers."""

    due: float
    number: int
    question: Question = field(compare=False)
    attempt: int = field(default=0, compare=False)
    invalid: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Accept:
    """The reply is an answer."""


@dataclass(frozen=True)
class Retry:
    """Ask again after ``wait`` seconds."""

    wait: float


@dataclass(frozen=True)
class Fail:
    """The question has no answer; the others go on."""

    reason: str


@dataclass(frozen=True)
class Stop:
    """Nothing more can be asked."""

    error: GripError


class Session:
    """One pass over a stream of questions. It is made before its event loop and runs in it."""

    def __init__(self, asker: Asker, questions: Iterable[Question]):
        self.asker, self.endpoint, self.answers = asker, asker.endpoint, asker.answers
        self.stream = asker.known(questions)
        self.dialect, self.pace, self.spending = Dialect(), Pace(self.endpoint), asker.new_spending()
        self.clients = clients(self.endpoint, self.dialect)
        self.keeper = Keeper(asker.answers, asker.run_id)
        self.outcomes: list[Outcome] = []
        self.asked: set[str] = set()
        self.pending: dict[str, list[Question]] = {}  # questions that wait for the answer of a key
        self.retries: list[Task] = []  # a heap
        self.numbers = itertools.count()
        self.tokens_per_char: dict[str, float] = {}  # by model
        self.capped: Capped | None = None
        self.stopped = asyncio.Event()
        self.n_answered = self.n_failed = 0

    async def wait(self, task: asyncio.Task) -> None:
        """Wait until the task is done, or for 0.05 s, so that several outcomes come at once."""
        if not self.outcomes and not task.done():
            await asyncio.wait([task], timeout=0.05)

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for i in range(self.endpoint.concurrency):
                    group.create_task(self._slot(self.clients[i % len(self.clients)]))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            for client in self.clients:
                await client.close()
        if self.capped:
            raise self.capped

    async def _slot(self, client: Client) -> None:
        while task := self._next():
            if (wait := task.due - time.monotonic()) > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.stopped.wait(), wait)
            if not self.capped:
                await self._ask(task, client)

    def _next(self) -> Task | None:
        """A retry that is due, else a new question, else the retry that is due first."""
        if self.capped:
            return None
        if self.retries and self.retries[0].due <= time.monotonic():
            return heapq.heappop(self.retries)
        for question, known in self.stream:
            if answer := known or self._answered_meanwhile(question):
                self.outcomes.append(Outcome(question, answer))
            elif question.key in self.pending:
                self.pending[question.key].append(question)
            else:
                self.asked.add(question.key)
                self.pending[question.key] = [question]
                return Task(0.0, next(self.numbers), question)
        return heapq.heappop(self.retries) if self.retries else None

    def _answered_meanwhile(self, question: Question) -> Answer | None:
        """The answer, if another document with the same prompt was asked about in this session."""
        return next(self.answers.find([question.key]), None) if question.key in self.asked else None

    async def _ask(self, task: Task, client: Client) -> None:
        question = task.question
        async with self.pace.turn(self._tokens(question)):
            try:
                await self.spending.hold(question)
            except Capped as capped:
                self.capped = capped
                self.stopped.set()
                return
            reply = await client.send(question)
            self.spending.settle(question, reply)
        self.asker.example = self.asker.example or reply.raw
        wait = self.pace.adapt(reply, task.attempt)
        task.attempt += 1
        task.invalid += reply.outcome == "invalid"
        call, answer = record(question, reply)
        await self.keeper.keep(call, answer)
        self._act(task, self.decide(task, reply, wait), answer)

    def _tokens(self, question: Question) -> float:
        """About how many tokens asking it uses."""
        model = question.model
        if model not in self.tokens_per_char:
            usual = self.answers.usual(model)
            self.tokens_per_char[model] = usual[0] if usual else TOKENS_PER_CHAR
        return question.n_chars * self.tokens_per_char[model] + question.max_tokens

    def decide(self, task: Task, reply: Reply, wait: float) -> Accept | Retry | Fail | Stop:
        """Decide what to do after a reply, without doing it. ``wait``: seconds that the pace wants before a retry."""
        if reply.outcome == "answered":
            return Accept()
        if error := self._end(reply):
            return Stop(error)
        if reply.learned and task.attempt < LEARNING_ATTEMPTS:  # ask again in another form
            return Retry(0.0)
        tried = task.attempt >= self.endpoint.attempts or task.invalid >= INVALID_ATTEMPTS
        if tried or reply.outcome == "refused":
            return Fail(f"{reply.reason} ({task.attempt} attempts)")
        return Retry(wait)

    def _end(self, reply: Reply) -> GripError | None:
        """The error that ends all asking, if the reply is a reason for one."""
        name, patience = self.endpoint.name, self.endpoint.patience
        if reply.outcome == "denied":
            return GripError(f"{name} does not serve the {self.asker.kind.name}: {reply.reason}.")
        if (reply.retry_after or 0.0) > patience:
            return Unfinished(
                f"{name} asks to wait {reply.retry_after:,.0f} s, which is more than GRIP_JUDGE_PATIENCE."
                " Everything answered is kept; run again later."
            )
        if self.pace.out_of_patience():
            return Unfinished(
                f"{name} has given no answer for {patience:g} s; the last reason: {reply.reason}."
                " Everything answered is kept; run again when it is back."
            )
        return None

    def _act(self, task: Task, decision: Accept | Retry | Fail | Stop, answer: Answer | None) -> None:
        match decision:
            case Accept():
                self.n_answered += 1
                self.outcomes += [Outcome(q, answer) for q in self.pending.pop(task.question.key)]
            case Retry(wait):
                task.due = time.monotonic() + wait
                heapq.heappush(self.retries, task)
            case Fail(reason):
                self.outcomes += [Outcome(q, None, reason) for q in self.pending.pop(task.question.key)]
                self.n_failed += 1
                self._check_hope(reason)
            case Stop(error):
                raise error

    def _check_hope(self, reason: str) -> None:
        """GripError if many questions failed and none was answered, since the others would only cost money."""
        if self.n_failed >= HOPELESS and not self.n_answered:
            raise GripError(
                f"{self.endpoint.name} gave no usable answer for any of {self.n_failed} questions; the last reason:"
                f" {reason}. Check settings/{self.asker.kind.settings}.model and OPENAI_BASE_URL.{self.asker.hint()}"
            )


def record(question: Question, reply: Reply) -> tuple[Call, Answer | None]:
    """A request as the store keeps it, with its answer if there is one."""
    tokens = (reply.prompt_tokens, reply.completion_tokens)
    call = Call(question.key, question.model, reply.outcome, question.n_chars, *tokens, reply.seconds)
    if reply.outcome != "answered":
        return call, None
    return call, Answer(question.key, question.subject, question.model, reply.value, reply.said)


class Keeper:
    """Group commit: all answers of one turn of the event loop are synced in one transaction.

    This blocks the loop. A thread would not, but it was slower, since each of its steps waits for the interpreter.
    """

    def __init__(self, answers: Answers, run_id: str):
        self.answers, self.run_id = answers, run_id
        self.pending: list[tuple[Call, Answer | None]] = []
        self.kept: asyncio.Future | None = None  # done when what is pending is durable

    async def keep(self, call: Call, answer: Answer | None) -> None:
        """Returns when the call and its answer are durable. GripError if they cannot be kept."""
        loop = asyncio.get_running_loop()
        if self.kept is None:
            self.kept = loop.create_future()
            loop.call_soon(self._commit, self.kept)
        self.pending.append((call, answer))
        await asyncio.shield(self.kept)

    def _commit(self, kept: asyncio.Future) -> None:
        rows, self.pending, self.kept = self.pending, [], None
        try:
            self.answers.keep(self.run_id, rows)
            kept.set_result(None)
        except sqlite3.Error as error:
            kept.set_exception(GripError(f"An answer could not be kept in {self.answers.path}: {error}."))
