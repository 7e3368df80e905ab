"""The document-intruder test: five documents of one cluster and one of another are shown; which one does not belong?

A judge that knows nothing of the clusters finds the intruder as often as the clusters differ in its own eyes. Whoever
guesses finds one in six. After the word intrusion of [Chang et al. 2009], with documents in place of words.

Shapes: N documents, T trials, K clusters, S = 6 documents of a trial, d dimensions.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from grip_assets.method.sampling import keyed_uniform

MEMBERS = 5
SHOWN = MEMBERS + 1
CHANCE = 1 / SHOWN
MOST = 2_000  # trials of all clusters together


@dataclass(frozen=True)
class Trials:
    """``cluster_T``: the tested cluster of each trial, ascending, int64. ``rows_TS``: the documents that are shown, as
    rows of the input, int64, in a random order. ``place_T``: which of them is the intruder, 0 to 5, int64."""

    cluster_T: np.ndarray
    rows_TS: np.ndarray
    place_T: np.ndarray

    def __len__(self) -> int:
        return len(self.cluster_T)


def trials(documents: pl.DataFrame, each: int, seed: int, most: int = MOST) -> Trials:
    """``each`` trials of every cluster that has five documents, or fewer if all clusters would have above ``most``.

    ``documents``: doc_id and cluster_id. All is drawn by keyed hashes of the ids, so neither the order of the rows nor
    the other clusters' documents change which members are shown. Members are not shown twice until all were shown once.
    The intruder's cluster is drawn first, each other cluster with the same chance, and then its document: the test asks
    how well a cluster differs from any other, and not from the largest. With more clusters than ``most``, only the
    largest are tested.
    """
    sizes = documents.group_by("cluster_id").len("size").sort("size", "cluster_id", descending=[True, False])
    sizes = sizes.filter(pl.col("size") >= MEMBERS).head(most).sort("cluster_id")
    if each < 1 or sizes.is_empty() or documents["cluster_id"].n_unique() < 2:
        return Trials(np.empty(0, np.int64), np.empty((0, SHOWN), np.int64), np.empty(0, np.int64))
    each = min(each, max(most // len(sizes), 1))
    order = _by_hash(documents, seed, each * MEMBERS)
    found = [_of_cluster(k, order, each, seed) for k in sizes["cluster_id"].to_list()]
    return Trials(*(np.concatenate(part) for part in zip(*found, strict=True)))


@dataclass(frozen=True)
class _Ordered:
    """Some documents of every cluster: their ids and their rows of the input, in the order of a hash of the ids."""

    ids: dict[int, list[str]]
    rows: dict[int, np.ndarray]


def _by_hash(documents: pl.DataFrame, seed: int, most: int) -> _Ordered:
    """At most ``most`` documents of each cluster."""
    u = pl.Series("u", keyed_uniform(seed, "intruders", documents["doc_id"]))
    some = (
        documents.select("doc_id", "cluster_id")
        .with_row_index("row")
        .with_columns(u)
        .filter(pl.col("u").rank("ordinal").over("cluster_id") <= most)
        .sort("cluster_id", "u", "doc_id")
    )
    groups = {int(key[0]): group for key, group in some.group_by("cluster_id", maintain_order=True)}
    return _Ordered(
        {k: group["doc_id"].to_list() for k, group in groups.items()},
        {k: group["row"].to_numpy().astype(np.int64) for k, group in groups.items()},
    )


def _of_cluster(k: int, order: _Ordered, each: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    members_TM = _members(order.ids[k], order.rows[k], each, seed)
    others = [other for other in order.rows if other != k]
    u_T3 = np.stack([keyed_uniform(seed, f"intruder_{i}", [f"{k}:{t}" for t in range(each)]) for i in range(3)], axis=1)
    rows_TS, place_T = np.empty((each, SHOWN), np.int64), (u_T3[:, 2] * SHOWN).astype(np.int64)
    for t in range(each):
        from_rows = order.rows[others[int(u_T3[t, 0] * len(others))]]
        intruder = from_rows[int(u_T3[t, 1] * len(from_rows))]
        rows_TS[t] = np.insert(members_TM[t], place_T[t], intruder)
    return np.full(each, k, np.int64), rows_TS, place_T


def _members(ids: list[str], rows: np.ndarray, each: int, seed: int) -> np.ndarray:
    """Five members for each trial, (T, 5): the members in a random order, then in another one, and so on."""
    found: list[np.ndarray] = []
    passes, in_a_pass = 0, len(rows) // MEMBERS
    while sum(map(len, found)) < each:
        order = np.argsort(keyed_uniform(seed, f"members_{passes}", ids), kind="stable")
        found.append(rows[order[: in_a_pass * MEMBERS]].reshape(in_a_pass, MEMBERS))
        passes += 1
    return np.concatenate(found)[:each]


def odd_one_out(x_ND: np.ndarray, rows_TS: np.ndarray) -> np.ndarray:
    """The place, 0 to 5, of the document whose mean cosine to the other five is lowest, int64 (T,).

    ``x_ND``: unit vectors. Equal means: the first of them.
    """
    x_TSD = np.asarray(x_ND, np.float64)[rows_TS]
    cosine_TSS = np.einsum("tsd,trd->tsr", x_TSD, x_TSD)
    others_TS = cosine_TSS.sum(2) - np.einsum("tss->ts", cosine_TSS)
    return np.argmin(np.round(others_TS, 9), axis=1)


def coverage(trials_K: np.ndarray, size_K: np.ndarray) -> float:
    """Share of the documents that are in clusters with at least one trial."""
    return float(size_K[trials_K > 0].sum() / size_K.sum())
