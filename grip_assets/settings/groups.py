"""Every hyperparameter, in groups: symbol in the paper, unit, range, default, effect.

Only fields and their validation belong here. Traits of a field are in fields.py, the base class of the groups is in
group.py. orchestration/settings_assets.py makes each group a Dagster asset. Numbers such as A12 are decisions in
spec/grip.md.
"""

import re
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import ValidationInfo, field_validator

from grip_assets import profiles
from grip_assets.settings.fields import Has, Not, knob, nearest, size, trait
from grip_assets.settings.group import Group
from grip_assets.settings.small_model import Precision, Trainer, of_the_model, of_the_training
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


FOUND = {"threshold": Not(0)}


class NearDuplicates(Group):
    """Documents that are nearly the same as another. One of them stands for all, and the others are left out: texts are
    compared by their shingles [Broder 1997], and only those that MinHash signatures find alike."""

    name = "near_duplicates"

    threshold: float = knob(
        0.8,
        "Least Jaccard similarity of two near copies: the share of their shingles that both have. 0: near copies are"
        " not looked for.",
        ge=0,
        le=1,
    )
    unit: Literal["words", "characters"] = knob(
        "words",
        "What a shingle is made of. words: neither white space nor punctuation nor the case of ASCII letters makes a"
        " difference; each Chinese or Japanese character is a word.",
        when=FOUND,
    )
    shingle: int = knob(
        5, "Words (or characters) of a shingle. Longer shingles let fewer changes pass.", when=FOUND, ge=1, le=64
    )
    permutations: int = knob(
        120,
        "Slots of a MinHash signature. More slots find near copies more surely, and take more room and time.",
        when=FOUND,
        ge=2,
        le=1024,
    )
    recall: float = knob(
        0.99,
        "Least probability that a pair at the threshold is found. The number of bands follows from it.",
        when={"threshold": Not(0), "bands": None},
        gt=0,
        lt=1,
    )
    bands: int | None = knob(
        None,
        "Bands that a signature is cut into. Two documents are compared if they agree in one whole band. null: as few"
        " as reach recall.",
        when=FOUND,
        ge=1,
    )
    representative: Literal["longest", "oldest_source", "best_score"] = knob(
        "longest",
        "Which document stands for its near copies. longest: that with the most bytes. oldest_source: that of the first"
        " source in the list. best_score: that with the highest number in the column score. Ties go to the longest.",
        when=FOUND,
    )
    score: str | None = knob(
        None,
        "Column of the pool with a number for each document; corpus.keep must name it.",
        given=True,
        when={"threshold": Not(0), "representative": "best_score"},
    )
    drop_background: bool = knob(
        False,
        "Whether documents of a source with the role keep are left out too, if they are near copies of held-out ones.",
        when=FOUND,
        added=True,
    )
    seed: int = knob(0, "Seed of the hash functions.", when=FOUND, ge=0)


ENCODED = {"model": Not("column")}


class Embedding(Group):
    """How a document becomes a vector: the encoder and its windows; e(x) in the paper [2.2]."""

    name = "embedding"

    model: str = knob(
        "all-MiniLM-L6-v2",
        "Encoder: a packaged name, a local path or a hub name. column: the pool has vectors of its own.",
        "f_θ",
        given=True,
    )
    column: str | None = knob(
        None, "Column of the pool that has the vectors (lists of numbers).", given=True, when={"model": "column"}
    )
    pooling: Literal["mean", "cls", "last"] | None = knob(
        None,
        "How the vectors of the tokens become one: mean, first token or last token. null: as the model declares.",
        when=ENCODED,
    )
    window: int | None = knob(None, "Tokens per window. null: the model's limit.", when=ENCODED, gt=2)
    max_windows: int | None = knob(
        None,
        "Most windows per document, evenly spaced. The table embeddings says which documents are affected. null: all.",
        when=ENCODED,
        gt=0,
    )
    dtype: Literal["float32", "bfloat16"] = knob("float32", "Number format of the forward pass.", when=ENCODED)
    batch_windows: int = knob(
        1,
        "Windows of a document per forward pass on the processor. A GPU reads those of many documents together.",
        hashed=False,
        when=ENCODED,
        gt=0,
    )
    sample: float | None = knob(
        None,
        "Documents that are embedded: a share (10%) or a count (20k). A student, trained on these, labels the others"
        " by their text. null: all documents are embedded.",
        when=ENCODED,
        added=True,
        gt=0,
    )
    seed: int = knob(0, "Seed of the sample.", when={"sample": Not(None)}, added=True, ge=0)
    skip_header: int | None = knob(
        None,
        "Comments and import lines at the start of a document that more documents than this share, such as a licence,"
        " are skipped by the encoder, the proxy and the judge. null: nothing is skipped.",
        added=True,
        ge=1,
    )

    @property
    def embeds_all(self) -> bool:
        """Whether every document gets a vector, whatever the pool."""
        return self.sample is None or self.sample == 1

    def n_embedded(self, n: int) -> int:
        """The number of documents that are embedded of ``n``; for a share, the expected number."""
        if self.sample is None:
            return n
        return min(round(self.sample * n) if self.sample <= 1 else int(self.sample), n)


FITTED = {"keep": None}
BY_KMEANS = {"method": "kmeans", "keep": None}
BY_GEM = {"method": "gem", "keep": None}
BY_VECTORS = {"method": ["kmeans", "gem"], "keep": None}


