"""The methods, one row each: name -> the room with its settings and its classifier.

Rooms load when used, so that this table costs nothing and a change of one method touches only its runs.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lookalike.contracts.classifier import Classifier
    from lookalike.contracts.settings import MethodSettings


@dataclass(frozen=True)
class Method:
    """A row.

    Attributes:
        package: Package with modules `settings` and `classifier`.
        prefix: What the names of its two classes begin with: `NW` of `NWSettings` and `NWClassifier`.
    """

    package: str
    prefix: str

    def settings_class(self) -> type[MethodSettings]:
        """The class of its study entries; loads pydantic alone."""
        kind: type[MethodSettings] = getattr(
            importlib.import_module(f"{self.package}.settings"), f"{self.prefix}Settings"
        )
        return kind

    @property
    def classifier_module(self) -> str:
        """The module that holds its classifier."""
        return f"{self.package}.classifier"

    def classifier_class(self) -> type[Classifier]:
        """The class of its classifiers."""
        kind: type[Classifier] = getattr(importlib.import_module(self.classifier_module), f"{self.prefix}Classifier")
        return kind


METHODS = {
    "fc": Method("lookalike.methods.fc", "FC"),
    "nw": Method("lookalike.methods.nw", "NW"),
    "knn": Method("lookalike.methods.knn", "KNN"),
    "memory_wrap": Method("lookalike.methods.memory_wrap", "MemoryWrap"),
    "baseline_memory": Method("lookalike.methods.memory_wrap", "BaselineMemory"),
    "emd_corr": Method("lookalike.methods.emd_corr", "EMDCorr"),
    "chm_corr": Method("lookalike.methods.chm_corr", "CHMCorr"),
    "linear_probe": Method("lookalike.methods.linear_probe", "LinearProbe"),
    "dense_flow": Method("lookalike.methods.dense_flow", "DenseFlow"),
    "protoflow": Method("lookalike.methods.protoflow", "ProtoFlow"),
    "protonet": Method("lookalike.methods.protonet", "ProtoNet"),
    "matching": Method("lookalike.methods.matching", "Matching"),
}
