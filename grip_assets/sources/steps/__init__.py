"""The steps that documents take into the corpus, one file per step.

A step takes a document. It returns the document, a changed one, or a rejection with its reason.

To add a step, write a subclass of ``base.Step`` in a file of its own and
name it in ``steps_of``, before the ordered steps. Its settings are fields of settings/corpus.
"""

from collections.abc import Iterable, Iterator, Sequence

from grip_assets.settings import Corpus
from grip_assets.sources.documents import RawDocument, Rejected
from grip_assets.sources.steps.base import Outcome, Step
from grip_assets.sources.steps.contamination import Decontamination
from grip_assets.sources.steps.copies import ExactCopies
from grip_assets.sources.steps.languages import DetectLanguages, OfLanguages
from grip_assets.sources.steps.licences import Licences
from grip_assets.sources.steps.masking import Masking, Rule
from grip_assets.sources.steps.personal_data import PersonalData
from grip_assets.sources.steps.secrets import Secrets
from grip_assets.sources.steps.widths import OneWidth

__all__ = ["Step", "in_any_order", "in_pool_order", "steps_of"]


def steps_of(settings: Corpus) -> list[Step]:
    """The steps that the settings ask for, in their order. Each pass over a pool needs new ones: some have a state."""
    decontamination = (
        [Decontamination(settings.benchmarks, settings.test_sets)] if settings.benchmarks or settings.test_sets else []
    )
    return [*_of_languages(settings), *decontamination, *_of_content(settings), OneWidth(), ExactCopies()]


def _of_languages(settings: Corpus) -> list[Step]:
    detected = [DetectLanguages(settings)] if settings.detect_languages != "off" else []
    return [*detected, *([OfLanguages(settings.languages)] if settings.languages else [])]


def _of_content(settings: Corpus) -> list[Step]:
    """Licences first: a secret or a name in a header may be masked after them."""
    licences = [Licences(settings.project_licences)] if settings.licences else []
    rules = [Rule(Secrets(), settings.secrets == "reject")] if settings.secrets != "off" else []
    if settings.personal_data != "off":
        rules.append(Rule(PersonalData(settings.phone_regions), settings.personal_data == "reject"))
    return [*licences, *([Masking(rules)] if rules else [])]


def in_any_order(steps: Sequence[Step], batch: Sequence[Outcome]) -> list[Outcome]:
    """A batch after all steps that look at each document alone. Any thread or process can run this.

    Each document that is left has its name (``doc_id``) afterwards. The hash takes time, so it is computed here.
    """
    for step in (step for step in steps if not step.ordered):
        batch = _after(step, batch)
    for document in batch:
        if isinstance(document, RawDocument):
            _ = document.doc_id  # computed here once, and kept
    return list(batch)


def in_pool_order(steps: Sequence[Step], stream: Iterable[Outcome]) -> Iterator[Outcome]:
    """The stream after all ordered steps. ``stream`` must be in the order of the pool."""
    ordered = [step for step in steps if step.ordered]
    for document in stream:
        for step in ordered:
            if isinstance(document, Rejected):
                break
            document = step.one(document)
        yield document


def _after(step: Step, batch: Sequence[Outcome]) -> list[Outcome]:
    left = iter(step.batch([document for document in batch if isinstance(document, RawDocument)]))
    return [next(left) if isinstance(document, RawDocument) else document for document in batch]
