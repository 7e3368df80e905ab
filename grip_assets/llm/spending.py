"""Hard caps on the calls and the cost of one run. The pace of the calls is in pace.py."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from grip_assets.errors import Capped, GripError
from grip_assets.llm.answers import Spent
from grip_assets.llm.question import Question
from grip_assets.llm.reply import Reply


@dataclass(frozen=True)
class Caps:
    """``max_calls`` and ``max_cost``: None if there is no cap. ``cost``: the cost of a number of prompt tokens and a
    number of answer tokens, in the unit of ``max_cost``."""

    max_calls: int | None
    max_cost: float | None
    cost: Callable[[float, float], float]


class Asking(Protocol):
    """The fields of a settings group by whose values a model is asked."""

    name: ClassVar[str]

    @property
    def model(self) -> str: ...
    @property
    def max_cost(self) -> float | None: ...
    @property
    def price_in(self) -> float | None: ...
    @property
    def price_out(self) -> float | None: ...


def must_be_set(settings: Asking) -> None:
    """GripError if the model is not named, or if the cost is capped and no price is known."""
    group = settings.name
    if not settings.model:
        raise GripError(f"settings/{group}.model is not set: name a model that the endpoint serves.")
    if settings.max_cost is not None and settings.price_in is None and settings.price_out is None:
        raise GripError(f"settings/{group}.max_cost needs prices: set {group}.price_in and {group}.price_out.")


class Spending:
    """The caps of one run. No request is sent that could exceed them.

    A request counts with the most that it can cost, until its usage is known. This
    stays so if its answer is lost or reports no usage.
    ``before``: what the run has spent already. ``settings``: the settings group with the caps, for errors.
    """

    def __init__(self, caps: Caps, before: Spent, settings: str):
        self.caps, self.settings = caps, settings
        self.calls = before.calls
        self.cost = caps.cost(before.prompt_tokens, before.completion_tokens)
        self.held, self.under_way = 0.0, 0
        self.settled = asyncio.Event()

    def most(self, question: Question) -> float:
        """An upper bound for the cost of a question."""
        return self.caps.cost(question.most_tokens, question.max_tokens)

    def fits(self, question: Question) -> bool:
        """Whether the request would stay within the caps, whatever it uses."""
        most = self.caps.max_cost
        return not self.all_called() and (most is None or self.cost + self.held + self.most(question) <= most)

    def all_called(self) -> bool:
        return self.caps.max_calls is not None and self.calls >= self.caps.max_calls

    def capped(self) -> Capped:
        """The error that says which cap is reached."""
        if self.all_called():
            return Capped(f"the cap of {self.caps.max_calls:,} calls ({self.settings}.max_calls) is reached")
        spent = f"{self.cost:.4f} spent"
        return Capped(f"the cap of {self.caps.max_cost:g} ({self.settings}.max_cost) is reached: {spent}")

    async def hold(self, question: Question) -> None:
        """Count a request before it is sent. Raises Capped if it could exceed a cap.

        A request under way may cost less than the most that it counts with, so this waits for it first.
        """
        while not self.fits(question):
            if self.all_called() or not self.under_way:
                raise self.capped()
            self.settled.clear()
            await self.settled.wait()
        self.count(question)

    def count(self, question: Question) -> None:
        self.calls += 1
        self.held, self.under_way = self.held + self.most(question), self.under_way + 1

    def settle(self, question: Question, reply: Reply) -> None:
        """Replace the most that a request could cost by its cost."""
        most = self.most(question)
        self.under_way -= 1
        self.held = self.held - most if self.under_way else 0.0
        unknown = reply.outcome == "lost" or (reply.outcome in ("answered", "invalid") and not reply.prompt_tokens)
        self.cost += most if unknown else self.caps.cost(reply.prompt_tokens, reply.completion_tokens)
        self.settled.set()
