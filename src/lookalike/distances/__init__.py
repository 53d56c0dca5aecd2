"""Distances with one vocabulary, and what is found by them.

`pairwise` (cosine, l2, dot, exact-zero Euclidean), `neighbours` (nearest rows, exact and approximate), `centroids` (of
each class, and the rows nearest to them).
"""

from typing import Literal

Distance = Literal["cosine", "l2", "dot"]
NeighbourDistance = Literal["l2", "dot"]
