"""The heads of documents: which blocks many documents share, and who skips them."""

import numpy as np
import polars as pl
import pytest
from conftest import small

from grip_assets.engine.make import Chain
from grip_assets.settings import GROUPS, validate
from grip_assets.sources.headers import MOST_CHARACTERS, head_of, skipped
from grip_assets.stages import STAGES
from grip_assets.store.artifacts import ArtifactStore

LICENCE = """/*
 * Copyright (c) {year}, {name}. All rights reserved.
 * DO NOT ALTER OR REMOVE THIS HEADER.
 *
 * This code is free software; you can redistribute it under the terms of the licence.
 */
"""
HASHES = "# Copyright {year} {name}\n# Licensed under the Apache License, Version 2.0.\n\n"


def names(text, language=None):
    return [block.name for block in head_of(text, language)]


@pytest.mark.parametrize(("licence", "language"), [(LICENCE, "java"), (HASHES, "python")])
def test_a_licence_of_another_year_and_owner_is_the_same_block(licence, language):
    one, other = (licence.format(year=y, name=n) for y, n in ((1997, "Ann"), (2021, "Bo and Cy")))
    assert names(one, language) == names(other, language) != [] and all(names(one, language)[:1])
    indented = "\n".join(f"   {line}" for line in one.splitlines())
    assert names(indented, language) == names(one, language)


def test_what_is_skipped_ends_before_the_first_block_that_is_not_shared():
    own = "/** Sorts a list of rows. */\nclass Sorter {}\n"
    text = LICENCE.format(year=1999, name="Ann") + "\nimport java.util.List;\n\n" + own
    head = head_of(text, "java")
    *paragraphs, imports = (b.name for b in head[:3])
    licence = set(paragraphs)
    assert text[skipped(text, head, licence) :].strip().startswith("import java.util.List;")
    assert text[skipped(text, head, licence | {imports}) :].strip() == own.strip()
    assert skipped(text, head, {imports}) == 0, "the licence before it is not shared"
    assert skipped(text, head, set()) == 0


def test_a_document_that_is_nothing_but_a_shared_header_stays_whole():
    text = LICENCE.format(year=1999, name="Ann")
    assert skipped(text, head_of(text, "java"), set(names(text))) == 0


def test_a_title_of_prose_is_no_comment_and_a_guard_of_c_no_import():
    assert names("# Changelog\n\nFixed.\n", "markdown") == []
    assert names("#ifndef A_H\n#define A_H\nint a;\n", "c") == []
    assert names("#!/bin/sh\n# Part of the tools.\necho 1\n", "bash") != []


def test_code_before_a_comment_has_no_head():
    assert names("x = 1\n# Part of the tools.\n", "python") == []


@pytest.mark.parametrize("hostile", ["#", "/*", "// a\n", "#\n", "import ", "const a", " ", "/**/", "é\n"])
def test_ten_megabytes_of_one_thing_are_looked_at_only_at_the_start(hostile):
    text = hostile * (10_000_000 // len(hostile))
    assert all(block.end <= MOST_CHARACTERS for block in head_of(text, None))


@pytest.fixture
def chain(tmp_path, models, pool):
    """The small pool, in which all documents of one topic begin with a licence, and half of those of another."""
    for path in pool.rglob("*.py"):
        there = tmp_path / "pool" / path.relative_to(pool)
        there.parent.mkdir(parents=True, exist_ok=True)
        number = int(path.stem.rpartition("_")[2]) if "_" in path.stem else 1
        licensed = path.parent.name == "parse" or (path.parent.name == "table" and number % 2)
        text = path.read_text()
        there.write_text((HASHES.format(year=2000 + number, name="Ann") if licensed else "") + text)
    groups = small(models, tmp_path / "pool")

    def make(*stages, root="data", **embedding):
        groups["embedding"] |= embedding
        settings = {name: validate(name, groups.get(name, {})) for name in GROUPS}
        store = ArtifactStore(tmp_path / root)
        chain, made = Chain(STAGES, store, lambda line: None), {}
        for name in stages:
            stage = STAGES[name]
            made[name] = chain.make(stage, settings, {i: made[i].version for i in stage.inputs_under(settings)})
        return store, made

    return make


TO_EMBEDDINGS = ("corpus", "headers", "embeddings")


def test_the_encoder_skips_a_licence_that_many_documents_share_and_embeds_the_others_once(chain):
    before, whole = chain("corpus", "embeddings")
    n = len(pl.read_parquet(before.parquet("corpus", whole["corpus"].version, "corpus")))
    assert whole["embeddings"].manifest["metrics"]["documents_embedded_now"] == n
    after, cut = chain(*TO_EMBEDDINGS, skip_header=20)
    headers = pl.read_parquet(after.parquet("headers", cut["headers"].version, "headers"))
    shared = pl.read_parquet(after.parquet("headers", cut["headers"].version, "shared_headers"))
    licensed = int((headers["n_chars"] > 0).sum())
    assert licensed == 45 and shared["n_docs"].to_list() == [45] and "Apache License" in shared["example"][0]
    assert cut["embeddings"].manifest["metrics"]["documents_embedded_now"] == licensed, "the others have their vectors"

    _, plain = chain("corpus", "embeddings", skip_header=None)
    rows = pl.read_parquet(after.parquet("embeddings", cut["embeddings"].version, "embeddings"))
    old = pl.read_parquet(before.parquet("embeddings", whole["embeddings"].version, "embeddings"))
    assert rows["doc_id"].to_list() == headers["doc_id"].to_list() == old["doc_id"].to_list()
    same = (rows["embedding"].to_numpy() == old["embedding"].to_numpy()).all(1)
    assert np.array_equal(same, (headers["n_chars"] == 0).to_numpy())
    assert plain["embeddings"].version == whole["embeddings"].version, "off is as if the setting did not exist"


def test_a_header_that_too_few_documents_share_is_read(chain):
    _, made = chain(*TO_EMBEDDINGS, skip_header=45)
    assert made["headers"].manifest["metrics"]["documents_with_a_shared_header"] == 0


def test_the_proxy_and_the_judge_read_what_the_encoder_reads(chain):
    names = (*TO_EMBEDDINGS, "partition", "student", "clusters", "taxonomy", "sigma_k", "probe_set")
    store, made = chain(*names, skip_header=20)
    for table in ("adaptation_documents", "probe_documents"):
        read = pl.read_parquet(store.parquet("probe_set", made["probe_set"].version, table))
        assert (read["n_skipped"] > 0).any() and not read["text"].str.contains("Apache License").any()
    whole = pl.read_parquet(store.parquet("corpus", made["corpus"].version, "corpus"))
    assert whole["text"].str.contains("Apache License").sum() == 45, "the documents themselves stay whole"
