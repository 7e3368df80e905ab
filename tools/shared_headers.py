"""What settings/embedding.skip_header does to the vectors of a pool, one folder of which is one topic.

    python -m tools.shared_headers FOLDER [--more-than 50] [--of-each 35] [--probe 0.1]

It prints the share of the tokens that stand in shared headers, and then for whole documents and for documents without
them: the mean cosine within a topic and between topics, how often the nearest document is of the same topic, and the
spread σ of each topic. With ``--probe`` it also parts the documents into clusters, and prints how a probe of this share
estimates the static judge's mean score: the variance under Neyman's allocation over that under a proportional one. The
docs cite its figures.
"""

import argparse
import random
from collections import Counter
from pathlib import Path

import numpy as np

from grip_assets.judges.base import Document
from grip_assets.judges.static import judge_document
from grip_assets.method.partition import kmeans
from grip_assets.models.files import locate
from grip_assets.models.opening import EncoderFiles
from grip_assets.settings import Clustering, Embedding, Probe
from grip_assets.sources.headers import head_of, skipped
from grip_assets.sources.languages import language_of
from grip_assets.stages.claims.probe_variance import Population, compared

SMALLEST, LARGEST = 1_800, 7_000  # bytes of a document


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--more-than", type=int, default=50, help="as settings/embedding.skip_header")
    parser.add_argument("--of-each", type=int, default=35, help="documents of each topic")
    parser.add_argument("--probe", type=float, help="share of the documents in a probe")
    parser.add_argument("--clusters", type=int, default=24, help="clusters, for --probe")
    asked = parser.parse_args()
    topics = {folder.name: _texts(folder) for folder in sorted(asked.folder.iterdir()) if folder.is_dir()}
    counts = Counter(name for texts in topics.values() for text in texts for name in {b.name for b in head_of(*text)})
    shared = {name for name, n in counts.items() if name and n > asked.more_than}
    chosen = [(topic, *text) for topic, texts in topics.items() for text in _some(texts, asked.of_each)]
    cuts = [skipped(text, head_of(text, language), shared) for _, text, language in chosen]
    measure(chosen, cuts, asked.probe, asked.clusters)


def _texts(folder: Path) -> list[tuple[str, str | None]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(path.read_text(errors="ignore"), language_of(path.name)) for path in files]


def _some(texts: list[tuple[str, str | None]], n: int) -> list[tuple[str, str | None]]:
    fit = [text for text in texts if SMALLEST < len(text[0]) < LARGEST]
    return random.Random(0).sample(fit, min(n, len(fit)))


def measure(chosen: list[tuple[str, str, str | None]], cuts: list[int], probe: float | None, k: int) -> None:
    topics, texts, _ = zip(*chosen, strict=True)
    encoder = EncoderFiles(locate(Embedding().model), None, None, None, "float32").open()

    def tokens(text: str) -> int:
        return sum(map(len, encoder.windows(text))) if text else 0

    in_headers = sum(tokens(text[:cut]) for text, cut in zip(texts, cuts, strict=True))
    share = in_headers / sum(map(tokens, texts))
    print(f"{len(texts)} documents, {sum(cut > 0 for cut in cuts)} with a shared header: {share:.1%} of the tokens")
    vectors: dict[str, np.ndarray] = {}
    for name, starts in (("whole", [0] * len(cuts)), ("without shared headers", cuts)):
        read = [text[start:] for text, start in zip(texts, starts, strict=True)]
        vectors |= {text: encoder.embed(text).vector.astype(np.float64) for text in read if text not in vectors}
        x_ND = np.stack([vectors[text] for text in read])
        print(f"{name}: {_described(x_ND, np.array(topics))}", flush=True)
        if probe:
            judged = [Document(str(i), text, chosen[i][2]) for i, text in enumerate(read)]
            _compare(x_ND, np.array([_score(document) for document in judged]), probe, k)


def _score(document: Document) -> float:
    """The static judge's mean over its dimensions, from 0 to 1."""
    return float(np.mean(list(judge_document(document).scores.values()))) / 10


def _compare(x_ND: np.ndarray, score_N: np.ndarray, probe: float, k: int) -> None:
    """Print for each start of the clustering what Neyman's allocation gains, and how σ_k goes with the spread of the
    scores."""
    for seed in range(5):
        fitted = kmeans.fit(x_ND.astype(np.float32), Clustering(k=k, min_cluster_docs=5, seed=seed))
        label_N = fitted.assign(x_ND.astype(np.float32)).label_B
        members = [label_N == cluster for cluster in np.unique(label_N)]
        sigma_K = np.array([_spread(x_ND[chosen_N]) for chosen_N in members])
        population = Population("score", [score_N[chosen_N] for chosen_N in members], sigma_K)
        rows = {row["allocation"]: row for row in compared(population, Probe(fraction=probe), 1)}
        found, best = rows["neyman"], rows["optimum"]
        print(
            f"  seed {seed}: {len(members)} clusters, probe of {found['probe_size']}: expected variance of Neyman over"
            f" proportional {found['expected_ratio']:.2f}, optimum {best['expected_ratio']:.2f}; rank correlation of"
            f" σ_k with the spread of scores {found['spread_correlation']:.2f}; σ_k from {sigma_K.min():.2f} to"
            f" {sigma_K.max():.2f}",
            flush=True,
        )


def _described(x_ND: np.ndarray, topic_N: np.ndarray) -> str:
    cosine_NN = x_ND @ x_ND.T
    np.fill_diagonal(cosine_NN, np.nan)
    same_NN = topic_N[:, None] == topic_N[None]
    within, between = np.nanmean(cosine_NN[same_NN]), np.nanmean(cosine_NN[~same_NN])
    nearest = np.mean(topic_N[np.nanargmax(cosine_NN, 1)] == topic_N)
    spreads = " ".join(f"{topic} {_spread(x_ND[topic_N == topic]):.2f}" for topic in dict.fromkeys(topic_N))
    return f"cosine within {within:.3f}, between {between:.3f}; nearest of the same topic {nearest:.3f}; σ: {spreads}"


def _spread(x_MD: np.ndarray) -> float:
    """σ_k: the root of the mean squared distance to the centroid, which has length 1 [paper eq. 3]."""
    mean_D = x_MD.mean(0)
    return float(np.sqrt(np.mean(np.sum((x_MD - mean_D / np.linalg.norm(mean_D)) ** 2, axis=1))))


if __name__ == "__main__":
    main()
