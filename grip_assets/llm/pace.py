"""Limits the speed of requests: rates, and slots that adapt to a busy endpoint. Caps on spending are in spending.py."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from grip_assets.extras import missing
from grip_assets.llm.endpoint import Endpoint
from grip_assets.llm.reply import Reply

try:
    from aiolimiter import AsyncLimiter
except ImportError as error:
    raise missing("llm", "The LLM judge (settings/quality.judge)", error) from None

LONGEST_BACKOFF = 60.0


class Pace:
    """Lets requests go: at most ``concurrency`` at once, within the rates, and slower while the endpoint is busy.

    A busy reply halves the slots (once for all requests under way, as in TCP), and an answer adds a fraction of one.
    ``Retry-After`` pauses every slot, since the limit is on the key, not on the request.
    """

    def __init__(self, endpoint: Endpoint):
        self.endpoint = endpoint
        self.slots = float(endpoint.concurrency)
        self.active = 0
        self.changed = asyncio.Condition()
        self.paused_until = self.cut_at = 0.0
        self.answered_at = time.monotonic()
        self.failures = 0
        self.requests = _limiter(endpoint.requests_per_minute, seconds=1)
        self.tokens = _limiter(endpoint.tokens_per_minute, seconds=15)

    @asynccontextmanager
    async def turn(self, tokens: float) -> AsyncIterator[None]:
        """Wait for a turn, and hold it while the block runs. ``tokens``: about how many tokens the request will use."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.active < int(self.slots))
            self.active += 1
        try:
            await self._until_free(tokens)
            yield
        finally:
            self.active -= 1
            async with self.changed:
                self.changed.notify_all()

    async def _until_free(self, tokens: float) -> None:
        """Wait until the rates allow a request and the endpoint has not asked for a pause. If it asks for one while we
        wait, wait again, so that queued requests are not all sent at once."""
        while True:
            while (wait := self.paused_until - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            if self.tokens:
                await self.tokens.acquire(min(tokens, self.tokens.max_rate))
            if self.requests:
                await self.requests.acquire()
            if self.paused_until <= time.monotonic():
                return

    def adapt(self, reply: Reply, attempt: int) -> float:
        """Adapt slots and pauses to a reply. Returns the seconds after which its question may be asked again."""
        now = time.monotonic()
        if reply.outcome in ("answered", "invalid"):
            self.answered_at, self.failures = now, 0
            self.slots = min(self.slots + 1 / self.slots, float(self.endpoint.concurrency))
        elif reply.outcome == "refused":  # the server is up: a refusal counts as an answer
            self.answered_at = now
        else:
            self.failures += 1
        wait = self.backoff(attempt)
        if reply.outcome == "busy" or self.failures > self.endpoint.concurrency:
            if now - reply.seconds >= self.cut_at:
                self.slots, self.cut_at = max(self.slots / 2, 1.0), now
            held = reply.retry_after if reply.retry_after is not None else 0.0
            if self.failures > self.endpoint.concurrency:
                held = max(held, self.backoff(self.failures // self.endpoint.concurrency))
            self.paused_until = max(self.paused_until, now + held)
        return max(wait, reply.retry_after or 0.0)

    def backoff(self, attempt: int) -> float:
        """Exponential, with jitter so that slots do not come back together."""
        longest = min(self.endpoint.backoff * 2.0 ** min(attempt, 30), LONGEST_BACKOFF)
        return longest * random.uniform(0.5, 1.0)

    def out_of_patience(self) -> bool:
        """Whether there were only failures for a long time. Then the endpoint is down, and documents must not fail."""
        silent = time.monotonic() - self.answered_at > self.endpoint.patience
        return silent and self.failures >= self.endpoint.attempts


def _limiter(per_minute: float | None, seconds: float) -> AsyncLimiter | None:
    """A leaky bucket that holds ``seconds`` worth of the rate, and one request at least."""
    if per_minute is None:
        return None
    burst = max(per_minute / 60 * seconds, 1.0)
    return AsyncLimiter(burst, burst / (per_minute / 60))
