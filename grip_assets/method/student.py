"""The student: a linear classifier of texts that labels documents without a vector, as the teacher would [spec 2.8].

The teacher is the partition, which labels documents by their vectors. Some of its labels, the pseudo-labels, train the
student: multinomial logistic regression (scikit-learn) on hashed n-grams (ngrams.py), weighted by 1 + log(count) and
idf, in rows of length 1. The same inputs give the same bits on any number of threads: fits run on one thread, and the
probabilities of a document depend on that document alone.

stages/curation/student.py chooses the pseudo-labels. Shapes: N documents, F features (buckets that training documents
share), C classes.
"""

import hashlib
import warnings
from typing import NamedTuple

import numpy as np

from grip_assets.method.ngrams import BITS, Grams
from grip_assets.method.screening import compiled

INVERSE_PENALTY = 30.0  # scikit-learn's C
ITERATIONS = 100
MOST_WEIGHTS = 1 << 21  # features times classes: L-BFGS holds about 25 arrays of this size, in float64


class Classifier(NamedTuple):
    """``bucket_F``: the buckets that are features, int32, ascending. ``idf_F``, ``weight_FC``, ``bias_C``: float32."""

    bucket_F: np.ndarray
    idf_F: np.ndarray
    weight_FC: np.ndarray
    bias_C: np.ndarray

    @property
    def name(self) -> str:
        """16 hex digits that name the content."""
        hashed = hashlib.sha256()
        for array in self:
            hashed.update(np.ascontiguousarray(array).tobytes())
        return hashed.hexdigest()[:16]


def fit(found: Grams, label_N: np.ndarray, prior_C: np.ndarray, correct: bool = True) -> Classifier:
    """``found``: n-grams of the training documents. ``label_N``: their classes. Each of the C classes has some.

    ``prior_C``: the teacher's share of each class. With ``correct``, log(prior) - log(share in training) is added to
    the scores, since the training documents are drawn evenly from the classes.
    """
    classes = len(prior_C)
    bucket_F, idf_F = _features(found, classes)
    if classes == 1 or not len(bucket_F):
        weight_FC, bias_C = np.zeros((len(bucket_F), classes)), np.log(_shares(label_N, classes))
    else:
        weight_FC, bias_C = _regressed(_rows(found, bucket_F, idf_F), label_N, classes)
    if correct:
        bias_C = bias_C + np.log(np.maximum(prior_C, 1e-12)) - np.log(_shares(label_N, classes))
    return Classifier(bucket_F, idf_F, weight_FC.astype(np.float32), bias_C.astype(np.float32))


def probabilities(student: Classifier, found: Grams) -> np.ndarray:
    """float32 (N, C); rows sum to 1. A text without any known n-gram has the teacher's shares."""
    feature_of = np.full(1 << BITS, -1, np.int32)
    feature_of[student.bucket_F] = np.arange(len(student.bucket_F), dtype=np.int32)
    score_NC = np.zeros((len(found), len(student.bias_C)), np.float32)
    _scores(*found, feature_of, student.idf_F, student.weight_FC, student.bias_C, score_NC)
    score_NC = np.exp(score_NC - score_NC.max(1, keepdims=True))
    return score_NC / score_NC.sum(1, keepdims=True)


def macro_f1(label_N: np.ndarray, found_N: np.ndarray) -> float:
    """Mean F1 over the classes that ``label_N`` has: small classes count as much as large ones."""
    scores = []
    for label in np.unique(label_N):
        right = int(((label_N == label) & (found_N == label)).sum())
        scores.append(2 * right / (int((label_N == label).sum()) + int((found_N == label).sum())))
    return float(np.mean(scores)) if scores else 0.0


def _shares(label_N: np.ndarray, classes: int) -> np.ndarray:
    return np.bincount(label_N, minlength=classes) / len(label_N)


def _features(found: Grams, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The buckets that two documents or more have, the most common ones if there are too many; and their idf."""
    in_documents = np.bincount(found.bucket_J, minlength=1 << BITS)
    bucket_F = np.flatnonzero(in_documents >= min(2, len(found)))
    most = MOST_WEIGHTS // classes
    if len(bucket_F) > most:
        bucket_F = np.sort(bucket_F[np.argsort(-in_documents[bucket_F], kind="stable")[:most]])
    idf_F = np.log(len(found) / in_documents[bucket_F]) + 1
    return bucket_F.astype(np.int32), idf_F.astype(np.float32)


def _rows(found: Grams, bucket_F: np.ndarray, idf_F: np.ndarray):
    """The training documents as a sparse matrix (N, F), float64."""
    from scipy.sparse import csr_matrix
    from sklearn.preprocessing import normalize  # scikit-learn takes a second to load

    every = csr_matrix(
        (1 + np.log(found.count_J), found.bucket_J, found.start_N), shape=(len(found), 1 << BITS), dtype=np.float64
    )
    return normalize(every[:, bucket_F].multiply(idf_F.astype(np.float64)).tocsr())


def _regressed(rows_NF, label_N: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """(weights, float64 (F, C); biases, float64 (C,)). On one thread, so that sums have one order."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=ITERATIONS, tol=1e-4)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the limit on iterations is a choice
        model.fit(rows_NF, label_N)
    weight_CF, bias_C = model.coef_, model.intercept_
    if classes == 2:  # scikit-learn then has one row, for the second class
        weight_CF, bias_C = np.vstack([np.zeros_like(weight_CF), weight_CF]), np.array([0.0, bias_C[0]])
    return weight_CF.T, bias_C


@compiled
def _scores(bucket_J, count_J, start_N, feature_of, idf_F, weight_FC, bias_C, score_NC):
    for i in range(len(start_N) - 1):
        squares = 0.0
        for j in range(start_N[i], start_N[i + 1]):
            f = feature_of[bucket_J[j]]
            if f >= 0:
                value = np.float32((1 + np.log(count_J[j])) * idf_F[f])
                squares += float(value) * float(value)
                for c in range(score_NC.shape[1]):
                    score_NC[i, c] += value * weight_FC[f, c]
        scale = np.float32(1 / np.sqrt(squares)) if squares > 0 else np.float32(0)
        for c in range(score_NC.shape[1]):
            score_NC[i, c] = score_NC[i, c] * scale + bias_C[c]
