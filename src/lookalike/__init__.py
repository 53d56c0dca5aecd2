"""Lookalike: classifiers that explain a prediction by training images that look like the query.

What a library user may rely on, with torch and numpy alone: the heads and layers below, `lookalike.metrics` (numbers of
predictions), `lookalike.explain` (what made a decision) and `lookalike.rerank` (how alike two feature maps are).
Everything else loads when it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lookalike.methods.matching.head import MatchingHead
    from lookalike.methods.memory_wrap.layer import BaselineMemory, MemoryWrapLayer
    from lookalike.methods.nw.head import NWHead
    from lookalike.methods.protoflow.prototypes import GaussianPrototypes
    from lookalike.methods.protonet.head import PrototypicalHead

__version__ = "0.1.0"
__all__ = [
    "BaselineMemory",
    "GaussianPrototypes",
    "MatchingHead",
    "MemoryWrapLayer",
    "NWHead",
    "PrototypicalHead",
    "__version__",
]
_MODULES = {
    "BaselineMemory": "lookalike.methods.memory_wrap.layer",
    "GaussianPrototypes": "lookalike.methods.protoflow.prototypes",
    "MatchingHead": "lookalike.methods.matching.head",
    "MemoryWrapLayer": "lookalike.methods.memory_wrap.layer",
    "NWHead": "lookalike.methods.nw.head",
    "PrototypicalHead": "lookalike.methods.protonet.head",
}


def __getattr__(name: str) -> Any:
    """Load a class on first use: tables and figures then never wait for torch."""
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'lookalike' has no attribute {name!r}")
