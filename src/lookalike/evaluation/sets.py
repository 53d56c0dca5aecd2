"""Evaluation sets: a split of the data set, as it is or changed.

`test`, `train`, `validation`; `test-gaussian_noise-3` is corrupted with severity 3; `test-patch` carries the
adversarial patch of the study.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lookalike.data.settings import CORRUPTIONS, SEVERITIES

SPLITS = ("test", "train", "validation")
PATTERN = rf"({'|'.join(SPLITS)})(-patch|-({'|'.join(CORRUPTIONS)})-[{SEVERITIES[0]}-{SEVERITIES[-1]}])?"


@dataclass(frozen=True)
class EvaluationSet:
    """A name taken apart.

    Attributes:
        split: which images.
        corruption: a name of `CORRUPTIONS`, or empty.
        severity: 1 to 5, or 0.
        patch: whether the images carry the study's adversarial patch.
    """

    split: str
    corruption: str = ""
    severity: int = 0
    patch: bool = False


def evaluation_set(name: str) -> EvaluationSet:
    """Take the name of an evaluation set apart.

    Raises:
        ValueError: there is no such set.
    """
    if not re.fullmatch(PATTERN, name):
        raise ValueError(
            f"evaluation set {name!r} is unknown; write test, train or validation, alone or changed as in "
            f"test-{CORRUPTIONS[0]}-3 or test-patch"
        )
    split, *change = name.split("-")
    if change == ["patch"]:
        return EvaluationSet(split, patch=True)
    return EvaluationSet(split, change[0], int(change[1])) if change else EvaluationSet(split)