class Clustering(Group):
    """How documents are grouped: a partition of the pool into clusters, and the spread of each [paper eq. 3]."""

    name = "clustering"

    method: Literal["kmeans", "gem", "column"] = knob(
        "kmeans",
        "Method. kmeans: spherical k-means on the embeddings. gem: a mixture of von Mises-Fisher distributions with a"
        " balance term. column: each value of a column of the pool is a cluster.",
        when=FITTED,
        added=True,
    )
    column: str = knob(
        "language",
        "Column to cluster by: language, source, pool, or a column that corpus.keep names. Rare values become one"
        " cluster, (other). Documents without a value become the cluster (missing).",
        given=True,
        when={"method": "column", "keep": None},
        added=True,
    )
    keep: str | None = knob(
        None,
        "An earlier partition to keep: its version, or in_force. Documents are assigned to it, and nothing is fitted."
        " null: a partition is fitted for every pool.",
        given=True,
        added=True,
    )
    k: int | None = knob(
        None,
        "Number of clusters, before small ones are dissolved. null: √N, but from 16 to 1,024.",
        "K",
        when=BY_VECTORS,
        gt=0,
    )
    iterations: int = knob(
        20, "Lloyd iterations of each start. The best start then goes on until nothing changes.", when=BY_KMEANS, gt=0
    )
    seeds: int = knob(
        3,
        "Number of starts. The one with the highest objective is kept: the mean cosine, or F for gem.",
        when=BY_VECTORS,
        gt=0,
    )
    min_cluster_docs: int = knob(
        50, "Clusters with fewer documents are dissolved: their documents go to other clusters.", ge=1
    )
    fit_sample: int = knob(262_144, "Most documents that the partition is fitted on.", when=FITTED, gt=0)
    seed: int = knob(0, "Seed of the sample and of the first start.", when=FITTED, ge=0)
    balance: float = knob(
        0.125,
        "Strength of the balance term: how much F loses when the masses of the clusters differ from their targets. 0:"
        " a plain mixture. Strong values merge topics that are lighter than 1/K.",
        "λ",
        when=BY_GEM,
        added=True,
        ge=0,
    )
    balance_scale: Literal["relative", "per_sample", "sum"] = knob(
        "relative",
        "Unit of balance. relative: times the mean κ of the start. per_sample: λ as it is in F, a mean over documents."
        " sum: λ of an F that is a sum over documents.",
        when=BY_GEM,
        added=True,
    )
    target_mass: list[float] = knob(
        [],
        "Mass that each cluster should have, one number for each; the largest is for the heaviest cluster of the start."
        " Empty: the same for all.",
        "u",
        when=BY_GEM,
        added=True,
    )
    estep: Literal["dual", "mirror", "l2"] = knob(
        "dual",
        "How the memberships are found. dual: exactly. mirror: a few steps of mirror ascent, as in the paper. l2: a few"
        " steps of another lower bound.",
        when=BY_GEM,
        added=True,
    )
    inner_steps: int = knob(
        5,
        "Steps in each iteration.",
        when={"method": "gem", "keep": None, "estep": ["mirror", "l2"]},
        added=True,
        gt=0,
    )
    kappa: Literal["shrunk", "tied", "free"] = knob(
        "shrunk",
        "Concentration of the clusters. shrunk: of each cluster, pulled towards that of the start. tied: one for all."
        " free: of each cluster; a cluster of one document then has the highest.",
        "κ",
        when=BY_GEM,
        added=True,
    )
    kappa_prior: float | None = knob(
        None,
        "Number of documents that the pull of kappa=shrunk counts for. null: 5, 20 from 50,000 documents on, 50 from 10"
        " million on.",
        "n_0",
        when={"method": "gem", "keep": None, "kappa": "shrunk"},
        added=True,
        ge=0,
    )
    temperature: float | None = knob(
        1.0,
        "Temperature of the memberships. Above 1 they are softer. null: a third of the median gap between the two best"
        " clusters of a document. The paper has 1.",
        "T",
        when=BY_GEM,
        added=True,
        gt=0,
    )
    center: bool = knob(
        False,
        "Whether the mean of all vectors is taken away first. With pca it always is.",
        when={"method": "gem", "keep": None, "pca": None},
        added=True,
    )
    pca: int | None = knob(
        None,
        "Number of principal axes on which the vectors are projected first. null: they are not.",
        when=BY_GEM,
        added=True,
        ge=2,
    )
    fit_iterations: int = knob(100, "Most iterations of each start.", when=BY_GEM, added=True, ge=2)
    tolerance: float = knob(
        1e-6, "A start ends when F rises by a smaller share of itself.", when=BY_GEM, added=True, ge=0
    )
    continuation: int = knob(
        10, "Number of first iterations in which λ rises to its value.", "t_0", when=BY_GEM, added=True, ge=0
    )
    sigma_center: Literal["unit", "mean"] = knob(
        "unit", "Centre for σ_k. unit: the centroid, which has length 1. mean: the mean of the members.", "μ_k"
    )

    @field_validator("keep")
    @classmethod
    def a_version(cls, value: str | None) -> str | None:
        return value.strip() or None if value is not None else None

    @field_validator("target_mass")
    @classmethod
    def masses(cls, value: list[float]) -> list[float]:
        if value and (min(value) <= 0 or len(value) < 2):
            raise ValueError("must be at least two numbers above 0, or empty")
        return value


class Student(Group):
    """How documents without a vector are labelled: by a classifier of texts, which learns from those with a vector. It
    is used with settings/embedding.sample."""

    name = "student"

    per_cluster: int = knob(
        400,
        "Most pseudo-labels per cluster: the documents with the highest influence, near copies counted once. A cluster"
        " with fewer gives all that it has.",
        gt=0,
    )
    confidence: float = knob(
        0.9,
        "Least confidence of a pseudo-label. If fewer than half of a cluster's documents have it, or than twice"
        " per_cluster, the most confident ones are considered instead.",
        ge=0,
        le=1,
    )
    prior_correction: bool = knob(
        True, "Correct for training on as many documents of a small cluster as of a large one."
    )
    held_out: float = knob(
        0.1, "Share of the embedded documents that the student never learns from. It is measured on these.", gt=0, lt=1
    )
    seed: int = knob(0, "Seed of the choice of held-out documents.", ge=0)


BY_LLM = {"names": "llm"}


def _cost(settings: Any, prompt_tokens: float, completion_tokens: float) -> float:
    """By the prices of a group, which are for a million tokens."""
    return ((settings.price_in or 0.0) * prompt_tokens + (settings.price_out or 0.0) * completion_tokens) / 1e6


class Taxonomy(Group):
    """What each cluster is called: its representatives, its name, and the family that it belongs to.

    Names are for people. Nothing that chooses documents reads them.
    """

    name = "taxonomy"

    names: Literal["words", "llm"] = knob(
        "words",
        "Where names come from. words: distinctive words and folders of the cluster. llm: a language model over HTTP."
        " Clusters by a column are called by their values.",
        part="names",
    )
    neighbours: int = knob(
        8,
        "Number of nearest members whose mean cosine is the local density of a document.",
        "M",
        part="influence",
        ge=1,
    )
    exponent: float = knob(0.5, "Weight of the local density in the influence.", "b", part="influence", ge=0)
    standardize: Literal["zscore", "none"] = knob(
        "zscore",
        "How the terms of the influence are added. zscore: each is scaled in its cluster first. none: as they are, as"
        " in the paper; then documents rank almost only by their distance to the centre.",
        part="influence",
    )
    members: int = knob(
        4096,
        "Most documents of a cluster whose influence is measured. They are chosen by a hash of their ids.",
        part="influence",
        ge=2,
    )
    top: int = knob(10, "Number of representatives of each cluster.", "m", part="influence", ge=1)
    near_copy: float = knob(
        0.9,
        "Of two documents with a cosine above this, only one is a representative.",
        part="influence",
        gt=0,
        le=1,
    )
    sample: int = knob(
        100, "Documents of each cluster whose words are counted, with its representatives.", part="names", ge=1
    )
    families: int | None = knob(
        None, "Number of families into which clusters are grouped. null: √K.", part="names", ge=1
    )
    seed: int = knob(
        0, "Seed of the documents that are measured and of those whose words are counted.", part="influence", ge=0
    )
    model: str = knob("", "Model that the endpoint serves.", given=True, when=BY_LLM, part="names")
    contrast: int = knob(
        5, "Documents of the nearest cluster that the model is shown for contrast.", when=BY_LLM, part="names", ge=0
    )
    temperature: float | None = knob(
        0.0, "Sampling temperature. null: the endpoint's default.", when=BY_LLM, part="names", ge=0, le=2
    )
    max_tokens: int = knob(
        512, "Most tokens of an answer. A model that thinks aloud needs more.", when=BY_LLM, part="names", gt=0
    )
    max_calls: int | None = knob(
        None,
        "Most requests per run. Clusters without an answer are named by words, and the next run asks for them.",
        hashed=False,
        when=BY_LLM,
        part="names",
        ge=0,
    )
    max_cost: float | None = knob(
        None,
        "Highest cost per run, in the currency of the prices.",
        hashed=False,
        when=BY_LLM,
        part="names",
        ge=0,
    )
    price_in: float | None = knob(
        None, "Price of one million prompt tokens.", hashed=False, given=True, when=BY_LLM, part="names", ge=0
    )
    price_out: float | None = knob(
        None, "Price of one million answer tokens.", hashed=False, given=True, when=BY_LLM, part="names", ge=0
    )

    trials: int = knob(
        20,
        "Trials of the document-intruder test for each cluster, in cluster_report. 0: no test. A language model that"
        " names the clusters is asked once for each trial.",
        part="report",
        ge=0,
        le=1000,
    )
    held_out_docs: int = knob(
        400,
        "Documents on which cluster_report measures how well names tell clusters apart. 0: it does not. A language"
        " model that names the clusters is asked four times about each.",
        part="report",
        ge=0,
    )

    def cost(self, prompt_tokens: float, completion_tokens: float) -> float:
        """The cost in the currency of the prices; a price that is not set counts as 0."""
        return _cost(self, prompt_tokens, completion_tokens)


