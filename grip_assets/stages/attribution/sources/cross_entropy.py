"""The source cross_entropy: shares of tokens, of which a subset's unigram model is made. It takes no model.

phi_i are the shares of tokens in a document, in parts of 1,024. Tokens are counted once for this source and for
unigram. A vocabulary that is larger than settings/attribution.dim is hashed into as many buckets, as in DSIR. A subset
is then scored by the cross-entropy of the target: see method/attribution/objective.py.

Counts of a subset are smoothed by those of the pool, with as many tokens as predict the tokens of a document best from
its other tokens (``unigram.prior``). So the smoothing is set by the pool alone, and by no training.
"""

from typing import TYPE_CHECKING

import numpy as np

from grip_assets.method.attribution import unigram
from grip_assets.method.attribution.sketching import CountSketch
from grip_assets.stages.attribution.sources.base import Asked, Measured, Rows, Target, norms
from grip_assets.stages.attribution.sources.unigram import CELLS, counted, counts_of, of_targets

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

UNIT = 1024.0  # so that shares of rare tokens are normal numbers of float16
SAMPLED = 4096  # documents from which the smoothing is estimated


def measure(asked: Asked) -> Measured:
    found = counted(asked)
    dim, n, total = asked.settings.dim, len(asked.documents), float(found.total_V.sum())
    columns = buckets(found.vocabulary, dim, asked.settings.seed)

    def read(start: int, stop: int) -> Rows:
        counts, n_tokens_B = counts_of(found.placed, start, stop, found.vocabulary)
        step, parts = max(CELLS // max(dim, found.vocabulary), 1), []
        for first in range(0, stop - start, step):
            share_BV = shares(counts[first : first + step])
            parts.append(
                (np.asarray((share_BV @ columns).todense(), np.float32), norms(np.asarray(share_BV.todense())))
            )
        feature_BK, norm_B = (np.concatenate(some) for some in zip(*parts, strict=True))
        return Rows(feature_BK, n_tokens_B, norm_B)

    from scipy.sparse import csr_matrix  # slow to import

    targets = {
        name: Target(np.asarray((shares(csr_matrix(counts_V[None])) @ columns).todense(), np.float32)[0], items)
        for name, (counts_V, items) in of_targets(asked, found.tokenizer, found.vocabulary).items()
    }
    step = -(-n // SAMPLED)
    sample = (counts_of(found.placed, at, at + 1, found.vocabulary)[0] for at in range(0, n, step))
    prior = unigram.prior(sample, found.total_V / total) / total
    how = "exact" if found.vocabulary <= dim else "buckets"
    return Measured(found.vocabulary, how, read, targets, found.seconds, total, found.n_bytes, found.new, prior)


def buckets(vocabulary: int, dim: int, seed: int) -> "csr_matrix":
    """The bucket of each token, as a sparse matrix of ones (V, dim): its own column if there are enough."""
    from scipy.sparse import csr_matrix  # slow to import

    wide = vocabulary > dim
    column_V = CountSketch(vocabulary, dim, seed, "cross_entropy").bucket_P if wide else np.arange(vocabulary)
    return csr_matrix((np.ones(vocabulary), column_V, np.arange(vocabulary + 1)), (vocabulary, dim))


def shares(counts: "csr_matrix") -> "csr_matrix":
    """Shares of tokens in parts of 1,024, sparse (B, V). A document without tokens has none."""
    from scipy.sparse import diags  # slow to import

    total_B = np.asarray(counts.sum(axis=1)).ravel()
    return (diags(UNIT / np.maximum(total_B, 1)) @ counts).tocsr()
