"""Personal data, secrets, licences and languages: what is planted is found, what looks like it is left alone."""

import base64
import json
import pickle
import time

import polars as pl
import pytest
from conftest import small

from grip_assets.engine.make import Chain
from grip_assets.errors import GripError
from grip_assets.settings import GROUPS, Corpus, validate
from grip_assets.sources.documents import RawDocument, Reason, Rejected, from_text
from grip_assets.sources.licences import of_head
from grip_assets.sources.steps import in_any_order, steps_of
from grip_assets.sources.steps.personal_data import PersonalData
from grip_assets.sources.steps.secrets import Secrets
from grip_assets.stages import STAGES
from grip_assets.stages.costs import _rate
from grip_assets.store.artifacts import ArtifactStore

EVERYTHING = {
    "benchmarks": [], "personal_data": "mask", "phone_regions": ["US", "DE"], "secrets": "mask", "licences": True,
    "detect_languages": "all",
}  # fmt: skip
ALNUM = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0"


def web_token() -> str:
    parts = ({"alg": "HS256", "typ": "JWT"}, {"sub": "1234", "text": "x y z" * 60}, {"a": "signature"})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)


def private_key() -> str:
    body = "\n".join(base64.b64encode(bytes(range(i, i + 48))).decode() for i in range(12))
    return f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----"


# The tokens are put together here, so that no scanner of this repository takes them for real ones.
PLANTED = {
    "email": ["ann.lee@mit.edu", "bo+list@web.de", "c_d@mail.co.uk", "x1@sub.host-name.org"],
    "phone": ["+49 30 901820", "+1 (212) 736-5000", "+44 20 7219 3000", "+33 1 40 20 50 50"],
    "ip": ["93.184.216.34", "185.199.108.153", "2606:2800:220:1:248:1893:25c8:1946"],
    "aws key": ["AKIA" + "Q7R2T5X8W1Z4B6D9"],
    "github token": ["ghp_" + ALNUM[:36]],
    "gitlab token": ["glpat-" + ALNUM[:20]],
    "slack token": ["xoxb-" + "2345678901-9876543210-" + ALNUM[:24].lower()],
    "stripe key": ["sk_live_" + ALNUM[:24]],
    "sendgrid key": ["SG." + ALNUM[:22] + "." + (ALNUM + ALNUM)[:43]],
    "json web token": [web_token()],
    "private key": [private_key()],
}
NO_DATA = [
    "version 10.4.2.17 of the driver", "Chrome/104.0.0.0 Safari", "M1.13.23.3.62.44 93.2.44.51 0", "2.4.0.1", "127.0.0.1 and 192.168.1.4 and 10.0.0.255", "8.8.8.8", "1.2.3.4",
    "git@github.com:ann/tool.git", "user@example.com", "noreply@github.com", "@property", "x = A@B.conj()", "a@b.c",
    "pip install torch@2.1.0", "+1234567890", "a + 4915112345 - 7", "0.1234567890123", "std::vector<int>::iterator",
    "2001-01-01 10:20:30", "1234:5678", "password = 'hunter2'", "d41d8cd98f00b204e9800998ecf8427e",
    "http://user:password@example.com/", "ftp://admin:secret@example.com", "https://$USER:$TOKEN@host.org", "-----BEGIN RSA PRIVATE KEY-----",
    "AKIA" + "IOSFODNN7EXAMPLE", "tel_number = 5551234", "isbn 978-3-16-148410-0 and 0-306-40615-2",
]  # fmt: skip


def cleaned(text, language="text", **settings):
    document = from_text(text, language, "a.txt", "a")
    (outcome,) = in_any_order(steps_of(Corpus(benchmarks=[], **settings)), [document])
    return outcome


