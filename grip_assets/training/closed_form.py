"""The adaptation probe in closed form [A30 to A33]: how far AdamW's first step from a head of zeros lowers the loss.

At W = 0 every token has probability 1/V, the loss is ln V, and the gradient of row v of the head over T tokens is
g_v = mean(h) / V - (1/T) sum of h_t over the t whose next token is v. AdamW's first step is -lr sign(g). So, to first
order, the loss of other tokens with gradient g' falls by lr <sign(g), g'>. There are no logits, no seed and no steps:
the cost is one forward pass of the frozen backbone. g is a sum over documents, so every document can be held out once,
in one of several folds, without a further pass. Training by steps is in adaptation.py.
Shapes: T predicted tokens, V vocabulary, h hidden size, U distinct next tokens, S of them in one fold. In float64.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from grip_assets.method.sampling import keyed_uniform


@dataclass(frozen=True)
class Passages:
    """The windows of one cluster that the proxy reads, of two tokens or more, each with the number of its document.

    ``ids``: the documents' ids by number. ``held_out``: if a single document was cut in two, the number of the part
    that is held out; None if every document is held out once.
    """

    windows: list[list[int]]
    document_W: np.ndarray
    ids: list[str]
    held_out: int | None = None

    @property
    def next_T(self) -> np.ndarray:
        """The predicted tokens, int64 (T,): all except the first of each window."""
        return np.array([token for window in self.windows for token in window[1:]], np.int64)

    def folds(self, n: int, seed: int) -> tuple[np.ndarray, list[int]]:
        """The fold of each document, and the folds that are held out."""
        if self.held_out is not None:
            return np.arange(len(self.ids)), [self.held_out]
        fold_D = dealt(seed, "adaptation/folds", self.ids, n)
        return fold_D, list(range(min(n, len(self.ids))))

    def halves(self, seed: int) -> list[np.ndarray]:
        """Masks of the windows of two halves of the documents; none if a half would have fewer than two documents."""
        if self.held_out is not None or len(self.ids) < 4:
            return []
        half_D = dealt(seed, "adaptation/halves", self.ids, 2)
        return [half_D[self.document_W] == half for half in (0, 1)]

    def of_tokens(self, of_W: np.ndarray) -> np.ndarray:
        """A value per window, repeated for each token that is predicted in it."""
        return np.repeat(of_W, [len(window) - 1 for window in self.windows])

    def of(self, chosen_W: np.ndarray) -> "Passages":
        """Some of the windows (a mask), with their documents."""
        kept, document_W = np.unique(self.document_W[chosen_W], return_inverse=True)
        windows = [window for window, chosen in zip(self.windows, chosen_W, strict=True) if chosen]
        return replace(self, windows=windows, document_W=document_W, ids=[self.ids[d] for d in kept])


@dataclass(frozen=True)
class Drop:
    """Fall of the loss in nats per predicted token, on held-out tokens and on those trained on."""

    held_out: float
    trained: float


def dealt(seed: int, stage: str, ids: Sequence[str], n: int) -> np.ndarray:
    """A part from 0 to ``n`` - 1 for each id, int64 (N,).

    Ids are dealt out like cards, in the order of a keyed hash.
    """
    part_N = np.empty(len(ids), np.int64)
    part_N[np.argsort(keyed_uniform(seed, stage, ids), kind="stable")] = np.arange(len(ids)) % n
    return part_N


@dataclass(frozen=True)
class Measured:
    """Drops of one cluster: on all its passages, and held out in each half of its documents (empty: too few)."""

    drop: Drop
    halves: list[float]

    def times(self, learning_rate: float) -> "Measured":
        """The drops for another learning rate than 1."""
        drop = Drop(learning_rate * self.drop.held_out, learning_rate * self.drop.trained)
        return Measured(drop, [learning_rate * half for half in self.halves])


def measured(
    passages: Passages, hidden_TH: np.ndarray | None, vocabulary: int, folds: int, seed: int, held_out: bool
) -> Measured:
    """Drops of one cluster, by AdamW's first step with a learning rate of 1.

    ``hidden_TH``: states that enter the head, one row per token of ``next_T``; None for the unigram. Without
    ``held_out`` the drop is measured on the tokens trained on.
    """
    whole = _drop(passages, hidden_TH, vocabulary, folds, seed, held_out)
    halves = []
    for chosen_W in passages.halves(seed):
        states = None if hidden_TH is None else hidden_TH[passages.of_tokens(chosen_W)]
        halves.append(_drop(passages.of(chosen_W), states, vocabulary, folds, seed, held_out).held_out)
    return Measured(whole, halves)


def _drop(
    passages: Passages, hidden_TH: np.ndarray | None, vocabulary: int, folds: int, seed: int, held_out: bool
) -> Drop:
    next_T = passages.next_T
    if not held_out:
        if hidden_TH is None:
            return unigram_on_itself(next_T, vocabulary)
        return first_step_on_itself(hidden_TH, next_T, vocabulary)
    fold_D, held = passages.folds(folds, seed)
    fold_T = passages.of_tokens(fold_D[passages.document_W])
    if hidden_TH is None:
        return unigram(next_T, fold_T, held, vocabulary)
    return first_step(hidden_TH, next_T, fold_T, held, vocabulary)


def first_step(
    hidden_TH: np.ndarray, next_T: np.ndarray, fold_T: np.ndarray, held_out: Sequence[int], vocabulary: int
) -> Drop:
    """Drop of AdamW's first step from a head of zeros, with a learning rate of 1.

    Each fold of ``held_out`` is held out in turn, while all others are trained on. The drop is the mean over these
    folds, weighted by their tokens.
    """
    sums = _Sums(hidden_TH, next_T, fold_T, vocabulary)
    n_F = np.array([(fold_T == fold).sum() for fold in held_out])
    parts = [sums.drop_without(fold) for fold in held_out]
    return Drop(
        *(float(np.average([getattr(p, name) for p in parts], weights=n_F)) for name in ("held_out", "trained"))
    )


def first_step_on_itself(hidden_TH: np.ndarray, next_T: np.ndarray, vocabulary: int) -> Drop:
    """The same, if the loss is measured on the tokens trained on: the L1 norm of their gradient."""
    fold_T = np.zeros(len(next_T), np.int64)
    drop = _Sums(hidden_TH, next_T, fold_T, vocabulary).drop_of_all()
    return Drop(drop, drop)


class _Sums:
    """Sums of hidden states by next token, over all tokens and over each fold.

    Only rows of tokens that occur are stored. All others of the V rows are equal: their gradient is mean(h) / V.
    """

    def __init__(self, hidden_TH: np.ndarray, next_T: np.ndarray, fold_T: np.ndarray, vocabulary: int):
        self.hidden_TH, self.fold_T, self.vocabulary = hidden_TH, fold_T, vocabulary
        distinct_U, self.row_T = np.unique(next_T, return_inverse=True)
        self.elsewhere = vocabulary - len(distinct_U)
        rows_U, self.all_UH, self.all_H = self._of(np.ones(len(next_T), bool))
        assert len(rows_U) == len(distinct_U)

    def _of(self, chosen_T: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For some tokens: the rows that occur (S,), the sums of hidden states by row (S, h), and the total (h,)."""
        row_T, hidden_TH = self.row_T[chosen_T], self.hidden_TH[chosen_T]
        order = np.argsort(row_T, kind="stable")
        rows_S, starts = np.unique(row_T[order], return_index=True)
        sums_SH = np.add.reduceat(hidden_TH[order], starts, axis=0, dtype=np.float64)
        return rows_S, sums_SH, hidden_TH.sum(axis=0, dtype=np.float64)

    def drop_without(self, fold: int) -> Drop:
        """The drop if all other folds are trained on: per token of ``fold``, and per token of the others."""
        rows_S, held_SH, held_H = self._of(self.fold_T == fold)
        train_UH, train_H = self.all_UH.copy(), self.all_H - held_H
        train_UH[rows_S] -= held_SH  # exactly 0 if no other fold has the token
        gradient_UH = train_H / self.vocabulary - train_UH
        sign_UH, sign_H = np.sign(gradient_UH), np.sign(train_H)
        falls = (sign_UH * (held_H / self.vocabulary)).sum() - (sign_UH[rows_S] * held_SH).sum()
        falls += self._elsewhere(sign_H * held_H)
        trained = np.abs(gradient_UH).sum() + self._elsewhere(np.abs(train_H))
        n = int((self.fold_T == fold).sum())
        return Drop(float(falls) / n, float(trained) / (len(self.fold_T) - n))

    def drop_of_all(self) -> float:
        gradient_UH = self.all_H / self.vocabulary - self.all_UH
        return float(np.abs(gradient_UH).sum() + self._elsewhere(np.abs(self.all_H))) / len(self.fold_T)

    def _elsewhere(self, of_H: np.ndarray) -> float:
        """The part of the rows whose token does not occur; each of them adds ``of_H`` / V."""
        return self.elsewhere * float(of_H.sum()) / self.vocabulary


