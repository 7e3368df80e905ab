"""The LLM judge asks a language model one question per document, live or as batch jobs.

It makes verdicts of the answers. The folder llm/ sends the questions, limits their pace and cost, and keeps the
answers.
"""

from collections.abc import Callable, Iterable, Iterator

from grip_assets.judges.base import Document, Verdict
from grip_assets.judges.prompt import KIND, Prompt, Prompter
from grip_assets.llm.answers import Answers
from grip_assets.llm.asker import Asker, Forecast, Outcome
from grip_assets.llm.batch import BatchAsker
from grip_assets.llm.spending import Caps, must_be_set
from grip_assets.settings import Quality

ASKERS: dict[str, type[Asker]] = {"live": Asker, "batch": BatchAsker}  # by settings/quality.mode


class LlmJudge:
    """Verdicts by a language model. It is not asked again for answers that are in the store."""

    name = "llm"

    def __init__(self, settings: Quality, answers: Answers, run_id: str, log: Callable[[str], None] = print):
        """Raises GripError if a setting is missing. Nothing is sent yet."""
        must_be_set(settings)
        caps = Caps(settings.max_calls, settings.max_cost, settings.cost)
        self.asker = ASKERS[settings.mode](KIND, caps, answers, run_id, log)
        self.prompter = Prompter(settings)

    def judge(self, documents: Iterable[Document], repeat: int = 0) -> Iterator[Verdict]:
        """Verdicts as they come, in any order. ``repeat`` above 0 asks the same questions once more.

        Raises as ``Asker.ask`` does: Capped if a cap is reached, GripError if the endpoint cannot be used.
        """
        for outcome in self.asker.ask(self.prompts(documents, repeat)):
            yield verdict(outcome)

    def forecast(self, documents: Iterable[Document], repeat: int = 0) -> Forecast:
        """The calls and tokens that judging the documents needs if no request fails. Nothing is sent."""
        return self.asker.forecast(self.prompts(documents, repeat))

    def prompts(self, documents: Iterable[Document], repeat: int = 0) -> Iterator[Prompt]:
        return (self.prompter(document, repeat) for document in documents)

    def hint(self) -> str:
        """What the user should check if no answer was usable."""
        return self.asker.hint()

    def close(self) -> None:
        self.asker.answers.close()


def verdict(outcome: Outcome) -> Verdict:
    """The verdict on the document of a Prompt."""
    prompt, answer = outcome.question, outcome.answer
    assert isinstance(prompt, Prompt)
    parts = {"shown": prompt.shown, "n_chars": prompt.document_chars, "key": prompt.key}
    if answer is None:
        return Verdict(prompt.subject, prompt.model, status="failed", reason=outcome.reason, parts=parts)
    return Verdict(prompt.subject, prompt.model, answer.value, parts=parts | answer.said)
