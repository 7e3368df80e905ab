"""How a MinHash signature is cut into bands, and which pairs these find.

A signature is cut into b bands of r slots. Two texts are compared if they agree in all slots of at least one band. For
texts of Jaccard similarity s, that happens with probability 1 - (1 - s^r)^b, the S-curve [Leskovec, Rajaraman & Ullman,
Mining of Massive Datasets, 3.4]. near_copies.py compares them. No compiled code is here, so a plan can ask for it.
"""

from typing import NamedTuple


class Bands(NamedTuple):
    """``n`` bands of ``rows`` slots each."""

    n: int
    rows: int

    def found(self, similarity: float) -> float:
        """The probability that a pair of this similarity is compared: the S-curve."""
        return 1 - (1 - similarity**self.rows) ** self.n


def choose_bands(permutations: int, threshold: float, recall: float) -> Bands:
    """The fewest bands, of equal size and of all slots, that find a pair at the threshold with this probability.

    If no number of bands does, one slot is a band: the most that the signature can give.
    """
    sizes = (rows for rows in range(permutations, 0, -1) if permutations % rows == 0)
    options = (Bands(permutations // rows, rows) for rows in sizes)
    return next((bands for bands in options if bands.found(threshold) >= recall), Bands(permutations, 1))
