"""Settings of the pool: where its documents are, how they are read and what they are rejected for."""

import re
from typing import Literal, get_args
from urllib.parse import urlsplit

from pydantic import ValidationInfo, field_validator

from grip_assets.settings.fields import Not, knob, trait
from grip_assets.settings.group import Group
from grip_assets.settings.sources import PoolSource, consistent

Benchmark = Literal["humaneval"]
BENCHMARKS: tuple[str, ...] = get_args(Benchmark)


class Corpus(Group):
    """Which documents are in the pool."""

    name = "corpus"

    path: str | None = knob(
        None,
        "Folder, file or URL of the pool. null: the source code installed on this machine.",
        "D",
        given=True,
    )
    sources: list[PoolSource] = knob(
        [],
        "Sources of the pool instead of one path, each with name, path and role (select or keep), and with its own"
        " columns; or the name of a YAML file that lists them. Empty: the pool is at path.",
        given=True,
        added=True,
    )
    format: str | None = knob(
        None,
        "Format: folder, jsonl, parquet, huggingface, arrow, csv, warc, wet, webdataset or environment. null:"
        " recognised from the path.",
        given=True,
    )
    text_field: str | None = knob(None, "Column with the text. null: the first of text, content and code.", given=True)
    id_field: str | None = knob(None, "Column with the document's name. null: file and line.", given=True)
    extractor: Literal["resiliparse", "trafilatura"] = knob(
        "resiliparse",
        "Library that takes the text out of the pages of a web archive (format=warc).",
        given=True,
        added=True,
    )
    max_bytes: int = knob(10_000_000, "Longer documents are rejected, with the reason.", gt=0)
    max_documents: int | None = knob(
        None, "Size of a random sample that is read instead of the whole pool. null: the whole pool.", "N", gt=0
    )
    tokenizer: str = knob("SmolLM2-135M", "Model whose tokenizer counts tokens, usually the proxy.", given=True)
    seed: int = knob(0, "Seed of the sample and of the choice of held-out projects.", ge=0)
    held_out: float = knob(
        0.0, "Share of the projects that is taken out of the pool for evaluation.", given=True, ge=0, lt=1
    )
    project_depth: int = knob(2, "Number of folders of a file's path that name its project.", given=True, ge=1)
    project_field: str | None = knob(
        None, "Column with the project. null: each row is a project of its own.", given=True
    )
    language_field: str | None = knob(
        None, "Column with the language. null: the first of language, lang and programming_language.", given=True
    )
    keep: list[str] = knob([], "Columns of the pool that the export should have too. '*': all of them.", given=True)
    benchmarks: list[Benchmark] = knob(
        ["humaneval"],
        "Benchmarks. A document that contains one of their problems is rejected.",
        given=True,
    )
    test_sets: list[str] = knob(
        [],
        "Your own test sets, each as NAME=PATH. A document that contains a text of one is rejected, as for benchmarks.",
        given=True,
        added=True,
    )
    title: str = knob("", "Name of the pool in reports.", hashed=False, given=True)
    personal_data: Literal["off", "mask", "reject"] = knob(
        "off",
        "E-mail addresses, telephone numbers and IP addresses. mask: each becomes <EMAIL>, <PHONE> or <IP_ADDRESS>."
        " reject: documents with any are rejected.",
        given=True,
        added=True,
    )
    phone_regions: list[str] = knob(
        [],
        "Countries (two letters, such as US) whose telephone numbers are found in their national form too. Numbers that"
        " begin with + are always found.",
        when={"personal_data": Not("off")},
        given=True,
        added=True,
    )
    secrets: Literal["off", "mask", "reject"] = knob(
        "off",
        "Keys, tokens and passwords in addresses, by the patterns of detect-secrets. mask: each becomes <KEY>. reject:"
        " documents with any are rejected.",
        given=True,
        added=True,
    )
    licences: bool = knob(
        False,
        "Whether the corpus has the column licence: the licence that the head of a document names.",
        given=True,
        added=True,
    )
    project_licences: bool = knob(
        False,
        "Whether a file whose head names no licence has that of its project: of the nearest LICENSE or COPYING file in"
        " its folder or above it. The column licence_from says which it was. Only files of a folder have a project.",
        when={"licences": True},
        given=True,
        added=True,
    )
    detect_languages: Literal["off", "prose", "code", "all"] = knob(
        "off",
        "Languages that are recognised from the text, where neither the file name nor a column says more. prose: of"
        " texts. code: of programs. all: both.",
        given=True,
        added=True,
    )
    language_confidence: float = knob(
        0.5,
        "Least confidence of a recognised language. Below it the document has no language.",
        when={"detect_languages": Not("off")},
        given=True,
        added=True,
        ge=0,
        le=1,
    )
    languages: list[str] = knob(
        [],
        "Languages to keep, such as python or de. With a minus before each: languages to drop. unknown: documents"
        " without one. Empty: all are kept.",
        given=True,
        added=True,
    )

    @field_validator("path")
    @classmethod
    def no_password(cls, value: str | None) -> str | None:
        if value and urlsplit(value).password:  # the path is written to the event log, to tags and to reports
            raise ValueError("holds a password; leave it out, and set the variable FSSPEC_<PROTOCOL>_PASSWORD instead")
        return value

    @field_validator("languages")
    @classmethod
    def keep_or_drop(cls, value: list[str]) -> list[str]:
        if len({name.startswith("-") for name in value}) > 1:
            raise ValueError(
                "has languages to keep and languages to drop (with a minus); name only the one or the other"
            )
        return value

    @field_validator("phone_regions")
    @classmethod
    def countries(cls, value: list[str]) -> list[str]:
        if wrong := [name for name in value if not re.fullmatch("[A-Z]{2}", name)]:
            raise ValueError(f"has '{wrong[0]}'; a country is two capital letters, such as US")
        return value

    @field_validator("test_sets")
    @classmethod
    def named_sets(cls, value: list[str]) -> list[str]:
        names = [text.partition("=")[0].strip() for text in value]
        if wrong := [text for text in value if not all(part.strip() for part in text.partition("="))]:
            raise ValueError(f"has '{wrong[0]}'; write NAME=PATH")
        if len({*names, *BENCHMARKS}) < len(names) + len(BENCHMARKS):
            raise ValueError("has two sets of one name, or the name of a benchmark")
        return value

    @field_validator("sources", mode="after")
    @classmethod
    def sources_fit(cls, value: list[PoolSource], info: ValidationInfo) -> list[PoolSource]:
        consistent(value, info.data.get("path"))
        for source in value:
            cls.no_password(source.path)
        return value


# What a user decides for all pools is not switched off by naming another one.
NOT_OF_A_POOL = {
    "path",
    "sources",
    "tokenizer",
    "held_out",
    "benchmarks",
    "test_sets",
    "personal_data",
    "phone_regions",
    "secrets",
}


def pool_fields() -> list[str]:
    """Fields of settings/corpus that describe one pool: its columns, its format, its title."""
    fields = Corpus.model_fields.items()
    return [name for name, field in fields if trait(field, "given") and name not in NOT_OF_A_POOL]