@pytest.mark.parametrize(("kind", "data"), PLANTED.items())
def test_what_is_planted_is_masked_and_counted_and_stands_in_no_excerpt(kind, data):
    for datum in data:
        text = f"# first line\nvalue = '{datum}'  # of somebody\nrest = 1\n"
        found = cleaned(text, personal_data="mask", secrets="mask")
        assert isinstance(found, RawDocument) and datum not in found.text, datum
        assert found.text.startswith("# first line\nvalue = '<") and found.text.endswith("  # of somebody\nrest = 1\n")
        counts = {name: finding["n"] for name, finding in json.loads(found.found).items()}
        assert counts == {kind: 1}, datum
        assert all(part not in found.found for part in (datum, datum.splitlines()[0][:24]) if len(part) > 8)
        assert found.n_bytes == len(found.text.encode()) and found.doc_id != from_text(text, None, "a", "a").doc_id


@pytest.mark.parametrize("text", NO_DATA)
def test_what_only_looks_like_it_is_left_alone(text):
    found = cleaned(f"before {text} after\n", personal_data="mask", secrets="mask")
    assert found.text == f"before {text} after\n" and found.found is None


def test_a_national_number_is_found_only_where_its_country_is_named():
    text = "Call (212) 736-5000 today"
    assert cleaned(text, personal_data="mask").text == text
    assert cleaned(text, personal_data="mask", phone_regions=["US"]).text == "Call <PHONE> today"


def test_a_document_can_be_rejected_and_the_reason_shows_no_datum():
    text = "ann.lee@mit.edu and bo@web.de, " + PLANTED["github token"][0]
    rejected = cleaned(text, personal_data="reject", secrets="mask")
    assert isinstance(rejected, Rejected) and rejected.reason == Reason.PERSONAL_DATA
    assert rejected.detail == "2 email, 1 github token"
    assert "ann" not in str(rejected) and "ghp_" not in str(rejected)
    assert cleaned("nothing of the kind", personal_data="reject", secrets="reject").text == "nothing of the kind"


def test_a_password_of_an_address_is_no_address_of_a_person():
    found = cleaned("db = 'https://svc:s3cr3tPw@db.corp.net/x'", personal_data="mask", secrets="mask")
    assert found.text == "db = 'https://svc:<KEY>@db.corp.net/x'"


def test_a_token_is_found_wherever_it_stands_in_a_long_line():
    finder, token = Secrets(), PLANTED["github token"][0]
    for offset in range(1_700, 2_200, 7):
        (span,) = {s for s in finder.find("," * offset + token + "," * 900)}
        assert (span.start, span.end) == (offset, offset + len(token))


