"""Finds the JSON object in the text of an answer. Reasoning, fences and sentences around it are ignored."""

import json
import re
from collections.abc import Collection
from typing import Any

from grip_assets.llm.question import InvalidAnswer

# How reasoning ends in an answer, by model: Qwen and DeepSeek (some templates open it themselves, so that only its end
# is said), Magistral, Seed, Cohere, Kimi; and the channel of the final message in gpt-oss, with its control tokens or,
# where the server left them out, without.
THOUGHTS = ("think", "thinking", "thought", "reasoning", "reflection", "seed:think")
THOUGHT_ENDS = (*(f"</{name}>" for name in THOUGHTS), "[/THINK]", "<|END_THINKING|>", "◁/think▷")
THOUGHT_BEGINS = (*(f"<{name}>" for name in THOUGHTS), "[THINK]", "<|START_THINKING|>", "◁think▷")
FINAL_CHANNEL = re.compile(
    r"<\|channel\|>\s{0,3}final[^<{]{0,40}(?:<\|constrain\|>\s{0,3}\w{0,20})?\s{0,3}<\|message\|>"
)
OTHER_CHANNEL = re.compile(r"\s{0,3}(?:<\|start\|>assistant)?<\|channel\|>|analysis")
FINAL_WORD = "assistantfinal"
OBJECTS = 200  # opening braces that are tried as the begin of an answer
ANSWER_CHARACTERS = 100_000


def one_object(answer: str, keys: Collection[str]) -> dict[str, Any]:
    """The one JSON object of an answer that asks for ``keys``.

    Where several objects are there, those with one of the keys count, and all of them must be equal. Raises
    InvalidAnswer otherwise; whether the object has all keys, and right values, is for the caller to check.
    """
    if len(answer) > ANSWER_CHARACTERS:
        raise InvalidAnswer(f"the answer has {len(answer):,} characters")
    text = without_reasoning(answer).strip()
    try:
        whole = json.loads(text, object_pairs_hook=_once)
    except InvalidAnswer:
        raise
    except (ValueError, RecursionError):
        objects = _objects(text)
        objects = [found for found in objects if set(found) & set(keys)] or objects[:1]
    else:
        objects = [whole] if isinstance(whole, dict) else []
    if not objects:
        raise InvalidAnswer("the answer holds no JSON object" if text else "the answer is empty")
    if len({json.dumps(found, sort_keys=True) for found in objects}) > 1:
        raise InvalidAnswer("the answer holds several JSON objects that differ")
    return objects[0]


def without_reasoning(answer: str) -> str:
    """The text after the last mark that ends reasoning. InvalidAnswer if reasoning began and did not end."""
    finals = list(FINAL_CHANNEL.finditer(answer))
    if finals:
        return answer[finals[-1].end() :]
    if OTHER_CHANNEL.match(answer):
        if FINAL_WORD in answer:
            return answer.rpartition(FINAL_WORD)[2]
        if not answer.startswith("analysis"):
            raise InvalidAnswer("the answer ends inside its reasoning")
    ends = [answer.rfind(mark) + len(mark) for mark in THOUGHT_ENDS if mark in answer]
    final = answer[max(ends) :] if ends else answer
    if final.lstrip().startswith(THOUGHT_BEGINS):
        raise InvalidAnswer("the answer ends inside its reasoning")
    return final


def _objects(text: str) -> list[dict[str, Any]]:
    """The outermost JSON objects in a text."""
    decoder = json.JSONDecoder(object_pairs_hook=_once)
    found: list[dict[str, Any]] = []
    at = text.find("{")
    for _ in range(OBJECTS):
        if at < 0:
            return found
        try:
            one, end = decoder.raw_decode(text, at)
            found.append(one)
        except InvalidAnswer:
            raise
        except (ValueError, RecursionError):
            end = at + 1
        at = text.find("{", end)
    raise InvalidAnswer(f"the answer has more than {OBJECTS} braces")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidAnswer("the answer has a field twice")
    return found
