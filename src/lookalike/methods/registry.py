"""The methods, one line each: name -> module with a `Settings` and a `Model`.

Modules load when used, so that this list costs nothing and a change of one method touches only its runs.
"""

from __future__ import annotations

import importlib
from types import ModuleType

METHODS = {
    "fc": "lookalike.methods.fc",
    "nw": "lookalike.methods.nw.classifier",
    "knn": "lookalike.methods.knn",
    "memory_wrap": "lookalike.methods.memory_wrap.classifier",
    "baseline_memory": "lookalike.methods.memory_wrap.baseline",
    "emd_corr": "lookalike.methods.emd_corr.classifier",
    "chm_corr": "lookalike.methods.chm_corr.classifier",
    "linear_probe": "lookalike.methods.linear_probe",
    "dense_flow": "lookalike.methods.dense_flow",
    "protoflow": "lookalike.methods.protoflow.classifier",
    "protonet": "lookalike.methods.protonet",
    "matching": "lookalike.methods.matching",
}


def load_method(name: str) -> ModuleType:
    """The module of a method: `Settings` (its study entry) and `Model` (its classifier)."""
    return importlib.import_module(METHODS[name])