def unigram(next_T: np.ndarray, fold_T: np.ndarray, held_out: Sequence[int], vocabulary: int) -> Drop:
    """Drop from ln V to the cross entropy under the counts of the other folds, in nats per token [A33].

    Smoothed as by Witten and Bell (1991), towards the uniform distribution: p(v) = (c_v + u/V) / (T + u), with T tokens
    trained on, u of them distinct.
    """
    distinct_U, row_T = np.unique(next_T, return_inverse=True)
    all_U = np.bincount(row_T, minlength=len(distinct_U))
    held, trained, n = 0.0, 0.0, 0
    for fold in held_out:
        held_U = np.bincount(row_T[fold_T == fold], minlength=len(distinct_U))
        train_U = all_U - held_U
        fall_U = _fall(train_U, vocabulary)
        held += float((held_U * fall_U).sum())
        trained += float((train_U * fall_U).sum()) / int(train_U.sum()) * int(held_U.sum())
        n += int(held_U.sum())
    return Drop(held / n, trained / n)


def unigram_on_itself(next_T: np.ndarray, vocabulary: int) -> Drop:
    """The same, if the loss is measured on the tokens that are counted."""
    count_U = np.unique(next_T, return_counts=True)[1]
    drop = float((count_U * _fall(count_U, vocabulary)).sum()) / len(next_T)
    return Drop(drop, drop)


def _fall(count_U: np.ndarray, vocabulary: int) -> np.ndarray:
    """ln V + ln p(v) for each token, under these counts."""
    n, distinct = int(count_U.sum()), int((count_U > 0).sum())
    return np.log((count_U * vocabulary + distinct) / (n + distinct))


def in_batches(windows: Sequence[Sequence[int]], tokens: int) -> Iterator[list[int]]:
    """Batches of numbers of windows. The windows of a batch have one length, and together at most ``tokens`` tokens.

    Short windows come first.
    """
    order = sorted(range(len(windows)), key=lambda i: (len(windows[i]), i))
    batch: list[int] = []
    for i in order:
        length = len(windows[i])
        if batch and (length != len(windows[batch[0]]) or (len(batch) + 1) * length > tokens):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