TEN = 10_000_000
HOSTILE = {
    "one character": "a" * TEN, "ats": "@" * TEN, "ats and dots": "a@a." * (TEN // 4), "dots": "a." * (TEN // 2),
    "base64": base64.b64encode(bytes(range(256)) * (TEN * 3 // 4 // 256)).decode(), "digits": "0 1-" * (TEN // 4),
    "numbers": "+1 212 555 0100 " * (TEN // 16), "colons": "2001:" * (TEN // 5), "octets": "1." * (TEN // 2),
    "beginnings of tokens": "eyJ" * (TEN // 3), "keys": "sk-" * (TEN // 3), "addresses": "://a:" * (TEN // 5),
    "private keys": "-----BEGIN PRIVATE KEY-----" * (TEN // 27), "lines": "\n" * TEN, "npm": "//" * (TEN // 2),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_ten_megabytes_of_hostile_text_take_seconds(name):
    """Time of the processor for a tenth of the text and for all of it: linear, with room for what is fixed."""
    text = HOSTILE[name]
    steps = steps_of(Corpus(**EVERYTHING))
    in_any_order(steps, [from_text("warm", None, "a", "a")])
    took = []
    for part in (text[: TEN // 10], text):
        started = time.process_time()
        in_any_order(steps, [RawDocument(part, None, "a", len(part), "a")])
        took.append(time.process_time() - started)
    assert took[1] < 20 * took[0] + 2, took


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_of_a_hundred_kilobytes_comes_through(name):
    (outcome,) = in_any_order(
        steps_of(Corpus(**EVERYTHING)), [from_text(HOSTILE[name][:100_000] + "z", None, "a", "a")]
    )
    assert isinstance(outcome, RawDocument | Rejected)


def test_steps_can_be_sent_to_another_process_and_find_the_same():
    steps = steps_of(Corpus(**EVERYTHING))
    again = pickle.loads(pickle.dumps(steps))
    documents = [from_text(f"x = '{datum}' " * 2, None, "a", "a") for data in PLANTED.values() for datum in data]
    assert in_any_order(again, documents) == in_any_order(steps, documents)


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "phonenumbers", None)
    with pytest.raises(GripError, match=r"settings/corpus.personal_data needs the package.*grip-assets\[clean\]"):
        PersonalData()


LICENCES = {
    "// SPDX-License-Identifier: (GPL-2.0-only OR MIT)\nint x;": "GPL-2.0-only OR MIT",
    "# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception\n": "Apache-2.0 WITH LLVM-exception",
    "/* SPDX-License-Identifier: BSD-3-Clause */": "BSD-3-Clause",
    "# SPDX-License-Identifier: Not-A-Licence\n": None,
    "# Licensed under the Apache License, Version 2.0 (the 'License');": "Apache-2.0",
    "# Apache License, Version 2.0\nTARGET = 'x86_64-linux-gnu'\n": "Apache-2.0",
    "/* Permission is hereby granted, free of charge, to any person\n * obtaining a copy of this software */": "MIT",
    "# This is under the terms of the GNU General Public License version 2 only\n": "GPL-2.0-only",
    " GNU Lesser General Public\n * License; either version 2.1, or (at your option) any later version": (
        "LGPL-2.1-or-later"
    ),
    "under the GNU General Public License version 2 only. subject to the 'Classpath' exception": (
        "GPL-2.0-only WITH Classpath-exception-2.0"
    ),
    "# Redistribution and use in source and binary forms, with or without": "BSD-2-Clause",
    "import os\nprint('no licence is named here')\n": None,
}


@pytest.mark.parametrize(("text", "licence"), LICENCES.items())
def test_a_licence_is_the_spdx_expression_or_the_well_known_sentence(text, licence):
    assert of_head(text) == licence


PROSE = {
    "de": "Der schnelle braune Fuchs springt über den faulen Hund, und alle Leute in der Stadt sehen ihm dabei zu.",
    "fr": "Le renard brun et rapide saute par-dessus le chien paresseux pendant que tout le monde le regarde.",
    "pl": "Szybki brązowy lis przeskakuje nad leniwym psem, a wszyscy ludzie w mieście patrzą na niego.",
    "en": "The quick brown fox jumps over the lazy dog while all the people in the town are looking at it.",
}


@pytest.mark.parametrize(("language", "text"), PROSE.items())
def test_the_language_of_prose_is_recognised_with_its_confidence(language, text):
    found = cleaned(text * 3, detect_languages="prose")
    assert found.language == language and 0.5 < found.language_confidence <= 1


def test_below_the_least_confidence_the_language_stays_as_it_was():
    unsure = cleaned("ok 12 ok", detect_languages="prose", language_confidence=1.0)
    assert unsure.language == "text" and unsure.language_confidence < 1


def test_the_language_of_a_program_without_a_name_is_recognised():
    code = {"python": "import os\n\n\ndef main(path):\n    for name in os.listdir(path):\n        print(name)\n" * 3}
    code["c"] = '#include <stdio.h>\nint main(int argc, char **argv) {\n  printf("%d\\n", argc);\n  return 0;\n}\n' * 2
    for language, text in code.items():
        found = cleaned(text, language=None, detect_languages="all")
        assert found.language == language and found.language_confidence > 0.5
    assert cleaned(PROSE["de"] * 3, language=None, detect_languages="all").language == "de"


def test_a_language_that_a_column_or_a_name_gives_is_not_changed():
    found = cleaned(PROSE["de"], language="python", detect_languages="all")
    assert (found.language, found.language_confidence) == ("python", None)
    assert cleaned(PROSE["de"], language="fr", detect_languages="all").language == "fr"


def test_languages_are_kept_or_dropped_with_the_reason():
    assert cleaned("x", language="python", languages=["python", "de"]).text == "x"
    rejected = cleaned("x", language="java", languages=["python"])
    assert (rejected.reason, rejected.detail) == (Reason.LANGUAGE, "java")
    assert isinstance(cleaned("x", language=None, languages=["python"]), Rejected)
    assert cleaned("x", language=None, languages=["unknown"]).text == "x"
    assert isinstance(cleaned("x", language="java", languages=["-java"]), Rejected)
    assert cleaned("x", language="python", languages=["-java"]).text == "x"
    with pytest.raises(GripError, match="only the one or the other"):
        validate("corpus", {"languages": ["python", "-java"]})


@pytest.fixture
def corpus_of(tmp_path, models):
    def make(documents, **changes):
        pool = tmp_path / "pool"
        pool.mkdir(exist_ok=True)
        for name, text in documents.items():
            (pool / name).write_text(text)
        groups = small(models, pool, corpus=changes)
        settings = {name: validate(name, groups.get(name, {})) for name in GROUPS}
        store = ArtifactStore(tmp_path / "data")
        made = Chain(STAGES, store, lambda line: None).make(STAGES["corpus"], settings, {})

        def table(name):
            return pl.read_parquet(store.parquet("corpus", made.version, name))

        return made, table

    return make


DOCUMENTS = {f"{i}.txt": f"Document number {i}, {'words ' * i}by somebody.\n" for i in range(4)} | {
    "mail.txt": "Write to ann.lee@mit.edu or bo@web.de.\n", "key.py": f"TOKEN = '{PLANTED['github token'][0]}'\n",
}  # fmt: skip


def test_what_is_found_is_counted_in_the_intake_and_the_corpus_holds_no_datum(corpus_of):
    _, table = corpus_of(DOCUMENTS, personal_data="mask", secrets="reject", licences=True, detect_languages="prose")
    intake = dict(table("intake").iter_rows())
    assert intake["read"] == intake["kept"] + intake["held_out"] + intake["rejected"] == 6
    assert (intake["with_email"], intake["with_github_token"], intake["rejected"]) == (1, 1, 1)
    corpus = table("corpus").filter(source="mail.txt")
    assert corpus["text"].to_list() == ["Write to <EMAIL> or <EMAIL>.\n"]
    assert json.loads(corpus["found"][0]) == {"email": {"n": 2, "example": "Write to <EMAIL> or <EMAIL>."}}
    assert table("corpus")["language_confidence"].null_count() == 0 and "licence" in corpus.columns
    assert table("rejected").select("source", "reason", "detail").rows() == [("key.py", "secret", "1 github token")]


def test_a_corpus_without_the_steps_has_no_column_of_theirs_and_the_name_that_it_always_had(corpus_of):
    first, table = corpus_of(DOCUMENTS)
    assert not {"found", "licence", "language_confidence"} & set(table("corpus").columns)
    assert "with_email" not in table("intake")["outcome"].to_list()
    masked, _ = corpus_of(DOCUMENTS, personal_data="mask")
    again, _ = corpus_of(DOCUMENTS)
    assert masked.version != first.version == again.version and again.reused


@pytest.mark.parametrize(
    "step", [{"personal_data": "mask"}, {"secrets": "reject"}, {"licences": True}, {"detect_languages": "code"}]
)
def test_a_plan_counts_the_time_of_each_step(step):
    settings = {name: validate(name, {}) for name in GROUPS}
    off = _rate(STAGES["corpus"], settings)
    on = _rate(STAGES["corpus"], settings | {"corpus": validate("corpus", step)})
    assert on.each > off.each and on.driver == off.driver == "bytes"