class Probe(Group):
    """The size of the probe set, and its share of each cluster by Neyman's allocation [paper eq. 4]."""

    name = "probe"

    fraction: float = knob(0.005, "Size of the probe set as a share of the documents.", "|P|/N", gt=0, le=1)
    min_per_cluster: int = knob(8, "Least number of probe documents per cluster (or all that it has).", ge=1)
    min_for_adaptation: int = knob(
        40,
        "Least number of documents per cluster that the proxy reads (or all that it has). Documents beyond the probe"
        " set are not judged.",
        ge=1,
    )
    seed: int = knob(0, "Seed of the draw.", ge=0)


ASKED = {"judge": "llm"}
SCORED_BY_COLUMN = {"judge": "column"}


class Quality(Group):
    """Who judges the probe documents, and how their scores become the quality of a cluster [paper 3.2]."""

    name = "quality"

    judge: Literal["static", "llm", "column"] = knob(
        "static",
        "Who scores documents. static: static analysis. llm: a language model over HTTP. column: a column of the pool.",
    )
    column: str | None = knob(
        None,
        "Column with a number for each document. corpus.keep must name it too.",
        given=True,
        when=SCORED_BY_COLUMN,
    )
    column_range: list[float] = knob(
        [],
        "Two values of the column: the first is score 0, the second is score 1. Values between them are scaled"
        " linearly, values outside are cut off. Empty: a score is the value's quantile in the pool.",
        given=True,
        when=SCORED_BY_COLUMN,
    )
    model: str = knob("", "Model that the endpoint serves.", given=True, when=ASKED)
    temperature: float | None = knob(0.0, "Sampling temperature. null: the endpoint's default.", when=ASKED, ge=0, le=2)
    max_tokens: int = knob(512, "Most tokens of an answer. A model that thinks aloud needs more.", when=ASKED, gt=0)
    rubric: str = knob("code", "Rubric: code (the paper's), prose, or the path of your own.", when=ASKED)
    windows: int = knob(
        3,
        "Number of parts of a long document that the model sees: the start, the end, and others chosen by a hash.",
        when=ASKED,
        gt=0,
    )
    window_chars: int = knob(4000, "Characters per part.", when=ASKED, ge=100)
    dimensions: list[Literal["syntax_integrity", "architecture", "educational_value", "technical_depth"]] = knob(
        ["syntax_integrity", "architecture", "educational_value", "technical_depth"],
        "Rubric scores whose mean is the document's score.",
        when={"judge": ["static", "llm"]},
        min_length=1,
    )
    shrinkage: float = knob(
        4.0,
        "Pulls Q_k towards the overall mean, as if the cluster had so many more documents of mean quality. The paper"
        " has 0.",
        "m_0",
        ge=0,
    )
    target_error: float | None = knob(
        None,
        "Judge more documents until the standard error of every cluster's quality is below this. null: judge only the"
        " probe set.",
        gt=0,
    )
    min_judged: int = knob(2, "Clusters with fewer judged documents are reported.", ge=1)
    max_failed: float = knob(
        0.1, "Largest share of documents whose judging may fail. Above it the run stops.", ge=0, le=1
    )
    seed: int = knob(0, "Seed of the parts of documents that are shown, and of the further documents.", ge=0)
    mode: Literal["live", "batch"] = knob(
        "live", "How the model is asked. live: a request per document. batch: the Batch API.", hashed=False, when=ASKED
    )
    max_calls: int | None = knob(
        None,
        "Most requests per run. The next run continues where this one stopped.",
        hashed=False,
        when=ASKED,
        ge=0,
    )
    max_cost: float | None = knob(
        None, "Highest cost per run, in the currency of the prices.", hashed=False, when=ASKED, ge=0
    )
    price_in: float | None = knob(
        None, "Price of one million prompt tokens.", hashed=False, given=True, when=ASKED, ge=0
    )
    price_out: float | None = knob(
        None, "Price of one million answer tokens.", hashed=False, given=True, when=ASKED, ge=0
    )
    repeats: int = knob(20, "Number of documents that are judged twice, for judge_report.", when=ASKED, ge=0)
    gold: str | None = knob(
        None,
        "File with your own scores, for judge_report: CSV, JSONL or Parquet, with a column doc_id or source.",
        given=True,
    )

    @field_validator("column_range")
    @classmethod
    def two_that_rise(cls, value: list[float]) -> list[float]:
        if value and not (len(value) == 2 and value[0] < value[1]):
            raise ValueError("must be two numbers, the first below the second, or empty")
        return value

    def cost(self, prompt_tokens: float, completion_tokens: float) -> float:
        """The cost in the currency of the prices; a price that is not set counts as 0."""
        return _cost(self, prompt_tokens, completion_tokens)


STEPS = {"form": "steps"}
A_MODEL = {"proxy": Not("unigram")}


class Adaptation(Group):
    """How fast a small model learns each cluster: the Rapid Adaptation Probe [paper eq. 6]."""

    name = "adaptation"

    proxy: str = knob(
        "SmolLM2-135M",
        "Proxy model: a packaged name, a local path or a hub name. unigram: no model, only counts of the tokens of"
        " settings/corpus.tokenizer.",
        given=True,
    )
    form: Literal["closed", "steps"] = knob(
        "closed",
        "How drops are measured. closed: a formula for AdamW's first step from a head of zeros. steps: training.",
        when=A_MODEL,
    )
    folds: int = knob(5, "Parts into which a cluster's documents are split. Each is held out once.", ge=2, le=20)
    reset_depth: int = knob(
        0, "Number of last blocks that are reset together with the head.", "N", when=STEPS, ge=0, le=64
    )
    learning_rate: float = knob(
        3e-4, "Learning rate of AdamW. With form=closed it only scales the drops.", "lr", when=A_MODEL, gt=0
    )
    epochs: int = knob(10, "Number of full-batch steps.", "n", when=STEPS, gt=0)
    seeds: int = knob(
        1,
        "Number of initialisations, the same for all clusters, whose drops are averaged. One is enough at"
        " reset_depth=0.",
        when=STEPS,
        ge=1,
    )
    evaluate: Literal["held_out", "train"] = knob("held_out", "Documents on which the loss is measured.")
    delta: Literal["relative", "absolute"] = knob(
        "relative", "Drop that the budget uses: relative to the first loss, or the plain difference.", "ΔL or δL"
    )
    tokens_per_cluster: int | None = knob(20480, "Most tokens per cluster that the proxy reads. null: all.", gt=1)
    window: int = knob(512, "Tokens per training window.", gt=1)
    init_std: float = knob(0.02, "Standard deviation of the reset weights.", "θ_init", when=STEPS, gt=0)
    seed: int = knob(0, "Seed of passages and folds, and of the first initialisation.", ge=0)
    checkpoints: str | None = knob(
        None,
        "Folder that the sensor new_checkpoint watches. Its newest checkpoint becomes the proxy.",
        hashed=False,
        given=True,
    )
    micro_batch: int = knob(256, "Tokens whose logits are in memory at the same time.", hashed=False, when=STEPS, gt=0)

    @property
    def passes(self) -> int:
        """How often the proxy reads each token of the probe."""
        return self.epochs * self.seeds if self.form == "steps" else 1


