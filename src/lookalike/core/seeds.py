"""Randomness without global state: each purpose has its own seed, derived by hashing."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass


def derive_seed(*parts: str | int) -> int:
    """A seed in [0, 2^63) from the study's seed, the run, a purpose and, where needed, a step.

    Equal parts give equal seeds on every machine and Python version; any other part gives an
    unrelated one. Seeding by step makes a resumed training draw what an uninterrupted one drew.
    """
    text = json.dumps(parts, separators=(",", ":"))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


@dataclass(frozen=True)
class RunSeeds:
    """Seeds of one run, by what may share them.

    Attributes:
        study: Seed of the study.
        dataset: Entry of the study's data sets.
        size: Training size, `all` or a number.
        seed: Number of the run.
        run: Id of the run, `digits/nw/all/seed0`.
    """

    study: int
    dataset: str
    size: str
    seed: int
    run: str

    def of_run(self, purpose: str, *more: str | int) -> int:
        """A seed that no other run has."""
        return derive_seed(self.study, self.run, purpose, *more)

    def of_subset(self, purpose: str) -> int:
        """A seed that all models share which are trained on the same images."""
        return derive_seed(self.study, self.dataset, self.size, self.seed, purpose)

    def of_queries(self, evaluation_set: str, purpose: str) -> int:
        """A seed that all models and training sizes share, of an evaluation set."""
        return derive_seed(self.study, self.dataset, self.seed, evaluation_set, purpose)

    def of_dataset(self, purpose: str) -> int:
        """A seed that all runs on a data set share."""
        return derive_seed(self.study, self.dataset, purpose)

    @property
    def draw(self) -> int:
        """The seed by which training images are drawn: models of one number train on the same images."""
        return derive_seed(self.study, self.dataset, self.seed, "subset")
