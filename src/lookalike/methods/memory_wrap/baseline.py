"""The variant that decides by the memory alone: the paper's "only memory"."""

from __future__ import annotations

from typing import Literal

from lookalike.methods.memory_wrap import classifier
from lookalike.methods.memory_wrap.layer import BaselineMemory


class Settings(classifier.Settings):
    """Study entry of `baseline_memory`."""

    method: Literal["baseline_memory"]  # type: ignore[assignment]


class Model(classifier.Model):
    """Backbone and the layer that sees memory vectors only."""

    LAYER = BaselineMemory
