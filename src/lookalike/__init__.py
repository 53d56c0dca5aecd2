"""Lookalike: classifiers that explain a prediction by training images that look like the query.

The heads need torch and numpy only; everything else loads when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lookalike.methods.memory_wrap.layer import BaselineMemory, MemoryWrapLayer
    from lookalike.methods.nw.head import NWHead

__version__ = "0.1.0"
__all__ = ["BaselineMemory", "MemoryWrapLayer", "NWHead", "__version__"]
_HEADS = {
    "BaselineMemory": "lookalike.methods.memory_wrap.layer",
    "MemoryWrapLayer": "lookalike.methods.memory_wrap.layer",
    "NWHead": "lookalike.methods.nw.head",
}


def __getattr__(name: str) -> Any:
    """Load a head on first use: tables and figures then never wait for torch."""
    if name in _HEADS:
        import importlib

        return getattr(importlib.import_module(_HEADS[name]), name)
    raise AttributeError(f"module 'lookalike' has no attribute {name!r}")
