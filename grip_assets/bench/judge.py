"""judge: how near the LLM judge comes to slots / latency answers per second. Every answer is synced to disk."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from grip_assets.bench import Result, interleaved
from grip_assets.judges.base import Document
from grip_assets.judges.llm import LlmJudge
from grip_assets.judges.prompt import Prompt, Prompter, parse
from grip_assets.llm.answers import Answers
from grip_assets.settings import Quality

SLOTS, LATENCY = 32, 0.05


def judge(quick: bool) -> Iterator[Result]:
    settings = Quality(judge="llm", model="m")
    documents = [Document(f"{i:032x}", f"# {i}\n" + SOURCE, "python") for i in range(500 if quick else 2000)]
    prompts = [Prompter(settings)(document) for document in documents]
    with _server() as url, tempfile.TemporaryDirectory() as folder:
        os.environ |= {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "none", "GRIP_JUDGE_CONCURRENCY": str(SLOTS)}
        runs = iter(range(1000))

        def ours() -> None:
            answers = Answers(Path(folder) / f"{next(runs)}.sqlite")  # a new, empty store each time
            found = list(LlmJudge(settings, answers, "run").judge(documents))
            answers.close()
            assert all(verdict.status == "ok" for verdict in found)

        taken = interleaved(ours, lambda: asyncio.run(_plain_loop(url, prompts)), 1 if quick else 5)
    share = len(documents) / taken.ours_s / (SLOTS / LATENCY)
    plain = len(documents) / taken.theirs_s / (SLOTS / LATENCY)
    note = f"share of slots / latency, every answer synced (theirs {plain:.3f}, nothing kept)"
    yield taken.result("judge", "openai client in a loop", share, note)


SOURCE = "def area(width, height):\n    # in square metres\n    return width * height\n\n" * 30


async def _plain_loop(url: str, prompts: list[Prompt]) -> None:
    """The code that a user would write: the client, a semaphore, and the answers in memory."""
    import openai

    slots = asyncio.Semaphore(SLOTS)
    async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:

        async def ask(prompt: Prompt) -> dict[str, float]:
            async with slots:
                done = await client.chat.completions.create(**prompt.body)
                return parse(done.choices[0].message.content or "")

        await asyncio.gather(*(ask(prompt) for prompt in prompts))


@contextmanager
def _server() -> Iterator[str]:
    """The fake endpoint in its own process."""
    words = [sys.executable, "-m", "grip_assets.bench.endpoint", "--port", "0", "--latency", str(LATENCY)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip().removeprefix("OPENAI_BASE_URL=")
        finally:
            server.kill()
