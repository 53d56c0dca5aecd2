"""Evaluation sets: a split of the data set, as it is or changed.

`test`, `train`, `validation`; `test-gaussian_noise-3` is corrupted with severity 3; `test-adversarial_patch` carries
the adversarial patch of the study.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lookalike.data.settings import CORRUPTIONS, SEVERITIES

SPLITS = ("test", "train", "validation")
PATCHED = "adversarial_patch"
PATTERN = rf"({'|'.join(SPLITS)})(-{PATCHED}|-({'|'.join(CORRUPTIONS)})-[{SEVERITIES[0]}-{SEVERITIES[-1]}])?"


@dataclass(frozen=True)
class EvaluationSet:
    """A name taken apart.

    Attributes:
        split: Name of the split the images come from.
        corruption: A name of `CORRUPTIONS`, or empty.
        severity: Severity of the corruption, 1 to 5; 0 without one.
        patched: Whether the images carry the study's adversarial patch.
    """

    split: str
    corruption: str = ""
    severity: int = 0
    patched: bool = False


def parse_evaluation_set(name: str) -> EvaluationSet:
    """Take the name of an evaluation set apart.

    Raises:
        ValueError: There is no such set.
    """
    if not re.fullmatch(PATTERN, name):
        raise ValueError(
            f"evaluation set {name!r} is unknown; write test, train or validation, alone or changed as in "
            f"test-{CORRUPTIONS[0]}-3 or test-{PATCHED}"
        )
    split, *change = name.split("-")
    if change == [PATCHED]:
        return EvaluationSet(split, patched=True)
    return EvaluationSet(split, change[0], int(change[1])) if change else EvaluationSet(split)


def is_unchanged(name: str) -> bool:
    """Whether an evaluation set shows its images as they are; only those are explained in pictures."""
    return "-" not in name