NEYMAN = {"base": "neyman"}
UNIMAX = {"base": "unimax"}
CHAMELEON = {"base": "chameleon"}
REPLAYED = {"replay": ["quality", "loss"]}


class Budget(Group):
    """How large the subset is, and how it is shared out among the clusters [paper eq. 5, 7, 8]."""

    name = "budget"

    total: float = knob(
        0.25,
        "Size of the subset. Up to 1.0: a share of the pool (10%; 1.0 is the whole pool). Otherwise a count (200000,"
        " 500M, 2B).",
        "B_total",
        gt=0,
        given=True,
    )
    unit: Literal["tokens", "documents"] = knob(
        "tokens", "Unit of the budget and of N_k, the size of a cluster.", given=True
    )
    base: Literal[
        "neyman", "proportional", "given", "mixture", "uniform", "tempered", "unimax", "chameleon", "grasp"
    ] = knob(
        "neyman",
        "How the budget is shared out before replay. neyman: by size, spread and quality. proportional: by size alone."
        " given: by your weights. mixture: by the weights that settings/mixing learns. uniform: to all clusters alike."
        " tempered: by a power of size. unimax: uniform, up to max_epochs. chameleon: more of the clusters that are"
        " like the others. grasp: so that the clusters together fit the targets of settings/attribution best.",
        added=True,
    )
    weights: str | None = knob(
        None,
        "File with a weight for each cluster (JSON, YAML or CSV). It names a cluster by its id or by its value in"
        " clustering.column.",
        given=True,
        when={"base": "given"},
        added=True,
    )
    exponent: float = knob(
        0.5,
        "Exponent of a cluster's size. 0: all clusters alike. 1: in proportion to size.",
        when={"base": "tempered"},
        added=True,
        ge=0,
        le=1,
    )
    max_epochs: float = knob(
        4.0, "Most readings of a cluster. Its share is lower than uniform if necessary.", when=UNIMAX, added=True, gt=0
    )
    ridge: float = knob(
        0.1,
        "Strength of the ridge in the leverage scores. A large one counts only how far a cluster is from the mean.",
        "λ",
        when=CHAMELEON,
        added=True,
        gt=0,
    )
    leverage_temperature: float = knob(
        1.0,
        "Temperature of the inverse leverage scores. A large one gives equal shares.",
        when=CHAMELEON,
        added=True,
        gt=0,
    )
    tau: float = knob(0.5, "Exponent of a cluster's size and spread, N_k σ_k.", "τ", when=NEYMAN, ge=0, le=4)
    temperature: float = knob(1.0, "Temperature of the quality term.", "T", when={"use_quality": True}, gt=0)
    use_sigma: bool = knob(True, "Whether the base budget has the spread σ_k.", "σ_k", when=NEYMAN)
    use_quality: bool = knob(True, "Whether the base budget has the quality term.", "exp(Q_k/T)", when=NEYMAN)
    quality_scale: Literal["unit", "raw", "zscore"] = knob(
        "unit", "Scale of Q_k in the quality term.", "Q_k", when={"use_quality": True}
    )
    replay: Literal["none", "quality", "loss"] = knob(
        "loss",
        "What raises the budget of a cluster above the gate. none: nothing. quality: a high quality. loss: a drop, see"
        " direction.",
        "r_k",
    )
    alpha: float = knob(2.0, "The largest factor on a budget is 1 + α.", "α", when=REPLAYED, ge=0)
    gate: float = knob(
        0.4,
        "Quality, from 0 to 1, that a cluster needs before its budget is raised.",
        "τ_th",
        when={**REPLAYED, "gate_quantile": None},
        ge=0,
        le=1,
    )
    quality_bound: float = knob(
        0.0,
        "Number of standard errors by which Q_k is lowered, so that the budget uses a lower confidence bound.",
        "z",
        when=[{"use_quality": True}, REPLAYED],
        ge=0,
    )
    gate_quantile: float | None = knob(
        None, "Put the gate at this quantile of Q_k. null: at the value of gate.", when=REPLAYED, ge=0, le=1
    )
    direction: Literal["deficit", "learnable"] = knob(
        "deficit",
        "Which clusters are raised. deficit: those with small drops. learnable: those with large drops.",
        when={"replay": "loss"},
    )
    norm_weights: Literal["uniform", "size"] = knob(
        "uniform",
        "Weights of the clusters in the mean with which a cluster's drop is compared.",
        "τ_norm",
        when=REPLAYED,
    )
    overflow: Literal["waterfill", "repeat", "error"] = knob(
        "waterfill",
        "What happens to a budget above its cap. waterfill: the rest goes to other clusters. repeat: documents are"
        " repeated, up to max_repeats times. error: the run stops.",
    )
    max_repeats: int = knob(1, "Most copies of a document in the subset.", when={"overflow": "repeat"}, ge=1)

    @property
    def reads_quality(self) -> bool:
        """Whether Q_k makes a difference: in the base budget, or as the gate of replay."""
        return self.replay != "none" or (self.applies("use_quality") and self.use_quality)

    @property
    def reads_drops(self) -> bool:
        """Whether the drops of the adaptation probe make a difference."""
        return self.replay == "loss"

    @property
    def pure(self) -> str:
        """The reason, in words, why quality is not measured. It is true only if ``reads_quality`` is false."""
        quality = f"{self.name}.use_quality is false and " if self.base == "neyman" else ""
        return f"settings/{self.name}.base is {self.base}, {quality}{self.name}.replay is none"

    @field_validator("total", mode="before")
    @classmethod
    def a_share_or_a_count(cls, value: Any) -> Any:
        value = size(value, float, False) if isinstance(value, str) else value
        if isinstance(value, int) and not isinstance(value, bool) and value == 1:
            raise ValueError("1 would be a budget of a single token or document; write 100% or 1.0 for the whole pool")
        if isinstance(value, float) and 1 < value < 2:
            raise ValueError("it is neither a share (at most 1.0, or 100%) nor a count")
        return value


REGMIX = {"method": "regmix"}
DOREMI = {"method": "doremi"}
PERF = {"method": "perf"}
OBJECTIVES = ("held_out", "benchmarks", "target")  # or domain:NAME


class Mixing(Group):
    """A budget that is learned: small models are trained on mixtures of domains, and their losses decide the weights.

    It is used with settings/budget.base=mixture. A domain is a cluster, a family of clusters, or a value of a column.
    """

    name = "mixing"

    method: Literal["regmix", "doremi", "perf"] = knob(
        "regmix",
        "How the weights are learned. regmix: by a regression of the loss on the weights of many mixtures. doremi: a"
        " model whose weights follow its excess loss over a reference. perf: domains whose upsampling lowers the loss"
        " get more; ours, since the paper says too little.",
        part="runs",
    )
    domains: Literal["clusters", "families", "column"] = knob(
        "clusters",
        "What is mixed. clusters: the clusters in force. families: groups of similar clusters, about √K."
        " column: each value of a column of the pool.",
        part="domains",
    )
    column: str = knob(
        "language",
        "Column of the domains: language, source, pool, or a column that corpus.keep names. Rare values become one"
        " domain, (other). Documents without a value become the domain (missing).",
        given=True,
        when={"domains": "column"},
        part="domains",
    )
    held_out: int = knob(
        16,
        "Documents of each domain that no training reads, and that the models predict. At most a tenth of the domain's"
        " documents, and of its tokens.",
        part="domains",
        ge=1,
    )
    passage: int = knob(1000, "Most bytes of each of these on which the loss is measured.", part="domains", ge=100)
    target_set: str | None = knob(
        None,
        "Your target set (folder, JSONL, Parquet), on which the loss is measured too. Documents that are in the pool"
        " are not used. null: none.",
        given=True,
        part="domains",
    )
    objective: str = knob(
        "held_out",
        "Loss that the weights should lower. held_out: the mean over domains, by their shares of the pool. benchmarks:"
        " the solutions of corpus.benchmarks. target: your target_set. domain:NAME: one domain.",
        part="fit",
    )
    mixtures: int = knob(
        64, "Number of mixtures. More of them later train only the new ones.", "n", when=REGMIX, part="runs", ge=8
    )
    prior: float = knob(
        0.5,
        "Exponent of the natural shares in the mean of the mixtures. 1: the natural shares. 0: all domains alike.",
        when=REGMIX,
        part="runs",
        ge=0,
        le=1,
    )
    strengths: list[float] = knob(
        [0.1, 5.0],
        "Least and largest concentration of the Dirichlet from which mixtures are drawn. A small one gives mixtures of"
        " few domains.",
        when=REGMIX,
        part="runs",
    )
    max_ratio: float = knob(
        15.0,
        "Largest weight of a domain in a mixture, as a multiple of its natural share.",
        when=REGMIX,
        part="runs",
        gt=1,
    )
    min_weight: float = knob(
        2e-4,
        "Smaller weights in a mixture are 0, and weights are its multiples.",
        when=REGMIX,
        part="runs",
        gt=0,
        le=0.01,
    )
    regressor: Literal["auto", "loglinear", "lightgbm", "gp", "rank_mean", "embedding"] = knob(
        "auto",
        "Regression that ranks mixtures. rank_mean: the mean rank by the first three. embedding: by the mean embedding"
        " of what a mixture reads, whatever its domains. auto: loglinear below 128 mixtures, otherwise rank_mean. The"
        " weights themselves always come from loglinear.",
        when=REGMIX,
        part="fit",
    )
    evidence: list[str] = knob(
        [],
        "Versions of earlier mixture_runs, whose mixtures the regression learns from too. They may be of another"
        " partition. The table mixture_fit says how well they alone predict the mixtures of now.",
        given=True,
        when={"method": "regmix", "regressor": "embedding"},
        added=True,
        part="fit",
    )
    kl_to_natural: float | None = knob(
        0.1,
        "Largest Kullback-Leibler distance of the weights to the natural shares, in nats. null: no limit.",
        when=REGMIX,
        part="fit",
        gt=0,
    )
    bootstrap: int = knob(
        200,
        "Resamples of the mixtures for the intervals of the weights. 0: no intervals.",
        when=REGMIX,
        part="fit",
        ge=0,
    )
    eta: float = knob(1.0, "Step size of the weights.", "η", when=DOREMI, part="runs", gt=0)
    smoothing: float = knob(
        1e-3, "Share of the uniform weights in each step.", "c", when=DOREMI, part="runs", gt=0, lt=1
    )
    reference: Literal["natural", "tempered", "uniform"] = knob(
        "natural",
        "Weights on which the reference model is trained. tempered: by the square root of the natural shares.",
        when=DOREMI,
        part="runs",
    )
    factor: float = knob(2.0, "How much each domain in turn is upsampled.", when=PERF, part="runs", gt=1)
    rho: float = knob(1.0, "How much the ranked gains count in the weights.", "ρ", when=PERF, part="fit", ge=0)
    max_epochs: float | None = knob(
        None,
        "Most readings of a domain in the subset, which bound its weight. null: budget.max_repeats with"
        " budget.overflow=repeat, otherwise 1.",
        part="fit",
        gt=0,
    )
    repetition: Literal["matched", "free"] = knob(
        "matched",
        "How often a training repeats a domain. matched: as often as the subset would, so it sees of each domain only"
        " the share that a training has of the budget. free: it may see the whole domain.",
        part="runs",
    )
    seeds: int = knob(1, "Trainings of each mixture.", part="runs", ge=1, le=20)
    check_seeds: int = knob(3, "Trainings of each mixture in mixture_check.", part="check", ge=2, le=20)
    seed: int = knob(0, "Seed of held-out documents and mixtures, and of the first training.", part="runs", ge=0)
    tokens: int = of_the_training("tokens", 300_000, description="Tokens of each training.", symbol="T")
    vocabulary: int = of_the_model("vocabulary", 1024)
    hidden: int = of_the_model("hidden", 128)
    layers: int = of_the_model("layers", 2)
    heads: int = of_the_model("heads", 2)
    context: int = of_the_model("context", 64)
    batch_tokens: int = of_the_training("batch_tokens", 256)
    learning_rate: float = of_the_training("learning_rate", 1.5e-3)
    dtype: Precision = of_the_training("dtype", "bfloat16")
    device: Trainer = of_the_training("device", "cpu")

    @field_validator("objective")
    @classmethod
    def one_loss(cls, value: str) -> str:
        value = value.strip()
        of_a_domain = value.startswith("domain:") and value != "domain:"
        if value not in OBJECTIVES and not of_a_domain:
            raise ValueError(f"must be {', '.join(OBJECTIVES)}, or domain:NAME with the name of a domain")
        return value

    @field_validator("strengths")
    @classmethod
    def two_above_zero(cls, value: list[float]) -> list[float]:
        if not (len(value) == 2 and 0 < value[0] <= value[1]):
            raise ValueError("must be two numbers above 0, the first not above the second")
        return value


GRADIENTS = ("full", "blocks", "head", "factored")  # sources that are gradients of the reference model
OF_A_MODEL = (*GRADIENTS, "hidden")  # sources that need the reference model
Source = Literal["unigram", "cross_entropy", "embedding", "full", "blocks", "head", "factored", "hidden", "column"]
CHOSEN = {"choose": ["bootstrap", "lcb", "lcb_free"]}
BY_BLOCKS = {"choose": ["lcb", "lcb_free"]}
TRAINED_HERE = {"reference": None}
NAMED = re.compile(r"[A-Za-z0-9_.-]+")


def _must_be_held_out_by(by: str, name: str) -> None:
    """ValueError if no target of held-out projects can have this name. Its value is looked up when the pool is read."""
    if by == "none" and name != "held_out":
        raise ValueError(
            f"there is no target '{name}': held_out_by is none, so all held-out projects are one target, 'held_out'."
            " Name that, or set held_out_by to language or cluster"
        )
    if by != "none" and not name.partition(":")[2]:
        raise ValueError(
            f"there is no target '{name}': held_out_by is {by}, so each target is 'held_out:' with its {by}. Name one"
            " of these, or set held_out_by to none"
        )


class Attribution(Group):
    """What a subset of documents is worth to a target, predicted from sketches of documents, and checked by retraining.

    It is used with settings/selection.rule=greedy and settings/budget.base=grasp. The method, GRASP, is public only as
    an abstract. What is here is a reconstruction.
    """

    name = "attribution"

    targets: list[Literal["benchmarks", "held_out"]] = knob(
        ["benchmarks"],
        "What documents should help with, beside target_sets. benchmarks: the solutions of corpus.benchmarks. held_out:"
        " the projects that corpus.held_out takes out of the pool.",
        given=True,
        part="targets",
    )
    held_out_by: Literal["none", "language", "cluster"] = knob(
        "none",
        "Whether held-out projects are one target, or one for each language or cluster.",
        given=True,
        when={"targets": Has("held_out")},
        part="targets",
    )
    target_sets: list[str] = knob(
        [],
        "Your target sets (folder, JSONL, Parquet), as NAME=PATH. Documents that are in the pool are not used.",
        given=True,
        part="targets",
    )
    items: int = knob(400, "Most items of a target. Half of them shape it, half measure it.", part="targets", ge=2)
    passage: int = knob(1000, "Most bytes of an item.", part="targets", ge=100)
    target_weights: list[str] = knob(
        [],
        "Weights of targets, as NAME=WEIGHT. A target without one has 1. A target of weight 0 is only measured.",
        given=True,
        part="aim",
    )
    combine: Literal["sum", "maxmin"] = knob(
        "sum",
        "How several targets are weighed. sum: the weighted sum of utilities. maxmin: the worst utility.",
        part="aim",
    )
    temperature: float = knob(
        0.2,
        "How much worse than others a target must be to lead under maxmin, as a share of the largest utility. Smaller:"
        " the worst one alone decides each step. The default was the best of five on planted pools.",
        "τ",
        when={"combine": "maxmin"},
        part="aim",
        added=True,
        gt=0,
    )
    reference: str | None = knob(
        None,
        "Model at which gradients are taken, and from which models are retrained. null: a small model, trained here on"
        " a random subset. proxy: the packaged one. Otherwise a local path or a hub name, with safetensors.",
        given=True,
        part="reference",
    )
    tokens: int = of_the_training(
        "tokens",
        1_000_000,
        description="Tokens that the small reference is trained on.",
        when=TRAINED_HERE,
        part="reference",
    )
    vocabulary: int = of_the_model("vocabulary", 1024)
    hidden: int = of_the_model("hidden", 128, when=[TRAINED_HERE, {"start": "scratch"}])
    layers: int = of_the_model("layers", 2, when=[TRAINED_HERE, {"start": "scratch"}])
    heads: int = of_the_model("heads", 2, when=[TRAINED_HERE, {"start": "scratch"}])
    context: int = of_the_model("context", 128)
    batch_tokens: int = of_the_training("batch_tokens", 1024, when=[TRAINED_HERE, CHOSEN])
    learning_rate: float = of_the_training("learning_rate", 1.5e-3, when=[TRAINED_HERE, CHOSEN])
    dtype: Precision = of_the_training("dtype", "bfloat16", when=[TRAINED_HERE, CHOSEN])
    device: Trainer = of_the_training("device", "cpu")
    source: Literal[Source, "auto"] = knob(
        "unigram",
        "What the features of a document are. unigram: its token counts, without a model. cross_entropy: the same, and"
        " a subset is scored by how well its token counts predict the target. embedding: its vector. full, blocks,"
        " head, factored: its gradient at the reference, of all weights, of the blocks, of the head, or of each layer"
        " by its two factors. hidden: its mean hidden state. column: vectors of your own. auto: whichever of candidates"
        " predicts retraining best.",
        "φ",
        part="sketch",
    )
    candidates: list[Source] = knob(
        ["unigram", "cross_entropy", "embedding", "head", "full"],
        "Sources that source=auto compares.",
        when={"source": "auto"},
        part="sketch",
        min_length=1,
    )
    column: str | None = knob(
        None,
        "Parquet table with your vectors: doc_id, and one column of lists of numbers. Rows of a target have its name in"
        " a column target. Without such rows, a doc_id may be an item_id of attribution_items.",
        given=True,
        when={"source": ["column", "auto"]},
        part="sketch",
    )
    sketch: Literal["countsketch", "sjlt", "rademacher", "svd"] = knob(
        "countsketch",
        "How long features are shortened. countsketch, sjlt, rademacher: by random signs. svd: to the directions of the"
        " targets.",
        part="sketch",
    )
    dim: int = knob(1024, "Length of a sketch. Shorter features stay as they are.", "k", part="sketch", ge=1)
    precondition: Literal["none", "adam_diag", "fisher"] = knob(
        "none",
        "Scaling of gradients before they are compared. adam_diag: by their second moments. fisher: by their damped"
        " covariance.",
        "P",
        when={"source": [*GRADIENTS, "auto"]},
        part="sketch",
    )
    seed: int = knob(0, "Seed of sketches, of items, of the reference and of subsets.", part="sketch", ge=0)
    choose: Literal["none", "bootstrap", "lcb", "lcb_free"] = knob(
        "none",
        "How source, normalize and gamma are chosen: by models that are retrained on subsets of the pool. none: they"
        " are as set, and nothing is retrained. bootstrap: the best in a paired bootstrap over the subsets. lcb: by the"
        " lower confidence bounds of the abstract, from blocks of subsets. lcb_free: the same without an assumption"
        " about distributions.",
        part="choice",
    )
    normalize: Literal["none", "unit", "auto"] = knob(
        "auto",
        "Whether features have unit length when subsets are scored. auto: both are compared; where nothing is chosen,"
        " none.",
        part="choice",
    )
    gamma: float | None = knob(
        None,
        "Weight of the quadratic term, by which similar documents add less to each other. 0: documents are scored one"
        " by one. null: 0.3 for gradients, otherwise 1. With source=cross_entropy only 0 and 1 are possible.",
        "γ",
        when={"choose": "none"},
        part="choice",
        ge=0,
    )
    gammas: list[float] = knob([0, 0.1, 0.3, 1], "Values of gamma that are compared.", when=CHOSEN, part="choice")
    delta: float = knob(
        0.1, "Probability with which a choice may be worse than its bound.", "δ", when=CHOSEN, part="choice", gt=0, lt=1
    )
    blocks: int = knob(6, "Blocks of calibration subsets.", "B", when=BY_BLOCKS, part="choice", ge=2)
    structured: int = knob(
        24,
        "Calibration subsets with a structure: of few or many clusters, with duplicates, of one length or language.",
        when=CHOSEN,
        part="trials",
        ge=0,
    )
    random: int = knob(8, "Calibration subsets that are random.", when=CHOSEN, part="trials", ge=0)
    check_structured: int = knob(
        24,
        "Subsets with a structure on which the choice is checked. No choice reads them.",
        when=CHOSEN,
        part="trials",
        ge=0,
    )
    check_random: int = knob(
        8,
        "Random subsets on which the choice is checked. Without these and check_structured nothing is checked.",
        when=CHOSEN,
        part="trials",
        ge=0,
    )
    trial_tokens: list[int] = knob(
        [100_000],
        "Sizes of the subsets, in tokens. Each size has as many subsets, and sizes are never mixed.",
        when=CHOSEN,
        part="trials",
        min_length=1,
    )
    start: Literal["continued", "scratch"] = knob(
        "continued",
        "Where a retraining starts. continued: at the reference. scratch: at a new model. It reads its subset once.",
        when=CHOSEN,
        part="trials",
    )
    seeds: int = knob(1, "Retrainings on each subset.", when=CHOSEN, part="trials", ge=1, le=20)
    repeated: int = knob(
        8,
        "Subsets of the check that are retrained under one more seed. They show how well a retraining predicts"
        " another.",
        when=CHOSEN,
        part="trials",
        ge=0,
    )

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources whose sketches are made."""
        return tuple(dict.fromkeys(self.candidates)) if self.source == "auto" else (self.source,)

    @property
    def calibrates(self) -> bool:
        """Whether models are retrained on subsets, to choose a configuration."""
        return self.choose != "none"

    @property
    def needs_a_model(self) -> bool:
        """Whether a source of the sketches is computed by the reference model."""
        return any(source in OF_A_MODEL for source in self.sources)

    @property
    def continues(self) -> bool:
        """Whether retrainings start at the reference model."""
        return self.calibrates and self.start == "continued"

    @property
    def paths(self) -> dict[str, str]:
        """Name to path of each of the ``target_sets``."""
        return dict(_named(text) for text in self.target_sets)

    @property
    def weights(self) -> dict[str, float]:
        """Name to weight of each target that has one in ``target_weights``."""
        return {name: float(weight) for name, weight in map(_named, self.target_weights)}

    @field_validator("target_sets")
    @classmethod
    def named_paths(cls, value: list[str]) -> list[str]:
        names = [_named(text)[0] for text in value]
        for name in names:
            if not NAMED.fullmatch(name) or name in ("held_out", *BENCHMARKS):
                raise ValueError(
                    f"'{name}' cannot name a target set: use letters, digits, '_', '-' and '.', and not 'held_out' or"
                    " the name of a benchmark"
                )
            if names.count(name) > 1:
                raise ValueError(f"the name '{name}' is there twice")
        return value

    @field_validator("target_weights")
    @classmethod
    def named_weights(cls, value: list[str], info: ValidationInfo) -> list[str]:
        sets = [_named(text)[0] for text in info.data.get("target_sets", [])]
        targets, by = info.data.get("targets", []), info.data.get("held_out_by", "none")
        wanted = {"benchmarks": BENCHMARKS, "held_out": ("held_out" if by == "none" else f"held_out:{by.upper()}",)}
        known = [*sets, *(name for target in targets for name in wanted[target])]
        for name, weight in map(_named, value):
            if "held_out" in targets and name.partition(":")[0] == "held_out":
                _must_be_held_out_by(by, name)
            elif name not in known:
                raise ValueError(f"there is no target '{name}'. {nearest(name, dict.fromkeys(known))}")
            try:
                fine = 0 <= float(weight) < float("inf")
            except ValueError:
                fine = False
            if not fine:
                raise ValueError(f"the weight of '{name}' is '{weight}', and must be a number from 0 on")
        return value

    @field_validator("choose")
    @classmethod
    def auto_is_chosen(cls, value: str, info: ValidationInfo) -> str:
        if value == "none" and info.data.get("source") == "auto":
            raise ValueError(
                "with attribution.source=auto, trials must choose among the candidates. Set attribution.choose to"
                " bootstrap, or attribution.source to one of them"
            )
        return value

    @field_validator("gamma")
    @classmethod
    def of_the_source(cls, value: float | None, info: ValidationInfo) -> float | None:
        if info.data.get("source") == "cross_entropy" and value not in (None, 0, 1):
            raise ValueError("with attribution.source=cross_entropy it is 1, or 0 for additive scores")
        return value

    @field_validator("gammas")
    @classmethod
    def with_zero(cls, value: list[float]) -> list[float]:
        if 0 not in value or min(value) < 0:
            raise ValueError("must be numbers from 0 on, and contain 0, with which all others are compared")
        return sorted(set(value))

    @field_validator("trial_tokens")
    @classmethod
    def sizes_above_zero(cls, value: list[int]) -> list[int]:
        if min(value) <= 0 or len(set(value)) < len(value):
            raise ValueError("must be different numbers above 0")
        return value


def _named(text: str) -> tuple[str, str]:
    """(NAME, VALUE) of ``NAME=VALUE``."""
    name, found, value = text.partition("=")
    if not (found and name.strip() and value.strip()):
        raise ValueError(f"'{text}' is not NAME=VALUE")
    return name.strip(), value.strip()


WEIGHTED = {"weight": ["length", "density"]}
BY_DENSITY = {"weight": "density"}
GREEDY = {"rule": "greedy"}


class Selection(Group):
    """How documents are selected: by default those of a cluster that are unusual and long [paper eq. 9, 10]."""

    name = "selection"

    rule: Literal[
        "draw",
        "random",
        "by_cluster",
        "by_language",
        "top_quality",
        "semdedup",
        "d4",
        "dsir",
        "longest",
        "shortest",
        "greedy",
    ] = knob(
        "draw",
        "How documents are selected. draw: by weights, to the budget of each cluster. by_cluster, by_language: the same"
        " amount of each. greedy: those that help most with the targets of settings/attribution, given what is already"
        " selected. The others: to the whole budget.",
        added=True,
    )
    weight: Literal["uniform", "length", "density"] = knob(
        "density",
        "Weights of the draw. uniform: all the same. length: the length term. density: length and density terms.",
        when={"rule": "draw"},
    )
    beta: float = knob(0.3, "Exponent of a document's length in its weight.", "β", when=WEIGHTED, ge=0, le=3)
    neighbours: int = knob(
        10, "Number of nearest neighbours from which density is measured.", "k", when=BY_DENSITY, ge=1
    )
    bandwidth: str = knob(
        "median",
        "Bandwidth of the density: a number, or median (of the neighbour distances in the cluster).",
        "h",
        when=BY_DENSITY,
    )
    bandwidth_scale: float = knob(1.0, "Factor on the bandwidth.", when=BY_DENSITY, gt=0)
    split: int = knob(
        200_000, "Clusters with more documents are split before neighbours are searched.", when=BY_DENSITY, ge=1000
    )
    rho_floor: float = knob(0.01, "Lowest density, as a share of k. The paper has 0.", "ρ", when=BY_DENSITY, ge=0, lt=1)
    clip_quantile: float = knob(
        0.995, "Weights above this quantile are lowered to it. The paper has 1.", when=WEIGHTED, gt=0, le=1
    )
    max_tokens: int | None = knob(None, "Documents with more tokens are never selected. null: no limit.", gt=0)
    max_share: float | None = knob(
        None,
        "Documents with more than this share of the budget's tokens are never selected, so that no single one is a"
        " large part of the subset. null: no limit.",
        added=True,
        gt=0,
        le=1,
    )
    seed: int = knob(0, "Seed of the draw.", when={"rule": Not(["semdedup", "d4", "greedy"])}, ge=0)
    scope: Literal["pool", "clusters"] = knob(
        "pool",
        "Budget that greedy fills. pool: one budget, that of all clusters together. clusters: the budget of each"
        " cluster.",
        when=GREEDY,
        added=True,
    )
    rounds: int = knob(
        32,
        "Rounds of greedy. In each, the best documents are taken together, and then what they cover is counted. More"
        " rounds see more of what documents have in common, and take longer.",
        "R",
        when=GREEDY,
        added=True,
        ge=1,
        le=10_000,
    )

    @field_validator("bandwidth", mode="before")
    @classmethod
    def median_or_a_positive_number(cls, value: Any) -> str:
        if value == "median":
            return "median"
        try:
            positive = float(value) > 0
        except (TypeError, ValueError):
            positive = False
        if not positive:
            raise ValueError("must be 'median' or a number above 0")
        return str(float(value))


class Reports(Group):
    """How much the reports compute."""

    name = "reports"

    stability_seeds: int = knob(
        0,
        "Number of other seeds of clustering and probe for the report stability. Each seed runs these parts of the"
        " chain again, and pays for the calls of an LLM judge again. 0: only other seeds of the draw, which is cheap.",
        given=True,
        ge=0,
        le=20,
    )


STRATEGIES = [
    *("random", "static", "quality_replay", "loss_replay", "diversity", "grip"),  # Panel B of the paper
    "in_force",
    *("proportional", "by_cluster", "by_language", "top_quality", "semdedup", "d4", "dsir", "longest", "shortest"),
    *("no_sigma", "no_quality", "no_replay", "no_gate", "no_density", "no_length"),
]


def target_name(target: str) -> str:
    """The name of a set of settings/evaluation.targets. ValueError if it is written otherwise."""
    if target == "prose":
        return target
    if re.fullmatch(r"language:[^=:]+", target):
        return target.removeprefix("language:")
    if match := re.fullmatch(r"([A-Za-z][A-Za-z0-9_]*)=(.+)", target):
        return match[1]
    raise ValueError(f"'{target}' is no target. Write language:NAME, prose, or NAME=PATH")


class Evaluation(Group):
    """A small language model is trained from scratch on the selection of each strategy, and its losses are compared."""

    name = "evaluation"

    strategies: list[str] = knob(
        STRATEGIES,
        "Strategies that are compared: profiles of budget and selection (Panel B of the paper, baselines, GRIP without"
        " one part), and in_force, which means your settings.",
        min_length=1,
    )
    seeds: int = knob(
        3, "Number of draws and trainings of each strategy. All strategies use the same seeds.", ge=2, le=50
    )
    main: list[str] = knob(
        [],
        "Strategies that have main_seeds instead of seeds. random has them too if any other has. []: none.",
        added=True,
    )
    main_seeds: int = knob(10, "Number of draws and trainings of each strategy in main.", ge=2, le=50, added=True)
    seed: int = knob(0, "First seed.", ge=0)
    multiples: list[float] = knob(
        [0.5, 2.0, 4.0],
        "Multiples of the tokens at which random is trained as well, under every seed. The table `worth` then says how"
        " many random tokens reach the loss of a strategy. []: not measured.",
        added=True,
    )
    tokens: int = of_the_training(
        "tokens", 600_000, description="Tokens that each model is trained on. A smaller subset is read more than once."
    )
    vocabulary: int = of_the_model("vocabulary", 4096)
    hidden: int = of_the_model("hidden", 192)
    layers: int = of_the_model("layers", 4)
    heads: int = of_the_model("heads", 3)
    context: int = of_the_model("context", 256)
    batch_tokens: int = of_the_training("batch_tokens", 1024)
    learning_rate: float = of_the_training("learning_rate", 1e-3)
    dtype: Precision = of_the_training("dtype", "bfloat16")
    device: Trainer = of_the_training("device", "cpu")
    documents: int = knob(400, "Most held-out documents on which the loss is measured.", gt=0)
    passage: int = knob(1000, "Most bytes of each held-out document on which the loss is measured.", ge=100)
    target: str | None = knob(
        None,
        "Your target set (folder, JSONL, Parquet). The loss is measured on it too, and DSIR selects for it. null: the"
        " benchmarks.",
        given=True,
    )
    targets: list[str] = knob(
        [],
        "Further sets of texts on which the same models are measured: `language:NAME` and `prose` are passages of"
        " held-out documents of that kind; `NAME=PATH` is a test set of yours.",
        added=True,
        given=True,
    )
    pass_at_1: bool = knob(
        False, "Run the programs that the models write for the benchmarks, in another process. Use a sandbox."
    )
    other_proxy: str | None = knob(
        None, "Proxy with which `sensitivity` compares. null: a model trained here on a random subset.", given=True
    )
    other_encoder: str = knob("SmolLM2-135M", "Encoder with which `length_slopes` compares.", given=True)

    @field_validator("strategies")
    @classmethod
    def with_random(cls, value: list[str]) -> list[str]:
        if unknown := [name for name in value if name not in profiles.strategies()]:
            known = dict.fromkeys(profiles.strategies())
            raise ValueError(f"there is no strategy '{unknown[0]}'. {nearest(unknown[0], known)}".rstrip("."))
        if "random" not in value:
            raise ValueError("must contain 'random', with which all others are compared")
        return list(dict.fromkeys(value))

    @field_validator("main")
    @classmethod
    def known_strategies(cls, value: list[str]) -> list[str]:
        if unknown := [name for name in value if name not in profiles.strategies()]:
            known = dict.fromkeys(profiles.strategies())
            raise ValueError(f"there is no strategy '{unknown[0]}'. {nearest(unknown[0], known)}".rstrip("."))
        return list(dict.fromkeys(value))

    @field_validator("multiples")
    @classmethod
    def of_one(cls, value: list[float]) -> list[float]:
        if wrong := [multiple for multiple in value if not 0 < multiple <= 100]:
            raise ValueError(f"{wrong[0]:g} is no multiple from above 0 to 100")
        return sorted({float(multiple) for multiple in value} - {1.0})  # random itself is at 1

    @field_validator("targets")
    @classmethod
    def different_names(cls, value: list[str]) -> list[str]:
        names = [target_name(target) for target in value]
        if twice := [name for i, name in enumerate(names) if name in (*names[:i], "held_out", "target")]:
            raise ValueError(f"two sets would be called '{twice[0]}'. Give one of them another name: NAME=PATH")
        return value

    @property
    def selecting(self) -> list[str]:
        """The strategies that select documents before a training, without the closed loop."""
        return [name for name in self.strategies if name != profiles.ROUNDS]

    def seeds_of(self, strategy: str) -> range:
        """The seeds of a strategy."""
        is_main = strategy in self.main or (strategy == "random" and bool(self.main))
        return range(self.seed, self.seed + (self.main_seeds if is_main else self.seeds))


GROUPS: dict[str, type[Group]] = {
    schema.name: schema
    for schema in (
        Corpus,
        NearDuplicates,
        Embedding,
        Clustering,
        Student,
        Taxonomy,
        Probe,
        Quality,
        Adaptation,
        Mixing,
        Attribution,
        Budget,
        Selection,
        Reports,
        Evaluation,
    )
}
